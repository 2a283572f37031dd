"""A streamed run leaves the same rows in the store as the same response polled, however its events arrive."""

from __future__ import annotations

import base64
import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from assistants_compat.testing.exchange import Answer
from kit.container_runs import make_thread_and_assistant, polled_or_streamed, run_to_end
from kit.doors import Door
from kit.legacy_code import dump_store, retrieve_run, upstream_calls
from kit.streams import read_rest, read_until

PNG, OTHER = b"\x89PNG the picture", b"\x89PNG another one, larger"
LINK = "[d](sandbox:/mnt/data/d.csv)"
PACE = 0.004  # so that no two events arrive together
RESUME = "GET /responses/*"

_ID = re.compile(r"\b(?:file-|(?:msg|run|step|call|thread|asst|cntr|cfile|ci|resp|fc)_)[0-9A-Za-z]+")
_TIME_KEYS = {"created_at", "completed_at", "started_at", "expires_at", "incomplete_at", "failed_at", "until"}


def shown(*images: bytes) -> dict[str, Any]:
    """Return a call that shows these images."""
    urls = ["data:image/png;base64," + base64.b64encode(image).decode() for image in images]
    outputs = [{"type": "image", "url": url} for url in urls]
    return {"type": "code_interpreter_call", "code": "plt.show()", "outputs": outputs}


def message(text: str) -> dict[str, Any]:
    """Return a message without citations as an output item."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


TURNS = {
    "cited": Turn(text="Here it is.", images=[PNG], code="plt.show()"),
    "two cited, and files": Turn(text=f"See {LINK}.", images=[PNG, OTHER], files={"d.csv": b"1", "e.bin": b"2"}),
    "no message": Turn(images=[PNG], code="plt.show()"),
    "listed": Turn(output=[shown(PNG, OTHER), message("See.")], files={"a.png": OTHER, "b.png": PNG}),
    "two calls": Turn(
        output=[shown(PNG), shown(OTHER), message(f"Both, and {LINK}.")],
        files={"a.png": PNG, "b.png": OTHER, "d.csv": b"1"},
    ),
}


def stored_rows(settings: Settings) -> dict[str, Any]:
    """Return the files, messages and steps in the store, with ids numbered in order and without times."""
    numbers: dict[str, str] = {}

    def simplify(value: Any) -> Any:
        if isinstance(value, str):
            return _ID.sub(lambda match: numbers.setdefault(match[0], f"<{len(numbers)}>"), value)
        if isinstance(value, dict):
            return {
                key: simplify(child) for key, child in value.items() if key not in {*_TIME_KEYS, "seq", "namespace"}
            }
        return [simplify(child) for child in value] if isinstance(value, list) else value

    rows = dump_store(settings)
    # The order of rows follows when they were written, which a stream does as it goes.
    return {
        "messages": simplify([row for row in rows["messages"] if row["kind"] == "message"]),
        "steps": simplify(rows["steps"]),
        "status": [row["status"] for row in rows["runs"]],
        "usage": [row["body"]["usage"] for row in rows["runs"]],
        "files": sorted(simplify(rows["files"]), key=lambda row: row["id"]),
    }


def new_settings(settings: Settings, **changes: Any) -> Settings:
    """Return the settings with a namespace of its own."""
    return replace(settings, namespace=f"test-{uuid.uuid4().hex}", **changes)


def polled_rows(door: Door, upstream: StandIn, settings: Settings, turn: Turn) -> dict[str, Any]:
    """Return the rows of a polled run with this turn."""
    settings = new_settings(settings)
    client = door.client(upstream, settings)
    upstream.script(replace(turn, polls=0))
    run_to_end(door, client, *make_thread_and_assistant(door, client))
    return stored_rows(settings)


class Scissors:
    """Sends the events of a stream one by one, and cuts the first stream after some of them."""

    def __init__(self, upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        self.after: int | None = None
        self.count = 0  # events of the last stream
        self._answer = upstream.answer
        monkeypatch.setattr(upstream, "answer", self._cut_answer)

    def _cut_answer(self, request: Any) -> Any:
        answer = self._answer(request)
        if answer.chunks is None or not answer.headers["content-type"].startswith("text/event-stream"):
            return answer
        after, self.after = self.after, None
        return Answer(answer.status, headers=answer.headers, chunks=self._send(list(answer.chunks), after))

    def _send(self, frames: list[bytes], after: int | None) -> Iterator[bytes]:
        self.count = len(frames)
        for number, frame in enumerate(frames):
            if number == after:
                raise ConnectionAbortedError  # the connection is closed without the end of the body
            yield frame
            time.sleep(PACE)


@pytest.fixture
def scissors(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> Scissors:
    """Return what cuts the streams of the upstream."""
    return Scissors(upstream, monkeypatch)


def streamed_rows(door: Door, upstream: StandIn, settings: Settings, turn: Turn) -> dict[str, Any]:
    """Return the rows of a streamed run with this turn; polls it to its end if the stream gave up."""
    settings = new_settings(settings)
    client = door.client(upstream, settings)
    upstream.script(turn)
    thread_id, assistant_id = make_thread_and_assistant(door, client)
    stream = door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True))
    run = read_until(door, stream, "thread.run.created")[0].data
    with contextlib.suppress(openai.APIError):
        read_rest(door, stream)
    while retrieve_run(door, client, run).status in {"queued", "in_progress"}:
        pass
    return stored_rows(settings)


@pytest.mark.parametrize("turn", TURNS)
def test_a_streamed_run_is_stored_as_a_polled_one(
    door: Door, upstream: StandIn, settings: Settings, scissors: Scissors, turn: str
) -> None:
    """Names, places and bytes of files, and messages and steps, are the same if the events arrive one by one."""
    assert scissors.after is None
    expected = polled_rows(door, upstream, settings, TURNS[turn])
    assert streamed_rows(door, upstream, settings, TURNS[turn]) == expected


@pytest.mark.parametrize("is_resumed", [True, False], ids=["resumed", "retrieved"])
@pytest.mark.parametrize("turn", ["cited", "two calls"])
def test_a_stream_that_is_cut_at_any_event_is_stored_as_a_polled_one(
    door: Door, upstream: StandIn, sqlite_settings: Settings, scissors: Scissors, turn: str, *, is_resumed: bool
) -> None:
    """After each event the connection may break: resumed or retrieved, the run leaves the rows of a polled one."""
    settings = replace(sqlite_settings, stream="background") if is_resumed else sqlite_settings
    expected = polled_rows(door, upstream, settings, TURNS[turn])
    assert streamed_rows(door, upstream, settings, TURNS[turn]) == expected
    for after in range(1, scissors.count):
        scissors.after = after
        assert streamed_rows(door, upstream, settings, TURNS[turn]) == expected, after


@pytest.mark.parametrize("turn", ["cited", "listed"])
def test_a_stream_that_is_left_to_a_poll_is_stored_as_a_polled_one(
    door: Door,
    upstream: StandIn,
    sqlite_settings: Settings,
    scissors: Scissors,
    monkeypatch: pytest.MonkeyPatch,
    turn: str,
) -> None:
    """If a cut stream cannot be resumed, the poll that ends the run completes the rows that the stream has written."""
    monkeypatch.setattr("assistants_compat.engine.runs.stream._FIRST_PAUSE_SECONDS", 0)
    settings = replace(sqlite_settings, stream="background")
    expected = polled_rows(door, upstream, settings, TURNS[turn])
    streamed_rows(door, upstream, settings, TURNS[turn])
    for after in range(1, scissors.count):
        scissors.after = after
        upstream.fault(Fault(RESUME, status=503, times=6))  # five attempts, and the one to retrieve it
        assert streamed_rows(door, upstream, settings, replace(TURNS[turn], polls=0)) == expected, after


@polled_or_streamed
@pytest.mark.parametrize("turn", ["cited", "no message", "listed"])
def test_a_shown_picture_is_no_attachment_of_the_next_run(
    door: Door, client: Any, upstream: StandIn, scissors: Scissors, turn: str, *, stream: bool
) -> None:
    """The container's copy of a picture that a run has shown, cited or not, is not attached by a later run."""
    assert scissors.after is None
    ids = make_thread_and_assistant(door, client)
    upstream.script(replace(TURNS[turn], polls=0))
    first = run_to_end(door, client, *ids, stream=stream)
    file_ids = {file.id for file in door.all(client.files.list(purpose="assistants_output"))}
    upstream.script(Turn(code="1", text="No file.", polls=0))
    second = run_to_end(door, client, *ids, stream=stream)
    assert len(upstream.containers) == 1
    [answer] = door.all(client.beta.threads.messages.list(first.thread_id, run_id=second.id))
    assert answer.attachments == []
    assert {file.id for file in door.all(client.files.list(purpose="assistants_output"))} == file_ids


