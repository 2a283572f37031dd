"""`to_conversation` and `from_conversation` convert a thread to a native Conversation and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import CompatError, Settings, from_conversation, to_conversation
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.files import PNG, finish_run_with_turn
from kit.legacy_code import (
    CODE,
    CSV,
    FUNCTION,
    LINK,
    dump_store,
    finish_run,
    make_file,
    make_thread,
    run_again,
    submit_outputs,
    upstream_calls,
    waiting_run,
)

REFUSAL = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}}


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


def upstream_items(upstream: StandIn, conversation_id: str) -> list[dict[str, Any]]:
    """Return the items of an upstream conversation, oldest first, without their ids."""
    items = upstream.conversations[conversation_id].items
    return [{key: value for key, value in item.items() if key not in ("id", "status")} for item in items]


def texts_of(items: list[dict[str, Any]]) -> list[str]:
    """Return the texts of the messages among items."""
    return [part["text"] for item in items if item["type"] == "message" for part in item["content"] if "text" in part]


def test_messages_are_copied_in_their_order(door: Door, client: Any, upstream: StandIn) -> None:
    """Fifty messages are copied in three requests, with the thread's metadata, and the thread stays unchanged."""
    messages = [f"Message {number}." for number in range(50)]
    thread = make_thread(door, client, *messages)
    door(client.beta.threads.update(thread.id, metadata={"user": "u1"}))
    upstream.requests.clear()
    conversation = door(to_conversation(client, thread.id))
    assert [len(request.json["items"]) for request in upstream.requests] == [20, 20, 10]
    assert texts_of(upstream_items(upstream, conversation.id)) == messages
    assert upstream.conversations[conversation.id].wire["metadata"] == {"user": "u1"}
    assert (conversation.items, conversation.files, conversation.left_out) == (50, {}, {})
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 50


def test_an_empty_thread_becomes_an_empty_conversation(door: Door, client: Any, upstream: StandIn) -> None:
    """An empty thread becomes an empty conversation."""
    thread = door(client.beta.threads.create())
    assert upstream_items(upstream, door(to_conversation(client, thread.id)).id) == []


def test_generated_files_are_uploaded_and_named(door: Door, client: Any, upstream: StandIn) -> None:
    """Linked and shown files are uploaded and named in the text, and the call is copied."""
    run = finish_run_with_turn(
        door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG], code="x = 1")
    )
    conversation = door(to_conversation(client, run.thread_id))
    files = {upstream.files[name].content: name for name in conversation.files.values()}
    assert set(files) == {CSV, PNG}
    text = "\n".join(texts_of(upstream_items(upstream, conversation.id)))
    assert f"[sandbox:/mnt/data/sales.csv: {files[CSV]}]" in text
    assert f"[image: {files[PNG]}]" in text
    assert [item["type"] for item in upstream_items(upstream, conversation.id)].count("code_interpreter_call") == 1
    second_conversation = door(to_conversation(client, run.thread_id))
    assert (second_conversation.files, second_conversation.id == conversation.id) == (conversation.files, False)


def test_images_and_attachments_of_users_are_copied(door: Door, client: Any, upstream: StandIn) -> None:
    """A user's image is copied by its id or URL, and an attachment is named in the text."""
    file_id = upstream.put_file("a.png", PNG, "vision")
    content = [
        {"type": "text", "text": "Look."},
        {"type": "image_file", "image_file": {"file_id": file_id}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
    ]
    thread = door(client.beta.threads.create())
    attachments = [{"file_id": file_id, "tools": CODE}]
    door(client.beta.threads.messages.create(thread.id, role="user", content=content, attachments=attachments))
    [item] = upstream_items(upstream, door(to_conversation(client, thread.id)).id)
    assert item["content"] == [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "file_id": file_id, "detail": "auto"},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"},
        {"type": "input_text", "text": f"[attachment for code_interpreter: {file_id}]"},
    ]


