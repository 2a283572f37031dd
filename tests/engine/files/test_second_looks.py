"""A container that cannot be listed when its run ends is looked at again, and its files go to their own run."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings, download_files, settle
from assistants_compat.engine.io import AsyncIO, BlockingIO
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import advance_clocks, make_thread_and_assistant, polled_or_streamed, run_to_end
from kit.doors import Door
from kit.files import PNG
from kit.legacy_code import dump_store, upstream_calls
from kit.streams import read_rest, read_until

LIST = "GET /containers/*/files"
TURN = Turn(code="1", text="Done.", files={"d.csv": b"1"}, polls=0)
LINK = "[d](sandbox:/mnt/data/d.csv)"
CALL = {"type": "code_interpreter_call", "code": "make()", "outputs": []}
ATTEMPTS = 3


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_io: object, _seconds: float) -> None: ...

    monkeypatch.setattr(BlockingIO, "sleep", sleep)
    monkeypatch.setattr(AsyncIO, "sleep", sleep)


def refuse_lists(upstream: StandIn, times: int, **failure: Any) -> None:
    """Let the next lists of a container fail, by default with a 429."""
    upstream.fault(Fault(LIST, times=times, **(failure or {"status": 429})))


def list_messages(door: Door, client: Any, run: Any) -> list[Any]:
    """Return the messages of a run, oldest first."""
    return door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id, order="asc"))


def attached_contents(door: Door, client: Any, run: Any) -> list[bytes]:
    """Return the bytes of the attachments of a run's messages."""
    ids = [attachment.file_id for message in list_messages(door, client, run) for attachment in message.attachments]
    return [door(client.files.content(id_)).read() for id_ in ids]


def attempts_of(run_is_streamed: bool) -> int:  # noqa: FBT001 - as the tests' own parameter
    """Return how often a run asks for a list that fails: a stream at the end of its message, too."""
    return ATTEMPTS * (2 if run_is_streamed else 1)


FAILURES: dict[str, dict[str, Any]] = {
    "429": {"status": 429, "headers": {"retry-after": "1"}},
    "500": {"status": 500},
    "403": {"status": 403},
    "drop": {"drop": True},
    "page of a proxy": {"status": 200, "html": True},
}


@polled_or_streamed
@pytest.mark.parametrize("failure", FAILURES)
def test_the_next_reader_of_a_thread_finds_the_file(
    door: Door, client: Any, upstream: StandIn, failure: str, *, stream: bool
) -> None:
    """A file whose container could not be listed at the end of its run is attached when the messages are read."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, attempts_of(stream) if failure != "403" else 2 if stream else 1, **FAILURES[failure])
    upstream.script(TURN)
    run = run_to_end(door, client, *ids, stream=stream)
    assert attached_contents(door, client, run) == [b"1"]
    upstream.requests.clear()
    assert attached_contents(door, client, run) == [b"1"]
    assert upstream_calls(upstream) == []


@pytest.mark.parametrize("reader", ["message", "run", "runs", "steps"])
def test_every_reader_of_the_run_looks_again(door: Door, client: Any, upstream: StandIn, reader: str) -> None:
    """Retrieving the run or its message, and listing runs or steps, looks again, too."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(TURN)
    run = run_to_end(door, client, *ids)
    [message] = list_messages(door, client, run)
    refuse_lists(upstream, ATTEMPTS)
    upstream.script(Turn(code="2", text="Again.", files={"e.csv": b"2"}, polls=0))
    run = run_to_end(door, client, *ids)
    upstream.requests.clear()
    runs = client.beta.threads.runs
    if reader == "message":
        door(client.beta.threads.messages.retrieve(message.id, thread_id=run.thread_id))
    elif reader == "run":
        door(runs.retrieve(run.id, thread_id=run.thread_id))
    elif reader == "runs":
        door.all(runs.list(run.thread_id))
    else:
        door.all(runs.steps.list(run.id, thread_id=run.thread_id))
    assert upstream_calls(upstream, LIST) == [LIST]
    assert attached_contents(door, client, run) == [b"2"]
    assert upstream_calls(upstream, LIST) == [LIST]


