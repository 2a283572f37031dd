"""Streams survive late readers, kept streams, taken worker threads and busy stores."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread
import openai
import pytest

from assistants_compat import Settings
from assistants_compat.doors import stream_readers
from assistants_compat.engine import io
from assistants_compat.engine.runs import stream as streaming
from assistants_compat.errors import StoreBusyError
from assistants_compat.store import database, queries
from kit.doors import Door
from kit.legacy_code import FUNCTION, make_assistant
from kit.streams import (
    ALL_EVENT_NAMES,
    CUT,
    DROP,
    END,
    EVENTS,
    TEXT,
    ManualUpstream,
    event_names,
    events,
    eventually,
    expire_lease,
    function,
    message,
    next_event,
    pause,
    read_rest,
    read_until,
    start_partial_stream,
    start_stream,
    step_statuses,
    stored_messages,
    stored_run,
    text_of,
    wait_until_ended,
)

POST = "POST /responses"
WAIT_SECONDS = 4.0  # seconds


# --- a reader that wakes up after its run continued elsewhere

CALLS = events(function())
SENT_BEFORE = 4  # the call's step and some of its arguments have been streamed by then
WAKE_UPS: dict[str, list[Any]] = {
    "to more words": CALLS[SENT_BEFORE : SENT_BEFORE + 1],
    "to the end": [*CALLS[SENT_BEFORE:], END],
    "to a lost connection": [DROP],
    "to an error": [{"type": "error", "code": "server_error", "message": "Overheated.", "param": None}, END],
}


@pytest.mark.parametrize("way", WAKE_UPS)
def test_a_reader_that_wakes_up_in_a_later_round_writes_nothing(
    door: Door,
    client: Any,
    other: Any,
    hand: ManualUpstream,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """A reader that slept past its lease while others continued the run writes nothing, whatever it reads."""
    monkeypatch.setattr(streaming, "_SAVE_INTERVAL_SECONDS", 0.0)
    hand.plan(*CALLS[:SENT_BEFORE])
    stream = start_stream(door, client, tools=[FUNCTION])
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    read_until(door, stream, "thread.run.step.delta")
    pause(door, 0.2)  # what was sent is read and saved
    hand.known["resp_1"] = CALLS[-1]["response"]
    runs = other.beta.threads.runs

    def has_continued() -> bool:
        expire_lease(settings, run.id)
        return bool(runs.retrieve(run.id, thread_id=run.thread_id).status == "requires_action")

    eventually(has_continued, door)
    second = events(message(TEXT), id="resp_2")
    hand.plan(*second[:CUT])
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    later_stream = runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True)
    later_events = read_until(Door("sync"), later_stream, "thread.message.delta")
    before = stored_run(settings, run.id)
    assert (before["status"], before["response_id"]) == ("in_progress", "resp_2")
    hand.stream(0).send(*WAKE_UPS[way])
    if way == "to more words":
        hand.stream(0).send(DROP)
    with contextlib.suppress(openai.APIError):
        read_rest(door, stream)
    row = stored_run(settings, run.id)
    assert (row["status"], row["response_id"], row["body"]["required_action"]) == ("in_progress", "resp_2", None)
    assert row["lease_until"] >= before["lease_until"] > time.time()
    hand.stream(1).send(*second[CUT:], END)
    later_events += read_rest(Door("sync"), later_stream)
    assert (text_of(later_events), later_events[-1].event) == (TEXT, "thread.run.completed")
    wait_until_ended(settings, run.id, door)
    assert stored_run(settings, run.id)["response_id"] == "resp_2"
    assert stored_messages(settings, run.id) == [("completed", TEXT)]
    assert step_statuses(settings, run.id) == ["completed"] * 2
    assert len([call for call in hand.calls() if call == POST]) == 2


# --- a loop that is left while its stream is kept


@pytest.fixture
def _short_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time after which a reader that requests nothing counts as idle."""
    assert stream_readers._IDLE_SECONDS <= 2
    monkeypatch.setattr(stream_readers, "_IDLE_SECONDS", 0.1)


