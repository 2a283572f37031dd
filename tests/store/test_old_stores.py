"""This version opens the stores of every earlier version; `old_stores/` has a dump of one store for each of them.

A release that changes the schema adds the dump of a new store: `sqlite3 store.db .dump`. Dumps are never edited.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import assistants_compat
from assistants_compat import Settings
from assistants_compat.store import tables
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door

DUMPS = sorted((Path(__file__).parent / "old_stores").glob("*.sql"))
CSV = b"region,sales\nnorth,120\n"


@pytest.fixture(params=DUMPS, ids=lambda path: path.stem)
def old_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings for a store that an earlier version wrote, with the bytes of its one file."""
    store = tmp_path / "store.db"
    dump = request.param.read_text(encoding="utf-8")
    with closing(sqlite3.connect(store)) as db:
        db.executescript(dump)
    [file_id] = set(re.findall(r"file-\w+", dump))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / file_id).write_bytes(CSV)
    return Settings(store=str(store), files=str(tmp_path / "files"), poll_after_ms=1)


def test_an_old_store_is_read_and_continued(
    door: Door, upstream: StandIn, old_settings: Settings, tmp_path: Path
) -> None:
    """A thread in a store of an earlier version keeps its objects and its file, and takes another run."""
    client = door.client(upstream, old_settings)
    threads = client.beta.threads
    [assistant] = door.all(client.beta.assistants.list())
    with closing(sqlite3.connect(str(old_settings.store))) as db:
        [(thread_id,)] = db.execute("SELECT id FROM threads WHERE NOT deleted").fetchall()
    assert door(threads.retrieve(thread_id)).metadata == {"user": "7"}
    [answer, question] = door.all(threads.messages.list(thread_id))
    assert question.content[0].text.value == "Sales by region?"
    [annotation] = answer.content[0].text.annotations
    assert door(client.files.content(annotation.file_path.file_id)).read() == CSV
    [run] = door.all(threads.runs.list(thread_id))
    steps = door.all(threads.runs.steps.list(run.id, thread_id=thread_id))
    assert (run.status, [step.type for step in steps]) == ("completed", ["message_creation", "tool_calls"])
    [path] = door(assistants_compat.download_files(client, run, tmp_path / "downloads"))
    assert (path.name, path.read_bytes()) == ("sales.csv", CSV)
    upstream.script(Turn(text="Again."))
    door(threads.messages.create(thread_id, role="user", content="And now?"))
    assert door(threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant.id)).status == "completed"
    assert door.all(threads.messages.list(thread_id))[0].content[0].text.value == "Again."


def test_every_schema_version_has_a_dump() -> None:
    """Each version of the schema up to this one has a dump, so a change of the schema cannot forget the old stores."""
    dumps = "".join(path.read_text(encoding="utf-8") for path in DUMPS)
    found = {int(version) for version in re.findall(r'"schema_version" VALUES\((\d+)\)', dumps)}
    assert found == set(range(1, tables.SCHEMA_VERSION + 1))
