"""Files attached for file search join the thread's vector store, and runs wait until it is indexed."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine import vector_stores
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import dump_store, get_raw, make_assistant, make_thread, upstream_calls, waiting_run
from kit.upstream_requests import request_bodies

SEARCH = [{"type": "file_search"}]
CODE = [{"type": "code_interpreter"}]
POST = "POST /responses"
INDEXING_STORE = {
    "id": "vs_1",
    "object": "vector_store",
    "status": "in_progress",
    "file_counts": {"in_progress": 2, "completed": 0, "failed": 0, "cancelled": 0, "total": 2},
}


def upload_files(upstream: StandIn, *names: str) -> list[str]:
    """Upload files as a caller and return their ids."""
    return [upstream.put_file(name, b"Cake.", "assistants") for name in names]


def message_with_attachments(*file_ids: str, tools: Any = SEARCH) -> dict[str, Any]:
    """Return the parameters of a message that attaches files."""
    return {
        "role": "user",
        "content": "Cake?",
        "attachments": [{"file_id": file_id, "tools": tools} for file_id in file_ids],
    }


def vector_store_ids(door: Door, client: Any, thread_id: str) -> list[str]:
    """Return the ids of the vector stores that a served thread names."""
    resources = get_raw(door, client, f"/threads/{thread_id}")["tool_resources"]
    return list(resources.get("file_search", {}).get("vector_store_ids", []))


@pytest.fixture
def add_message(door: Door, client: Any) -> Any:
    """Return a function that adds a message to a thread."""
    return lambda thread_id, message: door(client.beta.threads.messages.create(thread_id, **message))


def test_an_attachment_makes_the_threads_store_and_the_next_one_extends_it(
    door: Door, client: Any, upstream: StandIn, add_message: Any
) -> None:
    """The first attachment makes a store that expires after seven idle days; a run searches every attached file."""
    first, second = upload_files(upstream, "a.txt", "b.txt")
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    message = add_message(thread.id, message_with_attachments(first))
    assert [attachment.to_dict() for attachment in message.attachments] == [{"file_id": first, "tools": SEARCH}]
    [store] = vector_store_ids(door, client, thread.id)
    assert upstream.vector_stores[store].wire["expires_after"] == {"anchor": "last_active_at", "days": 7}
    add_message(thread.id, message_with_attachments(second))
    assert vector_store_ids(door, client, thread.id) == [store] == list(upstream.vector_stores)
    assert set(upstream.vector_stores[store].files) == {first, second}
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    assert request_bodies(upstream)[0]["tools"][0]["vector_store_ids"] == [store]


def test_a_new_thread_has_the_files_of_its_messages(door: Door, client: Any, upstream: StandIn) -> None:
    """A new thread lists the code interpreter's files and has one store with the files to search."""
    table, text, shared = upload_files(upstream, "a.csv", "a.txt", "c.txt")
    messages = [
        message_with_attachments(table, tools=CODE),
        message_with_attachments(text),
        message_with_attachments(shared, tools=[*CODE, *SEARCH]),
    ]
    thread = door(client.beta.threads.create(messages=messages))
    resources = get_raw(door, client, f"/threads/{thread.id}")["tool_resources"]
    assert resources["code_interpreter"]["file_ids"] == [table, shared]
    [store] = resources["file_search"]["vector_store_ids"]
    assert set(upstream.vector_stores[store].files) == {text, shared}
    assert upstream_calls(upstream) == ["POST /vector_stores"]


def test_attachments_join_the_store_that_a_thread_was_given(
    door: Door, client: Any, upstream: StandIn, add_message: Any
) -> None:
    """An attachment joins the caller's own store, which remains when the thread is deleted."""
    first, second = upload_files(upstream, "a.txt", "b.txt")
    store = door(client.post("/vector_stores", body={"file_ids": [first]}, cast_to=object))["id"]
    thread = door(client.beta.threads.create(tool_resources={"file_search": {"vector_store_ids": [store]}}))
    add_message(thread.id, message_with_attachments(second))
    assert set(upstream.vector_stores[store].files) == {first, second}
    door(client.beta.threads.delete(thread.id))
    assert list(upstream.vector_stores) == [store]


