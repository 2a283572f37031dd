"""The log: a line when a run starts and ends, a line for each call and request, and a word on unknown ids."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import Settings, SettingsError
from assistants_compat.api import unknown_ids
from assistants_compat.runtime import logs
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import KEY, Door
from kit.legacy_code import CODE, CSV, LINK, finish_run, make_assistant, make_thread, waiting_run

FILE = Turn(text=LINK, files={"sales.csv": CSV})


@pytest.fixture(autouse=True)
def _loggers_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a process that has warned of nothing, and take back the level that a variable has set."""
    monkeypatch.setattr(unknown_ids, "_checked_ids", set())
    yield
    logs.library.setLevel(logging.NOTSET)


def lines(caplog: pytest.LogCaptureFixture, logger: logging.Logger) -> list[str]:
    """Return what a logger wrote."""
    return [record.getMessage() for record in caplog.records if record.name == logger.name]


def without_numbers(text: str) -> str:
    """Return a line without its ids and times."""
    return re.sub(r"(?<=_)[A-Za-z0-9]{8,}|\b\d+(?= m?s\b)", "*", text)


def test_a_polled_run_writes_a_line_when_it_starts_and_one_when_it_ends(
    door: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Both lines have the run, its response and the model; the second has the status, the seconds and the files."""
    caplog.set_level(logging.INFO, logger="assistants_compat")
    upstream.script(FILE)
    run = finish_run(door, door.client(upstream, sqlite_settings), assistant={"tools": CODE})
    assert [without_numbers(line) for line in lines(caplog, logs.runs)] == [
        "run run_* started: response resp_*, model gpt-4o",
        "run run_* completed: response resp_*, model gpt-4o, * s, files: 1",
    ]
    assert all(run.id in line for line in lines(caplog, logs.runs))


def test_a_streamed_run_writes_the_same_lines(
    door: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The first line of a streamed run has no response id yet."""
    caplog.set_level(logging.INFO, logger="assistants_compat")
    upstream.script(FILE)
    client = door.client(upstream, sqlite_settings)
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    door.all(door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)))
    assert [without_numbers(line) for line in lines(caplog, logs.runs)] == [
        "run run_* started: response not known yet, model gpt-4o",
        "run run_* completed: response resp_*, model gpt-4o, * s, files: 1",
    ]


