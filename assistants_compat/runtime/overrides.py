"""What a test run says, meanwhile, of every wrapped client's requests: under other settings, or not answered here.

A recording of the old service can be played only if its requests go out as they are, and a replayed test needs a store
of its own, whoever wrapped the client and with whatever settings.  So it is asked at each request, and the door knows
no recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..settings import Settings

Choice = Callable[[Settings], "Settings | None"]

_choices: list[Choice] = []  # of the whole process, like the recorders' own patches; the last one counts
_refused: dict[str, set[str]] = {}


def settings(given: Settings) -> Settings | None:
    """The settings that count now for a client that was given these; None for a client that shall seem unwrapped."""
    return _choices[-1](given) if _choices else given


def without_background(settings: Settings) -> set[str]:
    """The upstreams that refused background mode under these settings: one test must not know of another's."""
    return _refused.setdefault(str(settings.store), set())


def forget(store: str) -> None:
    """Nobody comes back to this store."""
    _refused.pop(store, None)


@contextmanager
def chosen(choice: Choice) -> Iterator[None]:
    """Let `choice` say so meanwhile, in the whole process."""
    _choices.append(choice)
    try:
        yield
    finally:
        _choices.remove(choice)
