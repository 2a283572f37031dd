"""`Settings(report=...)` reports a program's Assistants calls by method and route, without their content."""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import LegacyCall, Settings
from assistants_compat.doors import call_report
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CSV, LINK, make_file

SECRET = "xyzzy"
KIND = LegacyCall("GET", "/threads/{thread_id}", "here")


@pytest.fixture(autouse=True)
def _no_pending_counts() -> Iterator[None]:
    """Start every test without pending counts, as a new process does."""
    call_report._pending_by_path.clear()
    yield
    call_report._pending_by_path.clear()


def report_totals(path: Path) -> Counter[tuple[str, str, str]]:
    """Return the sums over all lines of a report."""
    totals: Counter[tuple[str, str, str]] = Counter()
    for line in path.read_text().splitlines():
        for entry in json.loads(line)["counted"]:
            totals[entry["method"], entry["route"], entry["answered"]] += entry["calls"]
    return totals


def test_a_function_gets_every_call(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A report function gets every Assistants call with its route, and no other calls."""
    reported: list[LegacyCall] = []
    client = door.client(upstream, replace(sqlite_settings, report=reported.append))
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    door(client.files.content(file_id))
    door.all(client.files.list())
    uploaded = upstream.put_file("theirs.csv", b"1", "assistants")
    door(client.files.retrieve(uploaded))
    assert {call.answered for call in reported} == {"here"}
    calls = dict.fromkeys(f"{call.method} {call.route}" for call in reported if "runs/{run_id}" not in call.route)
    assert list(calls) == [
        "POST /assistants",
        "POST /threads",
        "POST /threads/{thread_id}/runs",
        "GET /threads/{thread_id}/messages",
        "GET /files/{file_id}/content",
        "GET /files",
    ]


def test_a_file_gets_counts_that_add_up(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report file gets a route's first call at once and others after ten seconds or at exit, without ids or text."""
    path = tmp_path / "later" / "calls.jsonl"
    client: Any = sync.client(upstream, replace(sqlite_settings, report=str(path)))
    threads = [client.beta.threads.create(metadata={"a": SECRET}) for _ in range(3)]
    assert report_totals(path) == {("POST", "/threads", "here"): 1}
    monkeypatch.setattr(call_report, "_WRITE_INTERVAL", 0)  # as if ten seconds had passed
    client.beta.threads.messages.create(threads[0].id, role="user", content=SECRET)
    assert report_totals(path)["POST", "/threads", "here"] == 3
    monkeypatch.undo()
    client.beta.threads.create()
    assert report_totals(path)["POST", "/threads", "here"] == 3
    call_report._write_all()
    assert report_totals(path) == {
        ("POST", "/threads", "here"): 4,
        ("POST", "/threads/{thread_id}/messages", "here"): 1,
    }
    assert set(json.loads(path.read_text().splitlines()[0])) == {"process", "at", "counted"}
    assert SECRET not in path.read_text()
    assert threads[0].id not in path.read_text()


def _child(path: str) -> None:
    for _ in range(20):
        call_report.count_call(path, KIND)


def test_several_processes_write_one_file(tmp_path: Path) -> None:
    """Several processes append to one report file, each its own counts, also children of multiprocessing."""
    path = tmp_path / "calls.jsonl"
    _child(str(path))
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(str(path),)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
    call_report._write_all()
    assert report_totals(path) == {("GET", "/threads/{thread_id}", "here"): 80}


@pytest.mark.parametrize("way", ["function", "file"])
def test_a_failing_report_does_not_fail_the_call(
    way: str, door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing report does not fail the call, and one line of the log names the error without its text."""
    (tmp_path / "a file").write_text("")

    def broken(_call: LegacyCall) -> None:
        raise ValueError(SECRET)

    report: Any = broken if way == "function" else str(tmp_path / "a file" / "calls.jsonl")
    client = door.client(upstream, replace(sqlite_settings, report=report))
    with caplog.at_level(logging.WARNING, logger="assistants_compat"):
        assert door(client.beta.threads.create()).object == "thread"
    assert "Settings(report=...) failed: " in caplog.text
    assert SECRET not in caplog.text
