"""A container that has died: the next one has the user's files and what the thread made, and nobody notices."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine import containers
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import (
    MINUTE,
    asked_for,
    both_ways,
    changes,
    contents,
    later,
    makes,
    new_thread,
    our_clock,
    run,
    said,
)
from kit.doors import Door
from kit.legacy_code import CODE, FUNCTION, asked, calling, look_at, submit
from kit.upstream_requests import bodies

EXPIRED = {"error": {"message": "Container is expired.", "type": "invalid_request_error", "param": None, "code": None}}
LATE = Turn(status="failed", error={"code": "server_error", "message": "Container is expired."}, polls=0)
LONG = b"".join(b"%08d\n" % number for number in range(200_000))  # more than one piece of the content store
RESTORED = ["POST containers", "POST containers/*/files"]


def user_file(upstream: StandIn) -> tuple[str, Any]:
    """A file of the user's, and the resources of an assistant that has it."""
    file_id = upstream.put_file("given.txt", b"given", "assistants")
    return file_id, {"code_interpreter": {"file_ids": [file_id]}}


def expired(upstream: StandIn, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the upstream knows: it answers 400."""
    upstream.advance(21 * MINUTE)


def long_ago(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own clock says so, before the upstream is asked."""
    later(monkeypatch, upstream, 21 * MINUTE)


def nearly(_upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """By our clock it might die before the run has begun."""
    our_clock(monkeypatch, 19 * MINUTE)


def deleted(upstream: StandIn, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deleted it: the upstream answers 404."""
    upstream.containers.clear()


def reported_late(upstream: StandIn, _monkeypatch: pytest.MonkeyPatch) -> None:
    """The response is taken and fails afterwards."""
    upstream.script(LATE)


@both_ways
@pytest.mark.parametrize("dies", [expired, long_ago, nearly, deleted, reported_late])
def test_the_next_container_has_the_files_of_the_last(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, dies: Any, *, stream: bool
) -> None:
    """However it died: the user's file by its id, the generated one from our copy, and the run ends as any other."""
    file_id, resources = user_file(upstream)
    ids = new_thread(door, client, tool_resources=resources)
    upstream.script(makes("long.csv", LONG))
    run(door, client, *ids, stream=stream)
    dies(upstream, monkeypatch)
    upstream.script(makes("b.csv", b"2"))
    done = run(door, client, *ids, stream=stream)
    assert (done.status, done.last_error) == ("completed", None)
    new = asked_for(upstream)[-1]
    assert contents(upstream, new) == {"given.txt": b"given", "long.csv": LONG, "b.csv": b"2"}
    assert changes(upstream) == RESTORED
    [made] = [each.json for each in upstream.requests if (each.method, each.path) == ("POST", "/containers")]
    assert made["file_ids"] == [file_id]
    note = said(door, client, done).content[0].text.annotations[0]
    assert door(client.files.content(note.file_path.file_id)).read() == b"2"
    assert [each.file_id for each in said(door, client, done).attachments] == [note.file_path.file_id]


@both_ways
def test_no_request_is_made_that_is_not_needed(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """By the clock: one for the container and one for each file; by an answer, also the one that was refused."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"), makes("c.csv", b"3"))
    run(door, client, *ids, stream=stream)
    ask, look = ["POST /responses"], [] if stream else ["GET /responses/*"]
    make, put, copy = ["POST /containers"], ["POST /containers/*/files"], ["GET /containers/*/files/*/content"]
    listed = ["GET /containers/*/files"]
    upstream.requests.clear()
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids, stream=stream)
    assert asked(upstream) == [*make, *put, *ask, *look, *listed, *copy]
    upstream.requests.clear()
    upstream.advance(21 * MINUTE)
    run(door, client, *ids, stream=stream)
    assert asked(upstream) == [*ask, *make, *put * 2, *ask, *look, *listed, *copy]


def test_azure_clients_get_their_files_back(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the v1 route, with the key where Azure has it."""
    client = door.client(upstream, settings, azure=True)
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, client, *ids)
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids)
    assert contents(upstream, asked_for(upstream)[-1]) == {"a.csv": b"1", "b.csv": b"2"}
    made = [each for each in upstream.requests if each.method == "POST" and each.path.startswith("/containers")]
    assert [each.full_path.partition("/containers")[0] for each in made] == ["/openai/v1"] * 2
    assert {each.headers["api-key"] for each in made} == {"sk-test"}


@both_ways
def test_the_thread_goes_on_in_its_new_container(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """It is named from then on, and made no second time."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"), makes("c.csv", b"3"))
    run(door, client, *ids, stream=stream)
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids, stream=stream)
    run(door, client, *ids, stream=stream)
    _, second = upstream.containers
    assert asked_for(upstream) == [{"type": "auto"}, second, second]
    assert changes(upstream) == RESTORED


def test_what_ran_in_a_dead_container_is_not_told(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls name a container that is gone; what was said is sent."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"), makes("c.csv", b"3"))
    run(door, client, *ids)
    expired(upstream, monkeypatch)
    run(door, client, *ids)
    run(door, client, *ids)
    told = [[item.get("type", item.get("role")) for item in body["input"]] for body in bodies(upstream)]
    refused = ["user", "code_interpreter_call", "assistant"]
    assert told == [
        ["user"],
        refused,
        ["user", "assistant"],
        ["user", "assistant", "code_interpreter_call", "assistant"],
    ]


def test_without_generated_files_auto_does_as_well(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No container is made by a request of its own, by the clock or after an answer."""
    file_id, resources = user_file(upstream)
    ids = new_thread(door, client, tool_resources=resources)
    auto = {"type": "auto", "file_ids": [file_id]}
    upstream.script(*(Turn(code="1", logs="1", text="One.", polls=0) for _ in range(3)))
    run(door, client, *ids)
    [first] = upstream.containers
    expired(upstream, monkeypatch)
    assert run(door, client, *ids).status == "completed"
    later(monkeypatch, upstream, 42 * MINUTE)
    assert run(door, client, *ids).status == "completed"
    assert asked_for(upstream) == [auto, first, auto, auto]
    assert changes(upstream) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST /containers", status=500),
        Fault("POST /containers", status=404),
        Fault("POST /containers", drop=True),
        Fault("POST /containers", status=200, body={"object": "container"}),
        Fault("POST /containers", status=200, html=True),
    ],
)
def test_a_container_that_cannot_be_made_is_left_to_auto(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """The run goes on, with the user's files."""
    file_id, resources = user_file(upstream)
    ids = new_thread(door, client, tool_resources=resources)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, client, *ids)
    later(monkeypatch, upstream, 21 * MINUTE)
    upstream.fault(fault)
    assert run(door, client, *ids).status == "completed"
    assert asked_for(upstream)[-1] == {"type": "auto", "file_ids": [file_id]}


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(status=200, body="no")])
def test_a_file_that_cannot_be_put_back_does_not_hold_up_the_others(
    door: Door,
    client: Any,
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
) -> None:
    """The new container has the rest, and the log says which one is missing, by its id."""
    ids = new_thread(door, client)
    upstream.script(Turn(code="1", text="Made.", files={"a.csv": b"1", "b.csv": b"2"}, polls=0), makes("c.csv", b"3"))
    run(door, client, *ids)
    later(monkeypatch, upstream, 21 * MINUTE)
    upstream.fault(replace(fault, match="POST /containers/*/files"))
    with caplog.at_level(logging.WARNING, logger="assistants_compat"):
        assert run(door, client, *ids).status == "completed"
    assert len(contents(upstream, asked_for(upstream)[-1])) >= 2
    assert [record.args[0][:7] for record in caplog.records if "could not be put" in record.msg] == ["file-AC"]  # type: ignore[index]


