"""Each parameter of a run has its effect, and input that is too long for the upstream is shortened."""

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
    delete_message,
    finish_run,
    function_call_turn,
    get_raw,
    make_assistant,
    make_thread,
    retrieve_run,
    run_again,
    submit_outputs,
    upstream_calls,
    waiting_run,
)
from kit.upstream_requests import request_bodies

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
    """Return a usage as the upstream reports it."""
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }


def message_texts(body: Any) -> list[str]:
    """Return the text of each message in a request's input."""
    contents = [item["content"] for item in body["input"] if "role" in item]
    return [content if isinstance(content, str) else content[0]["text"] for content in contents]


# --- budgets


def test_all_rounds_share_the_completion_budget(door: Door, client: Any, upstream: StandIn) -> None:
    """Each round of a run may use what is left of the completion budget."""
    upstream.script(
        function_call_turn("call_1", usage=usage(10, 100)),
        function_call_turn("call_2", usage=usage(10, 50)),
        Turn(text="Done."),
    )
    run = finish_run(door, client, tools=[FUNCTION], max_completion_tokens=300)
    submit_outputs(door, client, run, "call_1")
    retrieve_run(door, client, run)
    submit_outputs(door, client, run, "call_2")
    assert [body["max_output_tokens"] for body in request_bodies(upstream)] == [300, 200, 150]


def test_a_run_that_has_spent_its_completion_budget_is_incomplete(door: Door, client: Any, upstream: StandIn) -> None:
    """A run that has spent its completion budget on calls becomes incomplete and asks for no outputs."""
    upstream.script(
        function_call_turn("call_1", usage=usage(10, 100)), function_call_turn("call_2", usage=usage(10, 200))
    )
    run = finish_run(door, client, tools=[FUNCTION], max_completion_tokens=300)
    submit_outputs(door, client, run, "call_1")
    ended = retrieve_run(door, client, run)
    assert (ended.status, ended.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert (ended.usage.completion_tokens, ended.required_action) == (300, None)
    assert run_again(door, client, run).status == "completed"
    kinds = [item.get("type") or item["role"] for item in request_bodies(upstream)[-1]["input"]]
    assert kinds == ["user", "function_call", "function_call_output"], "only the call that was answered"


def test_all_rounds_share_the_prompt_budget(door: Door, client: Any, upstream: StandIn) -> None:
    """The prompt budget holds for the sum of all rounds."""
    upstream.script(function_call_turn("call_1", usage=usage(200, 1)), Turn(text="Done.", usage=usage(200, 1), polls=0))
    run = finish_run(door, client, tools=[FUNCTION], max_prompt_tokens=300)
    assert run.status == "requires_action"
    submit_outputs(door, client, run, "call_1")
    ended = retrieve_run(door, client, run)
    assert (ended.status, ended.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert ended.usage.prompt_tokens == 400


# --- truncation


@pytest.mark.parametrize(
    ("kept", "texts"),
    [(1, ["three"]), (2, ["You said: two", "three"]), (99, ["Hello.", "You said: Hello."])],
)
def test_last_messages_limits_the_messages_sent(
    door: Door, client: Any, upstream: StandIn, kept: int, texts: list[str]
) -> None:
    """`last_messages` sends the newest n messages upstream, and the thread keeps them all."""
    run = finish_run(door, client)
    run_again(door, client, run, "two")
    strategy = {"type": "last_messages", "last_messages": kept}
    last = run_again(door, client, run, "three", truncation_strategy=strategy)
    assert last.truncation_strategy.to_dict() == strategy
    assert message_texts(request_bodies(upstream)[-1])[: len(texts)] == texts
    assert len(message_texts(request_bodies(upstream)[-1])) == min(kept, 5)
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 6


def test_auto_ignores_a_number_of_messages(door: Door, client: Any, upstream: StandIn) -> None:
    """A number of messages beside `auto` is echoed and has no effect."""
    run = finish_run(door, client)
    strategy = {"type": "auto", "last_messages": 1}
    last = run_again(door, client, run, "two", truncation_strategy=strategy)
    assert last.truncation_strategy.to_dict() == strategy
    assert message_texts(request_bodies(upstream)[-1]) == ["Hello.", "You said: Hello.", "two"]


@pytest.mark.parametrize(("texts", "kept"), [(["1", "2"], ["2"]), (["1", "2", "3"], ["1", "3"])])
def test_auto_keeps_the_first_turn_as_long_as_it_can(
    door: Door, client: Any, upstream: StandIn, texts: list[str], kept: list[str]
) -> None:
    """`auto` drops the middle turns first, then the first turn, and never the last one."""
    assistant, thread = make_assistant(door, client), make_thread(door, client, *texts)
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG))
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert message_texts(request_bodies(upstream)[-1]) == kept


