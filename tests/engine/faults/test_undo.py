"""A call that fails or is refused half-way is undone, and nothing happens twice."""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine import generated_files
from assistants_compat.engine.io import IO
from assistants_compat.errors import StoreBusyError
from assistants_compat.store import queries
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
    start_run,
    upstream_calls,
)

POST, GET, STORES = "POST /responses", "GET /responses/*", "POST /vector_stores"
MESSAGE = {"role": "user", "content": "More."}
STORE_ERRORS = {"busy": StoreBusyError("The store did not answer."), "a bug": ZeroDivisionError()}


def failing_once(function: Callable[..., Any], error: BaseException, *, when: Callable[..., bool]) -> Any:
    """Return the function, which raises once instead, at the first call whose arguments satisfy `when`."""
    errors_left = [error]

    def call(*arguments: Any, **options: Any) -> Any:
        if errors_left and when(*arguments, **options):
            raise errors_left.pop()
        return function(*arguments, **options)

    return call


def kept_files(settings: Settings) -> list[Path]:
    """Return the paths in the directory of generated files."""
    directory = Path(str(settings.files))
    return list(directory.iterdir()) if directory.is_dir() else []


# --- the end of a run


@pytest.mark.parametrize("noun", ["messages", "steps", "files"])
@pytest.mark.parametrize("trouble", STORE_ERRORS)
def test_an_end_that_could_not_be_written_is_written_by_the_next_poll(
    door: Door,
    client: Any,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    noun: str,
) -> None:
    """If the last write fails, no message, bytes or lease remain, and the next poll completes the run once."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    before = dump_store(settings)
    failing = failing_once(queries.insert_rows, STORE_ERRORS[trouble], when=lambda _db, table, _rows: table == noun)
    monkeypatch.setattr(queries, "insert_rows", failing)
    with pytest.raises(openai.InternalServerError):
        door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert dump_store(settings) == before
    assert kept_files(settings) == []
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    rows = dump_store(settings)
    # The third row among the messages is the code interpreter call, which later runs send.
    assert [len(rows[table]) for table in ("messages", "steps", "files")] == [3, 2, 1]
    assert [path.name for path in kept_files(settings)] == [rows["files"][0]["id"]]
    assert door(client.files.content(rows["files"][0]["id"])).read() == CSV


def test_a_run_that_ended_in_time_is_not_expired_while_its_files_are_copied(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll past the run's time shows the old status while another poll still copies a finished response's files."""
    client = door.client(upstream, replace(settings, run_ttl=2))
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    retrieve = client.beta.threads.runs.retrieve
    copy_file, now = generated_files.copy_file, IO.now
    statuses = []

    async def overtaken_copy_file(*arguments: Any) -> Any:
        monkeypatch.setattr(IO, "now", lambda io: now(io) + 2)
        other = retrieve(run.id, thread_id=run.thread_id)
        statuses.append((await other if inspect.isawaitable(other) else other).status)
        return await copy_file(*arguments)

    monkeypatch.setattr(generated_files, "copy_file", overtaken_copy_file)
    first = door(retrieve(run.id, thread_id=run.thread_id))
    assert (statuses, first.status) == (["queued"], "completed")
    assert door(retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    assert [row["kind"] for row in dump_store(settings)["messages"]] == ["message", "item", "message"]


def test_a_run_that_the_upstream_has_not_finished_in_time_is_expired(
    door: Door, client: Any, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll of a late run that still works upstream expires the run and cancels the response."""
    upstream.script(Turn(text="Slow.", polls=9))
    run = start_run(door, client)
    now = IO.now
    monkeypatch.setattr(IO, "now", lambda io: now(io) + settings.run_ttl)
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "expired"
    assert upstream_calls(upstream) == [POST, GET, f"{POST}/*/cancel"]


# --- the beginning of a run


def test_an_accepted_inline_run_is_not_created_again(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the end of an accepted inline run cannot be written, the SDK does not retry: one POST, one run."""
    client = door.client(upstream, replace(settings, mode="inline"), max_retries=2)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    failing = failing_once(queries.insert_rows, STORE_ERRORS["busy"], when=lambda _db, table, _rows: table == "steps")
    monkeypatch.setattr(queries, "insert_rows", failing)
    runs = client.beta.threads.runs
    run = door(runs.create(thread.id, assistant_id=assistant.id, additional_messages=[MESSAGE]))
    assert run.status == "queued"
    assert upstream_calls(upstream) == [POST]
    assert [row["run_id"] for row in dump_store(settings)["messages"]] == [None, None]
    assert door(runs.poll(run.id, thread_id=thread.id)).status == "completed"
    assert upstream_calls(upstream) == [POST, GET]
    rows = dump_store(settings)
    assert [row["id"] for row in rows["runs"]] == [run.id]
    assert [row["run_id"] for row in rows["messages"]] == [None, None, run.id]


@pytest.mark.parametrize("is_thread_new", [False, True])
def test_a_run_that_could_not_be_stored_is_created_by_the_sdks_retry(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_thread_new: bool
) -> None:
    """If the store fails after the upstream accepted, the response is deleted and the SDK's retry makes one run."""
    client = door.client(upstream, settings, max_retries=1)
    assistant = make_assistant(door, client)
    thread = None if is_thread_new else make_thread(door, client)
    failing = failing_once(
        queries.update_row, STORE_ERRORS["busy"], when=lambda *_ids, **values: "response_id" in values
    )
    monkeypatch.setattr(queries, "update_row", failing)
    threads = client.beta.threads
    if thread is None:
        run = door(threads.create_and_run(assistant_id=assistant.id, thread={"messages": [MESSAGE]}))
    else:
        run = door(threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[MESSAGE]))
    assert upstream_calls(upstream) == [POST, f"{POST}/*/cancel", "DELETE /responses/*", POST]
    assert door(threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"
    rows = dump_store(settings)
    assert [row["id"] for row in rows["runs"]] == [run.id]
    assert [row["id"] for row in rows["threads"]] == [run.thread_id]
    texts = [row["body"]["content"][0]["text"]["value"] for row in rows["messages"]]
    assert texts == [*([] if is_thread_new else ["Hello."]), "More.", "You said: More."]


@pytest.mark.parametrize("id_", [{}, {"id": None}, {"id": 7}])
def test_a_response_without_an_id_is_a_bad_upstream_error(
    door: Door, client: Any, upstream: StandIn, settings: Settings, id_: dict[str, Any]
) -> None:
    """A success without a response id is a 502 `bad_upstream`, and no run, thread or message is left."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump_store(settings)
    threads = client.beta.threads
    for call in (
        lambda: threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[MESSAGE]),
        lambda: threads.create_and_run(assistant_id=assistant.id, thread={"messages": [MESSAGE]}),
    ):
        upstream.fault(Fault(POST, status=200, body={**id_, "status": "completed", "output": []}))
        with pytest.raises(openai.InternalServerError, match="a response without an id") as caught:
            door(call())
        assert (caught.value.status_code, caught.value.code) == (502, "bad_upstream")
        assert dump_store(settings) == before
    assert finish_run(door, client).status == "completed"


def test_a_file_joins_the_thread_only_with_an_accepted_run(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A run's attachment is in the thread's `tool_resources` only if the run is accepted."""
    file_id = upstream.put_file("a.csv", CSV, "assistants")
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    before = dump_store(settings)
    message = {**MESSAGE, "attachments": [{"file_id": file_id, "tools": CODE}]}

    def create() -> Any:
        return door(
            client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[message])
        )

    upstream.fault(Fault(POST, status=500))
    with pytest.raises(openai.InternalServerError):
        create()
    assert dump_store(settings) == before
    assert get_raw(door, client, f"/threads/{thread.id}")["tool_resources"] == {"code_interpreter": {"file_ids": []}}
    create()
    assert get_raw(door, client, f"/threads/{thread.id}")["tool_resources"] == {
        "code_interpreter": {"file_ids": [file_id]}
    }
    files = [request.json["tools"][0]["container"]["file_ids"] for request in upstream.requests]
    assert files == [[file_id], [file_id]]


@pytest.mark.parametrize("level", ["thread", "run"])
@pytest.mark.parametrize(
    ("options", "assistant_options", "error"),
    [
        ({"assistant_id": "asst_unknown"}, {}, openai.NotFoundError),
        ({"assistant_id": "asst_unknown", "stream": True}, {}, openai.NotFoundError),
    ],
)
def test_a_refused_run_makes_no_vector_store(
    door: Door,
    client: Any,
    upstream: StandIn,
    settings: Settings,
    options: dict[str, Any],
    assistant_options: dict[str, Any],
    error: type[openai.OpenAIError],
    level: str,
) -> None:
    """A run that the library refuses makes no vector store."""
    assistant = make_assistant(door, client, **assistant_options)
    before = dump_store(settings)
    resources: dict[str, Any] = {"file_search": {"vector_stores": [{}]}}
    body: dict[str, Any] = {"assistant_id": assistant.id, "thread": {"messages": [MESSAGE]}, **options}
    if level == "thread":
        body["thread"]["tool_resources"] = resources
    else:  # the SDK's type has only `vector_store_ids` there; the service accepted both keys
        body["tool_resources"] = resources
    with pytest.raises(error):
        door(client.post("/threads/runs", body=body, cast_to=object))
    assert upstream_calls(upstream) == []
    assert upstream.vector_stores == {}
    assert dump_store(settings) == before


def test_an_accepted_run_makes_its_vector_store_once(door: Door, client: Any, upstream: StandIn) -> None:
    """An accepted run makes its vector store before the response, and the thread serves its id."""
    assistant = make_assistant(door, client)
    thread = {"messages": [MESSAGE], "tool_resources": {"file_search": {"vector_stores": [{}]}}}
    run = door(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread))
    assert upstream_calls(upstream) == [STORES, POST]
    resources = get_raw(door, client, f"/threads/{run.thread_id}")["tool_resources"]
    assert resources["file_search"]["vector_store_ids"] == list(upstream.vector_stores)


