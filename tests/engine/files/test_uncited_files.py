"""Files that a container holds and no citation speaks of: linked or forgotten, each ends up once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings, download_files
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, FUNCTION, asked, finish_run, make_assistant, make_thread, submit
from kit.streams import rest

CALL = {"type": "code_interpreter_call", "code": "make()", "outputs": []}
PNG = b"\x89PNG shown"


def message(text: str) -> dict[str, Any]:
    """A message item in which nothing is cited."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def uncited(*texts: str, **files: bytes) -> Turn:
    """A turn that makes these files (`_` stands for the dot of a name) and cites none of them."""
    made = {name.replace("_", "."): content for name, content in files.items()}
    return Turn(output=[CALL, *map(message, texts)], files=made, polls=0)


def run_of(door: Door, client: Any, *, stream: bool) -> Any:
    """A finished run on a new thread, polled or streamed."""
    if not stream:
        return finish_run(door, client, tools=CODE)
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    return run_streamed(door, client, thread.id, assistant.id)


def run_streamed(door: Door, client: Any, thread_id: str, assistant_id: str) -> Any:
    """The run as the last event of its stream shows it."""
    stream = door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True))
    ended = rest(door, stream)[-1]
    assert ended.event == "thread.run.completed"
    return ended.data


def messages_of(door: Door, client: Any, run: Any) -> list[Any]:
    """What the run said, oldest first."""
    return door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id, order="asc"))


def read(door: Door, client: Any, file_id: str) -> bytes:
    """The bytes of a generated file."""
    content: bytes = door(client.files.content(file_id)).read()
    return content


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["polled", "streamed"])


