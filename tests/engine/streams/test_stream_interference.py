"""What others do while a run is streamed: they look, cancel, delete, come too early, or the run's time is up."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.runs import stream as streaming
from kit.doors import Door
from kit.legacy_code import dump, look_at
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ByHand,
    begun,
    ended,
    eventually,
    following,
    frame,
    keeps_talking,
    names,
    rest,
    said,
    stored,
    until,
)

POST = "POST /responses"


@pytest.fixture
def client(door: Door, hand: ByHand, settings: Settings) -> Any:
    """A wrapped client of the door's kind, over SQLite and PostgreSQL: these tests are about who writes when."""
    return door.client(hand, settings)


def test_who_looks_disturbs_nobody(door: Door, client: Any, other: Any, hand: ByHand, settings: Settings) -> None:
    """Retrieve, lists, messages and steps of a streamed run: as far as it came, and no request upstream."""
    stream, run_id, thread_id = begun(door, client, hand)
    runs = other.beta.threads.runs
    assert runs.retrieve(run_id, thread_id=thread_id).status == "in_progress"
    assert [run.status for run in runs.list(thread_id)] == ["in_progress"]
    [step] = runs.steps.list(run_id, thread_id=thread_id)
    assert (step.status, step.type) == ("in_progress", "message_creation")
    [answer, _] = other.beta.threads.messages.list(thread_id)
    assert (answer.status, answer.role, answer.completed_at) == ("in_progress", "assistant", None)
    assert answer.id == step.step_details.message_creation.message_id
    assert hand.asked() == [POST]
    hand.wire().send(*EVENTS[CUT:], END)
    assert rest(door, stream)[-1].event == "thread.run.completed"
    assert hand.asked() == [POST]