def test_function_calls_are_copied_with_their_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """A function call and its output are copied before the answer."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Seen.", polls=0))
    submit_outputs(door, client, run)
    assert door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"
    items = upstream_items(upstream, door(to_conversation(client, run.thread_id)).id)
    assert [item["type"] for item in items] == ["message", "function_call", "function_call_output", "message"]
    assert (items[1]["call_id"], items[2]["output"]) == ("call_1", "CALL_1")


def test_a_call_in_an_expired_container_is_left_out(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call in an expired container is not copied, and `left_out` names it."""
    run = finish_run_with_turn(door, client, upstream)
    [row] = [row for row in dump_store(client._client.client_settings())["messages"] if row["kind"] == "item"]
    expired_at = row["body"]["until"] + 1
    monkeypatch.setattr("assistants_compat.runtime.clock.ClockAndIds.now", lambda _self: expired_at)
    conversation = door(to_conversation(client, run.thread_id))
    assert conversation.left_out == {row["body"]["items"][0]["id"]: "its container no longer exists"}
    assert {item["type"] for item in upstream_items(upstream, conversation.id)} == {"message"}


ITEM_NOT_FOUND = {
    "error": {
        "message": "Item with id 'ci_1' not found.",
        "type": "invalid_request_error",
        "param": "input",
        "code": None,
    }
}

CONTAINER_GONE = {"error": {"message": "Container is expired.", "type": "x", "param": None, "code": None}}


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (400, REFUSAL, "No."),
        (404, REFUSAL, "No."),
        (404, ITEM_NOT_FOUND, "Item with id 'ci_1' not found."),
        (422, CONTAINER_GONE, "Container is expired."),
    ],
    ids=["400", "404", "unknown item", "container behind a gateway"],
)
def test_refused_calls_are_left_out(
    door: Door, client: Any, upstream: StandIn, status: int, body: Any, text: str
) -> None:
    """Calls that the service refuses, or looks up and does not find, are left out, and the rest is copied."""
    run = finish_run_with_turn(door, client, upstream)
    upstream.fault(Fault(match="POST /conversations", status=status, body=body))
    conversation = door(to_conversation(client, run.thread_id))
    [(id_, reason)] = conversation.left_out.items()
    assert (id_[:3], reason) == ("ci_", f"the service refused it: {text}")
    assert conversation.items == 2


def test_a_refusal_of_something_else_is_raised(door: Door, client: Any, upstream: StandIn) -> None:
    """A wrong key, or a refusal of a thread without such calls, reaches the caller after one request."""
    run = finish_run_with_turn(door, client, upstream)
    upstream.fault(Fault(match="POST /conversations", status=401, body=REFUSAL))
    with pytest.raises(openai.AuthenticationError):
        door(to_conversation(client, run.thread_id))
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "Hello."}]))
    upstream.fault(Fault(match="POST /conversations", status=404, body=REFUSAL))
    with pytest.raises(openai.NotFoundError):
        door(to_conversation(client, thread.id))
    assert upstream_calls(upstream, "POST /conversations") == ["POST /conversations"] * 2


