"""A failing upstream raises the SDK's own exception and leaves the store unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine import generated_files
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    CSV,
    LINK,
    dump_store,
    finish_run,
    make_assistant,
    make_thread,
    start_run,
    upstream_calls,
)

POST, GET, CONTENT = "POST /responses", "GET /responses/*", "GET /containers/*/content"
ERROR = {"message": "No.", "type": "some_type", "param": "p", "code": "some_code"}

# Each fault with the exception that the SDK raises for it.
FAULTS: dict[str, tuple[dict[str, Any], type[openai.OpenAIError]]] = {
    "dropped": ({"drop": True}, openai.APIConnectionError),
    "half a body": ({"truncate": True}, openai.APIConnectionError),
    "slow": ({"stall": 3}, openai.APITimeoutError),
    "400": ({"status": 400, "body": {"error": ERROR}}, openai.BadRequestError),
    "401": ({"status": 401, "body": {"error": ERROR}}, openai.AuthenticationError),
    "403": ({"status": 403, "body": {"error": ERROR}}, openai.PermissionDeniedError),
    "409": ({"status": 409, "body": {"error": ERROR}}, openai.ConflictError),
    "429": ({"status": 429, "body": {"error": ERROR}, "headers": {"retry-after": "77"}}, openai.RateLimitError),
    "500": ({"status": 500}, openai.InternalServerError),
    "503 without a body": ({"status": 503, "body": b""}, openai.InternalServerError),
    "a gateway's page": ({"html": True}, openai.InternalServerError),
    "a page with 200": ({"html": True, "status": 200}, openai.InternalServerError),
    "nonsense with 200": ({"status": 200, "body": b'{"id": "resp_1"'}, openai.InternalServerError),
    "a list with 200": ({"status": 200, "body": []}, openai.InternalServerError),
    "an object without a status": ({"status": 200, "body": {"id": "resp_1"}}, openai.InternalServerError),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_leaves_the_store_as_it_was(door: Door, upstream: StandIn, settings: Settings, name: str) -> None:
    """Creating and polling runs raise the right exception after one request and leave the store unchanged."""
    client = door.client(upstream, settings, timeout=60)
    fault, exception = FAULTS[name]
    run = start_run(door, client)  # on another thread, to be polled
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    # Only the requests that meet the fault have a short timeout: a loaded machine is slow with the others.
    threads = (client.with_options(timeout=0.3) if name == "slow" else client).beta.threads
    message = {"role": "user", "content": "More."}
    calls = {
        POST: [
            lambda: threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[message]),
            lambda: threads.create_and_run(assistant_id=assistant.id, thread={"messages": [message]}),
        ],
        GET: [lambda: threads.runs.retrieve(run.id, thread_id=run.thread_id)],
    }
    before = dump_store(settings)
    for match, functions in calls.items():
        for call in functions:
            upstream.requests.clear()
            upstream.fault(Fault(match, **fault))
            with pytest.raises(openai.OpenAIError) as caught:
                door(call())
            assert type(caught.value) is exception
            assert dump_store(settings) == before
            assert len(upstream.requests) == 1
    # Nothing stays locked: the same calls work once the fault is over.
    threads = client.beta.threads
    later_run = door(threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert later_run.status == "completed"
    assert door(threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"


def test_an_upstream_error_reaches_the_caller_unchanged(door: Door, client: Any, upstream: StandIn) -> None:
    """Status, body, `retry-after` and request id of an upstream error reach the caller unchanged."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    headers = {"retry-after": "77", "x-should-retry": "false", "x-request-id": "req_theirs"}
    upstream.fault(Fault(POST, status=429, body={"error": ERROR, "more": 1}, headers=headers))
    with pytest.raises(openai.RateLimitError) as caught:
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert caught.value.response.json() == {"error": ERROR, "more": 1}
    assert (caught.value.code, caught.value.param, caught.value.type) == ("some_code", "p", "some_type")
    assert {name: caught.value.response.headers[name] for name in headers} == headers
    assert caught.value.request_id == "req_theirs"


