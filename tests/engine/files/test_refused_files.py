"""A generated file that the Files API does not take is input of the code interpreter all the same (refusals.md, F4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import CompatError, Settings, responses_request
from assistants_compat.service.file_types import ASSISTANTS_EXTENSIONS, is_taken_for_assistants
from assistants_compat.service.refusal_table import row
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import (
    MINUTE,
    advance_clocks,
    container_changes,
    container_contents,
    make_thread_and_assistant,
    polled_or_streamed,
    requested_containers,
    run_to_end,
    turn_with_file,
)
from kit.doors import Door
from kit.legacy_code import CODE, FUNCTION, function_call_turn, make_file, submit_outputs, upstream_calls

UPLOAD = "POST /files"
COPIED = ["POST containers", "POST containers/*/files"]
# The ten names of the report in refusals.md, row 8 and F4, and one of each kind that the list leaves out.
NOT_TAKEN = ["m.parquet", "plot.svg", "x.sqlite", "notes", "a.vb", "a.geojson"]
EXTENSION_REFUSAL = {
    "error": {
        "message": 'Invalid extension csv. Supported formats: "c", "cpp", "css"',
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
}
EMPTY_REFUSAL = {
    "error": {"message": "File is empty.", "type": "invalid_request_error", "param": None, "code": None},
}


def make_named_file(door: Door, client: Any, upstream: StandIn, name: str, content: bytes = b"data") -> str:
    """Let the run of another thread make a file; clear the recorded requests, and return the file's id."""
    file_id = make_file(door, client, upstream, turn_with_file(name, content))
    upstream.requests.clear()
    return file_id


def thread_with_attachment(door: Door, client: Any, file_id: str) -> str:
    """Return a thread whose message attaches the file for the code interpreter."""
    attachment = {"file_id": file_id, "tools": CODE}
    message = {"role": "user", "content": "Read it.", "attachments": [attachment]}
    return str(door(client.beta.threads.create(messages=[message])).id)


def test_the_list_of_extensions_is_that_of_the_refusal() -> None:
    """The refused extension is not in the list, which has as many entries as the quoted one; case decides nothing."""
    assert len(ASSISTANTS_EXTENSIONS) == len(set(ASSISTANTS_EXTENSIONS)) == 30
    assert not any(is_taken_for_assistants(name, 1) for name in (*NOT_TAKEN, ".csv/x", "csv"))
    assert is_taken_for_assistants("/mnt/data/R.CSV", None)
    assert not is_taken_for_assistants("a.csv", 0)


@pytest.mark.refusal("file_extension")
@polled_or_streamed
@pytest.mark.parametrize("name", NOT_TAKEN)
def test_a_file_of_another_kind_is_copied_into_the_container(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, name: str, *, stream: bool
) -> None:
    """A file whose extension is not taken is copied, not uploaded: once for a container, and again after expiry."""
    file_id = make_named_file(door, client, upstream, name)
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    upstream.script(Turn(code="1", text="Read.", polls=0), Turn(code="2", text="Again.", polls=0))
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    first, second = requested_containers(upstream)
    assert (first, container_contents(upstream, first)) == (second, {name: b"data"})
    assert (container_changes(upstream), upstream_calls(upstream, UPLOAD)) == (COPIED, [])
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert container_contents(upstream, requested_containers(upstream)[-1]) == {name: b"data"}
    assert (container_changes(upstream), upstream_calls(upstream, UPLOAD)) == (COPIED * 2, [])


def test_a_file_of_another_kind_joins_the_threads_container(door: Door, client: Any, upstream: StandIn) -> None:
    """A thread whose container lives gets the file there, and its other files stay."""
    file_id = make_named_file(door, client, upstream, "m.parquet")
    thread, assistant = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"))
    run_to_end(door, client, thread, assistant)
    door(
        client.beta.threads.messages.create(
            thread, role="user", content="Read it.", attachments=[{"file_id": file_id, "tools": CODE}]
        )
    )
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant).status == "completed"
    container = requested_containers(upstream)[-1]
    assert container_contents(upstream, container) == {"a.csv": b"1", "m.parquet": b"data"}
    assert container_changes(upstream) == ["POST containers/*/files"]


