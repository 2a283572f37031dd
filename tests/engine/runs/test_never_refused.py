"""What the upstream is known to refuse and the library never sends, whatever a run does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.container_runs import polled_or_streamed, run_to_end, turn_with_file
from kit.doors import Door
from kit.legacy_code import CODE, FUNCTION, function_call_turn, make_assistant, make_thread, submit_outputs
from kit.streams import read_rest
from kit.upstream_requests import request_bodies

PIXEL = b"\x89PNG\r\n\x1a\nplot"
# The most instructions and tools that the old service took (the spec), and one more.
TOO_MUCH = [("instructions", "x" * 256_001), ("tools", [FUNCTION] * 129)]


def parts_of(body: Any) -> list[tuple[str, str]]:
    """Return role and type of each part of each message in a request's input; a plain string has the type "text"."""
    found = []
    for item in body["input"]:
        content = item.get("content", []) if "role" in item else []
        parts = [{"type": "text"}] if isinstance(content, str) else content
        found += [(item["role"], part["type"]) for part in parts]
    return found


@pytest.mark.refusal(
    "assistant_input_text",
    "conversation_locked",
    "encrypted_of_stored",
    "input_file_type",
    "mutually_exclusive",
    "parameter_unknown",
)
@polled_or_streamed
def test_a_busy_thread_sends_nothing_that_is_refused(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """Runs with code, a function, a file, an image and an assistant's history send only what the service accepts."""
    image = door(client.files.create(file=("a.png", PIXEL), purpose="vision")).id
    table = door(client.files.create(file=("in.csv", b"1,2\n"), purpose="assistants")).id
    assistant = make_assistant(door, client, tools=[*CODE, FUNCTION])
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_file", "image_file": {"file_id": image}}]
    message = {"role": "user", "content": content, "attachments": [{"file_id": table, "tools": CODE}]}
    history = {"role": "assistant", "content": "Earlier, I said so."}
    thread = door(client.beta.threads.create(messages=[history, message]))
    upstream.script(turn_with_file("out.csv", b"3"), function_call_turn("call_1"), Turn(text="Done.", polls=0))
    assert run_to_end(door, client, thread.id, assistant.id, stream=stream).status == "completed"
    waiting = run_to_end(door, client, thread.id, assistant.id, stream=stream)
    answer = submit_outputs(door, client, waiting, **({"stream": True} if stream else {}))
    if stream:
        read_rest(door, answer)
    done = door(client.beta.threads.runs.poll(waiting.id, thread_id=thread.id))
    assert done.status == "completed"
    bodies = request_bodies(upstream)
    parts = {part for body in bodies for part in parts_of(body)}
    assert parts == {("assistant", "text"), ("user", "input_text"), ("user", "input_image")}
    assert [body for body in bodies if "conversation" in body] == []
    asked_for = [value for request in upstream.requests if request.method == "GET" for _, value in request.query]
    assert "reasoning.encrypted_content" not in asked_for


@pytest.mark.refusal("max_output_tokens_small")
def test_at_least_sixteen_tokens_are_requested(door: Door, client: Any, upstream: StandIn) -> None:
    """A round for which a run has fewer tokens left gets sixteen, the least that the service accepts."""
    usage = {"input_tokens": 3, "output_tokens": 250, "total_tokens": 253}
    upstream.script(function_call_turn("call_1", usage=usage), Turn(text="Done.", polls=0))
    assistant, thread = make_assistant(door, client, tools=[FUNCTION]), make_thread(door, client)
    waiting = run_to_end(door, client, thread.id, assistant.id, max_completion_tokens=256)
    submit_outputs(door, client, waiting)
    assert [body["max_output_tokens"] for body in request_bodies(upstream)] == [256, 16]


@pytest.mark.refusal("instructions_too_long", "tools_too_many")
@pytest.mark.parametrize(("name", "value"), TOO_MUCH, ids=[name for name, _ in TOO_MUCH])
def test_too_much_is_refused_before_the_upstream_is_asked(
    door: Door, client: Any, upstream: StandIn, name: str, value: Any
) -> None:
    """The old limits of instructions and tools are checked when an assistant is created and when a run is."""
    with pytest.raises(openai.BadRequestError):
        make_assistant(door, client, **{name: value})
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    with pytest.raises(openai.BadRequestError):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **{name: value}))
    assert request_bodies(upstream) == []


@pytest.mark.refusal("cancel_synchronous")
def test_only_a_background_response_is_cancelled(door: Door, upstream: StandIn, settings: Settings) -> None:
    """An inline run that waits for outputs is cancelled without a request to the upstream."""
    client = door.client(upstream, replace(settings, mode="inline"))
    upstream.script(function_call_turn("call_1"))
    assistant, thread = make_assistant(door, client, tools=[FUNCTION]), make_thread(door, client)
    waiting = run_to_end(door, client, thread.id, assistant.id)
    door(client.beta.threads.runs.cancel(waiting.id, thread_id=thread.id))
    assert [request.path for request in upstream.requests if request.path.endswith("/cancel")] == []
