"""All kinds of generated files in one response: each ends up once, where the old service had it, and downloads."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from assistants_compat.testing import StandIn, Turn
from assistants_compat.testing.exchange import Answer
from kit.container_runs import both_ways, new_thread, run, said
from kit.doors import Door
from kit.legacy_code import CODE
from kit.streams import rest

SHOWN, ONLY = b"\x89PNG shown, and kept by the container", b"\x89PNG only in the output"
FILES = {"a.csv": b"1", "b.csv": b"22", "rest.bin": b"333", "cfile_1.png": SHOWN}
TEXT = "[a](sandbox:/mnt/data/a.csv) and [b](sandbox:/mnt/data/b.csv)."


def picture(content: bytes) -> dict[str, Any]:
    """An image as a call shows it."""
    return {"type": "image", "url": "data:image/png;base64," + base64.b64encode(content).decode()}


def citation(name: str, start: int, end: int) -> dict[str, Any]:
    """A citation; the stand-in knows the ids."""
    return {"type": "container_file_citation", "filename": name, "start_index": start, "end_index": end}


def message(text: str, *citations: dict[str, Any]) -> dict[str, Any]:
    """A message as an output item."""
    part = {"type": "output_text", "text": text, "annotations": list(citations)}
    return {"type": "message", "role": "assistant", "content": [part]}


def call(*outputs: dict[str, Any]) -> dict[str, Any]:
    """A call that ran code."""
    return {"type": "code_interpreter_call", "code": "make()", "outputs": list(outputs)}


@both_ways
def test_each_file_of_a_response_ends_up_once_and_downloads(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """Cited, linked without a citation, shown with a 0/0 citation, shown in the output alone, and never mentioned."""
    cited = citation("a.csv", TEXT.index("sandbox"), TEXT.index(")"))
    spoken = message(TEXT, citation("cfile_1.png", 0, 0), cited)
    upstream.script(Turn(output=[call(picture(SHOWN), picture(ONLY)), spoken], files=FILES, polls=0))
    done = run(door, client, *new_thread(door, client), stream=stream)
    told = said(door, client, done)
    *images, text = told.content
    shown = [block.image_file.file_id for block in images]
    linked = {note.text: note.file_path.file_id for note in text.text.annotations}
    attached = [each.file_id for each in told.attachments]

    def content(file_id: str) -> bytes:
        return door(client.files.content(file_id)).read()  # type: ignore[no-any-return]

    assert {link: content(id_) for link, id_ in linked.items()} == {
        "sandbox:/mnt/data/a.csv": b"1",
        "sandbox:/mnt/data/b.csv": b"22",
    }
    assert sorted(map(content, shown)) == sorted([SHOWN, ONLY])
    assert sorted(map(content, attached)) == [b"1", b"22", b"333"]
    assert set(linked.values()) < set(attached)
    steps = door.all(client.beta.threads.runs.steps.list(done.id, thread_id=done.thread_id, order="asc"))
    outputs = steps[0].step_details.tool_calls[0].code_interpreter.outputs
    assert [content(output.image.file_id) for output in outputs] == [SHOWN, ONLY]
    assert {output.image.file_id for output in outputs} == set(shown)
    made = {*linked.values(), *shown, *attached}
    assert {each.id for each in door.all(client.files.list(purpose="assistants_output"))} == made
    assert len(made) == len(FILES) + 1


def listing_less(monkeypatch: pytest.MonkeyPatch, upstream: StandIn, name: str) -> list[str]:
    """Let the first list of a container leave a file out; the paths of what is asked for from now on."""
    answer, asked = upstream.answer, []

    def short(request: Any) -> Any:
        answered = answer(request)
        is_first = request.path not in asked
        asked.append(request.path)
        if is_first and request.method == "GET" and request.path.endswith("/files"):
            listed = json.loads(answered.body)
            kept = [file for file in listed["data"] if not file["path"].endswith(name)]
            return Answer.of_json({**listed, "data": kept})
        return answered

    monkeypatch.setattr(upstream, "answer", short)
    return asked


def test_a_stream_lists_the_container_before_it_completes_a_message(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event has the annotation that was missing; what a later call leaves is an attachment only, linked or not."""
    listing_less(monkeypatch, upstream, "b.csv")
    output = [call(), message(TEXT), call()]
    upstream.script(Turn(output=output, files={"a.csv": b"1", "b.csv": b"22"}, polls=0))
    thread_id, assistant_id = new_thread(door, client)
    runs = client.beta.threads.runs
    events = rest(door, door(runs.create(thread_id, assistant_id=assistant_id, stream=True, tools=CODE)))
    [completed] = [event.data for event in events if event.event == "thread.message.completed"]
    [note] = completed.content[0].text.annotations
    assert (note.text, [each.file_id for each in completed.attachments]) == (
        "sandbox:/mnt/data/a.csv",
        [note.file_path.file_id],
    )
    stored = said(door, client, events[-1].data)
    assert [each.text for each in stored.content[0].text.annotations] == [note.text]
    first, second = (each.file_id for each in stored.attachments)
    assert first == note.file_path.file_id
    assert door(client.files.content(second)).read() == b"22"
