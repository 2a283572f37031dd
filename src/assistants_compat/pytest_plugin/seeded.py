"""Ids and a clock that are the same on every run of a test, whatever ran before it and beside it."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter

from .. import ids
from ..sources import Sources

BEGIN = 1_700_000_000
"""The time of every replayed test, in seconds since the epoch."""


class Seeded(Sources):
    """Counts each kind of id by itself, from a seed; its clock stands still."""

    def __init__(self, seed: str) -> None:
        """Count from `seed`."""
        self._seed = seed
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def now(self) -> int:
        """Always the same."""
        return BEGIN

    def mint(self, kind: ids.Kind) -> str:
        """The next id of its kind."""
        with self._lock:
            self._counts[kind] += 1
            number = self._counts[kind]
        digest = hashlib.sha512(f"{self._seed}:{kind}:{number}".encode()).digest()
        return ids.mint(kind, lambda size: digest[:size])