def polls_of(other: Any, run_id: str, thread_id: str) -> dict[str, Callable[[], Any]]:
    """Return the calls with which another client can poll a thread."""
    threads = other.beta.threads
    return {
        "retrieve": lambda: threads.runs.retrieve(run_id, thread_id=thread_id).status == "completed",
        "message": lambda: threads.messages.create(thread_id, role="user", content="More."),
        "run": lambda: list(threads.runs.create(thread_id, assistant_id=_assistant(other), stream=True)),
    }


def _assistant(client: Any) -> str:
    return str(next(iter(client.beta.assistants.list())).id)


@pytest.mark.usefixtures("_short_idle_time")
@pytest.mark.parametrize("poll", ["retrieve", "message", "run"])
def test_a_poll_lets_the_rest_of_a_kept_stream_be_read(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings, poll: str
) -> None:
    """A poll in the process lets a kept stream be read to its end; its consumer can continue and misses nothing."""
    hand.plan(*EVENTS, END)
    stream = start_stream(door, client)
    seen = read_until(door, stream, "thread.message.delta")
    run_id, thread_id = seen[0].data.id, seen[0].data.thread_id
    hand.plan(*events(message("Again."), id="resp_2"), END)
    check = polls_of(other, run_id, thread_id)[poll]

    def poll_once() -> Any:
        with contextlib.suppress(openai.BadRequestError):
            return check()

    assert eventually(poll_once, door, WAIT_SECONDS)
    wait_until_ended(settings, run_id, door)
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    seen += read_rest(door, stream)
    assert event_names(seen) == ALL_EVENT_NAMES
    assert text_of(seen) == TEXT
    assert hand.calls() == [POST] * (2 if poll == "run" else 1)