def test_auto_drops_whole_turns_from_the_middle(door: Door, client: Any, upstream: StandIn) -> None:
    """`auto` repeats a request that is too long without its middle turns until it fits."""
    run = finish_run(door, client)
    for number in range(2, 9):
        run_again(door, client, run, str(number))
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG, times=2))
    assert run_again(door, client, run, "9").status == "completed"
    full, half, fitting = (message_texts(body) for body in request_bodies(upstream)[-3:])
    assert len(full) == 17
    assert half == [*full[:4], *full[-3:]], "two turns of the beginning, two of the end"
    assert fitting == [*full[:2], full[-1]]
    assert len(door.all(client.beta.threads.messages.list(run.thread_id, limit=100))) == 18


def test_an_input_that_is_found_too_long_later_is_repeated(door: Door, client: Any, upstream: StandIn) -> None:
    """A background response that fails because its input is too long is repeated in the same run with fewer turns."""
    run = finish_run(door, client)
    for number in range(2, 9):
        run_again(door, client, run, str(number))
    failure = Turn(status="failed", error={key: TOO_LONG["error"][key] for key in ("code", "message")})
    upstream.script(failure, failure)
    last = run_again(door, client, run, "9")
    assert (last.status, last.last_error) == ("completed", None)
    full, half, fitting = (message_texts(body) for body in request_bodies(upstream)[-3:])
    assert (len(full), half, fitting) == (17, [*full[:4], *full[-3:]], [*full[:2], full[-1]])
    messages = door.all(client.beta.threads.messages.list(run.thread_id, run_id=last.id))
    assert [message.content[0].text.value for message in messages] == ["You said: 9"]


def test_an_input_that_stays_too_long_fails_the_run(door: Door, client: Any, upstream: StandIn) -> None:
    """A single turn that is too long fails the run with the upstream's message and frees the thread."""
    error = {key: TOO_LONG["error"][key] for key in ("code", "message")}
    upstream.script(Turn(status="failed", error=error))
    run = finish_run(door, client)
    assert (run.status, run.last_error.message) == ("failed", error["message"])
    assert len(request_bodies(upstream)) == 1
    assert run_again(door, client, run).status == "completed"


def test_tool_outputs_that_no_longer_fit_are_sent_with_a_shorter_transcript(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """Tool outputs that no longer fit are sent with a shortened transcript instead of `previous_response_id`."""
    run = finish_run(door, client)
    for number in range(2, 5):
        run_again(door, client, run, str(number))
    upstream.script(function_call_turn("call_1"), Turn(text="It fits.", polls=0))
    waiting = run_again(door, client, run, "5", tools=[FUNCTION])
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG))
    submit_outputs(door, client, waiting, "call_1")
    assert retrieve_run(door, client, waiting).status == "completed"
    refused, last = request_bodies(upstream)[-2:]
    assert (len(refused["input"]), "previous_response_id" in refused) == (1, True)
    assert "previous_response_id" not in last
    kinds = [item.get("type") or item["role"] for item in last["input"]]
    assert kinds == ["user", "assistant", "user", "function_call", "function_call_output"]


