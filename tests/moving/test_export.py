"""Everything in the store as the old API served it, and taken back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from doors import Door
from legacy import CODE, CSV, LINK, calling, finish_run, run_again, submit, waiting_run
from saved import exported, rows, take


def _lived_in(door: Door, client: Any, upstream: StandIn) -> Any:
    """A store with all that it can hold: files, function rounds, deleted messages, an active run."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = finish_run(door, client, assistant={"tools": CODE, "temperature": 1.0})
    messages = client.beta.threads.messages
    gone = door(messages.create(run.thread_id, role="user", content="Forget this."))
    door(messages.delete(gone.id, thread_id=run.thread_id))
    called = waiting_run(door, client, upstream, assistant={"metadata": {"a": "1"}})
    upstream.script(Turn(text="Seen.", polls=0))
    submit(door, client, called)
    door(client.beta.threads.runs.poll(called.id, thread_id=called.thread_id))
    waiting_run(door, client, upstream, "call_2", "call_3")
    door(client.beta.assistants.delete(called.assistant_id))
    return run


def test_export_import_export_is_identical(
    door: Door, client: Any, upstream: StandIn, settings: Settings, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """File by file, from SQLite to SQLite and from PostgreSQL to SQLite; the rows are the same too."""
    _lived_in(door, client, upstream)
    first = exported(settings, tmp_path / "first")
    other = dataclasses.replace(
        sqlite_settings, store=str(tmp_path / "other.db"), files=str(tmp_path / "other"), namespace="other"
    )
    done, told = take(other, tmp_path / "first")
    assert told == []
    assert exported(other, tmp_path / "second") == first
    assert rows(other) == rows(settings)
    assert CSV in first.values()
