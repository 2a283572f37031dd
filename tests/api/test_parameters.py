"""What each parameter of a run does, and what becomes of an input that the upstream refuses."""

from __future__ import annotations

import logging
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
    run_again,
    submit,
    waiting_run,
)
from kit.upstream_requests import bodies

# As recorded (platform.md section 4).
TOO_LONG = {
    "error": {
        "message": "Your input exceeds the context window of this model. Please adjust your input and try again.",
        "type": "invalid_request_error",
        "param": "input",
        "code": "context_length_exceeded",
    }
}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Tokens as the upstream counts them."""
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }


def said(body: Any) -> list[str]:
    """The messages of a request's input, each as its text."""
    contents = [item["content"] for item in body["input"] if "role" in item]
    return [content if isinstance(content, str) else content[0]["text"] for content in contents]


# --- budgets


def test_the_completion_budget_is_one_for_all_rounds(door: Door, client: Any, upstream: StandIn) -> None:
    """Each round may use what is left."""
    upstream.script(calling("call_1", usage=usage(10, 100)), calling("call_2", usage=usage(10, 50)), Turn(text="Done."))
    run = finish_run(door, client, tools=[FUNCTION], max_completion_tokens=300)
    submit(door, client, run, "call_1")
    look_at(door, client, run)
    submit(door, client, run, "call_2")
    assert [body["max_output_tokens"] for body in bodies(upstream)] == [300, 200, 150]


def test_a_run_that_has_spent_its_completion_budget_is_incomplete(door: Door, client: Any, upstream: StandIn) -> None:
    """Its outputs are not asked for: nothing would be left for an answer."""
    upstream.script(calling("call_1", usage=usage(10, 100)), calling("call_2", usage=usage(10, 200)))
    run = finish_run(door, client, tools=[FUNCTION], max_completion_tokens=300)
    submit(door, client, run, "call_1")
    ended = look_at(door, client, run)
    assert (ended.status, ended.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert (ended.usage.completion_tokens, ended.required_action) == (300, None)
    assert run_again(door, client, run).status == "completed"
    kinds = [item.get("type") or item["role"] for item in bodies(upstream)[-1]["input"]]
    assert kinds == ["user", "function_call", "function_call_output"], "only the call that was answered"


def test_the_prompt_budget_is_over_the_sum(door: Door, client: Any, upstream: StandIn) -> None:
    """Two rounds that would each be within it end the run."""
    upstream.script(calling("call_1", usage=usage(200, 1)), Turn(text="Done.", usage=usage(200, 1), polls=0))
    run = finish_run(door, client, tools=[FUNCTION], max_prompt_tokens=300)
    assert run.status == "requires_action"
    submit(door, client, run, "call_1")
    ended = look_at(door, client, run)
    assert (ended.status, ended.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert ended.usage.prompt_tokens == 400


# --- truncation


@pytest.mark.parametrize(
    ("kept", "texts"), [(1, ["three"]), (2, ["You said: two", "three"]), (99, ["Hello.", "You said: Hello."])]
)
def test_last_messages_sends_only_those(
    door: Door, client: Any, upstream: StandIn, kept: int, texts: list[str]
) -> None:
    """The newest n messages go upstream, and all stay on the thread."""
    run = finish_run(door, client)
    run_again(door, client, run, "two")
    strategy = {"type": "last_messages", "last_messages": kept}
    last = run_again(door, client, run, "three", truncation_strategy=strategy)
    assert last.truncation_strategy.to_dict() == strategy
    assert said(bodies(upstream)[-1])[: len(texts)] == texts
    assert len(said(bodies(upstream)[-1])) == min(kept, 5)
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 6


def test_auto_has_no_number(door: Door, client: Any, upstream: StandIn) -> None:
    """The type decides: a number beside `auto` is echoed and drops nothing."""
    run = finish_run(door, client)
    strategy = {"type": "auto", "last_messages": 1}
    last = run_again(door, client, run, "two", truncation_strategy=strategy)
    assert last.truncation_strategy.to_dict() == strategy
    assert said(bodies(upstream)[-1]) == ["Hello.", "You said: Hello.", "two"]


@pytest.mark.parametrize(("texts", "kept"), [(["1", "2"], ["2"]), (["1", "2", "3"], ["1", "3"])])
def test_auto_keeps_the_first_turn_as_long_as_it_can(
    door: Door, client: Any, upstream: StandIn, texts: list[str], kept: list[str]
) -> None:
    """The middle is dropped first, and then the beginning: the last turn is the one to be answered."""
    assistant, thread = make_assistant(door, client), make_thread(door, client, *texts)
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG))
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert said(bodies(upstream)[-1]) == kept


