"""A run can be cancelled from every active status, and its thread is usable afterwards."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.io import IO
from assistants_compat.engine.runs import create as starting
from assistants_compat.engine.runs import refresh, tool_outputs
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    FUNCTION,
    finish_run,
    get_raw,
    make_assistant,
    make_thread,
    retrieve_run,
    start_run,
    submit_outputs,
    upstream_calls,
    waiting_run,
)
from kit.upstream_requests import request_bodies

CANCEL = "POST /responses/*/cancel"


def cancel(door: Door, client: Any, run: Any) -> Any:
    """Cancel a run and return the answer."""
    return door(client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))


def run_in_status(door: Door, client: Any, upstream: StandIn, status: str) -> Any:
    """Return a run in this status."""
    if status == "requires_action":
        return waiting_run(door, client, upstream)
    upstream.script(Turn(text="Slow.", polls=9))
    run = start_run(door, client)
    return run if status == "queued" else retrieve_run(door, client, run)


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action"])
def test_a_run_is_cancelled_from_any_status(door: Door, client: Any, upstream: StandIn, status: str) -> None:
    """Cancelling answers `cancelling`, the next poll `cancelled`; the thread is free, and open calls are not sent."""
    run = run_in_status(door, client, upstream, status)
    assert run.status == status
    answer = cancel(door, client, run)
    assert (answer.status, answer.cancelled_at, answer.required_action) == ("cancelling", None, None)
    assert answer.expires_at == run.expires_at
    # A run that waits for its caller has no working response to cancel.
    assert upstream_calls(upstream, CANCEL) == ([] if status == "requires_action" else [CANCEL])
    ended = retrieve_run(door, client, run)
    assert (ended.status, ended.expires_at, ended.completed_at) == ("cancelled", None, None)
    assert ended.cancelled_at >= run.created_at
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 1
    steps = get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}/steps")["data"]
    assert [step["status"] for step in steps] == (["cancelled"] if status == "requires_action" else [])
    assert all(step["cancelled_at"] and not step["expires_at"] for step in steps)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="Again."))
    later_run = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert later_run.status == "completed"
    assert [item.get("role") for item in request_bodies(upstream)[-1]["input"]] == ["user", "user"]


def test_a_cancelled_run_counts_its_finished_round_once(door: Door, client: Any, upstream: StandIn) -> None:
    """A cancelled run has the usage, message and step of its finished round once."""
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
    assert retrieve_run(door, client, run).usage.total_tokens == 7
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 2
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert [(step.type, step.status, step.usage.total_tokens) for step in steps] == [
        ("tool_calls", "cancelled", 7),
        ("message_creation", "completed", 0),
    ]


def test_a_run_that_has_ended_is_not_cancelled(door: Door, client: Any, upstream: StandIn) -> None:
    """Cancelling an ended run is the 400 that client code matches; an unknown run is a 404."""
    run = finish_run(door, client)
    with pytest.raises(openai.BadRequestError) as caught:
        cancel(door, client, run)
    assert caught.value.body == {
        "message": "Cannot cancel run with status 'completed'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    other = run_in_status(door, client, upstream, "queued")
    cancel(door, client, other)
    for _ in range(2):
        with pytest.raises(openai.BadRequestError, match=r"Cannot cancel run with status 'cancelled'\."):
            cancel(door, client, other)
    with pytest.raises(openai.NotFoundError, match=r"No run found with id 'run_x'\."):
        cancel(door, client, run.model_copy(update={"id": "run_x"}))


def test_a_run_that_completed_meanwhile_stays_completed(door: Door, client: Any, upstream: StandIn) -> None:
    """Cancelling polls the upstream first, so a finished response completes the run instead."""
    upstream.script(Turn(text="Done.", polls=0))
    run = start_run(door, client)
    with pytest.raises(openai.BadRequestError, match=r"Cannot cancel run with status 'completed'\."):
        cancel(door, client, run)
    assert upstream_calls(upstream, CANCEL) == []
    assert retrieve_run(door, client, run).status == "completed"
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 2


def test_a_response_that_ends_between_poll_and_cancel_is_kept(door: Door, client: Any, upstream: StandIn) -> None:
    """If the response finishes before the upstream's cancel, the run completes with its message."""
    upstream.script(Turn(text="Just in time.", polls=1))
    run = start_run(door, client)
    upstream.fault(Fault("POST /responses/*/cancel", status=400, body={"error": {"message": "Too late."}}))
    assert cancel(door, client, run).status == "cancelling"
    assert retrieve_run(door, client, run).status == "completed"
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Just in time."


