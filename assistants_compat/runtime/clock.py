"""Where the time and the ids come from: one object a process, which a replayed test puts another in the place of."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..wire import ids


class Sources:
    """The clock and the chance of this machine."""

    def now(self) -> int:
        """The time, in whole seconds since the epoch, as the API counts."""
        return int(time.time())

    def mint(self, kind: ids.Kind) -> str:
        """A new id; called from any thread."""
        return ids.mint(kind, secrets.token_bytes)

    def begins(self, method: str, route: str) -> None:
        """Hear that a legacy request begins, by its path below the API's base."""

    def owns(self, file_id: str) -> bool:
        """Whether a file id may be one of a generated file; then the store has the last word."""
        return ids.may_be_ours(file_id)

    def are_named_in(self, body: bytes) -> bool:
        """Whether a body in JSON may name such a file."""
        return ids.OUR_FILE_BEGINS in body


_current = Sources()


def current() -> Sources:
    """Those that count now."""
    return _current


@contextmanager
def exchanged(sources: Sources) -> Iterator[None]:
    """Let others count meanwhile, in the whole process."""
    global _current  # noqa: PLW0603 - one a process is the point: a stream's threads and tasks see it too
    before, _current = _current, sources
    try:
        yield
    finally:
        _current = before
