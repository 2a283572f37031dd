"""What a test run says, meanwhile, of every wrapped client's requests: under other settings, or not answered here.

A recording of the old service can be played only if its requests go out as they are, and a replayed test needs a store
of its own, whoever wrapped the client and with whatever settings.  So it is asked at each request, and the door knows
no recorder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .settings import Settings

Choice = Callable[[Settings], "Settings | None"]

_choices: list[Choice] = []  # of the whole process, like the recorders' own patches; the last one counts


def settings(given: Settings) -> Settings | None:
    """The settings that count now for a client that was given these; None for a client that shall seem unwrapped."""
    return _choices[-1](given) if _choices else given


@contextmanager
def chosen(choice: Choice) -> Iterator[None]:
    """Let `choice` say so meanwhile, in the whole process."""
    _choices.append(choice)
    try:
        yield
    finally:
        _choices.remove(choice)
