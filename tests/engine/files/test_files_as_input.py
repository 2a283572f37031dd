"""Generated files and images can be input: they are uploaded at the first use, and callers keep using their ids."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    CSV,
    LINK,
    dump_store,
    finish_run,
    get_raw,
    make_assistant,
    make_file,
    make_thread,
    upstream_calls,
)
from kit.upstream_requests import request_bodies

SEARCH = [{"type": "file_search"}]
UPLOAD = "POST /files"
IMAGE = "https://example.test/a.png"


def make_table(door: Door, client: Any, upstream: StandIn) -> str:
    """Let a run make a table, clear the recorded requests and return the table's id."""
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    upstream.requests.clear()
    return file_id


def make_report(door: Door, client: Any, upstream: StandIn) -> str:
    """Let a run write a text, which can be searched as a table cannot (row `file_not_searchable`); return its id."""
    link = "[report](sandbox:/mnt/data/report.txt)"
    file_id = make_file(door, client, upstream, Turn(text=link, files={"report.txt": b"Sales rose."}))
    upstream.requests.clear()
    return file_id


def uploaded_copies(upstream: StandIn, purpose: str = "assistants") -> list[str]:
    """Return the upstream's ids of the uploaded copies."""
    return [id_ for id_, file in upstream.files.items() if file.wire["purpose"] == purpose]


def test_a_generated_file_is_input_of_the_code_interpreter(door: Door, client: Any, upstream: StandIn) -> None:
    """A generated file in an attachment or `tool_resources` is uploaded once for all runs, with its bytes and name."""
    file_id = make_table(door, client, upstream)
    resources = {"code_interpreter": {"file_ids": [file_id]}}
    assistant = make_assistant(door, client, tools=CODE, tool_resources=resources)
    attachment = {"file_id": file_id, "tools": CODE}
    thread = door(
        client.beta.threads.create(messages=[{"role": "user", "content": "Sum it.", "attachments": [attachment]}])
    )
    assert upstream_calls(upstream) == []
    for _ in range(2):
        door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    [copy] = uploaded_copies(upstream)
    assert (upstream.files[copy].content, upstream.files[copy].wire["filename"]) == (CSV, "sales.csv")
    assert [body["tools"][0]["container"]["file_ids"] for body in request_bodies(upstream)] == [[copy], [copy]]
    assert upstream_calls(upstream, UPLOAD) == [UPLOAD]
    served = get_raw(door, client, f"/threads/{thread.id}")["tool_resources"]
    assert served["code_interpreter"]["file_ids"] == [file_id]
    assert get_raw(door, client, f"/assistants/{assistant.id}")["tool_resources"] == resources


def test_a_file_is_not_uploaded_for_a_run_without_the_tool(door: Door, client: Any, upstream: StandIn) -> None:
    """A run without the code interpreter uploads no file."""
    file_id = make_table(door, client, upstream)
    finish_run(door, client, assistant={"tool_resources": {"code_interpreter": {"file_ids": [file_id]}}})
    assert upstream_calls(upstream, UPLOAD) == []


