"""A refusal that has a remedy costs one more request, once, and what was learned is remembered."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    FUNCTION,
    finish_run,
    function_call_turn,
    make_assistant,
    make_thread,
    retrieve_run,
    run_again,
    submit_outputs,
    upstream_calls,
    waiting_run,
)
from kit.streams import read_rest
from kit.upstream_requests import request_bodies

POST = "POST /responses"
NEW_MODEL = "tomorrow-1"  # of no family that the table of models knows
MAPPED = {"gpt-4o": NEW_MODEL}
LONG_ID = "cntr_" + "a" * 232  # as LiteLLM makes them
ZERO_RETENTION = "Previous response cannot be used for this organization due to Zero Data Retention."
PAIR = ["function_call", "function_call_output"]


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


def error(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return the body of an error as the service sends it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def wrapped(body: dict[str, Any]) -> dict[str, Any]:
    """Return this body as LiteLLM passes it on: as text, with a code and param of its own."""
    text = f"litellm.BadRequestError: OpenAIException - {json.dumps(body, indent=2)}. Received Model Group=gpt-4o"
    return error(text, code="400")


def refuse(upstream: StandIn, *bodies: dict[str, Any], status: int = 400) -> None:
    """Make the next requests for responses fail, one for each body."""
    for body in bodies:
        upstream.fault(Fault(POST, status=status, body=body))


def kinds(body: Any) -> list[str]:
    """Return the roles or types of a request's input items."""
    return [str(item.get("type") or item["role"]) for item in body["input"]]


def stream_events(door: Door, client: Any, thread_id: str, assistant_id: str, **options: Any) -> list[str]:
    """Stream a run to its end and return the names of its events."""
    stream = door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True, **options))
    return [event.event for event in read_rest(door, stream)]


# --- parameters that a mapped model does not take


UNSUPPORTED = [
    ("sampling_unsupported", {"temperature": 0.2}, "temperature", "temperature", None),
    ("sampling_unsupported", {"top_p": 0.5}, "top_p", "top_p", "unsupported_parameter"),
    ("effort_unsupported", {"reasoning_effort": "low"}, "reasoning.effort", "reasoning", "unsupported_parameter"),
    (
        "parallel_tool_calls_unsupported",
        {"parallel_tool_calls": False},
        "parallel_tool_calls",
        "parallel_tool_calls",
        None,
    ),
]


@pytest.mark.refusal("sampling_unsupported")
@pytest.mark.refusal("effort_unsupported")
@pytest.mark.refusal("parallel_tool_calls_unsupported")
@pytest.mark.parametrize("wrap", [lambda body: body, wrapped], ids=["direct", "wrapped"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "options", "param", "key", "code"), UNSUPPORTED)
def test_a_parameter_that_a_mapped_model_refuses_is_left_out(
    door: Door,
    upstream: StandIn,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    name: str,
    options: dict[str, Any],
    param: str,
    key: str,
    code: str | None,
    wrap: Any,
    *,
    stream: bool,
) -> None:
    """It costs one more request, once for the model; then it is not sent, and the log says so once."""
    caplog.set_level(logging.INFO, logger="assistants_compat")
    client = door.client(upstream, replace(settings, models=MAPPED))
    assistant = make_assistant(door, client, tools=[FUNCTION])
    refuse(upstream, wrap(error(f"Unsupported parameter: '{param}' is not supported with this model.", param, code)))

    def run() -> None:
        thread = make_thread(door, client)
        runs = client.beta.threads.runs
        if stream:
            assert "thread.run.completed" in stream_events(door, client, thread.id, assistant.id, **options)
        else:
            ended = door(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **options))
            assert ended.status == "completed"

    run()
    assert [key in body for body in request_bodies(upstream)] == [True, False]
    run()
    assert [key in body for body in request_bodies(upstream)] == [True, False, False]
    assert sum(f"({NEW_MODEL}" in record.getMessage() for record in caplog.records) == 1, name


