"""One test: its store, ids and clock, the clients that are wrapped for it, and the errors of its cassettes."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from ..recordings.legacy_requests import is_legacy_url
from ..recordings.replay import ReplayClockAndIds
from ..runtime import clock, upstream_memory
from ..runtime.overrides import is_own_request
from ..settings import Settings
from .http_mocks import answers_legacy_calls
from .marker import MARKER, OFF_FIXTURE

if TYPE_CHECKING:
    from .cassette import OpenCassette

_PLUGIN_FIXTURES = ("assistants_compat_client", "assistants_compat_async_client", "assistants_compat_upstream")


_NOT_WRAPPED_MESSAGE = (
    "The test sent a request to the Assistants API, and its cassette has none: the client is not wrapped. Pass the "
    "client to the test through a fixture, call assistants_compat.install(), or wrap it where it is made."
)


class RecordingError(Exception):
    """A test and its recording do not fit together."""

    __module__ = "assistants_compat"


class RecordedTest:
    """A test, from before its first fixture until after its last.

    The plugin manages a test that has the marker or one of the plugin's fixtures, or that opens a converted cassette.
    """

    __test__ = False

    def __init__(self, item: pytest.Item, *, may_be_partly_played: bool) -> None:
        """Decide by the marker and the fixtures whether the plugin manages this test."""
        marker = item.get_closest_marker(MARKER)
        self.item = item
        has_off_fixture = OFF_FIXTURE in getattr(item, "fixturenames", ())
        self.is_off = bool(marker.kwargs.get("off", has_off_fixture) if marker else has_off_fixture)
        self._is_forced_on = marker is not None and marker.kwargs.get("off") is False
        self._is_mocked = False
        self.mocks: list[object] = []  # among the values of its fixtures
        self.is_managed = marker is not None or not set(_PLUGIN_FIXTURES).isdisjoint(getattr(item, "fixturenames", ()))
        self.is_managed = self.is_managed and not self.is_off
        self._client_fixtures: tuple[str, ...] = marker.args if marker else ()
        self._may_be_partly_played = marker.kwargs.get("partly_played", may_be_partly_played) if marker else False
        self.has_passed = False
        self._refused_requests: list[tuple[Exception, OpenCassette]] = []
        self._refused_foreign_requests: list[tuple[Exception, OpenCassette]] = []
        self._open_cassettes: list[OpenCassette] = []
        self._closed_cassettes: list[tuple[OpenCassette, list[int]]] = []  # with their unplayed requests
        self._wrapped_clients: list[tuple[Any, Any]] = []  # with their original HTTP clients
        self._stores: dict[tuple[str | None, str], str] = {}  # by store and namespace of the suite's settings
        self._stack = ExitStack()

    def __enter__(self) -> None:
        """Replace the clock and the ids."""
        if self.is_managed:
            self._stack.enter_context(clock.replace_current(ReplayClockAndIds(on_request=self.library_used)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the clients, the clock and the ids, and delete the store."""
        for client, http_client in reversed(self._wrapped_clients):
            client._client = http_client  # noqa: SLF001 - as `wrap` does
        self._stack.close()

    # --- clients

    def wraps_clients_of(self, fixture: str) -> bool:
        """Return whether clients of this fixture are wrapped for this test."""
        return self.is_managed and (not self._client_fixtures or fixture in self._client_fixtures)

    def wrap(self, client: Any) -> None:
        """Wrap a client until the end of the test."""
        from ..doors.wrap import is_wrapped, wrap  # noqa: PLC0415 - imports the SDK

        if not is_wrapped(client):
            self._wrapped_clients.append((client, client._client))  # noqa: SLF001 - the attribute that `wrap` replaces
            wrap(client)

    def settings_from(self, settings: Settings) -> Settings:
        """Return the settings of a client with this test's own store; polls of a recording do not wait."""
        key = settings.store, settings.namespace
        if key not in self._stores:
            if not self._stores:
                directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="assistants-compat-"))
                self._directory = Path(directory)
            self._stores[key] = store = str(self._directory / f"store-{len(self._stores)}.db")
            self._stack.callback(_close_store, store)
            self._insert_seeds(replace(settings, store=store, files=None))
        only_plays = bool(self._open_cassettes) and self._open_cassettes[-1].only_plays
        return replace(
            settings,
            store=self._stores[key],
            files=None,
            poll_after_ms=1 if only_plays else settings.poll_after_ms,
        )

    def _insert_seeds(self, settings: Settings) -> None:
        """Insert the objects that existed before the open, converted recordings began."""
        seeds = [cassette.replay_data["seed"] for cassette in self._open_cassettes if cassette.replay_data.get("seed")]
        if seeds:
            from ..recordings.convert.seed import insert_seed  # noqa: PLC0415 - loads SQLAlchemy

            for objects in seeds:
                insert_seed(settings, objects)

    def switch_off(self) -> None:
        """Act from now on as if no client were wrapped."""
        if not self._is_forced_on:
            self.is_off, self.is_managed = True, False

    def is_mocked(self, request: Any, http_client: Any) -> bool:
        """Return whether a mock of the test answers a request to the Assistants API."""
        if self._is_forced_on or not answers_legacy_calls(request, http_client, self.mocks):
            return False
        self._is_mocked = True
        return True

    # --- cassettes

    def cassette_opened(self, cassette: OpenCassette, harmless: Collection[re.Pattern[str]]) -> None:
        """Note an open cassette. A converted one makes the test managed, because only the library can play it."""
        self._open_cassettes.append(cassette)
        self.is_managed = self.is_managed or (bool(cassette.replay_data) and not self.is_off)
        if self.is_managed and not cassette.is_legacy:
            cassette.apply_rules(harmless)

    def library_used(self) -> None:
        """Note that the library answers a request of this test."""
        if self._open_cassettes:
            self._open_cassettes[-1].library_used()

    def cassette_closed(self, cassette: OpenCassette) -> None:
        """Note that a cassette was saved, with the requests that are unplayed by now."""
        self._open_cassettes.remove(cassette)
        self._closed_cassettes.append((cassette, cassette.unplayed))

    def request_refused(self, error: Exception, cassette: OpenCassette) -> None:
        """Note a request that VCR.py cannot play. A test may expect that of the requests that are not the library's."""
        is_ours = is_own_request() or _is_legacy_request(error)
        (self._refused_requests if is_ours else self._refused_foreign_requests).append((error, cassette))

    def playback_error(self, *, failed: bool) -> RecordingError | None:
        """Return VCR.py's messages about requests that it could not play since the last call of this method.

        None if there were no such requests, or if the plugin does not manage the test. `failed` says that an exception
        ended the test: then a request of the suite counts too, if the library plays through the cassette.
        """
        refused, foreign = self._refused_requests, self._refused_foreign_requests
        self._refused_requests, self._refused_foreign_requests = [], []
        if failed:
            refused = refused + [(error, cassette) for error, cassette in foreign if cassette.is_ours]
        if not self.is_managed or not refused:
            return None
        # unittest stores the exception of a test on the item, and pytest would show that one instead.
        unittest_errors = getattr(self.item, "_excinfo", None)
        trace = unittest_errors[0].tb if unittest_errors else None
        if unittest_errors:
            unittest_errors.clear()
        messages = dict.fromkeys(str(error) for error, _ in refused)  # the SDK's retries repeat them
        if any(_is_legacy_request(error) for error, _ in refused):
            messages[_NOT_WRAPPED_MESSAGE] = None
        return RecordingError("\n\n".join(messages)).with_traceback(trace)

    def check_cassettes(self) -> None:
        """Raise `RecordingError` for a secret in a new recording, or for requests that a passed test did not make."""
        __tracebackhide__ = True
        if not self.is_managed:
            return
        for cassette, _ in self._closed_cassettes:
            if cassette.leaks:
                leaks = "\n".join(f"  {leak}" for leak in dict.fromkeys(cassette.leaks))
                message = (
                    f"{cassette.path} was not written because parts of it look like secrets:\n{leaks}\n"
                    "Keep them out of the test. If they are harmless, add a regular expression for them to the ini "
                    "option assistants_compat_harmless."
                )
                raise RecordingError(message)
        if not self.has_passed or self._may_be_partly_played:
            return
        for cassette, unplayed in self._closed_cassettes:
            missing = cassette.missing(unplayed)
            if missing:
                requests = "\n".join(f"  {index + 1}. {' '.join(cassette.recorded[index])}" for index in missing)
                message = (
                    f"{cassette.path} was only partly played: the test did not make "
                    f"{len(missing)} of its {len(cassette.recorded)} requests.\n{requests}\n"
                    f"Record it again, or allow it with @pytest.mark.{MARKER}(partly_played=True)."
                )
                raise RecordingError(message)

    def report(self) -> dict[str, Any]:
        """Return what the session sums up, as values that pytest-xdist can send."""
        played = {
            cassette.path: {"requests": [" ".join(request) for request in cassette.recorded], "unplayed": unplayed}
            for cassette, unplayed in self._closed_cassettes
        }
        is_legacy = any(cassette.is_legacy for cassette, _ in self._closed_cassettes)
        return {"is_legacy": is_legacy, "is_mocked": self._is_mocked, "played": played}


def _is_legacy_request(error: Exception) -> bool:
    """Return whether an error of VCR.py is about a request to the Assistants API, which the SDK marks by a header."""
    request: Any = getattr(error, "failed_request", None)
    headers = {str(name).lower(): str(value) for name, value in getattr(request, "headers", {}).items()}
    return "assistants=" in headers.get("openai-beta", "") and is_legacy_url(str(request.uri))


def _close_store(store: str) -> None:
    """Close the test's store, if the test used one."""
    upstream_memory.forget_store(store)
    # Imported only if something opened a store: SQLAlchemy is slow to load.
    database = sys.modules.get(f"{__package__.partition('.')[0]}.store.database")
    if database is not None:
        database.close(f"sqlite:///{store}")