def test_what_is_being_said_is_stored_now_and_then(
    door: Door, client: Any, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message in the middle of its text can be read as far as it was said at the last save."""
    monkeypatch.setattr(streaming, "_SAVED_EVERY", 0.0)
    stream, run_id, _ = begun(door, client, hand)
    until(door, stream, "thread.message.delta")
    eventually(lambda: said(settings, run_id) == [("in_progress", "One two")], door)
    hand.wire().send(EVENTS[CUT])
    until(door, stream, "thread.message.delta")
    eventually(lambda: said(settings, run_id) == [("in_progress", "One two three")], door)
    hand.wire().send(*EVENTS[CUT + 1 :], END)
    rest(door, stream)
    assert said(settings, run_id) == [("completed", TEXT)]


def test_the_thread_is_locked(door: Door, client: Any, other: Any, hand: ByHand, settings: Settings) -> None:
    """A message or a run meanwhile is the service's own 400, to the letter; nothing of it is left."""
    stream, run_id, thread_id = begun(door, client, hand)
    before = dump(settings)
    threads = other.beta.threads
    assistant_id = stored(settings, run_id)["assistant_id"]
    calls = {
        f"Can't add messages to {thread_id} while a run {run_id} is active.": [
            lambda: threads.messages.create(thread_id, role="user", content="x"),
        ],
        f"Thread {thread_id} already has an active run {run_id}.": [
            lambda: threads.runs.create(thread_id, assistant_id=assistant_id),
            lambda: threads.runs.create(thread_id, assistant_id=assistant_id, stream=True),
        ],
        'Runs in status "in_progress" do not accept tool outputs.': [
            lambda: threads.runs.submit_tool_outputs(run_id, thread_id=thread_id, tool_outputs=[], stream=True),
        ],
    }
    for words, each in calls.items():
        for call in each:
            with pytest.raises(openai.BadRequestError) as caught:
                call()
            assert caught.value.response.json()["error"] == {
                "message": words,
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
    after = dump(settings)
    for rows in (before, after):
        rows["runs"][0].pop("lease_until")
    assert after == before
    assert hand.asked() == [POST]
    hand.wire().send(*EVENTS[CUT:], END)
    assert rest(door, stream)[-1].event == "thread.run.completed"


@pytest.mark.parametrize("looks", [False, True])
def test_a_cancel_reaches_the_stream(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings, *, looks: bool
) -> None:
    """Cancelled by another client: the stream ends so within two seconds, and what it said is what is stored."""
    stream, run_id, thread_id = begun(door, client, hand)
    following(door, stream)  # the second word is told, and not stored yet
    run = other.beta.threads.runs.cancel(run_id, thread_id=thread_id)
    assert run.status == "cancelling"
    if looks:  # a poller ends the run at once; its reader hears of that a little later
        assert other.beta.threads.runs.retrieve(run_id, thread_id=thread_id).status == "cancelled"
    started = time.monotonic()
    seen = keeps_talking(door, stream, hand)
    assert time.monotonic() - started < 2
    assert names(seen)[-3:] == ["message.incomplete", "run.step.cancelled", "run.cancelled"]
    eventually(hand.wire().gone.is_set, door)
    told = seen[-3].data
    assert told.incomplete_details.reason == "run_cancelled"
    assert told.content == door(client.beta.threads.messages.retrieve(told.id, thread_id=thread_id)).content
    [(status, text)] = said(settings, run_id)
    assert (status, text[:7]) == ("incomplete", "One two")
    ended(settings, run_id, door, "cancelled")
    door(client.beta.threads.messages.create(thread_id, role="user", content="More."))
    assert hand.asked() == [POST]


def test_a_cancel_after_the_consumer_has_left(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings
) -> None:
    """`cancel` still stops a run whose consumer broke out."""
    stream, run_id, thread_id = begun(door, client, hand)
    door(stream.close())
    other.beta.threads.runs.cancel(run_id, thread_id=thread_id)
    started = time.monotonic()

    def over() -> bool:
        hand.wire().send(EVENTS[CUT])
        return hand.wire().gone.is_set()

    eventually(over, door)
    assert time.monotonic() - started < 3
    assert other.beta.threads.runs.retrieve(run_id, thread_id=thread_id).status == "cancelled"
    assert [status for status, _ in said(settings, run_id)] == ["incomplete"]


@pytest.mark.parametrize("looks", [False, True])
def test_a_run_expires_in_the_middle(
    door: Door, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, looks: bool
) -> None:
    """Its time is up while it speaks: the stream tells so, as does everybody who looks."""
    monkeypatch.setattr(streaming, "_SAVED_EVERY", 0.2)
    client = door.client(hand, replace(settings, run_ttl=1))
    stream, run_id, thread_id = begun(door, client, hand)
    if looks:
        eventually(lambda: door(client.beta.threads.runs.retrieve(run_id, thread_id=thread_id)).status == "expired")
    seen = keeps_talking(door, stream, hand)
    assert names(seen)[-3:] == ["message.incomplete", "run.step.expired", "run.expired"]
    assert seen[-3].data.incomplete_details.reason == "run_expired"
    assert look_at(door, client, seen[-1].data).status == "expired"
    row = ended(settings, run_id, door, "expired")
    assert row["body"]["expires_at"] is None
    assert [status for status, _ in said(settings, run_id)] == ["incomplete"]
    eventually(hand.wire().gone.is_set, door)


@pytest.mark.parametrize("end", [False, True])
def test_a_thread_that_is_deleted_in_the_middle(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings, *, end: bool
) -> None:
    """The stream ends without an error, in the middle as at the very end; nothing comes back into the store."""
    stream, _, thread_id = begun(door, client, hand)
    assert other.beta.threads.delete(thread_id).deleted
    if end:  # everything in one piece: the store is asked only at the response's end
        hand.wire().send(b"".join(map(frame, EVENTS[CUT:])), END)
        seen = rest(door, stream)
    else:
        started = time.monotonic()
        seen = keeps_talking(door, stream, hand)
        assert time.monotonic() - started < 2
    assert not [name for name in names(seen) if name.startswith("run.") or name == "error"]
    rows = dump(settings)
    assert (rows["runs"], rows["messages"], rows["steps"]) == ([], [], [])
    with pytest.raises(openai.NotFoundError):
        other.beta.threads.retrieve(thread_id)


def test_a_message_that_its_reader_changes_or_deletes(
    door: Door, client: Any, other: Any, hand: ByHand, settings: Settings
) -> None:
    """Metadata that was set in mid-stream stays, and a message that was deleted stays deleted."""
    stream, _, thread_id = begun(door, client, hand)
    messages = other.beta.threads.messages
    [answer, asked] = messages.list(thread_id)
    messages.update(answer.id, thread_id=thread_id, metadata={"k": "v"})
    messages.delete(asked.id, thread_id=thread_id)
    hand.wire().send(*EVENTS[CUT:], END)
    assert rest(door, stream)[-1].event == "thread.run.completed"
    [found] = messages.list(thread_id)
    assert (found.id, found.metadata, found.content[0].text.value) == (answer.id, {"k": "v"}, TEXT)