@pytest.mark.refusal("effort_value_unsupported")
def test_an_effort_that_a_mapped_model_refuses_is_left_out(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Another effort is still sent to the same model."""
    client = door.client(upstream, replace(settings, models=MAPPED))
    text = f"Unsupported value: 'minimal' is not supported with the '{NEW_MODEL}' model. Supported values are: 'low'."
    refuse(upstream, error(text, "reasoning.effort", "unsupported_value"))
    for effort in ("minimal", "minimal", "low"):
        assert finish_run(door, client, reasoning_effort=effort).status == "completed"
    efforts = [(body.get("reasoning") or {}).get("effort") for body in request_bodies(upstream)]
    assert efforts == ["minimal", None, None, "low"]


@pytest.mark.refusal("sampling_unsupported")
def test_what_a_model_refuses_that_the_caller_named_is_told(door: Door, client: Any, upstream: StandIn) -> None:
    """Without a mapping the refusal is the caller's to see, after one request."""
    refuse(upstream, error("Unsupported parameter: 'temperature' is not supported with this model.", "temperature"))
    with pytest.raises(openai.BadRequestError, match="temperature"):
        finish_run(door, client, temperature=0.2)
    assert len(request_bodies(upstream)) == 1


@pytest.mark.refusal("sampling_unsupported")
def test_a_parameter_is_left_out_in_a_later_round_too(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A refusal that comes only with the outputs of functions is recovered there."""
    client = door.client(upstream, replace(settings, models=MAPPED))
    run = waiting_run(door, client, upstream, temperature=0.2)
    refuse(upstream, error("Unsupported parameter: 'temperature' is not supported with this model.", "temperature"))
    assert submit_outputs(door, client, run).status in {"queued", "completed"}
    first, refused, accepted = request_bodies(upstream)
    assert ("temperature" in first, "temperature" in refused, "temperature" in accepted) == (True, True, False)
    assert accepted["previous_response_id"] == refused["previous_response_id"]


# --- reasoning


@pytest.mark.refusal("encrypted_unsupported")
@pytest.mark.parametrize("stream", [False, True])
def test_encrypted_reasoning_is_not_requested_twice_of_a_model_without_it(
    door: Door, upstream: StandIn, settings: Settings, *, stream: bool
) -> None:
    """The run is sent again without it, and later runs of the model do not ask."""
    client = door.client(upstream, replace(settings, store_responses=False))
    assistant = make_assistant(door, client, model=NEW_MODEL, tools=[FUNCTION])
    refuse(upstream, error("Encrypted content is not supported with this model.", "include"))
    for _ in range(2):
        thread = make_thread(door, client)
        if stream:
            assert "thread.run.completed" in stream_events(door, client, thread.id, assistant.id)
        else:
            runs = client.beta.threads.runs
            assert door(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)).status == "completed"
    assert ["include" in body for body in request_bodies(upstream)] == [True, False, False]


@pytest.mark.refusal("encrypted_unverified")
@pytest.mark.parametrize("wrap", [lambda body: body, wrapped], ids=["direct", "wrapped"])
def test_reasoning_that_cannot_be_decrypted_is_left_out(
    door: Door, upstream: StandIn, settings: Settings, wrap: Any
) -> None:
    """The round is sent again without reasoning and without the ids that belong to it, and so are later rounds."""
    client = door.client(upstream, replace(settings, store_responses=False))
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}"}
    upstream.script(
        Turn(output=[reasoning, {**call, "status": "completed"}]), function_call_turn("call_2"), Turn(text="Done.")
    )
    run = finish_run(door, client, assistant={"model": NEW_MODEL}, tools=[FUNCTION])
    text = "The encrypted content gAAA could not be verified. Reason: Encrypted content organization_id did not match."
    refuse(upstream, wrap(error(text, None, "invalid_encrypted_content")))
    submit_outputs(door, client, run)
    assert [kinds(body) for body in request_bodies(upstream)[1:]] == [["user", "reasoning", *PAIR], ["user", *PAIR]]
    assert "id" not in request_bodies(upstream)[-1]["input"][1]
    assert submit_outputs(door, client, run, "call_2").status == "completed"
    assert kinds(request_bodies(upstream)[-1]) == ["user", *PAIR, *PAIR]
    assert len(request_bodies(upstream)) == 4


# --- a response that is not continued


NOT_CONTINUED = [
    pytest.param(400, error(ZERO_RETENTION, "previous_response_id", "unsupported_parameter"), id="zero-retention"),
    pytest.param(404, error(ZERO_RETENTION), id="zero-retention-404"),
    pytest.param(400, wrapped(error(ZERO_RETENTION, "previous_response_id", "unsupported_parameter")), id="wrapped"),
    pytest.param(404, error("Response with id 'resp_1' not found.", "response_id", "404"), id="vllm"),
]


@pytest.mark.refusal("zero_retention_previous_response")
@pytest.mark.refusal("responses_not_kept")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "body"), NOT_CONTINUED)
def test_outputs_go_with_the_runs_own_items_where_responses_are_not_continued(
    door: Door, client: Any, upstream: StandIn, status: int, body: dict[str, Any], *, stream: bool
) -> None:
    """It costs one more request, once for the upstream; the rounds after it send the run's items at once."""
    run = waiting_run(door, client, upstream)
    refuse(upstream, body, status=status)
    upstream.script(function_call_turn("call_2"), Turn(text="Done."))

    def submit(call_id: str) -> None:
        answer = submit_outputs(door, client, run, call_id, **({"stream": True} if stream else {}))
        if stream:
            read_rest(door, answer)
        else:
            door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))

    submit("call_1")
    assert [kinds(sent) for sent in request_bodies(upstream)[1:]] == [["function_call_output"], ["user", *PAIR]]
    submit("call_2")
    assert retrieve_run(door, client, run).status == "completed"
    last = request_bodies(upstream)[-1]
    assert (kinds(last), "previous_response_id" in last) == (["user", *PAIR, *PAIR], False)
    assert len(request_bodies(upstream)) == 4