def test_auto_drops_whole_turns_from_the_middle(door: Door, client: Any, upstream: StandIn) -> None:
    """An input that is too long is asked for again without its middle, until it fits."""
    run = finish_run(door, client)
    for number in range(2, 9):
        run_again(door, client, run, str(number))
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG, times=2))
    assert run_again(door, client, run, "9").status == "completed"
    whole, half, fitting = (said(body) for body in bodies(upstream)[-3:])
    assert len(whole) == 17
    assert half == [*whole[:4], *whole[-3:]], "two turns of the beginning, two of the end"
    assert fitting == [*whole[:2], whole[-1]]
    assert len(door.all(client.beta.threads.messages.list(run.thread_id, limit=100))) == 18


def test_an_input_that_is_found_too_long_only_later_is_asked_for_again(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """A background response says so when it has failed: the same run goes on with whole turns left out."""
    run = finish_run(door, client)
    for number in range(2, 9):
        run_again(door, client, run, str(number))
    late = Turn(status="failed", error={key: TOO_LONG["error"][key] for key in ("code", "message")})
    upstream.script(late, late)
    last = run_again(door, client, run, "9")
    assert (last.status, last.last_error) == ("completed", None)
    whole, half, fitting = (said(body) for body in bodies(upstream)[-3:])
    assert (len(whole), half, fitting) == (17, [*whole[:4], *whole[-3:]], [*whole[:2], whole[-1]])
    messages = door.all(client.beta.threads.messages.list(run.thread_id, run_id=last.id))
    assert [message.content[0].text.value for message in messages] == ["You said: 9"]


def test_an_input_that_stays_too_long_fails_the_run_with_its_words(door: Door, client: Any, upstream: StandIn) -> None:
    """One turn cannot be cut: the thread is free, and the run says why."""
    error = {key: TOO_LONG["error"][key] for key in ("code", "message")}
    upstream.script(Turn(status="failed", error=error))
    run = finish_run(door, client)
    assert (run.status, run.last_error.message) == ("failed", error["message"])
    assert len(bodies(upstream)) == 1
    assert run_again(door, client, run).status == "completed"


def test_tool_outputs_that_no_longer_fit_are_sent_with_a_shorter_transcript(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """What `previous_response_id` stands for cannot be cut: the transcript goes instead."""
    run = finish_run(door, client)
    for number in range(2, 5):
        run_again(door, client, run, str(number))
    upstream.script(calling("call_1"), Turn(text="It fits.", polls=0))
    waits = run_again(door, client, run, "5", tools=[FUNCTION])
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG))
    submit(door, client, waits, "call_1")
    assert look_at(door, client, waits).status == "completed"
    refused, last = bodies(upstream)[-2:]
    assert (len(refused["input"]), "previous_response_id" in refused) == (1, True)
    assert "previous_response_id" not in last
    kinds = [item.get("type") or item["role"] for item in last["input"]]
    assert kinds == ["user", "assistant", "user", "function_call", "function_call_output"]


@pytest.mark.parametrize("strategy", [None, {"type": "last_messages", "last_messages": 3}])
def test_what_cannot_be_shortened_is_the_upstreams_refusal(
    door: Door, client: Any, upstream: StandIn, strategy: Any
) -> None:
    """One turn that is too long, or a caller who chose what is sent: the recorded 400, and no run."""
    run = finish_run(door, client)
    run_again(door, client, run, "two")
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG, times=9))
    requests = len(bodies(upstream))
    options = {} if strategy is None else {"truncation_strategy": strategy}
    with pytest.raises(openai.BadRequestError) as caught:
        run_again(door, client, run, **options)
    assert caught.value.body == TOO_LONG["error"]
    assert len(bodies(upstream)) - requests == (2 if strategy is None else 1)
    assert len(door.all(client.beta.threads.runs.list(run.thread_id))) == 2


