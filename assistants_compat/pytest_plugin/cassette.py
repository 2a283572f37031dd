"""A cassette that a test has open: which API it records, what is unplayed, and how a new one is scrubbed and written.

VCR.py has no public hooks for most of this, so this file alone uses its private attributes.
"""

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
from ..recordings.leaks import Leak, find_leaks, mask
from ..recordings.legacy_requests import is_legacy_url
from ..wire.objects import Json

_DEFAULT_MATCHERS = {"method", "scheme", "host", "port", "path", "query", "uri"}
_MIN_SECRET_LENGTH = 8  # characters: a shorter header value occurs in any text by chance


class OpenCassette:
    """An open cassette."""

    def __init__(self, cassette: Any) -> None:
        """Read what was recorded."""
        self.cassette = cassette
        self.path = str(Path(cassette._path).resolve())  # noqa: SLF001 - older versions have no public name for it
        self.recorded = [(str(request.method), str(request.uri)) for request in cassette.requests]
        # A cassette that is recorded again does not replay the Assistants API, whatever it holds now.
        self.is_legacy = cassette.record_mode != RecordMode.ALL and any(is_legacy_url(url) for _, url in self.recorded)
        self.only_plays = bool(cassette.write_protected)
        self.leaks: list[Leak] = []
        self.replay_data = _load_replay_data(Path(self.path))

    @property
    def unplayed(self) -> list[int]:
        """The indices of the recorded requests that no test made; none for a cassette that is recorded again."""
        if self.cassette.record_mode == RecordMode.ALL:
            return []
        return [index for index in range(len(self.recorded)) if not self.cassette.play_counts[index]]

    def enable_scrubbing(self, harmless: Collection[re.Pattern[str]]) -> None:
        """Match requests by method, URL and body, scrub everything recorded, and refuse to write secrets."""
        cassette, identity_values = self.cassette, set[str]()
        filter_request, filter_response = cassette._before_record_request, cassette._before_record_response  # noqa: SLF001

        def scrub_request(request: Any) -> Any:
            # Collected before the suite's own filters can remove the headers.
            identity_values.update(_identity_values(request.headers))
            kept = filter_request(request)
            return kept if kept is None else _scrub_request(kept)

        def scrub_response(response: Any) -> Any:
            kept = filter_response(response)
            return kept if kept is None else scrub.scrub_response(kept)

        cassette._before_record_request, cassette._before_record_response = scrub_request, scrub_response  # noqa: SLF001
        cassette._match_on = _matchers(cassette._match_on)  # noqa: SLF001
        cassette._persister = _ScrubbingPersister(cassette._persister, self.leaks, identity_values, harmless)  # noqa: SLF001
        # Recorded requests are scrubbed too, so that they match the scrubbed requests of the test.
        cassette.data = [(_scrub_request(request), response) for request, response in cassette.data]
        # The old requests to the Assistants API would stay beside the new ones.
        if cassette.record_mode == RecordMode.ALL and any(is_legacy_url(url) for _, url in self.recorded):
            cassette.drop_unused_requests = True


def _load_replay_data(path: Path) -> Json:
    """Return the replay data of a converted recording, which VCR.py ignores.

    Only a file that has the key is parsed, because most cassettes have none and YAML is slow.
    """
    try:
        with path.open(encoding="utf-8") as file:
            if not any(line.startswith(f"{replay.REPLAY_KEY}:") for line in file):
                return {}
        return replay.replay_data(cassette_file.load(path))
    except (OSError, UnicodeDecodeError, cassette_file.CassetteError):
        return {}


def _matchers(configured: Any) -> list[Any]:
    """Return the matchers to use: VCR.py's defaults do not compare bodies; a suite's own choice stays."""
    matchers = list(configured)
    names = {matcher.__name__ for matcher in matchers}
    if names <= _DEFAULT_MATCHERS:
        return [_match_method, _match_uri, _match_body]
    return [_match_body if matcher.__name__ in {"body", "raw_body"} else matcher for matcher in matchers]


def _match_method(request: Any, recorded: Any) -> None:
    assert request.method == recorded.method, f"{request.method} != {recorded.method}"  # noqa: S101 - VCR.py's protocol


