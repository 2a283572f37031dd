"""Generated files and images as input: a copy is uploaded at the first use, and callers go on with their id."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, CSV, LINK, asked, dump, finish_run, make_assistant, make_file, make_thread, raw
from kit.upstream_requests import bodies

SEARCH = [{"type": "file_search"}]
UPLOAD = "POST /files"
IMAGE = "https://example.test/a.png"


def made(door: Door, client: Any, upstream: StandIn) -> str:
    """The id of a table that a run has made; what was asked of the upstream until then is forgotten."""
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    upstream.requests.clear()
    return file_id


def copies(upstream: StandIn, purpose: str = "assistants") -> list[str]:
    """The upstream's ids of what was uploaded."""
    return [id_ for id_, file in upstream.files.items() if file.wire["purpose"] == purpose]


def test_a_generated_file_is_input_of_the_code_interpreter(door: Door, client: Any, upstream: StandIn) -> None:
    """An attachment and `tool_resources` may name it: one copy has its bytes and its name, for all runs."""
    file_id = made(door, client, upstream)
    resources = {"code_interpreter": {"file_ids": [file_id]}}
    assistant = make_assistant(door, client, tools=CODE, tool_resources=resources)
    attachment = {"file_id": file_id, "tools": CODE}
    thread = door(
        client.beta.threads.create(messages=[{"role": "user", "content": "Sum it.", "attachments": [attachment]}])
    )
    assert asked(upstream) == []
    for _ in range(2):
        door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    [copy] = copies(upstream)
    assert (upstream.files[copy].content, upstream.files[copy].wire["filename"]) == (CSV, "sales.csv")
    assert [body["tools"][0]["container"]["file_ids"] for body in bodies(upstream)] == [[copy], [copy]]
    assert asked(upstream, UPLOAD) == [UPLOAD]
    shown = raw(door, client, f"/threads/{thread.id}")["tool_resources"]
    assert shown["code_interpreter"]["file_ids"] == [file_id]
    assert raw(door, client, f"/assistants/{assistant.id}")["tool_resources"] == resources


def test_it_is_not_uploaded_for_a_run_without_the_tool(door: Door, client: Any, upstream: StandIn) -> None:
    """Nobody uses it there."""
    file_id = made(door, client, upstream)
    finish_run(door, client, assistant={"tool_resources": {"code_interpreter": {"file_ids": [file_id]}}})
    assert asked(upstream, UPLOAD) == []


