"""One test: its store, ids and clock, the clients that are wrapped for it, and what is wrong with its cassettes."""

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

from ..recordings.legacy_requests import is_old
from ..recordings.replay import Replayed
from ..runtime import clock, overrides
from ..settings import Settings
from . import MARKER

if TYPE_CHECKING:
    from .cassette import Playing

_FIXTURES = ("assistants_compat_client", "assistants_compat_async_client", "assistants_compat_upstream")


_NOT_WRAPPED = (
    "A request of the Assistants API came here, over a recording that has none: its client is not wrapped. Give it to "
    "the test by a fixture, call assistants_compat.install(), or wrap it where it is made."
)


class RecordingError(Exception):
    """What is wrong between a test and its recording."""

    __module__ = "assistants_compat"


class Test:
    """A test from before its first fixture until after its last."""

    __test__ = False

    def __init__(self, item: pytest.Item, *, may_be_partly_played: bool) -> None:
        """See whether it is one of ours: by the marker, or by a fixture."""
        marker = item.get_closest_marker(MARKER)
        self.item = item
        self.is_ours = marker is not None or not set(_FIXTURES).isdisjoint(getattr(item, "fixturenames", ()))
        self._names: tuple[str, ...] = marker.args if marker else ()
        self._may_be_partly_played = marker.kwargs.get("partly_played", may_be_partly_played) if marker else False
        self.has_passed = False
        self.refused: list[Exception] = []
        self._playing: list[Playing] = []
        self._played: list[tuple[Playing, list[int]]] = []
        self._clients: list[tuple[Any, Any]] = []
        self._stores: dict[tuple[str | None, str], str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> None:
        """Exchange the clock and the ids."""
        if self.is_ours:
            self._stack.enter_context(clock.exchanged(Replayed()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back, with the clients as they were; the store goes."""
        for client, inner in reversed(self._clients):
            client._client = inner  # noqa: SLF001 - as `wrap` does
        self._stack.close()

    # --- clients

    def wraps(self, fixture: str) -> bool:
        """Whether clients of this fixture are wrapped for this test."""
        return self.is_ours and (not self._names or fixture in self._names)

    def wrap(self, client: Any) -> None:
        """Wrap it until the end of the test."""
        from ..doors.wrap import is_wrapped, wrap  # noqa: PLC0415 - imports the SDK

        if not is_wrapped(client):
            self._clients.append((client, client._client))  # noqa: SLF001 - where `wrap` puts its own
            wrap(client)

    def settings(self, given: Settings) -> Settings:
        """The same over a store of this test's own; pollers need not wait for a recording."""
        place = given.store, given.namespace
        if place not in self._stores:
            if not self._stores:
                directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="assistants-compat-"))
                self._directory = Path(directory)
            self._stores[place] = store = str(self._directory / f"store-{len(self._stores)}.db")
            self._stack.callback(_close, store)
            self._seed(replace(given, store=store, files=None))
        only_plays = bool(self._playing) and self._playing[-1].only_plays
        return replace(
            given,
            store=self._stores[place],
            files=None,
            poll_after_ms=1 if only_plays else given.poll_after_ms,
        )

    def _seed(self, settings: Settings) -> None:
        """Put what a converted recording found there into the store."""
        seeds = [playing.key["seed"] for playing in self._playing if playing.key.get("seed")]
        if seeds:
            from ..recordings.convert.seed import seed  # noqa: PLC0415 - loads SQLAlchemy

            for objects in seeds:
                seed(settings, objects)

    # --- cassettes

    def plays(self, playing: Playing, harmless: Collection[re.Pattern[str]]) -> None:
        """A cassette begins to play; a converted one makes any test ours, for only the shim can play it."""
        self._playing.append(playing)
        self.is_ours = self.is_ours or bool(playing.key)
        if self.is_ours and not playing.is_old:
            playing.clean(harmless)

    def has_played(self, playing: Playing) -> None:
        """It has been saved."""
        self._playing.remove(playing)
        self._played.append((playing, playing.unplayed))

    def refusal(self) -> RecordingError | None:
        """What VCR.py said of requests that it could not play; None where there were none, or the test is not ours."""
        refused, self.refused = self.refused, []
        if not self.is_ours or not refused:
            return None
        # unittest keeps what a test raised to itself, and would show that.
        kept = getattr(self.item, "_excinfo", None)
        trace = kept[0].tb if kept else None
        if kept:
            kept.clear()
        said = dict.fromkeys(str(error) for error in refused)  # the SDK asks again
        if any(is_old(str(getattr(getattr(error, "failed_request", None), "uri", ""))) for error in refused):
            said[_NOT_WRAPPED] = None
        return RecordingError("\n\n".join(said)).with_traceback(trace)

    def end(self) -> None:
        """Raise `RecordingError` for secrets that a recording would hold, or for what a passed test did not play."""
        __tracebackhide__ = True
        if not self.is_ours:
            return
        for playing, _ in self._played:
            if playing.leaks:
                found = "\n".join(f"  {leak}" for leak in dict.fromkeys(playing.leaks))
                message = (
                    f"{playing.path} was not written: something in it looks like a secret.\n{found}\n"
                    "Keep it out of the test, or name it in the ini option assistants_compat_harmless if it is none."
                )
                raise RecordingError(message)
        if not self.has_passed or self._may_be_partly_played:
            return
        for playing, unplayed in self._played:
            if unplayed and not playing.is_old:
                named = "\n".join(f"  {number + 1}. {' '.join(playing.recorded[number])}" for number in unplayed)
                message = (
                    f"{playing.path} was only partly played: the test never made "
                    f"{len(unplayed)} of its {len(playing.recorded)} requests.\n{named}\n"
                    f"Record it anew, or allow it: @pytest.mark.{MARKER}(partly_played=True)."
                )
                raise RecordingError(message)

    def report(self) -> dict[str, Any]:
        """What the end of the run sums up, as values that can be sent."""
        played = {
            playing.path: {"requests": [" ".join(each) for each in playing.recorded], "unplayed": unplayed}
            for playing, unplayed in self._played
        }
        return {"old": any(playing.is_old for playing, _ in self._played), "played": played}


def _close(store: str) -> None:
    """Close the test's store, if anything was kept in it."""
    overrides.forget(store)
    engine = sys.modules.get(f"{__package__.partition('.')[0]}.store.engine")
    if engine is not None:
        engine.close(f"sqlite:///{store}")
