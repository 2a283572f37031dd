"""Gateways and other servers: what they forget, do not serve or leave out is noticed, and runs end all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.runtime.upstream_memory import BoundMemory
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    finish_run,
    retrieve_run,
    run_again,
    start_run,
    submit_outputs,
    upstream_calls,
)
from kit.upstream_requests import request_bodies

POST, GET = "POST /responses", "GET /responses/*"
PAIR = ["function_call", "function_call_output"]
BRIDGE_ERROR = {"error": {"message": "GET responses is not supported", "type": None, "param": None, "code": "500"}}


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing between two looks."""
    monkeypatch.setattr("assistants_compat.engine.runs.refresh._NOT_FOUND_PAUSES", (0.001, 0.001))


def kinds(body: Any) -> list[str]:
    """Return the roles or types of a request's input items."""
    return [str(item.get("type") or item["role"]) for item in body["input"]]


def answer(output: list[Any], **fields: Any) -> dict[str, Any]:
    """Return a response as a gateway sends it: complete at once, with an id of its own."""
    return {
        "id": "chatcmpl-1",
        "object": "response",
        "model": "gpt-4o",
        "status": "completed",
        "output": output,
        **fields,
    }


def call(call_id: str) -> dict[str, Any]:
    """Return a function call as output."""
    return {"type": "function_call", "call_id": call_id, "name": "look", "arguments": "{}", "status": "completed"}


def message(text: str) -> dict[str, Any]:
    """Return a message as output."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def send(upstream: StandIn, *bodies: Any, status: int = 200) -> None:
    """Answer the next requests for responses with these bodies."""
    for body in bodies:
        upstream.fault(Fault(POST, status=status, body=body))


# --- a conversation that is forgotten


@pytest.mark.refusal("conversation_forgotten")
def test_a_gateway_that_forgets_the_conversation_gets_the_runs_own_items(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """LiteLLM's bridge shows it only by a GET that it does not serve: one look, and then everything is sent."""
    send(upstream, answer([call("call_1")]), answer([call("call_2")], id="chatcmpl-2"), answer([message("Done.")]))
    upstream.fault(Fault(GET, status=500, body=BRIDGE_ERROR, times=9))
    run = finish_run(door, client, assistant={"tools": [{"type": "function", "function": {"name": "look"}}]})
    submit_outputs(door, client, run)
    assert submit_outputs(door, client, run, "call_2").status == "completed"
    assert [kinds(body) for body in request_bodies(upstream)] == [["user"], ["user", *PAIR], ["user", *PAIR, *PAIR]]
    assert not any("previous_response_id" in body for body in request_bodies(upstream))
    assert [request.method for request in upstream.requests] == ["POST", "GET", "POST", "POST"]


@pytest.mark.refusal("conversation_forgotten")
def test_a_gateway_that_serves_its_responses_is_asked_once(door: Door, client: Any, upstream: StandIn) -> None:
    """Other ids alone are no reason: after one response that could be retrieved, rounds are continued as usual."""
    send(upstream, answer([call("call_1")]), answer([call("call_2")], id="chatcmpl-2"), answer([message("Done.")]))
    upstream.fault(Fault(GET, status=200, body=answer([call("call_1")])))
    run = finish_run(door, client, assistant={"tools": [{"type": "function", "function": {"name": "look"}}]})
    submit_outputs(door, client, run)
    assert submit_outputs(door, client, run, "call_2").status == "completed"
    continued = [body.get("previous_response_id") for body in request_bodies(upstream)]
    assert continued == [None, "chatcmpl-1", "chatcmpl-2"]
    assert [request.method for request in upstream.requests] == ["POST", "GET", "POST", "POST"]


@pytest.mark.refusal("conversation_forgotten")
def test_a_server_error_that_may_pass_is_no_verdict(door: Door, client: Any, upstream: StandIn) -> None:
    """A 500 that does not speak of the route says nothing: the next round looks again, and rounds are continued."""
    send(upstream, answer([call("call_1")]), answer([call("call_2")], id="chatcmpl-2"), answer([message("Done.")]))
    upstream.fault(Fault(GET, status=500, body={"error": {"message": "The server had an error."}}))
    upstream.fault(Fault(GET, status=200, body=answer([call("call_2")], id="chatcmpl-2")))
    run = finish_run(door, client, assistant={"tools": [{"type": "function", "function": {"name": "look"}}]})
    submit_outputs(door, client, run)
    assert submit_outputs(door, client, run, "call_2").status == "completed"
    continued = [body.get("previous_response_id") for body in request_bodies(upstream)]
    assert continued == [None, "chatcmpl-1", "chatcmpl-2"]


# --- a background response that is not served


UNSERVED = [Fault(GET, status=405, times=99), Fault(GET, status=501, html=True, times=99)]
UNSERVED += [Fault(GET, status=404, body={"error": {"message": "No route for GET"}}, times=99)]


@pytest.mark.refusal("response_not_served")
@pytest.mark.parametrize("fault", UNSERVED, ids=["405", "501", "404"])
def test_a_background_response_that_is_not_served_is_asked_for_inline(
    door: Door, client: Any, upstream: StandIn, fault: Fault
) -> None:
    """The first look ends the mode for the upstream; the run completes, and its thread is free."""
    upstream.fault(fault)
    run = finish_run(door, client)
    assert run.status == "completed"
    assert run_again(door, client, run, "And?").status == "completed"
    assert ["background" in body for body in request_bodies(upstream)] == [True, False, False]


