"""`Replayed`: the clock and the ids of a test that a recording answers, the same on every run.

A test enters `sources.exchanged(Replayed(key))`, where `key` is what its cassette holds under `assistants_compat`, or
nothing.  A converted recording has such a key (a cassette of new traffic needs none: its ids are counted, and its clock
stands still):

    assistants_compat:
      ids:   {thread: [thread_abc], msg: [msg_a, msg_b], run: [run_abc], ...}
      clock: {POST /threads: [1720000000], ...}
      seed:  {assistants: [...], threads: [...], messages: [...], runs: [...], steps: [...]}

`ids` are in the order in which they are made; `clock` has, of each call by its method and its path below the base, the
times at which it comes; `seed` are objects that were there before, as they were served.

`conversion.seeding.seed` puts them into the store.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

from ..runtime import clock
from ..wire import ids
from ..wire.objects import Json

KEY = "assistants_compat"
"""The key of a document's top level that says how it is replayed."""
START = 1_700_000_000
"""The time of a test whose recording says none."""


class Replayed(clock.Sources):
    """The ids and the times of a recording; where it says none, counted ids and a clock that stands still."""

    def __init__(self, key: Mapping[str, Any] | None = None) -> None:
        """Begin at the first call; `key` as above."""
        given = key or {}
        self._ids: dict[str, deque[str]] = {kind: deque(each) for kind, each in (given.get("ids") or {}).items()}
        self._files = frozenset(self._ids.get("file", ()))
        self._times = {call: deque(each) for call, each in (given.get("clock") or {}).items()}
        self._now = min((each[0] for each in self._times.values() if each), default=START)
        # Taken from any thread: `popleft` and `next` are one step of the interpreter.
        self._numbers: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))

    def now(self) -> int:
        """The time of the call that began last."""
        return self._now

    def mint(self, kind: ids.Kind) -> str:
        """The next recorded id of this kind, or a counted one."""
        recorded = self._ids.get(kind)
        return recorded.popleft() if recorded else counted(kind, next(self._numbers[kind]))

    def begins(self, method: str, route: str) -> None:
        """Set the clock to the time of this call; a call that comes more often than it was recorded changes nothing."""
        times = self._times.get(f"{method} {route}")
        if times:
            self._now = max(self._now, times.popleft())

    def owns(self, file_id: str) -> bool:
        """Whether it is a generated file of the recording, or has the shape of one of ours."""
        return file_id in self._files or super().owns(file_id)

    def are_named_in(self, body: bytes) -> bool:
        """Whether a body in JSON names such a file."""
        return any(f'"{file_id}"'.encode() in body for file_id in self._files) or super().are_named_in(body)


def counted(kind: ids.Kind, number: int) -> str:
    """The id of this kind with this number: always the same one."""
    seed = f"{kind} {number}".encode()
    return ids.mint(kind, lambda length: hashlib.shake_256(seed).digest(length))


def key_of(document: Mapping[str, Any]) -> Json:
    """What a document says of its replay; empty for one of new traffic."""
    key = document.get(KEY)
    return dict(key) if isinstance(key, dict) else {}
