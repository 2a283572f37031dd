"""What is wrong with recordings on disk: secrets in them, and requests that no test plays."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import vcr_yaml
from .leaks import Leak, leaks, masked
from .legacy_requests import is_old
from .scrub import WHO

_SUFFIXES = {".yaml", ".yml"}
_NOBODY = re.compile(
    r"(?i)[\W_]*(?:bearer\s+)?[\W_]*(?:scrubbed|redacted|removed|filtered|hidden|dummy|fake|test|x+)?[\W_]*\Z"
)


def files(places: Sequence[Path]) -> list[Path]:
    """The YAML files among `places` and in the folders among them; a file that is named counts whatever its name."""
    found: list[Path] = []
    for place in places:
        within = sorted(path for path in place.rglob("*") if path.suffix in _SUFFIXES) if place.is_dir() else [place]
        found += within
    return list(dict.fromkeys(found))


def found_in(document: Mapping[str, Any], harmless: Collection[re.Pattern[str]]) -> Iterator[Leak]:
    """What looks like a secret in a recording, and the headers that say who asked; raises `CassetteError`."""
    for number, exchange in enumerate(vcr_yaml.exchanges_from_document(document), 1):
        request = f"{number}. {exchange.method} request"
        response = f"{number}. response"
        yield from leaks(exchange.uri, request, harmless)
        for place, headers, body in (
            (request, exchange.request_headers, exchange.request_body),
            (response, exchange.headers, exchange.body),
        ):
            said = list(leaks(dict(headers), place, harmless))
            told = {leak.place for leak in said}
            yield from said
            for name in WHO:
                value = " ".join(headers.get(name, ()))
                if f"{place} {name}" not in told and not _NOBODY.match(value):
                    yield Leak("a header that says who asked", f"{place} {name}", masked(value))
            yield from leaks(body, f"{place} body", harmless)


def calls(document: Mapping[str, Any]) -> list[str]:
    """Each recorded request, as method and address."""
    return [f"{each.method} {each.uri}" for each in vcr_yaml.exchanges_from_document(document)]


def is_of_the_old_service(document: Mapping[str, Any]) -> bool:
    """Whether a recording holds Assistants traffic."""
    return any(is_old(each.uri) for each in vcr_yaml.exchanges_from_document(document))


def played(file: Path) -> dict[str, list[int]]:
    """What `pytest --assistants-compat-played=FILE` wrote: of each cassette's path, which requests nobody played.

    `{"cassettes": {"/path": {"requests": ["GET https://..."], "unplayed": [0]}}}`; raises `ValueError` for what is not.
    """
    try:
        cassettes = json.loads(file.read_bytes())["cassettes"]
        return {path: [int(index) for index in each["unplayed"]] for path, each in cassettes.items()}
    except (KeyError, TypeError, AttributeError) as error:
        message = "it was not written by --assistants-compat-played"
        raise ValueError(message) from error
