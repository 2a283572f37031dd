"""A thread stays usable when its user has deleted a file or a vector store upstream (refusals.md, checks 15 and 18)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from assistants_compat.translate.request_files import missing_file_of, without_vector_store
from kit.container_runs import (
    MINUTE,
    advance_clocks,
    container_contents,
    make_thread_and_assistant,
    polled_or_streamed,
    requested_containers,
    run_to_end,
    turn_with_file,
)
from kit.doors import Door
from kit.files import refuse_missing_files
from kit.legacy_code import FUNCTION, function_call_turn, make_assistant, make_thread, submit_outputs, upstream_calls
from kit.upstream_requests import request_bodies

POST = "POST /responses"
SEARCH = [{"type": "file_search"}]


def user_files(upstream: StandIn, *names: str) -> tuple[list[str], Any]:
    """Upload files as the user; return their ids and the resources of an assistant that names them."""
    ids = [upstream.put_file(name, b"given", "assistants") for name in names]
    return ids, {"code_interpreter": {"file_ids": ids}}


def names_of(upstream: StandIn) -> list[Any]:
    """Return the files of the `auto` container of each `POST /responses`."""
    return [container.get("file_ids", []) for container in requested_containers(upstream)]


@pytest.mark.refusal("container_file_gone")
@polled_or_streamed
def test_a_deleted_file_is_left_out(
    door: Door, client: Any, upstream: StandIn, caplog: pytest.LogCaptureFixture, *, stream: bool
) -> None:
    """A deleted file of an assistant costs one refused request; later runs, of other threads too, do not name it."""
    caplog.set_level(logging.INFO, "assistants_compat")
    (kept, gone), resources = user_files(upstream, "kept.txt", "gone.txt")
    thread, assistant = make_thread_and_assistant(door, client, tool_resources=resources)
    del upstream.files[gone]
    assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert run_to_end(door, client, make_thread(door, client).id, assistant, stream=stream).status == "completed"
    assert names_of(upstream) == [[kept, gone], [kept], [kept], [kept]]
    [line] = [record.getMessage() for record in caplog.records if gone in record.getMessage()]
    assert "no longer exists upstream" in line


@polled_or_streamed
def test_all_deleted_files_are_left_out(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """Each deleted file of a thread is left out, and the container of a run without files has no `file_ids`."""
    ids, resources = user_files(upstream, "a.txt", "b.txt")
    assistant = make_thread_and_assistant(door, client)[1]
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "?"}], tool_resources=resources)).id
    upstream.files.clear()
    assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert names_of(upstream) == [ids, ids[1:], []]
    assert "file_ids" not in requested_containers(upstream)[-1]


@pytest.mark.refusal("container_file_gone")
@pytest.mark.parametrize(
    "text",
    [
        "File '{}' not found.",
        "No such File object: {}",
        "The file {} does not exist.",
        "Invalid 'tools[0].container.file_ids[1]': file {} could not be found.",
    ],
)
@pytest.mark.parametrize("status", [400, 404])
def test_a_deleted_file_is_recognized_in_any_words(
    door: Door, client: Any, upstream: StandIn, status: int, text: str
) -> None:
    """Nobody has seen the live text: an error that names the file and says that it is gone is enough."""
    (kept, gone), resources = user_files(upstream, "kept.txt", "gone.txt")
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    upstream.fault(Fault(POST, status=status, body={"error": {"message": text.format(gone), "type": "x"}}))
    assert run_to_end(door, client, *ids).status == "completed"
    assert names_of(upstream) == [[kept, gone], [kept]]


@pytest.mark.parametrize("text", ["The file {} is too large.", "File 'file-other' not found.", "{}"])
def test_another_refusal_reaches_the_caller(door: Door, client: Any, upstream: StandIn, text: str) -> None:
    """A refusal that says something else of the file, or names another one, is not recovered."""
    (gone,), resources = user_files(upstream, "gone.txt")
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    upstream.fault(Fault(POST, status=400, body={"error": {"message": text.format(gone), "type": "x"}}))
    with pytest.raises(openai.BadRequestError):
        run_to_end(door, client, *ids)
    assert len(request_bodies(upstream)) == 1


@polled_or_streamed
def test_a_restored_container_does_without_a_deleted_file(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """The container that replaces an expired one has the thread's own file and the files that still exist."""
    (_, gone), resources = user_files(upstream, "kept.txt", "gone.txt")
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    upstream.script(turn_with_file("a.csv", b"1"))
    run_to_end(door, client, *ids)
    del upstream.files[gone]
    for minutes in (21, 42):
        advance_clocks(monkeypatch, upstream, minutes * MINUTE)
        upstream.requests.clear()
        assert run_to_end(door, client, *ids, stream=stream).status == "completed"
        contents = container_contents(upstream, requested_containers(upstream)[-1])
        assert contents == {"kept.txt": b"given", "a.csv": b"1"}
    assert upstream_calls(upstream, "POST /containers") == ["POST /containers"]