def test_a_store_that_was_made_for_a_thread_is_deleted_with_it(
    door: Door, client: Any, upstream: StandIn, add_message: Any
) -> None:
    """Deleting a thread deletes the stores that the library made for it, and never the caller's own."""
    [file_id] = upload_files(upstream, "a.txt")
    with_attachment = make_thread(door, client)
    add_message(with_attachment.id, message_with_attachments(file_id))
    with_requested_store = door(client.beta.threads.create(tool_resources={"file_search": {"vector_stores": [{}]}}))
    own = door(client.post("/vector_stores", body={}, cast_to=object))["id"]
    door(client.beta.threads.update(with_attachment.id, tool_resources={"file_search": {"vector_store_ids": [own]}}))
    for thread in (with_attachment, with_requested_store):
        door(client.beta.threads.delete(thread.id))
    assert list(upstream.vector_stores) == [own]
    assert list(upstream.files) == [file_id]


def test_a_store_that_an_assistant_names_outlives_its_thread(
    door: Door, client: Any, upstream: StandIn, add_message: Any
) -> None:
    """A store that an assistant also uses is not deleted with the thread that it was made for."""
    [file_id] = upload_files(upstream, "a.txt")
    thread = make_thread(door, client)
    add_message(thread.id, message_with_attachments(file_id))
    [store] = vector_store_ids(door, client, thread.id)
    make_assistant(door, client, tools=SEARCH, tool_resources={"file_search": {"vector_store_ids": [store]}})
    door(client.beta.threads.delete(thread.id))
    assert list(upstream.vector_stores) == [store]


def test_files_of_a_runs_additional_messages_are_searched(door: Door, client: Any, upstream: StandIn) -> None:
    """A file attached to an additional message is searched by that run, and the thread keeps its store."""
    [file_id] = upload_files(upstream, "a.txt")
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    options = {"assistant_id": assistant.id, "additional_messages": [message_with_attachments(file_id)]}
    door(client.beta.threads.runs.create(thread.id, **options))
    [store] = vector_store_ids(door, client, thread.id)
    assert request_bodies(upstream)[0]["tools"][0]["vector_store_ids"] == [store]


def test_a_thread_and_its_run_are_made_with_attachments(door: Door, client: Any, upstream: StandIn) -> None:
    """`create_and_run` makes the thread's store first, and its run searches that store."""
    [file_id] = upload_files(upstream, "a.txt")
    assistant = make_assistant(door, client, tools=SEARCH)
    thread = {"messages": [message_with_attachments(file_id)]}
    run = door(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread))
    assert request_bodies(upstream)[0]["tools"][0]["vector_store_ids"] == vector_store_ids(door, client, run.thread_id)


@pytest.mark.parametrize("step", ["store", "batch", "run"])
def test_a_refusal_leaves_no_message_run_or_store(
    door: Door, client: Any, upstream: StandIn, settings: Settings, add_message: Any, step: str
) -> None:
    """After any refusal of the upstream there is no new message, run or store."""
    first, second = upload_files(upstream, "a.txt", "b.txt")
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    if step == "batch":
        add_message(thread.id, message_with_attachments(first))
    stores, before = {key: set(store.files) for key, store in upstream.vector_stores.items()}, dump_store(settings)
    path = {"store": "/vector_stores", "batch": "/vector_stores/*/file_batches", "run": "/responses"}[step]
    upstream.fault(Fault(f"POST {path}", status=400, body={"error": {"message": "No.", "type": "x"}}, times=3))
    options = {"assistant_id": assistant.id, "additional_messages": [message_with_attachments(second)]}
    with pytest.raises(openai.BadRequestError, match="No"):
        door(client.beta.threads.runs.create(thread.id, **options))
    new = {"messages": [message_with_attachments(second)], "tool_resources": {"file_search": {"vector_stores": [{}]}}}
    if step != "batch":
        with pytest.raises(openai.BadRequestError, match="No"):
            door(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=new))
    if step != "run":
        with pytest.raises(openai.BadRequestError, match="No"):
            add_message(thread.id, message_with_attachments(second))
    assert {key: set(store.files) for key, store in upstream.vector_stores.items()} == stores
    assert dump_store(settings) == before


