"""`responses_request` returns the request that a run would send next, and sends and stores nothing."""

from __future__ import annotations

import inspect
import json
from typing import Any

import openai
import pytest

from assistants_compat import CompatError, Settings, responses_request
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.files import PNG
from kit.legacy_code import (
    CODE,
    CSV,
    FUNCTION,
    LINK,
    dump_store,
    finish_run,
    make_assistant,
    make_thread,
    run_again,
    submit_outputs,
    waiting_run,
)

SCHEMA = {"name": "answer", "schema": {"type": "object", "additionalProperties": False}, "strict": True}
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "instructions": {"instructions": "Be brief.", "additional_instructions": "And kind."},
    "model and numbers": {"model": "gpt-4.1", "temperature": 0.2, "top_p": 0.9, "max_completion_tokens": 300},
    "reasoning": {"model": "gpt-5.6-luna", "reasoning_effort": "none"},
    "tools": {"tools": [*CODE, FUNCTION], "tool_choice": {"type": "function", "function": {"name": "look"}}},
    "no tools": {"tools": []},
    "one at a time": {"parallel_tool_calls": False, "tool_choice": "auto"},
    "schema": {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    "truncation": {"truncation_strategy": {"type": "last_messages", "last_messages": 2}},
    "additional messages": {
        "additional_messages": [
            {"role": "user", "content": "One more.", "attachments": [{"file_id": "file-b", "tools": CODE}]},
            {"role": "assistant", "content": "I see."},
        ]
    },
    "unset": {"instructions": openai.NOT_GIVEN, "metadata": {"a": "b"}},
}


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


def make_full_assistant_and_thread(door: Door, client: Any, upstream: StandIn) -> tuple[str, str]:
    """Create an assistant with all tools, and a thread with files, images, calls and a container."""
    file_id = upstream.put_file("data.csv", CSV, "assistants")
    notes_id = upstream.put_file("notes.txt", b"A note.", "assistants")  # the service searches no tables
    store = door(client.post("/vector_stores", body={"name": "s", "file_ids": [notes_id]}, cast_to=object))
    resources = {
        "code_interpreter": {"file_ids": [file_id]},
        "file_search": {"vector_store_ids": [store["id"]]},
    }
    tools = [*CODE, {"type": "file_search", "file_search": {"max_num_results": 3}}, FUNCTION]
    options = {"tools": tools, "temperature": 0.5, "response_format": "auto"}
    run = waiting_run(door, client, upstream, assistant={"tools": tools, "tool_resources": resources})
    upstream.script(Turn(text="Seen.", polls=0))
    submit_outputs(door, client, run)
    door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    door(client.beta.threads.messages.create(run.thread_id, role="user", content=[image]))
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run_again(door, client, run, "A table.", tools=tools)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="ünï 🙂"))
    return make_assistant(door, client, tool_resources=resources, **options).id, run.thread_id


@pytest.mark.parametrize("name", OPTIONS)
def test_the_request_is_what_a_run_sends_next(
    door: Door, client: Any, upstream: StandIn, settings: Settings, name: str
) -> None:
    """The request equals the run's request byte for byte, and computing it changes nothing."""
    assistant_id, thread_id = make_full_assistant_and_thread(door, client, upstream)
    options = OPTIONS[name]
    for attachment in options.get("additional_messages", [{}])[0].get("attachments", []):
        attachment["file_id"] = upstream.put_file("b.csv", CSV, "assistants")
    before = dump_store(settings)
    upstream.requests.clear()
    request = door(responses_request(client, assistant_id, thread_id, **options))
    assert (upstream.requests, dump_store(settings)) == ([], before)
    body = {key: value for key, value in options.items() if value is not openai.NOT_GIVEN}
    # `extra_body`, because old SDKs have fewer parameters.
    door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, extra_body=body))
    sent = [call for call in upstream.requests if (call.method, call.path) == ("POST", "/responses")]
    assert json.dumps(request).encode() == sent[0].body


