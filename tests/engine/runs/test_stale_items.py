"""Threads whose earlier runs the upstream no longer takes: nothing that a run did makes a thread unusable."""

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
from kit.legacy_code import FUNCTION, asked, calling, dump, finish_run, look_at, run_again, submit, waiting_run
from kit.upstream_requests import bodies

PAIRED = "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'."
STALE = [
    PAIRED,
    "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
    "No tool output found for function call call_1.",
    "Container is expired.",
]


def refusal(message: str) -> dict[str, Any]:
    """A 400 of the upstream."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": "input", "code": None}}


def late(message: str) -> Turn:
    """A background response that is refused when it has been taken already."""
    return Turn(status="failed", error={"code": "invalid_prompt", "message": message})


def kinds(body: Any) -> list[str]:
    """The items of a request's input: the roles of messages and the types of the others."""
    return [item.get("type") or item["role"] for item in body["input"]]


def answered_run(door: Door, client: Any, upstream: StandIn, **options: Any) -> Any:
    """A completed run that called a function."""
    run = waiting_run(door, client, upstream, **options)
    upstream.script(Turn(text="Found.", polls=0))
    submit(door, client, run)
    assert look_at(door, client, run).status == "completed"
    return run


@pytest.mark.parametrize("message", STALE)
def test_items_that_no_longer_fit_are_left_out(door: Door, client: Any, upstream: StandIn, message: str) -> None:
    """What was said is asked for once more, and later runs do not try the refused items again."""
    run = answered_run(door, client, upstream)
    upstream.fault(Fault("POST /responses", status=400, body=refusal(message)))
    assert run_again(door, client, run, "And?").status == "completed"
    first, second = bodies(upstream)[-2:]
    assert kinds(first) == ["user", "function_call", "function_call_output", "assistant", "user"]
    assert kinds(second) == ["user", "assistant", "user"]
    assert run_again(door, client, run).status == "completed"
    assert kinds(bodies(upstream)[-1]) == ["user", "assistant", "user", "assistant"]
    assert len(bodies(upstream)) == 5


@pytest.mark.parametrize("message", STALE)
def test_items_that_are_found_stale_only_later_are_left_out_too(
    door: Door, client: Any, upstream: StandIn, message: str
) -> None:
    """A background response says so when it has failed: the same run goes on, and later runs are not refused."""
    run = answered_run(door, client, upstream)
    upstream.script(late(message))
    again = run_again(door, client, run, "And?")
    assert (again.status, again.last_error) == ("completed", None)
    assert kinds(bodies(upstream)[-1]) == ["user", "assistant", "user"]
    assert run_again(door, client, run).status == "completed"
    assert kinds(bodies(upstream)[-1]) == ["user", "assistant", "user", "assistant"]
    assert len(bodies(upstream)) == 5


def test_what_is_late_refused_twice_fails_the_run(door: Door, client: Any, upstream: StandIn) -> None:
    """Once the items are left out, or where there were none, the upstream's words are the run's."""
    run = answered_run(door, client, upstream)
    upstream.script(late(PAIRED), late(PAIRED))
    again = run_again(door, client, run, "And?")
    assert (again.status, again.last_error.message) == ("failed", PAIRED)
    assert len(bodies(upstream)) == 4
    upstream.script(late(PAIRED))
    assert run_again(door, client, run, "And?").status == "failed"
    assert len(bodies(upstream)) == 5


def test_a_run_that_is_refused_late_for_two_reasons_gives_up_both(door: Door, client: Any, upstream: StandIn) -> None:
    """Too long first and stale then: what was left out for the one stays out for the other."""
    run = answered_run(door, client, upstream)
    for text in ("two", "three"):
        run_again(door, client, run, text)
    too_long = Turn(status="failed", error={"code": "context_length_exceeded", "message": "Too long."})
    upstream.script(too_long, late(PAIRED))
    assert run_again(door, client, run, "four").status == "completed"
    assert [kinds(body) for body in bodies(upstream)[-2:]] == [
        ["user", "function_call", "function_call_output", "assistant", "user"],
        ["user", "assistant", "user"],
    ]


