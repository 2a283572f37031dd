"""Streams work with cancelled tasks, ending event loops, synchronous clients inside a loop, and trio."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
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
    event_names,
    eventually,
    read_rest,
    start_partial_stream,
    start_stream,
    step_statuses,
    stored_messages,
    stored_run,
    wait_until_ended,
)


async def cancel_reading(reading: Any) -> None:
    """Cancel the reading task while it waits."""
    task = asyncio.ensure_future(reading)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def time_out_reading(reading: Any) -> None:
    """Read for a limited time."""
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(reading, 0.1)


@pytest.mark.parametrize("way", [cancel_reading, time_out_reading])
@pytest.mark.parametrize("helper", [False, True])
def test_a_run_completes_after_its_reader_is_cancelled(
    loop_door: Door, hand: ManualUpstream, settings: Settings, way: Any, *, helper: bool
) -> None:
    """A run completes after the task that reads its stream is cancelled."""
    door, client = loop_door, loop_door.client(hand, settings)
    hand.plan(*EVENTS[:CUT])
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    runs = client.beta.threads.runs
    seen: list[Any] = []

    async def read() -> None:
        async def collect(stream: Any) -> None:
            async for event in stream:
                seen.append(event)  # noqa: PERF401 - the loop does not reach its end

        if helper:
            async with runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
                await collect(stream)
        else:
            await collect(await runs.create(thread.id, assistant_id=assistant.id, stream=True))

    door(way(read()))
    assert event_names(seen)[-1] == "message.delta"
    assert_run_continues(door, client, hand, settings, seen[0].data.id, thread.id)


def test_a_stream_cancelled_during_its_creation_leaves_no_run(
    loop_door: Door, hand: ManualUpstream, settings: Settings
) -> None:
    """A stream that is cancelled before the upstream answers leaves no run and no lock."""
    door, client = loop_door, loop_door.client(hand, settings)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    hand.answers.append((200, "text/plain", b""))  # any answer, because it comes too late

    async def create_and_cancel() -> None:
        gate = asyncio.Event()

        async def hold(_: Any) -> None:
            await gate.wait()

        client._client.__wrapped__.event_hooks = {"request": [], "response": [hold]}
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(
                client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True), 0.2
            )
        client._client.__wrapped__.event_hooks = {"request": [], "response": []}

    door(create_and_cancel())
    assert door.all(client.beta.threads.runs.list(thread.id)) == []
    hand.plan(*EVENTS, END)
    seen = read_rest(door, door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)))
    assert seen[-1].event == "thread.run.completed"


def test_the_end_of_the_event_loop_fails_the_run(hand: ManualUpstream, settings: Settings) -> None:
    """When `asyncio.run` ends, a run that is still streamed fails at once, with its text so far."""
    door = Door("async")
    ids: list[str] = []

    async def main() -> None:
        client = door.client(hand, settings)
        hand.plan(*EVENTS[:CUT])
        assistant = await client.beta.assistants.create(model="gpt-4o", instructions="x")
        stream = await client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)
        async for event in stream:
            if event.event == "thread.run.created":
                ids.append(event.data.id)
            if event.event == "thread.message.delta" and event.data.delta.content[0].text.value == " two":
                break

    asyncio.run(main())
    row = wait_until_ended(settings, ids[0], status="failed")
    assert row["body"]["last_error"]["code"] == "server_error"
    assert stored_messages(settings, ids[0]) == [("incomplete", "One two")]
    assert step_statuses(settings, ids[0]) == ["failed"]
    eventually(hand.stream().gone.is_set)
    sync = Door("sync")
    client = sync.client(hand, settings)
    sync(client.beta.threads.messages.create(row["thread_id"], role="user", content="More."))
    sync.close()


def test_a_closed_loop_renews_no_lease(hand: ManualUpstream, settings: Settings) -> None:
    """A loop that was closed without ending its tasks renews no lease, so its run expires soon."""
    loop = asyncio.new_event_loop()
    door = Door("async", loop)
    client = door.client(hand, settings)
    stream, run_id, _ = start_partial_stream(door, client, hand)
    [carrier] = stream_readers._registry.owned_by(client._client.__wrapped__)
    loop.close()
    before = stored_run(settings, run_id)["lease_until"]
    carrier.renew()
    carrier.renew()
    assert stored_run(settings, run_id)["lease_until"] == before
    assert stream_readers._registry.owned_by(client._client.__wrapped__) == []
    del stream, carrier
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asyncio warns of the tasks that the test left
        gc.collect()


def test_a_synchronous_client_inside_a_running_loop(sync: Door, hand: ManualUpstream, settings: Settings) -> None:
    """A synchronous client streams inside a running loop, as in a notebook, and changes neither hooks nor tasks."""
    client = sync.client(hand, settings)
    ids: list[str] = []

    async def main() -> None:
        hooks = sys.get_asyncgen_hooks()
        hand.plan(*EVENTS, END)
        assert read_rest(sync, start_stream(sync, client))[-1].event == "thread.run.completed"
        stream, run_id, _ = start_partial_stream(sync, client, hand)
        ids.append(run_id)
        assert sys.get_asyncgen_hooks() == hooks
        assert hooks.firstiter is not None
        break_out(sync, stream)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    gc.collect()
    hand.stream(1).send(*EVENTS[CUT:], END)
    wait_until_ended(settings, ids[0])
    assert stored_messages(settings, ids[0]) == [("completed", TEXT)]


# trio warns of the generators that the SDK itself leaves open after a break.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_under_trio_ends_with_its_reader(hand: ManualUpstream, settings: Settings) -> None:
    """Under trio a stream is read to its end, and closing it early fails the run."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    ids: list[str] = []
    door = Door("async")

    async def main() -> None:
        client = door.client(hand, settings)
        hand.plan(*EVENTS, END)
        assistant = await client.beta.assistants.create(model="gpt-4o", instructions="x")
        stream = await client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)
        seen = [event async for event in stream]
        assert seen[-1].event == "thread.run.completed"
        hand.plan(*EVENTS[:CUT])
        stream = await client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True)
        async for event in stream:
            if event.event == "thread.message.delta":
                break
            if event.event == "thread.run.created":
                ids.append(event.data.id)
        await stream.close()
        await client.close()

    trio.run(main)
    door.clients.clear()
    wait_until_ended(settings, ids[0], status="failed")
    assert stored_messages(settings, ids[0])[0][0] == "incomplete"
