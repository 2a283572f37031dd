"""Processes that die, end or fork in the middle of a stream, and what another process sees of the run."""

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
from kit.legacy_code import dump, look_at
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ByHand,
    begin,
    ended,
    events,
    eventually,
    lapse,
    message,
    rest,
    said,
    step_statuses,
    stored,
    until,
)

POST = "POST /responses"

# A process of its own: it is killed, or forks.
PRELUDE = """
import asyncio, gc, os, sys, warnings
import openai
import assistants_compat
from assistants_compat import streaming
store, files, namespace, base_url, key = sys.argv[1:]
streaming._SAVED_EVERY = 0.0
settings = assistants_compat.Settings(store=store, files=files, namespace=namespace)
warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads, which is the point here

def told(event):
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
        if told(event):
            return stream

async def read_async():
    stream = await begin_async()
    async for event in stream:
        if told(event):
            return stream
"""
READING = {
    "sync": """
import threading
first = threading.Thread(target=read)
first.start(); first.join()
for event in begin(): told(event)
""",
    "async": """
async def main():
    stream = await read_async()
    async for event in await begin_async(): told(event)
asyncio.run(main())
""",
}


class Told:
    """What a program was told: the ids of a run, its thread and its message."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.run_id, self.thread_id = process.stdout.readline().split()
        self.message_id, _ = process.stdout.readline().split()


class Program(Told):
    """A program in a process of its own, and what it was told first."""

    def __init__(self, program: str, hand: ByHand, settings: Settings) -> None:
        arguments = [settings.store, settings.files, settings.namespace, hand.base_url, KEY]
        command: list[Any] = [sys.executable, "-c", PRELUDE + program, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        super().__init__(self.process)

    def end(self) -> tuple[str, str]:
        """Wait for its end; what it wrote."""
        return self.process.communicate(timeout=30)

    def kill(self) -> None:
        """End it as the kernel does."""
        self.process.send_signal(signal.SIGKILL)
        self.end()


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite: the database sees no difference between these programs."""
    return sqlite_settings


@pytest.fixture
def client(hand: ByHand, settings: Settings) -> Any:
    """A client in another process than the program."""
    door = Door("sync")
    yield door.client(hand, settings)
    door.close()


def look(client: Any, program: Told) -> Any:
    """The run as this process sees it."""
    return client.beta.threads.runs.retrieve(program.run_id, thread_id=program.thread_id)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_process_that_is_killed(hand: ByHand, postgresql_server: str, sqlite_settings: Settings, kind: str) -> None:
    """Nothing happens while its lease lasts; then the next look ends each run as the upstream says, with told ids."""
    url = postgresql_server if kind == "async" else sqlite_settings.store
    settings = replace(sqlite_settings, store=url, namespace=uuid.uuid4().hex)
    door = Door("sync")
    client = door.client(hand, settings)
    whole = [events(message(TEXT), id=f"resp_{number}") for number in (1, 2)]
    for each in whole:
        hand.plan(*each[:CUT])
    program = Program(READING[kind], hand, settings)
    other = Told(program.process)
    expected = [[("in_progress", "One two")]] * 2
    eventually(lambda: [said(settings, told.run_id) for told in (program, other)] == expected)
    program.kill()
    assert look(client, program).status == "in_progress"
    assert hand.asked() == [POST] * 2
    for told in (program, other):
        lapse(settings, told.run_id)
    for told in (program, other):
        response_id = stored(settings, told.run_id)["response_id"]
        if told is program:
            hand.known[response_id] = whole[int(response_id[-1]) - 1][-1]["response"]
        run = look(client, told)
        assert hand.asked()[-1] == f"GET /responses/{response_id}"
        [answer] = client.beta.threads.messages.list(told.thread_id)
        [step] = client.beta.threads.runs.steps.list(told.run_id, thread_id=told.thread_id)
        assert answer.id == told.message_id == step.step_details.message_creation.message_id
        if told is program:
            assert (run.status, answer.status, step.status) == ("completed", "completed", "completed")
            assert answer.content[0].text.value == TEXT
            assert (run.usage.total_tokens, step.usage.total_tokens) == (7, 7)
        else:
            assert (run.status, answer.status, step.status) == ("failed", "incomplete", "failed")
            assert answer.content[0].text.value == "One two"
            assert answer.incomplete_details.reason == "run_failed"
            assert run.last_error.code == "server_error"
        client.beta.threads.messages.create(told.thread_id, role="user", content="More.")
    assert len(hand.asked()) == 4
    door.close()


