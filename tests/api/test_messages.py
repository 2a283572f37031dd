"""Messages have the recorded shapes and order, and change their thread as in the service."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    FUNCTION,
    delete_message,
    finish_run,
    function_call_turn,
    get_raw,
    make_assistant,
    make_thread,
    retrieve_run,
    run_again,
    submit_outputs,
    waiting_run,
)
from kit.upstream_requests import request_bodies

IMAGE = "https://example.com/image.png"


def test_a_message_is_served_as_recorded(door: Door, client: Any) -> None:
    """A user message has the keys of the recorded stream, which are those that the spec requires."""
    thread = door(client.beta.threads.create())
    message = door(client.beta.threads.messages.create(thread.id, role="user", content="Hi", metadata={"a": "b"}))
    assert list(get_raw(door, client, f"/threads/{thread.id}/messages/{message.id}").items()) == [
        ("id", message.id),
        ("object", "thread.message"),
        ("created_at", message.created_at),
        ("assistant_id", None),
        ("thread_id", thread.id),
        ("run_id", None),
        ("status", "completed"),
        ("incomplete_details", None),
        ("incomplete_at", None),
        ("completed_at", None),
        ("role", "user"),
        ("content", [{"type": "text", "text": {"value": "Hi", "annotations": []}}]),
        ("attachments", []),
        ("metadata", {"a": "b"}),
    ]
    assert door(client.beta.threads.messages.retrieve(message.id, thread_id=thread.id)) == message


def test_image_parts_get_their_default_detail(door: Door, client: Any) -> None:
    """An image's `detail` is kept, and is `auto` if it was not set."""
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": "file-1"}},
    ]
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": parts}]))
    [message] = get_raw(door, client, f"/threads/{thread.id}/messages")["data"]
    assert message["content"] == [
        {"type": "text", "text": {"value": "What is this?", "annotations": []}},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": "file-1", "detail": "auto"}},
    ]


def test_images_reach_the_model(door: Door, client: Any, upstream: StandIn) -> None:
    """Text and image parts of a user message are sent upstream as input parts."""
    file_id = upstream.put_file("a.png", b"1", "vision")  # a file that does not exist is refused
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "image_file", "image_file": {"file_id": file_id, "detail": "high"}},
    ]
    assistant = make_assistant(door, client)
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": parts}]))
    upstream.script(Turn(text="A picture."))
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert upstream.requests[0].json["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
                {"type": "input_image", "file_id": file_id, "detail": "high"},
            ],
        }
    ]


def test_attachments_join_the_thread(door: Door, client: Any, upstream: StandIn) -> None:
    """An attached file joins the thread's Code Interpreter files once, or its vector store, depending on its tools."""
    zero, one, two = (upstream.put_file(name, b"1", "assistants") for name in ("0.txt", "1.txt", "2.txt"))
    thread = door(client.beta.threads.create(tool_resources={"code_interpreter": {"file_ids": [zero]}}))
    attachments = [
        {"file_id": one, "tools": [{"type": "code_interpreter"}]},
        {"file_id": one, "tools": [{"type": "file_search"}]},
        {"file_id": two, "tools": [{"type": "file_search"}]},
        {"file_id": zero, "tools": [{"type": "file_search"}, {"type": "code_interpreter"}]},
    ]
    message = door(client.beta.threads.messages.create(thread.id, role="user", content="Read", attachments=attachments))
    # The same file with different tools stays two entries, as recorded (FileOnMessageWorksAsync.json).
    assert message.to_dict()["attachments"] == attachments
    resources = get_raw(door, client, f"/threads/{thread.id}")["tool_resources"]
    [store] = upstream.vector_stores
    assert resources == {
        "code_interpreter": {"file_ids": [zero, one]},
        "file_search": {"vector_store_ids": [store]},
    }
    assert set(upstream.vector_stores[store].files) == {zero, one, two}


def test_attachments_of_first_messages_join_the_thread(door: Door, client: Any) -> None:
    """Files attached to the first messages of a new thread join the thread."""
    attachment = {"file_id": "file-1", "tools": [{"type": "code_interpreter"}]}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "x", "attachments": [attachment]}]))
    resources = get_raw(door, client, f"/threads/{thread.id}")["tool_resources"]
    assert resources == {"code_interpreter": {"file_ids": ["file-1"]}}


def test_messages_of_one_second_keep_their_order(door: Door, client: Any) -> None:
    """Messages are listed in the order of their creation, newest first by default."""
    thread = door(client.beta.threads.create())
    texts = [str(number) for number in range(12)]
    for text in texts:
        door(client.beta.threads.messages.create(thread.id, role="user", content=text))

    def listed(**options: Any) -> list[str]:
        messages = door.all(client.beta.threads.messages.list(thread.id, **options))
        return [message.content[0].text.value for message in messages]

    assert listed() == texts[::-1]
    assert listed(order="asc") == texts
    assert listed(limit=5) == texts[::-1]
    assert listed(limit=1, order="asc") == texts


def test_messages_page_by_cursors(door: Door, client: Any) -> None:
    """`after` and `before` cut the list at a message, even at a deleted one."""
    thread = make_thread(door, client, *"abcde")
    ids = [message.id for message in door.all(client.beta.threads.messages.list(thread.id, order="asc"))]

    def page(**options: Any) -> list[str]:
        return [entry.id for entry in door(client.beta.threads.messages.list(thread.id, order="asc", **options)).data]

    assert page(after=ids[1], limit=2) == ids[2:4]
    assert page(before=ids[2]) == ids[:2]
    delete_message(door, client, ids[2], thread.id)
    assert page(after=ids[2]) == ids[3:]
    assert page(before=ids[2]) == ids[:2]


