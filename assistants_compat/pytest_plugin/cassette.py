"""A cassette while a test has it open: whether it is an old one, what is left of it, and how a new one is written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from vcr.matchers import raw_body
from vcr.record_mode import RecordMode
from vcr.serializers import yamlserializer

from ..recordings import replay, scrub
from ..recordings import vcr_yaml as cassette_file
from ..recordings.leaks import Leak, leaks, masked
from ..recordings.legacy_requests import is_old
from ..wire.objects import Json

_VCRS_OWN = {"method", "scheme", "host", "port", "path", "query", "uri"}
_LEAST = 8  # characters of a header's value that is looked for elsewhere: a shorter one is in any text


class Playing:
    """An open cassette."""

    def __init__(self, cassette: Any) -> None:
        """Look at what was recorded."""
        self.cassette = cassette
        self.path = str(Path(cassette._path).resolve())  # noqa: SLF001 - older versions have no public name for it
        self.recorded = [(str(request.method), str(request.uri)) for request in cassette.requests]
        # A recording that is made anew has no use for what the old service said.
        self.is_old = cassette.record_mode != RecordMode.ALL and any(is_old(url) for _, url in self.recorded)
        self.only_plays = bool(cassette.write_protected)
        self.leaks: list[Leak] = []
        self.key = _key(Path(self.path))

    @property
    def unplayed(self) -> list[int]:
        """Which of the recorded exchanges nobody asked for; none of a cassette that is recorded anew."""
        if self.cassette.record_mode == RecordMode.ALL:
            return []
        return [index for index in range(len(self.recorded)) if not self.cassette.play_counts[index]]

    def clean(self, harmless: Collection[re.Pattern[str]]) -> None:
        """Compare requests by method, address and body, clean them and the answers, and refuse to write secrets."""
        cassette, hidden = self.cassette, set[str]()
        of_request, of_response = cassette._before_record_request, cassette._before_record_response  # noqa: SLF001

        def request(given: Any) -> Any:
            hidden.update(_hidden(given.headers))
            kept = of_request(given)
            return kept if kept is None else _clean(kept)

        def response(given: Any) -> Any:
            kept = of_response(given)
            return kept if kept is None else scrub.response(kept)

        cassette._before_record_request, cassette._before_record_response = request, response  # noqa: SLF001
        cassette._match_on = _matchers(cassette._match_on)  # noqa: SLF001
        cassette._persister = _Clean(cassette._persister, self.leaks, hidden, harmless)  # noqa: SLF001
        cassette.data = [(_clean(each), answer) for each, answer in cassette.data]
        if cassette.record_mode == RecordMode.ALL and any(is_old(url) for _, url in self.recorded):
            cassette.drop_unused_requests = True


def _key(path: Path) -> Json:
    """What a converted recording says of its replay; VCR.py passes over it, and few files are read twice for it."""
    try:
        with path.open(encoding="utf-8") as file:
            if not any(line.startswith(f"{replay.KEY}:") for line in file):
                return {}
        return replay.key_of(cassette_file.load(path))
    except (OSError, UnicodeDecodeError, cassette_file.CassetteError):
        return {}


def _matchers(given: Any) -> list[Any]:
    """VCR.py compares no bodies unless it is told to; whatever else a suite has chosen, it keeps."""
    chosen = list(given)
    names = {matcher.__name__ for matcher in chosen}
    if names <= _VCRS_OWN:
        return [_method, _uri, _body]
    return [_body if matcher.__name__ in {"body", "raw_body"} else matcher for matcher in chosen]


def _method(one: Any, other: Any) -> None:
    assert one.method == other.method, f"{one.method} != {other.method}"  # noqa: S101 - VCR.py's way to say so


def _uri(one: Any, other: Any) -> None:
    assert one.uri == other.uri, f"{one.uri} != {other.uri}"  # noqa: S101 - as above


def _body(one: Any, other: Any) -> None:
    if _parsed(one.body) != _parsed(other.body):
        raw_body(one, other)  # says how they differ


def _parsed(body: Any) -> Any:
    try:
        return json.loads(body or b"null")
    except (ValueError, TypeError):
        return body


_method.__name__, _uri.__name__, _body.__name__ = "method", "uri", "body"  # as VCR.py's messages name them


def _hidden(headers: Any) -> list[str]:
    """What the headers hold that must be nowhere in the cassette: the values, and what stands behind `Bearer`."""
    values = [str(headers[name]) for name in scrub.WHO if name in headers]
    words = {word for value in values for word in (value, value.rpartition(" ")[2])}
    return [word for word in words if len(word) >= _LEAST]


def _clean(request: Any) -> Any:
    request.uri = scrub.address(request.uri)
    kept = scrub.headers(request.headers, scrub.REQUEST_HEADERS)
    body = request.body
    if isinstance(body, bytes) and body:
        body, content_type = scrub.request_body(body, str(kept.get("content-type", "")))
        request.body = body
        if content_type:
            kept["content-type"] = content_type
    request.headers = kept
    return request


class _Clean:
    """Writes a cassette through the persister that it had: folded, in lines, and only without secrets."""

    def __init__(
        self, persister: Any, found: list[Leak], hidden: set[str], harmless: Collection[re.Pattern[str]]
    ) -> None:
        self.persister, self.found, self.hidden, self.harmless = persister, found, hidden, harmless

    def save_cassette(self, path: Any, cassette: dict[str, Any], serializer: Any) -> None:
        """Write it, or nothing at all."""
        requests, responses = cassette["requests"], cassette["responses"]
        kept = scrub.folded(
            [
                (request.method, request.uri, response["body"].get("string") or b"")
                for request, response in zip(requests, responses, strict=True)
            ]
        )
        self.found += self._leaks(requests, responses)
        if self.found:
            return
        whole = {**cassette, "requests": [requests[i] for i in kept], "responses": [responses[i] for i in kept]}
        self.persister.save_cassette(path, whole, _Lines if serializer is yamlserializer else serializer)

    def _leaks(self, requests: list[Any], responses: list[Any]) -> list[Leak]:
        found: list[Leak] = []
        for request, response in zip(requests, responses, strict=True):
            name = f"{request.method} {request.uri}"
            sent = {"address": request.uri, "headers": dict(request.headers), "body": request.body}
            for place, value in ((f"request {name}", sent), (f"response to {name}", response)):
                found += leaks(value, place, self.harmless)
                whole = repr(value)
                found += [Leak("a header's value", place, masked(word)) for word in self.hidden if word in whole]
            if encoding := response["headers"].get("content-encoding"):  # nobody could look inside
                found.append(Leak("a coding that cannot be read here", f"response to {name}", " ".join(encoding)))
        return found


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, where YAML can."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


class _Lines:
    """VCR.py's YAML, for eyes."""

    @staticmethod
    def serialize(cassette: dict[str, Any]) -> str:
        """The text."""
        return yaml.dump(cassette, Dumper=_Dumper, sort_keys=True, width=110)

    @staticmethod
    def deserialize(text: str) -> Any:
        """What VCR.py reads."""
        return yamlserializer.deserialize(text)
