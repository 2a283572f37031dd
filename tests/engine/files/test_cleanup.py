"""What a deleted thread or file takes along upstream, and what of it stays here."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import MINUTE, both_ways, later, makes, new_thread, run, said
from kit.doors import Door
from kit.legacy_code import FUNCTION, asked, make_thread, start_run, submit, waiting_run
from kit.streams import rest, until


def deletions(upstream: StandIn) -> list[str]:
    """What was asked to be deleted, sorted."""
    return sorted(each.path for each in upstream.requests if each.method == "DELETE")


@both_ways
def test_a_deleted_thread_takes_its_container_and_responses_along(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """Each once, and nothing of another thread; its generated files stay, and are served without the upstream."""
    ids = new_thread(door, client)
    other = make_thread(door, client).id, ids[1]
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"), makes("o.csv", b"3"))
    done = run(door, client, *ids, stream=stream)
    run(door, client, *ids, stream=stream)
    file_id = said(door, client, done).attachments[0].file_id
    mine = [
        *[f"/containers/{id_}" for id_ in upstream.containers],
        *[f"/responses/{id_}" for id_ in upstream.responses],
    ]
    run(door, client, *other, stream=stream)
    door(client.beta.threads.delete(ids[0]))
    assert deletions(upstream) == sorted(mine)
    assert (len(upstream.containers), len(upstream.responses)) == (1, 1)
    assert door(client.files.content(file_id)).read() == b"1"


def test_every_response_of_a_run_is_deleted(door: Door, client: Any, upstream: StandIn) -> None:
    """Those of its earlier rounds, too, and one that was cancelled while it waited."""
    done, waits = (waiting_run(door, client, upstream) for _ in range(2))
    upstream.script(Turn(text="Done.", polls=0))
    submit(door, client, done)
    door(client.beta.threads.runs.poll(done.id, thread_id=done.thread_id))
    door(client.beta.threads.runs.cancel(waits.id, thread_id=waits.thread_id))
    door(client.beta.threads.runs.poll(waits.id, thread_id=waits.thread_id))
    assert len(upstream.responses) == 3
    for each in (done, waits):
        door(client.beta.threads.delete(each.thread_id))
    assert (len(deletions(upstream)), upstream.responses) == (3, {})


@both_ways
def test_a_response_that_failed_and_was_asked_for_again_is_deleted_too(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """The run's row names the second; the first is remembered beside it."""
    ids = new_thread(door, client, tools=[])
    late = Turn(status="failed", error={"code": "context_length_exceeded", "message": "Too long."}, polls=0)
    for text in ("one", "two"):
        door(client.beta.threads.messages.create(ids[0], role="user", content=text))
    upstream.script(late, Turn(text="Done.", polls=0))
    assert run(door, client, *ids, stream=stream).status == "completed"
    assert len(upstream.responses) == 2
    door(client.beta.threads.delete(ids[0]))
    assert upstream.responses == {}


