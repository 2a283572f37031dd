"""`import` and `export` on the command line: what they write where, and their exit codes."""

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
from kit.legacy_code import dump

THREAD = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}}


@pytest.fixture
def invoke(sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command in this process, in an empty directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(sqlite_settings.store))
    monkeypatch.setenv("ASSISTANTS_COMPAT_FILES", str(sqlite_settings.files))
    return lambda *arguments: CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_what_could_not_be_taken_is_on_stderr(invoke: Callable[..., Any], sqlite_settings: Settings) -> None:
    """A line each, exit code 1, and the rest is taken; figures on stdout."""
    Path("a.jsonl").write_text(json.dumps(THREAD) + "\nnonsense\n", encoding="utf-8")
    done = invoke("import", "a.jsonl")
    assert (done.exit_code, done.stdout) == (1, "1 threads taken\n0 already there, 1 not taken\n")
    assert done.stderr == "a.jsonl:2: it is not JSON (Expecting value at character 1)\n"
    assert len(dump(sqlite_settings)["threads"]) == 1


def test_json_has_all_figures(invoke: Callable[..., Any]) -> None:
    """One object, for programs."""
    Path("a.json").write_text(json.dumps([THREAD]), encoding="utf-8")
    expected = {"taken": {"threads": 1}, "there": 0, "kept": [], "made": [], "ended": [], "upstream": 0, "refused": 0}
    done = invoke("import", "a.json", "--json", "--dry-run")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {**expected, "declared": {}, "dry_run": True})
    done = invoke("export", "--to", "out", "--json")
    written = dict.fromkeys(("assistants", "threads", "messages", "runs", "run_steps", "containers", "files"), 0)
    assert json.loads(done.stdout) == {"written": written, "bytes": 0, "failed": {}, "to": "out"}


def test_an_export_never_writes_where_something_is(invoke: Callable[..., Any]) -> None:
    """Wrong use, and what is there stays; a link is not followed."""
    Path("full").mkdir()
    Path("full", "mine.txt").write_text("mine", encoding="utf-8")
    Path("elsewhere").mkdir()
    Path("link").symlink_to("elsewhere")
    for name in ("full", "link", "full/mine.txt"):
        done = invoke("export", "--to", name)
        assert (done.exit_code, done.stderr) == (
            2,
            f"assistants_compat: {name} is not an empty directory: choose another\n",
        )
    assert Path("full", "mine.txt").read_text(encoding="utf-8") == "mine"
    assert list(Path("elsewhere").iterdir()) == []
    assert invoke("export", "--to", "elsewhere").exit_code == 0


def test_a_wrong_file_of_assistants_is_wrong_use(invoke: Callable[..., Any]) -> None:
    """With the assistant and the field."""
    Path("a.yaml").write_text("asst_x:\n  model: 7\n", encoding="utf-8")
    done = invoke("import", "a.yaml")
    words = (
        "assistants_compat: a.yaml: asst_x: Invalid type for 'model': expected a string, but got an integer instead.\n"
    )
    assert (done.exit_code, done.stderr) == (2, words)


def test_drift_is_shown_and_set_right(invoke: Callable[..., Any], sqlite_settings: Settings) -> None:
    """--dry-run names the fields that differ; without it the file is what counts."""
    Path("a.yaml").write_text("asst_x:\n  model: gpt-4o\n  name: X\n", encoding="utf-8")
    invoke("import", "a.yaml")
    Path("b.yaml").write_text("asst_x:\n  model: gpt-4.1\n  name: Y\n", encoding="utf-8")
    before = dump(sqlite_settings)
    shown = invoke("import", "b.yaml", "--dry-run")
    assert shown.stdout == "asst_x: would be changed: name, model\nb.yaml: 0 assistants as they are there\n"
    assert dump(sqlite_settings) == before
    assert invoke("import", "b.yaml").exit_code == 0
    assert dump(sqlite_settings)["assistants"][0]["body"]["name"] == "Y"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")
def test_a_terminal_shows_a_bar(invoke: object) -> None:
    """For reading and for writing, on stderr."""
    import pty  # noqa: PLC0415 - not on Windows

    Path("a.json").write_text(json.dumps([THREAD]), encoding="utf-8")
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "assistants_compat", "import", "a.json"]
    environment = {**os.environ, "TERM": "xterm"}
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=theirs, check=True, env=environment, timeout=100)
    os.close(theirs)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert b"reading" in shown
    assert b"writing" in shown
    assert b"1/1" in shown
    assert done.stdout == b"1 threads taken\n0 already there, 0 not taken\n"