# --- the transcript


@pytest.mark.parametrize(("minutes", "replayed"), [(18, True), (20, False)])
def test_a_code_interpreter_call_is_replayed_while_its_container_lives(
    door: Door,
    client: Any,
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    replayed: bool,  # noqa: FBT001 - a value of the table
) -> None:
    """For nineteen minutes a later run is told of the call, and goes on in its container; then only of the words."""
    upstream.script(Turn(text="42.", code="print(42)", logs="42\n", polls=0))
    run = finish_run(door, client, assistant={"tools": CODE})
    # The container was touched last by the run: both clocks go on from there.
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + minutes * 60)
    upstream.advance(minutes * 60)
    assert run_again(door, client, run, "And?").status == "completed"
    kinds = [item.get("type") or item["role"] for item in bodies(upstream)[-1]["input"]]
    assert kinds == ["user", *(["code_interpreter_call"] if replayed else []), "assistant", "user"]
    if replayed:
        [call] = [item for item in bodies(upstream)[-1]["input"] if item.get("type")]
        assert (call["code"], call["outputs"]) == ("print(42)", [{"type": "logs", "logs": "42\n"}])
        assert len(upstream.containers) == 1


def test_a_deleted_message_is_not_sent(door: Door, client: Any, upstream: StandIn) -> None:
    """Deleting is forgetting, for the model too; an updated message is sent as it was."""
    run = finish_run(door, client)
    messages = client.beta.threads.messages
    [answer, question] = door.all(messages.list(run.thread_id))
    assert door(messages.delete(question.id, thread_id=run.thread_id)).deleted
    door(messages.update(answer.id, thread_id=run.thread_id, metadata={"seen": "yes"}))
    run_again(door, client, run, "And?")
    assert said(bodies(upstream)[-1]) == ["You said: Hello.", "And?"]


def test_additional_messages_are_messages_of_the_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """They are sent last, are there for later runs, and are gone when the run is refused."""
    more = [{"role": "user", "content": "One more.", "metadata": {"a": "1"}}]
    error = {"message": "No.", "type": "invalid_request_error", "param": "input", "code": None}
    upstream.fault(Fault("POST /responses", status=400, body={"error": error}))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    runs, options = client.beta.threads.runs, {"assistant_id": assistant.id, "additional_messages": more}
    with pytest.raises(openai.BadRequestError, match=r"No\."):
        door(runs.create(thread.id, **options))
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 1
    run = door(runs.create_and_poll(thread_id=thread.id, **options))
    assert said(bodies(upstream)[-1]) == ["Hello.", "One more."]
    run_again(door, client, run)
    assert said(bodies(upstream)[-1]) == ["Hello.", "One more.", "You said: One more."]
    [_, _, added, _] = door.all(client.beta.threads.messages.list(thread.id))
    assert (added.run_id, added.metadata) == (None, {"a": "1"})


# --- settings