def test_a_run_that_works_is_cancelled_before_its_response_is_deleted(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """In this order, or the upstream would go on."""
    upstream.script(Turn(text="Never.", polls=99))
    working = start_run(door, client)
    upstream.requests.clear()
    door(client.beta.threads.delete(working.thread_id))
    assert asked(upstream) == ["POST /responses/*/cancel", "DELETE /responses/*"]


def test_a_thread_that_is_deleted_while_it_is_streamed_leaves_nothing(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """The reader hears the end within a second, and deletes the response that the deleter did not know yet."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1", pace=0.02))
    runs = client.beta.threads.runs
    stream = door(runs.create(ids[0], assistant_id=ids[1], stream=True))
    seen = until(door, stream, "thread.run.in_progress")
    door(client.beta.threads.delete(ids[0]))
    seen += rest(door, stream)
    assert "thread.run.completed" not in [event.event for event in seen]
    [response] = upstream.responses.values()  # which the upstream does not know before it is finished
    assert (deletions(upstream), response.finished) == ([f"/responses/{response.final['id']}"], False)


def test_nothing_is_deleted_where_nothing_was_stored(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `store_responses=False` there is a container only; a thread without runs asks for nothing."""
    client = door.client(upstream, replace(settings, store_responses=False))
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"))
    run(door, client, *ids)
    [container] = upstream.containers
    door(client.beta.threads.delete(make_thread(door, client).id))
    assert deletions(upstream) == []
    door(client.beta.threads.delete(ids[0]))
    assert deletions(upstream) == [f"/containers/{container}"]


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=404), Fault(drop=True), Fault(html=True)])
def test_an_upstream_that_deletes_nothing_does_not_keep_a_thread(
    door: Door, client: Any, upstream: StandIn, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """The thread is gone; the log says what may still be there, unless the upstream knows nothing of it."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"))
    run(door, client, *ids)
    upstream.fault(replace(fault, match="DELETE *", times=9))
    with caplog.at_level(logging.WARNING, logger="assistants_compat"):
        assert door(client.beta.threads.delete(ids[0])).deleted
    with pytest.raises(openai.NotFoundError):
        door(client.beta.threads.retrieve(ids[0]))
    assert len(deletions(upstream)) == 2
    told = [record for record in caplog.records if "could not be deleted" in record.msg]
    assert len(told) == (0 if fault.status == 404 else 2)


def test_the_containers_of_a_thread_are_deleted_all(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has expired is still listed upstream (recorded), so it goes as well."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, client, *ids)
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids)
    assert len(upstream.containers) == 2
    door(client.beta.threads.delete(ids[0]))
    assert upstream.containers == {}


def test_many_responses_are_deleted(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """A few at a time, each once."""
    client = door.client(upstream, sqlite_settings)
    ids = new_thread(door, client, tools=[])
    for _ in range(12):
        upstream.script(Turn(text="Yes.", polls=0))
        run(door, client, *ids)
    assert len(upstream.responses) == 12
    door(client.beta.threads.delete(ids[0]))
    assert (len(deletions(upstream)), upstream.responses) == (12, {})


def test_a_setting_deletes_the_files_of_a_deleted_thread(
    door: Door, upstream: StandIn, settings: Settings, tmp_path: Any
) -> None:
    """With `thread_files="delete"` their ids are unknown and their bytes gone; those of other threads stay."""
    client = door.client(upstream, replace(settings, thread_files="delete"))
    ids = new_thread(door, client)
    other = make_thread(door, client).id, ids[1]
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    mine, others = (said(door, client, run(door, client, *each)).attachments[0].file_id for each in (ids, other))
    door(client.beta.threads.delete(ids[0]))
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {mine}"):
        door(client.files.content(mine))
    assert door(client.files.content(others)).read() == b"2"
    assert [path.name for path in (tmp_path / "files").iterdir()] == [others]


def test_a_deleted_message_keeps_its_files(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Only a thread takes files along."""
    client = door.client(upstream, replace(settings, thread_files="delete"))
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"))
    message = said(door, client, run(door, client, *ids))
    door(client.beta.threads.messages.delete(message.id, thread_id=ids[0]))
    assert door(client.files.content(message.attachments[0].file_id)).read() == b"1"


def test_a_deleted_file_is_deleted_in_its_container(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While that may live; afterwards, or when its thread is gone, nothing is asked."""
    ids = new_thread(door, client)
    upstream.script(Turn(code="1", text="Made.", files={f"{n}.csv": b"1" for n in range(3)}, polls=0))
    files = [each.file_id for each in said(door, client, run(door, client, *ids)).attachments]
    [container] = upstream.containers.values()
    door(client.files.delete(files[0]))
    assert [file.wire["path"] for file in container.files.values()] == ["/mnt/data/1.csv", "/mnt/data/2.csv"]
    assert len(deletions(upstream)) == 1
    later(monkeypatch, upstream, 21 * MINUTE)
    door(client.files.delete(files[1]))
    assert len(deletions(upstream)) == 1
    door(client.beta.threads.delete(ids[0]))
    upstream.requests.clear()
    door(client.files.delete(files[2]))
    assert upstream.requests == []


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=404), Fault(drop=True), None])
def test_a_container_that_deletes_nothing_does_not_keep_a_file(
    door: Door, client: Any, upstream: StandIn, fault: Fault | None
) -> None:
    """Whatever it answers, also that it is expired; the file is gone here."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"))
    file_id = said(door, client, run(door, client, *ids)).attachments[0].file_id
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
    """The upstream had just taken it."""
    ids = new_thread(door, client, tools=[FUNCTION])
    answer = upstream.answer

    def slow(request: Any) -> Any:
        answered = answer(request)
        if (request.method, request.path) == ("POST", "/responses"):
            other = Door("sync")
            other.client(upstream, settings_of(client)).beta.threads.delete(ids[0])
            other.close()
        return answered

    monkeypatch.setattr(upstream, "answer", slow)
    with pytest.raises(openai.NotFoundError, match="No thread found"):
        run(door, client, *ids)
    assert upstream.responses == {}


def settings_of(client: Any) -> Settings:
    """The settings that a client was wrapped with."""
    settings: Settings = client._client.settings_of_door()
    return settings
