"""Readers of one stream: who closes, who is away, and who comes back, tells and is told everything."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.doors import stream_readers
from assistants_compat.engine.io import BlockingIO
from assistants_compat.engine.io import run as stepped
from assistants_compat.engine.runs import finish
from assistants_compat.engine.runs import stream as streaming
from kit.doors import Door
from kit.legacy_code import FUNCTION
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ByHand,
    begin,
    begun,
    ended,
    events,
    eventually,
    function,
    lapse,
    message,
    pause,
    rest,
    said,
    stored,
    text_of,
    until,
)


def test_a_client_that_is_closed_while_another_thread_reads(hand: ByHand, settings: Settings) -> None:
    """The reader is told everything to the end: what was left was read before the client closed."""
    door = Door("sync")
    client = door.client(hand, settings)
    stream, run_id, _ = begun(door, client, hand)
    seen: list[Any] = []
    reader = threading.Thread(target=lambda: seen.extend(stream))
    reader.start()
    pause(door, 0.05)  # it waits for the upstream now
    closer = threading.Thread(target=client.close)
    closer.start()
    pause(door, 0.05)
    hand.wire().send(*EVENTS[CUT:], END)
    closer.join(10)
    reader.join(10)
    assert not closer.is_alive()
    assert not reader.is_alive()
    assert seen[-1].event == "thread.run.completed"
    assert text_of(seen) == TEXT.removeprefix("One")
    ended(settings, run_id)


def test_a_client_that_is_closed_while_another_task_reads(hand: ByHand, settings: Settings) -> None:
    """The same in one event loop."""
    door = Door("async", asyncio.new_event_loop())
    client = door.client(hand, settings)
    stream, run_id, _ = begun(door, client, hand)

    async def both() -> list[Any]:
        async def read() -> list[Any]:
            return [event async for event in stream]

        reader = asyncio.create_task(read())
        closer = asyncio.create_task(client.close())
        await asyncio.sleep(0.05)
        hand.wire().send(*EVENTS[CUT:], END)
        await asyncio.wait_for(closer, 10)
        return await asyncio.wait_for(reader, 10)

    seen = door(both())
    assert seen[-1].event == "thread.run.completed"
    assert text_of(seen) == TEXT.removeprefix("One")
    ended(settings, run_id)
    door.close()


def test_a_failure_while_it_was_read_ahead(hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that comes back is told of a transport's failure that met who read for it, and not of an early end."""
    monkeypatch.setattr(stream_readers, "_IDLE", 0.05)
    door = Door("sync")
    client = door.client(hand, settings)
    stream, _, _ = begun(door, client, hand)

    class OutOfOrderError(Exception):
        """A transport of the caller's own, whose wire was cut."""

    carrier = next(
        carrier for carrier in stream_readers._keeper.all_sync() if carrier.owner is client._client.__wrapped__
    )

    class Failing:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> bytes:
            raise OutOfOrderError

    carrier.chunks = Failing()
    eventually(carrier.ended.is_set)
    with pytest.raises(OutOfOrderError):
        rest(door, stream)
    door.close()


@pytest.mark.parametrize("ended_as", ["completed", "incomplete"])
def test_a_run_that_somebody_else_has_finished(
    door: Door,
    client: Any,
    other: Any,
    hand: ByHand,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ended_as: str,
) -> None:
    """A machine slept past its lease and another finished the run: its reader is told the whole end, as stored."""
    monkeypatch.setattr(streaming, "_SAVED_EVERY", 0.0)
    more: dict[str, Any] = {"incomplete_details": {"reason": "max_output_tokens"}} if ended_as == "incomplete" else {}
    of = events(message(TEXT, status=ended_as), status=ended_as, **more)
    hand.plan(*of[:CUT])
    stream = begin(door, client)
    run = until(door, stream, "thread.run.in_progress")[-1].data
    seen = until(door, stream, "thread.message.delta")
    pause(door, 0.2)  # what has come is read and saved
    hand.known["resp_1"] = of[-1]["response"]

    def finished() -> bool:
        lapse(settings, run.id)
        return bool(other.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == ended_as)

    eventually(finished, door)
    hand.wire().send(of[CUT])
    seen += rest(door, stream)
    assert text_of(seen) == TEXT
    assert [event.event for event in seen[-3:]] == [
        f"thread.message.{ended_as}",
        "thread.run.step.completed",
        f"thread.run.{ended_as}",
    ]
    assert said(settings, run.id) == [(ended_as, TEXT)]
    (listed,) = [each for each in other.beta.threads.messages.list(run.thread_id) if each.role == "assistant"]
    assert seen[-3].data.id == listed.id


def test_a_reader_of_an_earlier_round_leaves_the_lease_alone(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings
) -> None:
    """What it gives up is its own round's: the reader of the next keeps its hold on the run."""
    calls = events(function())
    hand.plan(*calls, END)
    stream = begin(door, client, tools=[FUNCTION])
    run = rest(door, stream)[-1].data
    before = stored(settings, run.id)
    hand.plan(*events(message(TEXT), id="resp_2")[:CUT])
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    later = other.beta.threads.runs.submit_tool_outputs(
        run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True
    )
    until(Door("sync"), later, "thread.message.delta")
    held = stored(settings, run.id)["lease_until"]
    assert held > 0

    class Nowhere:
        name = "nowhere"

    io = BlockingIO(settings, Nowhere(), set())  # type: ignore[arg-type]  # it is not asked
    stepped(finish.end_lease(io, before))
    assert stored(settings, run.id)["lease_until"] == held
    hand.wire(1).send(*events(message(TEXT), id="resp_2")[CUT:], END)
    rest(Door("sync"), later)