@polled_or_streamed
def test_a_shown_picture_has_its_name_and_is_deleted_in_its_container(
    door: Door, client: Any, upstream: StandIn, scissors: Scissors, *, stream: bool
) -> None:
    """A shown picture has the container's name for it, and deleting it deletes the container's copy."""
    assert scissors.after is None
    upstream.script(replace(TURNS["cited"], polls=0))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client), stream=stream)
    [answer] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    file_id = next(block.image_file.file_id for block in answer.content if block.type == "image_file")
    assert re.fullmatch(r"cfile_\w+\.png", door(client.files.retrieve(file_id)).filename)
    [container] = upstream.containers.values()
    assert len(container.files) == 1
    door(client.files.delete(file_id))
    assert container.files == {}
    assert upstream_calls(upstream, "DELETE /containers/*/files/*") != []


def test_a_picture_that_was_deleted_during_its_run_does_not_come_back(
    door: Door, client: Any, upstream: StandIn, scissors: Scissors
) -> None:
    """If a picture is deleted while its message is still being streamed, no later run attaches the container's copy."""
    assert scissors.after is None
    thread_id, assistant_id = make_thread_and_assistant(door, client)
    runs = client.beta.threads.runs
    upstream.script(replace(TURNS["cited"], text="A long text. " * 20, polls=0))
    stream = door(runs.create(thread_id, assistant_id=assistant_id, stream=True))
    read_until(door, stream, "thread.run.step.completed")
    [file] = door.all(client.files.list(purpose="assistants_output"))
    door(client.files.delete(file.id))
    assert read_rest(door, stream)[-1].event == "thread.run.completed"
    upstream.script(Turn(code="1", text="No file.", polls=0))
    run = run_to_end(door, client, thread_id, assistant_id)
    [answer] = door.all(client.beta.threads.messages.list(thread_id, run_id=run.id))
    assert answer.attachments == []
