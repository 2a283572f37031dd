"""A container's list is read as a gateway or a bad second leaves it (gateways.md, F4)."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat.engine.io import AsyncIO, BlockingIO
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import make_thread_and_assistant, polled_or_streamed, run_to_end
from kit.doors import Door
from kit.legacy_code import upstream_calls

LIST = "GET /containers/*/files"
# The id that LiteLLM gives a container in responses; its lists have the service's own id.
RENAMED, RAW = "cntr_bGl0ZWxsbTpjdXN0b20", "cntr_raw"
CALL = {"type": "code_interpreter_call", "code": "make()", "outputs": [], "container_id": RENAMED}
CITATION = {
    "type": "container_file_citation",
    "container_id": RENAMED,
    "file_id": "cfile_1",
    "filename": "a.csv",
    "start_index": 0,
    "end_index": 30,
}
TEXT = "[a](sandbox:/mnt/data/a.csv) xx"
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": TEXT, "annotations": [CITATION]}],
}


def listed_file(id_: str, name: str) -> dict[str, Any]:
    """Return a file of a container's list, with the service's own id of the container."""
    return {
        "id": id_,
        "object": "container.file",
        "created_at": 1,
        "bytes": 1,
        "container_id": RAW,
        "path": f"/mnt/data/{name}",
        "source": "assistant",
    }


def last_attachments(door: Door, client: Any, run: Any) -> list[Any]:
    """Return the attachments of a run's message."""
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    return list(message.attachments)


@polled_or_streamed
def test_a_list_with_other_container_ids(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """The asked container's id wins over the listed one: no file is taken for two, and none is looked for elsewhere."""
    files = [listed_file("cfile_1", "a.csv"), listed_file("cfile_2", "u.txt")]
    page = {"object": "list", "data": files, "first_id": "cfile_1", "last_id": "cfile_2", "has_more": False}
    upstream.fault(Fault(f"GET /containers/{RENAMED}/files", status=200, body=page))
    upstream.fault(Fault(f"GET /containers/{RENAMED}/files/*/content", status=200, body=b"1", times=2))
    upstream.script(Turn(output=[CALL, MESSAGE], polls=0))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client), stream=stream)
    attachments = last_attachments(door, client, run)
    names = [door(client.files.retrieve(attachment.file_id)).filename for attachment in attachments]
    assert sorted(name.rpartition("/")[2] for name in names) == ["a.csv", "u.txt"]
    assert [door(client.files.content(attachment.file_id)).read() for attachment in attachments] == [b"1", b"1"]
    assert not any(RAW in request.path for request in upstream.requests)


FAILURES = {
    "500": Fault(LIST, status=500, times=2),
    "429": Fault(LIST, status=429, headers={"retry-after": "3"}, times=2),
    "drop": Fault(LIST, drop=True, times=2),
    "page of a proxy": Fault(LIST, status=200, html=True, times=2),
}


@polled_or_streamed
@pytest.mark.parametrize("failure", FAILURES)
def test_a_list_that_fails_is_asked_for_again(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, failure: str, *, stream: bool
) -> None:
    """A list that fails twice loses no uncited file; the pauses are those of a copy, or what the answer asks for."""
    pauses: list[float] = []

    async def sleep(_io: object, seconds: float) -> None:
        pauses.append(seconds)

    ids = make_thread_and_assistant(door, client)
    upstream.fault(FAILURES[failure])
    upstream.script(Turn(code="1", text="Done.", files={"d.csv": b"1"}, polls=0))
    monkeypatch.setattr(BlockingIO, "sleep", sleep)
    monkeypatch.setattr(AsyncIO, "sleep", sleep)
    run = run_to_end(door, client, *ids, stream=stream)
    [attachment] = last_attachments(door, client, run)
    assert door(client.files.content(attachment.file_id)).read() == b"1"
    assert pauses == ([3, 3] if failure == "429" else [0.5, 1.0])


def test_a_list_that_is_refused_is_asked_for_once(door: Door, client: Any, upstream: StandIn) -> None:
    """A 404 is not repeated."""
    upstream.fault(Fault(LIST, status=404))
    upstream.script(Turn(code="1", text="Done.", files={"d.csv": b"1"}, polls=0))
    run_to_end(door, client, *make_thread_and_assistant(door, client))
    assert upstream_calls(upstream, LIST) == [LIST]


def test_a_copy_waits_as_long_as_the_container_asks(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause before a file is copied again is what the answer asks for, if that is longer."""
    pauses: list[float] = []

    async def sleep(_io: object, seconds: float) -> None:
        pauses.append(seconds)

    ids = make_thread_and_assistant(door, client)
    upstream.fault(Fault("GET /containers/*/content", status=429, headers={"retry-after": "3"}, times=2))
    upstream.script(Turn(code="1", text="Done.", files={"d.csv": b"1"}, polls=0))
    monkeypatch.setattr(BlockingIO, "sleep", sleep)
    monkeypatch.setattr(AsyncIO, "sleep", sleep)
    run = run_to_end(door, client, *ids)
    [attachment] = last_attachments(door, client, run)
    assert door(client.files.content(attachment.file_id)).read() == b"1"
    assert pauses == [3, 3]