def test_an_image_is_copied_with_its_bytes_where_it_cannot_be_uploaded(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """If the purpose `vision` is refused, the conversation gets the image as a data URL."""
    file_id = make_file(door, client, upstream, Turn(text="[it](sandbox:/mnt/data/a.png)", files={"a.png": PNG}))
    part = {"type": "image_file", "image_file": {"file_id": file_id, "detail": "low"}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": [part]}]))
    refusal = {"error": {"message": "Invalid value for purpose.", "code": "invalidPayload", "param": None}}
    upstream.fault(Fault("POST /files", status=400, body=refusal))
    moved = door(to_conversation(client, thread.id))
    [item] = upstream_items(upstream, moved.id)
    assert item["content"][0]["image_url"].startswith("data:image/png;base64,")
    assert moved.left_out == {}


@pytest.mark.parametrize("status", [400, 500])
def test_a_half_made_conversation_is_deleted(door: Door, client: Any, upstream: StandIn, status: int) -> None:
    """After an error the partial conversation is deleted with its items, and the next attempt works."""
    thread = make_thread(door, client, *[str(number) for number in range(45)])
    upstream.fault(Fault(match="POST /conversations/*/items", status=status, body=REFUSAL))
    with pytest.raises(openai.APIStatusError):
        door(to_conversation(client, thread.id))
    assert upstream.conversations == {}
    deleted = [request.path for request in upstream.requests if request.method == "DELETE"]
    assert len(deleted) == 21
    assert "/items/" in deleted[0]
    assert len(upstream_items(upstream, door(to_conversation(client, thread.id)).id)) == 45


def test_requests_that_create_are_not_retried(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A creating request whose answer is lost is not retried, because its items would exist twice."""
    client = door.client(upstream, settings, max_retries=2)
    thread = make_thread(door, client, *[str(number) for number in range(25)])
    upstream.fault(Fault(match="POST /conversations/*/items", truncate=True))
    with pytest.raises(openai.APIConnectionError):
        door(to_conversation(client, thread.id))
    assert sum(request.path.endswith("/items") and request.method == "POST" for request in upstream.requests) == 1
    assert upstream.conversations == {}


def test_a_thread_with_an_active_run_is_refused(door: Door, client: Any, upstream: StandIn) -> None:
    """A thread with an active run is refused, because the run's answer would be missing."""
    run = waiting_run(door, client, upstream)
    with pytest.raises(CompatError, match=f"has an active run, {run.id}"):
        door(to_conversation(client, run.thread_id))
    assert upstream.conversations == {}


def test_unknown_ids_are_the_sdks_404(door: Door, client: Any, upstream: StandIn) -> None:
    """An unknown thread or conversation raises the SDK's `NotFoundError`."""
    with pytest.raises(openai.NotFoundError, match="No thread found with id 'thread_x'"):
        door(to_conversation(client, "thread_x"))
    with pytest.raises(openai.NotFoundError):
        door(from_conversation(client, "conv_x"))


def test_a_thread_survives_the_way_there_and_back(door: Door, client: Any, upstream: StandIn) -> None:
    """A thread converted there and back has the same messages, and its next run sends the calls."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Seen.", polls=0))
    submit_outputs(door, client, run)
    door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    conversation = door(to_conversation(client, run.thread_id))
    converted = door(from_conversation(client, conversation.id))
    messages = door.all(client.beta.threads.messages.list(converted.id, order="asc"))
    assert [(message.role, message.content[0].text.value) for message in messages] == [
        ("user", "Hello."),
        ("assistant", "Seen."),
    ]
    assert (converted.items, converted.left_out) == (2, {})
    upstream.script(Turn(text="Again.", polls=0))
    upstream.requests.clear()
    door(
        client.beta.threads.runs.create_and_poll(
            thread_id=converted.id, assistant_id=run.assistant_id, tools=[FUNCTION]
        )
    )
    sent = next(request.json["input"] for request in upstream.requests if request.path == "/responses")
    assert [item.get("type", item.get("role")) for item in sent] == [
        "user", "function_call", "function_call_output", "assistant",
    ]  # fmt: skip


def test_a_native_conversation_becomes_a_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """A long conversation becomes a thread with its images, files and system messages; `left_out` names the rest."""
    native = [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be kind."}]},
        *({"role": "user", "content": f"Message {number}."} for number in range(120)),
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_image", "file_id": "file-a", "detail": "low"},
                {"type": "input_file", "file_id": "file-b"},
            ],
        },
        {"type": "function_call", "call_id": "call_open", "name": "look", "arguments": "{}"},
    ]
    conversation = door(client.post("/conversations", body={"items": native[:20]}, cast_to=object))
    for start in range(20, len(native), 20):
        door(
            client.post(
                f"/conversations/{conversation['id']}/items", body={"items": native[start : start + 20]}, cast_to=object
            )
        )
    converted = door(from_conversation(client, conversation["id"]))
    messages = door.all(client.beta.threads.messages.list(converted.id, order="asc", limit=100))
    assert [message.content[0].text.value for message in messages[:120]] == [
        f"Message {number}." for number in range(120)
    ]
    assert messages[-1].content[0].image_file.to_dict() == {"file_id": "file-a", "detail": "low"}
    assert messages[-1].attachments[0].file_id == "file-b"
    assert list(converted.left_out.values()) == ["this function call has no output"]
    thread = door(client.beta.threads.retrieve(converted.id))
    assert thread.created_at == conversation["created_at"]
    assert thread.tool_resources.code_interpreter.file_ids == ["file-b"]
    rows = [row for row in dump_store(client._client.client_settings())["messages"] if row["kind"] == "item"]
    assert [row["body"]["items"][0]["role"] for row in rows] == ["system"]


def test_a_call_is_copied_while_its_container_lives(door: Door, client: Any, upstream: StandIn) -> None:
    """A code call is copied while its container exists, and left out once that has expired."""
    run = finish_run_with_turn(door, client, upstream, Turn(text="Done.", code="x = 1"))
    conversation = door(to_conversation(client, run.thread_id))
    converted = door(from_conversation(client, conversation.id))
    assert converted.left_out == {}
    upstream.advance(3600)
    converted_later = door(from_conversation(client, conversation.id))
    assert list(converted_later.left_out.values()) == ["its container no longer exists"]


def test_a_failure_leaves_no_thread(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """If the items cannot be listed, no thread is left."""
    thread = make_thread(door, client)
    conversation = door(to_conversation(client, thread.id))
    upstream.fault(Fault(match="GET /conversations/*/items", status=400, body=REFUSAL))
    with pytest.raises(openai.BadRequestError):
        door(from_conversation(client, conversation.id))
    assert [row["id"] for row in dump_store(settings)["threads"]] == [thread.id]


def test_a_conversation_continues_natively(door: Door, client: Any, upstream: StandIn) -> None:
    """A native response continues the conversation, and the thread does not change."""
    run = finish_run(door, client)
    conversation = door(to_conversation(client, run.thread_id))
    body = {"model": "gpt-4o", "conversation": conversation.id, "input": "And now?"}
    answer = door(client.post("/responses", body=body, cast_to=object))
    assert answer["conversation"] == {"id": conversation.id}
    assert texts_of(upstream_items(upstream, conversation.id))[0] == "Hello."
    assert len(upstream_items(upstream, conversation.id)) == 4
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 2


def test_azure_requests_go_below_v1(door: Door, upstream: StandIn, settings: Settings) -> None:
    """On Azure, conversations and uploads are requested below /openai/v1 without an api-version."""
    client = door.client(upstream, settings, azure=True)
    run = finish_run_with_turn(door, client, upstream)
    upstream.requests.clear()
    conversation = door(to_conversation(client, run.thread_id))
    assert json.dumps(list(conversation.files.values())) in (json.dumps([id_]) for id_ in upstream.files)
    door(from_conversation(client, conversation.id))
    assert {request.full_path.partition("?")[0].rpartition("/v1/")[0] for request in upstream.requests} == {"/openai"}
    assert all(name != "api-version" for request in upstream.requests for name, _ in request.query)


def test_a_file_without_bytes_is_left_out(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """A file whose bytes no longer exist is left out with a reason, and the rest is copied."""
    run = finish_run_with_turn(door, client, upstream)
    for path in Path(str(settings.files)).rglob("file-*"):
        path.unlink()
    upstream.advance(3600)
    conversation = door(to_conversation(client, run.thread_id))
    [(id_, reason)] = conversation.left_out.items()
    assert id_.startswith("file-")
    assert reason == "Container is expired."
    assert conversation.files == {}


def test_only_wrapped_clients_are_accepted(door: Door, upstream: StandIn) -> None:
    """An unwrapped client raises a `TypeError`."""
    with pytest.raises(TypeError, match="wrap"):
        door(to_conversation(door.raw_client(upstream), "thread_x"))


def test_a_converted_thread_can_still_run(door: Door, client: Any, upstream: StandIn) -> None:
    """After the conversion the thread can still run."""
    run = finish_run(door, client)
    door(to_conversation(client, run.thread_id))
    upstream.script(Turn(text="Still here.", polls=0))
    assert run_again(door, client, run, "Well?").status == "completed"
