"""A run completes after its consumer stopped reading, and no thread, task or warning is left."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.doors import stream_readers
from kit.doors import Door
from kit.legacy_code import make_assistant, make_thread
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ManualUpstream,
    assert_run_continues,
    break_out,
    enter,
    eventually,
    leave,
    make_handler,
    next_event,
    pause,
    read_rest,
    read_until,
    start_partial_stream,
    start_stream,
    stored_messages,
    stored_run,
    wait_until_ended,
)


def test_a_run_completes_after_a_break(door: Door, client: Any, hand: ManualUpstream, settings: Settings) -> None:
    """After a break the collected stream is read to its end, and the run completes."""
    stream, *ids = start_partial_stream(door, client, hand)
    break_out(door, stream)
    del stream
    gc.collect()
    assert_run_continues(door, client, hand, settings, *ids)


def test_a_kept_stream_can_be_read_after_a_break(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A stream that is kept after a break can be read on, and the run completes once it is dropped."""
    stream, *ids = start_partial_stream(door, client, hand)
    break_out(door, stream)
    gc.collect()
    hand.stream().send(EVENTS[CUT])
    assert next_event(door, stream).event == "thread.message.delta"
    del stream
    gc.collect()
    pause(door, 0.05)
    hand.stream().send(*EVENTS[CUT + 1 :], END)
    wait_until_ended(settings, ids[0], door)
    assert stored_messages(settings, ids[0]) == [("completed", TEXT)]
    assert hand.calls() == ["POST /responses"]