def test_a_refusal_removes_no_file_that_was_in_the_store_before(
    door: Door, client: Any, upstream: StandIn, add_message: Any
) -> None:
    """A refused run or message leaves a file in the store if the store held it before."""
    first, second = upload_files(upstream, "a.txt", "b.txt")
    store = door(client.post("/vector_stores", body={"file_ids": [first]}, cast_to=object))["id"]
    assistant = make_assistant(door, client, tools=SEARCH)
    thread = door(client.beta.threads.create(tool_resources={"file_search": {"vector_store_ids": [store]}}))
    upstream.requests.clear()
    add_message(thread.id, message_with_attachments(first))
    assert [call for call in upstream_calls(upstream) if call.startswith("POST")] == []
    upstream.fault(Fault(POST, status=400, body={"error": {"message": "No.", "type": "x"}}))
    options = {"assistant_id": assistant.id, "additional_messages": [message_with_attachments(first, second)]}
    with pytest.raises(openai.BadRequestError, match="No"):
        door(client.beta.threads.runs.create(thread.id, **options))
    many = message_with_attachments(
        first, *upload_files(upstream, *(f"{number}.txt" for number in range(20))), tools=[*CODE, *SEARCH]
    )
    with pytest.raises(openai.BadRequestError, match="maximum length 20"):
        add_message(thread.id, many)
    assert set(upstream.vector_stores[store].files) == {first}


def test_a_file_that_failed_to_index_is_added_again(
    door: Door, client: Any, upstream: StandIn, add_message: Any
) -> None:
    """Attaching a file whose indexing failed adds it to the store again."""
    [file_id] = upload_files(upstream, "a.txt")
    thread = make_thread(door, client)
    add_message(thread.id, message_with_attachments(file_id))
    [store] = vector_store_ids(door, client, thread.id)
    upstream.vector_stores[store].files[file_id]["status"] = "failed"
    add_message(thread.id, message_with_attachments(file_id))
    assert upstream.vector_stores[store].files[file_id]["status"] != "failed"


@pytest.mark.parametrize(("status", "is_removed"), [(400, True), (404, True), (403, False)])
def test_a_refused_run_removes_its_file_only_if_the_store_did_not_hold_it(
    door: Door, client: Any, upstream: StandIn, add_message: Any, status: int, *, is_removed: bool
) -> None:
    """If a store cannot say whether it holds a file, a refused run removes the file only after a 400 or 404.

    OGX answers 400 for a file that the store does not hold.
    """
    first, second = upload_files(upstream, "a.txt", "b.txt")
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    add_message(thread.id, message_with_attachments(first))
    [store] = vector_store_ids(door, client, thread.id)
    error = {"error": {"message": "No.", "type": "x"}}
    upstream.fault(Fault("GET /vector_stores/*/files/*", status=status, body=error))
    upstream.fault(Fault(POST, status=400, body=error))
    options = {"assistant_id": assistant.id, "additional_messages": [message_with_attachments(second)]}
    with pytest.raises(openai.BadRequestError, match="No"):
        door(client.beta.threads.runs.create(thread.id, **options))
    assert upstream_calls(upstream, POST) == [POST]
    assert set(upstream.vector_stores[store].files) == ({first} if is_removed else {first, second})


def test_a_locked_thread_takes_no_attachment(door: Door, client: Any, upstream: StandIn, add_message: Any) -> None:
    """While a run is active, a message is refused before any upstream request."""
    run = waiting_run(door, client, upstream)
    [file_id] = upload_files(upstream, "a.txt")
    upstream.requests.clear()
    with pytest.raises(openai.BadRequestError, match="while a run"):
        add_message(run.thread_id, message_with_attachments(file_id))
    options = {"assistant_id": run.assistant_id, "additional_messages": [message_with_attachments(file_id)]}
    with pytest.raises(openai.BadRequestError, match="already has an active run"):
        door(client.beta.threads.runs.create(run.thread_id, **options))
    assert upstream_calls(upstream) == []


