"""Streams and event loops: cancelled tasks, loops that end, a synchronous client inside a running loop, trio."""

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
    ByHand,
    begin,
    begun,
    breaks,
    ended,
    eventually,
    goes_on,
    names,
    rest,
    said,
    step_statuses,
    stored,
)


async def by_cancel(reading: Any) -> None:
    """Cancel the reading task in the middle."""
    task = asyncio.ensure_future(reading)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_timeout(reading: Any) -> None:
    """Wait for so long and no longer."""
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(reading, 0.1)


@pytest.mark.parametrize("way", [by_cancel, by_timeout])
@pytest.mark.parametrize("helper", [False, True])
def test_a_cancelled_reader(loop_door: Door, hand: ByHand, settings: Settings, way: Any, *, helper: bool) -> None:
    """Cancelled while it waits for the next words, and still holding the stream: the run completes behind it."""
    door, client = loop_door, loop_door.client(hand, settings)
    hand.plan(*EVENTS[:CUT])
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    runs = client.beta.threads.runs
    seen: list[Any] = []

    async def read() -> None:
        async def take(stream: Any) -> None:
            async for event in stream:
                seen.append(event)  # noqa: PERF401 - it is not read to its end

        if helper:
            async with runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
                await take(stream)
        else:
            await take(await runs.create(thread.id, assistant_id=assistant.id, stream=True))

    door(way(read()))
    assert names(seen)[-1] == "message.delta"
    goes_on(door, client, hand, settings, seen[0].data.id, thread.id)


def test_a_cancelled_creation_of_a_stream(loop_door: Door, hand: ByHand, settings: Settings) -> None:
    """Cancelled before the upstream answers: no run, no lock, and the upstream's connection is closed."""
    door, client = loop_door, loop_door.client(hand, settings)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    hand.answers.append((200, "text/plain", b""))  # never mind what: it comes too late

    async def wait() -> None:
        gate = asyncio.Event()

        async def hold(_: Any) -> None:
            await gate.wait()

        client._client.__wrapped__.event_hooks = {"request": [], "response": [hold]}
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(
                client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True), 0.2
            )
        client._client.__wrapped__.event_hooks = {"request": [], "response": []}

    door(wait())
    assert door.all(client.beta.threads.runs.list(thread.id)) == []
    hand.plan(*EVENTS, END)
    seen = rest(door, door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)))
    assert seen[-1].event == "thread.run.completed"


def test_a_loop_that_ends_ends_the_run(hand: ByHand, settings: Settings) -> None:
    """`asyncio.run` cancels what it leaves behind: the run has failed then, at once and without a word too little."""
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
    row = ended(settings, ids[0], status="failed")
    assert row["body"]["last_error"]["code"] == "server_error"
    assert said(settings, ids[0]) == [("incomplete", "One two")]
    assert step_statuses(settings, ids[0]) == ["failed"]
    eventually(hand.wire().gone.is_set)
    sync = Door("sync")
    client = sync.client(hand, settings)
    sync(client.beta.threads.messages.create(row["thread_id"], role="user", content="More."))
    sync.close()


def test_a_loop_that_is_closed_with_its_tasks(hand: ByHand, settings: Settings) -> None:
    """A loop that was closed without ending its tasks renews no lease: the run does not wait for ten minutes."""
    loop = asyncio.new_event_loop()
    door = Door("async", loop)
    client = door.client(hand, settings)
    stream, run_id, _ = begun(door, client, hand)
    [carrier] = stream_readers._keeper.of(client._client.__wrapped__)
    loop.close()
    before = stored(settings, run_id)["lease_until"]
    carrier.renew()
    carrier.renew()
    assert stored(settings, run_id)["lease_until"] == before
    assert stream_readers._keeper.of(client._client.__wrapped__) == []
    del stream, carrier
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asyncio's own words about what the loop's owner left
        gc.collect()


def test_a_synchronous_client_inside_a_running_loop(sync: Door, hand: ByHand, settings: Settings) -> None:
    """As in a notebook: streams are read inside a coroutine, the loop's hooks stay as they were, nothing is adopted."""
    client = sync.client(hand, settings)
    ids: list[str] = []

    async def main() -> None:
        hooks = sys.get_asyncgen_hooks()
        hand.plan(*EVENTS, END)
        assert rest(sync, begin(sync, client))[-1].event == "thread.run.completed"
        stream, run_id, _ = begun(sync, client, hand)
        ids.append(run_id)
        assert sys.get_asyncgen_hooks() == hooks
        assert hooks.firstiter is not None
        breaks(sync, stream)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    gc.collect()
    hand.wire(1).send(*EVENTS[CUT:], END)
    ended(settings, ids[0])
    assert said(settings, ids[0]) == [("completed", TEXT)]


# trio warns of the generators that the SDK itself leaves open after a break.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_trio(hand: ByHand, settings: Settings) -> None:
    """A stream is read to its end; one that is left ends its run, because under trio no task outlives its nursery."""
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
    ended(settings, ids[0], status="failed")
    assert said(settings, ids[0])[0][0] == "incomplete"
