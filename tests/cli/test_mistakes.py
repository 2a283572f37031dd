"""The same mistake has the same exit code in every command, and a command that might be one asks or says so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.store import tables
from assistants_compat.store.database import Connection, transact
from assistants_compat.store.locations import database_url
from kit.legacy_code import dump_store

THREAD = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}}


@pytest.fixture
def invoke(sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command in this process, in a directory with a file, an empty directory and a saved thread."""
    here = tmp_path / "here"
    (here / "empty").mkdir(parents=True)
    (here / "file").touch()
    (here / "saved.json").write_text(json.dumps(THREAD), encoding="utf-8")
    (here / "cassette.yaml").write_text("version: 1\ninteractions: []\n", encoding="utf-8")
    monkeypatch.chdir(here)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(sqlite_settings.store))
    monkeypatch.setenv("ASSISTANTS_COMPAT_FILES", str(sqlite_settings.files))
    return lambda *arguments, **options: CliRunner().invoke(app, list(arguments), catch_exceptions=False, **options)


@pytest.mark.parametrize(
    "command",
    ["import", "import saved.json", "audit", "cassettes check", "cassettes show", "cassettes convert --to new"],
)
@pytest.mark.parametrize("name", ["gone", "gone.json", "gone.toml", "file/gone"])
def test_input_that_does_not_exist_is_wrong_use(
    invoke: Callable[..., Any], sqlite_settings: Settings, command: str, name: str
) -> None:
    """A path to read that does not exist is wrong use in every command, named, and nothing is done."""
    result = invoke(*command.split(), name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert name in result.stderr
    assert result.stderr.count("\n") == 1
    assert not any(dump_store(sqlite_settings).values())


@pytest.mark.parametrize("command", ["import", "cassettes check", "cassettes convert --to new"])
def test_a_directory_without_anything_to_read_is_wrong_use(invoke: Callable[..., Any], command: str) -> None:
    """A directory in which there is nothing for the command is wrong use."""
    result = invoke(*command.split(), "empty")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "empty" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["export --to", "download thread_abc --to", "cassettes convert cassette.yaml --to"])
@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_output_that_cannot_be_a_directory_is_wrong_use(invoke: Callable[..., Any], command: str, name: str) -> None:
    """A directory to write that is a file, or would lie in one, is wrong use in every command."""
    invoke("import", "saved.json")
    result = invoke(*command.split(), name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"assistants_compat: {name}")
    assert result.stderr.count("\n") == 1
    assert Path("file").read_bytes() == b""


def test_an_export_of_an_empty_store_fails(invoke: Callable[..., Any], sqlite_settings: Settings) -> None:
    """An export that has nothing to write says so, names the store and the namespace, and exits with 1."""
    result = invoke("export", "--to", "backup", "--json")
    assert result.exit_code == 1
    assert result.stderr == (
        f"assistants_compat: nothing was exported: {sqlite_settings.store} has nothing in the namespace "
        "'default'. Check ASSISTANTS_COMPAT_STORE and ASSISTANTS_COMPAT_NAMESPACE.\n"
    )
    assert not any(json.loads(result.stdout)["written"].values())


def test_an_empty_store_that_nothing_names_is_named_by_its_path(
    invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export from the store of the user's data directory, which no setting names, says where that is."""
    monkeypatch.delenv("ASSISTANTS_COMPAT_STORE")
    assert "/data/assistants_compat/store.db has nothing" in invoke("export", "--to", "backup").stderr


def test_an_export_of_what_was_imported_succeeds(invoke: Callable[..., Any]) -> None:
    """An export of a store with an imported object has the exit code 0."""
    invoke("import", "saved.json")
    assert invoke("export", "--to", "full").exit_code == 0


def test_the_password_of_an_empty_store_is_not_shown(
    invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line about an empty store hides the password in its address."""
    from assistants_compat.tools.transfer import export_objects  # noqa: PLC0415 - here only

    url = "postgresql://ann:secret-word@db.example/app"
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", url)
    monkeypatch.setattr(export_objects, "export", lambda *_: export_objects.ExportResult({"threads": 0}))
    result = invoke("export", "--to", "backup")
    assert result.exit_code == 1
    assert "postgresql://ann:***@db.example/app" in result.stderr


def store_a_file(settings: Settings) -> None:
    """Put a generated file without bytes into the store."""
    row = {
        "namespace": settings.namespace, "id": "file-AC1", "created_at": int(time.time()) - 60, "deleted": False,
        "stored": False, "body": {"filename": "a.csv", "bytes": 3},
    }  # fmt: skip

    def work(db: Connection) -> None:
        db.execute(insert(tables.files).values(row))

    transact(database_url(settings.store), work, write=True)


@pytest.mark.parametrize("age", ["0h", "0d", "000w"])
def test_removing_every_file_needs_a_yes(invoke: Callable[..., Any], sqlite_settings: Settings, age: str) -> None:
    """Without a terminal, `store gc` removes files of every age only with --yes; a dry run needs none."""
    assert invoke("store", "gc", "--older-than", age).exit_code == 0  # there is nothing to remove
    store_a_file(sqlite_settings)
    result = invoke("store", "gc", "--older-than", age)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "assistants_compat: an age of 0 removes all generated files of the namespace 'default' (1 file, 3 bytes): "
        "give --yes if you mean it\n"
    )
    assert [row["deleted"] for row in dump_store(sqlite_settings)["files"]] == [False]
    assert invoke("store", "gc", "--older-than", age, "--dry-run").stdout.startswith("file-AC1\n")
    assert [row["deleted"] for row in dump_store(sqlite_settings)["files"]] == [False]
    assert invoke("store", "gc", "--older-than", "1h").stdout == "0 files, 0 bytes removed\n"
    assert invoke("store", "gc", "--older-than", age, "--yes").stdout == "file-AC1\n1 file, 3 bytes removed\n"
    assert [row["deleted"] for row in dump_store(sqlite_settings)["files"]] == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")
@pytest.mark.parametrize(("answer", "code", "deleted"), [(b"n\n", 1, False), (b"\n", 1, False), (b"y\n", 0, True)])
def test_on_a_terminal_it_asks(
    invoke: object, sqlite_settings: Settings, answer: bytes, code: int, *, deleted: bool
) -> None:
    """On a terminal `store gc --older-than 0h` asks on stderr, and removes files only after a yes."""
    import pty  # noqa: PLC0415 - not on Windows

    store_a_file(sqlite_settings)
    keyboard, terminal = pty.openpty()
    os.write(keyboard, answer)
    line = [sys.executable, "-m", "assistants_compat", "store", "gc", "--older-than", "0h"]
    result = subprocess.run(line, stdin=terminal, capture_output=True, text=True, check=False, timeout=100)
    os.close(terminal)
    os.close(keyboard)
    assert result.returncode == code, result.stderr
    assert re.match(r"This removes all generated files of .* \(1 file, 3 bytes\)\. Continue\? \[y/N\]", result.stderr)
    assert ("removed" in result.stdout) == deleted
    assert [row["deleted"] for row in dump_store(sqlite_settings)["files"]] == [deleted]