@pytest.mark.refusal("container_file_gone")
@polled_or_streamed
def test_a_living_container_does_without_a_deleted_file(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A file that was deleted before it joined the thread's container costs one request, and the container stays."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"))
    run_to_end(door, client, *ids)
    (gone, kept), _ = user_files(upstream, "gone.txt", "kept.txt")
    attachments = [{"file_id": file_id, "tools": [{"type": "code_interpreter"}]} for file_id in (gone, kept)]
    door(client.beta.threads.messages.create(ids[0], role="user", content="?", attachments=attachments))
    del upstream.files[gone]
    upstream.requests.clear()
    for _ in range(2):
        assert run_to_end(door, client, *ids, stream=stream).status == "completed"
    assert upstream_calls(upstream, "POST /containers/*/files") == ["POST /containers/*/files"] * 2
    contents = container_contents(upstream, requested_containers(upstream)[-1])
    assert contents == {"a.csv": b"1", "kept.txt": b"given"}


@polled_or_streamed
def test_without_stored_responses_a_deleted_file_is_left_out(
    door: Door, upstream: StandIn, settings: Settings, *, stream: bool
) -> None:
    """With `store_responses=False` a deleted file is left out too, and later rounds keep the request that was taken."""
    client = door.client(upstream, replace(settings, store_responses=False))
    (kept, gone), resources = user_files(upstream, "kept.txt", "gone.txt")
    thread, assistant = make_thread_and_assistant(
        door, client, tools=[{"type": "code_interpreter"}, FUNCTION], tool_resources=resources
    )
    del upstream.files[gone]
    upstream.script(function_call_turn("call_1"), Turn(text="Done.", polls=0))
    submit_outputs(door, client, run_to_end(door, client, thread, assistant, stream=stream))
    assert names_of(upstream) == [[kept, gone], [kept], [kept]]


@pytest.mark.refusal("container_file_gone")
@polled_or_streamed
@pytest.mark.parametrize("text", ["File '{}' not found.", "The file {} could not be found."])
def test_a_deleted_file_that_fails_a_response_is_left_out(
    door: Door, client: Any, upstream: StandIn, text: str, *, stream: bool
) -> None:
    """A response that was accepted and then fails for the file is repeated without it; later runs do not name it."""
    (kept, gone), resources = user_files(upstream, "kept.txt", "gone.txt")
    thread, assistant = make_thread_and_assistant(door, client, tool_resources=resources)
    error = {"code": "server_error", "message": text.format(gone)}
    upstream.script(Turn(status="failed", error=error, polls=0))
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert names_of(upstream) == [[kept, gone], [kept], [kept]]


# Forms in which a refusal may be about a deleted file without saying so in known words; `{}` is the file.
OTHER_WORDS = [
    (404, "File not found.", "tools[0].container.file_ids[1]"),
    (404, "Not found", "container.file_ids"),
    (404, "Invalid 'tools[0].container.file_ids[1]': file not found.", None),
    (400, "Invalid file_id: {}", "tools[0].container.file_ids[1]"),
    (400, "File with ID {} is expired or unavailable.", "tools"),
    (422, "The following file IDs are invalid: {}", "file_ids"),
]


@pytest.mark.parametrize(("status", "text", "param"), OTHER_WORDS)
@pytest.mark.parametrize("place", ["request", "restored", "living"])
def test_a_deleted_file_is_left_out_whatever_the_refusal_says(
    door: Door,
    client: Any,
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    status: int,
    text: str,
    param: str | None,
) -> None:
    """If the words of a refusal tell nothing, the Files API is asked, in a run and in both ways to fill a container."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(text="Hi.", polls=0) if place == "request" else turn_with_file("a.csv", b"1"))
    assert run_to_end(door, client, *ids).status == "completed"
    (kept, gone), _ = user_files(upstream, "kept.txt", "gone.txt")
    attachments = [{"file_id": file_id, "tools": [{"type": "code_interpreter"}]} for file_id in (kept, gone)]
    door(client.beta.threads.messages.create(ids[0], role="user", content="?", attachments=attachments))
    del upstream.files[gone]
    refuse_missing_files(upstream, monkeypatch, status, text, param)
    if place == "restored":
        advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    for _ in range(2):
        assert run_to_end(door, client, *ids).status == "completed"
        container = requested_containers(upstream)[-1]
        if place == "request":
            assert container["file_ids"] == [kept]
        else:
            assert container_contents(upstream, container) == {"a.csv": b"1", "kept.txt": b"given"}


def test_a_refusal_of_a_file_that_exists_reaches_the_caller(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the Files API still has all files of a refused request, none is left out, whatever the refusal says."""
    (kept,), resources = user_files(upstream, "kept.txt")
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    body = {"error": {"message": "Not found", "type": "x", "param": "tools[0].container.file_ids"}}
    upstream.fault(Fault(POST, status=404, body=body))
    with pytest.raises(openai.NotFoundError):
        run_to_end(door, client, *ids)
    assert names_of(upstream) == [[kept]]


def test_a_server_without_files_is_not_believed(door: Door, client: Any, upstream: StandIn) -> None:
    """A 404 of `GET /files/{id}` that does not name the file says nothing about it."""
    (kept,), resources = user_files(upstream, "kept.txt")
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    for route in (POST, "GET /files/*"):
        upstream.fault(Fault(route, status=404, body={"error": {"message": "Not Found", "type": "x"}}))
    with pytest.raises(openai.NotFoundError):
        run_to_end(door, client, *ids)
    assert run_to_end(door, client, *ids).status == "completed"
    assert names_of(upstream) == [[kept], [kept]]


@polled_or_streamed
@pytest.mark.parametrize("generated", [False, True])
def test_a_file_that_its_caller_deletes_is_known_at_once(
    door: Door,
    client: Any,
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    stream: bool,
    generated: bool,
) -> None:
    """After `files.delete` no later run names the file, so that none is refused; one line of the log says so."""
    caplog.set_level(logging.INFO, "assistants_compat")
    (kept, gone), _ = user_files(upstream, "kept.txt", "gone.txt")
    attachments = [{"file_id": file_id, "tools": [{"type": "code_interpreter"}]} for file_id in (kept, gone)]
    message = {"role": "user", "content": "?", "attachments": attachments}
    ids = door(client.beta.threads.create(messages=[message])).id, make_thread_and_assistant(door, client)[1]
    upstream.script(turn_with_file("a.csv", b"1") if generated else Turn(text="Hi.", code="1", polls=0))
    assert run_to_end(door, client, *ids, stream=stream).status == "completed"
    assert door(client.files.delete(gone)).deleted
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    upstream.requests.clear()
    for _ in range(2):
        assert run_to_end(door, client, *ids, stream=stream).status == "completed"
    assert not any(gone.encode() in request.body for request in upstream.requests)
    assert sum(gone in record.getMessage() for record in caplog.records) == 1


def test_a_file_that_was_not_deleted_after_all_is_still_given(door: Door, client: Any, upstream: StandIn) -> None:
    """A refused `files.delete` changes nothing."""
    (kept,), resources = user_files(upstream, "kept.txt")
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    upstream.fault(Fault("DELETE /files/*", status=403, body={"error": {"message": "No.", "type": "x"}}))
    with pytest.raises(openai.PermissionDeniedError):
        door(client.files.delete(kept))
    assert run_to_end(door, client, *ids).status == "completed"
    assert names_of(upstream) == [[kept]]


# --- vector stores


def make_store(door: Door, client: Any, upstream: StandIn) -> str:
    """Create the caller's own vector store with one file."""
    file_id = upstream.put_file("a.txt", b"Cake.", "assistants")
    return str(door(client.post("/vector_stores", body={"file_ids": [file_id]}, cast_to=object))["id"])


@pytest.mark.refusal("vector_store_gone")
@polled_or_streamed
def test_a_deleted_vector_store_is_not_searched(
    door: Door, client: Any, upstream: StandIn, caplog: pytest.LogCaptureFixture, *, stream: bool
) -> None:
    """A deleted vector store is left out without a refused request; one line of the log says so."""
    caplog.set_level(logging.INFO, "assistants_compat")
    kept, gone = make_store(door, client, upstream), make_store(door, client, upstream)
    assistant = make_assistant(
        door, client, tools=SEARCH, tool_resources={"file_search": {"vector_store_ids": [kept]}}
    ).id
    thread = door(
        client.beta.threads.create(
            messages=[{"role": "user", "content": "?"}], tool_resources={"file_search": {"vector_store_ids": [gone]}}
        )
    ).id
    del upstream.vector_stores[gone]
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert [body["tools"][0]["vector_store_ids"] for body in request_bodies(upstream)] == [[kept]] * 2
    assert sum(gone in record.getMessage() for record in caplog.records) == 1


@polled_or_streamed
def test_a_run_without_its_only_vector_store_completes(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """If the only vector store was deleted, the run does without file search, although its choice names that tool."""
    gone = make_store(door, client, upstream)
    assistant = make_assistant(
        door, client, tools=SEARCH, tool_resources={"file_search": {"vector_store_ids": [gone]}}
    ).id
    del upstream.vector_stores[gone]
    options = {"tool_choice": {"type": "file_search"}, "parallel_tool_calls": False}
    run = run_to_end(door, client, make_thread(door, client).id, assistant, stream=stream, **options)
    assert run.status == "completed"
    [body] = request_bodies(upstream)
    assert not {"tools", "tool_choice", "include", "parallel_tool_calls"} & set(body)


@pytest.mark.refusal("vector_store_gone")
def test_a_vector_store_that_only_the_response_misses_is_left_out(door: Door, client: Any, upstream: StandIn) -> None:
    """A refusal of `POST /responses` that names the store costs one request, and the run does without it."""
    kept, gone = make_store(door, client, upstream), make_store(door, client, upstream)
    assistant = make_assistant(
        door, client, tools=SEARCH, tool_resources={"file_search": {"vector_store_ids": [kept]}}
    ).id
    thread = door(
        client.beta.threads.create(
            messages=[{"role": "user", "content": "?"}], tool_resources={"file_search": {"vector_store_ids": [gone]}}
        )
    ).id
    body = {"error": {"message": f"Vector store with id '{gone}' not found.", "type": "invalid_request_error"}}
    upstream.fault(Fault(POST, status=404, body=body))
    assert run_to_end(door, client, thread, assistant).status == "completed"
    assert [body["tools"][0]["vector_store_ids"] for body in request_bodies(upstream)] == [[kept, gone], [kept]]


@pytest.mark.refusal("vector_store_gone")
@polled_or_streamed
def test_a_vector_store_that_fails_a_response_is_left_out(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A response that fails for the store is repeated without it; later runs neither name it nor look for it."""
    kept, gone = make_store(door, client, upstream), make_store(door, client, upstream)
    assistant = make_assistant(
        door, client, tools=SEARCH, tool_resources={"file_search": {"vector_store_ids": [kept]}}
    ).id
    resources = {"file_search": {"vector_store_ids": [gone]}}
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "?"}], tool_resources=resources)).id
    error = {"code": "server_error", "message": f"Vector store with id '{gone}' not found."}
    upstream.script(Turn(status="failed", error=error, polls=0))
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    searched = [body["tools"][0]["vector_store_ids"] for body in request_bodies(upstream)]
    assert searched == [[kept, gone], [kept], [kept]]
    assert sum(request.path == f"/vector_stores/{gone}" for request in upstream.requests) == 1


def test_a_server_without_vector_store_routes_is_asked_all_the_same(door: Door, client: Any, upstream: StandIn) -> None:
    """A 404 that does not name the store says nothing about it: the store stays in the request."""
    store = make_store(door, client, upstream)
    assistant = make_assistant(
        door, client, tools=SEARCH, tool_resources={"file_search": {"vector_store_ids": [store]}}
    ).id
    upstream.fault(Fault("GET /vector_stores/*", status=404, body={"error": {"message": "Not Found", "type": "x"}}))
    assert run_to_end(door, client, make_thread(door, client).id, assistant).status == "completed"
    assert request_bodies(upstream)[-1]["tools"][0]["vector_store_ids"] == [store]


# --- pure functions


def test_an_id_within_a_longer_one_is_not_named() -> None:
    """Only the whole id counts, and only in an answer that can be about a missing object."""
    error = {"message": "File 'file-ab' not found."}
    assert missing_file_of(["file-a", "file-ab"], 404, error) == "file-ab"
    assert missing_file_of(["file-a"], 404, error) is None
    assert missing_file_of(["file-ab"], 500, error) is None
    assert missing_file_of(["file-ab"], None, error) == "file-ab"
    assert missing_file_of(["file-ab"], 404, "File 'file-ab' not found.") is None


def test_other_tools_keep_their_parameters() -> None:
    """Without its last vector store a request keeps its other tools, their choice and their results."""
    function = {"type": "function", "name": "look"}
    request = {
        "model": "gpt-4o",
        "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}, function],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "include": ["code_interpreter_call.outputs", "file_search_call.results"],
    }
    assert without_vector_store(request, "vs_1") == {
        "model": "gpt-4o",
        "tools": [function],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "include": ["code_interpreter_call.outputs"],
    }
