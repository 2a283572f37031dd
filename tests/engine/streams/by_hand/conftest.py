"""What these tests of streams share: an upstream that is driven by hand, over SQLite."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat import Settings
from kit.doors import Door
from kit.streams import ByHand


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, where nothing is said about the database."""
    return sqlite_settings


@pytest.fixture
def client(door: Door, hand: ByHand, settings: Settings) -> Any:
    """A wrapped client of the door's kind."""
    return door.client(hand, settings)
