"""Consumers that leave before the end: the run goes on behind their backs, and nothing is left over."""

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
    ByHand,
    begin,
    begun,
    breaks,
    ended,
    enter,
    eventually,
    following,
    goes_on,
    handler,
    leave,
    pause,
    rest,
    said,
    stored,
    until,
)


def test_a_bare_break(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """A loop is left and its stream forgotten: the collector finds it, and the run completes."""
    stream, *ids = begun(door, client, hand)
    breaks(door, stream)
    del stream
    gc.collect()
    goes_on(door, client, hand, settings, *ids)


def test_a_break_that_keeps_the_stream(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """While the stream is kept it can be read on; once it is dropped the run completes by itself."""
    stream, *ids = begun(door, client, hand)
    breaks(door, stream)
    gc.collect()
    hand.wire().send(EVENTS[CUT])
    assert following(door, stream).event == "thread.message.delta"
    del stream
    gc.collect()
    pause(door, 0.05)
    hand.wire().send(*EVENTS[CUT + 1 :], END)
    ended(settings, ids[0], door)
    assert said(settings, ids[0]) == [("completed", TEXT)]
    assert hand.asked() == ["POST /responses"]


def test_a_closed_stream(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """`stream.close()` leaves the stream, which is at its end then; twice is once."""
    stream, *ids = begun(door, client, hand)
    door(stream.close())
    door(stream.close())
    # What the SDK had taken already it still gives; nothing comes after that.
    assert len(rest(door, stream)) <= 1
    goes_on(door, client, hand, settings, *ids)


def test_a_context_manager_that_is_left(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """`with runs.stream(...)` left in the middle."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    hand.plan(*EVENTS[:CUT])
    manager = client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id)
    stream = enter(door, manager)
    run = until(door, stream, "thread.run.in_progress")[-1].data
    until(door, stream, "thread.message.delta")
    leave(door, manager)
    goes_on(door, client, hand, settings, run.id, thread.id)


def test_an_exception_in_a_handler(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """What a handler raises is the caller's; the run completes although nobody listens any more."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    hand.plan(*EVENTS[:CUT])
    ids: list[str] = []

    def fail(delta: Any, _snapshot: Any) -> None:
        raise ZeroDivisionError(delta.value)

    told = handler(door, on_text_delta=fail, on_run_step_created=lambda step: ids.append(step.run_id))
    runs = client.beta.threads.runs
    manager = runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=told)

    def blocking() -> None:
        with manager as stream:
            stream.until_done()

    async def asynchronous() -> None:
        async with manager as stream:
            await stream.until_done()

    with pytest.raises(ZeroDivisionError, match="One"):
        blocking() if door.kind == "sync" else door(asynchronous())
    assert [name for name, _ in told.calls[-2:]] == ["on_exception", "on_end"]
    goes_on(door, client, hand, settings, ids[0], thread.id)


def test_a_stream_that_nobody_reads(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """A run that was only created: with its stream dropped unread, the run completes."""
    hand.plan(*EVENTS[:CUT])
    thread_id = begin(door, client).response.url.path.split("/")[3]
    gc.collect()
    [run] = door.all(client.beta.threads.runs.list(thread_id))
    eventually(lambda: stored(settings, run.id)["status"] == "in_progress", door)
    goes_on(door, client, hand, settings, run.id, thread_id)


@pytest.mark.parametrize("way", ["response", "stream"])
def test_a_raw_answer_that_is_left(door: Door, client: Any, hand: ByHand, settings: Settings, way: str) -> None:
    """`with_streaming_response` left after its first line, or without having read any."""
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
    eventually(lambda: stored(settings, run.id)["status"] == "in_progress", door)
    goes_on(door, client, hand, settings, run.id, thread.id)


# --- closing clients


def later(hand: ByHand, seconds: float = 0.2) -> threading.Thread:
    """Let the upstream say the rest in a while."""

    def say() -> None:
        time.sleep(seconds)
        hand.wire().send(*EVENTS[CUT:], END)

    thread = threading.Thread(target=say)
    thread.start()
    return thread


@pytest.mark.parametrize("way", ["close", "with"])
def test_a_client_that_closes_waits(door: Door, hand: ByHand, settings: Settings, way: str) -> None:
    """After `break`, closing the client reads the rest first: the run has completed when the client has closed."""
    client = door.client(hand, settings)

    def blocking() -> str:
        with client:
            return begun(door, client, hand)[1]

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

    saying: list[threading.Thread] = []
    watcher = threading.Thread(target=lambda: saying.append(later(hand)))
    watcher.start()
    if way == "close":
        _, run_id, _ = begun(door, client, hand)
        door(client.close())
    else:
        run_id = blocking() if door.kind == "sync" else door(asynchronous())
    assert stored(settings, run_id)["status"] == "completed"
    assert said(settings, run_id) == [("completed", TEXT)]
    assert hand.asked() == ["POST /responses"]
    watcher.join()
    saying[0].join()


def test_a_client_that_closes_waits_within_bounds(
    door: Door, client: Any, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upstream that says nothing more does not keep a client from closing; the run has failed then, cleanly."""
    monkeypatch.setattr(stream_readers, "_PATIENCE", 0.2)
    stream, run_id, _ = begun(door, client, hand)
    del stream
    started = time.monotonic()
    door(client.close())
    assert 0.1 < time.monotonic() - started < 5
    hand.close()  # a blocked read does not notice that its client was closed
    ended(settings, run_id, door, "failed")
    assert said(settings, run_id) == [("incomplete", "One two")]


def test_a_connection_that_the_upstream_leaves_open(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """A response that has ended over a connection that has not: the client closes without waiting for that."""
    hand.plan(*EVENTS)
    stream = begin(door, client)
    until(door, stream, "thread.run.completed")
    del stream
    started = time.monotonic()
    door(client.close())
    assert time.monotonic() - started < 5
    if door.kind == "async":  # a thread that waits for bytes cannot be told that its connection was closed
        eventually(hand.wire().gone.is_set, door)


def test_other_clients_streams_are_not_waited_for(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """Closing one client neither waits for nor ends what another one streams."""
    other = door.client(hand, settings)
    stream, run_id, _ = begun(door, client, hand)
    started = time.monotonic()
    door(other.close())
    assert time.monotonic() - started < 2
    hand.wire().send(*EVENTS[CUT:], END)
    assert rest(door, stream)[-1].data.id == run_id


# --- threads and collectors


def test_another_thread_closes_the_stream(sync: Door, hand: ByHand, settings: Settings) -> None:
    """Closed while the first thread waits for the next words: that one's loop ends, and the run completes."""
    client = sync.client(hand, settings)
    stream, run_id, _ = begun(sync, client, hand)
    got: list[list[Any]] = []
    reader = threading.Thread(target=lambda: got.append(list(stream)))
    reader.start()
    pause(sync, 0.05)
    stream.close()
    pause(sync, 0.05)
    assert reader.is_alive()
    hand.wire().send(EVENTS[CUT])
    reader.join(5)
    assert not reader.is_alive()
    assert len(got[0]) <= 1 + 1
    hand.wire().send(*EVENTS[CUT + 1 :], END)
    ended(settings, run_id)
    assert said(settings, run_id) == [("completed", TEXT)]
    assert hand.asked() == ["POST /responses"]


def test_two_threads_read_one_stream(sync: Door, hand: ByHand, settings: Settings) -> None:
    """The bytes of a stream come to one reader each, in order: together they are whole."""
    hand.plan(*EVENTS, END)
    client = sync.client(hand, settings)
    body = iter(begin(sync, client).response.stream)
    got: list[bytes] = []
    lock = threading.Lock()

    def read() -> None:
        while True:
            with lock:
                piece = next(body, None)
                if piece is None:
                    return
                got.append(piece)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(5)
    assert b"".join(got).endswith(b"event: done\ndata: [DONE]\n\n")
    assert b"".join(got).count(b"event: thread.message.delta") == len(TEXT.split())


@pytest.mark.parametrize("kind", ["same thread", "another thread"])
def test_collected_anywhere(door: Door, client: Any, hand: ByHand, settings: Settings, kind: str) -> None:
    """The garbage collector may find a forgotten stream in any thread."""
    stream, *ids = begun(door, client, hand)
    del stream
    if kind == "another thread":
        collector = threading.Thread(target=gc.collect)
        collector.start()
        collector.join()
    else:
        gc.collect()
    goes_on(door, client, hand, settings, *ids)


def test_collecting_at_the_worst_moment(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """With a collection at every few allocations and forgotten streams all about, every run completes."""
    ids = []
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(3):
            hand.plan(*EVENTS, END)
            stream = begin(door, client)
            ids.append(until(door, stream, "thread.message.created")[0].data.id)
            del stream
        for run_id in ids:
            ended(settings, run_id, door)
            assert said(settings, run_id) == [("completed", TEXT)]
    finally:
        gc.set_threshold(*threshold)
    assert hand.asked() == ["POST /responses"] * 3


def test_collecting_inside_the_transport(sync: Door, hand: ByHand, settings: Settings) -> None:
    """A forgotten stream that is collected while its client sends something else is only noted there."""
    collecting: list[Callable[[], Any]] = []

    def collect(_: Any) -> None:
        for each in collecting:
            each()

    client = sync.client(hand, settings)
    inner = client._client.__wrapped__
    inner.event_hooks = {"request": [collect], "response": [collect]}
    ids = [begun(sync, client, hand)[1] for _ in range(2)]
    collecting.append(gc.collect)
    hand.plan(*EVENTS, END)
    assert rest(sync, begin(sync, client))[-1].event == "thread.run.completed"
    for number in range(2):
        hand.wire(number).send(*EVENTS[CUT:], END)
    for run_id in ids:
        ended(settings, run_id)
    assert hand.asked() == ["POST /responses"] * 3


# --- nothing is left over


def test_no_thread_task_or_warning_is_left(
    door: Door, client: Any, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every way to leave: our threads end, the loop has no tasks, the pool no busy connection, nobody warns."""
    hurry(monkeypatch, 0.3)
    before = ours([])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for way in (lambda stream: door(stream.close()), lambda stream: breaks(door, stream), lambda _: None):
            hand.plan(*EVENTS, END)
            stream = begin(door, client)
            run_id = until(door, stream, "thread.message.created")[0].data.id
            way(stream)
            del stream
            gc.collect()
            ended(settings, run_id, door)
        eventually(lambda: not ours(before), door)
        gc.collect()
    assert [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)] == []
    if door.kind == "async":
        assert door.loop is not None
        eventually(lambda: not asyncio.all_tasks(door.loop), door)
    pool = client._client.__wrapped__._transport._pool
    eventually(lambda: all(each.is_idle() or each.is_closed() for each in pool.connections), door)


def ours(before: list[threading.Thread]) -> list[threading.Thread]:
    """The threads that belong to streams, except those that were there before."""
    named = [thread for thread in threading.enumerate() if thread.name.startswith("assistants-compat-stream")]
    return [thread for thread in named if thread not in before]


def test_the_lease_is_renewed_while_nobody_says_anything(
    door: Door, client: Any, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long silence of the upstream does not look like a dead process, and no reader is bound to its loop for that."""
    hurry(monkeypatch, 0.15)
    stream, run_id, _ = begun(door, client, hand)
    before = stored(settings, run_id)["lease_until"]
    eventually(lambda: stored(settings, run_id)["lease_until"] > before, seconds=5)
    hand.wire().send(*EVENTS[CUT:], END)
    assert rest(door, stream)[-1].event == "thread.run.completed"
    assert stored(settings, run_id)["lease_until"] == 0


def hurry(monkeypatch: pytest.MonkeyPatch, lease: float) -> None:
    """Have a keeper with short beats; the one of earlier tests sleeps for as long as it thinks it may."""
    monkeypatch.setattr(stream_readers, "LEASE", lease)
    monkeypatch.setattr(stream_readers, "_keeper", stream_readers._Keeper())
