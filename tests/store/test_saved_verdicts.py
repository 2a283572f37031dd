"""The verdicts of `doctor --live --save` are kept in the store, and each process reads them once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from assistants_compat import Settings
from assistants_compat.engine.io import BlockingIO
from assistants_compat.runtime.upstream_memory import UpstreamMemory
from assistants_compat.store import database, locations, verdicts
from assistants_compat.store.database import transact
from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.legacy_code import finish_run

UPSTREAM = "https://api.openai.com/v1"
DUMPS = sorted((Path(__file__).parent / "old_stores").glob("*.sql"))


def save(settings: Settings, refused: dict[tuple[str, str], bool], *, upstream: str = UPSTREAM) -> None:
    """Save verdicts as the command does, and close the store."""
    url = locations.database_url(settings.store)
    transact(url, lambda db: verdicts.save(db, settings.namespace, upstream, refused, 1), write=True)
    database.close(url)


def memory_of(settings: Settings, upstream: str = UPSTREAM) -> Any:
    """Return the memory of an upstream in a new process, after its first read of the store."""
    url = locations.database_url(settings.store)
    database.close(url)
    transact(url, lambda _db: None, write=False)
    return BlockingIO(settings, _Named(upstream), UpstreamMemory()).memory  # type: ignore[arg-type]  # of a name alone


class _Named:
    credential = "key"

    def __init__(self, name: str) -> None:
        self.name = name


def test_a_saved_verdict_is_known_for_its_upstream_and_key(settings: Settings) -> None:
    """A verdict is known for the upstream, the namespace and the key that it was saved for, and for no other."""
    save(settings, {("background_refused", ""): True, ("sampling_unsupported", "o3"): True})
    memory = memory_of(settings)
    assert memory.knows("background_refused")
    assert memory.knows("sampling_unsupported", "o3")
    assert not memory.knows("sampling_unsupported", "gpt-4o")
    assert not memory_of(settings, "https://another.example/v1").knows("background_refused")
    other = Settings(store=settings.store, files=settings.files, namespace=f"{settings.namespace}-other")
    assert not memory_of(other).knows("background_refused")


def test_saving_again_replaces_and_forgets(settings: Settings) -> None:
    """A later verdict replaces an earlier one, and what is accepted again is forgotten; others stay."""
    save(settings, {("background_refused", ""): True, ("vision_purpose", ""): True})
    save(settings, {("background_refused", ""): True})
    save(settings, {("background_refused", ""): False})
    memory = memory_of(settings)
    assert (memory.knows("background_refused"), memory.knows("vision_purpose")) == (False, True)


def test_a_store_without_verdicts_has_no_table_for_them(sqlite_settings: Settings) -> None:
    """The table is made by the first save, so that a store without verdicts is as an earlier version left it."""
    assert not memory_of(sqlite_settings).knows("background_refused")
    with closing(sqlite3.connect(str(sqlite_settings.store))) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "threads" in names
    assert "verdicts" not in names
    save(sqlite_settings, {("background_refused", ""): True})
    assert memory_of(sqlite_settings).knows("background_refused")


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
def test_a_store_of_an_earlier_version_keeps_verdicts(dump: Path, tmp_path: Path) -> None:
    """A store that an earlier version wrote takes verdicts, and keeps its own objects."""
    settings = Settings(store=str(tmp_path / "old.db"), files=str(tmp_path / "files"))
    with closing(sqlite3.connect(str(settings.store))) as db:
        db.executescript(dump.read_text(encoding="utf-8"))
        count = db.execute("SELECT count(*) FROM messages").fetchone()
    assert not memory_of(settings).knows("background_refused")
    save(settings, {("background_refused", ""): True})
    assert memory_of(settings).knows("background_refused")
    with closing(sqlite3.connect(str(settings.store))) as db:
        assert db.execute("SELECT count(*) FROM messages").fetchone() == count


def test_the_verdicts_are_read_once(sync: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Runs read the verdicts when the store is opened, and never again."""
    save(sqlite_settings, {("background_refused", ""): True}, upstream=upstream.base_url)
    client = sync.client(upstream, sqlite_settings)
    finish_run(sync, client)
    engines = database._engines[locations.database_url(sqlite_settings.store)]
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(engines.writing, "before_cursor_execute", note)
    assert finish_run(sync, client).status == "completed"
    assert statements
    assert [statement for statement in statements if "verdicts" in statement] == []
    sent = [request.json for request in upstream.requests if (request.method, request.path) == ("POST", "/responses")]
    assert all("background" not in request for request in sent)


def test_both_kinds_of_clients_know_a_saved_verdict(door: Door, upstream: StandIn, settings: Settings) -> None:
    """The first run of a new process is made inline where a saved verdict says that background mode is refused."""
    upstream.configure(background_refused=True)
    save(settings, {("background_refused", ""): True}, upstream=upstream.base_url)
    assert finish_run(door, door.client(upstream, settings)).status == "completed"
    sent = [request for request in upstream.requests if (request.method, request.path) == ("POST", "/responses")]
    assert len(sent) == 1