def test_calls_of_a_run_that_is_being_cancelled_are_not_awaited(door: Door, client: Any, upstream: StandIn) -> None:
    """A run that calls functions while it is being cancelled is cancelled, and later runs omit the call."""
    upstream.script(Turn(function_calls=[{"name": "look", "call_id": "call_1"}], polls=1))
    run = start_run(door, client, tools=[FUNCTION])
    upstream.fault(Fault("POST /responses/*/cancel", status=500))
    assert cancel(door, client, run).status == "cancelling"
    ended = retrieve_run(door, client, run)
    assert (ended.status, ended.required_action) == ("cancelled", None)
    [step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert step.status == "cancelled"
    door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert [item.get("role") for item in request_bodies(upstream)[-1]["input"]] == ["user"]


def test_a_failed_cancel_is_repeated_by_the_next_poll(door: Door, client: Any, upstream: StandIn) -> None:
    """A cancel that the upstream failed is not the caller's error: the next poll repeats it."""
    run = run_in_status(door, client, upstream, "in_progress")
    upstream.fault(Fault("POST /responses/*/cancel", status=503))
    assert cancel(door, client, run).status == "cancelling"
    assert retrieve_run(door, client, run).status == "cancelling"
    assert retrieve_run(door, client, run).status == "cancelled"
    assert upstream_calls(upstream, CANCEL) == [CANCEL] * 2


def test_a_cancelling_run_ends_with_the_next_call(door: Door, client: Any, upstream: StandIn) -> None:
    """`poll`, submitted tool outputs and a new message each bring a `cancelling` run to `cancelled`."""
    run = run_in_status(door, client, upstream, "in_progress")
    cancel(door, client, run)
    assert door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "cancelled"
    other = run_in_status(door, client, upstream, "requires_action")
    cancel(door, client, other)
    with pytest.raises(openai.BadRequestError, match='Runs in status "cancelled" do not accept tool outputs'):
        submit_outputs(door, client, other)
    third = run_in_status(door, client, upstream, "queued")
    cancel(door, client, third)
    door(client.beta.threads.messages.create(third.thread_id, role="user", content="The thread is free."))


def test_an_inline_run_is_cancelled_while_it_waits(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Cancelling an inline run that waits for outputs sends nothing upstream and frees the thread."""
    client = door.client(upstream, replace(settings, mode="inline"))
    run = waiting_run(door, client, upstream)
    assert cancel(door, client, run).status == "cancelling"
    assert retrieve_run(door, client, run).status == "cancelled"
    assert upstream_calls(upstream) == ["POST /responses"]
    later_run = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert later_run.status == "completed"


# --- an upstream that does not answer


POLL = "GET /responses/*"
POLL_FAULTS = [Fault(POLL, status=500, times=9), Fault(POLL, drop=True, times=9)]


@pytest.mark.parametrize("fault", [Fault(POLL, status=404, times=9), *POLL_FAULTS])
def test_a_run_is_cancelled_although_it_cannot_be_polled(
    door: Door, client: Any, upstream: StandIn, fault: Fault
) -> None:
    """The upstream's response is cancelled although the poll before it failed."""
    run = run_in_status(door, client, upstream, "queued")
    upstream.fault(fault)
    assert cancel(door, client, run).status == "cancelling"
    assert upstream_calls(upstream, CANCEL) == [CANCEL]


def test_a_cancelled_run_whose_response_is_gone_is_cancelled(door: Door, client: Any, upstream: StandIn) -> None:
    """A cancelled run whose response no longer exists upstream frees its thread at the next poll."""
    run = run_in_status(door, client, upstream, "queued")
    upstream.responses.clear()
    assert cancel(door, client, run).status == "cancelling"
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="The thread is free."))
    assert retrieve_run(door, client, run).status == "cancelled"


@pytest.mark.parametrize("fault", POLL_FAULTS)
def test_a_cancelled_run_is_cancelled_when_its_time_is_over(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """While polls fail, a `cancelling` run raises the upstream's error; past its time it is `cancelled`."""
    run = run_in_status(door, client, upstream, "queued")
    upstream.fault(fault)
    cancel(door, client, run)
    with pytest.raises(openai.APIError):
        retrieve_run(door, client, run)
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601)
    assert retrieve_run(door, client, run).status == "cancelled"


def test_the_upstreams_response_id_is_not_shown(door: Door, client: Any, upstream: StandIn) -> None:
    """Polling a run whose response is gone is a 404 that names the run and not the response."""
    run = run_in_status(door, client, upstream, "queued")
    [id_] = upstream.responses
    upstream.responses.clear()
    with pytest.raises(openai.NotFoundError) as caught:
        retrieve_run(door, client, run)
    assert caught.value.code == "no_response"
    assert (run.id in caught.value.response.text, id_ in caught.value.response.text) == (True, False)
    assert [listed_run.status for listed_run in door.all(client.beta.threads.runs.list(run.thread_id))] == ["queued"]


# --- during a request to the upstream