@pytest.mark.refusal("zero_retention_previous_response")
def test_zero_retention_costs_one_refusal_in_all(door: Door, client: Any, upstream: StandIn) -> None:
    """With a project that keeps nothing, every run with functions completes, and one request is refused."""
    upstream.configure(zero_retention=True)
    for _ in range(2):
        run = waiting_run(door, client, upstream)
        upstream.script(Turn(text="Done."))
        submit_outputs(door, client, run)
        assert door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"
    assert len(request_bodies(upstream)) == 5


@pytest.mark.refusal("responses_not_kept")
def test_a_response_that_was_lost_is_no_verdict_where_others_are_served(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """If a response could be retrieved before, one that is not found costs its round a request, and no later one."""
    run = waiting_run(door, client, upstream)
    upstream.script(function_call_turn("call_2"), Turn(text="Done."))
    refuse(upstream, error("Response with id 'resp_1' not found."), status=404)
    submit_outputs(door, client, run)
    assert retrieve_run(door, client, run).status == "requires_action"
    submit_outputs(door, client, run, "call_2")
    assert door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"
    sent = [["user"], ["function_call_output"], ["user", *PAIR], ["function_call_output"]]
    assert [kinds(body) for body in request_bodies(upstream)] == sent


# --- context and items


@pytest.mark.refusal("context_too_long")
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, wrapped(error("Too long.", "input", "context_length_exceeded"))),
        (
            400,
            error(
                "litellm.ContextWindowExceededError: This model's maximum context length is 8192 tokens.", code="400"
            ),
        ),
        (400, error("The engine prompt length 9001 exceeds the max_model_len 8192. Please reduce prompt.", "input")),
        (400, error("Invalid 'input': array too long. Expected an array with maximum length 16384", "input")),
    ],
)
def test_a_thread_that_is_too_long_is_shortened_in_any_words(
    door: Door, client: Any, upstream: StandIn, status: int, body: dict[str, Any]
) -> None:
    """Turns are dropped from the middle until the rest fits, which may take several requests."""
    run = finish_run(door, client)
    for text in ("two", "three", "four", "five"):
        run_again(door, client, run, text)
    before = len(request_bodies(upstream))
    refuse(upstream, body, body, status=status)
    assert run_again(door, client, run, "six").status == "completed"
    assert [sum(kind == "user" for kind in kinds(sent)) for sent in request_bodies(upstream)[before:]] == [6, 2, 1]


@pytest.mark.refusal("context_too_long")
def test_a_thread_that_never_fits_is_told(door: Door, client: Any, upstream: StandIn) -> None:
    """The caller sees the refusal once one turn is left: there is no endless loop."""
    run = finish_run(door, client)
    run_again(door, client, run, "two")
    before = len(request_bodies(upstream))
    upstream.fault(Fault(POST, status=400, body=error("Too long.", "input", "context_length_exceeded"), times=50))
    with pytest.raises(openai.BadRequestError, match="Too long"):
        run_again(door, client, run, "three")
    assert len(request_bodies(upstream)) - before == 3, "three turns, two, one"


