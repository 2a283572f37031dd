"""An import of a hundred thousand messages, interrupted twice, ends as one that was not."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.store import copying
from saved import ASSISTANT, THREAD, message, rows, take

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


@pytest.mark.timeout(120)
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
    add_all = copying.add_all
    for allowed in (2, 90):
        left = iter(range(allowed))

        def add_some(*given: Any, left: Iterator[int] = left) -> None:
            add_all(*given)
            if next(left, None) is None:
                raise InterruptedHereError  # before its transaction is committed

        monkeypatch.setattr(copying, "add_all", add_some)
        with pytest.raises(InterruptedHereError):
            take(interrupted, path)
    monkeypatch.undo()
    done, told = take(interrupted, path)
    assert (told, done.kept) == ([], [])
    assert 0 < done.taken["messages"] < MESSAGES
    assert rows(interrupted) == rows(sqlite_settings)
    again, _ = take(interrupted, path)
    assert (again.taken, again.there) == ({}, MESSAGES + THREADS + 1)
    with capsys.disabled():
        print(f"\nimport: {MESSAGES} messages in {seconds:.1f} s")  # noqa: T201
