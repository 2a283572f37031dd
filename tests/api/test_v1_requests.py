"""Requests of the API's first version are accepted: `retrieval`, and `file_ids` on assistants and messages."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import Fault, StandIn
from kit.doors import Door
from kit.legacy_code import get_raw, make_assistant, make_thread, upstream_calls
from kit.upstream_requests import request_bodies

RETRIEVAL = [{"type": "retrieval"}]
CODE = [{"type": "code_interpreter"}]
BOTH = [{"type": "code_interpreter"}, {"type": "file_search"}]


def upload(upstream: StandIn, *names: str) -> list[str]:
    """Upload files with these names and return their ids."""
    return [upstream.put_file(name, b"Cake.", "assistants") for name in names]


def files_of(upstream: StandIn, store: str) -> set[str]:
    """Return the ids of the files in a vector store."""
    return set(upstream.vector_stores[store].files)


def test_retrieval_becomes_a_file_search(door: Door, client: Any, upstream: StandIn) -> None:
    """`retrieval` with `file_ids` becomes a file search with a vector store, and is served so."""
    file_ids = upload(upstream, "a.txt", "b.txt")
    assistant = make_assistant(door, client, tools=RETRIEVAL, extra_body={"file_ids": file_ids})
    assert [tool.type for tool in assistant.tools] == ["file_search"]
    shown = get_raw(door, client, f"/assistants/{assistant.id}")
    [store] = shown["tool_resources"]["file_search"]["vector_store_ids"]
    assert "file_ids" not in shown
    assert files_of(upstream, store) == set(file_ids)
    thread = make_thread(door, client)
    options = {"tools": [*RETRIEVAL, *CODE], "tool_choice": {"type": "retrieval"}}
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options))
    [body] = request_bodies(upstream)
    assert [tool["type"] for tool in body["tools"]] == ["file_search", "code_interpreter"]
    assert body["tools"][0]["vector_store_ids"] == [store]
    assert body["tool_choice"] == {"type": "file_search"}


def test_file_ids_become_code_interpreter_files(door: Door, client: Any, upstream: StandIn) -> None:
    """`file_ids` with Code Interpreter become its files, and an update replaces them, for both tools too."""
    first, second = upload(upstream, "a.txt", "b.txt")
    assistant = make_assistant(door, client, tools=CODE, extra_body={"file_ids": [first]})
    assert assistant.tool_resources.code_interpreter.file_ids == [first]
    assert upstream_calls(upstream) == []
    door(client.beta.assistants.update(assistant.id, extra_body={"file_ids": [second]}))
    shown = get_raw(door, client, f"/assistants/{assistant.id}")
    assert shown["tool_resources"] == {"code_interpreter": {"file_ids": [second]}}
    tools = [*CODE, *RETRIEVAL]
    door(client.beta.assistants.update(assistant.id, tools=tools, extra_body={"file_ids": [first]}))
    shown = get_raw(door, client, f"/assistants/{assistant.id}")["tool_resources"]
    assert shown["code_interpreter"] == {"file_ids": [first]}
    assert files_of(upstream, shown["file_search"]["vector_store_ids"][0]) == {first}


@pytest.mark.parametrize("place", ["message", "thread", "run"])
def test_file_ids_of_a_message_are_for_both_tools(door: Door, client: Any, upstream: StandIn, place: str) -> None:
    """`file_ids` of a message become attachments for both tools, wherever the message is created."""
    [file_id] = upload(upstream, "a.txt")
    message = {"role": "user", "content": "?", "file_ids": [file_id]}
    assistant = make_assistant(door, client, tools=[*RETRIEVAL, *CODE])
    if place == "thread":
        thread_id = door(client.beta.threads.create(messages=[message])).id
    else:
        thread_id = door(client.beta.threads.create()).id
    if place == "message":
        more = {"file_ids": [file_id]}
        door(client.beta.threads.messages.create(thread_id, role="user", content="?", extra_body=more))
    options = {"additional_messages": [message]} if place == "run" else {}
    door(client.beta.threads.runs.create(thread_id, assistant_id=assistant.id, **options))
    search, code = request_bodies(upstream)[0]["tools"]
    assert code["container"]["file_ids"] == [file_id]
    assert files_of(upstream, search["vector_store_ids"][0]) == {file_id}
    [shown] = get_raw(door, client, f"/threads/{thread_id}/messages")["data"]
    assert shown["attachments"] == [{"file_id": file_id, "tools": BOTH}]
    assert "file_ids" not in shown


def test_a_file_that_cannot_be_searched_is_for_code_interpreter(door: Door, client: Any, upstream: StandIn) -> None:
    """A file that the vector store refuses stays with Code Interpreter, but any other error fails the message."""
    [file_id] = upload(upstream, "a.csv")
    thread = make_thread(door, client)
    message = {"role": "user", "content": "?", "extra_body": {"file_ids": [file_id]}}
    refusal = {"error": {"message": "Files with extensions [.csv] are not supported for retrieval.", "type": "x"}}
    upstream.fault(Fault("POST /vector_stores", status=400, body=refusal))
    door(client.beta.threads.messages.create(thread.id, **message))
    resources = get_raw(door, client, f"/threads/{thread.id}")["tool_resources"]
    assert resources == {"code_interpreter": {"file_ids": [file_id]}}
    upstream.fault(Fault("POST /vector_stores", status=500))
    with pytest.raises(openai.InternalServerError):
        door(client.beta.threads.messages.create(thread.id, **message))


def test_an_unknown_tool_is_refused(door: Door, client: Any) -> None:
    """The error for an unknown tool proposes the current tool names, without `retrieval`."""
    with pytest.raises(openai.BadRequestError) as caught:
        make_assistant(door, client, tools=[{"type": "browser"}])
    assert "'code_interpreter', 'file_search', and 'function'" in str(caught.value)
