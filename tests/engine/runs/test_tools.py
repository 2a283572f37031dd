"""A run waits for the outputs of its function calls, gets them, and continues under one id."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.io import IO
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    FUNCTION,
    finish_run,
    function_call_turn,
    get_raw,
    make_assistant,
    make_thread,
    retrieve_run,
    submit_outputs,
    upstream_calls,
    waiting_run,
)
from kit.upstream_requests import request_bodies


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Return token counts as the upstream sends them."""
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": prompt + completion,
    }


def list_steps(door: Door, client: Any, run: Any) -> list[Any]:
    """Return the steps of a run as served, oldest first."""
    steps = get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}/steps?order=asc")["data"]
    return list(steps)


def poll(door: Door, client: Any, run: Any) -> Any:
    """Poll a run until it has ended or waits."""
    return door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))


def test_a_waiting_run_shows_its_calls_as_recorded(door: Door, client: Any, upstream: StandIn) -> None:
    """A waiting run names its calls by the upstream's `call_id` as recorded, and polls send nothing upstream."""
    run = waiting_run(door, client, upstream, "call_1")
    served = get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")
    assert served["required_action"] == {
        "type": "submit_tool_outputs",
        "submit_tool_outputs": {
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "call_1"}'}}
            ]
        },
    }
    assert (served["usage"], served["completed_at"], served["last_error"]) == (None, None, None)
    assert served["started_at"] is not None
    assert served["expires_at"] == served["created_at"] + 600
    requests = len(upstream.requests)
    assert retrieve_run(door, client, run).status == "requires_action"
    assert len(upstream.requests) == requests, "a waiting run was retrieved upstream"


