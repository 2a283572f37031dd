"""With `Settings(stream="background")` the upstream continues by itself, and a lost stream is resumed."""

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
from kit.legacy_code import FUNCTION, retrieve_run
from kit.streams import (
    CUT,
    DROP,
    END,
    TEXT,
    Json,
    ManualUpstream,
    event_names,
    events,
    eventually,
    expire_lease,
    function,
    message,
    read_rest,
    read_until,
    read_while_sending,
    start_partial_stream,
    start_stream,
    stored_messages,
    stored_run,
    text_of,
    wait_until_ended,
)
from kit.upstream_requests import request_bodies

POST, GET, CANCEL = "POST /responses", "GET /responses/resp_1", "POST /responses/resp_1/cancel"
EVENTS = events(message(TEXT), background=True)  # background mode adds the event response.queued


@pytest.fixture
def settings(sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Background streams, with short delays before a stream is resumed."""
    monkeypatch.setattr(streaming, "_FIRST_PAUSE_SECONDS", 0.001)
    return replace(sqlite_settings, stream="background")


def test_background_stream_and_store_are_sent(door: Door, upstream: StandIn, settings: Settings) -> None:
    """The request has `background`, `stream` and `store`, and the stream is like any other."""
    upstream.script(Turn(text=TEXT))
    seen = read_rest(door, start_stream(door, door.client(upstream, settings)))
    assert (text_of(seen), seen[-1].event) == (TEXT, "thread.run.completed")
    [body] = request_bodies(upstream)
    assert (body["background"], body["stream"], body["store"]) == (True, True, True)
    wait_until_ended(settings, seen[-1].data.id, door)


def test_a_refused_background_stream_is_streamed_directly(door: Door, settings: Settings) -> None:
    """If the upstream refuses background streams, this and later runs are streamed directly."""
    with StandIn(background_refused=True) as upstream:
        client = door.client(upstream, settings)
        for _ in range(2):
            assert read_rest(door, start_stream(door, client))[-1].event == "thread.run.completed"
        assert [body.get("background") for body in request_bodies(upstream)] == [True, None, None]
        assert [body["stream"] for body in request_bodies(upstream)] == [True] * 3


@pytest.mark.parametrize("cuts", [(1,), (3,), (6,), (len(EVENTS) - 1,), (2, 6, 8)])
def test_a_lost_stream_is_resumed(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, cuts: tuple[int, ...]
) -> None:
    """A stream that is dropped anywhere is resumed after the last event, and every event arrives once."""
    places = [0, *cuts, len(EVENTS)]
    for start, end in pairwise(places):
        hand.plan(*EVENTS[start:end], DROP if end < len(EVENTS) else END)
    seen = read_rest(door, start_stream(door, client))
    assert text_of(seen) == TEXT
    assert [name for name in event_names(seen) if name != "message.delta"] == [
        *["run.created", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"],
        *["message.created", "message.in_progress", "message.completed", "run.step.completed", "run.completed"],
    ]
    assert hand.calls() == [POST] + [GET] * len(cuts)
    assert [request["query"] for request in hand.requests[1:]] == [
        f"stream=true&starting_after={EVENTS[cut - 1]['sequence_number']}" for cut in cuts
    ]
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]


def test_an_upstream_that_cannot_resume_a_stream_is_polled(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """If a stream cannot be resumed, a finished response gives the rest; a working one raises and can be polled."""
    hand.plan(*EVENTS[:CUT], DROP)
    stream = start_stream(door, client)
    hand.resumes = False
    hand.known["resp_1"] = EVENTS[-1]["response"]
    seen = read_rest(door, stream)
    assert (text_of(seen), seen[-1].event) == (TEXT, "thread.run.completed")
    hand.known["resp_1"] = {**EVENTS[-1]["response"], "status": "in_progress", "output": []}
    hand.plan(*EVENTS[:CUT], DROP)
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.created")[-1].data
    with pytest.raises(openai.APIError, match="the run goes on"):
        read_rest(door, stream)
    assert retrieve_run(door, client, run).status == "in_progress"
    hand.known["resp_1"] = EVENTS[-1]["response"]
    assert retrieve_run(door, client, run).status == "completed"
    assert stored_messages(settings, run.id) == [("completed", TEXT)]


def test_polls_complete_the_run_of_a_dead_process(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Once the lease expires, polls of another process complete the run under the ids that were streamed."""
    _, run_id, _ = start_partial_stream(door, client, hand)
    [row] = [stored_run(settings, run_id)]
    other = Door("sync")
    elsewhere = other.client(hand, settings)
    expire_lease(settings, run_id)
    hand.known["resp_1"] = {**EVENTS[-1]["response"], "status": "in_progress", "output": []}
    assert elsewhere.beta.threads.runs.retrieve(run_id, thread_id=row["thread_id"]).status == "in_progress"
    [message_id] = [listed["id"] for listed in list_messages(elsewhere, row)]
    hand.known["resp_1"] = EVENTS[-1]["response"]
    run = elsewhere.beta.threads.runs.retrieve(run_id, thread_id=row["thread_id"])
    assert (run.status, run.usage.total_tokens) == ("completed", 7)
    assert [(listed["id"], listed["status"]) for listed in list_messages(elsewhere, row)] == [(message_id, "completed")]
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    other.close()


def list_messages(client: Any, row: Json) -> list[Json]:
    """Return the run's messages as another process sees them."""
    listed = client.beta.threads.messages.list(row["thread_id"], run_id=row["id"])
    return [message.to_dict() for message in listed]


def test_cancelling_sends_one_post_upstream(door: Door, client: Any, hand: ManualUpstream, settings: Settings) -> None:
    """`runs.cancel` cancels the response with one POST, and the stream ends as cancelled."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    hand.known["resp_1"] = {**EVENTS[-1]["response"], "status": "in_progress", "output": []}
    run = door(client.beta.threads.runs.cancel(run_id, thread_id=thread_id))
    assert run.status == "cancelling"
    assert hand.calls() == [POST, CANCEL]
    seen = read_while_sending(door, stream, hand)
    assert event_names(seen)[-3:] == ["message.incomplete", "run.step.cancelled", "run.cancelled"]
    eventually(hand.stream().gone.is_set, door)
    assert retrieve_run(door, client, run).status == "cancelled"


def test_tool_outputs_continue_in_the_background(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Tool outputs continue in the background, and a lost second round is resumed by its own response."""
    hand.plan(*events(function(), background=True), END)
    run = read_rest(door, start_stream(door, client, tools=[FUNCTION]))[-1].data
    second = events(message(TEXT), background=True, id="resp_2")
    hand.plan(*second[:CUT], DROP)
    hand.plan(*second[CUT:], END)
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    submit = client.beta.threads.runs.submit_tool_outputs
    seen = read_rest(door, door(submit(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True)))
    assert (text_of(seen), seen[-1].event) == (TEXT, "thread.run.completed")
    assert hand.calls() == [POST, POST, "GET /responses/resp_2"]
    assert [request["json"]["background"] for request in hand.requests[:2]] == [True, True]
    assert retrieve_run(door, client, run).usage.total_tokens == 14
