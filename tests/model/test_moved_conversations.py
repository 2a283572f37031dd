"""Any conversation that is exported, imported and exported again gives identical files."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conversations import TTL, Conversations, World
from hypothesis import HealthCheck, Phase
from hypothesis import settings as bounds
from hypothesis.stateful import run_state_machine_as_test

from assistants_compat import Settings
from assistants_compat.engine.io import IO
from assistants_compat.testing import StandIn
from assistants_compat.tools.transfer.export_objects import export
from assistants_compat.tools.transfer.import_objects import import_objects


class MovedConversations(Conversations):
    """A generated conversation whose store is exported and imported at its end."""

    def teardown(self) -> None:
        """Compare two exports, the second of a store into which the first was imported."""
        with tempfile.TemporaryDirectory() as directory:
            here = Path(directory)
            other = Settings(store=str(here / "other.db"), namespace="moved")
            export(self.settings, here / "first")
            problems: list[str] = []
            import_objects(other, [here / "first"], lambda _place, why: problems.append(why))
            export(other, here / "second")
            assert problems == []
            for path in (here / "first").iterdir():
                assert path.read_bytes() == (here / "second" / path.name).read_bytes(), path.name
        super().teardown()


def test_any_conversation_survives_a_move(
    upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any conversation that is exported and imported exports to the same files again."""
    world = World(upstream, with_ttl(sqlite_settings))
    monkeypatch.setattr(IO, "now", lambda _io: world.now)
    factory: Any = partial(MovedConversations, world)
    run_state_machine_as_test(
        factory,
        settings=bounds(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[phase for phase in Phase if phase is not Phase.explain],
        ),
    )


def with_ttl(settings: Settings) -> Settings:
    """Return the settings with the run lifetime that the model assumes."""
    return Settings(store=settings.store, files=settings.files, poll_after_ms=1, run_ttl=TTL)
