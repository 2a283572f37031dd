"""An import of a hundred thousand messages, interrupted twice, ends as one that was not."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.store import copying
from assistants_compat.store.staging import Staging
from saved import ASSISTANT, THREAD, lines, message, rows, take

MESSAGES, THREADS = 100_000, 1000


def _dump() -> Iterator[dict[str, Any]]:
    """Threads whose messages are saved newest first, of which several have the same second."""
    yield ASSISTANT
    for number in range(THREADS):
        yield {**THREAD, "id": f"thread_{number}"}
    for number in reversed(range(MESSAGES)):
        at = 1_700_000_000 + number // THREADS // 3
        yield message(number, thread_id=f"thread_{number % THREADS}", created_at=at)


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


@pytest.mark.timeout(240)
def test_an_import_that_was_interrupted_twice_ends_as_once(
    sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same rows in the same order: nothing twice, nothing missing."""
    path = tmp_path / "dump.jsonl"
    with path.open("w", encoding="utf-8") as handle:
        handle.writelines(json.dumps(each) + "\n" for each in _dump())
    begun = time.monotonic()
    done, told = take(sqlite_settings, path)
    seconds = time.monotonic() - begun
    assert (told, done.taken["messages"]) == ([], MESSAGES)
    interrupted = dataclasses.replace(sqlite_settings, store=str(tmp_path / "interrupted.db"))
    with pytest.raises(InterruptedHereError), monkeypatch.context() as patch:
        patch.setattr(Staging, "add", _failing(Staging.add, 30_000))  # while it reads
        take(interrupted, path)
    with pytest.raises(InterruptedHereError), monkeypatch.context() as patch:
        patch.setattr(copying, "add_all", _failing(copying.add_all, 90))  # before a transaction is committed
        take(interrupted, path)
    done, told = take(interrupted, path)
    assert (told, done.kept) == ([], [])
    assert 0 < done.taken["messages"] < MESSAGES
    assert rows(interrupted) == rows(sqlite_settings)
    with capsys.disabled():
        print(f"\nimport: {MESSAGES} messages in {seconds:.1f} s")  # noqa: T201


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_an_import_that_was_killed_goes_on(sqlite_settings: Settings, tmp_path: Path) -> None:
    """A process that is killed in its middle leaves whole batches, and no file of its own in the store's directory."""
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
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=100, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = rows(killed)
    assert 0 < len(left["messages"]) < 3000
    take(killed, path)
    take(sqlite_settings, path)
    assert rows(killed) == rows(sqlite_settings)