def test_a_generated_file_is_searched(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """An attachment, a requested store and an extended store all hold the same uploaded copy."""
    file_id = make_report(door, client, upstream)
    message = {"role": "user", "content": "?", "attachments": [{"file_id": file_id, "tools": SEARCH}]}
    thread = door(client.beta.threads.create(messages=[message]))
    door(
        client.beta.assistants.create(
            model="gpt-4o", tool_resources={"file_search": {"vector_stores": [{"file_ids": [file_id]}]}}
        )
    )
    other = door.client(upstream, settings)
    door(other.beta.threads.messages.create(thread.id, **message))
    [copy] = uploaded_copies(upstream)
    assert [list(store.files) for store in upstream.vector_stores.values()] == [[copy], [copy]]
    served_id = door.all(other.beta.threads.messages.list(thread.id))[0].attachments[0].file_id
    assert served_id == file_id


def test_a_generated_image_is_shown_to_the_model(door: Door, client: Any, upstream: StandIn) -> None:
    """A generated image in a message is uploaded with purpose "vision", and the thread keeps its id."""
    file_id = make_table(door, client, upstream)
    part = {"type": "image_file", "image_file": {"file_id": file_id, "detail": "low"}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": [part]}]))
    assistant = make_assistant(door, client)
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    [copy] = uploaded_copies(upstream, "vision")
    [item] = request_bodies(upstream)[0]["input"]
    assert item["content"] == [{"type": "input_image", "file_id": copy, "detail": "low"}]
    blocks = get_raw(door, client, f"/threads/{thread.id}/messages?order=asc")["data"][0]["content"]
    assert blocks == [part]


def test_a_generated_file_can_be_put_into_a_store_by_its_caller(door: Door, client: Any, upstream: StandIn) -> None:
    """All `vector_stores` endpoints accept and return the id of a generated file."""
    file_id = make_report(door, client, upstream)
    upstream_id = upstream.put_file("a.txt", b"Cake.", "assistants")
    upstream.files[upstream_id].wire["purpose"] = "user_data"
    stores = client.beta.vector_stores
    store = door(stores.create(file_ids=[upstream_id, file_id])).id
    [copy] = uploaded_copies(upstream)
    assert set(upstream.vector_stores[store].files) == {upstream_id, copy}
    assert door(stores.files.delete(file_id, vector_store_id=store)).id == file_id
    added = door(stores.files.create_and_poll(file_id, vector_store_id=store))
    assert (added.id, added.status) == (file_id, "completed")
    assert door(stores.files.retrieve(file_id, vector_store_id=store)).id == file_id
    batch = door(stores.file_batches.create_and_poll(store, file_ids=[file_id, upstream_id]))
    assert batch.file_counts.completed == 2
    assert set(upstream.vector_stores[store].files) == {upstream_id, copy}
    assert upstream_calls(upstream, UPLOAD) == [UPLOAD]


def test_deleting_a_generated_file_deletes_its_copies(door: Door, client: Any, upstream: StandIn) -> None:
    """Deleting a generated file deletes its uploaded copies."""
    file_id = make_report(door, client, upstream)
    door(client.beta.vector_stores.create(file_ids=[file_id]))
    assert len(upstream.files) == 1
    door(client.files.delete(file_id))
    assert upstream.files == {}


def test_a_refused_upload_reaches_the_caller(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """The upstream's error reaches the caller, no run is left, and the next attempt uploads the file."""
    file_id = make_table(door, client, upstream)
    resources = {"code_interpreter": {"file_ids": [file_id]}}
    assistant, thread = make_assistant(door, client, tools=CODE, tool_resources=resources), make_thread(door, client)
    before = dump_store(settings)
    upstream.fault(Fault(UPLOAD, status=400, body={"error": {"message": "Too large.", "type": "x"}}))
    with pytest.raises(openai.BadRequestError, match="Too large"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert dump_store(settings) == before
    assert door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)).status == (
        "completed"
    )


# --- images


def test_create_and_run_sends_images(door: Door, client: Any, upstream: StandIn) -> None:
    """Both kinds of image are sent with their detail, and the library fetches neither."""
    assistant = make_assistant(door, client)
    upstream_id = upstream.put_file("a.png", b"x", "vision")
    content = [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "high"}},
        {"type": "image_file", "image_file": {"file_id": upstream_id}},
    ]
    thread = {"messages": [{"role": "user", "content": content}]}
    run = door(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread))
    assert request_bodies(upstream)[0]["input"][0]["content"] == [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "image_url": IMAGE, "detail": "high"},
        {"type": "input_image", "file_id": upstream_id, "detail": "auto"},
    ]
    more = [{"role": "user", "content": content[2:]}]
    door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    options = {"thread_id": run.thread_id, "assistant_id": assistant.id, "additional_messages": more}
    door(client.beta.threads.runs.create_and_poll(**options))
    assert request_bodies(upstream)[-1]["input"][-1]["content"] == [
        {"type": "input_image", "file_id": upstream_id, "detail": "auto"}
    ]
    assert upstream_calls(upstream, UPLOAD, "GET /files/*") == []


def test_images_of_the_assistant_stay_in_the_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """An image in an assistant's message is not sent, as the Responses API accepts none; the thread keeps it."""
    image = {"type": "image_url", "image_url": {"url": IMAGE}}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "See."}, image]}
    messages = [{"role": "user", "content": "Draw."}, answer, {"role": "user", "content": "And now?"}]
    assistant, thread = make_assistant(door, client), door(client.beta.threads.create(messages=messages))
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert request_bodies(upstream)[0]["input"][1] == {"role": "assistant", "content": "See."}
    served = door.all(client.beta.threads.messages.list(thread.id, order="asc"))[1].content
    assert [block.type for block in served] == ["text", "image_url"]


def test_a_model_without_vision_refuses_images(door: Door, client: Any, upstream: StandIn) -> None:
    """The upstream's refusal of an image reaches the caller unchanged, and no run is left."""
    message = "Invalid content type. image_url is only supported by certain models."
    upstream.fault(Fault("POST /responses", status=400, body={"error": {"message": message, "type": "x"}}))
    assistant = make_assistant(door, client, model="gpt-3.5-turbo")
    part = {"type": "image_url", "image_url": {"url": IMAGE}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": [part]}]))
    with pytest.raises(openai.BadRequestError, match="only supported by certain models"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert door.all(client.beta.threads.runs.list(thread.id)) == []
