"""`Settings(stream="background")`: the upstream works on by itself, and a lost stream is taken up where it was left."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.runs import stream as streaming
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import FUNCTION, look_at
from kit.upstream_requests import bodies
from kit.streams import (
    CUT,
    DROP,
    END,
    TEXT,
    ByHand,
    Json,
    begin,
    begun,
    ended,
    events,
    eventually,
    function,
    keeps_talking,
    lapse,
    message,
    names,
    rest,
    said,
    stored,
    text_of,
    until,
)

POST, GET, CANCEL = "POST /responses", "GET /responses/resp_1", "POST /responses/resp_1/cancel"
EVENTS = events(message(TEXT), background=True)  # one more than without: response.queued


@pytest.fixture
def settings(sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Streams in the background, with pauses that do not make tests slow."""
    monkeypatch.setattr(streaming, "_FIRST_PAUSE", 0.001)
    return replace(sqlite_settings, stream="background")


def test_what_is_sent(door: Door, upstream: StandIn, settings: Settings) -> None:
    """`background`, `stream` and `store` together; the stream is as any other."""
    upstream.script(Turn(text=TEXT))
    seen = rest(door, begin(door, door.client(upstream, settings)))
    assert (text_of(seen), seen[-1].event) == (TEXT, "thread.run.completed")
    [body] = bodies(upstream)
    assert (body["background"], body["stream"], body["store"]) == (True, True, True)
    ended(settings, seen[-1].data.id, door)


def test_an_upstream_that_refuses(door: Door, settings: Settings) -> None:
    """Refused, it is streamed directly, and not asked for again as long as the process lives."""
    with StandIn(background_refused=True) as upstream:
        client = door.client(upstream, settings)
        for _ in range(2):
            assert rest(door, begin(door, client))[-1].event == "thread.run.completed"
        assert [body.get("background") for body in bodies(upstream)] == [True, None, None]
        assert [body["stream"] for body in bodies(upstream)] == [True] * 3


@pytest.mark.parametrize("cuts", [(1,), (3,), (6,), (len(EVENTS) - 1,), (2, 6, 8)])
def test_a_lost_stream_is_taken_up(
    door: Door, client: Any, hand: ByHand, settings: Settings, cuts: tuple[int, ...]
) -> None:
    """Dropped anywhere, more than once: the rest is asked for after the last event; none is lost, none told twice."""
    places = [0, *cuts, len(EVENTS)]
    for start, end in pairwise(places):
        hand.plan(*EVENTS[start:end], DROP if end < len(EVENTS) else END)
    seen = rest(door, begin(door, client))
    assert text_of(seen) == TEXT
    assert [name for name in names(seen) if name != "message.delta"] == [
        *["run.created", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"],
        *["message.created", "message.in_progress", "message.completed", "run.step.completed", "run.completed"],
    ]
    assert hand.asked() == [POST] + [GET] * len(cuts)
    assert [each["query"] for each in hand.requests[1:]] == [
        f"stream=true&starting_after={EVENTS[cut - 1]['sequence_number']}" for cut in cuts
    ]
    assert said(settings, seen[-1].data.id) == [("completed", TEXT)]


def test_an_upstream_that_takes_no_stream_up(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """Where only the response can be had, it gives the rest; where it still works, the caller is told to look later."""
    hand.plan(*EVENTS[:CUT], DROP)
    stream = begin(door, client)
    hand.resumes = False
    hand.known["resp_1"] = EVENTS[-1]["response"]
    seen = rest(door, stream)
    assert (text_of(seen), seen[-1].event) == (TEXT, "thread.run.completed")
    hand.known["resp_1"] = {**EVENTS[-1]["response"], "status": "in_progress", "output": []}
    hand.plan(*EVENTS[:CUT], DROP)
    stream = begin(door, client)
    run = until(door, stream, "thread.run.created")[-1].data
    with pytest.raises(openai.APIError, match="the run goes on"):
        rest(door, stream)
    assert look_at(door, client, run).status == "in_progress"
    hand.known["resp_1"] = EVENTS[-1]["response"]
    assert look_at(door, client, run).status == "completed"
    assert said(settings, run.id) == [("completed", TEXT)]


def test_a_process_that_dies(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """Once nobody holds the run, whoever looks goes on asking for it, and it completes with the ids that were told."""
    _, run_id, _ = begun(door, client, hand)
    [row] = [stored(settings, run_id)]
    other = Door("sync")
    elsewhere = other.client(hand, settings)
    lapse(settings, run_id)
    hand.known["resp_1"] = {**EVENTS[-1]["response"], "status": "in_progress", "output": []}
    assert elsewhere.beta.threads.runs.retrieve(run_id, thread_id=row["thread_id"]).status == "in_progress"
    [told] = [each["id"] for each in messages_of(elsewhere, row)]
    hand.known["resp_1"] = EVENTS[-1]["response"]
    run = elsewhere.beta.threads.runs.retrieve(run_id, thread_id=row["thread_id"])
    assert (run.status, run.usage.total_tokens) == ("completed", 7)
    assert [(each["id"], each["status"]) for each in messages_of(elsewhere, row)] == [(told, "completed")]
    assert said(settings, run_id) == [("completed", TEXT)]
    other.close()


def messages_of(client: Any, row: Json) -> list[Json]:
    """The run's messages as another process sees them."""
    found = client.beta.threads.messages.list(row["thread_id"], run_id=row["id"])
    return [each.to_dict() for each in found]


def test_a_cancel_stops_the_upstream(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """`runs.cancel` is one POST upstream, and the stream says so."""
    stream, run_id, thread_id = begun(door, client, hand)
    hand.known["resp_1"] = {**EVENTS[-1]["response"], "status": "in_progress", "output": []}
    run = door(client.beta.threads.runs.cancel(run_id, thread_id=thread_id))
    assert run.status == "cancelling"
    assert hand.asked() == [POST, CANCEL]
    seen = keeps_talking(door, stream, hand)
    assert names(seen)[-3:] == ["message.incomplete", "run.step.cancelled", "run.cancelled"]
    eventually(hand.wire().gone.is_set, door)
    assert look_at(door, client, run).status == "cancelled"


def test_rounds_in_the_background(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """Outputs continue in the background as well; the response that is taken up is that of the second round."""
    hand.plan(*events(function(), background=True), END)
    run = rest(door, begin(door, client, tools=[FUNCTION]))[-1].data
    second = events(message(TEXT), background=True, id="resp_2")
    hand.plan(*second[:CUT], DROP)
    hand.plan(*second[CUT:], END)
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    submit = client.beta.threads.runs.submit_tool_outputs
    seen = rest(door, door(submit(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True)))
    assert (text_of(seen), seen[-1].event) == (TEXT, "thread.run.completed")
    assert hand.asked() == [POST, POST, "GET /responses/resp_2"]
    assert [each["json"]["background"] for each in hand.requests[:2]] == [True, True]
    assert look_at(door, client, run).usage.total_tokens == 14
