"""What a second look at streams found: readers that wake up too late, loops that are left, stores that are busy."""

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
    CUT,
    DROP,
    END,
    EVENTS,
    TEXT,
    WHOLE,
    ByHand,
    begin,
    begun,
    ended,
    events,
    eventually,
    following,
    function,
    lapse,
    message,
    names,
    pause,
    rest,
    said,
    step_statuses,
    stored,
    text_of,
    until,
)

POST = "POST /responses"
SOON = 4.0  # seconds


# --- a reader that wakes up when the run has gone on without it

CALLS = events(function())
HAD = 4  # after that many of them the call's step has been told, and some of its arguments
WAKE: dict[str, list[Any]] = {
    "to more words": CALLS[HAD : HAD + 1],
    "to the end": [*CALLS[HAD:], END],
    "to a lost connection": [DROP],
    "to an error": [{"type": "error", "code": "server_error", "message": "Overheated.", "param": None}, END],
}


@pytest.mark.parametrize("way", WAKE)
def test_a_reader_that_wakes_up_in_a_later_round(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A machine slept past its lease, others went on with the run: whatever its stream says now, it writes nothing."""
    monkeypatch.setattr(streaming, "_SAVED_EVERY", 0.0)
    hand.plan(*CALLS[:HAD])
    stream = begin(door, client, tools=[FUNCTION])
    run = until(door, stream, "thread.run.in_progress")[-1].data
    until(door, stream, "thread.run.step.delta")
    pause(door, 0.2)  # what has come is read and saved
    hand.known["resp_1"] = CALLS[-1]["response"]
    runs = other.beta.threads.runs

    def gone_on() -> bool:
        lapse(settings, run.id)
        return bool(runs.retrieve(run.id, thread_id=run.thread_id).status == "requires_action")

    eventually(gone_on, door)
    second = events(message(TEXT), id="resp_2")
    hand.plan(*second[:CUT])
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    later = runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True)
    told = until(Door("sync"), later, "thread.message.delta")
    before = stored(settings, run.id)
    assert (before["status"], before["response_id"]) == ("in_progress", "resp_2")
    hand.wire(0).send(*WAKE[way])
    if way == "to more words":
        hand.wire(0).send(DROP)
    with contextlib.suppress(openai.APIError):
        rest(door, stream)
    row = stored(settings, run.id)
    assert (row["status"], row["response_id"], row["body"]["required_action"]) == ("in_progress", "resp_2", None)
    assert row["lease_until"] >= before["lease_until"] > time.time()
    hand.wire(1).send(*second[CUT:], END)
    told += rest(Door("sync"), later)
    assert (text_of(told), told[-1].event) == (TEXT, "thread.run.completed")
    ended(settings, run.id, door)
    assert stored(settings, run.id)["response_id"] == "resp_2"
    assert said(settings, run.id) == [("completed", TEXT)]
    assert step_statuses(settings, run.id) == ["completed"] * 2
    assert len([each for each in hand.asked() if each == POST]) == 2


# --- a loop that is left while its stream is still held


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for nothing is taken for gone sooner than in life."""
    assert stream_readers._IDLE <= 2
    monkeypatch.setattr(stream_readers, "_IDLE", 0.1)


def looks(other: Any, run_id: str, thread_id: str) -> dict[str, Callable[[], Any]]:
    """How somebody in the same process may look at a thread."""
    threads = other.beta.threads
    return {
        "retrieve": lambda: threads.runs.retrieve(run_id, thread_id=thread_id).status == "completed",
        "message": lambda: threads.messages.create(thread_id, role="user", content="More."),
        "run": lambda: list(threads.runs.create(thread_id, assistant_id=_assistant(other), stream=True)),
    }


def _assistant(client: Any) -> str:
    return str(next(iter(client.beta.assistants.list())).id)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("look", ["retrieve", "message", "run"])
def test_a_loop_that_is_left_and_its_stream_kept(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings, look: str
) -> None:
    """The next look in this program lets the rest be read; who holds the stream may read on, and misses nothing."""
    hand.plan(*EVENTS, END)
    stream = begin(door, client)
    seen = until(door, stream, "thread.message.delta")
    run_id, thread_id = seen[0].data.id, seen[0].data.thread_id
    hand.plan(*events(message("Again."), id="resp_2"), END)
    check = looks(other, run_id, thread_id)[look]

    def did() -> Any:
        with contextlib.suppress(openai.BadRequestError):
            return check()

    assert eventually(did, door, SOON)
    ended(settings, run_id, door)
    assert said(settings, run_id) == [("completed", TEXT)]
    seen += rest(door, stream)
    assert names(seen) == WHOLE
    assert text_of(seen) == TEXT
    assert hand.asked() == [POST] * (2 if look == "run" else 1)


@pytest.mark.usefixtures("_impatient")
def test_a_kept_stream_whose_upstream_still_speaks(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings
) -> None:
    """What comes after the look is read as well, and the consumer that comes back goes on where it was."""
    stream, run_id, thread_id = begun(door, client, hand)
    assert other.beta.threads.runs.retrieve(run_id, thread_id=thread_id).status == "in_progress"
    pause(door, 0.05)
    hand.wire().send(*EVENTS[CUT:], END)
    runs = other.beta.threads.runs
    eventually(lambda: runs.retrieve(run_id, thread_id=thread_id).status == "completed", door, SOON)
    assert said(settings, run_id) == [("completed", TEXT)]
    seen = rest(door, stream)
    assert names(seen) == WHOLE[WHOLE.index("message.delta") + 1 :]
    assert text_of(seen) == TEXT.removeprefix("One")
    assert hand.asked() == [POST]


@pytest.mark.usefixtures("_impatient")
def test_a_consumer_that_reads_while_others_look(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings
) -> None:
    """Looks all the time, a consumer that takes its time: each event is told once, in order."""
    hand.plan(*EVENTS[:CUT])
    stream = begin(door, client)
    seen = [following(door, stream)]
    run_id, thread_id = seen[0].data.id, seen[0].data.thread_id
    is_over = threading.Event()
    trouble: list[Exception] = []

    def look() -> None:
        while not is_over.is_set():
            try:
                other.beta.threads.runs.retrieve(run_id, thread_id=thread_id)
            except Exception as error:  # noqa: BLE001 - told below
                trouble.append(error)
            time.sleep(0.005)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for each in [*EVENTS[CUT:], END]:
            hand.wire().send(each)
            pause(door, 0.03)
            if each is not END:
                seen += filter(None, [following(door, stream)])
        seen += rest(door, stream)
    finally:
        is_over.set()
        looker.join()
    assert trouble == []
    assert names(seen) == WHOLE
    assert text_of(seen) == TEXT
    ended(settings, run_id, door)
    assert said(settings, run_id) == [("completed", TEXT)]
    assert hand.asked() == [POST]


@pytest.mark.usefixtures("_impatient")
def test_a_kept_stream_that_is_closed_after_a_look(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings
) -> None:
    """Closed or dropped while somebody else reads the rest already: that goes on, and nothing is read twice."""
    stream, run_id, thread_id = begun(door, client, hand)
    for _ in range(10):
        other.beta.threads.runs.retrieve(run_id, thread_id=thread_id)
        pause(door, 0.02)
    door(stream.close())
    del stream
    gc.collect()
    hand.wire().send(*EVENTS[CUT:], END)
    ended(settings, run_id, door)
    assert said(settings, run_id) == [("completed", TEXT)]
    assert hand.asked() == [POST]


# --- worker threads that are all taken


def test_worker_threads_that_are_all_taken(loop_door: Door, hand: ByHand, settings: Settings) -> None:
    """A framework's threads that wait for the loop keep no store call from its turn."""
    door, client = loop_door, loop_door.client(hand, settings)
    hand.plan(*EVENTS, END)

    async def work() -> list[str]:
        await client.beta.assistants.create(model="gpt-4o")  # some SDKs take a thread for their first request
        limiter = anyio.to_thread.current_default_thread_limiter()
        takers = [object() for _ in range(int(limiter.total_tokens))]
        for taker in takers:
            limiter.acquire_on_behalf_of_nowait(taker)
        try:
            return await asyncio.wait_for(conversation(client), 5)
        finally:
            for taker in takers:
                limiter.release_on_behalf_of(taker)

    assert [each.removeprefix("thread.") for each in door(work())] == WHOLE


# trio warns of the generators that the SDK itself leaves open at the end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_worker_threads_that_are_all_taken_under_trio(hand: ByHand, settings: Settings) -> None:
    """The same under trio."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    door = Door("async")
    hand.plan(*EVENTS, END)

    async def main() -> list[str]:
        client = door.client(hand, settings)
        await client.beta.assistants.create(model="gpt-4o")  # some SDKs take a thread for their first request
        limiter = trio.to_thread.current_default_thread_limiter()
        takers = [object() for _ in range(int(limiter.total_tokens))]
        for taker in takers:
            limiter.acquire_on_behalf_of_nowait(taker)
        try:
            with trio.fail_after(5):
                return await conversation(client)
        finally:
            for taker in takers:
                limiter.release_on_behalf_of(taker)
            await client.close()

    assert [each.removeprefix("thread.") for each in trio.run(main)] == WHOLE
    door.clients.clear()


async def conversation(client: Any) -> list[str]:
    """The names of a run's events."""
    assistant = await client.beta.assistants.create(model="gpt-4o", instructions="x")
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "x"}])
    stream = await client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)
    return [event.event async for event in stream]