@pytest.mark.parametrize("strategy", [None, {"type": "last_messages", "last_messages": 3}])
def test_an_input_that_cannot_be_shortened_is_refused(
    door: Door, client: Any, upstream: StandIn, strategy: Any
) -> None:
    """Input of one turn, or chosen by the caller with `last_messages`, gets the recorded 400 and no run."""
    run = finish_run(door, client)
    run_again(door, client, run, "two")
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG, times=9))
    requests = len(request_bodies(upstream))
    options = {} if strategy is None else {"truncation_strategy": strategy}
    with pytest.raises(openai.BadRequestError) as caught:
        run_again(door, client, run, **options)
    assert caught.value.body == TOO_LONG["error"]
    assert len(request_bodies(upstream)) - requests == (2 if strategy is None else 1)
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
    """A Code Interpreter call is sent to later runs while its container lives; afterwards only the messages are."""
    upstream.script(Turn(text="42.", code="print(42)", logs="42\n", polls=0))
    run = finish_run(door, client, assistant={"tools": CODE})
    # The run was the last to use the container, so both clocks are moved from there.
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + minutes * 60)
    upstream.advance(minutes * 60)
    assert run_again(door, client, run, "And?").status == "completed"
    kinds = [item.get("type") or item["role"] for item in request_bodies(upstream)[-1]["input"]]
    assert kinds == ["user", *(["code_interpreter_call"] if replayed else []), "assistant", "user"]
    if replayed:
        [call] = [item for item in request_bodies(upstream)[-1]["input"] if item.get("type")]
        assert (call["code"], call["outputs"]) == ("print(42)", [{"type": "logs", "logs": "42\n"}])
        assert len(upstream.containers) == 1


def test_a_deleted_message_is_not_sent(door: Door, client: Any, upstream: StandIn) -> None:
    """A deleted message is not sent to the model, and one with new metadata is."""
    run = finish_run(door, client)
    messages = client.beta.threads.messages
    [answer, question] = door.all(messages.list(run.thread_id))
    assert delete_message(door, client, question.id, run.thread_id)["deleted"]
    door(messages.update(answer.id, thread_id=run.thread_id, metadata={"seen": "yes"}))
    run_again(door, client, run, "And?")
    assert message_texts(request_bodies(upstream)[-1]) == ["You said: Hello.", "And?"]


def test_additional_messages_are_messages_of_the_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """Additional messages are sent last and stay on the thread, unless the upstream refuses the run."""
    more = [{"role": "user", "content": "One more.", "metadata": {"a": "1"}}]
    error = {"message": "No.", "type": "invalid_request_error", "param": "input", "code": None}
    upstream.fault(Fault("POST /responses", status=400, body={"error": error}))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    runs, options = client.beta.threads.runs, {"assistant_id": assistant.id, "additional_messages": more}
    with pytest.raises(openai.BadRequestError, match=r"No\."):
        door(runs.create(thread.id, **options))
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 1
    run = door(runs.create_and_poll(thread_id=thread.id, **options))
    assert message_texts(request_bodies(upstream)[-1]) == ["Hello.", "One more."]
    run_again(door, client, run)
    assert message_texts(request_bodies(upstream)[-1]) == ["Hello.", "One more.", "You said: One more."]
    [_, _, added, _] = door.all(client.beta.threads.messages.list(thread.id))
    assert (added.run_id, added.metadata) == (None, {"a": "1"})


# --- settings


def test_the_settings_replace_a_retired_model(
    door: Door, upstream: StandIn, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """`Settings(models=...)` replaces the model upstream and logs it once; the run still shows the old name."""
    client = door.client(upstream, replace(settings, models={"gpt-4-turbo": "gpt-4.1"}))
    with caplog.at_level(logging.INFO, "assistants_compat"):
        run = waiting_run(door, client, upstream, assistant={"model": "gpt-4-turbo"})
        submit_outputs(door, client, run)
    assert [body["model"] for body in request_bodies(upstream)] == ["gpt-4.1", "gpt-4.1"]
    assert run.model == "gpt-4-turbo"
    logged = [record.getMessage() for record in caplog.records if record.name == "assistants_compat"]
    assert logged == ["model gpt-4-turbo is sent upstream as gpt-4.1 (Settings.models)"]
    finish_run(door, client, model="gpt-4o")
    assert request_bodies(upstream)[-1]["model"] == "gpt-4o"


def test_without_stored_responses_each_round_resends_the_history(
    door: Door, upstream: StandIn, settings: Settings
) -> None:
    """With `store_responses=False` a run blocks, and each round resends its history with encrypted reasoning."""
    client = door.client(upstream, replace(settings, store_responses=False))
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}"}
    upstream.script(Turn(output=[reasoning, {**call, "status": "completed"}], usage=usage(10, 100)), Turn(text="Done."))
    run = finish_run(door, client, model="gpt-5.6-luna", tools=[FUNCTION], max_completion_tokens=300)
    assert submit_outputs(door, client, run).status == "completed"
    first, second = request_bodies(upstream)
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
    kinds = [item.get("type") or item["role"] for item in request_bodies(upstream)[-1]["input"]]
    assert kinds == ["user", "function_call", "function_call_output", "assistant"], "reasoning stays inside its run"
    assert upstream_calls(upstream) == ["POST /responses"] * 3