def test_a_cursor_of_another_thread_gives_an_empty_page(door: Door, client: Any) -> None:
    """A page after another thread's message is empty, so that no pager starts again from the first page."""
    thread, other = make_thread(door, client, "a"), make_thread(door, client, "b")
    [foreign] = door.all(client.beta.threads.messages.list(other.id))
    assert door(client.beta.threads.messages.list(thread.id, after=foreign.id)).data == []


def test_run_id_filters_messages_by_run(door: Door, client: Any, upstream: StandIn) -> None:
    """`run_id` lists the messages of one run, and none for an unknown run."""
    upstream.script(Turn(text="first"), Turn(text="second"))
    run = finish_run(door, client)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="And?"))
    again = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    for finished, text in ((run, "first"), (again, "second")):
        [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=finished.id))
        assert message.content[0].text.value == text
        assert (message.run_id, message.assistant_id, message.role) == (finished.id, run.assistant_id, "assistant")
    assert door.all(client.beta.threads.messages.list(run.thread_id, run_id="run_none")) == []
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 4


def test_an_update_of_a_message_changes_its_metadata_only(door: Door, client: Any) -> None:
    """An update adds to a message's metadata, and an update without metadata changes nothing."""
    thread = door(client.beta.threads.create())
    created = door(client.beta.threads.messages.create(thread.id, role="user", content="x", metadata={"a": "1"}))
    updated = door(client.beta.threads.messages.update(created.id, thread_id=thread.id, metadata={"b": "2"}))
    assert updated.to_dict() == {**created.to_dict(), "metadata": {"a": "1", "b": "2"}}
    assert door(client.beta.threads.messages.update(created.id, thread_id=thread.id)) == updated
    assert door(client.beta.threads.messages.retrieve(created.id, thread_id=thread.id)) == updated


def test_a_deleted_message_is_not_sent_to_the_model(door: Door, client: Any, upstream: StandIn) -> None:
    """A deleted message is a 404, is not listed, and is not part of the next run's input."""
    thread = make_thread(door, client, "secret", "public")
    [public, secret] = door.all(client.beta.threads.messages.list(thread.id))
    deleted = delete_message(door, client, secret.id, thread.id)
    assert deleted == {"id": secret.id, "object": "thread.message.deleted", "deleted": True}
    with pytest.raises(openai.NotFoundError) as caught:
        door(client.beta.threads.messages.retrieve(secret.id, thread_id=thread.id))
    # The text of this 404 is assumed on the pattern of the recorded one for run steps.
    assert caught.value.body["message"] == f"No message found with id '{secret.id}'."  # type: ignore[index]
    assert door.all(client.beta.threads.messages.list(thread.id)) == [public]
    assistant = make_assistant(door, client)
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    sent = upstream.requests[-1].json["input"]
    assert sent == [{"role": "user", "content": [{"type": "input_text", "text": "public"}]}]


def test_a_message_is_found_in_its_own_thread_only(door: Door, client: Any) -> None:
    """A message is a 404 under another thread, where it can be neither updated nor deleted."""
    thread, other = make_thread(door, client, "a"), make_thread(door, client, "b")
    [message] = door.all(client.beta.threads.messages.list(thread.id))
    messages = client.beta.threads.messages
    for call in (messages.retrieve, messages.update):
        with pytest.raises(openai.NotFoundError):
            door(call(message.id, thread_id=other.id))
    with pytest.raises(openai.NotFoundError):
        delete_message(door, client, message.id, other.id)
    assert door(messages.retrieve(message.id, thread_id=thread.id)) == message


def kinds(body: Any) -> list[str]:
    """Return the role of each message and the type of each other item in a request's input."""
    return [item.get("type") or item["role"] for item in body["input"]]


CALL = ["function_call", "function_call_output"]


@pytest.mark.parametrize(
    ("deleted", "expected"),
    [
        (["Hello."], ["assistant", *CALL, "assistant"]),
        (["Let me look."], ["user", *CALL, "assistant"]),
        (["Found."], ["user", "assistant", *CALL]),
        (["Let me look.", "Found."], ["user"]),
        (["Hello.", "Let me look.", "Found."], []),
    ],
)
def test_the_calls_of_a_run_are_dropped_with_its_messages(
    door: Door, client: Any, upstream: StandIn, deleted: list[str], expected: list[str]
) -> None:
    """A run's function calls are sent to later runs only while one of its messages exists."""
    upstream.script(function_call_turn("call_1", text="Let me look."), Turn(text="Found.", polls=0))
    run = finish_run(door, client, tools=[FUNCTION])
    submit_outputs(door, client, run)
    messages = client.beta.threads.messages
    for message in door.all(messages.list(run.thread_id)):
        if message.content[0].text.value in deleted:
            delete_message(door, client, message.id, run.thread_id)
    run_again(door, client, run, "And?")
    assert kinds(request_bodies(upstream)[-1]) == [*expected, "user"]


@pytest.mark.parametrize(("deleted", "expected"), [(False, ["user", *CALL]), (True, [])])
def test_the_calls_of_a_run_without_messages_are_dropped_with_its_question(
    door: Door,
    client: Any,
    upstream: StandIn,
    deleted: bool,  # noqa: FBT001 - a value of the table
    expected: list[str],
) -> None:
    """The calls of a run that wrote no message are sent to later runs only while its question exists."""
    run = waiting_run(door, client, upstream)
    upstream.script(function_call_turn("call_2"))
    submit_outputs(door, client, run)
    retrieve_run(door, client, run)
    door(client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))
    messages = client.beta.threads.messages
    [question] = door.all(messages.list(run.thread_id))
    if deleted:
        delete_message(door, client, question.id, run.thread_id)
    run_again(door, client, run, "And?")
    assert kinds(request_bodies(upstream)[-1]) == [*expected, "user"]
