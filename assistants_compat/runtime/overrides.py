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
