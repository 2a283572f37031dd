"""Streams through gateways and of other servers are read right; each test names its fault in gateways.md."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.runs import event_sources
from assistants_compat.engine.runs import stream as streaming
from kit.doors import Door
from kit.legacy_code import CODE, FUNCTION, dump_store, make_assistant, make_thread
from kit.streams import (
    ALL_EVENT_NAMES,
    CUT,
    DROP,
    END,
    EVENTS,
    OUTPUTS,
    PLAIN_EVENT_NAMES,
    TEXT,
    Json,
    ManualUpstream,
    event_names,
    events,
    frame,
    function,
    message,
    read_rest,
    response,
    start_stream,
    step_statuses,
    stored_messages,
    stored_run,
    text_of,
    without_repeats,
)

POST, GET = "POST /responses", "GET /responses/resp_1"


def with_final_output(upstream_events: list[Json], *output: Json, **changes: Any) -> list[Json]:
    """Return the events of a stream whose last one has another output."""
    last = upstream_events[-1]
    return [*upstream_events[:-1], {**last, "response": {**last["response"], "output": list(output), **changes}}]


# --- item ids that change within a stream (F5)

REASONING = {"id": "rs_1", "type": "reasoning", "summary": []}
CODE_CALL = {
    "id": "ci_1",
    "type": "code_interpreter_call",
    "status": "completed",
    "code": "1",
    "container_id": "cntr_1",
}


@pytest.mark.parametrize(
    "final",
    [
        [message(TEXT, id="msg_other")],
        [message(TEXT, id=None)],
        [REASONING, message(TEXT, id="msg_other")],
        [message("Another text.", id="msg_other")],
        [REASONING, message("Another text.", id="msg_other")],
    ],
    ids=["same text", "no id", "same text elsewhere", "another text", "another text elsewhere"],
)
def test_a_message_whose_id_changes_is_one_message(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, final: list[Json]
) -> None:
    """A message that has another id in the finished response is streamed and stored once, as it was streamed (F5)."""
    hand.plan(*with_final_output(EVENTS, *final), END)
    seen = read_rest(door, start_stream(door, client))
    assert event_names(seen) == ALL_EVENT_NAMES
    assert text_of(seen) == TEXT
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert step_statuses(settings, seen[-1].data.id) == ["completed"]


def test_a_message_that_is_still_open_is_ended_under_its_other_id(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A message whose end was not streamed gets it from the finished response, whatever id it has there (F5)."""
    last = with_final_output(EVENTS, message(TEXT, id="msg_other"))[-1]
    hand.plan(*EVENTS[:CUT], last, END)
    seen = read_rest(door, start_stream(door, client))
    assert without_repeats(event_names(seen)) == PLAIN_EVENT_NAMES
    assert text_of(seen) == TEXT
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]


