"""A thread stays usable when the upstream no longer accepts items of its earlier runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.store import queries
from assistants_compat.store.database import Connection, transact
from assistants_compat.store.locations import database_url
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    FUNCTION,
    dump_store,
    finish_run,
    function_call_turn,
    retrieve_run,
    run_again,
    submit_outputs,
    upstream_calls,
    waiting_run,
)
from kit.upstream_requests import request_bodies

UNPAIRED_CALL = "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'."
STALE_ITEM_ERRORS = [
    UNPAIRED_CALL,
    "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
    "No tool output found for function call call_1.",
    "Container is expired.",
]


def refusal(message: str) -> dict[str, Any]:
    """Return the body of an upstream 400."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": "input", "code": None}}


def failed_turn(message: str) -> Turn:
    """Return a background response that is accepted and then fails with this message."""
    return Turn(status="failed", error={"code": "invalid_prompt", "message": message})


def input_kinds(body: Any) -> list[str]:
    """Return the items of a request's input: roles of messages, and types of the others."""
    return [item.get("type") or item["role"] for item in body["input"]]


def answered_run(door: Door, client: Any, upstream: StandIn, **options: Any) -> Any:
    """Return a completed run that called a function."""
    run = waiting_run(door, client, upstream, **options)
    upstream.script(Turn(text="Found.", polls=0))
    submit_outputs(door, client, run)
    assert retrieve_run(door, client, run).status == "completed"
    return run


@pytest.mark.refusal("item_without_pair", "function_output_missing")
@pytest.mark.parametrize("message", STALE_ITEM_ERRORS)
def test_refused_items_are_left_out(door: Door, client: Any, upstream: StandIn, message: str) -> None:
    """After a 400 for stale items only messages are sent again, and later runs leave those items out."""
    run = answered_run(door, client, upstream)
    upstream.fault(Fault("POST /responses", status=400, body=refusal(message)))
    assert run_again(door, client, run, "And?").status == "completed"
    first, second = request_bodies(upstream)[-2:]
    assert input_kinds(first) == ["user", "function_call", "function_call_output", "assistant", "user"]
    assert input_kinds(second) == ["user", "assistant", "user"]
    assert run_again(door, client, run).status == "completed"
    assert input_kinds(request_bodies(upstream)[-1]) == ["user", "assistant", "user", "assistant"]
    assert len(request_bodies(upstream)) == 5


@pytest.mark.refusal("item_without_pair", "function_output_missing")
@pytest.mark.parametrize("message", STALE_ITEM_ERRORS)
def test_items_of_a_failed_response_are_left_out(door: Door, client: Any, upstream: StandIn, message: str) -> None:
    """A background response that fails for stale items is retried without them within the same run."""
    run = answered_run(door, client, upstream)
    upstream.script(failed_turn(message))
    later_run = run_again(door, client, run, "And?")
    assert (later_run.status, later_run.last_error) == ("completed", None)
    assert input_kinds(request_bodies(upstream)[-1]) == ["user", "assistant", "user"]
    assert run_again(door, client, run).status == "completed"
    assert input_kinds(request_bodies(upstream)[-1]) == ["user", "assistant", "user", "assistant"]
    assert len(request_bodies(upstream)) == 5


def test_a_second_failure_fails_the_run(door: Door, client: Any, upstream: StandIn) -> None:
    """A run whose response fails for stale items a second time, or without any, fails with the upstream's message."""
    run = answered_run(door, client, upstream)
    upstream.script(failed_turn(UNPAIRED_CALL), failed_turn(UNPAIRED_CALL))
    later_run = run_again(door, client, run, "And?")
    assert (later_run.status, later_run.last_error.message) == ("failed", UNPAIRED_CALL)
    assert len(request_bodies(upstream)) == 4
    upstream.script(failed_turn(UNPAIRED_CALL))
    assert run_again(door, client, run, "And?").status == "failed"
    assert len(request_bodies(upstream)) == 5


