"""Cancelling: from every status, and what the thread is afterwards."""

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
    asked,
    finish_run,
    look_at,
    make_assistant,
    make_thread,
    raw,
    start_run,
    submit,
    waiting_run,
)
from kit.upstream_requests import bodies

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
    assert [item.get("role") for item in bodies(upstream)[-1]["input"]] == ["user", "user"]


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
    assert [(step.type, step.status, step.usage.total_tokens) for step in steps] == [
        ("tool_calls", "cancelled", 7),
        ("message_creation", "completed", 0),
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
    assert [item.get("role") for item in bodies(upstream)[-1]["input"]] == ["user"]


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


# --- an upstream that cannot be asked


LOOK = "GET /responses/*"
TROUBLES = [Fault(LOOK, status=500, times=9), Fault(LOOK, drop=True, times=9)]


@pytest.mark.parametrize("fault", [Fault(LOOK, status=404, times=9), *TROUBLES])
def test_a_run_is_cancelled_although_it_cannot_be_looked_at(
    door: Door, client: Any, upstream: StandIn, fault: Fault
) -> None:
    """An upstream that does not answer the look is told to stop all the same."""
    run = started(door, client, upstream, "queued")
    upstream.fault(fault)
    assert cancel(door, client, run).status == "cancelling"
    assert asked(upstream, CANCEL) == [CANCEL]


def test_a_cancelled_run_whose_response_is_gone_is_cancelled(door: Door, client: Any, upstream: StandIn) -> None:
    """Nothing more can come of it: the thread is free at the next look."""
    run = started(door, client, upstream, "queued")
    upstream.responses.clear()
    assert cancel(door, client, run).status == "cancelling"
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="The thread is free."))
    assert look_at(door, client, run).status == "cancelled"


@pytest.mark.parametrize("fault", TROUBLES)
def test_a_cancelled_run_is_cancelled_when_its_time_is_over(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Until then a look may still find that the response has ended, and its error is the caller's."""
    run = started(door, client, upstream, "queued")
    upstream.fault(fault)
    cancel(door, client, run)
    with pytest.raises(openai.APIError):
        look_at(door, client, run)
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601)
    assert look_at(door, client, run).status == "cancelled"


def test_the_upstreams_id_is_not_shown(door: Door, client: Any, upstream: StandIn) -> None:
    """A response that is gone upstream is a 404 that names the run, and the run stays as it was."""
    run = started(door, client, upstream, "queued")
    [id_] = upstream.responses
    upstream.responses.clear()
    with pytest.raises(openai.NotFoundError) as caught:
        look_at(door, client, run)
    assert caught.value.code == "no_response"
    assert (run.id in caught.value.response.text, id_ in caught.value.response.text) == (True, False)
    assert [each.status for each in door.all(client.beta.threads.runs.list(run.thread_id))] == ["queued"]


# --- while the upstream is asked


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, act: Callable[[], Any], *, name: str = "ask"
) -> None:
    """Let the caller do something when the upstream has taken a run, before we write that down."""
    ask = getattr(module, name)

    async def overtaken(*arguments: Any, **options: Any) -> Any:
        answer = await ask(*arguments, **options)
        monkeypatch.setattr(module, name, ask)
        done = act()
        if inspect.isawaitable(done):
            await done
        return answer

    monkeypatch.setattr(module, name, overtaken)


def test_a_run_that_is_cancelled_while_it_is_asked_for(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response that comes of the creation is stopped upstream."""
    assistant, thread, runs = make_assistant(door, client), make_thread(door, client), client.beta.threads.runs
    upstream.script(Turn(text="Slow.", polls=9))

    def act() -> Any:
        if door.kind == "async":
            return cancel_first()
        return runs.cancel(runs.list(thread.id).data[0].id, thread_id=thread.id)

    async def cancel_first() -> None:
        await runs.cancel((await runs.list(thread.id)).data[0].id, thread_id=thread.id)

    meanwhile(monkeypatch, starting, act)
    run = door(runs.create(thread.id, assistant_id=assistant.id))
    assert asked(upstream, CANCEL) == [CANCEL]
    assert look_at(door, client, run).status == "cancelled"


def test_a_run_that_is_cancelled_while_its_outputs_are_sent(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response that continues it is stopped upstream."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Slow.", polls=9))
    meanwhile(monkeypatch, tool_outputs, lambda: client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))
    submit(door, client, run)
    assert asked(upstream, CANCEL) == [CANCEL]
    assert look_at(door, client, run).status == "cancelled"


@pytest.mark.parametrize("late", [False, True], ids=["tool outputs", "asked once more"])
@pytest.mark.parametrize("deleted", [False, True], ids=["cancelled", "thread deleted"])
def test_a_response_that_came_for_a_stopped_run_is_deleted_with_its_thread(
    door: Door,
    client: Any,
    sync: Door,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    *,
    late: bool,
    deleted: bool,
) -> None:
    """The run had ended, or its thread was gone, before the response was known: it is stopped and not left upstream."""
    run = waiting_run(door, client, upstream)
    other = sync.client(upstream, settings)

    def act() -> None:
        if deleted:
            other.beta.threads.delete(run.thread_id)
        else:
            other.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
            other.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)

    slow = Turn(text="Slow.", polls=9)
    if late:  # the response that continues the run fails, and the transcript is asked for instead
        upstream.script(Turn(status="failed", error={"code": "x", "message": "Container is expired."}), slow)
        submit(door, client, run)
        meanwhile(monkeypatch, refresh, act, name="ask_again")
        for _ in range(2):
            with contextlib.suppress(openai.NotFoundError):
                look_at(door, client, run)
    else:
        upstream.script(slow)
        meanwhile(monkeypatch, tool_outputs, act)
        with contextlib.suppress(openai.NotFoundError):
            submit(door, client, run)
    assert CANCEL in asked(upstream, CANCEL)
    if not deleted:
        assert look_at(door, client, run).status == ("failed" if late else "cancelled")
        door(client.beta.threads.delete(run.thread_id))
    assert upstream.responses == {}


@pytest.mark.parametrize("module", [starting, tool_outputs])
def test_a_thread_that_is_deleted_while_the_upstream_is_asked(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    """Its run is 404, and what the upstream began for it is stopped."""
    run = waiting_run(door, client, upstream)
    if module is starting:
        cancel(door, client, run)
    upstream.script(Turn(text="Slow.", polls=9))
    meanwhile(monkeypatch, module, lambda: client.beta.threads.delete(run.thread_id))

    def create() -> Any:
        return door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))

    with pytest.raises(openai.NotFoundError):
        _ = create() if module is starting else submit(door, client, run)
    assert asked(upstream, CANCEL) == [CANCEL]


@pytest.mark.parametrize("fault", [None, Fault("POST /responses/*/cancel", status=500)])
def test_a_deleted_thread_stops_its_run_upstream(
    door: Door, client: Any, upstream: StandIn, fault: Fault | None
) -> None:
    """Nobody can ask for its result any more; that the upstream does not hear of it is not the caller's trouble."""
    run = started(door, client, upstream, "in_progress")
    if fault is not None:
        upstream.fault(fault)
    assert door(client.beta.threads.delete(run.thread_id)).deleted
    assert asked(upstream, CANCEL) == [CANCEL]
    waits = started(door, client, upstream, "requires_action")
    door(client.beta.threads.delete(waits.thread_id))
    assert asked(upstream, CANCEL) == [CANCEL], "what waits for its caller has nothing to stop"