@polled_or_streamed
def test_a_link_gets_its_annotation_later(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """A link without a citation gets its annotation and its attachment when the container can be listed."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, attempts_of(stream))
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": f"At {LINK}."}]}
    upstream.script(Turn(output=[CALL, message], files={"d.csv": b"1", "rest.bin": b"2"}, polls=0))
    run = run_to_end(door, client, *ids, stream=stream)
    [served] = list_messages(door, client, run)
    [note] = served.content[0].text.annotations
    value = served.content[0].text.value
    assert (note.text, value[note.start_index : note.end_index]) == ("sandbox:/mnt/data/d.csv",) * 2
    assert attached_contents(door, client, run) == [b"1", b"2"]
    assert door(client.files.content(note.file_path.file_id)).read() == b"1"


@polled_or_streamed
def test_a_shown_picture_is_not_found_again(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """The container's copy of a picture that a call has shown is not attached when the container can be listed."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, attempts_of(stream))
    picture = {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "See."}]}
    output = [{**CALL, "outputs": [picture]}, message]
    upstream.script(Turn(output=output, files={"cfile_shown.png": PNG, "d.csv": b"1"}, polls=0))
    run = run_to_end(door, client, *ids, stream=stream)
    assert attached_contents(door, client, run) == [b"1"]
    files = door.all(client.files.list(purpose="assistants_output"))
    assert sorted(file.filename for file in files) == ["/mnt/data/d.csv", "cfile_shown.png"]


def test_a_stream_asks_again_at_the_end_of_its_response(door: Door, client: Any, upstream: StandIn) -> None:
    """A list that fails before a message ends is asked for before the response ends, and a link still gets its file."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, ATTEMPTS)
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": LINK}]}
    upstream.script(Turn(output=[CALL, message], files={"d.csv": b"1"}, polls=0))
    run = run_to_end(door, client, *ids, stream=True)
    upstream.requests.clear()
    [served] = list_messages(door, client, run)
    assert [note.text for note in served.content[0].text.annotations] == ["sandbox:/mnt/data/d.csv"]
    assert attached_contents(door, client, run) == [b"1"]
    assert upstream_calls(upstream) == []


@polled_or_streamed
@pytest.mark.parametrize("is_seen_in_time", [True, False], ids=["before the next run", "after the next run"])
def test_a_later_run_does_not_get_the_file(
    door: Door,
    client: Any,
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_seen_in_time: bool,
    stream: bool,
) -> None:
    """The file goes to the run that made it, and a later run in the same container keeps only its own."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, attempts_of(stream) + (0 if is_seen_in_time else 1))
    upstream.script(TURN)
    first = run_to_end(door, client, *ids, stream=stream)
    advance_clocks(monkeypatch, upstream, 30)
    upstream.script(Turn(code="2", text="More.", files={"e.csv": b"2"}, polls=0))
    second = run_to_end(door, client, *ids, stream=stream)
    assert len(upstream.containers) == 1
    assert attached_contents(door, client, second) == [b"2"]
    assert attached_contents(door, client, first) == [b"1"]