def _match_uri(request: Any, recorded: Any) -> None:
    assert request.uri == recorded.uri, f"{request.uri} != {recorded.uri}"  # noqa: S101 - as above


def _match_body(request: Any, recorded: Any) -> None:
    if _parse_body(request.body) != _parse_body(recorded.body):
        raw_body(request, recorded)  # raises an error that shows the difference


def _parse_body(body: Any) -> Any:
    try:
        return json.loads(body or b"null")
    except (ValueError, TypeError):
        return body


# VCR.py's messages show the names of matchers.
_match_method.__name__, _match_uri.__name__, _match_body.__name__ = "method", "uri", "body"


def _identity_values(headers: Any) -> list[str]:
    """Return the header values that must be nowhere in the cassette: in full, and without a scheme like `Bearer`."""
    values = [str(headers[name]) for name in scrub.IDENTITY_HEADERS if name in headers]
    secrets = {secret for value in values for secret in (value, value.rpartition(" ")[2])}
    return [secret for secret in secrets if len(secret) >= _MIN_SECRET_LENGTH]


def _scrub_request(request: Any) -> Any:
    request.uri = scrub.scrub_url(request.uri)
    headers = scrub.scrub_headers(request.headers, scrub.REQUEST_HEADERS)
    body = request.body
    if isinstance(body, bytes) and body:
        body, content_type = scrub.scrub_request_body(body, str(headers.get("content-type", "")))
        request.body = body
        if content_type:
            headers["content-type"] = content_type
    request.headers = headers
    return request


class _ScrubbingPersister:
    """Writes a cassette through its original persister: polls folded, texts readable, and only without secrets."""

    def __init__(
        self, persister: Any, leaks: list[Leak], identity_values: set[str], harmless: Collection[re.Pattern[str]]
    ) -> None:
        self.persister, self.leaks = persister, leaks
        self.identity_values, self.harmless = identity_values, harmless

    def save_cassette(self, path: Any, cassette: dict[str, Any], serializer: Any) -> None:
        """Write the cassette, or nothing if it holds a secret; `leaks` then has what was found."""
        requests, responses = cassette["requests"], cassette["responses"]
        kept = scrub.fold_polls(
            [
                (request.method, request.uri, response["body"].get("string") or b"")
                for request, response in zip(requests, responses, strict=True)
            ]
        )
        self.leaks += self._find_leaks(requests, responses)
        if self.leaks:
            return
        folded = {**cassette, "requests": [requests[i] for i in kept], "responses": [responses[i] for i in kept]}
        # A serializer that the suite chose itself stays.
        chosen = _ReadableSerializer if serializer is yamlserializer else serializer
        self.persister.save_cassette(path, folded, chosen)

    def _find_leaks(self, requests: list[Any], responses: list[Any]) -> list[Leak]:
        leaks: list[Leak] = []
        for request, response in zip(requests, responses, strict=True):
            name = f"{request.method} {request.uri}"
            sent = {"address": request.uri, "headers": dict(request.headers), "body": request.body}
            for location, value in ((f"request {name}", sent), (f"response to {name}", response)):
                leaks += find_leaks(value, location, self.harmless)
                text = repr(value)
                leaks += [
                    Leak("the value of a header that identifies the caller", location, mask(secret))
                    for secret in self.identity_values
                    if secret in text
                ]
            # An encoding that could not be read was not searched.
            if encoding := response["headers"].get("content-encoding"):
                leaks.append(Leak("an unsupported content encoding", f"response to {name}", " ".join(encoding)))
        return leaks


class _ReadableDumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, where YAML can."""


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_ReadableDumper.add_representer(str, _represent_text)


class _ReadableSerializer:
    """VCR.py's YAML serializer, with readable texts."""

    @staticmethod
    def serialize(cassette: dict[str, Any]) -> str:
        """Return the YAML."""
        return yaml.dump(cassette, Dumper=_ReadableDumper, sort_keys=True, width=110)

    @staticmethod
    def deserialize(text: str) -> Any:
        """Return what VCR.py reads."""
        return yamlserializer.deserialize(text)
