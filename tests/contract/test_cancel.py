"""Cancelling: from every status, and what the thread is afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from doors import Door
from legacy import FUNCTION, asked, finish_run, look_at, raw, sent, start_run, submit, waiting_run

CANCEL = "POST /responses/*/cancel"


def cancel(door: Door, client: Any, run: Any) -> Any:
    """What cancelling a run answers."""
    return door(client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))


def started(door: Door, client: Any, upstream: StandIn, status: str) -> Any:
    """A run in this status."""
    if status == "requires_action":
        return waiting_run(door, client, upstream)
    upstream.script(Turn(text="Slow.", polls=9))
    run = start_run(door, client)
    return run if status == "queued" else look_at(door, client, run)


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action"])
def test_a_run_is_cancelled_from_any_status(door: Door, client: Any, upstream: StandIn, status: str) -> None:
    """The answer is `cancelling`, the next look `cancelled`; the thread is then free, and tells of no open call."""
    run = started(door, client, upstream, status)
    assert run.status == status
    answer = cancel(door, client, run)
    assert (answer.status, answer.cancelled_at, answer.required_action) == ("cancelling", None, None)
    assert answer.expires_at == run.expires_at
    # What works upstream is stopped there; a run that waits for its caller has nothing to stop.
    assert asked(upstream, CANCEL) == ([] if status == "requires_action" else [CANCEL])
    ended = look_at(door, client, run)
    assert (ended.status, ended.expires_at, ended.completed_at) == ("cancelled", None, None)
    assert ended.cancelled_at >= run.created_at
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 1
    steps = raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}/steps")["data"]
    assert [step["status"] for step in steps] == (["cancelled"] if status == "requires_action" else [])
    assert all(step["cancelled_at"] and not step["expires_at"] for step in steps)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="Again."))
    again = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert again.status == "completed"
    assert [item.get("role") for item in sent(upstream)[-1]["input"]] == ["user", "user"]


def test_what_a_cancelled_run_has_used_is_counted_once(door: Door, client: Any, upstream: StandIn) -> None:
    """The round that ended has its tokens, its message and its step once."""
    upstream.script(
        Turn(
            text="Wait.",
            function_calls=[{"name": "look", "call_id": "call_1"}],
            polls=0,
            usage={
                "input_tokens": 3,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 4,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 7,
            },
        )
    )
    run = finish_run(door, client, tools=[FUNCTION])
    cancel(door, client, run)
    assert look_at(door, client, run).usage.total_tokens == 7
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 2
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert [(step.type, step.status) for step in steps] == [
        ("tool_calls", "cancelled"),
        ("message_creation", "completed"),
    ]


def test_a_run_that_has_ended_is_not_cancelled(door: Door, client: Any, upstream: StandIn) -> None:
    """The text that client code matches, also for a run that was cancelled before; 404 for an unknown one."""
    run = finish_run(door, client)
    with pytest.raises(openai.BadRequestError) as caught:
        cancel(door, client, run)
    assert caught.value.body == {
        "message": "Cannot cancel run with status 'completed'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    other = started(door, client, upstream, "queued")
    cancel(door, client, other)
    for _ in range(2):
        with pytest.raises(openai.BadRequestError, match=r"Cannot cancel run with status 'cancelled'\."):
            cancel(door, client, other)
    with pytest.raises(openai.NotFoundError, match=r"No run found with id 'run_x'\."):
        cancel(door, client, run.model_copy(update={"id": "run_x"}))


def test_a_run_that_completed_meanwhile_stays_completed(door: Door, client: Any, upstream: StandIn) -> None:
    """Before it cancels, the library looks: what the upstream has finished is served, not lost."""
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client)
    with pytest.raises(openai.BadRequestError, match=r"Cannot cancel run with status 'completed'\."):
        cancel(door, client, run)
    assert asked(upstream, CANCEL) == []
    assert look_at(door, client, run).status == "completed"
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 2


def test_a_response_that_ends_between_look_and_cancel_is_kept(door: Door, client: Any, upstream: StandIn) -> None:
    """The upstream does not cancel what it has finished; the run ends with what was said."""
    upstream.script(Turn(text="Just in time.", polls=1))
    run = start_run(door, client)
    upstream.fault(Fault("POST /responses/*/cancel", status=400, body={"error": {"message": "Too late."}}))
    assert cancel(door, client, run).status == "cancelling"
    assert look_at(door, client, run).status == "completed"
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Just in time."


def test_calls_of_a_run_that_is_being_cancelled_are_not_awaited(door: Door, client: Any, upstream: StandIn) -> None:
    """A response that calls functions after all cancels the run; its step is cancelled and its call forgotten."""
    upstream.script(Turn(function_calls=[{"name": "look", "call_id": "call_1"}], polls=1))
    run = start_run(door, client, tools=[FUNCTION])
    upstream.fault(Fault("POST /responses/*/cancel", status=500))
    assert cancel(door, client, run).status == "cancelling"
    ended = look_at(door, client, run)
    assert (ended.status, ended.required_action) == ("cancelled", None)
    [step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert step.status == "cancelled"
    door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert [item.get("role") for item in sent(upstream)[-1]["input"]] == ["user"]


def test_a_cancel_that_the_upstream_did_not_hear_is_repeated(door: Door, client: Any, upstream: StandIn) -> None:
    """Its failure is not the caller's: the next look asks once more."""
    run = started(door, client, upstream, "in_progress")
    upstream.fault(Fault("POST /responses/*/cancel", status=503))
    assert cancel(door, client, run).status == "cancelling"
    assert look_at(door, client, run).status == "cancelling"
    assert look_at(door, client, run).status == "cancelled"
    assert asked(upstream, CANCEL) == [CANCEL] * 2


def test_the_poller_sees_a_cancelled_run_to_its_end(door: Door, client: Any, upstream: StandIn) -> None:
    """`poll` goes on over `cancelling`, and messages or runs of the thread move it too."""
    run = started(door, client, upstream, "in_progress")
    cancel(door, client, run)
    assert door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "cancelled"
    other = started(door, client, upstream, "requires_action")
    cancel(door, client, other)
    with pytest.raises(openai.BadRequestError, match='Runs in status "cancelled" do not accept tool outputs'):
        submit(door, client, other)
    third = started(door, client, upstream, "queued")
    cancel(door, client, third)
    door(client.beta.threads.messages.create(third.thread_id, role="user", content="The thread is free."))


def test_an_inline_run_is_cancelled_while_it_waits(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Nothing is asked upstream, and the thread is usable afterwards."""
    client = door.client(upstream, replace(settings, mode="inline"))
    run = waiting_run(door, client, upstream)
    assert cancel(door, client, run).status == "cancelling"
    assert look_at(door, client, run).status == "cancelled"
    assert asked(upstream) == ["POST /responses"]
    again = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert again.status == "completed"
