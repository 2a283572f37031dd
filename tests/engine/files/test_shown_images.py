"""Which files are images that were shown: the name decides, and equal sizes are not equal bytes."""

from __future__ import annotations

import base64
from typing import Any

from assistants_compat.testing import StandIn, Turn
from kit.container_runs import last_message, make_thread_and_assistant, polled_or_streamed, run_to_end
from kit.doors import Door

SHOWN, OTHER = b"\x89PNG shown", b"\x89PNG saved"


def call(*images: bytes) -> dict[str, Any]:
    """Return a call that shows these images."""
    urls = ["data:image/png;base64," + base64.b64encode(image).decode() for image in images]
    outputs = [{"type": "image", "url": url} for url in urls]
    return {"type": "code_interpreter_call", "code": "make()", "outputs": outputs}


def message(text: str, *names: str) -> dict[str, Any]:
    """Return a message that cites these files with the span 0/0."""
    span = {"type": "container_file_citation", "start_index": 0, "end_index": 0}
    part = {"type": "output_text", "text": text, "annotations": [{**span, "filename": name} for name in names]}
    return {"type": "message", "role": "assistant", "content": [part]}


def served(door: Door, client: Any, upstream: StandIn, turn: Turn, *, stream: bool) -> dict[str, list[Any]]:
    """Return the bytes that the message of a run shows, links and has attached."""
    upstream.script(turn)
    run = run_to_end(door, client, *make_thread_and_assistant(door, client), stream=stream)
    answer = last_message(door, client, run)

    def read(file_id: str) -> bytes:
        return door(client.files.content(file_id)).read()  # type: ignore[no-any-return]

    notes = [note for block in answer.content if block.type == "text" for note in block.text.annotations]
    return {
        "shown": [read(block.image_file.file_id) for block in answer.content if block.type == "image_file"],
        "linked": [read(note.file_path.file_id) for note in notes],
        "attached": [read(attachment.file_id) for attachment in answer.attachments],
    }


@polled_or_streamed
def test_a_table_that_is_cited_without_a_span_is_attached(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A CSV that is cited at 0/0 is attached, and the image that a call showed keeps its own bytes."""
    turn = Turn(output=[call(SHOWN), message("See.", "d.csv")], files={"d.csv": b"1,2"}, polls=0)
    assert served(door, client, upstream, turn, stream=stream) == {
        "shown": [SHOWN],
        "linked": [],
        "attached": [b"1,2"],
    }


@polled_or_streamed
def test_a_table_that_is_cited_without_a_span_may_be_linked(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A CSV that is cited at 0/0 and linked in the text has the annotation of its link."""
    text = "See [d](sandbox:/mnt/data/d.csv)."
    turn = Turn(output=[call(), message(text, "d.csv")], files={"d.csv": b"1,2"}, polls=0)
    assert served(door, client, upstream, turn, stream=stream) == {
        "shown": [],
        "linked": [b"1,2"],
        "attached": [b"1,2"],
    }


@polled_or_streamed
def test_a_table_and_an_image_that_are_cited_without_spans_are_told_apart(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """A CSV and a shown image, both cited at 0/0, are an attachment and an image, in either order."""
    files = {"d.csv": b"1,2", "cfile_1.png": SHOWN}
    for names in (("d.csv", "cfile_1.png"), ("cfile_1.png", "d.csv")):
        turn = Turn(output=[call(SHOWN), message("See.", *names)], files=files, polls=0)
        assert served(door, client, upstream, turn, stream=stream) == {
            "shown": [SHOWN],
            "linked": [],
            "attached": [b"1,2"],
        }


@polled_or_streamed
def test_a_saved_image_as_large_as_a_shown_one_is_kept(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """An image that the code saved is attached, although it has as many bytes as one that it showed."""
    turn = Turn(output=[call(SHOWN), message("See.")], files={"chart.png": OTHER, "cfile_1.png": SHOWN}, polls=0)
    assert served(door, client, upstream, turn, stream=stream) == {
        "shown": [SHOWN],
        "linked": [],
        "attached": [OTHER],
    }


@polled_or_streamed
def test_a_saved_image_that_is_cited_without_a_span_has_its_own_bytes(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """An image with a name of its own, cited at 0/0, is shown from its own bytes, beside the one that a call showed."""
    turn = Turn(output=[call(SHOWN), message("See.", "chart.png")], files={"chart.png": OTHER}, polls=0)
    assert served(door, client, upstream, turn, stream=stream) == {
        "shown": [SHOWN, OTHER],
        "linked": [],
        "attached": [],
    }


@polled_or_streamed
def test_each_shown_image_stands_for_one_listed_file(
    door: Door, client: Any, upstream: StandIn, *, stream: bool
) -> None:
    """Two shown images of one size account for two listed files of that size, and a third one is attached."""
    files = {"cfile_1.png": SHOWN, "cfile_2.png": SHOWN, "cfile_3.png": OTHER}
    turn = Turn(output=[call(SHOWN, SHOWN), message("See.")], files=files, polls=0)
    assert served(door, client, upstream, turn, stream=stream) == {
        "shown": [SHOWN, SHOWN],
        "linked": [],
        "attached": [OTHER],
    }
