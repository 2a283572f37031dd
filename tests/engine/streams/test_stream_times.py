"""The times that a stream tells are those that are stored: each moment is read from the clock once."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from assistants_compat.engine.io import IO
from assistants_compat.testing import StandIn, Turn
from kit.container_runs import make_thread_and_assistant
from kit.doors import Door
from kit.files import PNG
from kit.legacy_code import FUNCTION, function_call_turn, make_assistant, make_thread, submit_outputs
from kit.streams import read_rest, read_until

TIME_KEYS = ["created_at", "started_at", "completed_at", "failed_at", "cancelled_at", "incomplete_at", "expired_at"]
TURNS = {
    "text": Turn(text="One two three."),
    "picture and file": Turn(text="[d](sandbox:/mnt/data/d.csv)", images=[PNG], files={"d.csv": b"1"}),
    "failed": Turn(text="One two", status="failed"),
    "incomplete": Turn(text="One two", status="incomplete"),
    "nothing": Turn(output=[]),
}


@pytest.fixture(autouse=True)
def _every_look_at_the_clock_is_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(int(time.time()))
    monkeypatch.setattr(IO, "now", lambda _io: next(seconds))


def assert_told_as_stored(door: Door, client: Any, events: list[Any]) -> None:
    """Check the times of the last event of each run, message and step against those that are served afterwards."""
    told = {event.data.id: event.data for event in events if hasattr(event.data, "created_at")}
    run = next(data for data in reversed(told.values()) if data.object == "thread.run")
    runs, thread = client.beta.threads.runs, {"thread_id": run.thread_id}
    stored = [
        door(runs.retrieve(run.id, **thread)),
        *door.all(client.beta.threads.messages.list(run_id=run.id, **thread)),
        *door.all(runs.steps.list(run.id, **thread)),
    ]
    assert {entry.id: times(entry) for entry in stored if entry.id in told} == {
        id_: times(data)
        for id_, data in told.items()
        if data.object in {"thread.run", "thread.message", "thread.run.step"}
    }
    started = [event.data.started_at for event in events if event.event == "thread.run.in_progress"]
    assert set(started) <= {stored[0].started_at}


def times(entry: Any) -> dict[str, Any]:
    """Return the times of an object."""
    served = entry.to_dict()
    return {key: served.get(key) for key in TIME_KEYS}


def stream_run(door: Door, client: Any, thread_id: str, assistant_id: str) -> Any:
    """Begin a streamed run."""
    return door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True))


@pytest.mark.parametrize("pace", [0, 0.01], ids=["at once", "one by one"])
@pytest.mark.parametrize("turn", TURNS)
def test_the_times_of_a_stream_are_stored(door: Door, client: Any, upstream: StandIn, turn: str, pace: float) -> None:
    """Run, message and steps are stored with the times that the stream told, whether or not it saved on the way."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(**{**vars(TURNS[turn]), "pace": pace}))
    assert_told_as_stored(door, client, read_rest(door, stream_run(door, client, *ids)))


def test_the_times_of_a_run_with_two_rounds_are_stored(door: Door, client: Any, upstream: StandIn) -> None:
    """A run that calls a function has the times of its first stream before the second, and those of both after it."""
    upstream.script(function_call_turn("call_1"), Turn(text="Done."))
    thread, assistant = make_thread(door, client), make_assistant(door, client, tools=[FUNCTION])
    first = read_rest(door, stream_run(door, client, thread.id, assistant.id))
    run = next(event.data for event in first if event.event == "thread.run.requires_action")
    assert_told_as_stored(door, client, first)
    second = read_rest(door, submit_outputs(door, client, run, stream=True))
    assert second[-1].event == "thread.run.completed"
    # Each round starts the run anew.
    assert_told_as_stored(door, client, second)


def test_the_times_of_a_cancelled_stream_are_stored(door: Door, client: Any, upstream: StandIn) -> None:
    """A stream that is cancelled tells the times with which its run, message and step are stored."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(text="word " * 100, pace=0.02))
    stream = stream_run(door, client, *ids)
    seen = read_until(door, stream, "thread.message.delta")
    run = seen[0].data
    door(client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))
    events = [*seen, *read_rest(door, stream)]
    assert events[-1].event == "thread.run.cancelled"
    assert_told_as_stored(door, client, events)