# --- refusals of background mode


def refusal(param: str | None) -> dict[str, Any]:
    """Return a 400 about a model whose name contains the word that marks a refused background mode."""
    text = "model 'my-background-v2' does not exist"
    return {"error": {"message": text, "type": "invalid_request_error", "param": param, "code": None}}


@pytest.mark.parametrize(("param", "posts"), [("model", [True]), (None, [True, None])])
def test_a_refusal_that_only_mentions_background_changes_no_mode(
    door: Door, client: Any, upstream: StandIn, settings: Settings, param: str | None, posts: list[bool | None]
) -> None:
    """A 400 for another parameter is final; one without a parameter is retried inline and not remembered."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump_store(settings)
    upstream.fault(Fault(POST, status=400, body=refusal(param), times=len(posts)))
    with pytest.raises(openai.BadRequestError, match="my-background-v2"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert [request.json.get("background") for request in upstream.requests] == posts
    assert dump_store(settings) == before
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert [request.json.get("background") for request in upstream.requests] == [*posts, True]


def test_a_refusal_without_a_param_is_remembered_when_inline_works(door: Door, client: Any, upstream: StandIn) -> None:
    """If the same request succeeds without background mode, the refusal is remembered."""
    upstream.fault(Fault(POST, status=400, body=refusal(None)))
    assert start_run(door, client).status == "completed"
    assert start_run(door, client).status == "completed"
    assert [request.json.get("background") for request in upstream.requests] == [True, None, None]


# --- file handles


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_download_that_is_not_read_leaves_no_file_open(
    door: Door, client: Any, upstream: StandIn, pieces: int
) -> None:
    """A streamed download that is closed before its end leaves no open file."""
    content = b"0123456789" * 30_000
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": content}, polls=0))

    def blocking() -> None:
        with client.files.with_streaming_response.content(file_id) as response:
            for _, piece in zip(range(pieces), response.iter_bytes(10), strict=False):
                assert piece

    async def asynchronous() -> None:
        async with client.files.with_streaming_response.content(file_id) as response:
            if pieces:
                assert await response.iter_bytes(10).__anext__()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        door(asynchronous()) if door.kind == "async" else blocking()
        gc.collect()
    assert [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)] == []
    assert door(client.files.content(file_id)).read() == content
