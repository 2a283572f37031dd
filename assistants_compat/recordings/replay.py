"""The clock and the ids of a test that replays a recording: the same on every run.

A test enters `clock.replaced_by(ReplayClockAndIds(data))`. `data` is what its cassette holds under the key
`assistants_compat`, or nothing. Converted recordings have this key:

    assistants_compat:
      ids:   {thread: [thread_abc], msg: [msg_a, msg_b], run: [run_abc], ...}
      clock: {POST /threads: [1720000000], ...}
      seed:  {assistants: [...], threads: [...], messages: [...], runs: [...], steps: [...]}

`ids` lists the ids of each kind in the order in which the library assigns them. `clock` lists the times of each call,
by its method and its path below the base URL. `seed` holds objects that existed before the recording began, as the
service served them; `convert.seed.insert_seed` puts them into the store.

A cassette of new traffic needs no such key: its ids are numbered, and its clock stands still.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from ..runtime import clock
from ..wire import ids
from ..wire.objects import Json

REPLAY_KEY = "assistants_compat"
"""The top-level key of a cassette that holds its replay data."""
DEFAULT_START_TIME = 1_700_000_000
"""The time of a test whose recording has no times."""


class ReplayClockAndIds(clock.ClockAndIds):
    """The ids and the times of a recording; without recorded ones, numbered ids and a clock that stands still."""

    def __init__(self, data: Mapping[str, Any] | None = None, on_request: Callable[[], object] | None = None) -> None:
        """Start at the time of the first call; `data` has the format that the module describes.

        `on_request` is called for each request that the library answers.
        """
        self._on_request = on_request
        recorded = data or {}
        self._ids: dict[str, deque[str]] = {kind: deque(ids_) for kind, ids_ in (recorded.get("ids") or {}).items()}
        self._files = frozenset(self._ids.get("file", ()))
        self._times = {call: deque(times) for call, times in (recorded.get("clock") or {}).items()}
        self._now = min((times[0] for times in self._times.values() if times), default=DEFAULT_START_TIME)
        # Any thread may take an id: `popleft` and `next` are one step of the interpreter.
        self._numbers: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))

    def now(self) -> int:
        """Return the time of the call that began last."""
        return self._now

    def new_id(self, kind: ids.IdKind) -> str:
        """Return the next recorded id of this kind, or a numbered one when there are no more."""
        recorded = self._ids.get(kind)
        return recorded.popleft() if recorded else numbered_id(kind, next(self._numbers[kind]))

    def on_legacy_request(self, method: str, route: str) -> None:
        """Set the clock to the recorded time of this call.

        A call that comes more often than it was recorded changes nothing, and the clock never goes back.
        """
        if self._on_request is not None:
            self._on_request()
        times = self._times.get(f"{method} {route}")
        if times:
            self._now = max(self._now, times.popleft())

    def may_be_generated_file(self, file_id: str) -> bool:
        """Return whether it is a generated file of the recording, or has the shape of the library's own file ids."""
        return file_id in self._files or super().may_be_generated_file(file_id)

    def mentions_generated_file(self, body: bytes) -> bool:
        """Return whether a JSON body names such a file."""
        return any(f'"{file_id}"'.encode() in body for file_id in self._files) or super().mentions_generated_file(body)


def numbered_id(kind: ids.IdKind, number: int) -> str:
    """Return the id of this kind with this number; it is always the same one."""
    seed = f"{kind} {number}".encode()
    return ids.new_id(kind, lambda length: hashlib.shake_256(seed).digest(length))


def replay_data(document: Mapping[str, Any]) -> Json:
    """Return the replay data of a cassette; empty for a cassette of new traffic."""
    data = document.get(REPLAY_KEY)
    return dict(data) if isinstance(data, dict) else {}
