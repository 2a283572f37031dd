"""`Settings(report=...)`: which Assistants calls a program makes, by method and route, and never what is in them."""

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
def _nothing_counted() -> Iterator[None]:
    """A test begins as a process does."""
    call_report._files.clear()
    yield
    call_report._files.clear()


def written(path: Path) -> Counter[tuple[str, str, str]]:
    """The sums of all lines of a report."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for line in path.read_text().splitlines():
        for each in json.loads(line)["counted"]:
            counted[each["method"], each["route"], each["answered"]] += each["calls"]
    return counted


def test_a_function_hears_of_every_call(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A conversation with a download, as routes; what goes to the service itself is no Assistants call."""
    heard: list[LegacyCall] = []
    client = door.client(upstream, replace(sqlite_settings, report=heard.append))
    made = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    door(client.files.content(made))
    door.all(client.files.list())
    theirs = upstream.put_file("theirs.csv", b"1", "assistants")
    door(client.files.retrieve(theirs))
    assert {call.answered for call in heard} == {"here"}
    calls = dict.fromkeys(f"{call.method} {call.route}" for call in heard if "runs/{run_id}" not in call.route)
    assert list(calls) == [
        "POST /assistants",
        "POST /threads",
        "POST /threads/{thread_id}/runs",
        "GET /threads/{thread_id}/messages",
        "GET /files/{file_id}/content",
        "GET /files",
    ]


def test_a_file_gets_lines_that_add_up(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind of call that is new is there at once, the others after ten seconds or at the end; no id, no text."""
    path = tmp_path / "later" / "calls.jsonl"
    client: Any = sync.client(upstream, replace(sqlite_settings, report=str(path)))
    threads = [client.beta.threads.create(metadata={"a": SECRET}) for _ in range(3)]
    assert written(path) == {("POST", "/threads", "here"): 1}
    monkeypatch.setattr(call_report, "_EVERY", 0)  # as if the seconds had passed
    client.beta.threads.messages.create(threads[0].id, role="user", content=SECRET)
    assert written(path)["POST", "/threads", "here"] == 3
    monkeypatch.undo()
    client.beta.threads.create()
    assert written(path)["POST", "/threads", "here"] == 3
    call_report._finish()
    assert written(path) == {("POST", "/threads", "here"): 4, ("POST", "/threads/{thread_id}/messages", "here"): 1}
    assert set(json.loads(path.read_text().splitlines()[0])) == {"process", "at", "counted"}
    assert SECRET not in path.read_text()
    assert threads[0].id not in path.read_text()


def _child(path: str) -> None:
    for _ in range(20):
        call_report.count(path, KIND)


def test_several_processes_write_one_file(tmp_path: Path) -> None:
    """Forked children write what they have counted themselves, also when they leave as those of multiprocessing do."""
    path = tmp_path / "calls.jsonl"
    _child(str(path))
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(str(path),)) for _ in range(3)]
    for each in children:
        each.start()
    for each in children:
        each.join(20)
    call_report._finish()
    assert written(path) == {("GET", "/threads/{thread_id}", "here"): 80}


@pytest.mark.parametrize("way", ["function", "file"])
def test_a_report_that_fails_harms_nothing(
    way: str, door: Door, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The call is answered, and one line of the log says what failed, not with what."""
    (tmp_path / "a file").write_text("")

    def broken(_call: LegacyCall) -> None:
        raise ValueError(SECRET)

    report: Any = broken if way == "function" else str(tmp_path / "a file" / "calls.jsonl")
    client = door.client(upstream, replace(sqlite_settings, report=report))
    with caplog.at_level(logging.WARNING, logger="assistants_compat"):
        assert door(client.beta.threads.create()).object == "thread"
    assert "Settings(report=...) failed: " in caplog.text
    assert SECRET not in caplog.text
