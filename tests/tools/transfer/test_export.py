"""Everything in the store as the old API served it, and taken back."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from saved import exported, rows, take

from assistants_compat import Settings
from assistants_compat.store import bulk
from assistants_compat.testing import StandIn, Turn
from assistants_compat.tools.transfer import export_objects
from assistants_compat.tools.transfer.export_objects import export
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, dump, finish_run, run_again, submit, waiting_run


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
    _, told = take(other, tmp_path / "first")
    assert told == []
    assert exported(other, tmp_path / "second") == first
    assert rows(other) == rows(settings)
    assert CSV in first.values()


def test_a_store_moves_to_the_other_database_and_back(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, postgresql_server: str, tmp_path: Path
) -> None:
    """SQLite, PostgreSQL, SQLite: three exports, all the same."""
    _lived_in(sync, sync.client(upstream, sqlite_settings), upstream)
    there = Settings(store=postgresql_server, files=str(tmp_path / "there"), namespace=f"test-{tmp_path.name}")
    back = Settings(store=str(tmp_path / "back.db"), files=str(tmp_path / "back"))
    exports = [exported(sqlite_settings, tmp_path / "0")]
    for number, settings in enumerate((there, back), 1):
        _, told = take(settings, tmp_path / str(number - 1))
        assert told == []
        exports.append(exported(settings, tmp_path / str(number)))
    assert exports[0] == exports[1] == exports[2]


def test_what_was_taken_back_goes_on_as_before(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """The next run sends the same, calls and code included; a run that waits gets its outputs; files are downloaded."""
    client = sync.client(upstream, sqlite_settings)
    run = _lived_in(sync, client, upstream)
    exported(sqlite_settings, tmp_path / "export")
    other = Settings(store=str(tmp_path / "other.db"), files=str(tmp_path / "other"), poll_after_ms=1)
    take(other, tmp_path / "export")
    moved = sync.client(upstream, other)
    sent = []
    for each in (client, moved):
        upstream.script(Turn(text="And?", polls=0))
        run_again(sync, each, run, "Go on.")
        sent.append(next(asked.json for asked in reversed(upstream.requests) if asked.path == "/responses"))
    assert sent[0] == sent[1]
    assert any(item.get("type") == "code_interpreter_call" for item in sent[0]["input"])
    [waits] = [row for row in dump(other)["runs"] if row["status"] == "requires_action"]
    upstream.script(Turn(text="Done.", polls=0))
    submit(sync, moved, moved.beta.threads.runs.retrieve(waits["id"], thread_id=waits["thread_id"]), "call_2", "call_3")
    assert moved.beta.threads.runs.poll(waits["id"], thread_id=waits["thread_id"]).status == "completed"
    [file] = dump(other)["files"]
    assert moved.files.content(file["id"]).read() == CSV


def test_an_export_that_was_edited_is_taken_as_it_stands(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """What the library wrote beside an object counts only while the object is what it was."""
    client = sync.client(upstream, sqlite_settings)
    assistant = client.beta.assistants.create(model="gpt-4o", temperature=1.0, name="Old")
    exported(sqlite_settings, tmp_path / "export")
    path = tmp_path / "export" / "assistants.jsonl"
    path.write_text(path.read_text("utf-8").replace('"Old", "desc', '"New", "desc'), "utf-8")
    other = Settings(store=str(tmp_path / "other.db"))
    assert take(other, tmp_path / "export")[1] == []
    assert sync.client(upstream, other).beta.assistants.retrieve(assistant.id).name == "New"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_its_owner_can_read_an_export(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """Directories 0700 and files 0600, whatever the umask; nothing has a name that a model chose."""
    client = sync.client(upstream, sqlite_settings)
    upstream.script(Turn(text="x", files={"../../evil.csv": CSV}, polls=0))
    finish_run(sync, client, assistant={"tools": CODE})
    export(sqlite_settings, tmp_path / "export")
    every = [tmp_path / "export", *(tmp_path / "export").rglob("*")]
    assert {(path.is_dir(), path.stat().st_mode & 0o777) for path in every} == {(True, 0o700), (False, 0o600)}
    [kept] = (tmp_path / "export" / "files").iterdir()
    assert re.fullmatch(r"file-AC[0-9A-Za-z]+", kept.name)


def test_an_export_that_fails_leaves_no_directory(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has the name that was asked for is whole."""
    sync.client(upstream, sqlite_settings).beta.threads.create()
    with monkeypatch.context() as patch:
        patch.setattr(export_objects, "_copy_all", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(sqlite_settings, tmp_path / "deep" / "export")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_whose_bytes_are_gone_is_said(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """By the export, and by the import: a row never says that bytes are here which are not."""
    client = sync.client(upstream, sqlite_settings)
    run = _lived_in(sync, client, upstream)
    [file] = dump(sqlite_settings)["files"]
    (tmp_path / "files" / file["id"]).unlink()
    done = export(sqlite_settings, tmp_path / "export")
    assert list(done.failed) == [file["id"]]
    other = Settings(store=str(tmp_path / "other.db"), files=str(tmp_path / "other"))
    _, told = take(other, tmp_path / "export")
    assert [line.partition(": ")[2] for line in told] == [f"{file['id']}: its bytes are not beside it, in files/"]
    assert (dump(other)["files"], len(dump(other)["threads"])) == ([], 3)
    assert run.thread_id in {row["id"] for row in dump(other)["threads"]}


def test_an_export_is_one_moment(
    sync: Door, upstream: StandIn, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written while it reads is not in it, in both databases: no message without its thread."""
    client = sync.client(upstream, settings)
    client.beta.threads.create(messages=[{"role": "user", "content": "Before."}])
    in_order = bulk.in_order

    def slowly(db: Any, noun: Any, namespace: str) -> Any:
        yield from in_order(db, noun, namespace)
        if noun == "threads":
            client.beta.threads.create(messages=[{"role": "user", "content": "Meanwhile."}])

    monkeypatch.setattr(bulk, "in_order", slowly)
    done = export(settings, tmp_path / "export")
    assert (done.written["threads"], done.written["messages"]) == (1, 1)
    assert len(dump(settings)["messages"]) == 2
