"""A thread whose own vector store was deleted goes on taking files for a search: they go into another store."""

from __future__ import annotations

import logging
from typing import Any

import openai
import pytest

from assistants_compat.testing import Fault, StandIn
from kit.container_runs import polled_or_streamed, run_to_end
from kit.doors import Door
from kit.legacy_code import make_assistant
from kit.upstream_requests import request_bodies

SEARCH = [{"type": "file_search"}]


def message_with_file(upstream: StandIn) -> dict[str, Any]:
    """Upload a file and return a message that attaches it for a search."""
    file_id = upstream.put_file("a.txt", b"Cake.", "assistants")
    return {"role": "user", "content": "?", "attachments": [{"file_id": file_id, "tools": SEARCH}]}


def stores_of(door: Door, client: Any, thread: str) -> list[str]:
    """Return the vector stores of a thread."""
    return list(door(client.beta.threads.retrieve(thread)).tool_resources.file_search.vector_store_ids)


def make_thread_without_its_store(door: Door, client: Any, upstream: StandIn) -> tuple[str, str]:
    """Make a thread with a searched file, and delete the thread's store upstream; return the ids of both."""
    thread = door(client.beta.threads.create(messages=[message_with_file(upstream)])).id
    [gone] = stores_of(door, client, thread)
    del upstream.vector_stores[gone]
    return thread, gone


@pytest.mark.parametrize("way", ["message", "run", "polled run before"])
@polled_or_streamed
def test_a_file_for_a_thread_without_its_store_gets_another_one(
    door: Door, client: Any, upstream: StandIn, caplog: pytest.LogCaptureFixture, way: str, *, stream: bool
) -> None:
    """A new store takes the place of the deleted one, and runs search it, whoever has missed the old one first."""
    caplog.set_level(logging.INFO, "assistants_compat")
    thread, gone = make_thread_without_its_store(door, client, upstream)
    assistant = make_assistant(door, client, tools=SEARCH).id
    message = message_with_file(upstream)
    options: dict[str, Any] = {}
    if way == "polled run before":
        assert run_to_end(door, client, thread, assistant).status == "completed"
    if way == "run":
        options = {"additional_messages": [message]}
    else:
        door(client.beta.threads.messages.create(thread, **message))
    assert run_to_end(door, client, thread, assistant, stream=stream, **options).status == "completed"
    [store] = stores_of(door, client, thread)
    assert store != gone
    assert list(upstream.vector_stores[store].files) == [message["attachments"][0]["file_id"]]
    assert request_bodies(upstream)[-1]["tools"][0]["vector_store_ids"] == [store]
    assert sum(gone in record.getMessage() for record in caplog.records) == 1


def test_the_older_store_of_a_thread_takes_the_file(door: Door, client: Any, upstream: StandIn) -> None:
    """If a thread has another store that still exists, a file goes there."""
    kept = door(client.post("/vector_stores", body={"name": "mine"}, cast_to=object))["id"]
    file_id = upstream.put_file("a.txt", b"Cake.", "assistants")
    resources = {"file_search": {"vector_store_ids": [kept], "vector_stores": [{"file_ids": [file_id]}]}}
    thread = door(client.beta.threads.create(tool_resources=resources)).id
    _, gone = stores_of(door, client, thread)
    del upstream.vector_stores[gone]
    message = message_with_file(upstream)
    door(client.beta.threads.messages.create(thread, **message))
    assert list(upstream.vector_stores[kept].files) == [message["attachments"][0]["file_id"]]
    assert list(upstream.vector_stores) == [kept]


def test_another_refusal_of_a_file_is_told(door: Door, client: Any, upstream: StandIn) -> None:
    """A refusal that does not name the store reaches the caller, and the thread keeps its store."""
    thread = door(client.beta.threads.create(messages=[message_with_file(upstream)])).id
    before = stores_of(door, client, thread)
    body = {"error": {"message": "No such route.", "type": "x"}}
    upstream.fault(Fault("POST /vector_stores/*/file_batches", status=404, body=body))
    with pytest.raises(openai.NotFoundError, match="No such route"):
        door(client.beta.threads.messages.create(thread, **message_with_file(upstream)))
    assert stores_of(door, client, thread) == before
