"""`to_conversation` and `from_conversation`: a thread as a native Conversation and back, through every door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import CompatError, Settings, from_conversation, to_conversation
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.files import PNG, run_with
from kit.legacy_code import CODE, CSV, FUNCTION, LINK, dump, finish_run, make_thread, run_again, submit, waiting_run

REFUSED = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}}


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """One store is enough: what is asked of it is asked elsewhere too."""
    return sqlite_settings


def items_of(upstream: StandIn, conversation_id: str) -> list[dict[str, Any]]:
    """The items of a conversation as they are upstream, oldest first, without their ids."""
    items = upstream.conversations[conversation_id].items
    return [{key: value for key, value in item.items() if key not in ("id", "status")} for item in items]


def texts(items: list[dict[str, Any]]) -> list[str]:
    """What the messages among items say."""
    return [part["text"] for item in items if item["type"] == "message" for part in item["content"] if "text" in part]


def test_messages_go_along_in_their_order(door: Door, client: Any, upstream: StandIn) -> None:
    """Fifty messages are three requests; the conversation has the thread's metadata, and the thread is as it was."""
    said = [f"Message {number}." for number in range(50)]
    thread = make_thread(door, client, *said)
    door(client.beta.threads.update(thread.id, metadata={"user": "u1"}))
    upstream.requests.clear()
    moved = door(to_conversation(client, thread.id))
    assert [len(request.json["items"]) for request in upstream.requests] == [20, 20, 10]
    assert texts(items_of(upstream, moved.id)) == said
    assert upstream.conversations[moved.id].wire["metadata"] == {"user": "u1"}
    assert (moved.items, moved.files, moved.left_out) == (50, {}, {})
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 50


def test_an_empty_thread_is_an_empty_conversation(door: Door, client: Any, upstream: StandIn) -> None:
    """Nothing to say is no trouble."""
    thread = door(client.beta.threads.create())
    assert items_of(upstream, door(to_conversation(client, thread.id)).id) == []


def test_generated_files_are_uploaded_and_named(door: Door, client: Any, upstream: StandIn) -> None:
    """What is linked and shown is in the Files API, and the text says which is which; the call goes along."""
    run = run_with(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG], code="x = 1"))
    moved = door(to_conversation(client, run.thread_id))
    files = {upstream.files[name].content: name for name in moved.files.values()}
    assert set(files) == {CSV, PNG}
    said = "\n".join(texts(items_of(upstream, moved.id)))
    assert f"[sandbox:/mnt/data/sales.csv: {files[CSV]}]" in said
    assert f"[image: {files[PNG]}]" in said
    assert [item["type"] for item in items_of(upstream, moved.id)].count("code_interpreter_call") == 1
    again = door(to_conversation(client, run.thread_id))
    assert (again.files, again.id == moved.id) == (moved.files, False)


def test_images_and_attachments_of_users_go_along(door: Door, client: Any, upstream: StandIn) -> None:
    """An image stays an image, by its id or URL; an attachment is named."""
    file_id = upstream.put_file("a.png", PNG, "vision")
    content = [
        {"type": "text", "text": "Look."},
        {"type": "image_file", "image_file": {"file_id": file_id}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
    ]
    thread = door(client.beta.threads.create())
    attached = [{"file_id": file_id, "tools": CODE}]
    door(client.beta.threads.messages.create(thread.id, role="user", content=content, attachments=attached))
    [item] = items_of(upstream, door(to_conversation(client, thread.id)).id)
    assert item["content"] == [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "file_id": file_id, "detail": "auto"},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"},
        {"type": "input_text", "text": f"[attachment for code_interpreter: {file_id}]"},
    ]


def test_function_calls_go_along_with_their_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """A call and its output, before the answer."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Seen.", polls=0))
    submit(door, client, run)
    assert door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"
    items = items_of(upstream, door(to_conversation(client, run.thread_id)).id)
    assert [item["type"] for item in items] == ["message", "function_call", "function_call_output", "message"]
    assert (items[1]["call_id"], items[2]["output"]) == ("call_1", "CALL_1")


def test_a_call_whose_container_is_gone_is_named(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays out of the conversation, and `left_out` says so."""
    run = run_with(door, client, upstream)
    [row] = [row for row in dump(client._client.settings_of_door())["messages"] if row["kind"] == "item"]
    ended = row["body"]["until"] + 1
    monkeypatch.setattr("assistants_compat.runtime.clock.Sources.now", lambda _self: ended)
    moved = door(to_conversation(client, run.thread_id))
    assert moved.left_out == {row["body"]["items"][0]["id"]: "its container is no longer there"}
    assert {item["type"] for item in items_of(upstream, moved.id)} == {"message"}