def test_outputs_continue_the_response_with_the_call(door: Door, client: Any, upstream: StandIn) -> None:
    """Submitted outputs are sent with `previous_response_id` as the only input, and the queued run is returned."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Found it."))
    queued = submit_outputs(door, client, run)
    assert (queued.id, queued.status, queued.required_action) == (run.id, "queued", None)
    assert queued.expires_at == run.expires_at
    first, second = request_bodies(upstream)
    assert second == {
        **{key: value for key, value in first.items() if key != "input"},
        "previous_response_id": next(iter(upstream.responses)),
        "input": [{"type": "function_call_output", "call_id": "call_1", "output": "CALL_1"}],
    }
    ended = poll(door, client, run)
    assert (ended.id, ended.status, ended.expires_at) == (run.id, "completed", None)
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Found it."


def test_submit_and_poll_goes_through_several_rounds(door: Door, client: Any, upstream: StandIn) -> None:
    """A run may call functions in several rounds under one id, each of which continues the one before."""
    run = waiting_run(door, client, upstream, "call_0")
    upstream.script(function_call_turn("call_1"), function_call_turn("call_2"), Turn(text="At last."))
    runs = client.beta.threads.runs
    for round_ in range(3):
        outputs = [{"tool_call_id": f"call_{round_}", "output": str(round_)}]
        polled = door(runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs))
        assert polled.id == run.id
        assert polled.status == ("completed" if round_ == 2 else "requires_action")
    ids = list(upstream.responses)
    assert [body.get("previous_response_id") for body in request_bodies(upstream)] == [None, *ids[:3]]
    assert [step["type"] for step in list_steps(door, client, run)] == ["tool_calls"] * 3 + ["message_creation"]


def test_parallel_calls_are_one_step_and_need_all_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """Parallel calls of one response form one step and take their outputs together, in any order."""
    run = waiting_run(door, client, upstream, "call_a", "call_b", extra_body={"parallel_tool_calls": True})
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_a", "call_b"]
    assert [len(step["step_details"]["tool_calls"]) for step in list_steps(door, client, run)] == [2]
    upstream.script(Turn(text="Both."))
    submit_outputs(door, client, run, "call_b", "call_a")
    assert [item["output"] for item in request_bodies(upstream)[1]["input"]] == ["CALL_B", "CALL_A"]
    assert poll(door, client, run).status == "completed"
    [step, _] = list_steps(door, client, run)
    outputs = [call["function"]["output"] for call in step["step_details"]["tool_calls"]]
    assert outputs == ["CALL_A", "CALL_B"]


@pytest.mark.parametrize(
    ("call_ids", "shown_ids"),
    [
        (["a"], "['a']"),
        (["a", "b", "c"], "['a', 'b', 'c']"),
        (["a", "a"], "['a', 'a']"),
        (["a", "b", "b"], "['a', 'b', 'b']"),
        ([], "[]"),
    ],
)
def test_missing_surplus_or_repeated_outputs_are_refused(
    door: Door, client: Any, upstream: StandIn, call_ids: list[str], shown_ids: str
) -> None:
    """Missing, surplus and repeated outputs are refused with the exact text, and the run keeps waiting."""
    run = waiting_run(door, client, upstream, "a", "b")
    outputs = [{"tool_call_id": call_id, "output": "x"} for call_id in call_ids]
    with pytest.raises(openai.BadRequestError) as caught:
        door(client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs))
    assert caught.value.body == {
        "message": f"Expected tool outputs for call_ids ['a', 'b'], got {shown_ids}",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert len(request_bodies(upstream)) == 1
    assert submit_outputs(door, client, run, "a", "b").status == "queued"


def test_an_output_may_omit_the_only_call_id(door: Door, client: Any, upstream: StandIn) -> None:
    """An output without `tool_call_id` and `output` answers the only call with an empty string, as the spec allows."""
    run = waiting_run(door, client, upstream)
    submitted = client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=[{}])
    assert door(submitted).status == "queued"
    assert request_bodies(upstream)[1]["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": ""}]


def test_an_output_may_have_the_documented_size(door: Door, client: Any, upstream: StandIn) -> None:
    """An output of 10,485,760 characters is accepted; one more is refused before any upstream request."""
    run = waiting_run(door, client, upstream)
    runs = client.beta.threads.runs
    outputs = [{"tool_call_id": "call_1", "output": "x" * 10_485_761}]
    with pytest.raises(openai.BadRequestError, match="maximum length 10485760"):
        door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs))
    outputs = [{"tool_call_id": "call_1", "output": "x" * 10_485_760}]
    assert door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs)).status == "queued"


def test_a_run_that_does_not_wait_takes_no_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """Outputs for a run that does not wait are refused with the recorded 400, and for an unknown run with a 404."""
    upstream.script(Turn(text="Slow.", polls=2))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    run = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    for status in ("in_progress", "in_progress", "completed"):
        with pytest.raises(openai.BadRequestError) as caught:
            submit_outputs(door, client, run)
        assert caught.value.body == {
            "message": f'Runs in status "{status}" do not accept tool outputs.',
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    with pytest.raises(openai.NotFoundError, match=r"No run found with id 'run_x'\."):
        submit_outputs(door, client, run.model_copy(update={"id": "run_x"}))


@pytest.mark.parametrize(
    ("choice", "sent_choice"),
    [
        ("none", "none"),
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "look"}}, {"type": "function", "name": "look"}),
        ({"type": "code_interpreter"}, {"type": "code_interpreter"}),
    ],
)
def test_a_tool_choice_is_sent_upstream(
    door: Door, client: Any, upstream: StandIn, choice: Any, sent_choice: Any
) -> None:
    """A tool choice is sent upstream, a function's without its nesting, and the run shows it as it was set."""
    run = finish_run(door, client, tools=[FUNCTION, *CODE], tool_choice=choice)
    assert get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["tool_choice"] == choice
    assert request_bodies(upstream)[0]["tool_choice"] == sent_choice


def test_a_forced_call_is_forced_once(door: Door, client: Any, upstream: StandIn) -> None:
    """A forced tool choice is sent only in the first round, because the run would never end otherwise."""
    run = waiting_run(door, client, upstream, tool_choice="required")
    upstream.script(Turn(text="Done."))
    submit_outputs(door, client, run)
    assert [body.get("tool_choice") for body in request_bodies(upstream)] == ["required", None]
    assert poll(door, client, run).tool_choice == "required"