def test_a_run_that_fails_for_two_reasons_leaves_out_both(door: Door, client: Any, upstream: StandIn) -> None:
    """A run that fails first as too long and then for stale items leaves out both in its third request."""
    run = answered_run(door, client, upstream)
    for text in ("two", "three"):
        run_again(door, client, run, text)
    too_long = Turn(status="failed", error={"code": "context_length_exceeded", "message": "Too long."})
    upstream.script(too_long, failed_turn(UNPAIRED_CALL))
    assert run_again(door, client, run, "four").status == "completed"
    assert [input_kinds(body) for body in request_bodies(upstream)[-2:]] == [
        ["user", "function_call", "function_call_output", "assistant", "user"],
        ["user", "assistant", "user"],
    ]


def test_a_failed_stream_without_a_reader_is_retried_in_background(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """If a stream's reader died, a poll retries the failed response in the background, and not as a stream."""
    run = answered_run(door, client, upstream)
    upstream.script(failed_turn(UNPAIRED_CALL), Turn(text="Again."))
    streamed = door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    request = {**dump_store(settings)["runs"][-1]["request"], "stream": True}

    def write(db: Connection) -> None:
        queries.update_row(db, "runs", settings.namespace, streamed.id, request=request, lease_until=0)

    transact(database_url(settings.store), write, write=True)
    polled = door(client.beta.threads.runs.poll(streamed.id, thread_id=run.thread_id))
    assert polled.status == "completed"
    assert "stream" not in request_bodies(upstream)[-1]


def test_a_failed_response_of_a_cancelled_run_is_not_retried(door: Door, client: Any, upstream: StandIn) -> None:
    """A failed response of a cancelling run is not retried, because nobody waits for it."""
    run = answered_run(door, client, upstream)
    upstream.script(failed_turn(UNPAIRED_CALL))
    cancelled_run = door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    upstream.fault(Fault("POST /responses/*/cancel", status=500))
    door(client.beta.threads.runs.cancel(cancelled_run.id, thread_id=run.thread_id))
    assert retrieve_run(door, client, cancelled_run).status == "failed"
    assert len(request_bodies(upstream)) == 3


UNKNOWN_RESPONSE = {
    "error": {
        "message": "Previous response with id 'resp_1' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }
}


@pytest.mark.refusal("previous_response_gone")
@pytest.mark.parametrize("body", [*map(refusal, STALE_ITEM_ERRORS), UNKNOWN_RESPONSE])
def test_outputs_are_sent_with_the_transcript_if_the_response_is_refused(
    door: Door, client: Any, upstream: StandIn, body: Any
) -> None:
    """If `previous_response_id` is refused, outputs are sent with the messages and all calls of this run.

    Calls of earlier runs stay too, unless the refusal is about them.
    """
    run = answered_run(door, client, upstream)
    upstream.script(function_call_turn("call_2"), function_call_turn("call_3"), Turn(text="Done.", polls=0))
    waiting = run_again(door, client, run, "And?", tools=[FUNCTION])
    submit_outputs(door, client, waiting, "call_2")
    retrieve_run(door, client, waiting)
    upstream.fault(Fault("POST /responses", status=400, body=body))
    submit_outputs(door, client, waiting, "call_3")
    assert retrieve_run(door, client, waiting).status == "completed"
    refused, accepted = request_bodies(upstream)[-2:]
    assert (input_kinds(refused), "previous_response_id" in refused) == (["function_call_output"], True)
    assert "previous_response_id" not in accepted
    call = ["function_call", "function_call_output"]
    earlier = call if body == UNKNOWN_RESPONSE else []
    assert input_kinds(accepted) == ["user", *earlier, "assistant", "user", *call * 2]
    calls = ["call_1"] * bool(earlier) + ["call_2", "call_3"]
    sent = [item["call_id"] for item in accepted["input"] if "call_id" in item]
    assert sent == [call_id for call_id in calls for _ in call]
    run_again(door, client, run)
    assert input_kinds(request_bodies(upstream)[-1]) == [*input_kinds(accepted), "assistant"], (
        "the first run's calls were sent"
    )


@pytest.mark.refusal("previous_response_gone")
def test_outputs_are_sent_with_the_transcript_if_the_response_fails(door: Door, client: Any, upstream: StandIn) -> None:
    """If the background response of a later round fails, outputs are sent again with the transcript."""
    run = waiting_run(door, client, upstream)
    upstream.script(failed_turn("Container is expired."), Turn(text="Done."))
    submit_outputs(door, client, run)
    ended = door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    assert ended.status == "completed"
    assert input_kinds(request_bodies(upstream)[-1]) == ["user", "function_call", "function_call_output"]
    assert "previous_response_id" not in request_bodies(upstream)[-1]


def test_last_messages_does_not_count_the_runs_own_messages(door: Door, client: Any, upstream: StandIn) -> None:
    """`last_messages` is counted at the run's start, so a transcript that is sent later still has the question."""
    run = finish_run(door, client)
    strategy = {"type": "last_messages", "last_messages": 1}
    upstream.script(function_call_turn("call_1", text="Let me look."), Turn(text="Done."))
    waiting = run_again(door, client, run, "And?", tools=[FUNCTION], truncation_strategy=strategy)
    upstream.fault(Fault("POST /responses", status=400, body=UNKNOWN_RESPONSE))
    submit_outputs(door, client, waiting)
    assert input_kinds(request_bodies(upstream)[-1]) == ["user", "assistant", "function_call", "function_call_output"]


def test_without_stored_responses_refused_reasoning_is_left_out(
    door: Door, upstream: StandIn, settings: Settings
) -> None:
    """With `store_responses=False` a refused round is sent again without reasoning, and so are later rounds."""
    client = door.client(upstream, replace(settings, store_responses=False))
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}", "status": "completed"}
    upstream.script(Turn(output=[reasoning, call]), function_call_turn("call_2"), Turn(text="Done."))
    run = finish_run(door, client, tools=[FUNCTION])
    upstream.fault(Fault("POST /responses", status=400, body=refusal(UNPAIRED_CALL)))
    submit_outputs(door, client, run)
    pair = ["function_call", "function_call_output"]
    assert [input_kinds(body) for body in request_bodies(upstream)[1:]] == [
        ["user", "reasoning", *pair],
        ["user", *pair],
    ]
    assert submit_outputs(door, client, run, "call_2").status == "completed"
    assert input_kinds(request_bodies(upstream)[-1]) == ["user", *pair, *pair]
    assert upstream_calls(upstream) == ["POST /responses"] * 4


def test_a_refusal_that_cannot_be_retried_reaches_the_caller(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A refusal that no shorter input avoids reaches the caller, and a run that waits keeps waiting."""
    body = refusal("No tool output found for function call call_1.")
    upstream.fault(Fault("POST /responses", status=400, body=body))
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        finish_run(door, client)
    assert len(request_bodies(upstream)) == 1
    run = waiting_run(door, client, upstream)
    before = dump_store(settings)
    upstream.fault(Fault("POST /responses", status=400, body=body, times=9))
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        submit_outputs(door, client, run)
    assert len(request_bodies(upstream)) == 4
    assert dump_store(settings) == before
    assert retrieve_run(door, client, run).status == "requires_action"


@pytest.mark.refusal("item_without_pair")
def test_a_stream_that_fails_for_stale_items_is_retried(door: Door, client: Any, upstream: StandIn) -> None:
    """A stream that fails for stale items is retried, and its reader gets only the events of the answer."""
    run = answered_run(door, client, upstream)
    upstream.script(failed_turn(UNPAIRED_CALL), Turn(text="Again."))
    runs = client.beta.threads.runs
    stream = door(runs.create(run.thread_id, assistant_id=run.assistant_id, stream=True))
    events = [event.event for event in door.all(stream)]
    assert ("thread.run.completed" in events, "thread.run.failed" in events) == (True, False)
    assert input_kinds(request_bodies(upstream)[-1]) == ["user", "assistant"]
    run_again(door, client, run)
    assert input_kinds(request_bodies(upstream)[-1]) == ["user", "assistant", "assistant"]
    assert len(request_bodies(upstream)) == 5
