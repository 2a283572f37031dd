"""Runs through LiteLLM's native road and through nginx are as without a gateway: texts, streams, tools, errors."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import make_thread_and_assistant, polled_or_streamed, run_to_end
from kit.doors import Door
from kit.legacy_code import FUNCTION, function_call_turn, make_assistant, make_thread, start_run, submit_outputs
from kit.streams import PLAIN_EVENT_NAMES, event_names, read_rest, text_of, without_repeats
from kit.upstream_requests import function_outputs, input_messages, request_bodies

# The first test starts LiteLLM, which takes ten seconds, and a minute on a busy machine.
pytestmark = [pytest.mark.gateways, pytest.mark.timeout(300)]

USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def refusal(message: str, *, param: str | None = None, code: str | None = None) -> Any:
    """Return the body of a refusal."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def submit(door: Door, client: Any, run: Any, *call_ids: str, stream: bool) -> Any:
    """Submit outputs and return the run at its end, or where it waits again."""
    answer = submit_outputs(door, client, run, *call_ids, **({"stream": True} if stream else {}))
    if stream:
        return read_rest(door, answer)[-1].data
    return door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))


def texts(door: Door, client: Any, thread_id: str) -> list[str]:
    """Return the texts of a thread, oldest first."""
    messages = door.all(client.beta.threads.messages.list(thread_id, order="asc"))
    return [block.text.value for message in messages for block in message.content if block.type == "text"]


def test_a_run_completes(door: Door, client: Any, upstream: StandIn) -> None:
    """A run has the upstream's text and usage."""
    upstream.script(Turn(text="Good day.", usage=USAGE))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client, tools=[]))
    assert (run.status, run.last_error, run.usage.total_tokens) == ("completed", None, 7)
    assert texts(door, client, run.thread_id) == ["Hello.", "Good day."]


def test_a_stream_has_its_events_and_its_text_once(door: Door, client: Any, upstream: StandIn) -> None:
    """The events come in the recorded order, and the deltas add up to the stored text."""
    upstream.script(Turn(text="Good day to you.", usage=USAGE))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    seen = read_rest(door, door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)))
    assert without_repeats(event_names(seen)) == PLAIN_EVENT_NAMES
    assert text_of(seen) == "Good day to you."
    assert texts(door, client, thread.id) == ["Hello.", "Good day to you."]
    assert seen[-1].data.usage.total_tokens == 7