@pytest.mark.usefixtures("_short_idle_time")
def test_a_kept_stream_continues_where_its_consumer_stopped(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Events after the poll are read as well, and the consumer continues where it stopped."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    assert other.beta.threads.runs.retrieve(run_id, thread_id=thread_id).status == "in_progress"
    pause(door, 0.05)
    hand.stream().send(*EVENTS[CUT:], END)
    runs = other.beta.threads.runs
    eventually(lambda: runs.retrieve(run_id, thread_id=thread_id).status == "completed", door, WAIT_SECONDS)
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    seen = read_rest(door, stream)
    assert event_names(seen) == ALL_EVENT_NAMES[ALL_EVENT_NAMES.index("message.delta") + 1 :]
    assert text_of(seen) == TEXT.removeprefix("One")
    assert hand.calls() == [POST]


@pytest.mark.usefixtures("_short_idle_time")
def test_a_slow_consumer_gets_each_event_once_during_polls(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """During constant polls a slow consumer gets each event once and in order."""
    hand.plan(*EVENTS[:CUT])
    stream = start_stream(door, client)
    seen = [next_event(door, stream)]
    run_id, thread_id = seen[0].data.id, seen[0].data.thread_id
    is_over = threading.Event()
    errors: list[Exception] = []

    def poll() -> None:
        while not is_over.is_set():
            try:
                other.beta.threads.runs.retrieve(run_id, thread_id=thread_id)
            except Exception as error:  # noqa: BLE001 - asserted below
                errors.append(error)
            time.sleep(0.005)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        for event in [*EVENTS[CUT:], END]:
            hand.stream().send(event)
            pause(door, 0.03)
            if event is not END:
                seen += filter(None, [next_event(door, stream)])
        seen += read_rest(door, stream)
    finally:
        is_over.set()
        poller.join()
    assert errors == []
    assert event_names(seen) == ALL_EVENT_NAMES
    assert text_of(seen) == TEXT
    wait_until_ended(settings, run_id, door)
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    assert hand.calls() == [POST]


@pytest.mark.usefixtures("_short_idle_time")
def test_a_kept_stream_that_is_closed_after_a_poll_completes(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Closing or dropping a kept stream after polls does not stop the reading of the rest."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    for _ in range(10):
        other.beta.threads.runs.retrieve(run_id, thread_id=thread_id)
        pause(door, 0.02)
    door(stream.close())
    del stream
    gc.collect()
    hand.stream().send(*EVENTS[CUT:], END)
    wait_until_ended(settings, run_id, door)
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    assert hand.calls() == [POST]


# --- worker threads that are all busy


def test_a_stream_needs_no_free_worker_thread(loop_door: Door, hand: ManualUpstream, settings: Settings) -> None:
    """A stream works although a framework occupies all worker threads of the loop."""
    door, client = loop_door, loop_door.client(hand, settings)
    hand.plan(*EVENTS, END)

    async def work() -> list[str]:
        await client.beta.assistants.create(model="gpt-4o")  # some SDKs use a thread for their first request
        limiter = anyio.to_thread.current_default_thread_limiter()
        borrowers = [object() for _ in range(int(limiter.total_tokens))]
        for borrower in borrowers:
            limiter.acquire_on_behalf_of_nowait(borrower)
        try:
            return await asyncio.wait_for(stream_events(client), 5)
        finally:
            for borrower in borrowers:
                limiter.release_on_behalf_of(borrower)

    assert [name.removeprefix("thread.") for name in door(work())] == ALL_EVENT_NAMES


# trio warns of the generators that the SDK itself leaves open at the end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_needs_no_free_worker_thread_under_trio(hand: ManualUpstream, settings: Settings) -> None:
    """A stream works under trio although all worker threads are occupied."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    door = Door("async")
    hand.plan(*EVENTS, END)

    async def main() -> list[str]:
        client = door.client(hand, settings)
        await client.beta.assistants.create(model="gpt-4o")  # some SDKs use a thread for their first request
        limiter = trio.to_thread.current_default_thread_limiter()
        borrowers = [object() for _ in range(int(limiter.total_tokens))]
        for borrower in borrowers:
            limiter.acquire_on_behalf_of_nowait(borrower)
        try:
            with trio.fail_after(5):
                return await stream_events(client)
        finally:
            for borrower in borrowers:
                limiter.release_on_behalf_of(borrower)
            await client.close()

    assert [name.removeprefix("thread.") for name in trio.run(main)] == ALL_EVENT_NAMES
    door.clients.clear()


async def stream_events(client: Any) -> list[str]:
    """Stream a run and return the names of its events."""
    assistant = await client.beta.assistants.create(model="gpt-4o", instructions="x")
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "x"}])
    stream = await client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)
    return [event.event async for event in stream]


def test_many_calls_at_once_over_few_worker_threads(loop_door: Door, hand: ManualUpstream, settings: Settings) -> None:
    """Nine calls from framework threads that wait for the loop all get answers over three worker threads."""
    door, client = loop_door, loop_door.client(hand, settings)

    async def main() -> list[str]:
        assistant = await client.beta.assistants.create(model="gpt-4o")
        limiter = anyio.to_thread.current_default_thread_limiter()
        total, limiter.total_tokens = limiter.total_tokens, 3
        models: list[str] = []

        async def retrieve() -> None:
            await anyio.sleep(0.05)
            models.append((await client.beta.assistants.retrieve(assistant.id)).model)

        try:
            with anyio.fail_after(5):
                async with anyio.create_task_group() as group:
                    for _ in range(9):
                        group.start_soon(
                            lambda: anyio.to_thread.run_sync(
                                lambda: anyio.from_thread.run(retrieve), abandon_on_cancel=True
                            )
                        )
        finally:
            limiter.total_tokens = total
        return models

    assert door(main()) == ["gpt-4o"] * 9


# --- a busy or failing store


def test_a_stream_continues_while_the_store_is_busy(
    door: Door, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another program locks the database, the stream continues; its text is saved afterwards."""
    monkeypatch.setattr(streaming, "_SAVE_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    client = door.client(hand, settings)
    stream, run_id, _ = start_partial_stream(door, client, hand)
    read_until(door, stream, "thread.message.delta")
    eventually(lambda: stored_messages(settings, run_id) == [("in_progress", "One two")], door)
    backup = sqlite3.connect(str(settings.store), isolation_level=None)
    try:
        backup.execute("BEGIN IMMEDIATE")
        for number, word in enumerate([" three", " four"]):
            hand.stream().send(EVENTS[CUT + number])
            assert text_of([next_event(door, stream)]) == word
        pause(door, 0.05)
        assert stored_messages(settings, run_id) == [("in_progress", "One two")]
        backup.execute("ROLLBACK")
    finally:
        backup.close()
    hand.stream().send(EVENTS[CUT + 2])
    assert text_of([next_event(door, stream)]) == " five"
    if door.kind == "async" or not stored_messages(settings, run_id)[0][1].endswith("five"):
        hand.stream().send(EVENTS[CUT + 3])
        assert text_of([next_event(door, stream)]) == " six."
        eventually(lambda: stored_messages(settings, run_id)[0][1].startswith("One two three four five"), door)
        hand.stream().send(*EVENTS[CUT + 4 :], END)
    else:
        hand.stream().send(*EVENTS[CUT + 3 :], END)
    assert read_rest(door, stream)[-1].event == "thread.run.completed"
    wait_until_ended(settings, run_id, door)
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    assert hand.calls() == [POST]


def test_deleting_a_thread_does_not_deadlock_with_a_save(
    door: Door, hand: ManualUpstream, postgresql_server: str, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL a save and the deletion of its thread lock rows in one order, so neither fails."""
    settings = replace(sqlite_settings, store=postgresql_server, namespace=uuid.uuid4().hex)
    client = door.client(hand, settings)
    elsewhere = Door("sync")
    other = elsewhere.client(hand, settings)
    hand.plan(*EVENTS[:2])
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    in_save, in_delete = threading.Event(), threading.Event()
    insert_rows, active_run = queries.insert_rows, queries.active_run

    def insert_during_delete(db: Any, noun: Any, rows: Any) -> None:
        rows = list(rows)
        if noun == "messages" and rows and rows[0].get("run_id") == run.id:
            in_save.set()
            if in_delete.wait(0.5):
                time.sleep(0.1)  # the deletion has locked the thread and now locks the thread's rows
        insert_rows(db, noun, rows)

    def signalling_active_run(db: Any, *where: str) -> Any:
        in_delete.set()
        return active_run(db, *where)

    monkeypatch.setattr(queries, "insert_rows", insert_during_delete)
    results: list[Any] = []

    def delete() -> None:
        in_save.wait(5)
        monkeypatch.setattr(queries, "active_run", signalling_active_run)
        try:
            results.append(other.beta.threads.delete(run.thread_id).deleted)
        except Exception as error:  # noqa: BLE001 - asserted below
            results.append(error)

    deleting = threading.Thread(target=delete)
    deleting.start()
    hand.stream().send(*EVENTS[2:], END)
    seen = read_rest(door, stream)  # ends without an error and without a final event: the run is gone
    deleting.join(10)
    assert results == [True]
    assert set(event_names(seen)) <= set(ALL_EVENT_NAMES)
    with pytest.raises(openai.NotFoundError):
        other.beta.threads.retrieve(run.thread_id)
    assert stored_run(settings, run.id) is None
    elsewhere.close()


@pytest.mark.parametrize("times", [1, 1000])
def test_an_accepted_stream_is_not_created_twice_if_the_store_fails(
    door: Door, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """If the store fails after the upstream accepted a streamed run, the SDK does not create it again."""
    client = door.client(hand, settings, max_retries=2)
    assistant = make_assistant(door, client)
    hand.plan(*EVENTS, END)
    hand.plan(*EVENTS, END)
    failures = [None] * times
    read = io.IO.read

    async def failing_read(self: Any, work: Any) -> Any:
        if hand.requests and failures:
            failures.pop()
            raise StoreBusyError("The store did not answer.")
        return await read(self, work)

    monkeypatch.setattr(io.IO, "read", failing_read)
    messages = [{"role": "user", "content": "x"}]
    create = client.beta.threads.create_and_run
    seen: list[Any] = []
    with contextlib.suppress(openai.APIError):
        stream = door(create(assistant_id=assistant.id, stream=True, thread={"messages": messages}))
        while (event := next_event(door, stream)) is not None:
            seen.append(event)
    assert event_names(seen)[:3] == ["created", "run.created", "run.queued"]
    assert hand.calls() == [POST]
    if times == 1:
        assert event_names(seen) == ["created", *ALL_EVENT_NAMES]
    eventually(hand.stream().over.is_set, door)