def test_a_stream_that_nobody_reads_is_asked_for_again_as_a_background_run(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """Its reader died, and a look finds that it was refused: what is asked then is looked at, and not streamed."""
    run = answered_run(door, client, upstream)
    upstream.script(late(PAIRED), Turn(text="Again."))
    again = door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    request = {**dump(settings)["runs"][-1]["request"], "stream": True}

    def work(db: Connection) -> None:
        queries.change(db, "runs", settings.namespace, again.id, request=request, lease_until=0)

    transact(database_url(settings.store), work, write=True)
    done = door(client.beta.threads.runs.poll(again.id, thread_id=run.thread_id))
    assert done.status == "completed"
    assert "stream" not in bodies(upstream)[-1]


def test_a_late_refusal_of_a_cancelled_run_is_its_end(door: Door, client: Any, upstream: StandIn) -> None:
    """Nobody waits for it any more, so nothing is asked for again."""
    run = answered_run(door, client, upstream)
    upstream.script(late(PAIRED))
    again = door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    upstream.fault(Fault("POST /responses/*/cancel", status=500))
    door(client.beta.threads.runs.cancel(again.id, thread_id=run.thread_id))
    assert look_at(door, client, again).status == "failed"
    assert len(bodies(upstream)) == 3


LOST = {
    "error": {
        "message": "Previous response with id 'resp_1' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }
}


@pytest.mark.parametrize("body", [*map(refusal, STALE), LOST])
def test_outputs_go_with_the_transcript_where_the_response_no_longer_fits(
    door: Door, client: Any, upstream: StandIn, body: Any
) -> None:
    """Instead of `previous_response_id` go the messages and this run's own calls, of all its rounds."""
    run = answered_run(door, client, upstream)
    upstream.script(calling("call_2"), calling("call_3"), Turn(text="Done.", polls=0))
    waits = run_again(door, client, run, "And?", tools=[FUNCTION])
    submit(door, client, waits, "call_2")
    look_at(door, client, waits)
    upstream.fault(Fault("POST /responses", status=400, body=body))
    submit(door, client, waits, "call_3")
    assert look_at(door, client, waits).status == "completed"
    refused, taken = bodies(upstream)[-2:]
    assert (kinds(refused), "previous_response_id" in refused) == (["function_call_output"], True)
    assert "previous_response_id" not in taken
    assert kinds(taken) == ["user", "assistant", "user", *["function_call", "function_call_output"] * 2]
    assert [item["call_id"] for item in taken["input"] if "call_id" in item] == ["call_2"] * 2 + ["call_3"] * 2
    run_again(door, client, run)
    assert kinds(bodies(upstream)[-1]) == [*kinds(taken), "assistant"], "the first run's calls are forgotten"


def test_outputs_that_are_refused_late_go_with_the_transcript(door: Door, client: Any, upstream: StandIn) -> None:
    """The background response of a later round may fail so as well, and then the run goes on."""
    run = waiting_run(door, client, upstream)
    upstream.script(late("Container is expired."), Turn(text="Done."))
    submit(door, client, run)
    done = door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    assert done.status == "completed"
    assert kinds(bodies(upstream)[-1]) == ["user", "function_call", "function_call_output"]
    assert "previous_response_id" not in bodies(upstream)[-1]


def test_a_chosen_number_of_messages_does_not_count_what_the_run_said(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """`last_messages` was counted when the run began: its question is still there when the transcript goes."""
    run = finish_run(door, client)
    strategy = {"type": "last_messages", "last_messages": 1}
    upstream.script(calling("call_1", text="Let me look."), Turn(text="Done."))
    waits = run_again(door, client, run, "And?", tools=[FUNCTION], truncation_strategy=strategy)
    upstream.fault(Fault("POST /responses", status=400, body=LOST))
    submit(door, client, waits)
    assert kinds(bodies(upstream)[-1]) == ["user", "assistant", "function_call", "function_call_output"]


def test_outputs_without_a_store_upstream_go_with_the_transcript_too(
    door: Door, upstream: StandIn, settings: Settings
) -> None:
    """Where everything is sent again, reasoning too, only what fits goes the second time and from then on."""
    client = door.client(upstream, replace(settings, store_responses=False))
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}", "status": "completed"}
    upstream.script(Turn(output=[reasoning, call]), calling("call_2"), Turn(text="Done."))
    run = finish_run(door, client, tools=[FUNCTION])
    upstream.fault(Fault("POST /responses", status=400, body=refusal(PAIRED)))
    submit(door, client, run)
    pair = ["function_call", "function_call_output"]
    assert [kinds(body) for body in bodies(upstream)[1:]] == [["user", "reasoning", *pair], ["user", *pair]]
    assert submit(door, client, run, "call_2").status == "completed"
    assert kinds(bodies(upstream)[-1]) == ["user", *pair, *pair]
    assert asked(upstream) == ["POST /responses"] * 4


def test_a_refusal_that_has_no_second_way_is_the_callers(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """Nothing can be left out of plain messages; at a submit the transcript is tried once, and the run waits on."""
    body = refusal("No tool output found for function call call_1.")
    upstream.fault(Fault("POST /responses", status=400, body=body))
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        finish_run(door, client)
    assert len(bodies(upstream)) == 1
    run = waiting_run(door, client, upstream)
    before = dump(settings)
    upstream.fault(Fault("POST /responses", status=400, body=body, times=9))
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        submit(door, client, run)
    assert len(bodies(upstream)) == 4
    assert dump(settings) == before
    assert look_at(door, client, run).status == "requires_action"


def test_a_streamed_run_whose_items_are_found_stale_goes_on(door: Door, client: Any, upstream: StandIn) -> None:
    """A stream that fails so is asked for again, and its reader hears only of the answer."""
    run = answered_run(door, client, upstream)
    upstream.script(late(PAIRED), Turn(text="Again."))
    runs = client.beta.threads.runs
    stream = door(runs.create(run.thread_id, assistant_id=run.assistant_id, stream=True))
    events = [event.event for event in door.all(stream)]
    assert ("thread.run.completed" in events, "thread.run.failed" in events) == (True, False)
    assert kinds(bodies(upstream)[-1]) == ["user", "assistant"]
    run_again(door, client, run)
    assert kinds(bodies(upstream)[-1]) == ["user", "assistant", "assistant"]
    assert len(bodies(upstream)) == 5
