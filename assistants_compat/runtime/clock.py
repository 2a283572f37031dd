"""The source of times and ids: one object for the process, which a replayed test replaces."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..wire import ids


class ClockAndIds:
    """The machine's clock and random ids.

    A subclass that replays a test returns recorded values instead, and follows the legacy requests to choose them.
    """

    def now(self) -> int:
        """The time in whole seconds since the epoch, the API's unit."""
        return int(time.time())

    def new_id(self, kind: ids.IdKind) -> str:
        """Make a new id. This may be called from any thread."""
        return ids.new_id(kind, secrets.token_bytes)

    def on_legacy_request(self, method: str, route: str) -> None:
        """Called when a legacy request begins; `route` is its path below the API's base URL."""

    def may_be_generated_file(self, file_id: str) -> bool:
        """Whether a file id may belong to a generated file; if so, the store decides."""
        return ids.looks_like_generated_file_id(file_id)

    def mentions_generated_file(self, body: bytes) -> bool:
        """Whether a JSON body may contain the id of a generated file."""
        return ids.GENERATED_FILE_ID_IN_JSON in body


_current = ClockAndIds()


def current() -> ClockAndIds:
    """The source that the process uses now."""
    return _current


@contextmanager
def replace_current(replacement: ClockAndIds) -> Iterator[None]:
    """Use `replacement` in the whole process within the context."""
    global _current  # noqa: PLW0603 - process-wide on purpose: a stream's threads and tasks must see it too
    previous, _current = _current, replacement
    try:
        yield
    finally:
        _current = previous