@pytest.mark.refusal("response_not_served")
def test_a_run_with_code_is_not_repeated(door: Door, client: Any, upstream: StandIn) -> None:
    """Its code may have run already: the run fails and says what to set, and the thread is free."""
    upstream.fault(UNSERVED[0])
    run = finish_run(door, client, assistant={"tools": CODE})
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert "mode='inline'" in run.last_error.message
    assert run_again(door, client, run, "And?").status == "completed"
    assert ["background" in body for body in request_bodies(upstream)] == [True, False]


@pytest.mark.refusal("response_not_served")
def test_a_run_that_must_be_in_the_background_fails(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `mode="background"` nothing is created inline."""
    client = door.client(upstream, replace(settings, mode="background"))
    upstream.fault(UNSERVED[0])
    assert finish_run(door, client).status == "failed"
    assert len(request_bodies(upstream)) == 1


@pytest.mark.refusal("response_not_served")
def test_a_run_that_is_not_served_can_be_cancelled(door: Door, client: Any, upstream: StandIn) -> None:
    """Cancelling repeats nothing, and the next poll frees the thread."""
    upstream.fault(UNSERVED[0])
    run = start_run(door, client)
    door(client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))
    assert retrieve_run(door, client, run).status == "cancelled"
    assert len(request_bodies(upstream)) == 1


def test_a_response_that_was_deleted_does_not_end_the_mode(door: Door, client: Any, upstream: StandIn) -> None:
    """The service's own 404, or any after a response that was served, may have another cause: the run stays."""
    finish_run(door, client)
    run = start_run(door, client)
    upstream.fault(Fault(GET, status=404, body={"error": {"message": "No route"}}))
    with pytest.raises(openai.NotFoundError):
        retrieve_run(door, client, run)
    assert door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"
    assert ["background" in body for body in request_bodies(upstream)] == [True, True]


# --- answers of another form


def test_a_response_without_status_is_complete(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With output and without `background` it has ended: the spec does not require the key."""
    client = door.client(upstream, replace(settings, mode="inline"))
    body = answer([message("Hello.")])
    del body["status"]
    send(upstream, body)
    assert finish_run(door, client).status == "completed"
    assert upstream_calls(upstream) == [POST]


def test_a_success_that_is_an_error_gives_the_upstreams_words(door: Door, client: Any, upstream: StandIn) -> None:
    """The caller sees the message of a gateway that answers errors with 200."""
    send(upstream, {"error": {"message": "No fixture matched.", "code": 429}})
    with pytest.raises(openai.RateLimitError, match=r"No fixture matched\."):
        finish_run(door, client)


def test_a_success_that_is_an_error_is_recovered_like_one(door: Door, client: Any, upstream: StandIn) -> None:
    """The remedies know it as well: a thread that is too long is shortened."""
    run = finish_run(door, client)
    run_again(door, client, run, "two")
    before = len(request_bodies(upstream))
    send(upstream, {"error": {"message": "This model's maximum context length is 8192 tokens.", "code": 400}})
    assert run_again(door, client, run, "three").status == "completed"
    assert len(request_bodies(upstream)) - before == 2


# --- outputs of code in the background


def code_call(*outputs: Any) -> dict[str, Any]:
    """Return a code call as output."""
    call_ = {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "container_id": "cntr_1"}
    return {**call_, "code": "print(42)", "outputs": list(outputs)}


def logs_of(door: Door, client: Any, run: Any) -> list[str]:
    """Return what the code of a run has printed, as its steps say."""
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    calls = [call_ for step in steps if step.type == "tool_calls" for call_ in step.step_details.tool_calls]
    return [output.logs for call_ in calls for output in call_.code_interpreter.outputs]


@pytest.mark.refusal("code_outputs_missing")
def test_missing_outputs_of_code_are_asked_for_once_more(door: Door, client: Any, upstream: StandIn) -> None:
    """Code that printed and has no outputs: the response is retrieved again, with the include."""
    upstream.script(Turn(code="print(42)", logs="42", text="42.", polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    upstream.fault(Fault(GET, status=200, body=answer([code_call(), message("42.")], background=True)))
    assert retrieve_run(door, client, run).status == "completed"
    assert logs_of(door, client, run) == ["42"]
    gets = [request for request in upstream.requests if request.method == "GET" and "/responses/" in request.path]
    assert len(gets) == 2


@pytest.mark.refusal("code_outputs_missing")
def test_outputs_that_stay_missing_end_the_run_all_the_same(
    door: Door, client: Any, upstream: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Each response is retrieved once more, and the log says once what to check."""
    for _ in range(2):
        upstream.fault(Fault(GET, status=200, body=answer([code_call(), message("42.")], background=True), times=2))
        assert finish_run(door, client, assistant={"tools": CODE}).status == "completed"
    assert sum("doctor --live" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.refusal("code_outputs_missing")
@pytest.mark.parametrize("turn", [Turn(code="print(42)", logs="42", text="42."), Turn(code="x = 1", text="Done.")])
def test_outputs_that_are_there_cost_nothing(door: Door, client: Any, upstream: StandIn, turn: Turn) -> None:
    """Neither do those of code that prints nothing."""
    upstream.script(replace(turn, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    assert retrieve_run(door, client, run).status == "completed"
    assert upstream_calls(upstream, GET) == [GET]


@pytest.mark.refusal("code_outputs_missing")
def test_runs_with_code_are_inline_once_it_is_known(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict of `doctor --live` makes runs with code inline, and no others."""
    monkeypatch.setattr(BoundMemory, "knows", lambda _self, name, _key="": name == "code_outputs_missing")
    finish_run(door, client, assistant={"tools": CODE})
    finish_run(door, client)
    assert ["background" in body for body in request_bodies(upstream)] == [False, True]
