"""Requests that the service is known to refuse are not sent: such a run costs one request and completes."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from assistants_compat.translate import transcript
from kit.doors import Door
from kit.legacy_code import (
    FUNCTION,
    delete_message,
    finish_run,
    make_assistant,
    make_thread,
    run_again,
    submit_outputs,
    upstream_calls,
    waiting_run,
)
from kit.streams import read_rest

POST = "POST /responses"
JSON_MODE: dict[str, Any] = {"response_format": {"type": "json_object"}}
INSTRUCTIONS = "Answer in JSON."
EMPTY = [{"role": "user", "content": ""}]


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


def inputs(upstream: StandIn) -> list[Any]:
    """Return the input of each request for a response."""
    return [call.json["input"] for call in upstream.requests if (call.method, call.path) == ("POST", "/responses")]


def roles(items: list[Any]) -> list[str]:
    """Return the roles or types of input items."""
    return [str(item.get("role") or item["type"]) for item in items]


# --- JSON mode


@pytest.mark.refusal("json_word_missing")
@pytest.mark.parametrize("stores", [True, False])
def test_json_mode_works_with_the_word_in_the_instructions_only(
    door: Door, upstream: StandIn, settings: Settings, *, stores: bool
) -> None:
    """Instructions that ask for JSON are sent in the input: at its start, and in a later round behind the outputs."""
    client = door.client(upstream, replace(settings, store_responses=stores))
    run = waiting_run(door, client, upstream, assistant={"instructions": INSTRUCTIONS, **JSON_MODE})
    submit_outputs(door, client, run)
    run = door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    assert (run.status, run.instructions) == ("completed", INSTRUCTIONS)
    first, second = inputs(upstream)
    assert roles(first) == ["developer", "user"]
    history = ["developer", "user", "function_call", "function_call_output"]
    assert roles(second) == (["function_call_output", "developer"] if stores else history)
    assert not any("instructions" in call.json for call in upstream.requests if call.path == "/responses" and call.json)


@pytest.mark.refusal("json_word_missing")
def test_json_mode_works_in_a_stream(door: Door, client: Any, upstream: StandIn) -> None:
    """A streamed run in JSON mode sends its instructions in the input too."""
    assistant = make_assistant(door, client, instructions=INSTRUCTIONS, **JSON_MODE)
    thread = make_thread(door, client)
    stream = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))
    assert "thread.run.completed" in [event.event for event in read_rest(door, stream)]
    assert [roles(items) for items in inputs(upstream)] == [["developer", "user"]]


# --- empty input


@pytest.mark.refusal("input_empty")
def test_a_run_without_messages_completes(door: Door, client: Any, upstream: StandIn) -> None:
    """A run on a thread without messages, or whose messages were all deleted, sends one empty message."""
    assistant = make_assistant(door, client)
    empty = door(client.beta.threads.create())
    thread = make_thread(door, client)
    [message] = door.all(client.beta.threads.messages.list(thread.id))
    delete_message(door, client, message.id, thread.id)
    for thread_id in (empty.id, thread.id):
        run = door(client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant.id))
        assert run.status == "completed"
    assert inputs(upstream) == [EMPTY, EMPTY]


@pytest.mark.refusal("input_empty")
def test_a_run_whose_only_answer_is_an_image_completes(door: Door, client: Any, upstream: StandIn) -> None:
    """If only an assistant's image is left of a thread, or of its last messages, a run sends one empty message."""
    picture = upstream.put_file("a.png", b"png", "vision")
    content = [{"type": "image_file", "image_file": {"file_id": picture}}]
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    door(client.beta.threads.messages.create(thread.id, role="assistant", content=content))
    last = {"type": "last_messages", "last_messages": 1}
    run = door(
        client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, truncation_strategy=last
        )
    )
    assert run.status == "completed"
    assert inputs(upstream) == [EMPTY]


@pytest.mark.refusal("input_empty")
def test_a_stream_without_messages_completes(door: Door, client: Any, upstream: StandIn) -> None:
    """A streamed run without messages sends one empty message."""
    assistant, thread = make_assistant(door, client), door(client.beta.threads.create())
    stream = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))
    assert "thread.run.completed" in [event.event for event in read_rest(door, stream)]
    assert inputs(upstream) == [EMPTY]


# --- tools


