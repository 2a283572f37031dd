"""An export has everything in the store as the old API served it, and can be imported again."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from saved import export_files, import_paths, stored_rows

from assistants_compat import Settings
from assistants_compat.store import bulk
from assistants_compat.testing import StandIn, Turn
from assistants_compat.tools.transfer import export_objects
from assistants_compat.tools.transfer.export_objects import export
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    CSV,
    LINK,
    delete_message,
    dump_store,
    finish_run,
    run_again,
    submit_outputs,
    waiting_run,
)


def _fill_store(door: Door, client: Any, upstream: StandIn) -> Any:
    """Fill a store with everything it can hold: files, function rounds, deleted messages, an active run."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = finish_run(door, client, assistant={"tools": CODE, "temperature": 1.0})
    messages = client.beta.threads.messages
    deleted = door(messages.create(run.thread_id, role="user", content="Forget this."))
    delete_message(door, client, deleted.id, run.thread_id)
    run_with_calls = waiting_run(door, client, upstream, assistant={"metadata": {"a": "1"}})
    upstream.script(Turn(text="Seen.", polls=0))
    submit_outputs(door, client, run_with_calls)
    door(client.beta.threads.runs.poll(run_with_calls.id, thread_id=run_with_calls.thread_id))
    waiting_run(door, client, upstream, "call_2", "call_3")
    door(client.beta.assistants.delete(run_with_calls.assistant_id))
    return run


