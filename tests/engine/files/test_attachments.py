"""Files that messages attach to be searched: they join the thread's vector store, and runs wait for it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine import vector_stores
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import asked, dump, make_assistant, make_thread, raw, waiting_run
from kit.upstream_requests import bodies

SEARCH = [{"type": "file_search"}]
CODE = [{"type": "code_interpreter"}]
POST = "POST /responses"
WORKING = {
    "id": "vs_1",
    "object": "vector_store",
    "status": "in_progress",
    "file_counts": {"in_progress": 2, "completed": 0, "failed": 0, "cancelled": 0, "total": 2},
}


def put(upstream: StandIn, *names: str) -> list[str]:
    """Files that a caller has uploaded."""
    return [upstream.put_file(name, b"Cake.", "assistants") for name in names]


def attaching(*file_ids: str, tools: Any = SEARCH) -> dict[str, Any]:
    """A message that attaches files."""
    return {
        "role": "user",
        "content": "Cake?",
        "attachments": [{"file_id": file_id, "tools": tools} for file_id in file_ids],
    }


def stores_of(door: Door, client: Any, thread_id: str) -> list[str]:
    """The vector stores that a thread is served with."""
    resources = raw(door, client, f"/threads/{thread_id}")["tool_resources"]
    return list(resources.get("file_search", {}).get("vector_store_ids", []))


@pytest.fixture
def add(door: Door, client: Any) -> Any:
    """Add a message to a thread."""
    return lambda thread_id, message: door(client.beta.threads.messages.create(thread_id, **message))


def test_an_attachment_makes_the_threads_store_and_the_next_one_extends_it(
    door: Door, client: Any, upstream: StandIn, add: Any
) -> None:
    """The first makes a store that goes seven days after its last use; a run searches both files."""
    first, second = put(upstream, "a.txt", "b.txt")
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    message = add(thread.id, attaching(first))
    assert [each.to_dict() for each in message.attachments] == [{"file_id": first, "tools": SEARCH}]
    [store] = stores_of(door, client, thread.id)
    assert upstream.vector_stores[store].wire["expires_after"] == {"anchor": "last_active_at", "days": 7}
    add(thread.id, attaching(second))
    assert stores_of(door, client, thread.id) == [store] == list(upstream.vector_stores)
    assert set(upstream.vector_stores[store].files) == {first, second}
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    assert bodies(upstream)[0]["tools"][0]["vector_store_ids"] == [store]


def test_a_thread_is_made_with_what_its_messages_attach(door: Door, client: Any, upstream: StandIn) -> None:
    """Files for both tools: the code interpreter's join the thread, those to be searched are in one store."""
    table, text, both = put(upstream, "a.csv", "a.txt", "c.txt")
    messages = [attaching(table, tools=CODE), attaching(text), attaching(both, tools=[*CODE, *SEARCH])]
    thread = door(client.beta.threads.create(messages=messages))
    resources = raw(door, client, f"/threads/{thread.id}")["tool_resources"]
    assert resources["code_interpreter"]["file_ids"] == [table, both]
    [store] = resources["file_search"]["vector_store_ids"]
    assert set(upstream.vector_stores[store].files) == {text, both}
    assert asked(upstream) == ["POST /vector_stores"]


def test_attachments_join_the_store_that_a_thread_was_given(
    door: Door, client: Any, upstream: StandIn, add: Any
) -> None:
    """A store of the caller's own is extended, and stays when the thread is deleted."""
    first, second = put(upstream, "a.txt", "b.txt")
    store = door(client.post("/vector_stores", body={"file_ids": [first]}, cast_to=object))["id"]
    thread = door(client.beta.threads.create(tool_resources={"file_search": {"vector_store_ids": [store]}}))
    add(thread.id, attaching(second))
    assert set(upstream.vector_stores[store].files) == {first, second}
    door(client.beta.threads.delete(thread.id))
    assert list(upstream.vector_stores) == [store]


