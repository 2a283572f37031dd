"""Every kind of generated file in one response is stored once, where the old service put it, and can be downloaded."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from assistants_compat.testing import StandIn, Turn
from assistants_compat.testing.exchange import Answer
from kit.container_runs import last_message, make_thread_and_assistant, polled_or_streamed, run_to_end
from kit.doors import Door
from kit.legacy_code import CODE
from kit.streams import read_rest

SHOWN, ONLY = b"\x89PNG shown, and kept by the container", b"\x89PNG only in the output"
FILES = {"a.csv": b"1", "b.csv": b"22", "rest.bin": b"333", "cfile_1.png": SHOWN}
TEXT = "[a](sandbox:/mnt/data/a.csv) and [b](sandbox:/mnt/data/b.csv)."


def picture(content: bytes) -> dict[str, Any]:
    """Return an image as an output of a call."""
    return {"type": "image", "url": "data:image/png;base64," + base64.b64encode(content).decode()}


def citation(name: str, start: int, end: int) -> dict[str, Any]:
    """Return a citation without ids, which the stand-in adds."""
    return {"type": "container_file_citation", "filename": name, "start_index": start, "end_index": end}


def message(text: str, *citations: dict[str, Any]) -> dict[str, Any]:
    """Return a message as an output item."""
    part = {"type": "output_text", "text": text, "annotations": list(citations)}
    return {"type": "message", "role": "assistant", "content": [part]}


def call(*outputs: dict[str, Any]) -> dict[str, Any]:
    """Return a code interpreter call as an output item."""
    return {"type": "code_interpreter_call", "code": "make()", "outputs": list(outputs)}


@polled_or_streamed
def test_each_file_of_a_response_is_stored_once_and_downloads(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """Cited, linked, shown and never mentioned files of one response are each stored once and can be downloaded."""
    cited = citation("a.csv", TEXT.index("sandbox"), TEXT.index(")"))
    output_message = message(TEXT, citation("cfile_1.png", 0, 0), cited)
    upstream.script(Turn(output=[call(picture(SHOWN), picture(ONLY)), output_message], files=FILES, polls=0))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client), stream=stream)
    served = last_message(door, client, run)
    *images, text = served.content
    shown = [block.image_file.file_id for block in images]
    linked = {note.text: note.file_path.file_id for note in text.text.annotations}
    attached = [attachment.file_id for attachment in served.attachments]

    def content(file_id: str) -> bytes:
        return door(client.files.content(file_id)).read()  # type: ignore[no-any-return]

    assert {link: content(id_) for link, id_ in linked.items()} == {
        "sandbox:/mnt/data/a.csv": b"1",
        "sandbox:/mnt/data/b.csv": b"22",
    }
    assert sorted(map(content, shown)) == sorted([SHOWN, ONLY])
    assert sorted(map(content, attached)) == [b"1", b"22", b"333"]
    assert set(linked.values()) < set(attached)
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))
    outputs = steps[0].step_details.tool_calls[0].code_interpreter.outputs
    assert [content(output.image.file_id) for output in outputs] == [SHOWN, ONLY]
    assert {output.image.file_id for output in outputs} == set(shown)
    file_ids = {*linked.values(), *shown, *attached}
    assert {file.id for file in door.all(client.files.list(purpose="assistants_output"))} == file_ids
    assert len(file_ids) == len(FILES) + 1


def omit_from_first_listing(monkeypatch: pytest.MonkeyPatch, upstream: StandIn, name: str) -> list[str]:
    """Omit a file from a container's first listing, and return a list that collects the requested paths."""
    answer, requested = upstream.answer, []

    def shortened_answer(request: Any) -> Any:
        result = answer(request)
        is_first = request.path not in requested
        requested.append(request.path)
        if is_first and request.method == "GET" and request.path.endswith("/files"):
            listing = json.loads(result.body)
            remaining = [file for file in listing["data"] if not file["path"].endswith(name)]
            return Answer.with_json({**listing, "data": remaining})
        return result

    monkeypatch.setattr(upstream, "answer", shortened_answer)
    return requested


def test_a_stream_lists_the_container_before_it_completes_a_message(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A completed message event has annotations for uncited links; a later call's file is only an attachment."""
    omit_from_first_listing(monkeypatch, upstream, "b.csv")
    output = [call(), message(TEXT), call()]
    upstream.script(Turn(output=output, files={"a.csv": b"1", "b.csv": b"22"}, polls=0))
    thread_id, assistant_id = make_thread_and_assistant(door, client)
    runs = client.beta.threads.runs
    events = read_rest(door, door(runs.create(thread_id, assistant_id=assistant_id, stream=True, tools=CODE)))
    [completed] = [event.data for event in events if event.event == "thread.message.completed"]
    [note] = completed.content[0].text.annotations
    assert (note.text, [attachment.file_id for attachment in completed.attachments]) == (
        "sandbox:/mnt/data/a.csv",
        [note.file_path.file_id],
    )
    stored_message = last_message(door, client, events[-1].data)
    assert [annotation.text for annotation in stored_message.content[0].text.annotations] == [note.text]
    first, second = (attachment.file_id for attachment in stored_message.attachments)
    assert first == note.file_path.file_id
    assert door(client.files.content(second)).read() == b"22"
