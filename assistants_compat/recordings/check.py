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
# What other recorders put in place of an identifying header; it also matches "", the value of a missing one.
_PLACEHOLDER_VALUE = re.compile(
    r"(?i)[\W_]*(?:bearer\s+)?[\W_]*(?:scrubbed|redacted|removed|filtered|hidden|dummy|fake|test|x+)?[\W_]*\Z"
)


def yaml_files(paths: Sequence[Path]) -> list[Path]:
    """Return the YAML files among `paths` and inside the folders among them, each once.

    A file that `paths` names directly is included whatever its suffix is.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(child for child in path.rglob("*") if child.suffix in _YAML_SUFFIXES)
        else:
            files.append(path)
    return list(dict.fromkeys(files))


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
                if f"{location} {name}" not in reported_locations and not _PLACEHOLDER_VALUE.match(value):
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
