"""The links of a streamed text reach every kind of reader, also one that skips deltas without text."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.container_runs import make_thread_and_assistant
from kit.doors import Door
from kit.streams import (
    DROP,
    ManualUpstream,
    event_names,
    events,
    message,
    next_event,
    read_rest,
    start_stream,
    stored_messages,
    text_of,
)

CALL = {"type": "code_interpreter_call", "code": "save()", "outputs": []}
LINKS = "Here: [a](sandbox:/mnt/data/a.csv), [b](sandbox:/mnt/data/b.csv)"
TURNS = {
    "cited": Turn(text=LINKS, files={"a.csv": b"1", "b.csv": b"2"}),
    "followed by text": Turn(text=f"{LINKS}. That is all.", files={"a.csv": b"1", "b.csv": b"2"}),
    "one file": Turn(text="sandbox:/mnt/data/a.csv", files={"a.csv": b"1"}),
    "without a citation": Turn(
        output=[CALL, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": LINKS}]}],
        files={"a.csv": b"1", "b.csv": b"2"},
    ),
}


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


def text_blocks(seen: list[Any]) -> list[Any]:
    """Return the text of every delta."""
    deltas = [event.data.delta.content for event in seen if event.event == "thread.message.delta"]
    return [block.text for content in deltas for block in content if block.type == "text"]


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_every_reader_gets_the_links(door: Door, client: Any, upstream: StandIn, turn: Turn) -> None:
    """A reader that skips deltas without text finds the annotations, and so does one that adds up all deltas."""
    thread_id, assistant_id = make_thread_and_assistant(door, client)
    upstream.script(turn)
    seen = read_rest(door, door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id, stream=True)))
    [ended] = [event.data for event in seen if event.event == "thread.message.completed"]
    [text] = [block.text for block in ended.content if block.type == "text"]
    expected = [(note.text, note.file_path.file_id, note.start_index) for note in text.annotations]
    assert len(expected) == len(turn.files)
    blocks = text_blocks(seen)
    skipping = [note for block in blocks if block.value for note in block.annotations or []]
    assert [(note.text, note.file_path.file_id, note.start_index) for note in skipping] == expected
    adding = [note for block in blocks for note in block.annotations or []]
    assert [note.index for note in adding] == list(range(len(expected)))
    assert "".join(block.value for block in blocks) == text.value


def test_a_text_before_its_first_link_is_not_held_back(door: Door, hand: ManualUpstream, settings: Settings) -> None:
    """Every piece of a text is sent as it comes, as long as no link to a file has come."""
    hand.plan(*events(message("One two (sandbox:/mnt/data/a.csv) three four"))[:6])
    stream = start_stream(door, door.client(hand, settings))
    seen = [next_event(door, stream) for _ in range(9)]
    assert text_of(seen) == "One two"


def test_a_text_that_is_cut_off_after_a_link_is_sent_and_stored_whole(
    door: Door, hand: ManualUpstream, settings: Settings
) -> None:
    """If the connection breaks while a piece is held back, the piece is sent and stored before the run fails."""
    words = events(message("One (sandbox:/mnt/data/a.csv) three four five"))
    hand.plan(*words[:7], DROP)
    seen = read_rest(door, start_stream(door, door.client(hand, settings)))
    assert event_names(seen)[-3:] == ["message.incomplete", "run.step.failed", "run.failed"]
    assert text_of(seen) == "One (sandbox:/mnt/data/a.csv) three"
    assert stored_messages(settings, seen[-1].data.id) == [("incomplete", text_of(seen))]