@both_ways
def test_a_link_without_a_citation_gets_its_annotation(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """Each `sandbox:` link in the text is a `file_path`, also the second one to the same file."""
    text = "[a](sandbox:/mnt/data/a.csv), [b](sandbox:/mnt/data/b.csv), again [a](sandbox:/mnt/data/a.csv)."
    upstream.script(uncited(text, a_csv=b"1", b_csv=b"22"))
    run = run_of(door, client, stream=stream)
    [said] = messages_of(door, client, run)
    [block] = said.content
    notes = block.text.annotations
    assert [note.text.rpartition("/")[2] for note in notes] == ["a.csv", "b.csv", "a.csv"]
    assert all(text[note.start_index : note.end_index] == note.text for note in notes)
    assert [read(door, client, note.file_path.file_id) for note in notes] == [b"1", b"22", b"1"]
    assert notes[0].file_path.file_id == notes[2].file_path.file_id
    assert [each.file_id for each in said.attachments] == [note.file_path.file_id for note in notes[:2]]


@both_ways
def test_a_file_that_nobody_speaks_of_is_an_attachment_of_the_message(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """It is attached for the code interpreter, once, and can be downloaded."""
    upstream.script(uncited("I made it.", model_bin=b"weights"))
    run = run_of(door, client, stream=stream)
    [said] = messages_of(door, client, run)
    assert said.content[0].text.annotations == []
    [attached] = said.attachments
    assert [tool.type for tool in attached.tools] == ["code_interpreter"]
    assert read(door, client, attached.file_id) == b"weights"
    assert door(client.files.retrieve(attached.file_id)).filename == "/mnt/data/model.bin"


@both_ways
def test_a_picture_that_was_shown_is_not_attached_once_more(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """The container lists it too; its bytes are those of the call's output."""
    call = {**CALL, "outputs": [{"type": "image", "url": "data:image/png;base64,iVBORyBzaG93bg=="}]}
    upstream.script(Turn(output=[call, message("See.")], files={"cfile_1.png": PNG}, polls=0))
    run = run_of(door, client, stream=stream)
    [said] = messages_of(door, client, run)
    assert [block.type for block in said.content] == ["image_file", "text"]
    assert said.attachments == []


@both_ways
def test_files_of_an_earlier_run_are_not_found_again(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """The container is the same; only what is new is attached, and what was linked again is annotated again."""
    upstream.script(uncited("One.", a_csv=b"1"))
    run = run_of(door, client, stream=stream)
    [made] = upstream.containers
    again = {**CALL, "container_id": made}
    upstream.script(Turn(output=[again, message("Two.")], files={"b.csv": b"2"}, polls=0))
    runs = client.beta.threads.runs
    if stream:
        second = run_streamed(door, client, run.thread_id, run.assistant_id)
    else:
        ids = {"thread_id": run.thread_id, "assistant_id": run.assistant_id}
        second = door(runs.create_and_poll(**ids, tools=CODE))
    [said] = messages_of(door, client, second)
    assert [read(door, client, each.file_id) for each in said.attachments] == [b"2"]


def test_a_container_that_cannot_be_listed_loses_nothing_that_is_cited(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """The list is a help: without it a run ends as it did before."""
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1"}, polls=0))
    upstream.fault(Fault("GET /containers/*/files", status=404))
    run = finish_run(door, client, tools=CODE)
    [said] = messages_of(door, client, run)
    assert read(door, client, said.content[0].text.annotations[0].file_path.file_id) == b"1"


def test_a_body_that_is_no_file_is_asked_for_again(door: Door, client: Any, upstream: StandIn) -> None:
    """A 200 with an error body has not the bytes that the list promised."""
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1,2,3"}, polls=0))
    upstream.fault(Fault("GET /containers/*/content", status=200, body={"error": {"message": "busy"}}))
    run = finish_run(door, client, tools=CODE)
    [said] = messages_of(door, client, run)
    assert read(door, client, said.content[0].text.annotations[0].file_path.file_id) == b"1,2,3"


def test_a_body_that_is_no_file_is_asked_for_again_where_no_list_said_its_size(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """The container could not be listed: it is asked how long the file is."""
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1,2,3"}, polls=0))
    upstream.fault(Fault("GET /containers/*/files", status=500))
    upstream.fault(Fault("GET /containers/*/content", status=200, body={"error": {"message": "busy"}}))
    run = finish_run(door, client, tools=CODE)
    [said] = messages_of(door, client, run)
    assert read(door, client, said.content[0].text.annotations[0].file_path.file_id) == b"1,2,3"


def test_a_later_try_takes_no_error_body_for_the_file(door: Door, client: Any, upstream: StandIn) -> None:
    """The run's end could not copy it; the next download gets a 200 with an error body first, and then the file."""
    upstream.script(Turn(text="[a](sandbox:/mnt/data/a.csv)", files={"a.csv": b"1,2,3"}, polls=0))
    upstream.fault(Fault("GET /containers/*/content", status=403))
    run = finish_run(door, client, tools=CODE)
    [said] = messages_of(door, client, run)
    upstream.fault(Fault("GET /containers/*/content", status=200, body={"error": {"message": "busy"}}))
    assert read(door, client, said.content[0].text.annotations[0].file_path.file_id) == b"1,2,3"


@both_ways
def test_a_file_of_a_round_without_a_message_is_attached_to_the_next_one(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path, *, stream: bool
) -> None:
    """Code left a file and the model called a function: the message of the next round has the file, once."""
    call = {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_1"}
    upstream.script(Turn(output=[CALL, call], files={"a.csv": b"1"}, polls=0))
    run = finish_run(door, client, tools=[*CODE, FUNCTION])
    assert run.status == "requires_action"
    upstream.script(Turn(output=[message("Done.")], polls=0))
    submitted = submit(door, client, run, stream=True) if stream else submit(door, client, run)
    if stream:
        assert rest(door, submitted)[-1].event == "thread.run.completed"
    run = door(client.beta.threads.runs.poll(run_id=run.id, thread_id=run.thread_id))
    [said] = messages_of(door, client, run)
    [attached] = said.attachments
    assert read(door, client, attached.file_id) == b"1"
    [path] = door(download_files(client, run, tmp_path))
    assert path.read_bytes() == b"1"


def test_a_quoted_link_gets_its_annotation(door: Door, client: Any, upstream: StandIn) -> None:
    """Models quote a space as Markdown wants it: what stands in the text is what the annotation names."""
    files = {"my data.csv": b"1"}
    upstream.script(Turn(output=[CALL, message("[x](sandbox:/mnt/data/my%20data.csv)")], files=files, polls=0))
    [said] = messages_of(door, client, finish_run(door, client, tools=CODE))
    [annotation] = said.content[0].text.annotations
    assert annotation.text == "sandbox:/mnt/data/my%20data.csv"
    assert read(door, client, annotation.file_path.file_id) == b"1"


@both_ways
@pytest.mark.parametrize("output", [[], [CALL]], ids=["without_code", "with_code"])
def test_a_link_to_a_file_of_an_earlier_run_gets_its_annotation(
    door: Door, client: Any, upstream: StandIn, output: list[Any], *, stream: bool
) -> None:
    """The later message links what the first run left: it is the same file, under the same id, and not copied again."""
    link = "[x](sandbox:/mnt/data/x.csv)"
    upstream.script(Turn(output=[CALL, message(link)], files={"x.csv": b"1"}, polls=0))
    first = finish_run(door, client, tools=CODE)
    [said] = messages_of(door, client, first)
    made = said.content[0].text.annotations[0].file_path.file_id
    upstream.script(Turn(output=[*output, message(f"Again: {link}")], polls=0))
    if stream:
        later = run_streamed(door, client, first.thread_id, first.assistant_id)
    else:
        runs = client.beta.threads.runs
        later = door(runs.create_and_poll(thread_id=first.thread_id, assistant_id=first.assistant_id))
    [again] = messages_of(door, client, later)
    [annotation] = again.content[0].text.annotations
    assert (annotation.file_path.file_id, annotation.text) == (made, "sandbox:/mnt/data/x.csv")
    assert [attached.file_id for attached in again.attachments] == [made]
    assert len(asked(upstream, "GET /containers/*/files/*/content")) == 1


def test_a_file_of_a_run_without_a_message_is_downloaded(
    door: Door, client: Any, upstream: StandIn, tmp_path: Path
) -> None:
    """The run was cut off after its code: nothing speaks of the file, but the run and its thread have it."""
    reason = {"reason": "max_output_tokens"}
    upstream.script(Turn(output=[CALL], files={"a.csv": b"1"}, status="incomplete", incomplete_details=reason, polls=0))
    run = finish_run(door, client, tools=CODE)
    assert (run.status, messages_of(door, client, run)) == ("incomplete", [])
    [path] = door(download_files(client, run, tmp_path))
    [again] = door(download_files(client, run.thread_id, tmp_path / "thread"))
    assert (path.name, path.read_bytes(), again.read_bytes()) == ("a.csv", b"1", b"1")


def test_a_run_that_runs_no_code_lists_no_container(door: Door, client: Any, upstream: StandIn) -> None:
    """One POST and one GET, as before."""
    upstream.script(Turn(text="No files.", polls=0))
    finish_run(door, client, tools=CODE)
    assert asked(upstream) == ["POST /responses", "GET /responses/*"]


def test_many_files_are_copied_several_at_a_time(door: Door, upstream: StandIn, sqlite_settings: Settings) -> None:
    """Twelve files, each once, whatever order they come in."""
    names = [f"part{number:02}.bin" for number in range(12)]
    text = " ".join(f"[{name}](sandbox:/mnt/data/{name})" for name in names)
    upstream.script(Turn(text=text, files={name: name.encode() for name in names}, polls=0))
    client = door.client(upstream, sqlite_settings)
    run = finish_run(door, client, tools=CODE)
    [said] = messages_of(door, client, run)
    contents = [read(door, client, note.file_path.file_id) for note in said.content[0].text.annotations]
    assert contents == [name.encode() for name in names]
    assert sum(path == "GET /containers/*/files/*/content" for path in asked(upstream)) == len(names)