ITEM_REFUSALS = [
    (404, "Item with id 'ci_1' not found."),
    (400, "Item with id 'ci_1' not found. Items are not persisted when `store` is set to false."),
    (400, "Duplicate item found with id ci_1. Remove duplicate items from your input and try again."),
    (400, "Invalid 'input[1].id': 'ci_1'. Expected an ID that begins with 'fc'."),
    (400, "The item ci_1 is of an unknown kind."),  # no known text, but it names an item that was replayed
]


@pytest.mark.refusal("item_not_found")
@pytest.mark.refusal("duplicate_item")
@pytest.mark.refusal("item_id_prefix")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "message"), ITEM_REFUSALS)
def test_a_refused_item_of_an_earlier_run_is_left_out(
    door: Door, client: Any, upstream: StandIn, status: int, message: str, *, stream: bool
) -> None:
    """One more request, and later runs of the thread do not send it."""
    upstream.script(Turn(code="print(1)", logs="1", text="One."))
    run = finish_run(door, client, assistant={"tools": CODE})
    item = next(
        item for made in upstream.responses.values() for item in made.final["output"] if item["id"].startswith("ci_")
    )
    refuse(upstream, error(message.replace("ci_1", item["id"]), "input"), status=status)
    if stream:
        assert "thread.run.completed" in stream_events(door, client, run.thread_id, run.assistant_id)
    else:
        assert run_again(door, client, run).status == "completed"
    assert run_again(door, client, run).status == "completed"
    has_calls = ["code_interpreter_call" in kinds(body) for body in request_bodies(upstream)]
    assert has_calls == [False, True, False, False]


