"""A streamed run stays correct while others poll, cancel or delete it, and when it expires."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.runs import refresh
from assistants_compat.engine.runs import stream as streaming
from kit.doors import Door
from kit.legacy_code import dump_store, retrieve_run
from kit.streams import (
    CUT,
    END,
    EVENTS,
    TEXT,
    ManualUpstream,
    event_names,
    eventually,
    frame,
    next_event,
    read_rest,
    read_until,
    read_while_sending,
    start_partial_stream,
    stored_messages,
    stored_run,
    wait_until_ended,
)

POST = "POST /responses"


@pytest.fixture
def client(door: Door, hand: ManualUpstream, settings: Settings) -> Any:
    """A wrapped client of the door's kind, on both databases, because these tests are about concurrent writes."""
    return door.client(hand, settings)


def test_polls_show_a_streamed_run_without_upstream_requests(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Polls and lists show a streamed run as far as it came, and send nothing upstream."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    runs = other.beta.threads.runs
    assert runs.retrieve(run_id, thread_id=thread_id).status == "in_progress"
    assert [run.status for run in runs.list(thread_id)] == ["in_progress"]
    [step] = runs.steps.list(run_id, thread_id=thread_id)
    assert (step.status, step.type) == ("in_progress", "message_creation")
    [answer, _] = other.beta.threads.messages.list(thread_id)
    assert (answer.status, answer.role, answer.completed_at) == ("in_progress", "assistant", None)
    assert answer.id == step.step_details.message_creation.message_id
    assert hand.calls() == [POST]
    hand.stream().send(*EVENTS[CUT:], END)
    assert read_rest(door, stream)[-1].event == "thread.run.completed"
    assert hand.calls() == [POST]


def test_a_streamed_text_is_saved_at_intervals(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message in progress can be read up to the last save."""
    monkeypatch.setattr(streaming, "_SAVE_INTERVAL_SECONDS", 0.0)
    stream, run_id, _ = start_partial_stream(door, client, hand)
    read_until(door, stream, "thread.message.delta")
    eventually(lambda: stored_messages(settings, run_id) == [("in_progress", "One two")], door)
    hand.stream().send(EVENTS[CUT])
    read_until(door, stream, "thread.message.delta")
    eventually(lambda: stored_messages(settings, run_id) == [("in_progress", "One two three")], door)
    hand.stream().send(*EVENTS[CUT + 1 :], END)
    read_rest(door, stream)
    assert stored_messages(settings, run_id) == [("completed", TEXT)]


def test_the_thread_of_a_streamed_run_is_locked(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A message, run or output during a stream is refused with the service's 400, and leaves nothing."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    before = dump_store(settings)
    threads = other.beta.threads
    assistant_id = stored_run(settings, run_id)["assistant_id"]
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
    for text, functions in calls.items():
        for call in functions:
            with pytest.raises(openai.BadRequestError) as caught:
                call()
            assert caught.value.response.json()["error"] == {
                "message": text,
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
    after = dump_store(settings)
    for rows in (before, after):
        rows["runs"][0].pop("lease_until")
    assert after == before
    assert hand.calls() == [POST]
    hand.stream().send(*EVENTS[CUT:], END)
    assert read_rest(door, stream)[-1].event == "thread.run.completed"


@pytest.mark.parametrize("is_polled", [False, True])
def test_a_cancel_by_another_client_ends_the_stream(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings, *, is_polled: bool
) -> None:
    """A cancel by another client ends the stream within two seconds, and its text equals the stored text."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    next_event(door, stream)  # the second word is streamed and not stored yet
    run = other.beta.threads.runs.cancel(run_id, thread_id=thread_id)
    assert run.status == "cancelling"
    if is_polled:  # the run has a reader, which ends it
        assert other.beta.threads.runs.retrieve(run_id, thread_id=thread_id).status == "cancelling"
    started = time.monotonic()
    seen = read_while_sending(door, stream, hand)
    assert time.monotonic() - started < 2
    assert event_names(seen)[-3:] == ["message.incomplete", "run.step.cancelled", "run.cancelled"]
    eventually(hand.stream().gone.is_set, door)
    incomplete = seen[-3].data
    assert incomplete.incomplete_details.reason == "run_cancelled"
    assert incomplete.content == door(client.beta.threads.messages.retrieve(incomplete.id, thread_id=thread_id)).content
    [(status, text)] = stored_messages(settings, run_id)
    assert (status, text[:7]) == ("incomplete", "One two")
    wait_until_ended(settings, run_id, door, "cancelled")
    door(client.beta.threads.messages.create(thread_id, role="user", content="More."))
    assert hand.calls() == [POST]


def test_a_run_can_be_cancelled_after_its_stream_is_closed(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A run whose consumer closed the stream can still be cancelled."""
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    door(stream.close())
    other.beta.threads.runs.cancel(run_id, thread_id=thread_id)
    started = time.monotonic()

    def send_and_check() -> bool:
        hand.stream().send(EVENTS[CUT])
        return hand.stream().gone.is_set()

    eventually(send_and_check, door)
    assert time.monotonic() - started < 3
    runs = other.beta.threads.runs
    eventually(lambda: runs.retrieve(run_id, thread_id=thread_id).status == "cancelled", door)
    assert [status for status, _ in stored_messages(settings, run_id)] == ["incomplete"]


@pytest.mark.parametrize("is_polled", [False, True])
def test_a_run_that_expires_ends_its_stream(
    door: Door, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_polled: bool
) -> None:
    """A run that reaches its time during a stream expires, in the stream as for every poll."""
    monkeypatch.setattr(streaming, "_SAVE_INTERVAL_SECONDS", 0.2)
    client = door.client(hand, replace(settings, run_ttl=1))
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    if is_polled:  # its reader hears nothing, so a poll ends the run at last
        monkeypatch.setattr(refresh, "_READER_SECONDS", 0)
        eventually(lambda: door(client.beta.threads.runs.retrieve(run_id, thread_id=thread_id)).status == "expired")
    seen = read_while_sending(door, stream, hand)
    assert event_names(seen)[-3:] == ["message.incomplete", "run.step.expired", "run.expired"]
    assert seen[-3].data.incomplete_details.reason == "run_expired"
    assert retrieve_run(door, client, seen[-1].data).status == "expired"
    row = wait_until_ended(settings, run_id, door, "expired")
    assert row["body"]["expires_at"] is None
    assert [status for status, _ in stored_messages(settings, run_id)] == ["incomplete"]
    eventually(hand.stream().gone.is_set, door)


@pytest.mark.parametrize("is_at_end", [False, True])
def test_a_stream_ends_if_its_thread_is_deleted(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings, *, is_at_end: bool
) -> None:
    """If the thread is deleted, the stream ends without an error and writes nothing more."""
    stream, _, thread_id = start_partial_stream(door, client, hand)
    assert other.beta.threads.delete(thread_id).deleted
    if is_at_end:  # in one piece, so that the store is used only at the response's end
        hand.stream().send(b"".join(map(frame, EVENTS[CUT:])), END)
        seen = read_rest(door, stream)
    else:
        started = time.monotonic()
        seen = read_while_sending(door, stream, hand)
        assert time.monotonic() - started < 2
    assert not [name for name in event_names(seen) if name.startswith("run.") or name == "error"]
    rows = dump_store(settings)
    assert (rows["runs"], rows["messages"], rows["steps"]) == ([], [], [])
    with pytest.raises(openai.NotFoundError):
        other.beta.threads.retrieve(thread_id)


def test_changes_to_messages_during_a_stream_are_kept(
    door: Door, client: Any, other: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Metadata set during the stream is kept, and a message deleted during it stays deleted."""
    stream, _, thread_id = start_partial_stream(door, client, hand)
    messages = other.beta.threads.messages
    [answer, question] = messages.list(thread_id)
    messages.update(answer.id, thread_id=thread_id, metadata={"k": "v"})
    messages.delete(question.id, thread_id=thread_id)
    hand.stream().send(*EVENTS[CUT:], END)
    assert read_rest(door, stream)[-1].event == "thread.run.completed"
    [listed] = messages.list(thread_id)
    assert (listed.id, listed.metadata, listed.content[0].text.value) == (answer.id, {"k": "v"}, TEXT)