def test_two_messages_of_the_finished_response_stay_two(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A message that was never streamed is told too, if the streamed one is in the finished response beside it (F5)."""
    hand.plan(*with_final_output(EVENTS, message("First.", id="msg_first"), message(TEXT)), END)
    seen = read_rest(door, start_stream(door, client))
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT), ("completed", "First.")]
    assert event_names(seen).count("message.completed") == 2


def test_calls_whose_ids_change_are_single_calls(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A code call and a function call that have other ids in the finished response are one step each (F5)."""
    output = [CODE_CALL, function()]
    final = [{**CODE_CALL, "id": "ci_other"}, {**function(), "id": "fc_other"}]
    hand.plan(*with_final_output(events(*output), *final), END)
    seen = read_rest(door, start_stream(door, client, tools=[*CODE, FUNCTION]))
    run = seen[-1].data
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_1"]
    assert step_statuses(settings, run.id) == ["completed", "in_progress"]


def test_two_calls_of_one_place_are_two_calls(door: Door, client: Any, hand: ManualUpstream) -> None:
    """A function call with another call id is another call, since the outputs name it."""
    final = [{**function("call_2"), "id": "fc_other"}]
    hand.plan(*with_final_output(events(function()), *final), END)
    run = read_rest(door, start_stream(door, client, tools=[FUNCTION]))[-1].data
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_2"]


# --- errors without a type (F8)

UNTYPED_ERRORS = {
    "coded": ({"message": "Too fast.", "code": "rate_limit_exceeded"}, ("rate_limit_exceeded", "Too fast.")),
    "status as code": ({"message": "Too fast.", "type": None, "code": "429"}, ("rate_limit_exceeded", "Too fast.")),
    "quota": ({"message": "Empty.", "type": "insufficient_quota", "code": None}, ("rate_limit_exceeded", "Empty.")),
    "uncoded": ({"message": "Out of memory."}, ("server_error", "Out of memory.")),
    "text": ("Out of memory.", ("server_error", "Out of memory.")),
}


@pytest.mark.parametrize("name", UNTYPED_ERRORS)
@pytest.mark.parametrize("cut", [0, CUT], ids=["first", "later"])
def test_an_error_without_a_type_is_the_runs_error(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, name: str, cut: int
) -> None:
    """The message and code of `data: {"error": ...}` become the run's `last_error`, also as the first event (F8)."""
    error, expected = UNTYPED_ERRORS[name]
    hand.plan(*EVENTS[:cut], f"data: {json.dumps({'error': error})}\n\n".encode(), END)
    seen = read_rest(door, start_stream(door, client))
    assert seen[-1].event == "thread.run.failed"
    assert (seen[-1].data.last_error.code, seen[-1].data.last_error.message) == expected
    assert stored_run(settings, seen[-1].data.id)["status"] == "failed"
    assert stored_messages(settings, seen[-1].data.id) == ([("incomplete", "One two")] if cut else [])


# --- answers that are no streams, or hardly (F9)


@pytest.mark.parametrize("kind", ["Text/Event-Stream", "TEXT/EVENT-STREAM; charset=utf-8"])
def test_the_content_type_has_no_case(door: Door, client: Any, hand: ManualUpstream, kind: str) -> None:
    """A media type is recognized in any case (F9, RFC 9110)."""
    hand.answers.append((200, kind, b"".join(map(frame, EVENTS))))
    assert event_names(read_rest(door, start_stream(door, client))) == ALL_EVENT_NAMES
    assert hand.calls() == [POST]


def json_answer(*output: Json, **changes: Any) -> tuple[int, str, bytes]:
    """Return an answer with a response as JSON."""
    return 200, "application/json", json.dumps(response(*output, **changes)).encode()


def test_a_response_as_json_is_told_as_events(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A finished response in answer to a stream's request is told as events, and is not asked for again (F9)."""
    hand.answers.append(json_answer(message(TEXT)))
    seen = read_rest(door, start_stream(door, client))
    assert event_names(seen) == PLAIN_EVENT_NAMES
    assert text_of(seen) == TEXT
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert hand.calls() == [POST]


def test_json_in_answer_to_tool_outputs_is_told_as_events(door: Door, client: Any, hand: ManualUpstream) -> None:
    """Later rounds take JSON too, and continue the response that came as JSON (F9)."""
    hand.answers += [json_answer(function()), json_answer(message(TEXT), id="resp_2")]
    run = read_rest(door, start_stream(door, client, tools=[FUNCTION]))[-1].data
    submit = client.beta.threads.runs.submit_tool_outputs
    seen = read_rest(door, door(submit(run.id, thread_id=run.thread_id, tool_outputs=OUTPUTS, stream=True)))
    assert event_names(seen) == ["run.step.completed", *PLAIN_EVENT_NAMES[1:]]
    assert hand.calls() == [POST] * 2
    assert hand.requests[1]["json"]["previous_response_id"] == "resp_1"


def test_json_in_answer_to_a_resumed_stream_is_polled(
    door: Door, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A background stream that is lost, and answered with JSON when it is resumed, is polled to its end (F9)."""
    monkeypatch.setattr(event_sources, "_FIRST_POLL_SECONDS", 0.01)
    monkeypatch.setattr(streaming, "_FIRST_PAUSE_SECONDS", 0.01)
    client = door.client(hand, replace(settings, stream="background"))
    hand.resumes = False
    hand.plan(*events(message(TEXT), background=True)[:CUT], DROP)
    hand.known["resp_1"] = response(message(TEXT))
    seen = read_rest(door, start_stream(door, client))
    assert without_repeats(event_names(seen)) == PLAIN_EVENT_NAMES
    assert text_of(seen) == TEXT


ERRORS_WITH_200 = {
    "no code": ({"message": "The model is overloaded."}, openai.InternalServerError, 502),
    "a status": ({"message": "The model is overloaded.", "code": 429}, openai.RateLimitError, 429),
    "a status as text": ({"message": "The model is overloaded.", "code": "400"}, openai.BadRequestError, 400),
    "text": ("The model is overloaded.", openai.InternalServerError, 502),
}


@pytest.mark.parametrize("options", [{"stream": True}, {}], ids=["streamed", "polled"])
@pytest.mark.parametrize("name", ERRORS_WITH_200)
def test_an_error_with_status_200_has_the_upstreams_words(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, name: str, options: Json
) -> None:
    """A 200 whose JSON is an error is an error with its own message, and leaves no run behind (F9)."""
    error, exception, status = ERRORS_WITH_200[name]
    hand.answers.append((200, "application/json", json.dumps({"error": error}).encode()))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump_store(settings)
    with pytest.raises(exception, match="The model is overloaded") as caught:
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options))
    assert caught.value.status_code == status
    assert dump_store(settings) == before
    assert hand.calls() == [POST]


# --- two response ids (F10)


def test_the_last_response_id_of_a_stream_is_used(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """The next round continues the id that the finished response has, not the one that was announced (F10)."""
    hand.plan(*with_final_output(events(function()), function(), id="resp_last"), END)
    run = read_rest(door, start_stream(door, client, tools=[FUNCTION]))[-1].data
    assert stored_run(settings, run.id)["response_id"] == "resp_last"
    hand.plan(*EVENTS, END)
    submit = client.beta.threads.runs.submit_tool_outputs
    read_rest(door, door(submit(run.id, thread_id=run.thread_id, tool_outputs=OUTPUTS, stream=True)))
    assert hand.requests[1]["json"]["previous_response_id"] == "resp_last"


def test_a_lost_stream_is_looked_up_by_its_last_response_id(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """After a lost connection the response is retrieved by the id that came last (F10)."""
    later = {"type": "response.in_progress", "response": {**EVENTS[1]["response"], "id": "resp_last"}}
    hand.plan(EVENTS[0], later, *EVENTS[2:CUT], DROP)
    hand.known["resp_last"] = response(message(TEXT), id="resp_last")
    seen = read_rest(door, start_stream(door, client))
    assert without_repeats(event_names(seen)) == PLAIN_EVENT_NAMES
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert hand.calls() == [POST, "GET /responses/resp_last"]


# --- the form of the events


@pytest.mark.parametrize("change", ["no blank line", "carriage returns", "no status"])
def test_odd_forms_of_events_are_read(door: Door, client: Any, hand: ManualUpstream, change: str) -> None:
    """A last event without its blank line, line ends of CR alone, and a response without a status are read."""
    upstream_events = EVENTS
    if change == "no status":
        last = {key: value for key, value in EVENTS[-1]["response"].items() if key != "status"}
        upstream_events = [*EVENTS[:-1], {**EVENTS[-1], "response": last}]
    raw = b"".join(map(frame, upstream_events))
    raw = raw.rstrip(b"\n") if change == "no blank line" else raw
    raw = raw.replace(b"\n", b"\r") if change == "carriage returns" else raw
    hand.plan(raw, END)
    assert event_names(read_rest(door, start_stream(door, client))) == ALL_EVENT_NAMES
    assert hand.calls() == [POST]
