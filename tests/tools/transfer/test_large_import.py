"""An import of a hundred thousand messages, interrupted twice, ends as one that was not."""

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
from saved import ASSISTANT, THREAD, lines, rows, take

from assistants_compat import Settings
from assistants_compat.store import bulk
from assistants_compat.store.import_staging import Staging

MESSAGES, THREADS = 100_000, 1000


def _dump() -> Iterator[dict[str, Any]]:
    """Threads whose messages are saved newest first, of which several have the same second; short, for their number."""
    yield ASSISTANT
    for number in range(THREADS):
        yield {**THREAD, "id": f"thread_{number}"}
    for number in reversed(range(MESSAGES)):
        yield {
            "id": f"msg_{number}", "object": "thread.message", "created_at": 1_700_000_000 + number // THREADS // 3,
            "thread_id": f"thread_{number % THREADS}", "role": "user", "content": [],
        }  # fmt: skip


class InterruptedHereError(Exception):
    """What stops an import in its middle."""


def _failing(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """The function, which does its work and then fails when it was called so often."""
    left = iter(range(after))

    def call(*given: Any, **options: Any) -> Any:
        done = function(*given, **options)
        if next(left, None) is None:
            raise InterruptedHereError
        return done

    return call


@pytest.mark.timeout(600)
def test_an_import_that_was_interrupted_twice_ends_as_once(
    sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows in the same order: nothing twice, nothing missing."""
    path = lines(tmp_path / "dump.jsonl", _dump())
    with monkeypatch.context() as patch:
        patch.setattr(Staging, "add", _failing(Staging.add, 5000))  # while it reads
        with pytest.raises(InterruptedHereError):
            take(sqlite_settings, path)
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "add_all", _failing(bulk.add_all, 20))  # before a transaction is committed
        with pytest.raises(InterruptedHereError):
            take(sqlite_settings, path)
    done, told = take(sqlite_settings, path)
    assert (told, done.kept) == ([], [])
    assert 0 < done.taken["messages"] < MESSAGES
    with contextlib.closing(sqlite3.connect(str(sqlite_settings.store))) as db:
        found = db.execute("SELECT thread_id, id, created_at, json_extract(body, '$.id') FROM messages ORDER BY seq")
        places = found.fetchall()
    expected = sorted(
        (f"thread_{number % THREADS}", number, 1_700_000_000 + number // THREADS // 3) for number in range(MESSAGES)
    )
    assert places == [(thread_id, f"msg_{number}", at, f"msg_{number}") for thread_id, number, at in expected]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_an_import_that_was_killed_goes_on(sqlite_settings: Settings, tmp_path: Path) -> None:
    """One that is killed in its middle leaves whole batches; the next goes on from there, to the same rows as once."""
    path = lines(tmp_path / "dump.jsonl", itertools.islice(_dump(), 6000, 9000))
    script = (
        "import os, signal, sys, pathlib\n"
        "from assistants_compat import Settings, importing\n"
        "from assistants_compat.store import copying\n"
        "add_all, calls = copying.add_all, []\n"
        "def add(*given):\n"
        "    add_all(*given)\n"
        "    calls.append(1)\n"
        "    len(calls) < 4 or os.kill(os.getpid(), signal.SIGKILL)\n"
        "copying.add_all = add\n"
        "importing.import_objects(Settings(store=sys.argv[1]), [pathlib.Path(sys.argv[2])], print)\n"
    )
    killed = Settings(store=str(tmp_path / "killed.db"))
    line = [sys.executable, "-c", script, str(killed.store), str(path)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=100, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = rows(killed)
    assert 0 < len(left["messages"]) < 3000
    take(killed, path)
    take(sqlite_settings, path)
    assert rows(killed) == rows(sqlite_settings)
