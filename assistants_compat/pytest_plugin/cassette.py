"""A cassette that a test has open: which API it records, what is unplayed, and how a new one is scrubbed and written.

VCR.py has no public hooks for most of this, so this file alone uses its private attributes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from vcr.record_mode import RecordMode
from vcr.serializers import yamlserializer

from ..recordings import replay, scrub
from ..recordings import vcr_yaml as cassette_file
from ..recordings.check import PLACEHOLDER_VALUE
from ..recordings.leaks import Leak, find_leaks, mask
from ..recordings.legacy_requests import is_legacy_exchange, is_upstream_url
from ..runtime.overrides import is_own_request
from ..wire.objects import Json
from .matching import Matchers, scrub_request
from .vcr_patch import is_default_choice

_MIN_SECRET_LENGTH = 8  # characters: a shorter header value occurs in any text by chance
_OWN_REQUEST = "_assistants_compat_own"  # set on a recorded request of the library; a copy of the request keeps it


class OpenCassette:
    """An open cassette.

    A suite may have cassettes of any service. Only those that the library plays or records through are held to its
    rules; `is_ours` says whether this one is, by what has happened so far.
    """

    def __init__(self, cassette: Any) -> None:
        """Read what was recorded."""
        self.cassette = cassette
        self.path = str(Path(cassette._path).resolve())  # noqa: SLF001 - older versions have no public name for it
        self.recorded = [(str(request.method), str(request.uri)) for request in cassette.requests]
        self._has_legacy_requests = any(_is_legacy(request, response) for request, response in cassette.data)
        # A cassette that is recorded again does not replay the Assistants API, whatever it holds now.
        self.is_legacy = cassette.record_mode != RecordMode.ALL and self._has_legacy_requests
        self.only_plays = bool(cassette.write_protected)
        self.leaks: list[Leak] = []
        self.replay_data = _load_replay_data(Path(self.path))
        self.is_ours = bool(self.replay_data)

    @property
    def unplayed(self) -> list[int]:
        """The indices of the recorded requests that no test made; none for a cassette that is recorded again."""
        if self.cassette.record_mode == RecordMode.ALL:
            return []
        return [index for index in range(len(self.recorded)) if not self.cassette.play_counts[index]]

    def missing(self, unplayed: list[int]) -> list[int]:
        """Return which of the unplayed requests a test must not leave out: those to routes that the library uses."""
        if self.is_legacy or not self.is_ours:
            return []
        return [index for index in unplayed if is_upstream_url(self.recorded[index][1])]

    def library_used(self) -> None:
        """Note that the library answers a request while this cassette is open."""
        self.is_ours = True
        # The old requests to the Assistants API would stay beside the new ones.
        if self.cassette.record_mode == RecordMode.ALL and self._has_legacy_requests:
            self.cassette.drop_unused_requests = True

    def apply_rules(self, harmless: Collection[re.Pattern[str]]) -> None:
        """Match and scrub the library's requests, and refuse to write secrets into a cassette that has some."""
        cassette = self.cassette
        filter_request, filter_response = cassette._before_record_request, cassette._before_record_response  # noqa: SLF001
        matchers = cassette._match_on  # noqa: SLF001
        persister = _ScrubbingPersister(self, cassette._persister, harmless)  # noqa: SLF001

        def scrub_own_request(request: Any) -> Any:
            # Collected before the suite's own filters can remove the headers.
            persister.collect_identity(request)
            kept = filter_request(request)
            if kept is None or not is_own_request():
                return kept
            self.library_used()
            setattr(kept, _OWN_REQUEST, True)
            return scrub_request(kept)

        def scrub_own_response(response: Any) -> Any:
            kept = filter_response(response)
            return kept if kept is None or not is_own_request() else scrub.scrub_response(kept)

        cassette._before_record_request, cassette._before_record_response = scrub_own_request, scrub_own_response  # noqa: SLF001
        cassette._match_on = Matchers(matchers, is_default=is_default_choice(matchers))  # noqa: SLF001
        cassette._persister = persister  # noqa: SLF001


def _is_legacy(request: Any, response: Mapping[str, Any]) -> bool:
    beta = next((str(value) for name, value in request.headers.items() if name.lower() == "openai-beta"), None)
    body = response.get("body", response.get("content"))  # `content` is of older formats
    return is_legacy_exchange(str(request.uri), beta, body.get("string") if isinstance(body, dict) else body)


