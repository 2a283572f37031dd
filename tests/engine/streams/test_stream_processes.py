"""A process that is killed, ends or forks during a stream loses no run and no text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from typing import Any

import pytest

from assistants_compat import Settings
from kit.doors import KEY, Door
from kit.legacy_code import dump_store, retrieve_run
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ManualUpstream,
    events,
    eventually,
    expire_lease,
    message,
    read_rest,
    read_until,
    start_stream,
    step_statuses,
    stored_messages,
    stored_run,
    wait_until_ended,
)

POST = "POST /responses"

# The start of every program that is killed, ends or forks.
PRELUDE = """
import asyncio, gc, os, sys, warnings
import openai
import assistants_compat
from assistants_compat.engine.runs import stream as streaming
store, files, namespace, base_url, key = sys.argv[1:]
streaming._SAVE_INTERVAL_SECONDS = 0.0
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace)
warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads, which is the point here

def print_ids(event):
    if event.event in ("thread.run.created", "thread.message.created"):
        print(event.data.id, event.data.thread_id, flush=True)
    return event.event == "thread.message.delta" and event.data.delta.content[0].text.value == " two"

def begin():
    client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0), settings)
    assistant = client.beta.assistants.create(model="gpt-4o", instructions="Help.")
    return client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)

async def begin_async():
    client = assistants_compat.wrap(openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0), settings)
    assistant = await client.beta.assistants.create(model="gpt-4o", instructions="Help.")
    return await client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)

def read():
    stream = begin()
    for event in stream:
        if print_ids(event):
            return stream

async def read_async():
    stream = await begin_async()
    async for event in stream:
        if print_ids(event):
            return stream
"""
KILLED_PROGRAMS = {
    "sync": """
import threading
first = threading.Thread(target=read)
first.start(); first.join()
for event in begin(): print_ids(event)
""",
    "async": """
async def main():
    stream = await read_async()
    async for event in await begin_async(): print_ids(event)
asyncio.run(main())
""",
}


class StreamedIds:
    """The ids of a run, its thread and its message, as a program printed them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.run_id, self.thread_id = process.stdout.readline().split()
        self.message_id, _ = process.stdout.readline().split()