@pytest.mark.refusal("parallel_tool_calls_without_tools")
def test_parallel_tool_calls_are_not_sent_without_tools(door: Door, client: Any, upstream: StandIn) -> None:
    """`parallel_tool_calls` is sent only with tools; a search without a vector store is no tool."""
    for tools in ([], [{"type": "file_search"}], [FUNCTION]):
        run = finish_run(door, client, assistant={"tools": tools}, extra_body={"parallel_tool_calls": False})
        assert run.status == "completed"
        assert run.to_dict()["parallel_tool_calls"] is False
    assert [call.json.get("parallel_tool_calls") for call in upstream.requests if call.method == "POST"] == [
        None,
        None,
        False,
    ]


def make_store(door: Door, client: Any) -> str:
    """Create a vector store and return its id."""
    return str(door(client.post("/vector_stores", body={"name": "s"}, cast_to=object))["id"])


@pytest.mark.refusal("vector_stores_too_many")
def test_a_run_searches_at_most_two_vector_stores(
    door: Door, client: Any, upstream: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Of three vector stores the newest of the assistant and of the thread are searched; that is logged once."""
    ids = [make_store(door, client) for _ in range(3)]
    resources = {"file_search": {"vector_store_ids": [ids[0]], "vector_stores": [{"file_ids": []}]}}
    assistant = make_assistant(door, client, tools=[{"type": "file_search"}], extra_body={"tool_resources": resources})
    [created] = [id_ for id_ in assistant.tool_resources.file_search.vector_store_ids if id_ != ids[0]]
    thread = door(client.beta.threads.create(tool_resources={"file_search": {"vector_store_ids": [ids[2]]}}))
    for _ in range(2):
        run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
        assert run.status == "completed"
    searched = [call.json["tools"][0]["vector_store_ids"] for call in upstream.requests if call.path == "/responses"]
    assert searched == [[created, ids[2]]] * 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"at most two vector stores are searched; ['{ids[0]}'] are older and left out"]


# --- function calls of earlier runs


@pytest.mark.refusal("arguments_too_long", "call_id_too_long")
@pytest.mark.parametrize(
    ("call_id", "arguments"), [("call_1", "x" * 1_048_577), ("c" * 65, "{}")], ids=["arguments", "call id"]
)
def test_a_call_that_the_service_refuses_does_not_fail_later_runs(
    door: Door, settings: Settings, call_id: str, arguments: str
) -> None:
    """A call with more than 1 MiB of arguments, or with a long id from a gateway, costs later runs no refusal."""
    call = {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": "look", "status": "completed"}
    with StandIn(strict=False) as upstream:  # a gateway, which takes back the ids that it made
        client = door.client(upstream, settings)
        upstream.script(Turn(output=[{**call, "arguments": arguments}], polls=0))
        run = finish_run(door, client, tools=[FUNCTION])
        submit_outputs(door, client, run, call_id)
        door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
        assert inputs(upstream)[-1][0]["call_id"] == call_id
        upstream.configure(strict=True)
        assert run_again(door, client, run, "Again.").status == "completed"
        assert upstream_calls(upstream, POST) == [POST] * 3
        items = inputs(upstream)[-1]
    if arguments != "{}":
        assert roles(items) == ["user", "assistant", "user"]
    else:
        assert roles(items) == ["user", "function_call", "function_call_output", "assistant", "user"]
        assert items[1]["call_id"] == items[2]["call_id"]
        assert len(items[1]["call_id"]) == 64


# --- the number of input items


@pytest.mark.refusal("input_array_too_long")
@pytest.mark.parametrize(("strategy", "is_shortened"), [("auto", True), ("last_messages", False)])
def test_a_thread_over_the_limit_for_items_loses_middle_turns(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, strategy: str, *, is_shortened: bool
) -> None:
    """A thread with more items than the service takes is shortened before it is sent, with the strategy `auto` only."""
    monkeypatch.setattr(transcript, "_MAX_ITEMS", 6)
    texts = [f"Message {number}." for number in range(8)]
    assistant, thread = make_assistant(door, client), make_thread(door, client, *texts)
    options = {"type": strategy, **({"last_messages": 8} if strategy == "last_messages" else {})}
    run = door(
        client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, truncation_strategy=options
        )
    )
    assert run.status == "completed"
    [items] = inputs(upstream)
    assert [item["content"][0]["text"] for item in items] == ([*texts[:2], *texts[-2:]] if is_shortened else texts)