def test_files_of_two_unseen_runs_are_told_apart(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no list could be had in two runs, each file goes to the run during which it was created."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, 2 * ATTEMPTS + 1)
    upstream.script(TURN)
    first = run_to_end(door, client, *ids)
    advance_clocks(monkeypatch, upstream, 30)
    upstream.script(Turn(code="2", text="More.", files={"e.csv": b"2"}, polls=0))
    second = run_to_end(door, client, *ids)
    assert attached_contents(door, client, first) == [b"1"]
    assert attached_contents(door, client, second) == [b"2"]


@polled_or_streamed
def test_settle_comes_back_to_it(
    door: Door, client: Any, upstream: StandIn, settings: Settings, *, stream: bool
) -> None:
    """`settle` looks again, reports the file as recovered, and names the run while it cannot look."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, attempts_of(stream) + 1)
    upstream.script(TURN)
    run = run_to_end(door, client, *ids, stream=stream)
    failed = door(settle(client)).failed
    assert failed == {run.id: "its container could not be listed: the upstream answered 429"}
    settled = door(settle(client))
    [file] = dump_store(settings)["files"]
    assert (settled.recovered, settled.failed, file["stored"]) == ((file["id"],), {}, True)
    upstream.requests.clear()
    assert door(settle(client)).recovered == ()
    assert upstream_calls(upstream) == []
    assert attached_contents(door, client, run) == [b"1"]


def test_a_container_is_not_looked_at_for_ever(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three failed looks there are pauses, and after an hour no look, because each keeps a container alive."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, 1000, status=500)
    upstream.script(TURN)
    run = run_to_end(door, client, *ids)
    for _ in range(10):
        list_messages(door, client, run)
    assert len(upstream_calls(upstream, LIST)) == ATTEMPTS + 3
    advance_clocks(monkeypatch, upstream, 600)
    list_messages(door, client, run)
    assert len(upstream_calls(upstream, LIST)) == ATTEMPTS + 4
    advance_clocks(monkeypatch, upstream, 3700)
    list_messages(door, client, run)
    assert door(settle(client)).failed == {}
    assert len(upstream_calls(upstream, LIST)) == ATTEMPTS + 4


def test_a_container_that_is_gone_is_not_looked_at_again(door: Door, client: Any, upstream: StandIn) -> None:
    """A container that has expired before it could be listed is not asked for again."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, ATTEMPTS)
    upstream.script(TURN)
    run = run_to_end(door, client, *ids)
    upstream.advance(3600)
    for _ in range(2):
        assert attached_contents(door, client, run) == []
    assert len(upstream_calls(upstream, LIST)) == ATTEMPTS + 1


def test_a_file_of_a_cancelled_stream_is_found(door: Door, client: Any, upstream: StandIn) -> None:
    """A stream that is cancelled after its code has run leaves its container to the next reader."""
    ids = make_thread_and_assistant(door, client)
    upstream.script(Turn(code="1", text=" ".join(["word"] * 200), files={"d.csv": b"1"}, polls=0, pace=0.02))
    runs = client.beta.threads.runs
    stream = door(runs.create(ids[0], assistant_id=ids[1], stream=True))
    run = read_until(door, stream, "thread.message.delta")[0].data
    door(runs.cancel(run.id, thread_id=run.thread_id))
    assert read_rest(door, stream)[-1].event == "thread.run.cancelled"
    assert attached_contents(door, client, run) == [b"1"]


@pytest.mark.parametrize("reader", ["run", "thread"])
def test_download_files_says_that_it_could_not_look(
    door: Door,
    client: Any,
    upstream: StandIn,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
) -> None:
    """`download_files` does not say that no file was saved while a container cannot be listed, and finds it later."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, 1000, status=500)
    upstream.script(TURN)
    run = run_to_end(door, client, *ids)
    thing = run if reader == "run" else run.thread_id
    with caplog.at_level(logging.WARNING, "assistants_compat"):
        assert door(download_files(client, thing, tmp_path)) == []
    warning = caplog.messages[-1]
    assert warning == (
        f"Files may be missing in run {run.id}: its container could not be listed: the upstream answered 500; "
        "try again soon."
    )
    upstream._faults.clear()
    advance_clocks(monkeypatch, upstream, 600)
    [path] = door(download_files(client, thing, tmp_path))
    assert path.read_bytes() == b"1"


def test_download_files_says_that_it_came_too_late(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the container expired before it could be listed, `download_files` says that, also later."""
    ids = make_thread_and_assistant(door, client)
    refuse_lists(upstream, ATTEMPTS)
    upstream.script(TURN)
    run = run_to_end(door, client, *ids)
    upstream.advance(3600)
    for _ in range(2):
        assert door(download_files(client, run, tmp_path)) == []
        assert caplog.messages[-1] == (
            f"Files may be missing in run {run.id}: its container could not be listed: it has expired or was deleted."
        )
