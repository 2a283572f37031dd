"""A stream says that something begins before it is stored: nobody who asks may notice."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.engine import io
from assistants_compat.store import database
from kit.doors import Door
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ByHand,
    begin,
    ended,
    eventually,
    following,
    pause,
    rest,
    said,
    step_statuses,
    text_of,
    until,
)

LATER = 5.0  # seconds


@pytest.fixture
def told(door: Door, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Any]:
    """A client, its stream, and the message of which the stream says that it begins; nobody has stored it yet."""
    monkeypatch.setattr(io, "_DELAY", LATER)
    client = door.client(hand, settings)
    hand.plan(*EVENTS[:CUT])
    stream = begin(door, client)
    found = until(door, stream, "thread.message.created")[-1].data
    assert len(database._promises) == 1
    return client, stream, found


def test_a_handler_may_ask_for_what_it_was_told(door: Door, told: tuple[Any, Any, Any]) -> None:
    """The message and its step are there for the client that reads the stream."""
    client, _stream, message = told
    assert door(client.beta.threads.messages.retrieve(message.id, thread_id=message.thread_id)).id == message.id
    [step] = door.all(client.beta.threads.runs.steps.list(message.run_id, thread_id=message.thread_id))
    assert step.step_details.message_creation.message_id == message.id
    assert not database._promises


def test_so_may_anybody_else_in_this_process(told: tuple[Any, Any, Any], other: Any) -> None:
    """Another client finds it, although nobody reads the stream and its event loop stands still."""
    _client, _stream, message = told
    listed = list(other.beta.threads.messages.list(message.thread_id, run_id=message.run_id))
    assert [each.id for each in listed] == [message.id]


def test_it_is_stored_when_more_comes_to_be_stored(
    door: Door, hand: ByHand, settings: Settings, told: tuple[Any, Any, Any]
) -> None:
    """The end finds the beginning stored, and everything is there once."""
    _client, stream, message = told
    hand.wire().send(*EVENTS[CUT:], END)
    assert rest(door, stream)[-1].event == "thread.run.completed"
    ended(settings, message.run_id, door)
    assert said(settings, message.run_id) == [("completed", TEXT)]


def test_a_reader_that_leaves_then(door: Door, hand: ByHand, settings: Settings, told: tuple[Any, Any, Any]) -> None:
    """The run goes on behind, as always."""
    _client, stream, message = told
    door(stream.close())
    hand.wire().send(*EVENTS[CUT:], END)
    ended(settings, message.run_id, door)
    assert said(settings, message.run_id) == [("completed", TEXT)]


def test_a_loop_that_ends_then(hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told is stored with the run's end."""
    monkeypatch.setattr(io, "_DELAY", LATER)
    hand.plan(*EVENTS[:CUT])

    async def program() -> str:
        door = Door("async", asyncio.get_running_loop())
        client = door.client(hand, settings)
        assistant = await client.beta.assistants.create(model="gpt-4o")
        thread = await client.beta.threads.create(messages=[{"role": "user", "content": "Hello."}])
        stream = await client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)
        async for event in stream:
            if event.event == "thread.message.created":
                return str(event.data.run_id)
        raise AssertionError

    run_id = asyncio.run(program())
    ended(settings, run_id, status="failed")
    [(status, text)] = said(settings, run_id)
    assert status == "incomplete"
    assert TEXT.startswith(text)


@pytest.mark.parametrize("door", ["sync"], indirect=True)
def test_an_interrupt_when_it_has_just_been_stored(
    door: Door, hand: ByHand, settings: Settings, told: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows then what is there: the run's end writes each message and step once, wherever they were."""
    _client, stream, message = told

    def interrupted(promise: database.Promise[Any], _timeout: float | None = None) -> None:
        promise.keep()
        raise KeyboardInterrupt

    monkeypatch.setattr(database.Promise, "result", interrupted)
    hand.wire().send(*EVENTS[CUT:], END)
    with pytest.raises(KeyboardInterrupt):
        rest(door, stream)
    ended(settings, message.run_id, status="failed")
    assert said(settings, message.run_id) == [("completed", TEXT)]  # it had ended just before
    assert len(step_statuses(settings, message.run_id)) == 1


@pytest.fixture
def locked(door: Door, hand: ByHand, sqlite_settings: Settings) -> Iterator[tuple[Any, Any, sqlite3.Connection]]:
    """A stream that says its first words while another program has the database; its run, and that program's hold."""
    client = door.client(hand, sqlite_settings)
    hand.plan(*EVENTS[:2])
    stream = begin(door, client)
    run = until(door, stream, "thread.run.in_progress")[-1].data
    pause(door, 0.1)  # the run's own beginning is stored
    elsewhere = sqlite3.connect(str(sqlite_settings.store), isolation_level=None)
    try:
        elsewhere.execute("BEGIN IMMEDIATE")
        hand.wire().send(*EVENTS[2 : CUT + 1])
        assert text_of(until(door, stream, "thread.message.delta")) != ""
        yield stream, run, elsewhere
    finally:
        elsewhere.close()


@pytest.mark.parametrize("door", ["async"], indirect=True)  # in one thread something has to wait
def test_words_do_not_wait_for_a_store_that_is_busy(
    door: Door, hand: ByHand, sqlite_settings: Settings, locked: tuple[Any, Any, sqlite3.Connection]
) -> None:
    """While another program has the database the first words are said; what began is stored when it is free again."""
    stream, run, backup = locked
    assert backup.execute("SELECT count(*) FROM messages WHERE run_id = ?", (run.id,)).fetchone() == (0,)
    backup.execute("ROLLBACK")
    eventually(lambda: said(sqlite_settings, run.id), door)
    hand.wire().send(*EVENTS[CUT + 1 :], END)
    assert rest(door, stream)[-1].event == "thread.run.completed"
    ended(sqlite_settings, run.id, door)
    assert said(sqlite_settings, run.id) == [("completed", TEXT)]


@pytest.mark.parametrize("door", ["async"], indirect=True)
def test_a_run_that_another_process_ends_then(
    door: Door, hand: ByHand, locked: tuple[Any, Any, sqlite3.Connection]
) -> None:
    """What comes next finds that it was cancelled meanwhile, and says so."""
    stream, run, elsewhere = locked
    set_ = "status = 'cancelled', body = json_set(body, '$.status', 'cancelled')"
    elsewhere.execute(f"UPDATE runs SET {set_} WHERE id = ?", (run.id,))  # noqa: S608 - words of this test
    elsewhere.execute("COMMIT")
    eventually(lambda: not database._promises, door)
    hand.wire().send(EVENTS[CUT + 1])
    last: list[Any] = []
    while (event := following(door, stream)) is not None:
        last.append(event.event)
    assert last[-1] == "thread.run.cancelled"
    assert hand.wire().gone.wait(10)
