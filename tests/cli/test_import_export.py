"""`import` and `export` write where they should, print counts, and exit as documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app
from kit.legacy_code import dump_store

THREAD = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}}


@pytest.fixture
def invoke(sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command in this process, in an empty directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(sqlite_settings.store))
    monkeypatch.setenv("ASSISTANTS_COMPAT_FILES", str(sqlite_settings.files))
    return lambda *arguments: CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_objects_that_cannot_be_imported_are_lines_on_stderr(
    invoke: Callable[..., Any], sqlite_settings: Settings
) -> None:
    """Import prints one line on stderr for each object it cannot import, imports the rest, and exits with 1."""
    Path("a.jsonl").write_text(json.dumps(THREAD) + "\nnonsense\n", encoding="utf-8")
    result = invoke("import", "a.jsonl")
    assert (result.exit_code, result.stdout) == (1, "1 thread imported\n0 already in the store, 1 not imported\n")
    assert result.stderr == "a.jsonl:2: it is not JSON (Expecting value at character 1)\n"
    assert len(dump_store(sqlite_settings)["threads"]) == 1


def test_new_ids_and_keys_without_a_place_are_told(invoke: Callable[..., Any]) -> None:
    """The summary names the ids that threads got, with the place of their rows, and the keys that were left out."""
    rows = [{"role": "user", "content": "Hi", "tokens": 3}, {"role": "assistant", "content": "Hello", "tokens": 4}]
    Path("chat.json").write_text(json.dumps(rows), encoding="utf-8")
    result = invoke("import", "chat.json")
    [id_] = [word for word in result.stdout.split() if word.startswith("thread_") and len(word) == 31][:1]
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "2 messages imported",
            "0 already in the store, 0 not imported",
            f"threads created for messages or runs without a saved thread: {id_}",
            f"new ids of threads, because the input has none: {id_} (chat.json:1)",
            "keys with data that the store has no place for, not imported: 'message: tokens' (2 objects)",
        ],
    )


def test_json_has_all_counts(invoke: Callable[..., Any]) -> None:
    """With --json both commands print one object with all counts."""
    Path("a.json").write_text(json.dumps([THREAD]), encoding="utf-8")
    expected = {"taken": {"threads": 1}, "there": 0, "kept": [], "made": [], "ended": [], "upstream": 0, "refused": 0}
    expected |= {"new_threads": {}, "unknown_keys": {}}
    result = invoke("import", "a.json", "--json", "--dry-run")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {**expected, "declared": {}, "dry_run": True})
    result = invoke("export", "--to", "out", "--json")
    counts = dict.fromkeys(("assistants", "threads", "messages", "runs", "run_steps", "containers", "files"), 0)
    assert json.loads(result.stdout) == {"written": counts, "bytes": 0, "failed": {}, "to": "out"}


def test_an_export_needs_a_new_or_empty_directory(invoke: Callable[..., Any]) -> None:
    """An export into a file, a link or a directory with files is wrong use and changes nothing."""
    Path("full").mkdir()
    Path("full", "mine.txt").write_text("mine", encoding="utf-8")
    Path("elsewhere").mkdir()
    Path("link").symlink_to("elsewhere")
    for name, problem in (
        ("full", "is not an empty directory: choose a new or empty one"),
        ("link", "is not an empty directory: choose a new or empty one"),
        ("full/mine.txt", "is not a directory: choose another one"),
    ):
        result = invoke("export", "--to", name)
        assert (result.exit_code, result.stderr) == (2, f"assistants_compat: {name} {problem}\n")
    assert Path("full", "mine.txt").read_text(encoding="utf-8") == "mine"
    assert list(Path("elsewhere").iterdir()) == []
    Path("a.json").write_text(json.dumps(THREAD), encoding="utf-8")
    invoke("import", "a.json")
    assert invoke("export", "--to", "elsewhere").exit_code == 0


def test_an_invalid_file_of_assistants_is_wrong_use(invoke: Callable[..., Any]) -> None:
    """An invalid file of assistants exits with 2 and names the assistant and the field."""
    Path("a.yaml").write_text("asst_x:\n  model: 7\n", encoding="utf-8")
    result = invoke("import", "a.yaml")
    message = (
        "assistants_compat: a.yaml: asst_x: Invalid type for 'model': expected a string, but got an integer instead.\n"
    )
    assert (result.exit_code, result.stderr) == (2, message)


def test_changed_assistants_are_shown_and_updated(invoke: Callable[..., Any], sqlite_settings: Settings) -> None:
    """--dry-run names the fields that differ from the file, and without it the store is updated."""
    Path("a.yaml").write_text("asst_x:\n  model: gpt-4o\n  name: X\n", encoding="utf-8")
    invoke("import", "a.yaml")
    Path("b.yaml").write_text("asst_x:\n  model: gpt-4.1\n  name: Y\n", encoding="utf-8")
    before = dump_store(sqlite_settings)
    dry_run = invoke("import", "b.yaml", "--dry-run")
    assert dry_run.stdout == "asst_x: would be changed: name, model\nb.yaml: 0 assistants unchanged\n"
    assert dump_store(sqlite_settings) == before
    assert invoke("import", "b.yaml").exit_code == 0
    assert dump_store(sqlite_settings)["assistants"][0]["body"]["name"] == "Y"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")
def test_a_terminal_shows_a_bar(invoke: object) -> None:
    """On a terminal stderr shows a bar for reading and one for writing."""
    import pty  # noqa: PLC0415 - not on Windows

    Path("a.json").write_text(json.dumps([THREAD]), encoding="utf-8")
    reader, terminal = pty.openpty()
    line = [sys.executable, "-m", "assistants_compat", "import", "a.json"]
    environment = {**os.environ, "TERM": "xterm"}
    result = subprocess.run(line, stdout=subprocess.PIPE, stderr=terminal, check=True, env=environment, timeout=100)
    os.close(terminal)
    output = os.read(reader, 65536)
    os.close(reader)
    assert b"reading" in output
    assert b"writing" in output
    assert b"1/1" in output
    assert result.stdout == b"1 thread imported\n0 already in the store, 0 not imported\n"