def test_a_model_that_is_gone_is_replaced_where_the_settings_say_so(
    door: Door, upstream: StandIn, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The run shows the old name, the upstream is asked for the new one, and the log says both; others stay."""
    client = door.client(upstream, replace(settings, models={"gpt-4-turbo": "gpt-4.1"}))
    with caplog.at_level(logging.INFO, "assistants_compat"):
        run = waiting_run(door, client, upstream, assistant={"model": "gpt-4-turbo"})
        submit(door, client, run)
    assert [body["model"] for body in bodies(upstream)] == ["gpt-4.1", "gpt-4.1"]
    assert run.model == "gpt-4-turbo"
    logged = [record.getMessage() for record in caplog.records]
    assert logged == ["model gpt-4-turbo is asked for as gpt-4.1 (Settings.models)"]
    finish_run(door, client, model="gpt-4o")
    assert bodies(upstream)[-1]["model"] == "gpt-4o"


def test_an_upstream_that_keeps_nothing_is_told_everything_again(
    door: Door, upstream: StandIn, settings: Settings
) -> None:
    """With `store_responses=False` a run is inline, its reasoning comes encrypted, and goes back with its call."""
    client = door.client(upstream, replace(settings, store_responses=False))
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}"}
    upstream.script(Turn(output=[reasoning, {**call, "status": "completed"}], usage=usage(10, 100)), Turn(text="Done."))
    run = finish_run(door, client, tools=[FUNCTION], max_completion_tokens=300)
    assert submit(door, client, run).status == "completed"
    first, second = bodies(upstream)
    assert (first["store"], first["include"]) == (False, ["reasoning.encrypted_content"])
    assert "background" not in first
    assert second == {
        **first,
        "max_output_tokens": 200,
        "input": [
            *first["input"],
            reasoning,
            {**call, "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": "CALL_1"},
        ],
    }
    run_again(door, client, run)
    kinds = [item.get("type") or item["role"] for item in bodies(upstream)[-1]["input"]]
    assert kinds == ["user", "function_call", "function_call_output", "assistant"], "reasoning stays inside its run"
    assert asked(upstream) == ["POST /responses"] * 3


def test_three_rounds_without_a_store_upstream(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Each round sends all that came before, as the upstream took it."""
    client = door.client(upstream, replace(settings, store_responses=False))
    upstream.script(Turn(text="One."))
    run = finish_run(door, client)
    upstream.script(calling("call_1"), calling("call_2"), Turn(text="Done."))
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG))
    again = run_again(door, client, run, "two", tools=[FUNCTION])
    submit(door, client, again, "call_1")
    assert submit(door, client, again, "call_2").status == "completed"
    assert said(bodies(upstream)[1]) == ["Hello.", "One.", "two"]
    for body in bodies(upstream)[2:]:
        assert said(body) == ["two"], "what was left out once stays out"
    kinds = [item.get("type") or item["role"] for item in bodies(upstream)[-1]["input"]]
    assert kinds == ["user", *["function_call", "function_call_output"] * 2]


# --- what is forwarded


def test_a_parameter_that_the_model_refuses_has_the_upstreams_words(door: Door, client: Any, upstream: StandIn) -> None:
    """A temperature for a reasoning model is refused at creation, or fails the run where the upstream sees it later."""
    message = "Unsupported parameter: 'temperature' is not supported with this model."
    error = {"message": message, "type": "invalid_request_error", "param": "temperature", "code": None}
    upstream.fault(Fault("POST /responses", status=400, body={"error": error}))
    with pytest.raises(openai.BadRequestError) as caught:
        finish_run(door, client, temperature=0.5)
    assert caught.value.body == error
    assert bodies(upstream)[0]["temperature"] == 0.5
    upstream.script(Turn(status="failed", error={"code": "invalid_prompt", "message": message}))
    run = finish_run(door, client, temperature=0.5)
    assert (run.status, run.last_error.to_dict()) == ("failed", {"code": "invalid_prompt", "message": message})


SCHEMA = {"name": "answer", "schema": {"type": "object", "properties": {}}, "strict": True}


@pytest.mark.parametrize(
    ("given", "upstreams"),
    [
        ("auto", None),
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "json_schema", "json_schema": SCHEMA}, {"type": "json_schema", **SCHEMA}),
    ],
)
def test_a_response_format_is_flattened(door: Door, client: Any, upstream: StandIn, given: Any, upstreams: Any) -> None:
    """Each form goes upstream as `text.format`, and is echoed as it was given."""
    run = finish_run(door, client, response_format=given)
    assert bodies(upstream)[0].get("text") == (upstreams and {"format": upstreams})
    assert raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["response_format"] == given


@pytest.mark.parametrize("parallel", [True, False])
def test_other_parameters_go_upstream_as_they_are(
    door: Door,
    client: Any,
    upstream: StandIn,
    parallel: bool,  # noqa: FBT001 - a value of the table
) -> None:
    """Effort, parallel calls and sampling are sent when given, in every round; metadata stays here."""
    run = waiting_run(
        door,
        client,
        upstream,
        parallel_tool_calls=parallel,
        top_p=0.5,
        metadata={"a": "1"},
        extra_body={"reasoning_effort": "low"},
    )
    submit(door, client, run)
    for body in bodies(upstream):
        assert (body["parallel_tool_calls"], body["top_p"]) == (parallel, 0.5)
        assert body["reasoning"] == {"effort": "low"}
        assert "metadata" not in body
    served = raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")
    assert (served["parallel_tool_calls"], served["reasoning_effort"], served["metadata"]) == (
        parallel,
        "low",
        {"a": "1"},
    )
