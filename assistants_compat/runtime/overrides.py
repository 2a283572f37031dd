"""Per-test overrides of the settings of wrapped clients, and which requests are the library's own.

A recording of the old service replays only if its requests go out unchanged, and a replayed test needs its own store.
Both must hold for clients that the tested program has wrapped with its own settings. So every request asks this module
for its settings, and the client proxy needs to know nothing about recorders. A recorder sees the requests of a whole
suite, and this module tells it which of them the library sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..settings import Settings

SettingsOverride = Callable[[Settings], "Settings | None"]

_overrides: list[SettingsOverride] = []  # for the whole process, like the recorders' own patches; the last one wins


def effective_settings(settings: Settings) -> Settings | None:
    """The settings to use for a client that was wrapped with `settings`, or None to treat it as not wrapped."""
    return _overrides[-1](settings) if _overrides else settings


@contextmanager
def override_settings(override: SettingsOverride) -> Iterator[None]:
    """Apply `override` to every wrapped client of the process within the context."""
    _overrides.append(override)
    try:
        yield
    finally:
        _overrides.remove(override)


_sends_own_request: ContextVar[bool] = ContextVar("sends_own_request", default=False)


@contextmanager
def own_request() -> Iterator[None]:
    """Mark the HTTP requests that this task or thread sends within the context as the library's own."""
    previous = _sends_own_request.get()
    _sends_own_request.set(True)
    try:
        yield
    finally:
        # Not `reset`, which fails in a coroutine that is closed from another context.
        _sends_own_request.set(previous)


def is_own_request() -> bool:
    """Whether the HTTP request that is being sent is one of the library's own, and not the caller's."""
    return _sends_own_request.get()