def test_many_calls_at_once_over_few_worker_threads(loop_door: Door, hand: ByHand, settings: Settings) -> None:
    """Threads of a framework that call into the loop and wait there, more than there are: each has its answer."""
    door, client = loop_door, loop_door.client(hand, settings)

    async def main() -> list[str]:
        assistant = await client.beta.assistants.create(model="gpt-4o")
        limiter = anyio.to_thread.current_default_thread_limiter()
        took, limiter.total_tokens = limiter.total_tokens, 3
        names_: list[str] = []

        async def ask() -> None:
            await anyio.sleep(0.05)
            names_.append((await client.beta.assistants.retrieve(assistant.id)).model)

        try:
            with anyio.fail_after(5):
                async with anyio.create_task_group() as group:
                    for _ in range(9):
                        group.start_soon(
                            lambda: anyio.to_thread.run_sync(lambda: anyio.from_thread.run(ask), abandon_on_cancel=True)
                        )
        finally:
            limiter.total_tokens = took
        return names_

    assert door(main()) == ["gpt-4o"] * 9


# --- a store that is busy for a while


def test_a_store_that_is_busy_for_a_while(
    door: Door, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program locks the database (a backup): the words go on, and are saved when it is done."""
    monkeypatch.setattr(streaming, "_SAVED_EVERY", 0.0)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    client = door.client(hand, settings)
    stream, run_id, _ = begun(door, client, hand)
    until(door, stream, "thread.message.delta")
    eventually(lambda: said(settings, run_id) == [("in_progress", "One two")], door)
    backup = sqlite3.connect(str(settings.store), isolation_level=None)
    try:
        backup.execute("BEGIN IMMEDIATE")
        for number, word in enumerate([" three", " four"]):
            hand.wire().send(EVENTS[CUT + number])
            assert text_of([following(door, stream)]) == word
        pause(door, 0.05)
        assert said(settings, run_id) == [("in_progress", "One two")]
        backup.execute("ROLLBACK")
    finally:
        backup.close()
    hand.wire().send(EVENTS[CUT + 2])
    assert text_of([following(door, stream)]) == " five"
    if door.kind == "async" or not said(settings, run_id)[0][1].endswith("five"):
        hand.wire().send(EVENTS[CUT + 3])
        assert text_of([following(door, stream)]) == " six."
        eventually(lambda: said(settings, run_id)[0][1].startswith("One two three four five"), door)
        hand.wire().send(*EVENTS[CUT + 4 :], END)
    else:
        hand.wire().send(*EVENTS[CUT + 3 :], END)
    assert rest(door, stream)[-1].event == "thread.run.completed"
    ended(settings, run_id, door)
    assert said(settings, run_id) == [("completed", TEXT)]
    assert hand.asked() == [POST]


def test_a_thread_that_is_deleted_while_its_stream_saves(
    door: Door, hand: ByHand, postgresql_server: str, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL: a save in the middle of its transaction and the deletion wait for each other in one order only."""
    settings = replace(sqlite_settings, store=postgresql_server, namespace=uuid.uuid4().hex)
    client = door.client(hand, settings)
    elsewhere = Door("sync")
    other = elsewhere.client(hand, settings)
    hand.plan(*EVENTS[:2])
    stream = begin(door, client)
    run = until(door, stream, "thread.run.in_progress")[-1].data
    in_save, in_delete = threading.Event(), threading.Event()
    add, active = queries.add, queries.active_run

    def adding(db: Any, noun: Any, rows: Any) -> None:
        rows = list(rows)
        if noun == "messages" and rows and rows[0].get("run_id") == run.id:
            in_save.set()
            if in_delete.wait(0.5):
                time.sleep(0.1)  # the deletion has locked the thread, and now wants what belongs to it
        add(db, noun, rows)

    def finding(db: Any, *where: str) -> Any:
        in_delete.set()
        return active(db, *where)

    monkeypatch.setattr(queries, "add", adding)
    told: list[Any] = []

    def delete() -> None:
        in_save.wait(5)
        monkeypatch.setattr(queries, "active_run", finding)
        try:
            told.append(other.beta.threads.delete(run.thread_id).deleted)
        except Exception as error:  # noqa: BLE001 - compared below
            told.append(error)

    deleting = threading.Thread(target=delete)
    deleting.start()
    hand.wire().send(*EVENTS[2:], END)
    seen = rest(door, stream)  # no error, and that is all: a run that is gone has no end to tell
    deleting.join(10)
    assert told == [True]
    assert set(names(seen)) <= set(WHOLE)
    with pytest.raises(openai.NotFoundError):
        other.beta.threads.retrieve(run.thread_id)
    assert stored(settings, run.id) is None
    elsewhere.close()


@pytest.mark.parametrize("times", [1, 1000])
def test_a_store_that_fails_once_a_stream_was_accepted(
    door: Door, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """`create_and_run` that was taken upstream is not asked for twice, whatever the SDK does with a failing read."""
    client = door.client(hand, settings, max_retries=2)
    assistant = make_assistant(door, client)
    hand.plan(*EVENTS, END)
    hand.plan(*EVENTS, END)
    left = [None] * times
    read = io.IO.read

    async def reading(self: Any, work: Any) -> Any:
        if hand.requests and left:
            left.pop()
            raise StoreBusyError("The store did not answer.")
        return await read(self, work)

    monkeypatch.setattr(io.IO, "read", reading)
    messages = [{"role": "user", "content": "x"}]
    create = client.beta.threads.create_and_run
    seen: list[Any] = []
    with contextlib.suppress(openai.APIError):
        stream = door(create(assistant_id=assistant.id, stream=True, thread={"messages": messages}))
        while (event := following(door, stream)) is not None:
            seen.append(event)
    assert names(seen)[:3] == ["created", "run.created", "run.queued"]
    assert hand.asked() == [POST]
    if times == 1:
        assert names(seen) == ["created", *WHOLE]
    eventually(hand.wire().over.is_set, door)