def test_a_generated_file_is_searched(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """An attachment, a wanted store and, after a restart, an extended store all hold the one copy."""
    file_id = made(door, client, upstream)
    message = {"role": "user", "content": "?", "attachments": [{"file_id": file_id, "tools": SEARCH}]}
    thread = door(client.beta.threads.create(messages=[message]))
    door(
        client.beta.assistants.create(
            model="gpt-4o", tool_resources={"file_search": {"vector_stores": [{"file_ids": [file_id]}]}}
        )
    )
    other = door.client(upstream, settings)
    door(other.beta.threads.messages.create(thread.id, **message))
    [copy] = copies(upstream)
    assert [list(store.files) for store in upstream.vector_stores.values()] == [[copy], [copy]]
    shown = door.all(other.beta.threads.messages.list(thread.id))[0].attachments[0].file_id
    assert shown == file_id


def test_a_generated_image_is_shown_to_the_model(door: Door, client: Any, upstream: StandIn) -> None:
    """`image_file` may name it: its copy has the purpose of images, and the thread keeps our id."""
    file_id = made(door, client, upstream)
    part = {"type": "image_file", "image_file": {"file_id": file_id, "detail": "low"}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": [part]}]))
    assistant = make_assistant(door, client)
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    [copy] = copies(upstream, "vision")
    [item] = bodies(upstream)[0]["input"]
    assert item["content"] == [{"type": "input_image", "file_id": copy, "detail": "low"}]
    blocks = raw(door, client, f"/threads/{thread.id}/messages?order=asc")["data"][0]["content"]
    assert blocks == [part]


def test_a_generated_file_can_be_put_into_a_store_by_its_caller(door: Door, client: Any, upstream: StandIn) -> None:
    """Below `vector_stores` our id is understood wherever a request names it, and answered with."""
    file_id = made(door, client, upstream)
    theirs = upstream.put_file("a.txt", b"Cake.", "assistants")
    upstream.files[theirs].wire["purpose"] = "user_data"
    stores = client.beta.vector_stores
    store = door(stores.create(file_ids=[theirs, file_id])).id
    [copy] = copies(upstream)
    assert set(upstream.vector_stores[store].files) == {theirs, copy}
    assert door(stores.files.delete(file_id, vector_store_id=store)).id == file_id
    added = door(stores.files.create_and_poll(file_id, vector_store_id=store))
    assert (added.id, added.status) == (file_id, "completed")
    assert door(stores.files.retrieve(file_id, vector_store_id=store)).id == file_id
    batch = door(stores.file_batches.create_and_poll(store, file_ids=[file_id, theirs]))
    assert batch.file_counts.completed == 2
    assert set(upstream.vector_stores[store].files) == {theirs, copy}
    assert asked(upstream, UPLOAD) == [UPLOAD]


def test_a_generated_file_takes_its_copies_along(door: Door, client: Any, upstream: StandIn) -> None:
    """Deleting it deletes what was uploaded of it."""
    file_id = made(door, client, upstream)
    door(client.beta.vector_stores.create(file_ids=[file_id]))
    assert len(upstream.files) == 1
    door(client.files.delete(file_id))
    assert upstream.files == {}


def test_a_refused_upload_is_the_callers_to_hear(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """The upstream's words reach the caller, no run is left, and the next try uploads it."""
    file_id = made(door, client, upstream)
    resources = {"code_interpreter": {"file_ids": [file_id]}}
    assistant, thread = make_assistant(door, client, tools=CODE, tool_resources=resources), make_thread(door, client)
    before = dump(settings)
    upstream.fault(Fault(UPLOAD, status=400, body={"error": {"message": "Too large.", "type": "x"}}))
    with pytest.raises(openai.BadRequestError, match="Too large"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert dump(settings) == before
    assert door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)).status == (
        "completed"
    )


# --- images


def test_images_are_told_in_create_and_run(door: Door, client: Any, upstream: StandIn) -> None:
    """Both kinds of image, with their detail; nothing is fetched here."""
    assistant = make_assistant(door, client)
    theirs = upstream.put_file("a.png", b"x", "vision")
    content = [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "high"}},
        {"type": "image_file", "image_file": {"file_id": theirs}},
    ]
    thread = {"messages": [{"role": "user", "content": content}]}
    run = door(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread))
    assert bodies(upstream)[0]["input"][0]["content"] == [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "image_url": IMAGE, "detail": "high"},
        {"type": "input_image", "file_id": theirs, "detail": "auto"},
    ]
    more = [{"role": "user", "content": content[2:]}]
    door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    options = {"thread_id": run.thread_id, "assistant_id": assistant.id, "additional_messages": more}
    door(client.beta.threads.runs.create_and_poll(**options))
    assert bodies(upstream)[-1]["input"][-1]["content"] == [
        {"type": "input_image", "file_id": theirs, "detail": "auto"}
    ]
    assert asked(upstream, UPLOAD, "GET /files/*") == []


def test_images_of_the_assistant_stay_in_the_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """The Responses API takes none in an assistant's message: the model is told its text, the thread keeps both."""
    image = {"type": "image_url", "image_url": {"url": IMAGE}}
    said = {"role": "assistant", "content": [{"type": "text", "text": "See."}, image]}
    messages = [{"role": "user", "content": "Draw."}, said, {"role": "user", "content": "And now?"}]
    assistant, thread = make_assistant(door, client), door(client.beta.threads.create(messages=messages))
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert bodies(upstream)[0]["input"][1] == {"role": "assistant", "content": "See."}
    kept = door.all(client.beta.threads.messages.list(thread.id, order="asc"))[1].content
    assert [block.type for block in kept] == ["text", "image_url"]


def test_a_model_that_sees_no_images_says_so(door: Door, client: Any, upstream: StandIn) -> None:
    """The upstream's refusal reaches the caller in its own words; no run is left."""
    message = "Invalid content type. image_url is only supported by certain models."
    upstream.fault(Fault("POST /responses", status=400, body={"error": {"message": message, "type": "x"}}))
    assistant = make_assistant(door, client, model="gpt-3.5-turbo")
    part = {"type": "image_url", "image_url": {"url": IMAGE}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": [part]}]))
    with pytest.raises(openai.BadRequestError, match="only supported by certain models"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert door.all(client.beta.threads.runs.list(thread.id)) == []
