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
from typing import Any

from ..settings import Settings

SettingsOverride = Callable[[Settings], "Settings | None"]
RequestFilter = Callable[[Any, Any], bool]  # of a request, and of the HTTP client that is to send it

_overrides: list[SettingsOverride] = []  # for the whole process, like the recorders' own patches; the last one wins
_filters: list[RequestFilter] = []  # as above


def effective_settings(settings: Settings) -> Settings | None:
    """The settings to use for a client that was wrapped with `settings`, or None to treat it as not wrapped."""
    return _overrides[-1](settings) if _overrides else settings


def leaves_to_client(request: Any, http_client: Any) -> bool:
    """Whether a legacy request goes out as it is, because a mock of the HTTP client answers it."""
    return bool(_filters) and _filters[-1](request, http_client)


@contextmanager
def leave_to_client(request_filter: RequestFilter) -> Iterator[None]:
    """Let the HTTP client of every wrapped client answer the legacy requests for which `request_filter` is true."""
    _filters.append(request_filter)
    try:
        yield
    finally:
        _filters.remove(request_filter)


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