def test_an_unknown_refusal_that_names_an_addition_is_logged_to_be_reported(
    door: Door, client: Any, upstream: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is sent once more without the addition; the log names it, and not the text of the refusal."""
    refuse(upstream, error("SECRET cannot include code_interpreter_call.outputs here.", "include[0]", "odd"))
    assert finish_run(door, client, assistant={"tools": CODE}).status == "completed"
    assert ["include" in body for body in request_bodies(upstream)] == [True, False]
    [text] = [record.getMessage() for record in caplog.records if "report" in record.getMessage()]
    assert "include" in text
    assert "SECRET" not in text


@pytest.mark.parametrize(("message", "param"), [("Not this one.", "include[1]"), ("No {} here.", None)])
def test_an_unknown_refusal_of_one_include_drops_that_one(
    door: Door, upstream: StandIn, settings: Settings, message: str, param: str | None
) -> None:
    """The index or the text names it; the other values are still requested."""
    client = door.client(upstream, replace(settings, store_responses=False))
    refuse(upstream, error(message.format("reasoning.encrypted_content"), param, "odd"))
    assert finish_run(door, client, assistant={"model": NEW_MODEL, "tools": CODE}).status == "completed"
    first, second = request_bodies(upstream)
    assert first["include"] == ["code_interpreter_call.outputs", "reasoning.encrypted_content"]
    assert second["include"] == ["code_interpreter_call.outputs"]


def test_an_unknown_refusal_is_tried_once(door: Door, client: Any, upstream: StandIn) -> None:
    """If it comes again, or names nothing that was added, the caller sees it."""
    body = error("No such include.", "include", "odd")
    upstream.fault(Fault(POST, status=400, body=body, times=5))
    with pytest.raises(openai.BadRequestError, match="No such include"):
        finish_run(door, client, assistant={"tools": CODE})
    assert len(request_bodies(upstream)) == 2


def test_an_unknown_refusal_of_the_callers_own_words_is_told(door: Door, client: Any, upstream: StandIn) -> None:
    """A refusal that names a message of the thread is not repeated."""
    refuse(upstream, error("The message is odd.", "input[0].content[0]", "odd"))
    with pytest.raises(openai.BadRequestError, match="odd"):
        finish_run(door, client, assistant={"tools": CODE})
    assert len(request_bodies(upstream)) == 1


# --- containers


CONTAINER_REFUSALS = [
    error("Container is expired."),
    error("Invalid container id."),
    error("Expected container_id: cntr_0123", "tools[0].container"),
    error("Invalid 'tools[0].container': string too long. Expected a string with maximum length 64", code="400"),
    wrapped(error("Something about it.", "tools[0].container", "string_above_max_length")),
    error("We do not like {container}."),
]


@pytest.mark.refusal("container_gone")
@pytest.mark.refusal("container_id_invalid")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", CONTAINER_REFUSALS)
def test_a_refused_container_is_replaced_in_any_words(
    door: Door, client: Any, upstream: StandIn, body: dict[str, Any], *, stream: bool
) -> None:
    """The next request asks for another container, without the calls that ran in the old one."""
    upstream.script(Turn(code="1", text="One."))
    run = finish_run(door, client, assistant={"tools": CODE})
    [container] = upstream.containers
    refuse(upstream, json.loads(json.dumps(body).replace("{container}", container)))
    if stream:
        assert "thread.run.completed" in stream_events(door, client, run.thread_id, run.assistant_id)
    else:
        assert run_again(door, client, run).status == "completed"
    _, refused, accepted = request_bodies(upstream)
    assert refused["tools"][0]["container"] == container
    assert accepted["tools"][0]["container"] == {"type": "auto"}
    assert "code_interpreter_call" not in kinds(accepted)


@pytest.mark.refusal("container_gone")
def test_containers_are_replaced_twice_at_most(door: Door, client: Any, upstream: StandIn) -> None:
    """First by a restored one, then by the upstream's own; then the caller sees the refusal."""
    upstream.script(Turn(code="1", text="One."))
    run = finish_run(door, client, assistant={"tools": CODE})
    upstream.fault(Fault(POST, status=400, body=error("Container is expired."), times=9))
    with pytest.raises(openai.BadRequestError, match="expired"):
        run_again(door, client, run)
    assert len(request_bodies(upstream)) <= 4


@pytest.mark.refusal("container_id_invalid")
def test_a_long_container_id_is_never_sent(door: Door, client: Any, upstream: StandIn) -> None:
    """A gateway's id of 237 characters is not sent back, neither as the container nor in a replayed call."""
    call = {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "container_id": LONG_ID}
    output = [{**call, "code": "print(1)", "outputs": [{"type": "logs", "logs": "1"}]}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    message["content"] = [{"type": "output_text", "text": "One.", "annotations": []}]  # type: ignore[assignment]
    upstream.script(Turn(output=[*output, message]))
    run = finish_run(door, client, assistant={"tools": CODE})
    assert run_again(door, client, run, "And?").status == "completed"
    body = request_bodies(upstream)[-1]
    assert LONG_ID not in json.dumps(body)
    assert body["tools"][0]["container"] == {"type": "auto"}
    assert "print(1)" in json.dumps(body["input"])
    assert upstream_calls(upstream, POST) == [POST] * 2


# --- nothing is kept upstream


@pytest.mark.refusal("item_not_found")
def test_calls_of_hosted_tools_go_as_text_where_nothing_is_stored(
    door: Door, upstream: StandIn, settings: Settings
) -> None:
    """With `store_responses=False` code that ran is sent as text, in the same run and in the next one."""
    client = door.client(upstream, replace(settings, store_responses=False))
    code = {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "container_id": "cntr_1"}
    code.update({"code": "print(41 + 1)", "outputs": [{"type": "logs", "logs": "42"}]})  # type: ignore[dict-item]
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}"}
    upstream.script(Turn(output=[reasoning, code, {**call, "status": "completed"}]), Turn(text="Done."))
    run = finish_run(door, client, assistant={"model": NEW_MODEL, "tools": [*CODE, FUNCTION]})
    submit_outputs(door, client, run)
    assert run_again(door, client, run, "And?").status == "completed"
    _, second_round, second_run = request_bodies(upstream)
    assert kinds(second_round) == ["user", "assistant", *PAIR]
    assert second_round["input"][1]["content"] == (
        "I ran this Python code:\n\n```python\nprint(41 + 1)\n```\n\nIt printed:\n\n```\n42\n```"
    )
    assert "code_interpreter_call" not in kinds(second_run)
    assert "print(41 + 1)" in json.dumps(second_run["input"])
    assert len(request_bodies(upstream)) == 3


# --- the good case


def test_a_run_without_refusals_costs_what_it_did(door: Door, client: Any, upstream: StandIn) -> None:
    """One request a round, and one look for a background response."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Done.", polls=0))
    submit_outputs(door, client, run)
    assert retrieve_run(door, client, run).status == "completed"
    assert upstream_calls(upstream) == [POST, "GET /responses/*"] * 2