def test_two_messages_at_once_leave_one_store(
    door: Door, client: Any, upstream: StandIn, settings: Settings, add_message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower of two messages finds the store of the faster one and adds its file there."""
    first, second = upload_files(upstream, "a.txt", "b.txt")
    thread, attach = make_thread(door, client), vector_stores.attach_files
    other = Door("sync").client(upstream, settings)

    async def overtaken_attach(*arguments: Any) -> Any:
        monkeypatch.undo()
        result = await attach(*arguments)
        other.beta.threads.messages.create(thread.id, **message_with_attachments(first))
        return result

    monkeypatch.setattr("assistants_compat.engine.threads.attach_files", overtaken_attach)
    add_message(thread.id, message_with_attachments(second))
    other.close()
    [store] = vector_store_ids(door, client, thread.id)
    assert list(upstream.vector_stores) == [store]
    assert set(upstream.vector_stores[store].files) == {first, second}


def test_a_thread_takes_twenty_files_for_its_code(door: Door, client: Any, upstream: StandIn, add_message: Any) -> None:
    """A twenty-first file for the code interpreter is refused by every call, and nothing changes."""
    ids = upload_files(upstream, *(f"{number}.csv" for number in range(21)))
    thread = door(client.beta.threads.create(messages=[message_with_attachments(*ids[:20], tools=CODE)]))
    assistant = make_assistant(door, client, tools=CODE)
    refused = message_with_attachments(ids[20], tools=CODE)
    calls = [
        lambda: add_message(thread.id, refused),
        lambda: door(
            client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[refused])
        ),
        lambda: door(client.beta.threads.create(messages=[message_with_attachments(*ids, tools=CODE)])),
    ]
    for call in calls:
        with pytest.raises(openai.BadRequestError) as caught:
            call()
        assert (caught.value.code, caught.value.param) == (
            "array_above_max_length",
            "tool_resources.code_interpreter.file_ids",
        )
        assert "maximum length 20, but got an array with length 21" in str(caught.value)
    assert len(door.all(client.beta.threads.messages.list(thread.id))) == 1
    assert request_bodies(upstream) == []


def test_a_named_store_and_a_requested_store_are_both_used(door: Door, client: Any, upstream: StandIn) -> None:
    """A thread or assistant with both lists the named store first and the new one second, as in the SDK's tests."""
    resources = {"file_search": {"vector_store_ids": ["vs_1"], "vector_stores": [{}]}}
    thread = door(client.beta.threads.create(tool_resources=resources))
    assistant = make_assistant(door, client, tools=SEARCH, tool_resources=resources)
    for owner in (thread, assistant):
        first, second = owner.tool_resources.file_search.vector_store_ids
        assert first == "vs_1"
        assert second in upstream.vector_stores
    assert upstream_calls(upstream) == ["POST /vector_stores"] * 2


# --- waiting


def test_a_run_waits_until_the_threads_store_is_indexed(
    door: Door, client: Any, upstream: StandIn, add_message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response is requested only when the thread's store is indexed."""
    monkeypatch.setattr(vector_stores, "_FIRST_POLL_DELAY", 0.01)
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    add_message(thread.id, message_with_attachments(*upload_files(upstream, "a.txt")))
    upstream.fault(Fault("GET /vector_stores/*", status=200, body=INDEXING_STORE, times=2))
    upstream.script(Turn(text="Cake."))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    calls = upstream_calls(upstream, "GET /vector_stores/*", POST)
    assert calls == ["GET /vector_stores/*"] * 3 + [POST]


def test_a_run_starts_without_files_that_are_not_indexed_in_time(
    door: Door,
    client: Any,
    upstream: StandIn,
    add_message: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After the timeout the run searches what is indexed, and the log names the store that is not ready."""
    monkeypatch.setattr(vector_stores, "_FIRST_POLL_DELAY", 0.01)
    monkeypatch.setattr(vector_stores, "_INDEXING_TIMEOUT", 0.1)
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    add_message(thread.id, message_with_attachments(*upload_files(upstream, "a.txt")))
    [store] = vector_store_ids(door, client, thread.id)
    upstream.fault(Fault("GET /vector_stores/*", status=200, body=INDEXING_STORE, times=99))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    assert request_bodies(upstream)[0]["tools"][0]["vector_store_ids"] == [store]
    assert f"vector store {store} still indexes 2 file(s)" in caplog.text
    assert len(upstream_calls(upstream, "GET /vector_stores/*")) > 1


def test_the_assistants_store_is_not_waited_for(door: Door, client: Any, upstream: StandIn) -> None:
    """A run does not wait for the assistant's store, which is searched as far as it is indexed (documented)."""
    store = door(client.post("/vector_stores", body={}, cast_to=object))["id"]
    resources = {"file_search": {"vector_store_ids": [store]}}
    assistant = make_assistant(door, client, tools=SEARCH, tool_resources=resources)
    upstream.fault(Fault("GET /vector_stores/*", status=200, body=INDEXING_STORE, times=99))
    thread = make_thread(door, client)
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"


def test_a_run_completes_where_stores_cannot_be_retrieved(
    door: Door, client: Any, upstream: StandIn, add_message: Any
) -> None:
    """A run completes on a server that has no endpoint to retrieve a vector store."""
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    add_message(thread.id, message_with_attachments(*upload_files(upstream, "a.txt")))
    upstream.fault(Fault("GET /vector_stores/*", status=404, times=9))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
