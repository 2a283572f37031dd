"""A streamed run that is cancelled or expires has ended only when the text that its reader showed is stored."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.io import IO, LEASE_SECONDS
from assistants_compat.engine.runs import stream as streaming
from assistants_compat.store import queries
from assistants_compat.store.database import transact
from assistants_compat.store.locations import database_url
from kit.doors import Door
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ManualUpstream,
    event_names,
    frame,
    next_event,
    read_rest,
    read_while_sending,
    start_partial_stream,
)

TERMINAL = {"completed", "failed", "cancelled", "expired", "incomplete"}


@pytest.fixture
def client(door: Door, hand: ManualUpstream, settings: Settings) -> Any:
    """A wrapped client of the door's kind, on both databases, because these tests are about concurrent writes."""
    return door.client(hand, settings)


def text_of_answer(other: Any, thread_id: str) -> str:
    """Return the text of the thread's last message as another client reads it."""
    content = other.beta.threads.messages.list(thread_id).data[0].content
    return "".join(block.text.value for block in content)


def move_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the time of day be this much later than it is."""
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time() + seconds))


def renew_lease(settings: Settings, run_id: str, seconds: int) -> None:
    """Renew the lease of a streamed run, this much later than now."""
    until = int(time.time()) + seconds + LEASE_SECONDS
    transact(
        database_url(settings.store),
        lambda db: queries.renew_lease(db, settings.namespace, run_id, until),
        write=True,
    )


def test_a_cancelled_stream_stays_cancelling_until_its_text_is_stored(
    door: Door, client: Any, other: Any, hand: ManualUpstream
) -> None:
    """A poll shows `cancelling` and the thread is locked until the text is stored, so that the next run sends it."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    next_event(door, stream)  # the second word was shown and is not stored yet
    threads = other.beta.threads
    assert threads.runs.cancel(run_id, thread_id=thread_id).status == "cancelling"
    assert threads.runs.retrieve(run_id, thread_id=thread_id).status == "cancelling"
    assert text_of_answer(other, thread_id) in {"", "One"}
    with pytest.raises(openai.BadRequestError, match="while a run"):
        threads.messages.create(thread_id, role="user", content="Too early.")
    seen = read_while_sending(door, stream, hand)
    assert seen[-1].event == "thread.run.cancelled"
    assert threads.runs.retrieve(run_id, thread_id=thread_id).status == "cancelled"
    assert text_of_answer(other, thread_id).startswith("One two")
    threads.messages.create(thread_id, role="user", content="Now.")
    hand.plan(*EVENTS, END)
    later = threads.runs.create(thread_id, assistant_id=seen[-1].data.assistant_id, stream=True)
    assert list(later)[-1].event == "thread.run.completed"
    assert "One two" in json.dumps(hand.requests[-1]["json"]["input"])


def test_a_late_stream_expires_when_its_text_is_stored(
    door: Door, other: Any, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past its time a run that has a reader shows `in_progress` until the reader has stored what it showed."""
    monkeypatch.setattr(streaming, "_SAVE_INTERVAL_SECONDS", 0.2)
    client = door.client(hand, replace(settings, run_ttl=20))
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    next_event(door, stream)
    move_clock(monkeypatch, 21)
    runs = other.beta.threads.runs
    assert runs.retrieve(run_id, thread_id=thread_id).status == "in_progress"
    seen = read_while_sending(door, stream, hand)
    assert seen[-1].event == "thread.run.expired"
    assert runs.retrieve(run_id, thread_id=thread_id).status == "expired"
    assert text_of_answer(other, thread_id).startswith("One two")


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "late"])
def test_a_reader_that_gets_nothing_does_not_hold_its_run_for_long(
    door: Door,
    other: Any,
    hand: ManualUpstream,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_cancelled: bool,
) -> None:
    """A reader whose upstream is silent keeps its run open for some seconds only, although it renews its lease."""
    client = door.client(hand, replace(settings, run_ttl=600))
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    next_event(door, stream)
    runs = other.beta.threads.runs
    if is_cancelled:
        runs.cancel(run_id, thread_id=thread_id)
    late = 0 if is_cancelled else 600
    renew_lease(settings, run_id, late)  # as the reader's process does
    move_clock(monkeypatch, late + 5)
    assert runs.retrieve(run_id, thread_id=thread_id).status not in TERMINAL
    move_clock(monkeypatch, late + 15)
    status = "cancelled" if is_cancelled else "expired"
    assert runs.retrieve(run_id, thread_id=thread_id).status == status
    seen = read_while_sending(door, stream, hand)  # what it showed is stored nevertheless, a little later
    assert event_names(seen)[-1] == f"run.{status}"
    assert text_of_answer(other, thread_id).startswith("One two")


def test_a_run_cancelled_at_the_end_of_its_response_is_cancelled_with_the_whole_text(
    door: Door, client: Any, other: Any, hand: ManualUpstream
) -> None:
    """If the response ends before its reader has noticed, the run is cancelled, with the whole text and its usage."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    other.beta.threads.runs.cancel(run_id, thread_id=thread_id)
    hand.stream().send(b"".join(map(frame, EVENTS[CUT:])), END)  # in one piece
    seen = read_rest(door, stream)
    assert seen[-1].event == "thread.run.cancelled"
    run = other.beta.threads.runs.retrieve(run_id, thread_id=thread_id)
    assert (run.status, run.usage.total_tokens, run.expires_at) == ("cancelled", 7, None)
    assert run == seen[-1].data.model_copy(update={"tool_resources": run.tool_resources})
    assert text_of_answer(other, thread_id) == TEXT
