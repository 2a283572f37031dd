"""Files in a container that no citation mentions are stored once, as annotations or attachments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings, download_files
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    FUNCTION,
    finish_run,
    make_assistant,
    make_thread,
    retrieve_run,
    start_run,
    submit_outputs,
    upstream_calls,
)
from kit.streams import read_rest

CALL = {"type": "code_interpreter_call", "code": "make()", "outputs": []}
PNG = b"\x89PNG shown"


def message(text: str) -> dict[str, Any]:
    """Return a message without citations as an output item."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def turn_without_citations(*texts: str, **files: bytes) -> Turn:
    """Return a turn that makes these files (`_` stands for the dot of a name) and cites none of them."""
    named_files = {name.replace("_", "."): content for name, content in files.items()}
    return Turn(output=[CALL, *map(message, texts)], files=named_files, polls=0)


def run_to_completion(door: Door, client: Any, *, stream: bool) -> Any:
    """Return a finished run on a new thread, polled or streamed."""
    if not stream:
        return finish_run(door, client, tools=CODE)
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    return run_streamed(door, client, thread.id, assistant.id)


def run_streamed(door: Door, client: Any, thread_id: str, assistant_id: str) -> Any:
    """Stream a run and return it as its last event shows it."""
    stream = door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True))
    ended = read_rest(door, stream)[-1]
    assert ended.event == "thread.run.completed"
    return ended.data


def list_messages(door: Door, client: Any, run: Any) -> list[Any]:
    """Return the messages of a run, oldest first."""
    return door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id, order="asc"))


def read_content(door: Door, client: Any, file_id: str) -> bytes:
    """Download the bytes of a generated file."""
    content: bytes = door(client.files.content(file_id)).read()
    return content


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])