def test_calls_that_are_refused_stay_out(door: Door, client: Any, upstream: StandIn) -> None:
    """A service that takes no stored call once more gets the rest."""
    run = run_with(door, client, upstream)
    upstream.fault(Fault(match="POST /conversations", status=400, body=REFUSED))
    moved = door(to_conversation(client, run.thread_id))
    [(id_, why)] = moved.left_out.items()
    assert (id_[:3], why) == ("ci_", "the service refused it: No.")
    assert moved.items == 2


@pytest.mark.parametrize("status", [400, 500])
def test_a_half_made_conversation_is_deleted(door: Door, client: Any, upstream: StandIn, status: int) -> None:
    """With its items, one by one; the error is the caller's, and the next try works."""
    thread = make_thread(door, client, *[str(number) for number in range(45)])
    upstream.fault(Fault(match="POST /conversations/*/items", status=status, body=REFUSED))
    with pytest.raises(openai.APIStatusError):
        door(to_conversation(client, thread.id))
    assert upstream.conversations == {}
    deleted = [request.path for request in upstream.requests if request.method == "DELETE"]
    assert len(deleted) == 21
    assert "/items/" in deleted[0]
    assert len(items_of(upstream, door(to_conversation(client, thread.id)).id)) == 45


def test_no_request_that_makes_something_is_repeated(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A lost answer is an error: asked again by the SDK, twenty messages would be there twice."""
    client = door.client(upstream, settings, max_retries=2)
    thread = make_thread(door, client, *[str(number) for number in range(25)])
    upstream.fault(Fault(match="POST /conversations/*/items", truncate=True))
    with pytest.raises(openai.APIConnectionError):
        door(to_conversation(client, thread.id))
    assert sum(request.path.endswith("/items") and request.method == "POST" for request in upstream.requests) == 1
    assert upstream.conversations == {}


def test_an_active_run_is_waited_for(door: Door, client: Any, upstream: StandIn) -> None:
    """Its answer would be missing."""
    run = waiting_run(door, client, upstream)
    with pytest.raises(CompatError, match=f"has an active run, {run.id}"):
        door(to_conversation(client, run.thread_id))
    assert upstream.conversations == {}


def test_what_is_unknown_is_the_sdks_404(door: Door, client: Any, upstream: StandIn) -> None:
    """In the words of the one API and of the other."""
    with pytest.raises(openai.NotFoundError, match="No thread found with id 'thread_x'"):
        door(to_conversation(client, "thread_x"))
    with pytest.raises(openai.NotFoundError):
        door(from_conversation(client, "conv_x"))


def test_there_and_back(door: Door, client: Any, upstream: StandIn) -> None:
    """A thread of a conversation of a thread says the same, and a run on it is told of the calls."""
    run = waiting_run(door, client, upstream)
    upstream.script(Turn(text="Seen.", polls=0))
    submit(door, client, run)
    door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))
    moved = door(to_conversation(client, run.thread_id))
    back = door(from_conversation(client, moved.id))
    messages = door.all(client.beta.threads.messages.list(back.id, order="asc"))
    assert [(each.role, each.content[0].text.value) for each in messages] == [
        ("user", "Hello."),
        ("assistant", "Seen."),
    ]
    assert (back.items, back.left_out) == (2, {})
    upstream.script(Turn(text="Again.", polls=0))
    upstream.requests.clear()
    door(client.beta.threads.runs.create_and_poll(thread_id=back.id, assistant_id=run.assistant_id, tools=[FUNCTION]))
    sent = next(request.json["input"] for request in upstream.requests if request.path == "/responses")
    assert [item.get("type", item.get("role")) for item in sent] == [
        "user", "function_call", "function_call_output", "assistant",
    ]  # fmt: skip


def test_a_native_conversation_becomes_a_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """Pages of items, images, files, system messages and living calls; what a thread cannot hold is named."""
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
    made = door(client.post("/conversations", body={"items": native[:20]}, cast_to=object))
    for start in range(20, len(native), 20):
        door(
            client.post(
                f"/conversations/{made['id']}/items", body={"items": native[start : start + 20]}, cast_to=object
            )
        )
    back = door(from_conversation(client, made["id"]))
    messages = door.all(client.beta.threads.messages.list(back.id, order="asc", limit=100))
    assert [each.content[0].text.value for each in messages[:120]] == [f"Message {number}." for number in range(120)]
    assert messages[-1].content[0].image_file.to_dict() == {"file_id": "file-a", "detail": "low"}
    assert messages[-1].attachments[0].file_id == "file-b"
    assert list(back.left_out.values()) == ["nobody has answered this function call"]
    thread = door(client.beta.threads.retrieve(back.id))
    assert thread.created_at == made["created_at"]
    assert thread.tool_resources.code_interpreter.file_ids == ["file-b"]
    rows = [row for row in dump(client._client.settings_of_door())["messages"] if row["kind"] == "item"]
    assert [row["body"]["items"][0]["role"] for row in rows] == ["system"]


def test_code_of_a_living_container_is_told_to_later_runs(door: Door, client: Any, upstream: StandIn) -> None:
    """While it lives; once it has expired the call is left out and named."""
    run = run_with(door, client, upstream, Turn(text="Done.", code="x = 1"))
    moved = door(to_conversation(client, run.thread_id))
    back = door(from_conversation(client, moved.id))
    assert back.left_out == {}
    upstream.advance(3600)
    gone = door(from_conversation(client, moved.id))
    assert list(gone.left_out.values()) == ["its container is no longer there"]


def test_a_failure_leaves_no_thread(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """The items could not be listed."""
    thread = make_thread(door, client)
    moved = door(to_conversation(client, thread.id))
    upstream.fault(Fault(match="GET /conversations/*/items", status=400, body=REFUSED))
    with pytest.raises(openai.BadRequestError):
        door(from_conversation(client, moved.id))
    assert [row["id"] for row in dump(settings)["threads"]] == [thread.id]


def test_a_conversation_goes_on_natively(door: Door, client: Any, upstream: StandIn) -> None:
    """Both APIs on one client: the native response reads what the thread said, and the thread does not change."""
    run = finish_run(door, client)
    moved = door(to_conversation(client, run.thread_id))
    body = {"model": "gpt-4o", "conversation": moved.id, "input": "And now?"}
    answer = door(client.post("/responses", body=body, cast_to=object))
    assert answer["conversation"] == {"id": moved.id}
    assert texts(items_of(upstream, moved.id))[0] == "Hello."
    assert len(items_of(upstream, moved.id)) == 4
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 2


def test_azure_is_asked_below_v1(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Conversations and uploads have no dated version."""
    client = door.client(upstream, settings, azure=True)
    run = run_with(door, client, upstream)
    upstream.requests.clear()
    moved = door(to_conversation(client, run.thread_id))
    assert json.dumps(list(moved.files.values())) in (json.dumps([id_]) for id_ in upstream.files)
    door(from_conversation(client, moved.id))
    assert {request.full_path.partition("?")[0].rpartition("/v1/")[0] for request in upstream.requests} == {"/openai"}
    assert all(name != "api-version" for request in upstream.requests for name, _ in request.query)


def test_a_file_whose_bytes_are_gone_is_named(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """The rest of the thread goes along."""
    run = run_with(door, client, upstream)
    for path in Path(str(settings.files)).rglob("file-*"):
        path.unlink()
    upstream.advance(3600)
    moved = door(to_conversation(client, run.thread_id))
    [(id_, why)] = moved.left_out.items()
    assert id_.startswith("file-")
    assert why == "Container is expired."
    assert moved.files == {}


def test_only_wrapped_clients_are_taken(door: Door, upstream: StandIn) -> None:
    """As elsewhere."""
    with pytest.raises(TypeError, match="wrap"):
        door(to_conversation(door.raw_client(upstream), "thread_x"))


def test_a_thread_that_went_out_goes_on(door: Door, client: Any, upstream: StandIn) -> None:
    """The copy is one: later runs of the thread are as before."""
    run = finish_run(door, client)
    door(to_conversation(client, run.thread_id))
    upstream.script(Turn(text="Still here.", polls=0))
    assert run_again(door, client, run, "Well?").status == "completed"
