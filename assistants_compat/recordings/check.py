"""Finds problems in recordings on disk: secrets in them, and requests that no test plays.

The command `cassettes check` prints what these functions return; what counts as a secret is decided in `leaks.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import vcr_yaml
from .leaks import Leak, find_leaks, mask
from .legacy_requests import is_legacy_exchange
from .scrub import IDENTITY_HEADERS

_YAML_SUFFIXES = {".yaml", ".yml"}
_SOURCE_SUFFIXES = {".py", ".pyc", ".md", ".rst", ".txt"}  # may quote a recording
_LEGACY_ROUTE = re.compile(rb"/(?:assistants|threads)\b")
PLACEHOLDER_VALUE = re.compile(
    r"(?i)[\W_]*(?:bearer\s+)?[\W_]*(?:scrubbed|redacted|removed|filtered|hidden|dummy|fake|test|x+)?[\W_]*\Z"
)
"""What other recorders put in place of an identifying header; it also matches "", the value of a missing one."""


def recording_files(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files to read among `paths` and inside the folders among them, and the JSON files passed over.

    A file that `paths` names directly is read whatever it is. In a folder, YAML files are read, and any other file that
    begins as a recording does. JSON files that are no recordings of VCR.py are passed over.
    """
    files: list[Path] = []
    passed_over: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        for child in sorted(path.rglob("*")):
            if child.suffix in _YAML_SUFFIXES or _begins_as_recording(child):
                files.append(child)
            elif child.suffix == ".json" and child.is_file():
                passed_over.append(child)
    return list(dict.fromkeys(files)), list(dict.fromkeys(passed_over))


def mentions_legacy_calls(path: Path) -> bool:
    """Return whether a file that is no recording of VCR.py names routes of the Assistants API."""
    try:
        return _LEGACY_ROUTE.search(path.read_bytes()) is not None
    except OSError:
        return False


def _begins_as_recording(path: Path) -> bool:
    try:
        return path.is_file() and path.suffix not in _SOURCE_SUFFIXES and vcr_yaml.may_be_recording(path)
    except OSError:
        return False


def leaks_in_document(document: Mapping[str, Any], harmless: Collection[re.Pattern[str]]) -> Iterator[Leak]:
    """Yield what looks like a secret in a recording, and every header that identifies the caller.

    Raises `CassetteError` for an interaction that cannot be read.
    """
    for number, exchange in enumerate(vcr_yaml.exchanges_from_document(document), 1):
        request = f"{number}. {exchange.method} request"
        response = f"{number}. response"
        yield from find_leaks(exchange.uri, request, harmless)
        for location, headers, body in (
            (request, exchange.request_headers, exchange.request_body),
            (response, exchange.headers, exchange.body),
        ):
            header_leaks = list(find_leaks(dict(headers), location, harmless))
            reported_locations = {leak.location for leak in header_leaks}
            yield from header_leaks
            for name in IDENTITY_HEADERS:
                value = " ".join(headers.get(name, ()))
                # An organization id has no shape of a secret, so these headers are reported by name.
                if f"{location} {name}" not in reported_locations and not PLACEHOLDER_VALUE.match(value):
                    yield Leak("a header that identifies the caller", f"{location} {name}", mask(value))
            yield from find_leaks(body, f"{location} body", harmless)


def request_lines(document: Mapping[str, Any]) -> list[str]:
    """Return each recorded request as its method and URL."""
    return [f"{exchange.method} {exchange.uri}" for exchange in vcr_yaml.exchanges_from_document(document)]


def has_legacy_requests(document: Mapping[str, Any]) -> bool:
    """Return whether a recording holds Assistants API traffic."""
    return any(
        is_legacy_exchange(
            exchange.uri, " ".join(exchange.request_headers.get("openai-beta", ())) or None, exchange.body
        )
        for exchange in vcr_yaml.exchanges_from_document(document)
    )


def unplayed_requests(file: Path) -> dict[str, list[int]]:
    """Return the indices of the requests that no test played, by the path of their cassette.

    `pytest --assistants-compat-played=FILE` writes such a file:
    `{"cassettes": {"/path": {"requests": ["GET https://..."], "unplayed": [0]}}}`.
    Raises `ValueError` for a file with other contents.
    """
    try:
        cassettes = json.loads(file.read_bytes())["cassettes"]
        return {path: [int(index) for index in cassette["unplayed"]] for path, cassette in cassettes.items()}
    except (KeyError, TypeError, AttributeError) as error:
        message = "the file was not written by pytest --assistants-compat-played=FILE"
        raise ValueError(message) from error