@polled_or_streamed
def test_two_rounds_of_functions_are_one_run(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """Parallel calls, then another one: every round gets its outputs, and the usage is the sum."""
    upstream.script(
        function_call_turn("call_1", "call_2", usage=USAGE),
        function_call_turn("call_3", usage=USAGE),
        Turn(text="Done.", polls=0, usage=USAGE),
    )
    waiting = run_to_end(door, client, *make_thread_and_assistant(door, client, tools=[FUNCTION]), stream=stream)
    assert waiting.status == "requires_action"
    assert [call.id for call in waiting.required_action.submit_tool_outputs.tool_calls] == ["call_1", "call_2"]
    waiting = submit(door, client, waiting, "call_1", "call_2", stream=stream)
    assert [call.id for call in waiting.required_action.submit_tool_outputs.tool_calls] == ["call_3"]
    run = submit(door, client, waiting, "call_3", stream=stream)
    assert (run.status, run.usage.total_tokens) == ("completed", 21)
    assert texts(door, client, run.thread_id) == ["Hello.", "Done."]
    outputs = [function_outputs(body) for body in request_bodies(upstream)[1:]]
    assert outputs == [{"call_1": "CALL_1", "call_2": "CALL_2"}, {"call_3": "CALL_3"}]


@pytest.mark.refusal("previous_response_gone")
@polled_or_streamed
@pytest.mark.parametrize("is_deleted", [False, True], ids=["worded", "deleted"])
def test_outputs_reach_a_run_whose_response_is_gone(
    door: Door, client: Any, upstream: StandIn, *, stream: bool, is_deleted: bool
) -> None:
    """The upstream no longer has the response that called the function: the conversation is sent instead."""
    upstream.script(function_call_turn("call_1"), Turn(text="Done.", polls=0))
    waiting = run_to_end(door, client, *make_thread_and_assistant(door, client, tools=[FUNCTION]))
    if is_deleted:
        upstream.responses.clear()
    else:
        words = "Previous response with id 'resp_1' not found."
        body = refusal(words, param="previous_response_id", code="previous_response_not_found")
        upstream.fault(Fault("POST /responses", status=400, body=body))
    run = submit(door, client, waiting, "call_1", stream=stream)
    assert run.status == "completed"
    *_, last = request_bodies(upstream)
    assert "previous_response_id" not in last
    assert input_messages(last) == [("user", "Hello.")]
    assert function_outputs(last) == {"call_1": "CALL_1"}


@pytest.mark.refusal("context_too_long")
@polled_or_streamed
def test_a_conversation_that_is_too_long_is_shortened(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A refusal for its length, in the service's words, is recognized, and the middle of the thread is left out."""
    words = "Your input exceeds the context window of this model. Please adjust your input and try again."
    body = refusal(words, param="input", code="context_length_exceeded")
    upstream.fault(Fault("POST /responses", status=400, body=body))
    assistant, thread = make_assistant(door, client), make_thread(door, client, *"abcdefgh")
    run = run_to_end(door, client, thread.id, assistant.id, stream=stream)
    assert run.status == "completed"
    sent = [len(input_messages(body)) for body in request_bodies(upstream)]
    assert (sent[0], sent[1] < 8, len(sent)) == (8, True, 2)


def test_an_image_and_a_format_are_passed_on(door: Door, client: Any, upstream: StandIn) -> None:
    """An image of the user and a JSON schema reach the upstream."""
    assistant = make_assistant(door, client)
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": content}]))
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    response_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    assert run_to_end(door, client, thread.id, assistant.id, response_format=response_format).status == "completed"
    [body] = request_bodies(upstream)
    assert body["text"]["format"]["name"] == "answer"
    assert [part["type"] for part in body["input"][0]["content"]] == ["input_text", "input_image"]


@pytest.mark.parametrize("mode", ["background"])
def test_a_run_is_cancelled(door: Door, client: Any, upstream: StandIn, mode: str) -> None:
    """A cancelled run stops upstream, and the thread can run again."""
    upstream.script(Turn(text="Late.", polls=1000), Turn(text="Again.", polls=0))
    run, runs = start_run(door, client), client.beta.threads.runs
    assert door(runs.cancel(run.id, thread_id=run.thread_id)).status == "cancelling"
    assert door(runs.poll(run.id, thread_id=run.thread_id)).status == "cancelled"
    again = door(runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert again.status == "completed"


@pytest.mark.parametrize(
    ("status", "error", "class_"),
    [
        (400, refusal("The requested model 'x' does not exist.", param="model", code="model_not_found"), "BadRequest"),
        (401, refusal("Incorrect API key provided.", code="invalid_api_key"), "Authentication"),
        (429, refusal("Rate limit reached.", code="rate_limit_exceeded"), "RateLimit"),
        (500, refusal("The server had an error."), "InternalServer"),
    ],
    ids=["400", "401", "429", "500"],
)
def test_an_error_of_the_upstream_is_the_callers(
    door: Door, client: Any, upstream: StandIn, status: int, error: Any, class_: str
) -> None:
    """The caller gets the error's class and the upstream's words in it, and no run is left behind."""
    upstream.fault(Fault("POST /responses", status=status, body=error, times=9))
    ids = make_thread_and_assistant(door, client, tools=[])
    with pytest.raises(getattr(openai, f"{class_}Error"), match=error["error"]["message"]):
        door(client.beta.threads.runs.create(ids[0], assistant_id=ids[1]))
    assert door.all(client.beta.threads.runs.list(ids[0])) == []


def test_a_failed_response_is_a_failed_run(door: Door, client: Any, upstream: StandIn) -> None:
    """The upstream's error is the run's `last_error`."""
    upstream.script(Turn(status="failed", error={"code": "server_error", "message": "It broke."}))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client, tools=[]))
    assert (run.status, run.last_error.code, run.last_error.message) == ("failed", "server_error", "It broke.")
