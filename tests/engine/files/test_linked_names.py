"""A link names its file however the model has spelled it, cited by the service or not."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import last_message, make_thread_and_assistant, polled_or_streamed, run_to_end
from kit.doors import Door

SPELLINGS = [
    ("report (1).csv", "report%20(1).csv"),
    ("report (1).csv", "report (1).csv"),
    ("résumé 2024.csv", "résumé%202024.csv"),
    ("résumé 2024.csv", "r%c3%a9sum%c3%a9%202024.csv"),
    ("(x)表.csv", "%28x%29表.csv"),
    ("é.csv", unicodedata.normalize("NFD", "é.csv")),
    (unicodedata.normalize("NFD", "é.csv"), "%C3%A9.csv"),
    ("d.csv", "./d.csv"),
    ("d.csv", "/d.csv"),
    ("a b/d.csv", "a%20b/d.csv"),
    ("100%25.csv", "100%25.csv"),
]


def response_items(text: str, name: str, link: str | None) -> list[dict[str, Any]]:
    """Return a call and a message, which cites its link as the service does if there is one."""
    start = text.index(link) if link else 0
    span = {"start_index": start, "end_index": start + len(link or "")}
    citation = {"type": "container_file_citation", "filename": name.rpartition("/")[2], **span}
    part = {"type": "output_text", "text": text, "annotations": [citation] if link else []}
    call = {"type": "code_interpreter_call", "code": "make()", "outputs": []}
    return [call, {"type": "message", "role": "assistant", "content": [part]}]


def check_linked(door: Door, client: Any, run: Any, link: str, path: str, content: bytes) -> None:
    """Check that a run's message annotates exactly this link, and serves the file under its path."""
    message = last_message(door, client, run)
    text = message.content[0].text
    [note] = text.annotations
    assert (note.text, text.value[note.start_index : note.end_index]) == (link, link)
    assert [attachment.file_id for attachment in message.attachments] == [note.file_path.file_id]
    assert door(client.files.content(note.file_path.file_id)).read() == content
    assert door(client.files.retrieve(note.file_path.file_id)).filename == path


@polled_or_streamed
@pytest.mark.parametrize("is_cited", [True, False], ids=["cited", "uncited"])
@pytest.mark.parametrize(("name", "spelling"), SPELLINGS)
def test_a_link_in_any_spelling_gets_its_annotation(
    door: Door, client: Any, upstream: StandIn, name: str, spelling: str, *, is_cited: bool, stream: bool
) -> None:
    """A link that is partly percent-encoded or in another normal form has the annotation of its file."""
    link = f"sandbox:/mnt/data/{spelling}"
    items = response_items(f"Here: [dl]({link}).", name, link if is_cited else None)
    upstream.script(Turn(output=items, files={name: b"1"}, polls=0))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client), stream=stream)
    check_linked(door, client, run, link, f"/mnt/data/{name}", b"1")


@pytest.mark.parametrize("is_cited", [True, False], ids=["cited", "uncited"])
@pytest.mark.parametrize("rest", ["を見てください。", "and more", "_"])
def test_a_link_that_a_letter_follows_gets_its_annotation(
    door: Door, client: Any, upstream: StandIn, rest: str, *, is_cited: bool
) -> None:
    """A link in a sentence that goes on without a space ends with the name of its file."""
    link = "sandbox:/mnt/data/d.csv"
    items = response_items(f"Here: {link}{rest}", "d.csv", link if is_cited else None)
    upstream.script(Turn(output=items, files={"d.csv": b"1"}, polls=0))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client))
    check_linked(door, client, run, link, "/mnt/data/d.csv", b"1")


@polled_or_streamed
def test_a_cited_link_is_believed(door: Door, client: Any, upstream: StandIn, *, stream: bool) -> None:
    """A link that the service cites has its annotation, also if it spells the name in a way that nobody knows."""
    link = "sandbox:/mnt/data/report+(1).csv"
    items = response_items(f"Here: [dl]({link}).", "report (1).csv", link)
    upstream.script(Turn(output=items, files={"report (1).csv": b"1"}, polls=0))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client), stream=stream)
    check_linked(door, client, run, link, "/mnt/data/report (1).csv", b"1")


def test_an_encoded_link_names_its_file_without_a_listing(door: Door, client: Any, upstream: StandIn) -> None:
    """Without the container's list, the folder of a cited file is that of its link, decoded."""
    link = "sandbox:/mnt/data/a%20b/r%C3%A9.csv"
    upstream.script(Turn(output=response_items(f"[dl]({link})", "ré.csv", link), files={"ré.csv": b"1"}, polls=0))
    upstream.fault(Fault("GET /containers/*/files", status=404))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client))
    check_linked(door, client, run, link, "/mnt/data/a b/ré.csv", b"1")


def test_a_link_to_a_file_of_an_earlier_run_may_be_encoded(door: Door, client: Any, upstream: StandIn) -> None:
    """A later run that links a file of an earlier one in another spelling has that file's id."""
    ids = make_thread_and_assistant(door, client)
    first, later = "sandbox:/mnt/data/my data.csv", "sandbox:/mnt/data/my%20data.csv"
    files = {"my data.csv": b"1"}
    upstream.script(Turn(output=response_items(f"[x]({first})", "my data.csv", None), files=files, polls=0))
    upstream.script(Turn(output=response_items(f"[x]({later})", "my data.csv", None)[1:], polls=0))
    served = [last_message(door, client, run_to_end(door, client, *ids)) for _ in range(2)]
    [[old], [new]] = [message.content[0].text.annotations for message in served]
    assert (new.file_path.file_id, new.text) == (old.file_path.file_id, later)