@pytest.mark.parametrize(("options", "strict"), [({}, False), ({"strict": True}, True), ({"strict": None}, False)])
def test_strict_is_always_sent(door: Door, client: Any, upstream: StandIn, options: Any, strict: bool) -> None:  # noqa: FBT001 - a value of the table
    """A function is sent flattened with an explicit `strict`, and served in the legacy shape."""
    parameters = {"type": "object", "properties": {}, "additionalProperties": False}
    function = {"name": "look", "description": "Looks.", "parameters": parameters, **options}
    run = finish_run(door, client, tools=[{"type": "function", "function": function}])
    assert request_bodies(upstream)[0]["tools"] == [{"type": "function", **function, "strict": strict}]
    [tool] = get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["tools"]
    assert tool == {"type": "function", "function": {**function, "strict": strict}}


def test_a_step_waits_with_its_run_and_ends_with_the_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """A function step is in progress while its run waits, then completed with outputs and usage."""
    upstream.script(function_call_turn("call_1", usage=usage(10, 5)))
    run = finish_run(door, client, tools=[FUNCTION])
    [step] = list_steps(door, client, run)
    assert (step["status"], step["usage"], step["completed_at"]) == ("in_progress", None, None)
    assert step["expires_at"] == run.expires_at
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "call_1"}'}}
    waiting = {**call, "function": {**call["function"], "output": None}}  # type: ignore[dict-item]
    assert step["step_details"] == {"type": "tool_calls", "tool_calls": [waiting]}
    upstream.script(Turn(text="Done.", usage=usage(20, 7)))
    submit_outputs(door, client, run)
    run = poll(door, client, run)
    calls_step, message_step = list_steps(door, client, run)
    assert calls_step["id"] == step["id"]
    assert (calls_step["status"], calls_step["expires_at"]) == ("completed", None)
    assert calls_step["completed_at"] >= step["created_at"]
    assert calls_step["step_details"]["tool_calls"][0]["function"]["output"] == "CALL_1"
    assert (calls_step["usage"]["total_tokens"], message_step["usage"]["total_tokens"]) == (15, 27)
    assert get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["usage"] == {
        "prompt_tokens": 30,
        "completion_tokens": 12,
        "total_tokens": 42,
        "prompt_token_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }


def test_each_round_sets_started_at_and_keeps_expires_at(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round sets `started_at` anew (recorded), and `expires_at` stays that of the run."""
    upstream.script(function_call_turn("call_1", polls=1))
    run = finish_run(door, client, tools=[FUNCTION])
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 15)
    upstream.script(Turn(text="Done.", polls=1))
    queued = submit_outputs(door, client, run)
    assert (queued.started_at, queued.expires_at) == (run.started_at, run.expires_at)
    working = retrieve_run(door, client, run)
    assert working.status == "in_progress"
    assert working.started_at >= run.started_at + 14
    assert working.expires_at == run.expires_at


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST /responses", status=500, body={"error": {"message": "Oops.", "type": "server_error"}}),
        Fault("POST /responses", status=429, body={"error": {"message": "Slow down.", "type": "requests"}}),
        Fault("POST /responses", drop=True),
    ],
)
def test_a_failure_at_submit_leaves_the_run_waiting(door: Door, client: Any, upstream: StandIn, fault: Fault) -> None:
    """After an upstream failure at submit the run still waits, and the same outputs can be submitted again."""
    run = waiting_run(door, client, upstream)
    steps = list_steps(door, client, run)
    upstream.fault(fault)
    with pytest.raises(openai.APIError):
        submit_outputs(door, client, run)
    assert retrieve_run(door, client, run) == run
    assert list_steps(door, client, run) == steps
    upstream.script(Turn(text="Done."))
    assert submit_outputs(door, client, run).status == "queued"
    assert poll(door, client, run).status == "completed"


def test_the_sdk_repeats_a_failed_submit_by_itself(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With retries enabled, the SDK repeats a submit that failed upstream."""
    client = door.client(upstream, settings, max_retries=1)
    run = waiting_run(door, client, upstream)
    upstream.fault(Fault("POST /responses", status=500, headers={"retry-after-ms": "1"}))
    assert submit_outputs(door, client, run).status == "queued"
    assert len(request_bodies(upstream)) == 3


def test_one_of_two_simultaneous_submits_is_accepted(upstream: StandIn, settings: Settings) -> None:
    """Of two simultaneous submits one is sent upstream, and the other gets the 400 for a run that does not wait."""
    door = Door("sync")
    client = door.client(upstream, settings)
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Done.", polls=9))
    upstream.fault(Fault("POST /responses", stall=0.5))
    barrier, results = threading.Barrier(2), []

    def submit() -> None:
        barrier.wait()
        try:
            results.append(submit_outputs(door, client, run).status)
        except openai.BadRequestError as error:
            results.append(str(error.body["message"]))  # type: ignore[index]

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refusal, status = sorted(results)
    assert status == "queued"
    assert refusal.startswith('Runs in status "')
    assert refusal.endswith('" do not accept tool outputs.')
    assert len(request_bodies(upstream)) == 2
    door.close()


def test_a_later_run_sends_earlier_calls(door: Door, client: Any, upstream: StandIn) -> None:
    """A later run sends earlier calls and outputs between the messages, by `call_id` and without upstream ids."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Found."))
    submit_outputs(door, client, run)
    assert poll(door, client, run).status == "completed"
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And?"))
    door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert request_bodies(upstream)[-1]["input"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello."}]},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "call_1"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "CALL_1"},
        {"role": "assistant", "content": "Found."},
        {"role": "user", "content": [{"type": "input_text", "text": "And?"}]},
    ]
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 4, "a call was listed as a message"


def test_text_before_a_call_is_a_message(door: Door, client: Any, upstream: StandIn) -> None:
    """Text before a call is a message while the run waits, and precedes the call in later runs."""
    upstream.script(function_call_turn("call_1", text="Let me look."), Turn(text="Done."))
    run = finish_run(door, client, tools=[FUNCTION])
    [message, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert message.content[0].text.value == "Let me look."
    submit_outputs(door, client, run)
    assert poll(door, client, run).status == "completed"
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 3
    door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    kinds = [item.get("type") or item["role"] for item in request_bodies(upstream)[-1]["input"]]
    assert kinds == ["user", "assistant", "function_call", "function_call_output", "assistant"]


def test_a_waiting_run_locks_its_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """A waiting run's thread refuses messages and other runs, but the run's metadata can change."""
    run = waiting_run(door, client, upstream)
    with pytest.raises(openai.BadRequestError, match=f"while a run {run.id} is active"):
        door(client.beta.threads.messages.create(run.thread_id, role="user", content="x"))
    with pytest.raises(openai.BadRequestError, match=f"already has an active run {run.id}"):
        door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    updated = door(client.beta.threads.runs.update(run.id, thread_id=run.thread_id, metadata={"a": "1"}))
    assert updated.status == "requires_action"
    assert submit_outputs(door, client, run).metadata == {"a": "1"}


def test_an_inline_run_waits_and_continues(door: Door, upstream: StandIn, settings: Settings) -> None:
    """In inline mode each round of a run is one blocking request."""
    client = door.client(upstream, replace(settings, mode="inline"))
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Done."))
    assert submit_outputs(door, client, run).status == "completed"
    assert upstream_calls(upstream) == ["POST /responses"] * 2


def test_a_run_that_waits_too_long_expires(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past `run_ttl` a waiting run and its step expire, late outputs are refused, and the thread is free."""
    client = door.client(upstream, replace(settings, run_ttl=60))
    upstream.script(function_call_turn("call_1", usage=usage(10, 5)))
    run = finish_run(door, client, tools=[FUNCTION])
    assert run.expires_at == run.created_at + 60
    requests = len(upstream.requests)
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 61)
    with pytest.raises(openai.BadRequestError) as caught:
        submit_outputs(door, client, run)
    assert caught.value.body["message"] == 'Runs in status "expired" do not accept tool outputs.'  # type: ignore[index]
    expired = retrieve_run(door, client, run)
    assert (expired.status, expired.expires_at, expired.required_action) == ("expired", None, None)
    assert expired.usage.total_tokens == 15
    assert len(upstream.requests) == requests, "a waiting run was retrieved upstream at its end"
    [step] = list_steps(door, client, run)
    assert (step["status"], step["completed_at"], step["usage"]["total_tokens"]) == ("expired", None, 15)
    assert step["expired_at"] >= run.created_at + 60
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="Again."))
    later_run = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert later_run.status == "completed"
    assert [item.get("role") for item in request_bodies(upstream)[-1]["input"]] == ["user", "user"], (
        "the unanswered call was sent"
    )
