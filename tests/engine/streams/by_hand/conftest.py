"""Proves how a streamed run ends, on an upstream whose events the test sends one by one."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat import Settings
from kit.doors import Door
from kit.streams import ManualUpstream


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


@pytest.fixture
def client(door: Door, hand: ManualUpstream, settings: Settings) -> Any:
    """A wrapped client of the door's kind."""
    return door.client(hand, settings)