def _load_replay_data(path: Path) -> Json:
    """Return the replay data of a converted recording, which VCR.py ignores.

    Only a file that has the key is parsed, because most cassettes have none and YAML is slow.
    """
    keys = (f"{replay.REPLAY_KEY}:", f'    "{replay.REPLAY_KEY}":')  # in YAML, and in indented JSON
    try:
        with path.open(encoding="utf-8") as file:
            if not any(line.startswith(keys) for line in file):
                return {}
        return replay.replay_data(cassette_file.load(path))
    except (OSError, UnicodeDecodeError, cassette_file.CassetteError):
        return {}


class _ScrubbingPersister:
    """Writes a cassette through its original persister.

    If the library has recorded through the cassette, its polls are folded, its texts are readable, and nothing is
    written if anything looks like a secret. Any other cassette is written as if this class did not exist.
    """

    def __init__(self, cassette: OpenCassette, persister: Any, harmless: Collection[re.Pattern[str]]) -> None:
        self.cassette, self.persister, self.harmless = cassette, persister, harmless
        self._identity_values: set[str] = set()
        self._origins: set[tuple[str, str]] = set()  # scheme and host of the library's requests

    def collect_identity(self, request: Any) -> None:
        """Note the header values that identify the caller, and the origin of the library's requests."""
        self._identity_values.update(str(request.headers[name]) for name in _identity_headers(request.headers))
        if is_own_request():
            self._origins.add(_origin(request.uri))

    def save_cassette(self, path: Any, cassette: dict[str, Any], serializer: Any) -> None:
        """Write the cassette, or nothing if it holds a secret; `leaks` then has what was found."""
        if not self.cassette.is_ours:
            self.persister.save_cassette(path, cassette, serializer)
            return
        exchanges = [
            self._cleaned(*exchange) for exchange in zip(cassette["requests"], cassette["responses"], strict=True)
        ]
        kept = scrub.fold_polls(
            [
                # Without a body it is no poll: the suite's own polls stay.
                (request.method, request.uri, response["body"].get("string") or b"" if _is_own(request) else b"")
                for request, response in exchanges
            ]
        )
        leaks = self._find_leaks(exchanges)
        self.cassette.leaks += leaks
        if leaks:
            return
        requests, responses = [exchanges[index][0] for index in kept], [exchanges[index][1] for index in kept]
        # A serializer that the suite chose itself stays.
        chosen = _ReadableSerializer if serializer is yamlserializer else serializer
        self.persister.save_cassette(path, {**cassette, "requests": requests, "responses": responses}, chosen)

    def _cleaned(self, request: Any, response: Any) -> tuple[Any, Any]:
        """Return an exchange without what identifies the caller; only the library's own are scrubbed completely."""
        if _is_own(request):
            return request, response
        request = copy.copy(request)
        is_same_service = _origin(request.uri) in self._origins
        request.headers = {
            name: value
            for name, value in request.headers.items()
            if not self._identifies_caller(name, str(value), is_same_service=is_same_service)
        }
        if is_same_service:
            request.uri = scrub.scrub_url(request.uri)
            headers = {
                name: value for name, value in response["headers"].items() if name.lower() not in scrub.IDENTITY_HEADERS
            }
            response = {**response, "headers": headers}
        return request, response

    def _identifies_caller(self, name: str, value: str, *, is_same_service: bool) -> bool:
        if value in self._identity_values:
            return True
        # A value that the suite's own filter put there stays: it is no secret, and the suite may compare it.
        return is_same_service and name.lower() in scrub.IDENTITY_HEADERS and not PLACEHOLDER_VALUE.match(value)

    def _find_leaks(self, exchanges: list[tuple[Any, Any]]) -> list[Leak]:
        leaks: list[Leak] = []
        secrets = {part for value in self._identity_values for part in (value, value.rpartition(" ")[2])}
        secrets = {secret for secret in secrets if len(secret) >= _MIN_SECRET_LENGTH}
        for request, response in exchanges:
            name = f"{request.method} {request.uri}"
            sent = {"address": request.uri, "headers": dict(request.headers), "body": request.body}
            for location, value in ((f"request {name}", sent), (f"response to {name}", response)):
                leaks += find_leaks(value, location, self.harmless)
                text = repr(value)
                leaks += [
                    Leak("the value of a header that identifies the caller", location, mask(secret))
                    for secret in secrets
                    if secret in text
                ]
            # An encoding that could not be read was not searched.
            if _is_own(request) and (encoding := response["headers"].get("content-encoding")):
                leaks.append(Leak("an unsupported content encoding", f"response to {name}", " ".join(encoding)))
        return leaks


def _is_own(request: Any) -> bool:
    return bool(getattr(request, _OWN_REQUEST, False))


def _identity_headers(headers: Mapping[str, Any]) -> list[str]:
    return [name for name in headers if name.lower() in scrub.IDENTITY_HEADERS]


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


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
