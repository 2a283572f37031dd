"""Threads are created with and without messages, updated, and deleted with everything in them."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, delete_message, finish_run, get_raw, make_thread


def test_a_new_thread_shows_no_tool_resources_until_it_is_retrieved(door: Door, client: Any) -> None:
    """A new thread is served with `tool_resources: {}` by POST and with an empty file list by GET, as recorded."""
    thread = door(client.beta.threads.create())
    created = {
        "id": thread.id,
        "object": "thread",
        "created_at": thread.created_at,
        "metadata": {},
        "tool_resources": {},
    }
    assert thread.to_dict() == created
    served = get_raw(door, client, f"/threads/{thread.id}")
    assert list(served.items()) == list({**created, "tool_resources": {"code_interpreter": {"file_ids": []}}}.items())
    assert door(client.beta.threads.update(thread.id)).to_dict()["tool_resources"] == {}


def test_tool_resources_are_echoed(door: Door, client: Any) -> None:
    """POST and GET serve the files and vector stores that a thread was created with."""
    resources = {"code_interpreter": {"file_ids": ["file-1"]}, "file_search": {"vector_store_ids": ["vs_1"]}}
    thread = door(client.beta.threads.create(tool_resources=resources))
    assert thread.to_dict()["tool_resources"] == resources
    assert get_raw(door, client, f"/threads/{thread.id}")["tool_resources"] == resources


def test_messages_given_at_creation_keep_their_order(door: Door, client: Any) -> None:
    """The first messages keep their order, roles, metadata and parts, although all have the same timestamp."""
    messages = [
        {"role": "user", "content": "one", "metadata": {"n": "1"}},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}, {"type": "text", "text": "3"}]},
    ]
    thread = door(client.beta.threads.create(messages=messages, metadata={"who": "me"}))
    assert thread.metadata == {"who": "me"}
    listed = door.all(client.beta.threads.messages.list(thread.id, order="asc"))
    assert [message.role for message in listed] == ["user", "assistant", "user"]
    assert [[part.text.value for part in message.content] for message in listed] == [["one"], ["two"], ["three", "3"]]
    assert [message.metadata for message in listed] == [{"n": "1"}, {}, {}]


def test_an_update_of_a_thread_changes_only_the_given_keys(door: Door, client: Any) -> None:
    """An update of a thread changes metadata and tool resources independently."""
    resources = {"code_interpreter": {"file_ids": ["file-1"]}}
    thread = door(client.beta.threads.create(metadata={"a": "1"}, tool_resources=resources))
    door(client.beta.threads.update(thread.id, metadata={"b": "2"}))
    served = get_raw(door, client, f"/threads/{thread.id}")
    assert (served["metadata"], served["tool_resources"]) == ({"a": "1", "b": "2"}, resources)
    other = {"code_interpreter": {"file_ids": ["file-2", "file-3"]}}
    door(client.beta.threads.update(thread.id, tool_resources=other))
    served = get_raw(door, client, f"/threads/{thread.id}")
    assert (served["metadata"], served["tool_resources"]) == ({"a": "1", "b": "2"}, other)


def test_a_deleted_thread_loses_everything_but_its_files(door: Door, client: Any, upstream: StandIn) -> None:
    """Messages, runs and steps of a deleted thread get the thread's 404, and its generated file stays."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}))
    run = finish_run(door, client, assistant={"tools": CODE})
    message = door.all(client.beta.threads.messages.list(run.thread_id))[0]
    [step, *_] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    deleted = door(client.beta.threads.delete(run.thread_id))
    assert deleted.to_dict() == {"id": run.thread_id, "object": "thread.deleted", "deleted": True}
    threads = client.beta.threads
    calls = [
        lambda: threads.retrieve(run.thread_id),
        lambda: threads.update(run.thread_id, metadata={}),
        lambda: threads.delete(run.thread_id),
        lambda: threads.messages.create(run.thread_id, role="user", content="x"),
        lambda: threads.messages.retrieve(message.id, thread_id=run.thread_id),
        lambda: threads.messages.update(message.id, thread_id=run.thread_id),
        lambda: delete_message(door, client, message.id, run.thread_id),
        lambda: threads.runs.create(run.thread_id, assistant_id=run.assistant_id),
        lambda: threads.runs.retrieve(run.id, thread_id=run.thread_id),
        lambda: threads.runs.steps.retrieve(step.id, thread_id=run.thread_id, run_id=run.id),
        lambda: client.get(f"/threads/{run.thread_id}/messages", cast_to=object),
        lambda: client.get(f"/threads/{run.thread_id}/runs", cast_to=object),
        lambda: client.get(f"/threads/{run.thread_id}/runs/{run.id}/steps", cast_to=object),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError) as caught:
            door(call())
        assert caught.value.body == {
            "message": f"No thread found with id '{run.thread_id}'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    file_id = message.content[0].text.annotations[0].file_path.file_id
    assert door(client.files.content(file_id)).read() == CSV


def test_a_thread_called_runs_is_not_mistaken_for_a_route(door: Door, client: Any) -> None:
    """`GET /threads/runs` looks for a thread with the id `runs` and gets its 404."""
    make_thread(door, client)
    with pytest.raises(openai.NotFoundError, match=r"No thread found with id 'runs'\."):
        get_raw(door, client, "/threads/runs")