def test_a_run_of_several_rounds_starts_and_ends_once(
    door: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A round that waits for tool outputs writes no line; a cancelled run ends with its status."""
    caplog.set_level(logging.INFO, logger="assistants_compat")
    client = door.client(upstream, sqlite_settings)
    run = waiting_run(door, client, upstream)
    outputs = [{"tool_call_id": "call_1", "output": "3"}]
    runs = client.beta.threads.runs
    door(runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs))
    other = waiting_run(door, client, upstream)
    door(runs.cancel(other.id, thread_id=other.thread_id))
    door(runs.retrieve(other.id, thread_id=other.thread_id))
    assert [line.split(":")[0] for line in lines(caplog, logs.runs)] == [
        f"run {run.id} started",
        f"run {run.id} completed",
        f"run {other.id} started",
        f"run {other.id} cancelled",
    ]


def test_nothing_is_counted_for_a_line_that_nobody_prints(
    sync: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the level INFO a run asks the store for nothing more than before."""
    monkeypatch.setattr("assistants_compat.engine.runs.run_log.queries", None)
    upstream.script(FILE)
    assert finish_run(sync, sync.client(upstream, sqlite_settings), assistant={"tools": CODE}).status == "completed"


def test_each_call_and_each_request_is_one_line_at_debug(
    door: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines name method, path, status and milliseconds; the requests are those that the upstream received."""
    caplog.set_level(logging.DEBUG, logger="assistants_compat")
    upstream.script(Turn(text="Hello.", polls=0))
    client = door.client(upstream, sqlite_settings)
    finish_run(door, client)
    with pytest.raises(openai.NotFoundError):
        door(client.beta.threads.retrieve("thread_elsewhere"))
    assert [without_numbers(line) for line in lines(caplog, logs.calls)] == [
        "POST /assistants -> 200 in * ms",
        "POST /threads -> 200 in * ms",
        "POST /threads/thread_*/runs -> 200 in * ms",
        "GET /threads/thread_*/runs/run_* -> 200 in * ms",
        "GET /threads/thread_* -> 404 in * ms",
    ]
    sent = [f"{request.method} {request.path}" for request in upstream.requests]
    assert [line.partition(" -> ")[0] for line in lines(caplog, logs.requests)] == sent


def test_a_path_never_carries_a_text_into_the_log() -> None:
    """A part of a path that is no name or id becomes a question mark, and a query is cut off."""
    assert logs.loggable_path("/threads/my secret/runs?order=asc") == "/threads/?/runs"
    assert logs.loggable_path("files/file-AC1/content") == "/files/file-AC1/content"


def test_an_id_that_was_never_stored_is_explained_once(
    door: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The first 404 for an assistant or thread of the old service warns, with the three ways to add it."""
    client = door.client(upstream, sqlite_settings)
    for _ in range(2):
        with pytest.raises(openai.NotFoundError):
            door(client.beta.assistants.retrieve("asst_ofold"))
        with pytest.raises(openai.NotFoundError):
            door(client.beta.threads.messages.list("thread_ofold"))
    assistant, thread = lines(caplog, logs.library)
    assert assistant.startswith("The assistant asst_ofold is not in the store and never was")
    assert thread.startswith("The thread thread_ofold is not in the store and never was")
    for way in ("ASSISTANTS_COMPAT_ASSISTANTS", "import", "ASSISTANTS_COMPAT_UNKNOWN_THREADS"):
        assert way in assistant


def test_a_deleted_object_and_a_text_in_the_place_of_an_id_are_not_explained(
    door: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """An assistant that was deleted here is a plain 404, and a text is never logged."""
    client = door.client(upstream, sqlite_settings)
    assistant = make_assistant(door, client)
    door(client.beta.assistants.delete(assistant.id))
    for id_ in (assistant.id, "my secret plan"):
        with pytest.raises(openai.NotFoundError):
            door(client.beta.assistants.retrieve(id_))
    assert lines(caplog, logs.library) == []


PROGRAM = """
import sys
import openai
import assistants_compat
client = assistants_compat.wrap(openai.OpenAI(base_url=sys.argv[1], api_key="any"))
client.beta.assistants.create(model="gpt-4.1")
"""


@pytest.mark.parametrize(("level", "count"), [("debug", 1), ("INFO", 0), ("", 0)])
def test_the_variable_prints_the_log(level: str, count: int, upstream: StandIn) -> None:
    """`ASSISTANTS_COMPAT_LOG=debug` prints each call on stderr, in a program that sets up no logging."""
    environment = {**os.environ, logs.LOG_VARIABLE: level, "ASSISTANTS_COMPAT_STORE": "sqlite://"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, upstream.base_url],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ""
    assert done.stderr.count("assistants_compat.calls") == len(done.stderr.splitlines()) == count


def test_a_level_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid level raises `SettingsError`, which names the valid ones."""
    monkeypatch.setenv(logs.LOG_VARIABLE, "loud")
    client: Any = openai.OpenAI(api_key=KEY)
    with (
        client,
        pytest.raises(SettingsError, match="ASSISTANTS_COMPAT_LOG='loud' is not valid; expected debug, info or w"),
    ):
        assistants_compat.wrap(client)


def test_an_invalid_level_leaves_a_program_alone_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `ASSISTANTS_COMPAT=off` the client stays as it is, whatever the variable says."""
    monkeypatch.setenv(logs.LOG_VARIABLE, "loud")
    monkeypatch.setenv("ASSISTANTS_COMPAT", "off")
    with openai.OpenAI(api_key=KEY) as client:
        inner = client._client
        assert assistants_compat.wrap(client)._client is inner


def test_a_call_that_loses_its_upstream_is_a_line_too(
    door: Door, upstream: StandIn, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A dropped connection is logged for the request and for the call that caused it."""
    caplog.set_level(logging.DEBUG, logger="assistants_compat")
    client = door.client(upstream, sqlite_settings)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.fault(Fault("POST /responses", drop=True))
    with pytest.raises(openai.APIConnectionError):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert "no answer from the upstream" in lines(caplog, logs.calls)[-1]
    assert re.search(r"POST /responses -> \w+Error in \d+ ms", lines(caplog, logs.requests)[-1])
