"""When a container expires, the next one gets the user's files and the generated files of the thread."""

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
    advance_clocks,
    advance_library_clock,
    container_changes,
    container_contents,
    last_message,
    make_thread_and_assistant,
    polled_or_streamed,
    requested_containers,
    run_to_end,
    turn_with_file,
)
from kit.doors import Door
from kit.legacy_code import CODE, FUNCTION, function_call_turn, retrieve_run, submit_outputs, upstream_calls
from kit.upstream_requests import request_bodies

EXPIRED = {"error": {"message": "Container is expired.", "type": "invalid_request_error", "param": None, "code": None}}
EXPIRED_LATE = Turn(status="failed", error={"code": "server_error", "message": "Container is expired."}, polls=0)
LONG_CONTENT = b"".join(b"%08d\n" % number for number in range(200_000))  # more than one piece of the content store
RESTORED = ["POST containers", "POST containers/*/files"]


def upload_user_file(upstream: StandIn) -> tuple[str, Any]:
    """Upload a file as the user; return its id and the resources of an assistant that names it."""
    file_id = upstream.put_file("given.txt", b"given", "assistants")
    return file_id, {"code_interpreter": {"file_ids": [file_id]}}


def expire_upstream(upstream: StandIn, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only the upstream know of the end: it answers 400."""
    upstream.advance(21 * MINUTE)


def expire_by_both_clocks(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library's clock show the end before any request upstream."""
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)