class Program(StreamedIds):
    """A program in a process of its own, and the first ids that it printed."""

    def __init__(self, program: str, hand: ManualUpstream, settings: Settings) -> None:
        arguments = [settings.store, settings.files, settings.namespace, hand.base_url, KEY]
        command: list[Any] = [sys.executable, "-c", PRELUDE + program, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        super().__init__(self.process)

    def end(self) -> tuple[str, str]:
        """Wait for the program's end and return its output and errors."""
        return self.process.communicate(timeout=30)

    def kill(self) -> None:
        """Kill the program as the kernel does."""
        self.process.send_signal(signal.SIGKILL)
        self.end()


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database makes no difference between these programs."""
    return sqlite_settings


@pytest.fixture
def client(hand: ManualUpstream, settings: Settings) -> Any:
    """A client in another process than the program's."""
    door = Door("sync")
    yield door.client(hand, settings)
    door.close()


def poll(client: Any, program: StreamedIds) -> Any:
    """Poll the program's run from this process."""
    return client.beta.threads.runs.retrieve(program.run_id, thread_id=program.thread_id)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_polls_end_the_runs_of_a_killed_process(
    hand: ManualUpstream, postgresql_server: str, sqlite_settings: Settings, kind: str
) -> None:
    """Once the lease of a killed process expires, a poll ends each run as the upstream says, under the streamed ids."""
    url = postgresql_server if kind == "async" else sqlite_settings.store
    settings = replace(sqlite_settings, store=url, namespace=uuid.uuid4().hex)
    door = Door("sync")
    client = door.client(hand, settings)
    responses = [events(message(TEXT), id=f"resp_{number}") for number in (1, 2)]
    for response_events in responses:
        hand.plan(*response_events[:CUT])
    program = Program(KILLED_PROGRAMS[kind], hand, settings)
    other = StreamedIds(program.process)
    expected = [[("in_progress", "One two")]] * 2
    eventually(lambda: [stored_messages(settings, ids.run_id) for ids in (program, other)] == expected)
    program.kill()
    assert poll(client, program).status == "in_progress"
    assert hand.calls() == [POST] * 2
    for ids in (program, other):
        expire_lease(settings, ids.run_id)
    for ids in (program, other):
        response_id = stored_run(settings, ids.run_id)["response_id"]
        if ids is program:
            hand.known[response_id] = responses[int(response_id[-1]) - 1][-1]["response"]
        run = poll(client, ids)
        assert hand.calls()[-1] == f"GET /responses/{response_id}"
        [answer] = client.beta.threads.messages.list(ids.thread_id)
        [step] = client.beta.threads.runs.steps.list(ids.run_id, thread_id=ids.thread_id)
        assert answer.id == ids.message_id == step.step_details.message_creation.message_id
        if ids is program:
            assert (run.status, answer.status, step.status) == ("completed", "completed", "completed")
            assert answer.content[0].text.value == TEXT
            assert (run.usage.total_tokens, step.usage.total_tokens) == (7, 7)
        else:
            assert (run.status, answer.status, step.status) == ("failed", "incomplete", "failed")
            assert answer.content[0].text.value == "One two"
            assert answer.incomplete_details.reason == "run_failed"
            assert run.last_error.code == "server_error"
        client.beta.threads.messages.create(ids.thread_id, role="user", content="More.")
    assert len(hand.calls()) == 4
    door.close()


def test_a_process_that_dies_before_the_first_event_fails_the_run(
    door: Door, hand: ManualUpstream, settings: Settings
) -> None:
    """If no response id was received, the run fails once its lease expires, without a GET."""
    client = door.client(hand, settings)
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.queued")[-1].data
    expire_lease(settings, run.id)
    assert retrieve_run(door, client, run).status == "failed"
    assert hand.calls() == [POST]
    hand.stream().send(*EVENTS, END)  # a process that was only suspended gets the run's end
    assert read_rest(door, stream)[-1].event == "thread.run.failed"
    assert stored_run(settings, run.id)["status"] == "failed"


def test_a_program_that_ends_waits_for_its_runs(hand: ManualUpstream, client: Any, settings: Settings) -> None:
    """A program that ends reads all its left, kept and unread streams to their ends first."""
    for number in range(5):
        hand.plan(*events(message(TEXT), id=f"resp_{number}")[:CUT])
    program = Program(
        """
for event in begin():
    if print_ids(event): break
kept = read()
def forget(): read()
forget()
unread = begin()
for event in begin():
    if print_ids(event): sys.exit(0)
""",
        hand,
        settings,
    )
    hand.stream(4)
    time.sleep(0.2)  # so that the program has reached its last line
    assert program.process.poll() is None
    for number in range(5):
        hand.stream(number).send(*events(message(TEXT), id=f"resp_{number}")[CUT:], END)
    _, err = program.end()
    assert (program.process.returncode, err) == (0, "")
    rows = dump_store(settings)["runs"]
    assert [row["status"] for row in rows] == ["completed"] * 5
    assert [stored_messages(settings, row["id"]) for row in rows] == [[("completed", TEXT)]] * 5
    assert hand.calls() == [POST] * 5


def test_a_program_that_ends_starts_no_thread(hand: ManualUpstream, client: Any, settings: Settings) -> None:
    """A program reads its streams at its end without starting threads, which Python 3.12 and later forbid there."""
    hand.plan(*EVENTS, END)
    hand.plan(*EVENTS[:CUT])
    program = Program(
        """
import threading
def no_thread(self): raise RuntimeError("can't create new thread at interpreter shutdown")
first, second = begin(), read()
threading.Thread.start = no_thread
""",
        hand,
        settings,
    )
    hand.stream(1).send(*EVENTS[CUT:], END)
    _, err = program.end()
    assert (program.process.returncode, err) == (0, "")
    wait_until_ended(settings, program.run_id)
    assert stored_messages(settings, program.run_id) == [("completed", TEXT)]


def test_closing_an_async_client_completes_its_runs(hand: ManualUpstream, client: Any, settings: Settings) -> None:
    """`async with client` completes a run whose loop was left before the program ends."""
    hand.plan(*EVENTS[:CUT])
    program = Program(
        """
async def main():
    client = assistants_compat.wrap(openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0), settings)
    async with client:
        assistant = await client.beta.assistants.create(model="gpt-4o", instructions="Help.")
        async for event in await client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True):
            if print_ids(event): break
asyncio.run(main())
""",
        hand,
        settings,
    )
    hand.stream().send(*EVENTS[CUT:], END)
    out, err = program.end()
    assert (program.process.returncode, out, err) == (0, "", "")
    wait_until_ended(settings, program.run_id)
    assert stored_messages(settings, program.run_id) == [("completed", TEXT)]


CHILDREN = {
    "a child that ends at once": "os._exit(0)",
    "a child that ends well": "sys.exit(0)",
    "a child that collects": "stream = None; gc.collect(); sys.exit(0)",
    "a child that closes": "stream.close(); stream.response.close(); sys.exit(0)",
    "a child that reads on": "assert list(stream.response.stream) == []; sys.exit(0)",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_does_not_disturb_the_stream(hand: ManualUpstream, client: Any, settings: Settings) -> None:
    """Whatever forked children do with the stream, the parent reads it to its end and completes the run."""
    hand.plan(*EVENTS[:CUT])
    children = "".join(
        f"""
child = os.fork()
if not child:
    {child}
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, {name!r}
"""
        for name, child in CHILDREN.items()
    )
    end = """
print("forked", flush=True)
print(next(iter(stream)).event, flush=True)
for event in stream: pass
print(event.event, flush=True)
"""
    program = Program(f"stream = read()\n{children}{end}", hand, settings)
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "forked\n"
    assert stored_run(settings, program.run_id)["status"] == "in_progress"
    hand.stream().send(*EVENTS[CUT:], END)
    out, err = program.end()
    assert (program.process.returncode, err) == (0, "")
    assert out.splitlines()[-2:] == ["thread.message.delta", "thread.run.completed"]
    wait_until_ended(settings, program.run_id)
    assert stored_messages(settings, program.run_id) == [("completed", TEXT)]
    assert step_statuses(settings, program.run_id) == ["completed"]