def test_a_restored_container_that_is_gone_too_leaves_auto(door: Door, client: Any, upstream: StandIn) -> None:
    """Three requests at most; a fourth refusal is the caller's."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, client, *ids)
    [first] = upstream.containers
    upstream.fault(Fault("POST /responses", status=400, body=EXPIRED, times=2))
    assert run(door, client, *ids).status == "completed"
    _, second, _ = upstream.containers
    assert asked_for(upstream)[1:] == [first, second, {"type": "auto"}]
    upstream.fault(Fault("POST /responses", status=400, body=EXPIRED, times=9))
    with pytest.raises(openai.BadRequestError, match=r"Container is expired\."):
        run(door, client, *ids)
    assert len(asked_for(upstream)) == 7


@both_ways
def test_a_container_that_is_reported_gone_for_ever_fails_the_run(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A response that fails so whatever it is given is asked for three times, and then the run has failed."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), *[LATE] * 9)
    run(door, client, *ids, stream=stream)
    [first] = upstream.containers
    done = run(door, client, *ids, stream=stream)
    assert (done.status, done.last_error.message) == ("failed", "Container is expired.")
    second = list(upstream.containers)[1]
    assert asked_for(upstream)[1:] == [first, second, {"type": "auto"}]


def test_outputs_that_come_after_the_containers_end(
    door: Door, client: Any, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response that asked for them cannot be continued: the transcript goes, and the files are there."""
    client = door.client(upstream, replace(settings, run_ttl=90 * MINUTE))
    ids = new_thread(door, client, tools=[*CODE, FUNCTION])
    upstream.script(makes("a.csv", b"1"), calling("call_1", code="1", files={"b.csv": b"2"}), makes("c.csv", b"3"))
    run(door, client, *ids)
    waits = run(door, client, *ids)
    expired(upstream, monkeypatch)
    submit(door, client, waits)
    assert look_at(door, client, waits).status == "completed"
    assert "previous_response_id" not in bodies(upstream)[-1]
    assert contents(upstream, asked_for(upstream)[-1]) == {"a.csv": b"1", "b.csv": b"2", "c.csv": b"3"}