def almost_expire_by_library_clock(_upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the library's clock so late that the container could expire before the run starts."""
    advance_library_clock(monkeypatch, 19 * MINUTE)


def delete_containers(upstream: StandIn, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete the containers: the upstream answers 404."""
    upstream.containers.clear()


def fail_next_response(upstream: StandIn, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the upstream accept the response and fail it afterwards."""
    upstream.script(EXPIRED_LATE)


@polled_or_streamed
@pytest.mark.parametrize(
    "end_container",
    [expire_upstream, expire_by_both_clocks, almost_expire_by_library_clock, delete_containers, fail_next_response],
)
def test_the_next_container_has_the_files_of_the_last(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, end_container: Any, *, stream: bool
) -> None:
    """However a container ended, the next one has the user's and the generated files, and the run completes."""
    file_id, resources = upload_user_file(upstream)
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    upstream.script(turn_with_file("long.csv", LONG_CONTENT))
    run_to_end(door, client, *ids, stream=stream)
    end_container(upstream, monkeypatch)
    upstream.script(turn_with_file("b.csv", b"2"))
    run = run_to_end(door, client, *ids, stream=stream)
    assert (run.status, run.last_error) == ("completed", None)
    new = requested_containers(upstream)[-1]
    assert container_contents(upstream, new) == {"given.txt": b"given", "long.csv": LONG_CONTENT, "b.csv": b"2"}
    assert container_changes(upstream) == RESTORED
    posts = [request for request in upstream.requests if (request.method, request.path) == ("POST", "/containers")]
    [created] = [request.json for request in posts]
    assert created["file_ids"] == [file_id]
    note = last_message(door, client, run).content[0].text.annotations[0]
    assert door(client.files.content(note.file_path.file_id)).read() == b"2"
    [attachment] = last_message(door, client, run).attachments
    assert attachment.file_id == note.file_path.file_id


@polled_or_streamed
def test_restoring_costs_the_fewest_requests(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """Restoring costs one request for the container and one for each file, plus any refused request."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"), turn_with_file("c.csv", b"3"))
    run_to_end(door, client, *ids, stream=stream)
    post_response, poll = ["POST /responses"], [] if stream else ["GET /responses/*"]
    make_container, upload_file, copy_file = (
        ["POST /containers"],
        ["POST /containers/*/files"],
        ["GET /containers/*/files/*/content"],
    )
    list_files = ["GET /containers/*/files"]
    upstream.requests.clear()
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids, stream=stream)
    assert upstream_calls(upstream) == [*make_container, *upload_file, *post_response, *poll, *list_files, *copy_file]
    upstream.requests.clear()
    upstream.advance(21 * MINUTE)
    run_to_end(door, client, *ids, stream=stream)
    assert upstream_calls(upstream) == [
        *post_response,
        *make_container,
        *upload_file * 2,
        *post_response,
        *poll,
        *list_files,
        *copy_file,
    ]


def test_an_azure_client_restores_files(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Azure client restores files on the v1 route and sends its key in the `api-key` header."""
    client = door.client(upstream, settings, azure=True)
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids)
    assert container_contents(upstream, requested_containers(upstream)[-1]) == {"a.csv": b"1", "b.csv": b"2"}
    posts = [
        request for request in upstream.requests if request.method == "POST" and request.path.startswith("/containers")
    ]
    assert [request.full_path.partition("/containers")[0] for request in posts] == ["/openai/v1"] * 2
    assert {request.headers["api-key"] for request in posts} == {"sk-test"}


@polled_or_streamed
def test_a_thread_continues_in_its_new_container(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """Later runs name the new container, and it is made only once."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"), turn_with_file("c.csv", b"3"))
    run_to_end(door, client, *ids, stream=stream)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids, stream=stream)
    run_to_end(door, client, *ids, stream=stream)
    _, second = upstream.containers
    assert requested_containers(upstream) == [{"type": "auto"}, second, second]
    assert container_changes(upstream) == RESTORED


def test_calls_of_an_expired_container_are_not_sent(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that ran in an expired container are not sent to the model again, and messages are."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"), turn_with_file("c.csv", b"3"))
    run_to_end(door, client, *ids)
    expire_upstream(upstream, monkeypatch)
    run_to_end(door, client, *ids)
    run_to_end(door, client, *ids)
    input_types = [[item.get("type", item.get("role")) for item in body["input"]] for body in request_bodies(upstream)]
    refused = ["user", "code_interpreter_call", "assistant"]
    assert input_types == [
        ["user"],
        refused,
        ["user", "assistant"],
        ["user", "assistant", "code_interpreter_call", "assistant"],
    ]


def test_without_generated_files_the_next_container_is_auto(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread without generated files requests `auto` again, instead of a container of its own."""
    file_id, resources = upload_user_file(upstream)
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    auto = {"type": "auto", "file_ids": [file_id]}
    upstream.script(*(Turn(code="1", logs="1", text="One.", polls=0) for _ in range(3)))
    run_to_end(door, client, *ids)
    [first] = upstream.containers
    expire_upstream(upstream, monkeypatch)
    assert run_to_end(door, client, *ids).status == "completed"
    advance_clocks(monkeypatch, upstream, 42 * MINUTE)
    assert run_to_end(door, client, *ids).status == "completed"
    assert requested_containers(upstream) == [auto, first, auto, auto]
    assert container_changes(upstream) == []


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
def test_a_run_falls_back_to_auto_if_no_container_can_be_made(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """If making a container fails, the run requests `auto` with the user's files and completes."""
    file_id, resources = upload_user_file(upstream)
    ids = make_thread_and_assistant(door, client, tool_resources=resources)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    upstream.fault(fault)
    assert run_to_end(door, client, *ids).status == "completed"
    assert requested_containers(upstream)[-1] == {"type": "auto", "file_ids": [file_id]}


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(drop=True), Fault(status=200, body="no")])
def test_a_file_that_cannot_be_restored_does_not_stop_the_others(
    door: Door,
    client: Any,
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
) -> None:
    """If one upload fails, the new container has the other files, and the log names the missing file by its id."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(
        Turn(code="1", text="Made.", files={"a.csv": b"1", "b.csv": b"2"}, polls=0), turn_with_file("c.csv", b"3")
    )
    run_to_end(door, client, *ids)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    upstream.fault(replace(fault, match="POST /containers/*/files"))
    with caplog.at_level(logging.WARNING, logger="assistants_compat"):
        assert run_to_end(door, client, *ids).status == "completed"
    assert len(container_contents(upstream, requested_containers(upstream)[-1])) >= 2
    assert [record.args[0][:7] for record in caplog.records if "could not upload" in record.msg] == ["file-AC"]  # type: ignore[index]


def test_after_two_expired_containers_a_run_requests_auto(door: Door, client: Any, upstream: StandIn) -> None:
    """A run tries the old, a restored and an `auto` container; the caller gets the error if all three are refused."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids)
    [first] = upstream.containers
    upstream.fault(Fault("POST /responses", status=400, body=EXPIRED, times=2))
    assert run_to_end(door, client, *ids).status == "completed"
    _, second, _ = upstream.containers
    assert requested_containers(upstream)[1:] == [first, second, {"type": "auto"}]
    upstream.fault(Fault("POST /responses", status=400, body=EXPIRED, times=9))
    with pytest.raises(openai.BadRequestError, match=r"Container is expired\."):
        run_to_end(door, client, *ids)
    assert len(requested_containers(upstream)) == 7


@polled_or_streamed
def test_a_response_that_fails_with_every_container_fails_the_run(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """If the response fails with three containers in turn, the run fails."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), *[EXPIRED_LATE] * 9)
    run_to_end(door, client, *ids, stream=stream)
    [first] = upstream.containers
    run = run_to_end(door, client, *ids, stream=stream)
    assert (run.status, run.last_error.message) == ("failed", "Container is expired.")
    second = list(upstream.containers)[1]
    assert requested_containers(upstream)[1:] == [first, second, {"type": "auto"}]


def test_tool_outputs_after_the_containers_end_start_from_the_transcript(
    door: Door, client: Any, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tool outputs submitted after the container expired resend the transcript and restore the files."""
    client = door.client(upstream, replace(settings, run_ttl=90 * MINUTE))
    ids = make_thread_and_assistant(door, client, tools=[*CODE, FUNCTION])
    upstream.script(
        turn_with_file("a.csv", b"1"),
        function_call_turn("call_1", code="1", files={"b.csv": b"2"}),
        turn_with_file("c.csv", b"3"),
    )
    run_to_end(door, client, *ids)
    run = run_to_end(door, client, *ids)
    expire_upstream(upstream, monkeypatch)
    submit_outputs(door, client, run)
    assert retrieve_run(door, client, run).status == "completed"
    assert "previous_response_id" not in request_bodies(upstream)[-1]
    assert container_contents(upstream, requested_containers(upstream)[-1]) == {
        "a.csv": b"1",
        "b.csv": b"2",
        "c.csv": b"3",
    }


def test_the_newest_files_are_restored(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last version of each path is restored, newest first, up to the limits of count and bytes."""
    ids = make_thread_and_assistant(door, client)
    for name, content in (("old.csv", b"0"), ("a.csv", b"1"), ("b.csv", b"22"), ("a.csv", b"111")):
        upstream.script(turn_with_file(name, content))
        run_to_end(door, client, *ids)
    monkeypatch.setattr(containers, "MAX_RESTORED_FILES", 2)
    upstream.script(turn_with_file("c.csv", b"3"), turn_with_file("d.csv", b"4"))
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids)
    assert container_contents(upstream, requested_containers(upstream)[-1]) == {
        "a.csv": b"111",
        "b.csv": b"22",
        "c.csv": b"3",
    }
    monkeypatch.setattr(containers, "MAX_RESTORED_BYTES", 4)
    monkeypatch.setattr(containers, "MAX_RESTORED_FILES", 50)
    advance_clocks(monkeypatch, upstream, 42 * MINUTE)
    run_to_end(door, client, *ids)
    assert container_contents(upstream, requested_containers(upstream)[-1]) == {
        "c.csv": b"3",
        "a.csv": b"111",
        "d.csv": b"4",
    }


def test_a_deleted_file_is_not_restored(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted file is not restored in a later container."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    done = run_to_end(door, client, *ids)
    door(client.files.delete(last_message(door, client, done).attachments[0].file_id))
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids)
    assert requested_containers(upstream)[-1] == {"type": "auto"}
    assert container_contents(upstream, list(upstream.containers)[-1]) == {"b.csv": b"2"}


NAMES_AFTER_UPLOAD = {
    **{name: name for name in ("plain.csv", "größe 1.csv", 'a"b.csv', "a;b=c.csv", "..csv", "r\u202ecsv", ".hidden")},
    "x" * 300 + ".csv": "x" * 196 + ".csv",
    "../../etc/passwd": "passwd",
    "..\\..\\win.ini": "win.ini",
    "a\r\nX-Header: 1.csv": "a%0D%0AX-Header: 1.csv",
    "nul\0l.csv": "null.csv",
}


@pytest.mark.parametrize("name", NAMES_AFTER_UPLOAD)
def test_a_file_of_any_name_is_restored(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Any file name that a model chose is uploaded as a safe base name, shortened if it is very long."""
    client = door.client(upstream, sqlite_settings)
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(code="1", text="Made.", files={name: b"1"}, polls=0), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids)
    [path, _] = [file.wire["path"] for file in upstream.containers[requested_containers(upstream)[-1]].files.values()]
    assert path.startswith("/mnt/data/")
    assert path.endswith(f"-{NAMES_AFTER_UPLOAD[name]}")
    assert path.count("/") == 3


def test_a_file_without_a_local_copy_is_not_restored(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A machine that has no copy of a file runs without restoring it."""
    ids = make_thread_and_assistant(door, first := door.client(upstream, settings))
    upstream.script(turn_with_file("a.csv", b"1"), turn_with_file("b.csv", b"2"))
    run_to_end(door, first, *ids)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    other = door.client(upstream, replace(settings, files=str(tmp_path / "elsewhere")))
    assert run_to_end(door, other, *ids).status == "completed"
    assert container_contents(upstream, requested_containers(upstream)[-1]) == {"b.csv": b"2"}


def test_an_upload_has_a_length_and_the_callers_credentials(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload to a container has a `Content-Length`, is not chunked, and carries the caller's credentials."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(turn_with_file("a.csv", LONG_CONTENT), turn_with_file("b.csv", b"2"))
    run_to_end(door, client, *ids)
    advance_clocks(monkeypatch, upstream, 21 * MINUTE)
    run_to_end(door, client, *ids)
    [upload] = [
        request for request in upstream.requests if request.method == "POST" and request.path.endswith("/files")
    ]
    assert upload.headers["content-length"] == str(len(upload.body))
    assert "transfer-encoding" not in upload.headers
    assert upload.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert upload.headers["authorization"] == "Bearer sk-test"