def test_a_gateways_html_page_reaches_the_caller(door: Door, client: Any, upstream: StandIn) -> None:
    """An HTML error keeps its text and type; an HTML success is a 502 that names the call."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.fault(Fault(POST, html=True, status=504))
    with pytest.raises(openai.InternalServerError) as caught:
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert caught.value.status_code == 504
    assert caught.value.response.text.startswith("<html>")
    assert caught.value.response.headers["content-type"] == "text/html"
    upstream.fault(Fault(POST, html=True, status=200))
    with pytest.raises(openai.InternalServerError, match="POST responses gave no JSON object") as caught:
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert (caught.value.status_code, caught.value.code) == (502, "bad_upstream")


def test_an_unreachable_upstream_is_a_connection_error(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """An unreachable upstream raises the SDK's connection error, and calls that need no upstream still work."""
    run = start_run(door, client)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    upstream.close()
    before = dump_store(settings)
    threads = client.beta.threads
    for call in (
        lambda: threads.runs.create(thread.id, assistant_id=assistant.id),
        lambda: threads.runs.retrieve(run.id, thread_id=run.thread_id),
    ):
        with pytest.raises(openai.APIConnectionError) as caught:
            door(call())
        assert type(caught.value) is openai.APIConnectionError
        assert type(caught.value.__cause__).__module__.startswith("httpx")
    assert dump_store(settings) == before
    # Calls that need no upstream work, and lists ignore that they could not refresh a run.
    assert [message.role for message in door.all(threads.messages.list(run.thread_id))] == ["user"]
    assert [served.status for served in door.all(threads.runs.list(run.thread_id))] == ["queued"]
    assert door.all(threads.runs.steps.list(run.id, thread_id=run.thread_id)) == []
    assert door(client.beta.assistants.retrieve(assistant.id)) == assistant
    assert door(threads.messages.create(thread.id, role="user", content="x")).role == "user"
    assert dump_store(settings)["runs"] == before["runs"]


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}, {"truncate": True}, {"status": 429}])
def test_a_failed_copy_is_retried(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    """A file copy that fails twice is retried and gets the whole file."""
    monkeypatch.setattr(generated_files, "_FIRST_RETRY_DELAY", 0.001)
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}))
    upstream.fault(Fault(CONTENT, times=2, **fault))
    run = finish_run(door, client, assistant={"tools": CODE})
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    file_id = message.content[0].text.annotations[0].file_path.file_id
    assert door(client.files.content(file_id)).read() == CSV
    assert upstream_calls(upstream, "GET /containers/*/files/*/content") == ["GET /containers/*/files/*/content"] * 3


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}, {"truncate": True}, {"status": 404}])
def test_a_file_that_cannot_be_copied_does_not_fail_the_run(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    """If a file cannot be copied the run completes, and the file has the reason and no bytes."""
    monkeypatch.setattr(generated_files, "_FIRST_RETRY_DELAY", 0.001)
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}))
    upstream.fault(Fault(CONTENT, times=99, **fault))
    run = finish_run(door, client, assistant={"tools": CODE})
    assert run.status == "completed"
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    file_id = message.content[0].text.annotations[0].file_path.file_id
    copies = len(upstream_calls(upstream, "GET /containers/*/files/*/content"))
    assert copies == (1 if fault.get("status") == 404 else 3)
    described = door(client.files.retrieve(file_id))
    assert (described.status, described.bytes) == ("error", 0)
    assert described.status_details
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file_id}"):
        door(client.files.content(file_id))


def test_a_poll_that_was_interrupted_while_copying_can_be_repeated(
    door: Door, client: Any, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll interrupted between copy and write leaves no message, file or lock."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, polls=0))
    run = start_run(door, client, assistant={"tools": CODE})
    before = dump_store(settings)
    copy_file = generated_files.copy_file

    async def interrupted_copy_file(*arguments: Any) -> Any:
        await copy_file(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(generated_files, "copy_file", interrupted_copy_file)
    with pytest.raises(KeyboardInterrupt):
        door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert dump_store(settings) == before
    assert list(Path(str(settings.files)).iterdir()) == []
    monkeypatch.setattr(generated_files, "copy_file", copy_file)
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "completed"
    assert len(dump_store(settings)["files"]) == 1