def test_export_import_export_is_identical(
    door: Door, client: Any, upstream: StandIn, settings: Settings, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """An imported export gives the same export and the same rows, from either database."""
    _fill_store(door, client, upstream)
    first = export_files(settings, tmp_path / "first")
    other = dataclasses.replace(
        sqlite_settings, store=str(tmp_path / "other.db"), files=str(tmp_path / "other"), namespace="other"
    )
    _, problems = import_paths(other, tmp_path / "first")
    assert problems == []
    assert export_files(other, tmp_path / "second") == first
    assert stored_rows(other) == stored_rows(settings)
    assert CSV in first.values()


def test_a_store_moves_to_the_other_database_and_back(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, postgresql_server: str, tmp_path: Path
) -> None:
    """Moving a store from SQLite to PostgreSQL and back gives three identical exports."""
    _fill_store(sync, sync.client(upstream, sqlite_settings), upstream)
    other = Settings(store=postgresql_server, files=str(tmp_path / "there"), namespace=f"test-{tmp_path.name}")
    back = Settings(store=str(tmp_path / "back.db"), files=str(tmp_path / "back"))
    exports = [export_files(sqlite_settings, tmp_path / "0")]
    for number, settings in enumerate((other, back), 1):
        _, problems = import_paths(settings, tmp_path / str(number - 1))
        assert problems == []
        exports.append(export_files(settings, tmp_path / str(number)))
    assert exports[0] == exports[1] == exports[2]


def test_an_imported_export_continues_as_before(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """After an import the next run sends the same, a waiting run takes its outputs, and files download."""
    client = sync.client(upstream, sqlite_settings)
    run = _fill_store(sync, client, upstream)
    export_files(sqlite_settings, tmp_path / "export")
    other = Settings(store=str(tmp_path / "other.db"), files=str(tmp_path / "other"), poll_after_ms=1)
    import_paths(other, tmp_path / "export")
    moved = sync.client(upstream, other)
    sent = []
    for current_client in (client, moved):
        upstream.script(Turn(text="And?", polls=0))
        run_again(sync, current_client, run, "Go on.")
        sent.append(next(request.json for request in reversed(upstream.requests) if request.path == "/responses"))
    assert sent[0] == sent[1]
    assert any(item.get("type") == "code_interpreter_call" for item in sent[0]["input"])
    [waiting] = [row for row in dump_store(other)["runs"] if row["status"] == "requires_action"]
    upstream.script(Turn(text="Done.", polls=0))
    submit_outputs(
        sync, moved, moved.beta.threads.runs.retrieve(waiting["id"], thread_id=waiting["thread_id"]), "call_2", "call_3"
    )
    assert moved.beta.threads.runs.poll(waiting["id"], thread_id=waiting["thread_id"]).status == "completed"
    [file] = dump_store(other)["files"]
    assert moved.files.content(file["id"]).read() == CSV


def test_an_edited_export_is_imported_as_edited(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """The library's additions to an exported object count only while the object is unchanged."""
    client = sync.client(upstream, sqlite_settings)
    assistant = client.beta.assistants.create(model="gpt-4o", temperature=1.0, name="Old")
    export_files(sqlite_settings, tmp_path / "export")
    path = tmp_path / "export" / "assistants.jsonl"
    path.write_text(path.read_text("utf-8").replace('"Old", "desc', '"New", "desc'), "utf-8")
    other = Settings(store=str(tmp_path / "other.db"))
    assert import_paths(other, tmp_path / "export")[1] == []
    assert sync.client(upstream, other).beta.assistants.retrieve(assistant.id).name == "New"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_its_owner_can_read_an_export(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """Directories have mode 0700 and files 0600, whatever the umask, and no name comes from the model."""
    client = sync.client(upstream, sqlite_settings)
    upstream.script(Turn(text="x", files={"../../evil.csv": CSV}, polls=0))
    finish_run(sync, client, assistant={"tools": CODE})
    export(sqlite_settings, tmp_path / "export")
    paths = [tmp_path / "export", *(tmp_path / "export").rglob("*")]
    assert {(path.is_dir(), path.stat().st_mode & 0o777) for path in paths} == {(True, 0o700), (False, 0o600)}
    [file] = (tmp_path / "export" / "files").iterdir()
    assert re.fullmatch(r"file-AC[0-9A-Za-z]+", file.name)


def test_an_export_that_fails_leaves_no_directory(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that fails leaves no directory, so a directory with its name is always complete."""
    sync.client(upstream, sqlite_settings).beta.threads.create()
    with monkeypatch.context() as patch:
        patch.setattr(export_objects, "_copy_file_bytes", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(sqlite_settings, tmp_path / "deep" / "export")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_without_bytes_is_reported(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """Export and import report a file whose bytes are missing, and the import stores no row for it."""
    client = sync.client(upstream, sqlite_settings)
    run = _fill_store(sync, client, upstream)
    [file] = dump_store(sqlite_settings)["files"]
    (tmp_path / "files" / file["id"]).unlink()
    result = export(sqlite_settings, tmp_path / "export")
    assert list(result.failed) == [file["id"]]
    other = Settings(store=str(tmp_path / "other.db"), files=str(tmp_path / "other"))
    _, problems = import_paths(other, tmp_path / "export")
    assert [line.partition(": ")[2] for line in problems] == [
        f"{file['id']}: its bytes are missing from the directory files/ beside it"
    ]
    assert (dump_store(other)["files"], len(dump_store(other)["threads"])) == ([], 3)
    assert run.thread_id in {row["id"] for row in dump_store(other)["threads"]}


def test_an_export_is_one_moment(
    sync: Door, upstream: StandIn, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects that are created during an export are not in it, on both databases."""
    client = sync.client(upstream, settings)
    client.beta.threads.create(messages=[{"role": "user", "content": "Before."}])
    iter_rows = bulk.iter_rows

    def iter_rows_with_new_thread(db: Any, noun: Any, namespace: str) -> Any:
        yield from iter_rows(db, noun, namespace)
        if noun == "threads":
            client.beta.threads.create(messages=[{"role": "user", "content": "Meanwhile."}])

    monkeypatch.setattr(bulk, "iter_rows", iter_rows_with_new_thread)
    result = export(settings, tmp_path / "export")
    assert (result.written["threads"], result.written["messages"]) == (1, 1)
    assert len(dump_store(settings)["messages"]) == 2