def test_the_request_of_a_stream_has_no_background(door: Door, client: Any, upstream: StandIn) -> None:
    """With `stream=True` the request has `stream` and no `background`."""
    assistant_id, thread_id = make_assistant(door, client).id, make_thread(door, client).id
    request = door(responses_request(client, assistant_id, thread_id, stream=True))
    assert (request["stream"], request.get("background")) == (True, None)


def test_a_refused_background_mode_is_left_out(door: Door, upstream: StandIn, settings: Settings) -> None:
    """After the upstream refused background mode, the request has no `background`."""
    with StandIn(background_refused=True) as refusing_upstream:
        client = door.client(refusing_upstream, settings)
        assistant_id, thread_id = make_assistant(door, client).id, make_thread(door, client).id
        assert door(responses_request(client, assistant_id, thread_id))["background"] is True
        door(client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id))
        assert "background" not in door(responses_request(client, assistant_id, thread_id))


def test_the_request_is_a_valid_native_request(door: Door, client: Any, upstream: StandIn) -> None:
    """The service accepts the request unchanged."""
    assistant_id, thread_id = make_full_assistant_and_thread(door, client, upstream)
    request = door(responses_request(client, assistant_id, thread_id))
    upstream.script(Turn(text="Native.", polls=0))
    # Some SDKs have no `responses`, and others have one without all parameters: `background` came later.
    if hasattr(client, "responses") and request.keys() <= inspect.signature(client.responses.create).parameters.keys():
        answer = door(client.responses.create(**request)).to_dict()
    else:
        answer = door(client.post("/responses", body=request, cast_to=object))
    assert answer["status"] == "queued"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"temperature": 3}, "Invalid 'temperature': decimal above maximum value"),
        ({"tempreature": 1}, "Unknown parameter: 'tempreature'"),
        ({"metadata": {"a": {1, 2}.__class__}}, "cannot be sent as JSON"),
        (
            {"additional_messages": [{"role": "user", "content": "x", "attachments": [
                {"file_id": "file-b", "tools": [{"type": "file_search"}]}]}]},
            "would create a vector store",
        ),
    ],
)  # fmt: skip
def test_options_that_a_run_would_refuse_are_refused(
    door: Door, client: Any, upstream: StandIn, options: dict[str, Any], error: str
) -> None:
    """Options that a run would refuse are refused with the service's text where it has one."""
    assistant_id, thread_id = make_assistant(door, client).id, make_thread(door, client).id
    with pytest.raises(CompatError, match=error):
        door(responses_request(client, assistant_id, thread_id, **options))


def test_unknown_ids_are_the_sdks_404(door: Door, client: Any) -> None:
    """An unknown assistant or thread raises the error of `runs.create`."""
    thread_id = make_thread(door, client).id
    with pytest.raises(openai.NotFoundError, match="No assistant found"):
        door(responses_request(client, "asst_x", thread_id))
    with pytest.raises(openai.NotFoundError, match="No thread found"):
        door(responses_request(client, "asst_x", "thread_x"))


def test_a_request_that_cannot_be_known_is_an_error(door: Door, client: Any, upstream: StandIn) -> None:
    """An active run, or a file that is not uploaded yet, is an error that says why the request is unknown."""
    run = waiting_run(door, client, upstream)
    with pytest.raises(CompatError, match=f"active run, {run.id}"):
        door(responses_request(client, run.assistant_id, run.thread_id))
    other = finish_run(door, client)
    upstream.script(Turn(text="Done.", images=[PNG], polls=0))
    run_with_image = run_again(door, client, other, tools=CODE)
    [message] = door.all(client.beta.threads.messages.list(run_with_image.thread_id, run_id=run_with_image.id))
    image = next(block for block in message.content if block.type == "image_file")
    content = [{"type": "image_file", "image_file": {"file_id": image.image_file.file_id}}]
    door(client.beta.threads.messages.create(run_with_image.thread_id, role="user", content=content))
    with pytest.raises(CompatError, match=f"would upload generated files first .{image.image_file.file_id}"):
        door(responses_request(client, run_with_image.assistant_id, run_with_image.thread_id))
    run_again(door, client, run_with_image)
    assert "input_image" in json.dumps(
        door(responses_request(client, run_with_image.assistant_id, run_with_image.thread_id))
    )
