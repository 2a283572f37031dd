"""An import of a hundred thousand messages that is interrupted ends with the same rows as one that was not."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from saved import ASSISTANT, THREAD, import_paths, stored_rows, write_lines

from assistants_compat import Settings
from assistants_compat.store import bulk
from assistants_compat.store.import_staging import ImportStaging

MESSAGE_COUNT, THREAD_COUNT = 100_000, 1000


def _saved_objects() -> Iterator[dict[str, Any]]:
    """Yield threads, then short messages newest first, several of which have the same second."""
    yield ASSISTANT
    for number in range(THREAD_COUNT):
        yield {**THREAD, "id": f"thread_{number}"}
    for number in reversed(range(MESSAGE_COUNT)):
        yield {
            "id": f"msg_{number}", "object": "thread.message",
            "created_at": 1_700_000_000 + number // THREAD_COUNT // 3, "thread_id": f"thread_{number % THREAD_COUNT}",
            "role": "user", "content": [],
        }  # fmt: skip


class InterruptedHereError(Exception):
    """Stops an import in its middle."""


def _interrupting(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """Return the function, which raises after its work once it was called `after` times."""
    calls_left = iter(range(after))

    def call(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if next(calls_left, None) is None:
            raise InterruptedHereError
        return result

    return call


@pytest.mark.timeout(600)
def test_an_import_that_was_interrupted_twice_has_the_same_rows(
    sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two interruptions an import has the same rows in the same order, none twice and none missing."""
    path = write_lines(tmp_path / "dump.jsonl", _saved_objects())
    with monkeypatch.context() as patch:
        patch.setattr(ImportStaging, "add", _interrupting(ImportStaging.add, 5000))  # during reading
        with pytest.raises(InterruptedHereError):
            import_paths(sqlite_settings, path)
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "insert_many", _interrupting(bulk.insert_many, 20))  # before a commit
        with pytest.raises(InterruptedHereError):
            import_paths(sqlite_settings, path)
    result, problems = import_paths(sqlite_settings, path)
    assert (problems, result.kept) == ([], [])
    assert 0 < result.taken["messages"] < MESSAGE_COUNT
    with contextlib.closing(sqlite3.connect(str(sqlite_settings.store))) as db:
        cursor = db.execute("SELECT thread_id, id, created_at, json_extract(body, '$.id') FROM messages ORDER BY seq")
        stored = cursor.fetchall()
    expected = sorted(
        (f"thread_{number % THREAD_COUNT}", number, 1_700_000_000 + number // THREAD_COUNT // 3)
        for number in range(MESSAGE_COUNT)
    )
    assert stored == [(thread_id, f"msg_{number}", at, f"msg_{number}") for thread_id, number, at in expected]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_an_import_that_was_killed_can_be_repeated(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A killed import leaves complete batches, and repeating it gives the same rows as one import."""
    path = write_lines(tmp_path / "dump.jsonl", itertools.islice(_saved_objects(), 6000, 9000))
    script = (
        "import os, signal, sys, pathlib\n"
        "from assistants_compat import Settings\n"
        "from assistants_compat.store import bulk\n"
        "from assistants_compat.tools.transfer import import_objects\n"
        "insert_many, calls = bulk.insert_many, []\n"
        "def add(*given):\n"
        "    insert_many(*given)\n"
        "    calls.append(1)\n"
        "    len(calls) < 4 or os.kill(os.getpid(), signal.SIGKILL)\n"
        "bulk.insert_many = add\n"
        "import_objects.import_objects(Settings(store=sys.argv[1]), [pathlib.Path(sys.argv[2])], print)\n"
    )
    killed_settings = Settings(store=str(tmp_path / "killed.db"))
    command = [sys.executable, "-c", script, str(killed_settings.store), str(path)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environment)
    assert process.returncode == -signal.SIGKILL, process.stderr
    rows_before = stored_rows(killed_settings)
    assert 0 < len(rows_before["messages"]) < 3000
    import_paths(killed_settings, path)
    import_paths(sqlite_settings, path)
    assert stored_rows(killed_settings) == stored_rows(sqlite_settings)