def test_the_newest_files_are_put_back(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each path the last version, of all paths the newest, and no more bytes than one file may have."""
    ids = new_thread(door, client)
    for name, content in (("old.csv", b"0"), ("a.csv", b"1"), ("b.csv", b"22"), ("a.csv", b"111")):
        upstream.script(makes(name, content))
        run(door, client, *ids)
    monkeypatch.setattr(containers, "MOST_FILES", 2)
    upstream.script(makes("c.csv", b"3"), makes("d.csv", b"4"))
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids)
    assert contents(upstream, asked_for(upstream)[-1]) == {"a.csv": b"111", "b.csv": b"22", "c.csv": b"3"}
    monkeypatch.setattr(containers, "MOST_BYTES", 4)
    monkeypatch.setattr(containers, "MOST_FILES", 50)
    later(monkeypatch, upstream, 42 * MINUTE)
    run(door, client, *ids)
    assert contents(upstream, asked_for(upstream)[-1]) == {"c.csv": b"3", "a.csv": b"111", "d.csv": b"4"}


def test_a_deleted_file_is_not_put_back(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one come back in a later container."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    done = run(door, client, *ids)
    door(client.files.delete(said(door, client, done).attachments[0].file_id))
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids)
    assert asked_for(upstream)[-1] == {"type": "auto"}
    assert contents(upstream, list(upstream.containers)[-1]) == {"b.csv": b"2"}


NAMES = {
    **{name: name for name in ("plain.csv", "größe 1.csv", 'a"b.csv', "a;b=c.csv", "..csv", "r\u202ecsv", ".hidden")},
    "x" * 300 + ".csv": "x" * 196 + ".csv",
    "../../etc/passwd": "passwd",
    "..\\..\\win.ini": "win.ini",
    "a\r\nX-Header: 1.csv": "a%0D%0AX-Header: 1.csv",
    "nul\0l.csv": "null.csv",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_put_back(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The name that a model chose is a field of a form: its last part in UTF-8, its end where it is very long."""
    client = door.client(upstream, sqlite_settings)
    ids = new_thread(door, client)
    upstream.script(Turn(code="1", text="Made.", files={name: b"1"}, polls=0), makes("b.csv", b"2"))
    run(door, client, *ids)
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids)
    [path, _] = [file.wire["path"] for file in upstream.containers[asked_for(upstream)[-1]].files.values()]
    assert path.startswith("/mnt/data/")
    assert path.endswith(f"-{NAMES[name]}")
    assert path.count("/") == 3


def test_a_file_whose_bytes_are_elsewhere_is_left_out(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Another machine with the same store has no copy: its run goes on without that file."""
    ids = new_thread(door, first := door.client(upstream, settings))
    upstream.script(makes("a.csv", b"1"), makes("b.csv", b"2"))
    run(door, first, *ids)
    later(monkeypatch, upstream, 21 * MINUTE)
    other = door.client(upstream, replace(settings, files=str(tmp_path / "elsewhere")))
    assert run(door, other, *ids).status == "completed"
    assert contents(upstream, asked_for(upstream)[-1]) == {"b.csv": b"2"}


def test_an_upload_has_a_length_and_the_callers_credentials(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a sibling of the legacy request as any other, and is not sent in chunks of unknown number."""
    ids = new_thread(door, client)
    upstream.script(makes("a.csv", LONG), makes("b.csv", b"2"))
    run(door, client, *ids)
    later(monkeypatch, upstream, 21 * MINUTE)
    run(door, client, *ids)
    [upload] = [each for each in upstream.requests if each.method == "POST" and each.path.endswith("/files")]
    assert upload.headers["content-length"] == str(len(upload.body))
    assert "transfer-encoding" not in upload.headers
    assert upload.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert upload.headers["authorization"] == "Bearer sk-test"
