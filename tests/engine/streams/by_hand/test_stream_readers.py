"""Several readers of one stream, or a reader that comes back, get the whole stream."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.doors import stream_readers
from assistants_compat.engine.io import IO, BlockingIO
from assistants_compat.engine.io import run as stepped
from assistants_compat.engine.runs import finish
from assistants_compat.engine.runs import stream as streaming
from assistants_compat.runtime.upstream_memory import UpstreamMemory
from kit.doors import Door
from kit.legacy_code import FUNCTION
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ManualUpstream,
    events,
    eventually,
    expire_lease,
    function,
    message,
    pause,
    read_rest,
    read_until,
    start_partial_stream,
    start_stream,
    stored_messages,
    stored_run,
    text_of,
    wait_until_ended,
)


def test_closing_a_client_while_another_thread_reads_completes_the_stream(
    hand: ManualUpstream, settings: Settings
) -> None:
    """Closing a client waits until the thread that reads its stream has got everything."""
    door = Door("sync")
    client = door.client(hand, settings)
    stream, run_id, _ = start_partial_stream(door, client, hand)
    seen: list[Any] = []
    reader = threading.Thread(target=lambda: seen.extend(stream))
    reader.start()
    pause(door, 0.05)  # so that the reader waits for the upstream
    closer = threading.Thread(target=client.close)
    closer.start()
    pause(door, 0.05)
    hand.stream().send(*EVENTS[CUT:], END)
    closer.join(10)
    reader.join(10)
    assert not closer.is_alive()
    assert not reader.is_alive()
    assert seen[-1].event == "thread.run.completed"
    assert text_of(seen) == TEXT.removeprefix("One")
    wait_until_ended(settings, run_id)


def test_closing_a_client_while_another_task_reads_completes_the_stream(
    hand: ManualUpstream, settings: Settings
) -> None:
    """Closing an asynchronous client waits until the task that reads its stream has got everything."""
    door = Door("async", asyncio.new_event_loop())
    client = door.client(hand, settings)
    stream, run_id, _ = start_partial_stream(door, client, hand)

    async def read_and_close() -> list[Any]:
        async def read() -> list[Any]:
            return [event async for event in stream]

        reader = asyncio.create_task(read())
        closer = asyncio.create_task(client.close())
        await asyncio.sleep(0.05)
        hand.stream().send(*EVENTS[CUT:], END)
        await asyncio.wait_for(closer, 10)
        return await asyncio.wait_for(reader, 10)

    seen = door(read_and_close())
    assert seen[-1].event == "thread.run.completed"
    assert text_of(seen) == TEXT.removeprefix("One")
    wait_until_ended(settings, run_id)
    door.close()


def test_a_failure_during_reading_ahead_reaches_the_consumer(
    hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that comes back gets the transport's exception that occurred while its stream was read ahead."""
    monkeypatch.setattr(stream_readers, "_IDLE_SECONDS", 0.05)
    door = Door("sync")
    client = door.client(hand, settings)
    stream, _, _ = start_partial_stream(door, client, hand)

    class OutOfOrderError(Exception):
        """A failure of the caller's own transport."""

    carrier = next(
        carrier for carrier in stream_readers._registry.sync_readers() if carrier.owner is client._client.__wrapped__
    )

    class Failing:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> bytes:
            raise OutOfOrderError

    carrier.chunks = Failing()
    eventually(carrier.ended.is_set)
    with pytest.raises(OutOfOrderError):
        read_rest(door, stream)
    door.close()


@pytest.mark.parametrize("ended_as", ["completed", "incomplete"])
def test_a_reader_of_a_run_that_a_poll_has_finished_gets_the_stored_end(
    door: Door,
    client: Any,
    other: Any,
    hand: ManualUpstream,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ended_as: str,
) -> None:
    """A reader that slept past its lease gets the end of a run that a poll finished, with its times, as stored."""
    monkeypatch.setattr(streaming, "_SAVE_INTERVAL_SECONDS", 0.0)
    seconds = itertools.count(int(time.time()))
    monkeypatch.setattr(IO, "now", lambda _io: next(seconds))
    more: dict[str, Any] = {"incomplete_details": {"reason": "max_output_tokens"}} if ended_as == "incomplete" else {}
    upstream_events = events(message(TEXT, status=ended_as), status=ended_as, **more)
    hand.plan(*upstream_events[:CUT])
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    seen = read_until(door, stream, "thread.message.delta")
    pause(door, 0.2)  # so that what was sent is read and saved
    hand.known["resp_1"] = upstream_events[-1]["response"]

    def is_finished() -> bool:
        expire_lease(settings, run.id)
        return bool(other.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == ended_as)

    eventually(is_finished, door)
    hand.stream().send(upstream_events[CUT])
    seen += read_rest(door, stream)
    assert text_of(seen) == TEXT
    assert [event.event for event in seen[-3:]] == [
        f"thread.message.{ended_as}",
        "thread.run.step.completed",
        f"thread.run.{ended_as}",
    ]
    assert stored_messages(settings, run.id) == [(ended_as, TEXT)]
    (listed,) = [
        listed_message
        for listed_message in other.beta.threads.messages.list(run.thread_id)
        if listed_message.role == "assistant"
    ]
    told = seen[-3].data
    assert (told.id, told.completed_at, told.incomplete_at) == (listed.id, listed.completed_at, listed.incomplete_at)


def test_a_reader_of_an_earlier_round_keeps_the_lease_of_a_later_one(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Releasing the lease of an earlier round does not release the lease of the current round."""
    calls = events(function())
    hand.plan(*calls, END)
    stream = start_stream(door, client, tools=[FUNCTION])
    run = read_rest(door, stream)[-1].data
    before = stored_run(settings, run.id)
    hand.plan(*events(message(TEXT), id="resp_2")[:CUT])
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    later_stream = other.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True
    )
    read_until(Door("sync"), later_stream, "thread.message.delta")
    lease_until = stored_run(settings, run.id)["lease_until"]
    assert lease_until > 0

    class UnusedTransport:
        name = "nowhere"
        credential = ""

    io = BlockingIO(settings, UnusedTransport(), UpstreamMemory())  # type: ignore[arg-type]  # it sends nothing
    stepped(finish.release_lease(io, before))
    assert stored_run(settings, run.id)["lease_until"] == lease_until
    hand.stream(1).send(*events(message(TEXT), id="resp_2")[CUT:], END)
    read_rest(Door("sync"), later_stream)