@polled_or_streamed
def test_an_assistants_file_of_another_kind_is_copied(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A file in an assistant's `tool_resources` is copied into the container of each thread, beside the user's file."""
    file_id = make_named_file(door, client, upstream, "m.parquet")
    user_file = upstream.put_file("given.txt", b"given", "assistants")
    resources = {"code_interpreter": {"file_ids": [file_id, user_file]}}
    for _ in range(2):
        ids = make_thread_and_assistant(door, client, tool_resources=resources)
        assert run_to_end(door, client, *ids, stream=stream).status == "completed"
        contents = container_contents(upstream, requested_containers(upstream)[-1])
        assert contents == {"given.txt": b"given", "m.parquet": b"data"}


@polled_or_streamed
def test_a_container_that_the_upstream_lost_is_filled_again(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """After "Container is expired." the next container gets the file too, with the files of the thread."""
    file_id = make_named_file(door, client, upstream, "m.parquet")
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    upstream.script(turn_with_file("a.csv", b"1"))
    run_to_end(door, client, thread, assistant)
    upstream.advance(21 * MINUTE)
    assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    contents = container_contents(upstream, requested_containers(upstream)[-1])
    assert contents == {"a.csv": b"1", "m.parquet": b"data"}


def test_a_container_that_is_gone_while_it_is_filled_is_not_used_again(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """The run does with the upstream's own container, and the next run fills another one."""
    file_id = make_named_file(door, client, upstream, "m.parquet")
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    gone = {"error": {"message": "Container not found.", "type": "invalid_request_error"}}
    upstream.fault(Fault("POST /containers/*/files", status=404, body=gone))
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant).status == "completed"
    paths = [request.path for request in upstream.requests if request.path.startswith("/containers/")]
    assert len(paths) == len(set(paths)) == 2
    assert requested_containers(upstream)[0] == {"type": "auto"}
    assert container_contents(upstream, requested_containers(upstream)[1]) == {"m.parquet": b"data"}


def test_a_later_round_keeps_the_container(door: Door, client: Any, upstream: StandIn) -> None:
    """Tool outputs are sent with the container that has the file."""
    file_id = make_named_file(door, client, upstream, "m.parquet")
    thread = thread_with_attachment(door, client, file_id)
    assistant = make_thread_and_assistant(door, client, tools=[*CODE, FUNCTION])[1]
    upstream.script(function_call_turn("call_1"))
    submit_outputs(door, client, run_to_end(door, client, thread, assistant))
    first, second = requested_containers(upstream)
    assert (first, container_contents(upstream, first)) == (second, {"m.parquet": b"data"})


@polled_or_streamed
def test_without_stored_responses_the_file_is_copied_too(
    door: Door, upstream: StandIn, settings: Settings, *, stream: bool
) -> None:
    """`store_responses=False` changes nothing about files of another kind."""
    client = door.client(upstream, replace(settings, store_responses=False))
    file_id = make_named_file(door, client, upstream, "m.parquet")
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert container_contents(upstream, requested_containers(upstream)[-1]) == {"m.parquet": b"data"}


@pytest.mark.refusal("file_extension")
def test_capital_letters_in_an_extension_are_written_small(door: Door, client: Any, upstream: StandIn) -> None:
    """`R.CSV` is uploaded as `R.csv`, once."""
    file_id = make_named_file(door, client, upstream, "R.CSV")
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    for _ in range(2):
        run_to_end(door, client, thread, assistant)
    assert [file.wire["filename"] for file in upstream.files.values()] == ["R.csv"]
    assert (container_changes(upstream), upstream_calls(upstream, UPLOAD)) == ([], [UPLOAD])