def test_a_store_that_was_made_for_a_thread_goes_with_it(door: Door, client: Any, upstream: StandIn, add: Any) -> None:
    """Deleting the thread deletes it, also when the thread had been given another; the caller's own stay."""
    [file_id] = put(upstream, "a.txt")
    made = make_thread(door, client)
    add(made.id, attaching(file_id))
    wanted = door(client.beta.threads.create(tool_resources={"file_search": {"vector_stores": [{}]}}))
    own = door(client.post("/vector_stores", body={}, cast_to=object))["id"]
    door(client.beta.threads.update(made.id, tool_resources={"file_search": {"vector_store_ids": [own]}}))
    for thread in (made, wanted):
        door(client.beta.threads.delete(thread.id))
    assert list(upstream.vector_stores) == [own]
    assert list(upstream.files) == [file_id]


def test_a_store_that_an_assistant_names_outlives_its_thread(
    door: Door, client: Any, upstream: StandIn, add: Any
) -> None:
    """A store that somebody else here has come to use is not deleted with the thread that it was made for."""
    [file_id] = put(upstream, "a.txt")
    thread = make_thread(door, client)
    add(thread.id, attaching(file_id))
    [store] = stores_of(door, client, thread.id)
    make_assistant(door, client, tools=SEARCH, tool_resources={"file_search": {"vector_store_ids": [store]}})
    door(client.beta.threads.delete(thread.id))
    assert list(upstream.vector_stores) == [store]


def test_a_runs_own_messages_attach_too(door: Door, client: Any, upstream: StandIn) -> None:
    """The store is there for that very run, and the thread keeps it."""
    [file_id] = put(upstream, "a.txt")
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    options = {"assistant_id": assistant.id, "additional_messages": [attaching(file_id)]}
    door(client.beta.threads.runs.create(thread.id, **options))
    [store] = stores_of(door, client, thread.id)
    assert bodies(upstream)[0]["tools"][0]["vector_store_ids"] == [store]


def test_a_thread_and_its_run_are_made_with_attachments(door: Door, client: Any, upstream: StandIn) -> None:
    """`create_and_run` makes the store first; its run searches it."""
    [file_id] = put(upstream, "a.txt")
    assistant = make_assistant(door, client, tools=SEARCH)
    thread = {"messages": [attaching(file_id)]}
    run = door(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread))
    assert bodies(upstream)[0]["tools"][0]["vector_store_ids"] == stores_of(door, client, run.thread_id)


@pytest.mark.parametrize("step", ["store", "batch", "run"])
def test_a_refusal_leaves_nothing(
    door: Door, client: Any, upstream: StandIn, settings: Settings, add: Any, step: str
) -> None:
    """Whatever the upstream refuses, there is no message, no run and no store more than before."""
    first, second = put(upstream, "a.txt", "b.txt")
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    if step == "batch":
        add(thread.id, attaching(first))
    stores, before = {key: set(store.files) for key, store in upstream.vector_stores.items()}, dump(settings)
    path = {"store": "/vector_stores", "batch": "/vector_stores/*/file_batches", "run": "/responses"}[step]
    upstream.fault(Fault(f"POST {path}", status=400, body={"error": {"message": "No.", "type": "x"}}, times=3))
    options = {"assistant_id": assistant.id, "additional_messages": [attaching(second)]}
    with pytest.raises(openai.BadRequestError, match="No"):
        door(client.beta.threads.runs.create(thread.id, **options))
    new = {"messages": [attaching(second)], "tool_resources": {"file_search": {"vector_stores": [{}]}}}
    if step != "batch":
        with pytest.raises(openai.BadRequestError, match="No"):
            door(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=new))
    if step != "run":
        with pytest.raises(openai.BadRequestError, match="No"):
            add(thread.id, attaching(second))
    assert {key: set(store.files) for key, store in upstream.vector_stores.items()} == stores
    assert dump(settings) == before


