"""Deleting a thread or file deletes what it created upstream; generated files stay unless a setting says otherwise."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import (
    MINUTE,
    advance_clocks,
    last_message,
    make_thread_and_assistant,
    polled_or_streamed,
    run_to_end,
    turn_with_file,
)
from kit.doors import Door
from kit.legacy_code import FUNCTION, make_thread, start_run, submit_outputs, upstream_calls, waiting_run
from kit.streams import read_rest, read_until


def deletions(upstream: StandIn) -> list[str]:
    """Return the paths of the upstream's DELETE requests, sorted."""
    return sorted(request.path for request in upstream.requests if request.method == "DELETE")


@polled_or_streamed
def test_a_deleted_thread_deletes_its_container_and_responses(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """Deleting a thread deletes its container and responses once each; its generated files can still be downloaded."""
    ids = make_thread_and_assistant(door, client)
    other = make_thread(door, client).id, ids[1]
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"), turn_with_file("o.csv", b"3"))
    run = run_to_end(door, client, *ids, stream=stream)
    run_to_end(door, client, *ids, stream=stream)
    file_id = last_message(door, client, run).attachments[0].file_id
    expected = [
        *[f"/containers/{id_}" for id_ in upstream.containers],
        *[f"/responses/{id_}" for id_ in upstream.responses],
    ]
    run_to_end(door, client, *other, stream=stream)
    door(client.beta.threads.delete(ids[0]))
    assert deletions(upstream) == sorted(expected)
    assert (len(upstream.containers), len(upstream.responses)) == (1, 1)
    assert door(client.files.content(file_id)).read() == b"1"


def test_every_response_of_a_run_is_deleted(door: Door, client: Any, upstream: StandIn) -> None:
    """Deleting a thread deletes the responses of every round, also that of a run cancelled while it waited."""
    completed, cancelled = (waiting_run(door, client, upstream) for _ in range(2))
    upstream.script(Turn(text="Done.", polls=0))
    submit_outputs(door, client, completed)
    door(client.beta.threads.runs.poll(completed.id, thread_id=completed.thread_id))
    door(client.beta.threads.runs.cancel(cancelled.id, thread_id=cancelled.thread_id))
    door(client.beta.threads.runs.poll(cancelled.id, thread_id=cancelled.thread_id))
    assert len(upstream.responses) == 3
    for run in (completed, cancelled):
        door(client.beta.threads.delete(run.thread_id))
    assert (len(deletions(upstream)), upstream.responses) == (3, {})


@polled_or_streamed
def test_a_failed_response_that_was_retried_is_deleted_too(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """The first, failed response of a retried run is deleted with its thread, although the run names the second."""
    ids = make_thread_and_assistant(door, client, tools=[])
    failed = Turn(status="failed", error={"code": "context_length_exceeded", "message": "Too long."}, polls=0)
    for text in ("one", "two"):
        door(client.beta.threads.messages.create(ids[0], role="user", content=text))
    upstream.script(failed, Turn(text="Done.", polls=0))
    assert run_to_end(door, client, *ids, stream=stream).status == "completed"
    assert len(upstream.responses) == 2
    door(client.beta.threads.delete(ids[0]))
    assert upstream.responses == {}


def test_a_working_run_is_cancelled_before_its_response_is_deleted(door: Door, client: Any, upstream: StandIn) -> None:
    """A working response is cancelled before it is deleted, because the upstream would continue it otherwise."""
    upstream.script(Turn(text="Never.", polls=99))
    working = start_run(door, client)
    upstream.requests.clear()
    door(client.beta.threads.delete(working.thread_id))
    assert upstream_calls(upstream) == ["POST /responses/*/cancel", "DELETE /responses/*"]


def test_a_thread_deleted_during_a_stream_leaves_no_response(door: Door, client: Any, upstream: StandIn) -> None:
    """A stream ends soon after its thread is deleted, and its reader deletes the unfinished response."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1", pace=0.02))
    runs = client.beta.threads.runs
    stream = door(runs.create(ids[0], assistant_id=ids[1], stream=True))
    seen = read_until(door, stream, "thread.run.in_progress")
    door(client.beta.threads.delete(ids[0]))
    seen += read_rest(door, stream)
    assert "thread.run.completed" not in [event.event for event in seen]
    [response] = upstream.responses.values()  # retrievable only once it is finished
    # A slow machine stores the response's id before the thread is deleted; then that deletes the response as well.
    assert (set(deletions(upstream)), response.finished) == ({f"/responses/{response.final['id']}"}, False)


def test_nothing_is_deleted_where_nothing_was_stored(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `store_responses=False` only the container is deleted; a thread without runs sends no request."""
    client = door.client(upstream, replace(settings, store_responses=False))
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"))
    run_to_end(door, client, *ids)
    [container] = upstream.containers
    door(client.beta.threads.delete(make_thread(door, client).id))
    assert deletions(upstream) == []
    door(client.beta.threads.delete(ids[0]))
    assert deletions(upstream) == [f"/containers/{container}"]


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=404), Fault(drop=True), Fault(html=True)])
def test_a_thread_is_deleted_although_the_upstream_deletes_nothing(
    door: Door, client: Any, upstream: StandIn, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """A thread is deleted although the upstream fails; the log names what may remain, except after a 404."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"))
    run_to_end(door, client, *ids)
    upstream.fault(replace(fault, match="DELETE *", times=9))
    with caplog.at_level(logging.WARNING, logger="assistants_compat"):
        assert door(client.beta.threads.delete(ids[0])).deleted
    with pytest.raises(openai.NotFoundError):
        door(client.beta.threads.retrieve(ids[0]))
    assert len(deletions(upstream)) == 2
    warnings = [record for record in caplog.records if "could not delete" in record.msg]
    assert len(warnings) == (0 if fault.status == 404 else 2)


def test_all_containers_of_a_thread_are_deleted(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread's expired container is deleted too, because the upstream still lists it (recorded)."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids)
    assert len(upstream.containers) == 2
    door(client.beta.threads.delete(ids[0]))
    assert upstream.containers == {}


def test_many_responses_are_deleted(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Each of many responses of a thread is deleted once."""
    client = door.client(upstream, sqlite_settings)
    ids = make_thread_and_assistant(door, client, tools=[])
    for _ in range(12):
        upstream.script(Turn(text="Yes.", polls=0))
        run_to_end(door, client, *ids)
    assert len(upstream.responses) == 12
    door(client.beta.threads.delete(ids[0]))
    assert (len(deletions(upstream)), upstream.responses) == (12, {})


def test_a_setting_deletes_the_files_of_a_deleted_thread(
    door: Door, upstream: StandIn, settings: Settings, tmp_path: Any
) -> None:
    """With `thread_files="delete"` a deleted thread's files are gone, and those of other threads stay."""
    client = door.client(upstream, replace(settings, thread_files="delete"))
    ids = make_thread_and_assistant(door, client)
    other = make_thread(door, client).id, ids[1]
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    deleted, remaining = (
        last_message(door, client, run_to_end(door, client, *pair)).attachments[0].file_id for pair in (ids, other)
    )
    door(client.beta.threads.delete(ids[0]))
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {deleted}"):
        door(client.files.content(deleted))
    assert door(client.files.content(remaining)).read() == b"2"
    assert [path.name for path in (tmp_path / "files").iterdir()] == [remaining]


def test_a_deleted_message_keeps_its_files(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Deleting a message keeps its files, even with `thread_files="delete"`."""
    client = door.client(upstream, replace(settings, thread_files="delete"))
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"))
    message = last_message(door, client, run_to_end(door, client, *ids))
    door(client.beta.threads.messages.delete(message.id, thread_id=ids[0]))
    assert door(client.files.content(message.attachments[0].file_id)).read() == b"1"


def test_a_deleted_file_is_deleted_in_its_container(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting a file deletes it in a live container; an expired one, or a deleted thread's, gets no request."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(code="1", text="Made.", files={f"{n}.csv": b"1" for n in range(3)}, polls=0))
    files = [
        attachment.file_id for attachment in last_message(door, client, run_to_end(door, client, *ids)).attachments
    ]
    [container] = upstream.containers.values()
    door(client.files.delete(files[0]))
    assert [file.wire["path"] for file in container.files.values()] == ["/mnt/data/1.csv", "/mnt/data/2.csv"]
    assert len(deletions(upstream)) == 1
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    door(client.files.delete(files[1]))
    assert len(deletions(upstream)) == 1
    door(client.beta.threads.delete(ids[0]))
    upstream.requests.clear()
    door(client.files.delete(files[2]))
    assert upstream.requests == []


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=404), Fault(drop=True), None])
def test_a_file_is_deleted_although_its_container_deletes_nothing(
    door: Door, client: Any, upstream: StandIn, fault: Fault | None
) -> None:
    """A generated file is deleted here whatever its container answers, also if the container has expired."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"))
    file_id = last_message(door, client, run_to_end(door, client, *ids)).attachments[0].file_id
    if fault is None:
        upstream.advance(21 * MINUTE)
    else:
        upstream.fault(replace(fault, match="DELETE *"))
    assert door(client.files.delete(file_id)).deleted
    assert len(deletions(upstream)) == 1
    with pytest.raises(openai.NotFoundError):
        door(client.files.retrieve(file_id))


def test_a_run_whose_thread_is_deleted_meanwhile_leaves_no_response(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the thread is deleted while the upstream accepts a run, the new response is deleted too."""
    ids = make_thread_and_assistant(door, client, tools=[FUNCTION])
    answer = upstream.answer

    def answer_after_deletion(request: Any) -> Any:
        result = answer(request)
        if (request.method, request.path) == ("POST", "/responses"):
            other = Door("sync")
            other.client(upstream, settings_of(client)).beta.threads.delete(ids[0])
            other.close()
        return result

    monkeypatch.setattr(upstream, "answer", answer_after_deletion)
    with pytest.raises(openai.NotFoundError, match="No thread found"):
        run_to_end(door, client, *ids)
    assert upstream.responses == {}


def settings_of(client: Any) -> Settings:
    """Return the settings of a wrapped client."""
    settings: Settings = client._client.client_settings()
    return settings
