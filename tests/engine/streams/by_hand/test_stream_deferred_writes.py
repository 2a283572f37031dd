"""An object that a stream announces before it is stored is served to everybody in the process."""

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
    ManualUpstream,
    eventually,
    next_event,
    pause,
    read_rest,
    read_until,
    start_stream,
    step_statuses,
    stored_messages,
    text_of,
    wait_until_ended,
)

DEFERRED_WRITE_DELAY = 5.0  # seconds


@pytest.fixture
def announced(
    door: Door, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Any, Any]:
    """A client, its stream, and a message that the stream has announced and nobody has stored yet."""
    monkeypatch.setattr(io, "_DEFERRED_WRITE_DELAY", DEFERRED_WRITE_DELAY)
    client = door.client(hand, settings)
    hand.plan(*EVENTS[:CUT])
    stream = start_stream(door, client)
    message = read_until(door, stream, "thread.message.created")[-1].data
    assert len(database._deferred_writes) == 1
    return client, stream, message


def test_the_streaming_client_can_retrieve_an_announced_message(door: Door, announced: tuple[Any, Any, Any]) -> None:
    """The client that reads the stream can retrieve the announced message and its step."""
    client, _stream, message = announced
    assert door(client.beta.threads.messages.retrieve(message.id, thread_id=message.thread_id)).id == message.id
    [step] = door.all(client.beta.threads.runs.steps.list(message.run_id, thread_id=message.thread_id))
    assert step.step_details.message_creation.message_id == message.id
    assert not database._deferred_writes


def test_another_client_of_the_process_can_list_an_announced_message(
    announced: tuple[Any, Any, Any], other: Any
) -> None:
    """Another client of the process lists the announced message, although nobody reads the stream."""
    _client, _stream, message = announced
    listed = list(other.beta.threads.messages.list(message.thread_id, run_id=message.run_id))
    assert [listed_message.id for listed_message in listed] == [message.id]


def test_the_end_of_a_run_stores_an_announced_message_once(
    door: Door, hand: ManualUpstream, settings: Settings, announced: tuple[Any, Any, Any]
) -> None:
    """The run's end stores the announced message once, as completed."""
    _client, stream, message = announced
    hand.stream().send(*EVENTS[CUT:], END)
    assert read_rest(door, stream)[-1].event == "thread.run.completed"
    wait_until_ended(settings, message.run_id, door)
    assert stored_messages(settings, message.run_id) == [("completed", TEXT)]


def test_a_run_completes_if_its_reader_closes_after_an_announcement(
    door: Door, hand: ManualUpstream, settings: Settings, announced: tuple[Any, Any, Any]
) -> None:
    """The run completes if its reader closes the stream right after the announcement."""
    _client, stream, message = announced
    door(stream.close())
    hand.stream().send(*EVENTS[CUT:], END)
    wait_until_ended(settings, message.run_id, door)
    assert stored_messages(settings, message.run_id) == [("completed", TEXT)]


def test_a_loop_that_ends_after_an_announcement_stores_the_message(
    hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the event loop ends right after the announcement, the failed run still has the message."""
    monkeypatch.setattr(io, "_DEFERRED_WRITE_DELAY", DEFERRED_WRITE_DELAY)
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
    wait_until_ended(settings, run_id, status="failed")
    [(status, text)] = stored_messages(settings, run_id)
    assert status == "incomplete"
    assert TEXT.startswith(text)


@pytest.mark.parametrize("door", ["sync"], indirect=True)
def test_an_interrupt_during_a_deferred_write_stores_each_row_once(
    door: Door,
    hand: ManualUpstream,
    settings: Settings,
    announced: tuple[Any, Any, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an interrupt during the write, the run's end stores each message and step once."""
    _client, stream, message = announced

    def execute_then_interrupt(deferred_write: database.DeferredWrite[Any], _timeout: float | None = None) -> None:
        deferred_write.execute()
        raise KeyboardInterrupt

    monkeypatch.setattr(database.DeferredWrite, "result", execute_then_interrupt)
    hand.stream().send(*EVENTS[CUT:], END)
    with pytest.raises(KeyboardInterrupt):
        read_rest(door, stream)
    wait_until_ended(settings, message.run_id, status="failed")
    assert stored_messages(settings, message.run_id) == [
        ("completed", TEXT)
    ]  # the message had ended before the interrupt
    assert len(step_statuses(settings, message.run_id)) == 1


@pytest.fixture
def stream_with_locked_store(
    door: Door, hand: ManualUpstream, sqlite_settings: Settings
) -> Iterator[tuple[Any, Any, sqlite3.Connection]]:
    """A stream that announces a message while another program locks the database, its run, and that lock."""
    client = door.client(hand, sqlite_settings)
    hand.plan(*EVENTS[:2])
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    pause(door, 0.1)  # so that the run's first events are stored
    locking_connection = sqlite3.connect(str(sqlite_settings.store), isolation_level=None)
    try:
        locking_connection.execute("BEGIN IMMEDIATE")
        hand.stream().send(*EVENTS[2 : CUT + 1])
        assert text_of(read_until(door, stream, "thread.message.delta")) != ""
        yield stream, run, locking_connection
    finally:
        locking_connection.close()


@pytest.mark.parametrize("door", ["async"], indirect=True)  # the blocking client has to wait for the store
def test_deltas_do_not_wait_for_a_locked_store(
    door: Door,
    hand: ManualUpstream,
    sqlite_settings: Settings,
    stream_with_locked_store: tuple[Any, Any, sqlite3.Connection],
) -> None:
    """While another program locks the database the first deltas arrive, and the message is stored afterwards."""
    stream, run, locking_connection = stream_with_locked_store
    assert locking_connection.execute("SELECT count(*) FROM messages WHERE run_id = ?", (run.id,)).fetchone() == (0,)
    locking_connection.execute("ROLLBACK")
    eventually(lambda: stored_messages(sqlite_settings, run.id), door)
    hand.stream().send(*EVENTS[CUT + 1 :], END)
    assert read_rest(door, stream)[-1].event == "thread.run.completed"
    wait_until_ended(sqlite_settings, run.id, door)
    assert stored_messages(sqlite_settings, run.id) == [("completed", TEXT)]


@pytest.mark.parametrize("door", ["async"], indirect=True)
def test_a_stream_notices_a_run_that_another_process_cancelled(
    door: Door, hand: ManualUpstream, stream_with_locked_store: tuple[Any, Any, sqlite3.Connection]
) -> None:
    """If another process cancels the run while it locks the store, the stream ends as cancelled."""
    stream, run, locking_connection = stream_with_locked_store
    assignments = "status = 'cancelled', body = json_set(body, '$.status', 'cancelled')"
    locking_connection.execute(f"UPDATE runs SET {assignments} WHERE id = ?", (run.id,))  # noqa: S608 - constants of this test
    locking_connection.execute("COMMIT")
    eventually(lambda: not database._deferred_writes, door)
    hand.stream().send(EVENTS[CUT + 1])
    names: list[Any] = []
    while (event := next_event(door, stream)) is not None:
        names.append(event.event)
    assert names[-1] == "thread.run.cancelled"
    assert hand.stream().gone.wait(10)