def test_a_refusal_takes_nothing_out_that_was_there_before(
    door: Door, client: Any, upstream: StandIn, add: Any
) -> None:
    """A file that is attached once more was the store's already: neither a refused run nor its message takes it out."""
    first, second = put(upstream, "a.txt", "b.txt")
    store = door(client.post("/vector_stores", body={"file_ids": [first]}, cast_to=object))["id"]
    assistant = make_assistant(door, client, tools=SEARCH)
    thread = door(client.beta.threads.create(tool_resources={"file_search": {"vector_store_ids": [store]}}))
    upstream.requests.clear()
    add(thread.id, attaching(first))
    assert [each for each in asked(upstream) if each.startswith("POST")] == []
    upstream.fault(Fault(POST, status=400, body={"error": {"message": "No.", "type": "x"}}))
    options = {"assistant_id": assistant.id, "additional_messages": [attaching(first, second)]}
    with pytest.raises(openai.BadRequestError, match="No"):
        door(client.beta.threads.runs.create(thread.id, **options))
    many = attaching(first, *put(upstream, *(f"{number}.csv" for number in range(20))), tools=[*CODE, *SEARCH])
    with pytest.raises(openai.BadRequestError, match="maximum length 20"):
        add(thread.id, many)
    assert set(upstream.vector_stores[store].files) == {first}


def test_a_file_that_was_not_indexed_is_joined_once_more(door: Door, client: Any, upstream: StandIn, add: Any) -> None:
    """What lies in the store and has failed there gets another try when it is attached again."""
    [file_id] = put(upstream, "a.txt")
    thread = make_thread(door, client)
    add(thread.id, attaching(file_id))
    [store] = stores_of(door, client, thread.id)
    upstream.vector_stores[store].files[file_id]["status"] = "failed"
    add(thread.id, attaching(file_id))
    assert upstream.vector_stores[store].files[file_id]["status"] != "failed"


@pytest.mark.parametrize(("status", "is_taken_out"), [(400, True), (404, True), (403, False)])
def test_a_store_need_not_say_what_it_holds(
    door: Door, client: Any, upstream: StandIn, add: Any, status: int, *, is_taken_out: bool
) -> None:
    """A file joins a store that cannot be asked for it; it is taken out only if it was surely not there before.

    With 400 OGX says that it was not.
    """
    first, second = put(upstream, "a.txt", "b.txt")
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    add(thread.id, attaching(first))
    [store] = stores_of(door, client, thread.id)
    error = {"error": {"message": "No.", "type": "x"}}
    upstream.fault(Fault("GET /vector_stores/*/files/*", status=status, body=error))
    upstream.fault(Fault(POST, status=400, body=error))
    options = {"assistant_id": assistant.id, "additional_messages": [attaching(second)]}
    with pytest.raises(openai.BadRequestError, match="No"):
        door(client.beta.threads.runs.create(thread.id, **options))
    assert asked(upstream, POST) == [POST]
    assert set(upstream.vector_stores[store].files) == ({first} if is_taken_out else {first, second})


def test_a_locked_thread_takes_no_attachment(door: Door, client: Any, upstream: StandIn, add: Any) -> None:
    """While a run is active a message is refused before anything is made for it."""
    run = waiting_run(door, client, upstream)
    [file_id] = put(upstream, "a.txt")
    upstream.requests.clear()
    with pytest.raises(openai.BadRequestError, match="while a run"):
        add(run.thread_id, attaching(file_id))
    options = {"assistant_id": run.assistant_id, "additional_messages": [attaching(file_id)]}
    with pytest.raises(openai.BadRequestError, match="already has an active run"):
        door(client.beta.threads.runs.create(run.thread_id, **options))
    assert asked(upstream) == []