def test_three_rounds_without_stored_responses(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `store_responses=False` each round resends the earlier ones, without turns that were already dropped."""
    client = door.client(upstream, replace(settings, store_responses=False))
    upstream.script(Turn(text="One."))
    run = finish_run(door, client)
    upstream.script(function_call_turn("call_1"), function_call_turn("call_2"), Turn(text="Done."))
    upstream.fault(Fault("POST /responses", status=400, body=TOO_LONG))
    again = run_again(door, client, run, "two", tools=[FUNCTION])
    submit_outputs(door, client, again, "call_1")
    assert submit_outputs(door, client, again, "call_2").status == "completed"
    assert message_texts(request_bodies(upstream)[1]) == ["Hello.", "One.", "two"]
    for body in request_bodies(upstream)[2:]:
        assert message_texts(body) == ["two"], "what was left out once stays out"
    kinds = [item.get("type") or item["role"] for item in request_bodies(upstream)[-1]["input"]]
    assert kinds == ["user", *["function_call", "function_call_output"] * 2]


# --- what is forwarded


def test_a_parameter_that_the_model_refuses_gets_the_upstreams_error(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """The upstream's refusal of a parameter is the caller's 400, or the error of the run if it comes later."""
    message = "Unsupported parameter: 'temperature' is not supported with this model."
    error = {"message": message, "type": "invalid_request_error", "param": "temperature", "code": None}
    upstream.fault(Fault("POST /responses", status=400, body={"error": error}))
    with pytest.raises(openai.BadRequestError) as caught:
        finish_run(door, client, temperature=0.5)
    assert caught.value.body == error
    assert request_bodies(upstream)[0]["temperature"] == 0.5
    upstream.script(Turn(status="failed", error={"code": "invalid_prompt", "message": message}))
    run = finish_run(door, client, temperature=0.5)
    assert (run.status, run.last_error.to_dict()) == ("failed", {"code": "invalid_prompt", "message": message})


OBJECT = {"type": "object", "properties": {}, "additionalProperties": False}
SCHEMA = {"name": "answer", "schema": OBJECT, "strict": True}


@pytest.mark.parametrize(
    ("response_format", "text_format"),
    [
        ("auto", None),
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "json_schema", "json_schema": SCHEMA}, {"type": "json_schema", **SCHEMA}),
    ],
)
def test_a_response_format_is_flattened(
    door: Door, client: Any, upstream: StandIn, response_format: Any, text_format: Any
) -> None:
    """Each `response_format` goes upstream as a flat `text.format` and is echoed unchanged."""
    # The service refuses `json_object` where nothing says "JSON".
    run = finish_run(door, client, response_format=response_format, instructions="Answer in JSON.")
    assert request_bodies(upstream)[0].get("text") == (text_format and {"format": text_format})
    assert get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["response_format"] == response_format


@pytest.mark.parametrize("parallel", [True, False])
def test_other_parameters_go_upstream_as_they_are(
    door: Door,
    client: Any,
    upstream: StandIn,
    parallel: bool,  # noqa: FBT001 - a value of the table
) -> None:
    """Reasoning effort, parallel calls and sampling are sent in every round; metadata is not sent."""
    run = waiting_run(
        door,
        client,
        upstream,
        model="my-deployment",  # no known model takes an effort beside `top_p`
        top_p=0.5,
        metadata={"a": "1"},
        extra_body={"reasoning_effort": "low", "parallel_tool_calls": parallel},  # not every SDK knows them
    )
    submit_outputs(door, client, run)
    for body in request_bodies(upstream):
        assert (body["parallel_tool_calls"], body["top_p"]) == (parallel, 0.5)
        assert body["reasoning"] == {"effort": "low"}
        assert "metadata" not in body
    served = get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")
    assert (served["parallel_tool_calls"], served["reasoning_effort"], served["metadata"]) == (
        parallel,
        "low",
        {"a": "1"},
    )