def test_a_run_completes_after_its_stream_is_closed(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """After `close`, which may be repeated, the stream is at its end and the run completes."""
    stream, *ids = start_partial_stream(door, client, hand)
    door(stream.close())
    door(stream.close())
    # The SDK may still give one event that it had read before the close.
    assert len(read_rest(door, stream)) <= 1
    assert_run_continues(door, client, hand, settings, *ids)


def test_a_run_completes_after_its_context_manager_is_left(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Leaving `with runs.stream(...)` in the middle lets the run complete."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    hand.plan(*EVENTS[:CUT])
    manager = client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id)
    stream = enter(door, manager)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    read_until(door, stream, "thread.message.delta")
    leave(door, manager)
    assert_run_continues(door, client, hand, settings, run.id, thread.id)


def test_a_run_completes_after_an_exception_in_a_handler(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A handler's exception reaches the caller, and the run completes."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    hand.plan(*EVENTS[:CUT])
    ids: list[str] = []

    def fail(delta: Any, _snapshot: Any) -> None:
        raise ZeroDivisionError(delta.value)

    handler = make_handler(door, on_text_delta=fail, on_run_step_created=lambda step: ids.append(step.run_id))
    runs = client.beta.threads.runs
    manager = runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=handler)

    def blocking() -> None:
        with manager as stream:
            stream.until_done()

    async def asynchronous() -> None:
        async with manager as stream:
            await stream.until_done()

    with pytest.raises(ZeroDivisionError, match="One"):
        blocking() if door.kind == "sync" else door(asynchronous())
    assert [name for name, _ in handler.calls[-2:]] == ["on_exception", "on_end"]
    assert_run_continues(door, client, hand, settings, ids[0], thread.id)


def test_a_run_completes_if_its_stream_is_never_read(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A run whose stream is dropped unread completes."""
    hand.plan(*EVENTS[:CUT])
    thread_id = start_stream(door, client).response.url.path.split("/")[3]
    gc.collect()
    [run] = door.all(client.beta.threads.runs.list(thread_id))
    eventually(lambda: stored_run(settings, run.id)["status"] == "in_progress", door)
    assert_run_continues(door, client, hand, settings, run.id, thread_id)


@pytest.mark.parametrize("way", ["response", "stream"])
def test_a_run_completes_after_a_raw_answer_is_left(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, way: str
) -> None:
    """Leaving `with_streaming_response` before or after its first line lets the run complete."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    hand.plan(*EVENTS[:CUT])
    create = client.beta.threads.runs.with_streaming_response.create

    def blocking() -> None:
        with create(thread.id, assistant_id=assistant.id, stream=True) as answer:
            if way == "stream":
                assert next(answer.iter_lines()) == "event: thread.run.created"

    async def asynchronous() -> None:
        async with create(thread.id, assistant_id=assistant.id, stream=True) as answer:
            if way == "stream":
                assert await answer.iter_lines().__anext__() == "event: thread.run.created"

    blocking() if door.kind == "sync" else door(asynchronous())
    [run] = door.all(client.beta.threads.runs.list(thread.id))
    eventually(lambda: stored_run(settings, run.id)["status"] == "in_progress", door)
    assert_run_continues(door, client, hand, settings, run.id, thread.id)


# --- closing clients


def send_rest_later(hand: ManualUpstream, seconds: float = 0.2) -> threading.Thread:
    """Let the upstream send the rest after a while."""

    def send() -> None:
        time.sleep(seconds)
        hand.stream().send(*EVENTS[CUT:], END)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("way", ["close", "with"])
def test_closing_a_client_waits_for_its_runs(door: Door, hand: ManualUpstream, settings: Settings, way: str) -> None:
    """Closing a client after a break reads the rest first, so the run has completed."""
    client = door.client(hand, settings)

    def blocking() -> str:
        with client:
            return start_partial_stream(door, client, hand)[1]

    async def asynchronous() -> str:
        async with client:
            hand.plan(*EVENTS[:CUT])
            assistant = await client.beta.assistants.create(model="gpt-4o", instructions="x")
            stream = await client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)
            async for event in stream:
                if event.event == "thread.message.delta":
                    break
                if event.event == "thread.run.created":
                    run_id = str(event.data.id)
            return run_id

    senders: list[threading.Thread] = []
    watcher = threading.Thread(target=lambda: senders.append(send_rest_later(hand)))
    watcher.start()
    if way == "close":
        _, run_id, _ = start_partial_stream(door, client, hand)
        door(client.close())
    else:
        run_id = blocking() if door.kind == "sync" else door(asynchronous())
    assert stored_run(settings, run_id)["status"] == "completed"
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    assert hand.calls() == ["POST /responses"]
    watcher.join()
    senders[0].join()


def test_closing_a_client_waits_for_a_limited_time(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent upstream delays the closing of a client only for a limited time, then the run has failed."""
    monkeypatch.setattr(stream_readers, "_CLOSE_TIMEOUT", 0.2)
    stream, run_id, _ = start_partial_stream(door, client, hand)
    del stream
    started = time.monotonic()
    door(client.close())
    assert 0.1 < time.monotonic() - started < 5
    hand.close()  # a blocked read does not notice that its client was closed
    wait_until_ended(settings, run_id, door, "failed")
    assert stored_messages(settings, run_id) == [("incomplete", "One two")]


def test_closing_a_client_does_not_wait_for_an_open_connection(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """If the response has ended, closing the client does not wait for the upstream to end the connection."""
    hand.plan(*EVENTS)
    stream = start_stream(door, client)
    read_until(door, stream, "thread.run.completed")
    del stream
    started = time.monotonic()
    door(client.close())
    assert time.monotonic() - started < 5
    if door.kind == "async":  # a thread that waits for bytes does not notice that its connection was closed
        eventually(hand.stream().gone.is_set, door)


def test_other_clients_streams_are_not_waited_for(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Closing a client neither waits for nor ends the streams of another client."""
    other = door.client(hand, settings)
    stream, run_id, _ = start_partial_stream(door, client, hand)
    started = time.monotonic()
    door(other.close())
    assert time.monotonic() - started < 2
    hand.stream().send(*EVENTS[CUT:], END)
    assert read_rest(door, stream)[-1].data.id == run_id


# --- threads and collectors


def test_closing_a_stream_in_another_thread_ends_the_reading_loop(
    sync: Door, hand: ManualUpstream, settings: Settings
) -> None:
    """Closing a stream in another thread ends the loop that reads it, and the run completes."""
    client = sync.client(hand, settings)
    stream, run_id, _ = start_partial_stream(sync, client, hand)
    events_read: list[list[Any]] = []
    reader = threading.Thread(target=lambda: events_read.append(list(stream)))
    reader.start()
    pause(sync, 0.05)
    stream.close()
    pause(sync, 0.05)
    assert reader.is_alive()
    hand.stream().send(EVENTS[CUT])
    reader.join(5)
    assert not reader.is_alive()
    assert len(events_read[0]) <= 1 + 1
    hand.stream().send(*EVENTS[CUT + 1 :], END)
    wait_until_ended(settings, run_id)
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    assert hand.calls() == ["POST /responses"]


def test_threads_that_share_a_stream_get_each_piece_once(sync: Door, hand: ManualUpstream, settings: Settings) -> None:
    """Threads that read one stream together get each piece once, and in order."""
    hand.plan(*EVENTS, END)
    client = sync.client(hand, settings)
    body = iter(start_stream(sync, client).response.stream)
    pieces: list[bytes] = []
    lock = threading.Lock()

    def read() -> None:
        while True:
            with lock:
                piece = next(body, None)
                if piece is None:
                    return
                pieces.append(piece)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(5)
    assert b"".join(pieces).endswith(b"event: done\ndata: [DONE]\n\n")
    assert b"".join(pieces).count(b"event: thread.message.delta") == len(TEXT.split())


@pytest.mark.parametrize("kind", ["same thread", "another thread"])
def test_a_stream_may_be_collected_in_any_thread(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, kind: str
) -> None:
    """A run completes although the garbage collector finds its stream in another thread."""
    stream, *ids = start_partial_stream(door, client, hand)
    del stream
    if kind == "another thread":
        collector = threading.Thread(target=gc.collect)
        collector.start()
        collector.join()
    else:
        gc.collect()
    assert_run_continues(door, client, hand, settings, *ids)


def test_runs_complete_with_constant_garbage_collection(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Runs with dropped streams complete although the garbage collector runs after every few allocations."""
    ids = []
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(3):
            hand.plan(*EVENTS, END)
            stream = start_stream(door, client)
            ids.append(read_until(door, stream, "thread.message.created")[0].data.id)
            del stream
        for run_id in ids:
            wait_until_ended(settings, run_id, door)
            assert stored_messages(settings, run_id) == [("completed", TEXT)]
    finally:
        gc.set_threshold(*threshold)
    assert hand.calls() == ["POST /responses"] * 3


def test_a_stream_may_be_collected_during_another_request(sync: Door, hand: ManualUpstream, settings: Settings) -> None:
    """A dropped stream that is collected during another request of its client is read afterwards."""
    collecting: list[Callable[[], Any]] = []

    def collect(_: Any) -> None:
        for callback in collecting:
            callback()

    client = sync.client(hand, settings)
    inner = client._client.__wrapped__
    inner.event_hooks = {"request": [collect], "response": [collect]}
    ids = [start_partial_stream(sync, client, hand)[1] for _ in range(2)]
    collecting.append(gc.collect)
    hand.plan(*EVENTS, END)
    assert read_rest(sync, start_stream(sync, client))[-1].event == "thread.run.completed"
    for number in range(2):
        hand.stream(number).send(*EVENTS[CUT:], END)
    for run_id in ids:
        wait_until_ended(settings, run_id)
    assert hand.calls() == ["POST /responses"] * 3


# --- nothing is left over


def test_no_thread_task_or_warning_is_left(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a close, a break or a drop no thread, task, busy connection or warning is left."""
    renew_leases_often(monkeypatch, 0.3)
    before = stream_threads([])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for way in (lambda stream: door(stream.close()), lambda stream: break_out(door, stream), lambda _: None):
            hand.plan(*EVENTS, END)
            stream = start_stream(door, client)
            run_id = read_until(door, stream, "thread.message.created")[0].data.id
            way(stream)
            del stream
            gc.collect()
            wait_until_ended(settings, run_id, door)
        eventually(lambda: not stream_threads(before), door)
        gc.collect()
    assert [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)] == []
    if door.kind == "async":
        assert door.loop is not None
        eventually(lambda: not asyncio.all_tasks(door.loop), door)
    pool = client._client.__wrapped__._transport._pool
    eventually(lambda: all(connection.is_idle() or connection.is_closed() for connection in pool.connections), door)


def stream_threads(before: list[threading.Thread]) -> list[threading.Thread]:
    """Return the threads that read streams, except those in `before`."""
    named = [thread for thread in threading.enumerate() if thread.name.startswith("assistants-compat-stream")]
    return [thread for thread in named if thread not in before]


def test_the_lease_is_renewed_while_the_upstream_is_silent(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is renewed while the upstream is silent, although the loop does not run."""
    renew_leases_often(monkeypatch, 0.15)
    stream, run_id, _ = start_partial_stream(door, client, hand)
    before = stored_run(settings, run_id)["lease_until"]
    eventually(lambda: stored_run(settings, run_id)["lease_until"] > before, seconds=5)
    hand.stream().send(*EVENTS[CUT:], END)
    assert read_rest(door, stream)[-1].event == "thread.run.completed"
    assert stored_run(settings, run_id)["lease_until"] == 0


def renew_leases_often(monkeypatch: pytest.MonkeyPatch, lease: float) -> None:
    """Start a registry that renews leases often; that of earlier tests still sleeps for its longer interval."""
    monkeypatch.setattr(stream_readers, "LEASE_SECONDS", lease)
    monkeypatch.setattr(stream_readers, "_registry", stream_readers._StreamRegistry())
