"""Per-test overrides of the settings of wrapped clients.

A recording of the old service replays only if its requests go out unchanged, and a replayed test needs its own store.
Both must hold for clients that the tested program has wrapped with its own settings. So every request asks this module
for its settings, and the client proxy needs to know nothing about recorders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..settings import Settings

SettingsOverride = Callable[[Settings], "Settings | None"]

_overrides: list[SettingsOverride] = []  # for the whole process, like the recorders' own patches; the last one wins
_without_background_by_store: dict[str, set[str]] = {}


def effective_settings(settings: Settings) -> Settings | None:
    """The settings to use for a client that was wrapped with `settings`, or None to treat it as not wrapped."""
    return _overrides[-1](settings) if _overrides else settings


def upstreams_without_background(settings: Settings) -> set[str]:
    """The upstreams that refused background mode, one set for each store, so that tests do not affect each other."""
    return _without_background_by_store.setdefault(str(settings.store), set())


def forget_store(store: str) -> None:
    """Forget what is known of a store that no test will use again."""
    _without_background_by_store.pop(store, None)


@contextmanager
def override_settings(override: SettingsOverride) -> Iterator[None]:
    """Apply `override` to every wrapped client of the process within the context."""
    _overrides.append(override)
    try:
        yield
    finally:
        _overrides.remove(override)