@pytest.mark.refusal("file_extension", "file_empty")
@polled_or_streamed
@pytest.mark.parametrize("refusal", [EXTENSION_REFUSAL, EMPTY_REFUSAL], ids=["extension", "empty"])
def test_an_upload_that_is_refused_is_copied_instead(
    door: Door, client: Any, upstream: StandIn, refusal: Any, *, stream: bool
) -> None:
    """A refusal for the kind of file costs one upload; the run and later ones have the file in the container."""
    file_id = make_named_file(door, client, upstream, "a.csv")
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    upstream.fault(Fault(UPLOAD, status=400, body=refusal))
    upstream.script(Turn(code="1", text="Read.", polls=0), Turn(code="2", text="Again.", polls=0))
    for _ in range(2):
        assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
        assert container_contents(upstream, requested_containers(upstream)[-1]) == {"a.csv": b"data"}
    assert (container_changes(upstream), upstream_calls(upstream, UPLOAD)) == (COPIED, [UPLOAD])


@pytest.mark.refusal("file_empty")
@polled_or_streamed
def test_an_empty_file_is_left_out_if_containers_refuse_it(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: Any, *, stream: bool
) -> None:
    """An empty file costs the thread one refused upload to a container; its runs complete without it."""
    file_id = make_named_file(door, client, upstream, "a.csv", b"")
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    upstream.fault(Fault("POST /containers/*/files", status=400, body=EMPTY_REFUSAL))
    for _ in range(3):
        assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert upstream_calls(upstream, UPLOAD) == []
    assert container_changes(upstream) == COPIED
    assert f"does not take file {file_id} (0 bytes)" in caplog.text
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    assert run_to_end(door, client, thread, assistant, stream=stream).status == "completed"
    assert requested_containers(upstream)[-1] == {"type": "auto"}


def test_a_container_that_fails_once_gets_the_file_at_the_next_run(door: Door, client: Any, upstream: StandIn) -> None:
    """A 500 of the container does not fail the run, and the next run copies the file."""
    file_id = make_named_file(door, client, upstream, "m.parquet")
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    upstream.fault(Fault("POST /containers/*/files", status=500))
    upstream.script(Turn(code="1", text="Read.", polls=0), Turn(code="2", text="Again.", polls=0))
    for expected in ({}, {"m.parquet": b"data"}):
        assert run_to_end(door, client, thread, assistant).status == "completed"
        assert container_contents(upstream, requested_containers(upstream)[-1]) == expected


@pytest.mark.parametrize("name", ["a.csv", "m.parquet"])
def test_a_deleted_file_does_not_stop_the_thread(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A generated file that its caller deleted is not named to the upstream, and the runs complete."""
    file_id = make_named_file(door, client, upstream, name)
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    run_to_end(door, client, thread, assistant)
    door(client.files.delete(file_id))
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    assert run_to_end(door, client, thread, assistant).status == "completed"
    assert requested_containers(upstream)[-1] == {"type": "auto"}


def test_a_preview_waits_for_the_container(door: Door, client: Any, upstream: StandIn) -> None:
    """`responses_request` says that a run must copy the file first, and afterwards names the container that has it."""
    file_id = make_named_file(door, client, upstream, "m.parquet")
    thread, assistant = thread_with_attachment(door, client, file_id), make_thread_and_assistant(door, client)[1]
    with pytest.raises(CompatError, match=f"copy generated files into a container first .{file_id}."):
        door(responses_request(client, assistant, thread))
    upstream.script(Turn(code="1", text="Read.", polls=0))
    run_to_end(door, client, thread, assistant)
    request = door(responses_request(client, assistant, thread))
    assert request["tools"][0]["container"] == requested_containers(upstream)[-1]


def test_file_search_shows_the_refusal_to_its_caller(door: Door, client: Any, upstream: StandIn) -> None:
    """Attached for file search, a file of another kind is refused at the message, as the old service did."""
    file_id = make_named_file(door, client, upstream, "m.parquet")
    upstream.fault(Fault(UPLOAD, status=400, body=EXTENSION_REFUSAL))
    attachment = {"file_id": file_id, "tools": [{"type": "file_search"}]}
    with pytest.raises(openai.BadRequestError, match="Supported formats"):
        door(client.beta.threads.create(messages=[{"role": "user", "content": "?", "attachments": [attachment]}]))


def test_the_table_knows_these_refusals() -> None:
    """Both refusals are rows of the table."""
    assert [row(name).status for name in ("file_extension", "file_empty")] == [400, 400]