@both_ways
def test_a_link_without_a_citation_gets_its_annotation(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """Every `sandbox:` link in the text gets a `file_path` annotation, also a second link to the same file."""
    text = "[a](sandbox:/mnt/data/a.csv), [b](sandbox:/mnt/data/b.csv), again [a](sandbox:/mnt/data/a.csv)."
    upstream.script(turn_without_citations(text, a_csv=b"1", b_csv=b"22"))
    run = run_to_completion(door, client, stream=stream)
    [answer] = list_messages(door, client, run)
    [block] = answer.content
    notes = block.text.annotations
    assert [note.text.rpartition("/")[2] for note in notes] == ["a.csv", "b.csv", "a.csv"]
    assert all(text[note.start_index : note.end_index] == note.text for note in notes)
    assert [read_content(door, client, note.file_path.file_id) for note in notes] == [b"1", b"22", b"1"]
    assert notes[0].file_path.file_id == notes[2].file_path.file_id
    assert [attachment.file_id for attachment in answer.attachments] == [note.file_path.file_id for note in notes[:2]]


@both_ways
def test_a_file_without_a_link_is_attached_to_the_message(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A file that no text mentions is attached once to the message and can be downloaded."""
    upstream.script(turn_without_citations("I made it.", model_bin=b"weights"))
    run = run_to_completion(door, client, stream=stream)
    [answer] = list_messages(door, client, run)
    assert answer.content[0].text.annotations == []
    [attached] = answer.attachments
    assert attached.to_dict()["tools"] == [{"type": "code_interpreter"}]
    assert read_content(door, client, attached.file_id) == b"weights"
    assert door(client.files.retrieve(attached.file_id)).filename == "/mnt/data/model.bin"


@both_ways
def test_a_shown_image_is_not_attached_again(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """An image in a call's output is not attached, although the container lists it too."""
    call = {**CALL, "outputs": [{"type": "image", "url": "data:image/png;base64,iVBORyBzaG93bg=="}]}
    upstream.script(Turn(output=[call, message("See.")], files={"cfile_1.png": PNG}, polls=0))
    run = run_to_completion(door, client, stream=stream)
    [answer] = list_messages(door, client, run)
    assert [block.type for block in answer.content] == ["image_file", "text"]
    assert answer.attachments == []


@both_ways
def test_files_of_an_earlier_run_are_not_attached_again(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A second run in the same container attaches only its own new file."""
    upstream.script(turn_without_citations("One.", a_csv=b"1"))
    run = run_to_completion(door, client, stream=stream)
    [container] = upstream.containers
    call = {**CALL, "container_id": container}
    upstream.script(Turn(output=[call, message("Two.")], files={"b.csv": b"2"}, polls=0))
    runs = client.beta.threads.runs
    if stream:
        second = run_streamed(door, client, run.thread_id, run.assistant_id)
    else:
        ids = {"thread_id": run.thread_id, "assistant_id": run.assistant_id}
        second = door(runs.create_and_poll(**ids, tools=CODE))
    [answer] = list_messages(door, client, second)
    assert [read_content(door, client, attachment.file_id) for attachment in answer.attachments] == [b"2"]


def test_cited_files_are_stored_without_a_listing(door: Door, client: Any, upstream: StandIn) -> None:
    """A cited file is stored although the container cannot be listed."""
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1"}, polls=0))
    upstream.fault(Fault("GET /containers/*/files", status=404))
    run = finish_run(door, client, tools=CODE)
    [answer] = list_messages(door, client, run)
    assert read_content(door, client, answer.content[0].text.annotations[0].file_path.file_id) == b"1"


def test_a_body_of_the_wrong_size_is_requested_again(door: Door, client: Any, upstream: StandIn) -> None:
    """A 200 with an error body is retried, because its size differs from the listed size."""
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1,2,3"}, polls=0))
    upstream.fault(Fault("GET /containers/*/content", status=200, body={"error": {"message": "busy"}}))
    run = finish_run(door, client, tools=CODE)
    [answer] = list_messages(door, client, run)
    assert read_content(door, client, answer.content[0].text.annotations[0].file_path.file_id) == b"1,2,3"


def test_a_body_of_the_wrong_size_is_requested_again_without_a_listing(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """If the container cannot be listed, the file's own size is retrieved to recognise an error body."""
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1,2,3"}, polls=0))
    upstream.fault(Fault("GET /containers/*/files", status=500, times=3))
    upstream.fault(Fault("GET /containers/*/content", status=200, body={"error": {"message": "busy"}}))
    run = finish_run(door, client, tools=CODE)
    [answer] = list_messages(door, client, run)
    assert read_content(door, client, answer.content[0].text.annotations[0].file_path.file_id) == b"1,2,3"


def test_a_later_download_does_not_store_an_error_body(door: Door, client: Any, upstream: StandIn) -> None:
    """A download that copies a file later retries a 200 with an error body and returns the file."""
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1,2,3"}, polls=0))
    upstream.fault(Fault("GET /containers/*/content", status=403))
    run = finish_run(door, client, tools=CODE)
    [answer] = list_messages(door, client, run)
    upstream.fault(Fault("GET /containers/*/content", status=200, body={"error": {"message": "busy"}}))
    assert read_content(door, client, answer.content[0].text.annotations[0].file_path.file_id) == b"1,2,3"


@both_ways
def test_a_file_of_a_round_without_a_message_is_attached_to_the_next_message(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path, *, stream: bool
) -> None:
    """A file of a round that ended in a function call is attached once to the message of the next round."""
    call = {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_1"}
    upstream.script(Turn(output=[CALL, call], files={"a.csv": b"1"}, polls=0))
    run = finish_run(door, client, tools=[*CODE, FUNCTION])
    assert run.status == "requires_action"
    upstream.script(Turn(output=[message("Done.")], polls=0))
    submitted = submit_outputs(door, client, run, stream=True) if stream else submit_outputs(door, client, run)
    if stream:
        assert read_rest(door, submitted)[-1].event == "thread.run.completed"
    run = door(client.beta.threads.runs.poll(run_id=run.id, thread_id=run.thread_id))
    [answer] = list_messages(door, client, run)
    [attached] = answer.attachments
    assert read_content(door, client, attached.file_id) == b"1"
    [path] = door(download_files(client, run, tmp_path))
    assert path.read_bytes() == b"1"


def test_a_quoted_link_gets_its_annotation(door: Door, client: Any, upstream: StandIn) -> None:
    """A percent-encoded link gets an annotation with the text as the model wrote it."""
    files = {"my data.csv": b"1"}
    upstream.script(Turn(output=[CALL, message("[x](sandbox:/mnt/data/my%20data.csv)")], files=files, polls=0))
    [answer] = list_messages(door, client, finish_run(door, client, tools=CODE))
    [annotation] = answer.content[0].text.annotations
    assert annotation.text == "sandbox:/mnt/data/my%20data.csv"
    assert read_content(door, client, annotation.file_path.file_id) == b"1"


@both_ways
@pytest.mark.parametrize("output", [[], [CALL]], ids=["without_code", "with_code"])
def test_a_link_to_a_file_of_an_earlier_run_gets_its_annotation(
    door: Door, client: Any, upstream: StandIn, output: list[Any], *, stream: bool
) -> None:
    """A link to a file of an earlier run has that file's id, and the file is not copied again."""
    link = "[x](sandbox:/mnt/data/x.csv)"
    upstream.script(Turn(output=[CALL, message(link)], files={"x.csv": b"1"}, polls=0))
    first = finish_run(door, client, tools=CODE)
    [answer] = list_messages(door, client, first)
    file_id = answer.content[0].text.annotations[0].file_path.file_id
    upstream.script(Turn(output=[*output, message(f"Again: {link}")], polls=0))
    if stream:
        later = run_streamed(door, client, first.thread_id, first.assistant_id)
    else:
        runs = client.beta.threads.runs
        later = door(runs.create_and_poll(thread_id=first.thread_id, assistant_id=first.assistant_id))
    [later_answer] = list_messages(door, client, later)
    [annotation] = later_answer.content[0].text.annotations
    assert (annotation.file_path.file_id, annotation.text) == (file_id, "sandbox:/mnt/data/x.csv")
    assert [attached.file_id for attached in later_answer.attachments] == [file_id]
    assert len(upstream_calls(upstream, "GET /containers/*/files/*/content")) == 1


def test_a_file_of_a_run_without_a_message_is_downloaded(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path
) -> None:
    """`download_files` finds the file of a run that was cut off before its message, by run and by thread."""
    reason = {"reason": "max_output_tokens"}
    upstream.script(Turn(output=[CALL], files={"a.csv": b"1"}, status="incomplete", incomplete_details=reason, polls=0))
    run = retrieve_run(door, client, start_run(door, client, tools=CODE))
    assert (run.status, list_messages(door, client, run)) == ("incomplete", [])
    [path] = door(download_files(client, run, tmp_path))
    [path_by_thread] = door(download_files(client, run.thread_id, tmp_path / "thread"))
    assert (path.name, path.read_bytes(), path_by_thread.read_bytes()) == ("a.csv", b"1", b"1")


def test_a_run_that_runs_no_code_lists_no_container(door: Door, client: Any, upstream: StandIn) -> None:
    """A run that executes no code sends one POST and one GET, and lists no container."""
    upstream.script(Turn(text="No files.", polls=0))
    finish_run(door, client, tools=CODE)
    assert upstream_calls(upstream) == ["POST /responses", "GET /responses/*"]


def test_many_files_are_copied_once_each(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Twelve files of one message are copied once each and served in the order of their links."""
    names = [f"part{number:02}.bin" for number in range(12)]
    text = " ".join(f"[{name}](sandbox:/mnt/data/{name})" for name in names)
    upstream.script(Turn(text=text, files={name: name.encode() for name in names}, polls=0))
    client = door.client(upstream, sqlite_settings)
    run = finish_run(door, client, tools=CODE)
    [answer] = list_messages(door, client, run)
    contents = [read_content(door, client, note.file_path.file_id) for note in answer.content[0].text.annotations]
    assert contents == [name.encode() for name in names]
    assert sum(path == "GET /containers/*/files/*/content" for path in upstream_calls(upstream)) == len(names)
