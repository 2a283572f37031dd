"""Function tools: a run waits for their outputs, gets them, and goes on under one id."""

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
    asked,
    calling,
    finish_run,
    look_at,
    make_assistant,
    make_thread,
    raw,
    submit,
    waiting_run,
)
from kit.upstream_requests import bodies


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Tokens as the upstream counts them."""
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": prompt + completion,
    }


def steps_of(door: Door, client: Any, run: Any) -> list[Any]:
    """The steps of a run as served, oldest first."""
    steps = raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}/steps?order=asc")["data"]
    return list(steps)


def poll(door: Door, client: Any, run: Any) -> Any:
    """The run when it has ended or waits."""
    return door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))


def test_a_waiting_run_shows_its_calls_as_recorded(door: Door, client: Any, upstream: StandIn) -> None:
    """`required_action` names the calls by the upstream's `call_id`; nothing else of the run has ended."""
    run = waiting_run(door, client, upstream, "call_1")
    served = raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")
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
    assert look_at(door, client, run).status == "requires_action"
    assert len(upstream.requests) == requests, "a run that waits for its caller is not asked for upstream"


def test_outputs_continue_the_response_that_asked(door: Door, client: Any, upstream: StandIn) -> None:
    """The answer is the queued run; upstream goes `previous_response_id`, with the outputs as the only input."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Found it."))
    queued = submit(door, client, run)
    assert (queued.id, queued.status, queued.required_action) == (run.id, "queued", None)
    assert queued.expires_at == run.expires_at
    first, second = bodies(upstream)
    assert second == {
        **{key: value for key, value in first.items() if key != "input"},
        "previous_response_id": next(iter(upstream.responses)),
        "input": [{"type": "function_call_output", "call_id": "call_1", "output": "CALL_1"}],
    }
    done = poll(door, client, run)
    assert (done.id, done.status, done.expires_at) == (run.id, "completed", None)
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Found it."


def test_submit_and_poll_goes_through_several_rounds(door: Door, client: Any, upstream: StandIn) -> None:
    """A run may call again and again: one id, and each round continues the one before."""
    run = waiting_run(door, client, upstream, "call_0")
    upstream.script(calling("call_1"), calling("call_2"), Turn(text="At last."))
    runs = client.beta.threads.runs
    for round_ in range(3):
        outputs = [{"tool_call_id": f"call_{round_}", "output": str(round_)}]
        again = door(runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs))
        assert again.id == run.id
        assert again.status == ("completed" if round_ == 2 else "requires_action")
    ids = list(upstream.responses)
    assert [body.get("previous_response_id") for body in bodies(upstream)] == [None, *ids[:3]]
    assert [step["type"] for step in steps_of(door, client, run)] == ["tool_calls"] * 3 + ["message_creation"]


def test_parallel_calls_are_one_step_and_want_all_their_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """Calls of one response are answered together, in any order."""
    run = waiting_run(door, client, upstream, "call_a", "call_b", parallel_tool_calls=True)
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_a", "call_b"]
    assert [len(step["step_details"]["tool_calls"]) for step in steps_of(door, client, run)] == [2]
    upstream.script(Turn(text="Both."))
    submit(door, client, run, "call_b", "call_a")
    assert [item["output"] for item in bodies(upstream)[1]["input"]] == ["CALL_B", "CALL_A"]
    assert poll(door, client, run).status == "completed"
    [step, _] = steps_of(door, client, run)
    outputs = [call["function"]["output"] for call in step["step_details"]["tool_calls"]]
    assert outputs == ["CALL_A", "CALL_B"]


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (["a"], "['a']"),
        (["a", "b", "c"], "['a', 'b', 'c']"),
        (["a", "a"], "['a', 'a']"),
        (["a", "b", "b"], "['a', 'b', 'b']"),
        ([], "[]"),
    ],
)
def test_other_outputs_than_the_awaited_are_refused(
    door: Door, client: Any, upstream: StandIn, given: list[str], got: str
) -> None:
    """Missing, surplus and repeated outputs: one text, byte for byte, and the run goes on waiting."""
    run = waiting_run(door, client, upstream, "a", "b")
    outputs = [{"tool_call_id": call_id, "output": "x"} for call_id in given]
    with pytest.raises(openai.BadRequestError) as caught:
        door(client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs))
    assert caught.value.body == {
        "message": f"Expected tool outputs for call_ids ['a', 'b'], got {got}",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert len(bodies(upstream)) == 1
    assert submit(door, client, run, "a", "b").status == "queued"


def test_an_output_may_leave_out_the_only_call(door: Door, client: Any, upstream: StandIn) -> None:
    """The spec requires neither key of an output: the one call that waits gets it, and no output is an empty one."""
    run = waiting_run(door, client, upstream)
    submitted = client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=[{}])
    assert door(submitted).status == "queued"
    assert bodies(upstream)[1]["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": ""}]


def test_an_output_may_have_the_documented_size(door: Door, client: Any, upstream: StandIn) -> None:
    """10,485,760 characters are taken; one more is refused before anything is asked."""
    run = waiting_run(door, client, upstream)
    runs = client.beta.threads.runs
    outputs = [{"tool_call_id": "call_1", "output": "x" * 10_485_761}]
    with pytest.raises(openai.BadRequestError, match="maximum length 10485760"):
        door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs))
    outputs = [{"tool_call_id": "call_1", "output": "x" * 10_485_760}]
    assert door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs)).status == "queued"


def test_a_run_that_does_not_wait_takes_no_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """The recorded text, with its double quotes, for a working run and for one that has ended; 404 for an unknown."""
    upstream.script(Turn(text="Slow.", polls=2))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    run = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    for status in ("in_progress", "in_progress", "completed"):
        with pytest.raises(openai.BadRequestError) as caught:
            submit(door, client, run)
        assert caught.value.body == {
            "message": f'Runs in status "{status}" do not accept tool outputs.',
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    with pytest.raises(openai.NotFoundError, match=r"No run found with id 'run_x'\."):
        submit(door, client, run.model_copy(update={"id": "run_x"}))


@pytest.mark.parametrize(
    ("choice", "upstreams"),
    [
        ("none", "none"),
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "look"}}, {"type": "function", "name": "look"}),
        ({"type": "code_interpreter"}, {"type": "code_interpreter"}),
    ],
)
def test_a_tool_choice_goes_upstream(door: Door, client: Any, upstream: StandIn, choice: Any, upstreams: Any) -> None:
    """The words stay, a function is named without its nesting, and the run echoes what was given."""
    run = finish_run(door, client, tools=[FUNCTION, *CODE], tool_choice=choice)
    assert run.to_dict()["tool_choice"] == choice
    assert bodies(upstream)[0]["tool_choice"] == upstreams


def test_a_forced_call_is_forced_once(door: Door, client: Any, upstream: StandIn) -> None:
    """The round that follows the outputs is free to answer: forced again, the run would never end."""
    run = waiting_run(door, client, upstream, tool_choice="required")
    upstream.script(Turn(text="Done."))
    submit(door, client, run)
    assert [body.get("tool_choice") for body in bodies(upstream)] == ["required", None]
    assert poll(door, client, run).tool_choice == "required"


@pytest.mark.parametrize(("given", "strict"), [({}, False), ({"strict": True}, True), ({"strict": None}, False)])
def test_strict_is_always_sent(door: Door, client: Any, upstream: StandIn, given: Any, strict: bool) -> None:  # noqa: FBT001 - a value of the table
    """A function is flattened with its strictness said, and comes back in the legacy shape."""
    parameters = {"type": "object", "properties": {}, "additionalProperties": False}
    function = {"name": "look", "description": "Looks.", "parameters": parameters, **given}
    run = finish_run(door, client, tools=[{"type": "function", "function": function}])
    assert bodies(upstream)[0]["tools"] == [{"type": "function", **function, "strict": strict}]
    [tool] = raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["tools"]
    assert tool == {"type": "function", "function": {**function, "strict": strict}}


def test_a_step_waits_with_its_run_and_ends_with_the_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """In progress with no output and no usage; then completed with both, and the usages sum up to the run's."""
    upstream.script(calling("call_1", usage=usage(10, 5)))
    run = finish_run(door, client, tools=[FUNCTION])
    [step] = steps_of(door, client, run)
    assert (step["status"], step["usage"], step["completed_at"]) == ("in_progress", None, None)
    assert step["expires_at"] == run.expires_at
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "call_1"}'}}
    waiting = {**call, "function": {**call["function"], "output": None}}  # type: ignore[dict-item]
    assert step["step_details"] == {"type": "tool_calls", "tool_calls": [waiting]}
    upstream.script(Turn(text="Done.", usage=usage(20, 7)))
    submit(door, client, run)
    run = poll(door, client, run)
    done, spoke = steps_of(door, client, run)
    assert done["id"] == step["id"]
    assert (done["status"], done["expires_at"]) == ("completed", None)
    assert done["completed_at"] >= step["created_at"]
    assert done["step_details"]["tool_calls"][0]["function"]["output"] == "CALL_1"
    assert (done["usage"]["total_tokens"], spoke["usage"]["total_tokens"]) == (15, 27)
    assert raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["usage"] == {
        "prompt_tokens": 30,
        "completion_tokens": 12,
        "total_tokens": 42,
        "prompt_token_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }


def test_started_at_moves_and_expires_at_stays(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round starts anew (recorded), within the ten minutes of the run."""
    upstream.script(calling("call_1", polls=1))
    run = finish_run(door, client, tools=[FUNCTION])
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 15)
    upstream.script(Turn(text="Done.", polls=1))
    queued = submit(door, client, run)
    assert (queued.started_at, queued.expires_at) == (run.started_at, run.expires_at)
    working = look_at(door, client, run)
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
    """The caller hears of it as of any upstream's failure, and may give the same outputs again."""
    run = waiting_run(door, client, upstream)
    steps = steps_of(door, client, run)
    upstream.fault(fault)
    with pytest.raises(openai.APIError):
        submit(door, client, run)
    assert look_at(door, client, run) == run
    assert steps_of(door, client, run) == steps
    upstream.script(Turn(text="Done."))
    assert submit(door, client, run).status == "queued"
    assert poll(door, client, run).status == "completed"


def test_the_sdk_repeats_a_failed_submit_by_itself(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With retries on, one failure of the upstream is not seen by the caller."""
    client = door.client(upstream, settings, max_retries=1)
    run = waiting_run(door, client, upstream)
    upstream.fault(Fault("POST /responses", status=500, headers={"retry-after-ms": "1"}))
    assert submit(door, client, run).status == "queued"
    assert len(bodies(upstream)) == 3


def test_of_two_simultaneous_submits_one_wins(upstream: StandIn, settings: Settings) -> None:
    """The upstream is asked once; the other caller gets the refusal of a run that waits no more."""
    door = Door("sync")
    client = door.client(upstream, settings)
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Done.", polls=9))
    upstream.fault(Fault("POST /responses", stall=0.5))
    barrier, results = threading.Barrier(2), []

    def give() -> None:
        barrier.wait()
        try:
            results.append(submit(door, client, run).status)
        except openai.BadRequestError as error:
            results.append(str(error.body["message"]))  # type: ignore[index]

    threads = [threading.Thread(target=give) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refusal, won = sorted(results)
    assert won == "queued"
    assert refusal.startswith('Runs in status "')
    assert refusal.endswith('" do not accept tool outputs.')
    assert len(bodies(upstream)) == 2
    door.close()


def test_a_later_run_is_told_of_the_calls(door: Door, client: Any, upstream: StandIn) -> None:
    """Calls and their outputs stand between the messages, by `call_id`, and without the upstream's ids."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Found."))
    submit(door, client, run)
    assert poll(door, client, run).status == "completed"
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And?"))
    door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert bodies(upstream)[-1]["input"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello."}]},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "call_1"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "CALL_1"},
        {"role": "assistant", "content": "Found."},
        {"role": "user", "content": [{"type": "input_text", "text": "And?"}]},
    ]
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 4, "what a run did is not a message"


def test_what_is_said_beside_a_call_is_a_message(door: Door, client: Any, upstream: StandIn) -> None:
    """Text before a call is on the thread while the run waits, and before the call for the next run."""
    upstream.script(calling("call_1", text="Let me look."), Turn(text="Done."))
    run = finish_run(door, client, tools=[FUNCTION])
    [said, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert said.content[0].text.value == "Let me look."
    submit(door, client, run)
    assert poll(door, client, run).status == "completed"
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 3
    door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    kinds = [item.get("type") or item["role"] for item in bodies(upstream)[-1]["input"]]
    assert kinds == ["user", "assistant", "function_call", "function_call_output", "assistant"]


def test_a_waiting_run_holds_its_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """No message and no second run while outputs are awaited; the metadata of the run may change."""
    run = waiting_run(door, client, upstream)
    with pytest.raises(openai.BadRequestError, match=f"while a run {run.id} is active"):
        door(client.beta.threads.messages.create(run.thread_id, role="user", content="x"))
    with pytest.raises(openai.BadRequestError, match=f"already has an active run {run.id}"):
        door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    updated = door(client.beta.threads.runs.update(run.id, thread_id=run.thread_id, metadata={"a": "1"}))
    assert updated.status == "requires_action"
    assert submit(door, client, run).metadata == {"a": "1"}


def test_an_inline_run_waits_and_goes_on_too(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Without background each round is one blocking request."""
    client = door.client(upstream, replace(settings, mode="inline"))
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Done."))
    assert submit(door, client, run).status == "completed"
    assert asked(upstream) == ["POST /responses"] * 2


def test_a_run_that_waits_too_long_expires(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past `run_ttl` the run and its step are expired, the outputs come too late, and the thread is free."""
    client = door.client(upstream, replace(settings, run_ttl=60))
    upstream.script(calling("call_1", usage=usage(10, 5)))
    run = finish_run(door, client, tools=[FUNCTION])
    assert run.expires_at == run.created_at + 60
    requests = len(upstream.requests)
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 61)
    with pytest.raises(openai.BadRequestError) as caught:
        submit(door, client, run)
    assert caught.value.body["message"] == 'Runs in status "expired" do not accept tool outputs.'  # type: ignore[index]
    expired = look_at(door, client, run)
    assert (expired.status, expired.expires_at, expired.required_action) == ("expired", None, None)
    assert expired.usage.total_tokens == 15
    assert len(upstream.requests) == requests, "nothing works upstream, so nothing is asked there"
    [step] = steps_of(door, client, run)
    assert (step["status"], step["completed_at"], step["usage"]["total_tokens"]) == ("expired", None, 15)
    assert step["expired_at"] >= run.created_at + 60
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="Again."))
    after = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert after.status == "completed"
    assert [item.get("role") for item in bodies(upstream)[-1]["input"]] == ["user", "user"], "no unanswered call"
