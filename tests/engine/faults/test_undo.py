"""Calls that fail or are refused half-way: what they had begun is undone, and nothing happens twice."""

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
from kit.legacy_code import CODE, CSV, LINK, asked, dump, finish_run, make_assistant, make_file, make_thread, raw, start_run

POST, GET, STORES = "POST /responses", "GET /responses/*", "POST /vector_stores"
MORE = {"role": "user", "content": "More."}
TROUBLES = {"busy": StoreBusyError("The store did not answer."), "a bug": ZeroDivisionError()}


def failing_once(function: Callable[..., Any], trouble: BaseException, *, when: Callable[..., bool]) -> Any:
    """The function, which raises instead the first time that its arguments are as `when` says."""
    left = [trouble]

    def work(*arguments: Any, **named: Any) -> Any:
        if left and when(*arguments, **named):
            raise left.pop()
        return function(*arguments, **named)

    return work


def kept(settings: Settings) -> list[Path]:
    """What lies in the directory of generated files."""
    directory = Path(str(settings.files))
    return list(directory.iterdir()) if directory.is_dir() else []


# --- the end of a run


@pytest.mark.parametrize("noun", ["messages", "steps", "files"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_end_that_cannot_be_written_is_written_by_the_next_look(
    door: Door,
    client: Any,
    upstream: StandIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    noun: str,
) -> None:
    """Whatever breaks the last write leaves no message, no bytes and no lease; the next look ends the run, once."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    before = dump(settings)
    failing = failing_once(queries.add, TROUBLES[trouble], when=lambda _db, table, _rows: table == noun)
    monkeypatch.setattr(queries, "add", failing)
    with pytest.raises(openai.InternalServerError):
        door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert dump(settings) == before
    assert kept(settings) == []
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    rows = dump(settings)
    # The third row among the messages is what later runs are told of the call.
    assert [len(rows[each]) for each in ("messages", "steps", "files")] == [3, 2, 1]
    assert [path.name for path in kept(settings)] == [rows["files"][0]["id"]]
    assert door(client.files.content(rows["files"][0]["id"])).read() == CSV


def test_a_run_that_ended_in_time_is_not_expired_while_its_files_are_copied(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks past the run's time, while another still copies what the upstream finished, sees it as it still is."""
    client = door.client(upstream, replace(settings, run_ttl=2))
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    retrieve = client.beta.threads.runs.retrieve
    keep, now = generated_files.keep, IO.now
    seen = []

    async def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(IO, "now", lambda io: now(io) + 2)
        other = retrieve(run.id, thread_id=run.thread_id)
        seen.append((await other if inspect.isawaitable(other) else other).status)
        return await keep(*arguments)

    monkeypatch.setattr(generated_files, "keep", overtaken)
    first = door(retrieve(run.id, thread_id=run.thread_id))
    assert (seen, first.status) == (["queued"], "completed")
    assert door(retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    assert [row["kind"] for row in dump(settings)["messages"]] == ["message", "item", "message"]


def test_a_run_that_the_upstream_has_not_finished_in_time_is_expired(
    door: Door, client: Any, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a late run is one GET: what still works upstream is expired here, and told to stop."""
    upstream.script(Turn(text="Slow.", polls=9))
    run = start_run(door, client)
    now = IO.now
    monkeypatch.setattr(IO, "now", lambda io: now(io) + settings.run_ttl)
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "expired"
    assert asked(upstream) == [POST, GET, f"{POST}/*/cancel"]


# --- the beginning of a run


def test_an_inline_run_that_could_not_be_ended_is_not_made_again(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the upstream has accepted, a failure is no error that the SDK would retry: one POST, one run."""
    client = door.client(upstream, replace(settings, mode="inline"), max_retries=2)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    failing = failing_once(queries.add, TROUBLES["busy"], when=lambda _db, table, _rows: table == "steps")
    monkeypatch.setattr(queries, "add", failing)
    runs = client.beta.threads.runs
    run = door(runs.create(thread.id, assistant_id=assistant.id, additional_messages=[MORE]))
    assert run.status == "queued"
    assert asked(upstream) == [POST]
    assert [row["run_id"] for row in dump(settings)["messages"]] == [None, None]
    assert door(runs.poll(run.id, thread_id=thread.id)).status == "completed"
    assert asked(upstream) == [POST, GET]
    rows = dump(settings)
    assert [row["id"] for row in rows["runs"]] == [run.id]
    assert [row["run_id"] for row in rows["messages"]] == [None, None, run.id]


@pytest.mark.parametrize("made_thread", [False, True])
def test_a_run_that_could_not_be_accepted_is_made_by_the_sdks_next_try(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, made_thread: bool
) -> None:
    """A store that fails after the upstream's answer gives the thread back: the retry makes the only run."""
    client = door.client(upstream, settings, max_retries=1)
    assistant = make_assistant(door, client)
    thread = None if made_thread else make_thread(door, client)
    failing = failing_once(queries.change, TROUBLES["busy"], when=lambda *_ids, **values: "response_id" in values)
    monkeypatch.setattr(queries, "change", failing)
    threads = client.beta.threads
    if thread is None:
        run = door(threads.create_and_run(assistant_id=assistant.id, thread={"messages": [MORE]}))
    else:
        run = door(threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[MORE]))
    assert asked(upstream) == [POST, f"{POST}/*/cancel", "DELETE /responses/*", POST]
    assert door(threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"
    rows = dump(settings)
    assert [row["id"] for row in rows["runs"]] == [run.id]
    assert [row["id"] for row in rows["threads"]] == [run.thread_id]
    texts = [row["body"]["content"][0]["text"]["value"] for row in rows["messages"]]
    assert texts == [*([] if made_thread else ["Hello."]), "More.", "You said: More."]


@pytest.mark.parametrize("id_", [{}, {"id": None}, {"id": 7}])
def test_a_response_without_an_id_is_no_response(
    door: Door, client: Any, upstream: StandIn, settings: Settings, id_: dict[str, Any]
) -> None:
    """A success that names no response is a 502 `bad_upstream`, and neither run nor thread nor message is left."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump(settings)
    threads = client.beta.threads
    for call in (
        lambda: threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[MORE]),
        lambda: threads.create_and_run(assistant_id=assistant.id, thread={"messages": [MORE]}),
    ):
        upstream.fault(Fault(POST, status=200, body={**id_, "status": "completed", "output": []}))
        with pytest.raises(openai.InternalServerError, match="a response without an id") as caught:
            door(call())
        assert (caught.value.status_code, caught.value.code) == (502, "bad_upstream")
        assert dump(settings) == before
    assert finish_run(door, client).status == "completed"


def test_a_file_joins_the_thread_only_with_an_accepted_run(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """What a refused run's message attached is not in the thread's `tool_resources`; an accepted one's is."""
    file_id = upstream.put_file("a.csv", CSV, "assistants")
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    before = dump(settings)
    message = {**MORE, "attachments": [{"file_id": file_id, "tools": CODE}]}

    def create() -> Any:
        return door(
            client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[message])
        )

    upstream.fault(Fault(POST, status=500))
    with pytest.raises(openai.InternalServerError):
        create()
    assert dump(settings) == before
    assert raw(door, client, f"/threads/{thread.id}")["tool_resources"] == {"code_interpreter": {"file_ids": []}}
    create()
    assert raw(door, client, f"/threads/{thread.id}")["tool_resources"] == {"code_interpreter": {"file_ids": [file_id]}}
    # Both requests gave it to the code interpreter.
    files = [request.json["tools"][0]["container"]["file_ids"] for request in upstream.requests]
    assert files == [[file_id], [file_id]]


@pytest.mark.parametrize("place", ["thread", "run"])
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
    place: str,
) -> None:
    """What is refused before the upstream is asked for a run is refused before it is asked for a vector store."""
    assistant = make_assistant(door, client, **assistant_options)
    before = dump(settings)
    wanted: dict[str, Any] = {"file_search": {"vector_stores": [{}]}}
    body: dict[str, Any] = {"assistant_id": assistant.id, "thread": {"messages": [MORE]}, **options}
    if place == "thread":
        body["thread"]["tool_resources"] = wanted
    else:  # the SDK knows `vector_store_ids` only there; the service took both
        body["tool_resources"] = wanted
    with pytest.raises(error):
        door(client.post("/threads/runs", body=body, cast_to=object))
    assert asked(upstream) == []
    assert upstream.vector_stores == {}
    assert dump(settings) == before


def test_an_accepted_run_makes_its_vector_store_once(door: Door, client: Any, upstream: StandIn) -> None:
    """A run that nothing speaks against asks for the store first, and the thread serves its id."""
    assistant = make_assistant(door, client)
    thread = {"messages": [MORE], "tool_resources": {"file_search": {"vector_stores": [{}]}}}
    run = door(client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread))
    assert asked(upstream) == [STORES, POST]
    resources = raw(door, client, f"/threads/{run.thread_id}")["tool_resources"]
    assert resources["file_search"]["vector_store_ids"] == list(upstream.vector_stores)


# --- what a refusal of background mode leaves behind


def refusal(param: str | None) -> dict[str, Any]:
    """A 400 about a model whose name holds the word that a refused background mode would be known by."""
    text = "model 'my-background-v2' does not exist"
    return {"error": {"message": text, "type": "invalid_request_error", "param": param, "code": None}}


@pytest.mark.parametrize(("param", "posts"), [("model", [True]), (None, [True, None])])
def test_a_refusal_that_only_mentions_background_changes_no_mode(
    door: Door, client: Any, upstream: StandIn, settings: Settings, param: str | None, posts: list[bool | None]
) -> None:
    """An error that names another parameter is final; one that names none is tried inline, and teaches nothing then."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    before = dump(settings)
    upstream.fault(Fault(POST, status=400, body=refusal(param), times=len(posts)))
    with pytest.raises(openai.BadRequestError, match="my-background-v2"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert [request.json.get("background") for request in upstream.requests] == posts
    assert dump(settings) == before
    door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert [request.json.get("background") for request in upstream.requests] == [*posts, True]


def test_a_refusal_without_a_param_is_remembered_when_inline_works(door: Door, client: Any, upstream: StandIn) -> None:
    """Where the same request is taken without background mode, it was that mode that was refused."""
    upstream.fault(Fault(POST, status=400, body=refusal(None)))
    assert start_run(door, client).status == "completed"
    assert start_run(door, client).status == "completed"
    assert [request.json.get("background") for request in upstream.requests] == [True, None, None]


# --- file handles


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_download_that_is_not_read_leaves_no_file_open(
    door: Door, client: Any, upstream: StandIn, pieces: int
) -> None:
    """A streamed content that is closed before its first or its last piece warns of no open file."""
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
    assert [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)] == []
    assert door(client.files.content(file_id)).read() == content