def test_a_process_that_dies_before_the_first_word(door: Door, hand: ByHand, settings: Settings) -> None:
    """Nobody knows the response of a silent upstream: once the lease has lapsed the run has failed, without a GET."""
    client = door.client(hand, settings)
    stream = begin(door, client)
    run = until(door, stream, "thread.run.queued")[-1].data
    lapse(settings, run.id)
    assert look_at(door, client, run).status == "failed"
    assert hand.asked() == [POST]
    hand.wire().send(*EVENTS, END)  # a process that was only asleep hears of it
    assert rest(door, stream)[-1].event == "thread.run.failed"
    assert stored(settings, run.id)["status"] == "failed"


def test_a_program_that_ends_waits_for_its_runs(hand: ByHand, client: Any, settings: Settings) -> None:
    """Broken loops, kept, forgotten and unread streams, `sys.exit` in a loop: all are read before the program ends."""
    for number in range(5):
        hand.plan(*events(message(TEXT), id=f"resp_{number}")[:CUT])
    program = Program(
        """
for event in begin():
    if told(event): break
kept = read()
def forget(): read()
forget()
unread = begin()
for event in begin():
    if told(event): sys.exit(0)
""",
        hand,
        settings,
    )
    hand.wire(4)
    time.sleep(0.2)  # it has come to its last line
    assert program.process.poll() is None
    for number in range(5):
        hand.wire(number).send(*events(message(TEXT), id=f"resp_{number}")[CUT:], END)
    _, err = program.end()
    assert (program.process.returncode, err) == (0, "")
    rows = dump(settings)["runs"]
    assert [row["status"] for row in rows] == ["completed"] * 5
    assert [said(settings, row["id"]) for row in rows] == [[("completed", TEXT)]] * 5
    assert hand.asked() == [POST] * 5


def test_a_program_that_ends_where_no_thread_can_be_started(hand: ByHand, client: Any, settings: Settings) -> None:
    """Since Python 3.12 an ending program starts no threads: what reads already reads the rest, of two streams too."""
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
    hand.wire(1).send(*EVENTS[CUT:], END)
    _, err = program.end()
    assert (program.process.returncode, err) == (0, "")
    ended(settings, program.run_id)
    assert said(settings, program.run_id) == [("completed", TEXT)]


def test_a_loop_that_ends_after_its_client_was_closed(hand: ByHand, client: Any, settings: Settings) -> None:
    """`async with client` around a loop that is left: the run has completed when the program ends."""
    hand.plan(*EVENTS[:CUT])
    program = Program(
        """
async def main():
    client = assistants_compat.wrap(openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0), settings)
    async with client:
        assistant = await client.beta.assistants.create(model="gpt-4o", instructions="Help.")
        async for event in await client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True):
            if told(event): break
asyncio.run(main())
""",
        hand,
        settings,
    )
    hand.wire().send(*EVENTS[CUT:], END)
    out, err = program.end()
    assert (program.process.returncode, out, err) == (0, "", "")
    ended(settings, program.run_id)
    assert said(settings, program.run_id) == [("completed", TEXT)]


FORKS = {
    "a child that ends at once": "os._exit(0)",
    "a child that ends well": "sys.exit(0)",
    "a child that collects": "stream = None; gc.collect(); sys.exit(0)",
    "a child that closes": "stream.close(); stream.response.close(); sys.exit(0)",
    "a child that reads on": "assert list(stream.response.stream) == []; sys.exit(0)",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_in_the_middle(hand: ByHand, client: Any, settings: Settings) -> None:
    """Whatever the child does with the stream that it inherits, the parent's goes on, and completes its run."""
    hand.plan(*EVENTS[:CUT])
    children = "".join(
        f"""
child = os.fork()
if not child:
    {child}
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, {name!r}
"""
        for name, child in FORKS.items()
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
    assert stored(settings, program.run_id)["status"] == "in_progress"
    hand.wire().send(*EVENTS[CUT:], END)
    out, err = program.end()
    assert (program.process.returncode, err) == (0, "")
    assert out.splitlines()[-2:] == ["thread.message.delta", "thread.run.completed"]
    ended(settings, program.run_id)
    assert said(settings, program.run_id) == [("completed", TEXT)]
    assert step_statuses(settings, program.run_id) == ["completed"]
