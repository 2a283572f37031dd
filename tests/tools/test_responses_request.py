"""`responses_request`: the request that a run sends next, byte for byte, and nothing sent or stored for it."""

from __future__ import annotations

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
    dump,
    finish_run,
    make_assistant,
    make_thread,
    run_again,
    submit,
    waiting_run,
)

SCHEMA = {"name": "answer", "schema": {"type": "object", "properties": {}}, "strict": True}
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "instructions": {"instructions": "Be brief.", "additional_instructions": "And kind."},
    "model and numbers": {"model": "gpt-4.1", "temperature": 0.2, "top_p": 0.9, "max_completion_tokens": 300},
    "reasoning": {"reasoning_effort": "low"},
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
    """One store is enough."""
    return sqlite_settings


def furnished(door: Door, client: Any, upstream: StandIn) -> tuple[str, str]:
    """An assistant with all its tools, and a thread with files, images, calls and a container."""
    file_id = upstream.put_file("data.csv", CSV, "assistants")
    store = door(client.post("/vector_stores", body={"name": "s", "file_ids": [file_id]}, cast_to=object))
    resources = {
        "code_interpreter": {"file_ids": [file_id]},
        "file_search": {"vector_store_ids": [store["id"]]},
    }
    tools = [*CODE, {"type": "file_search", "file_search": {"max_num_results": 3}}, FUNCTION]
    options = {"tools": tools, "temperature": 0.5, "response_format": "auto"}
    run = waiting_run(door, client, upstream, assistant={"tools": tools, "tool_resources": resources})
    upstream.script(Turn(text="Seen.", polls=0))
    submit(door, client, run)
    door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    door(client.beta.threads.messages.create(run.thread_id, role="user", content=[image]))
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run_again(door, client, run, "A table.", tools=tools)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="ünï 🙂"))
    return make_assistant(door, client, tool_resources=resources, **options).id, run.thread_id


@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_what_a_run_sends_next(door: Door, client: Any, upstream: StandIn, settings: Settings, name: str) -> None:
    """Byte for byte as JSON, with every kind of tool, file and item; and asking changed nothing anywhere."""
    assistant_id, thread_id = furnished(door, client, upstream)
    options = OPTIONS[name]
    for attachment in options.get("additional_messages", [{}])[0].get("attachments", []):
        attachment["file_id"] = upstream.put_file("b.csv", CSV, "assistants")
    before = dump(settings)
    upstream.requests.clear()
    shown = door(responses_request(client, assistant_id, thread_id, **options))
    assert (upstream.requests, dump(settings)) == ([], before)
    given = {key: value for key, value in options.items() if value is not openai.NOT_GIVEN}
    # In the body, because old SDKs know fewer parameters.
    door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, extra_body=given))
    sent = [request for request in upstream.requests if (request.method, request.path) == ("POST", "/responses")]
    assert json.dumps(shown).encode() == sent[0].body


def test_a_stream_is_shown_as_one(door: Door, client: Any, upstream: StandIn) -> None:
    """`stream=True` is part of the request, and background is not."""
    assistant_id, thread_id = make_assistant(door, client).id, make_thread(door, client).id
    shown = door(responses_request(client, assistant_id, thread_id, stream=True))
    assert (shown["stream"], shown.get("background")) == (True, None)


def test_what_the_upstream_refused_once_is_not_shown(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Where background mode was refused, runs are inline from then on, and so is what is shown."""
    with StandIn(background_refused=True) as refusing:
        client = door.client(refusing, settings)
        assistant_id, thread_id = make_assistant(door, client).id, make_thread(door, client).id
        assert door(responses_request(client, assistant_id, thread_id))["background"] is True
        door(client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id))
        assert "background" not in door(responses_request(client, assistant_id, thread_id))


def test_it_is_a_native_call(door: Door, client: Any, upstream: StandIn) -> None:
    """The service takes it as it is."""
    assistant_id, thread_id = furnished(door, client, upstream)
    shown = door(responses_request(client, assistant_id, thread_id))
    upstream.script(Turn(text="Native.", polls=0))
    if hasattr(client, "responses"):
        answer = door(client.responses.create(**shown)).to_dict()
    else:
        answer = door(client.post("/responses", body=shown, cast_to=object))
    assert answer["status"] == "queued"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 3}, "Invalid 'temperature': decimal above maximum value"),
        ({"tempreature": 1}, "Unknown parameter: 'tempreature'"),
        ({"metadata": {"a": {1, 2}.__class__}}, "no JSON"),
        (
            {"additional_messages": [{"role": "user", "content": "x", "attachments": [
                {"file_id": "file-b", "tools": [{"type": "file_search"}]}]}]},
            "would make a vector store",
        ),
    ],
)  # fmt: skip
def test_what_a_run_would_refuse_is_refused(
    door: Door, client: Any, upstream: StandIn, options: dict[str, Any], said: str
) -> None:
    """In the words of the service where it has some."""
    assistant_id, thread_id = make_assistant(door, client).id, make_thread(door, client).id
    with pytest.raises(CompatError, match=said):
        door(responses_request(client, assistant_id, thread_id, **options))


def test_unknown_ids_are_the_sdks_404(door: Door, client: Any) -> None:
    """As `runs.create` has it."""
    thread_id = make_thread(door, client).id
    with pytest.raises(openai.NotFoundError, match="No assistant found"):
        door(responses_request(client, "asst_x", thread_id))
    with pytest.raises(openai.NotFoundError, match="No thread found"):
        door(responses_request(client, "asst_x", "thread_x"))


def test_an_active_run_and_a_file_to_upload_are_said(door: Door, client: Any, upstream: StandIn) -> None:
    """A run could not be made, or nobody knows yet what the file will be called upstream."""
    run = waiting_run(door, client, upstream)
    with pytest.raises(CompatError, match=f"active run, {run.id}"):
        door(responses_request(client, run.assistant_id, run.thread_id))
    other = finish_run(door, client)
    upstream.script(Turn(text="Done.", images=[PNG], polls=0))
    shown = run_again(door, client, other, tools=CODE)
    [message] = door.all(client.beta.threads.messages.list(shown.thread_id, run_id=shown.id))
    image = next(block for block in message.content if block.type == "image_file")
    content = [{"type": "image_file", "image_file": {"file_id": image.image_file.file_id}}]
    door(client.beta.threads.messages.create(shown.thread_id, role="user", content=content))
    with pytest.raises(CompatError, match=f"would upload generated files first .{image.image_file.file_id}"):
        door(responses_request(client, shown.assistant_id, shown.thread_id))
    run_again(door, client, shown)
    assert "input_image" in json.dumps(door(responses_request(client, shown.assistant_id, shown.thread_id)))