def act_during_request(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, act: Callable[[], Any], *, name: str = "create_response"
) -> None:
    """Let `act` run once, after the upstream has accepted a response and before the library stores that."""
    send = getattr(module, name)

    async def overtaken_request(*arguments: Any, **options: Any) -> Any:
        answer = await send(*arguments, **options)
        monkeypatch.setattr(module, name, send)
        result = act()
        if inspect.isawaitable(result):
            await result
        return answer

    monkeypatch.setattr(module, name, overtaken_request)


def test_a_run_cancelled_during_its_creation_is_cancelled_upstream(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is cancelled during its creation has its new response cancelled upstream."""
    assistant, thread, runs = make_assistant(door, client), make_thread(door, client), client.beta.threads.runs
    upstream.script(Turn(text="Slow.", polls=9))

    def act() -> Any:
        if door.kind == "async":
            return cancel_first()
        return runs.cancel(runs.list(thread.id).data[0].id, thread_id=thread.id)

    async def cancel_first() -> None:
        await runs.cancel((await runs.list(thread.id)).data[0].id, thread_id=thread.id)

    act_during_request(monkeypatch, starting, act)
    run = door(runs.create(thread.id, assistant_id=assistant.id))
    assert upstream_calls(upstream, CANCEL) == [CANCEL]
    assert retrieve_run(door, client, run).status == "cancelled"


def test_a_run_cancelled_during_a_submit_is_cancelled_upstream(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is cancelled while its outputs are submitted has its next response cancelled upstream."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Slow.", polls=9))
    act_during_request(
        monkeypatch, tool_outputs, lambda: client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    )
    submit_outputs(door, client, run)
    assert upstream_calls(upstream, CANCEL) == [CANCEL]
    assert retrieve_run(door, client, run).status == "cancelled"


@pytest.mark.parametrize("is_retry", [False, True], ids=["tool outputs", "asked once more"])
@pytest.mark.parametrize("is_thread_deleted", [False, True], ids=["cancelled", "thread deleted"])
def test_a_late_response_of_a_stopped_run_is_deleted_with_its_thread(
    door: Door,
    client: Any,
    sync: Door,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_retry: bool,
    is_thread_deleted: bool,
) -> None:
    """A response accepted after its run or thread ended is cancelled, and deleted with the thread."""
    run = waiting_run(door, client, upstream)
    other = sync.client(upstream, settings)

    def act() -> None:
        if is_thread_deleted:
            other.beta.threads.delete(run.thread_id)
        else:
            other.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
            other.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)

    slow = Turn(text="Slow.", polls=9)
    if is_retry:  # the continued response fails, so the run's transcript is sent instead
        upstream.script(Turn(status="failed", error={"code": "server_error", "message": "Container is expired."}), slow)
        submit_outputs(door, client, run)
        act_during_request(monkeypatch, refresh, act, name="retry_with_less_input")
        for _ in range(2):
            with contextlib.suppress(openai.NotFoundError):
                retrieve_run(door, client, run)
    else:
        upstream.script(slow)
        act_during_request(monkeypatch, tool_outputs, act)
        with contextlib.suppress(openai.NotFoundError):
            submit_outputs(door, client, run)
    assert CANCEL in upstream_calls(upstream, CANCEL)
    if not is_thread_deleted:
        assert retrieve_run(door, client, run).status == ("failed" if is_retry else "cancelled")
        door(client.beta.threads.delete(run.thread_id))
    assert upstream.responses == {}


@pytest.mark.parametrize("module", [starting, tool_outputs])
def test_a_thread_deleted_during_a_request_cancels_the_response(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    """If the thread is deleted during the request, the caller gets a 404 and the response is cancelled."""
    run = waiting_run(door, client, upstream)
    if module is starting:
        cancel(door, client, run)
    upstream.script(Turn(text="Slow.", polls=9))
    act_during_request(monkeypatch, module, lambda: client.beta.threads.delete(run.thread_id))

    def create() -> Any:
        return door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))

    with pytest.raises(openai.NotFoundError):
        _ = create() if module is starting else submit_outputs(door, client, run)
    assert upstream_calls(upstream, CANCEL) == [CANCEL]


@pytest.mark.parametrize("fault", [None, Fault("POST /responses/*/cancel", status=500)])
def test_a_deleted_thread_cancels_its_run_upstream(
    door: Door, client: Any, upstream: StandIn, fault: Fault | None
) -> None:
    """Deleting a thread cancels its working response, and succeeds although the cancel fails."""
    run = run_in_status(door, client, upstream, "in_progress")
    if fault is not None:
        upstream.fault(fault)
    assert door(client.beta.threads.delete(run.thread_id)).deleted
    assert upstream_calls(upstream, CANCEL) == [CANCEL]
    waiting = run_in_status(door, client, upstream, "requires_action")
    door(client.beta.threads.delete(waiting.thread_id))
    assert upstream_calls(upstream, CANCEL) == [CANCEL], "a waiting run has nothing to cancel"