def test_two_messages_at_once_leave_one_store(
    door: Door, client: Any, upstream: StandIn, settings: Settings, add: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that comes second finds the first one's store, and lets its file join that."""
    first, second = put(upstream, "a.txt", "b.txt")
    thread, attach = make_thread(door, client), vector_stores.attach
    other = Door("sync").client(upstream, settings)

    async def overtaken(*arguments: Any) -> Any:
        monkeypatch.undo()
        made = await attach(*arguments)
        other.beta.threads.messages.create(thread.id, **attaching(first))
        return made

    monkeypatch.setattr("assistants_compat.engine.threads.attach", overtaken)
    add(thread.id, attaching(second))
    other.close()
    [store] = stores_of(door, client, thread.id)
    assert list(upstream.vector_stores) == [store]
    assert set(upstream.vector_stores[store].files) == {first, second}


def test_a_thread_takes_twenty_files_for_its_code(door: Door, client: Any, upstream: StandIn, add: Any) -> None:
    """The twenty-first is refused, whichever way it comes, and nothing has changed."""
    ids = put(upstream, *(f"{number}.csv" for number in range(21)))
    thread = door(client.beta.threads.create(messages=[attaching(*ids[:20], tools=CODE)]))
    assistant = make_assistant(door, client, tools=CODE)
    refused = attaching(ids[20], tools=CODE)
    calls = [
        lambda: add(thread.id, refused),
        lambda: door(
            client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[refused])
        ),
        lambda: door(client.beta.threads.create(messages=[attaching(*ids, tools=CODE)])),
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
    assert bodies(upstream) == []


def test_a_store_of_ones_own_and_one_to_be_made(door: Door, client: Any, upstream: StandIn) -> None:
    """Both are taken, as in the SDK's own tests: the one that was made stands behind the one that was named."""
    resources = {"file_search": {"vector_store_ids": ["vs_1"], "vector_stores": [{}]}}
    thread = door(client.beta.threads.create(tool_resources=resources))
    assistant = make_assistant(door, client, tools=SEARCH, tool_resources=resources)
    for made in (thread, assistant):
        first, second = made.tool_resources.file_search.vector_store_ids
        assert first == "vs_1"
        assert second in upstream.vector_stores
    assert asked(upstream) == ["POST /vector_stores"] * 2


# --- waiting


def test_a_run_waits_until_the_threads_store_is_indexed(
    door: Door, client: Any, upstream: StandIn, add: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream is asked for the response when the files can be searched, and not before."""
    monkeypatch.setattr(vector_stores, "_FIRST_PAUSE", 0.01)
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    add(thread.id, attaching(*put(upstream, "a.txt")))
    upstream.fault(Fault("GET /vector_stores/*", status=200, body=WORKING, times=2))
    upstream.script(Turn(text="Cake."))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    looks = asked(upstream, "GET /vector_stores/*", POST)
    assert looks == ["GET /vector_stores/*"] * 3 + [POST]


def test_a_run_goes_on_without_what_is_not_indexed_in_time(
    door: Door,
    client: Any,
    upstream: StandIn,
    add: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After the longest wait the upstream is asked to search what there is, and the log says what is missing."""
    monkeypatch.setattr(vector_stores, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(vector_stores, "_PATIENCE", 0.1)
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    add(thread.id, attaching(*put(upstream, "a.txt")))
    [store] = stores_of(door, client, thread.id)
    upstream.fault(Fault("GET /vector_stores/*", status=200, body=WORKING, times=99))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    assert bodies(upstream)[0]["tools"][0]["vector_store_ids"] == [store]
    assert f"vector store {store} still indexes 2 file(s)" in caplog.text
    assert len(asked(upstream, "GET /vector_stores/*")) > 1


def test_the_assistants_store_is_not_waited_for(door: Door, client: Any, upstream: StandIn) -> None:
    """A store of the assistant is searched as far as it is indexed (documented)."""
    store = door(client.post("/vector_stores", body={}, cast_to=object))["id"]
    resources = {"file_search": {"vector_store_ids": [store]}}
    assistant = make_assistant(door, client, tools=SEARCH, tool_resources=resources)
    upstream.fault(Fault("GET /vector_stores/*", status=200, body=WORKING, times=99))
    thread = make_thread(door, client)
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"


def test_a_store_that_cannot_be_looked_at_is_left_to_the_upstream(
    door: Door, client: Any, upstream: StandIn, add: Any
) -> None:
    """A server without that endpoint still runs."""
    assistant, thread = make_assistant(door, client, tools=SEARCH), make_thread(door, client)
    add(thread.id, attaching(*put(upstream, "a.txt")))
    upstream.fault(Fault("GET /vector_stores/*", status=404, times=9))
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
