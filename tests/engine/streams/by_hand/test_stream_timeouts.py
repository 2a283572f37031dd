"""A caller's own read timeout reaches the caller, and the run goes on if it runs in the background."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.doors.sdk_internals import http_library
from kit.doors import Door
from kit.legacy_code import make_assistant, make_thread, retrieve_run
from kit.streams import (
    CUT,
    EVENTS,
    TEXT,
    ManualUpstream,
    event_names,
    events,
    eventually,
    finish_helper,
    make_handler,
    message,
    read_rest,
    start_stream,
    stored_messages,
    text_of,
)

POST, GET = "POST /responses", "GET /responses/resp_1"
BACKGROUND_EVENTS = events(message(TEXT), background=True)
TIMEOUT = 0.4  # seconds


def helper_with_timeout(door: Door, client: Any, handler: Any) -> Any:
    """Return the SDK's stream helper of a new run, read with a short timeout of the caller's."""
    ids = {"thread_id": make_thread(door, client).id, "assistant_id": make_assistant(door, client).id}
    return client.with_options(timeout=TIMEOUT).beta.threads.runs.stream(**ids, event_handler=handler)


def check_callbacks(handler: Any, caught: BaseException) -> Any:
    """Check that the handler was told of the timeout; return the run that it was told of."""
    names = [name for name, _ in handler.calls]
    assert names[-3:] == ["on_timeout", "on_exception", "on_end"]
    [(_, told)] = [call for call in handler.calls if call[0] == "on_exception"]
    assert told is caught
    return next(event.data for name, event in handler.calls if name == "on_event")


def test_a_read_timeout_reaches_the_event_handler(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """The handler's `on_timeout` and `on_exception` are called; the run fails, because its connection is gone."""
    hand.plan(*EVENTS[:CUT])
    handler = make_handler(door)
    with pytest.raises(http_library().ReadTimeout) as caught:
        finish_helper(door, helper_with_timeout(door, client, handler))
    run = check_callbacks(handler, caught.value)
    polled = retrieve_run(door, client, run)
    assert (polled.status, polled.last_error.code) == ("failed", "server_error")
    assert stored_messages(settings, run.id) == [("incomplete", "One two")]
    assert hand.calls() == [POST, GET]
    eventually(hand.stream().gone.is_set, door)


def test_a_background_run_goes_on_after_a_read_timeout(door: Door, hand: ManualUpstream, settings: Settings) -> None:
    """A run in the background completes after its reader's timeout, with the message that was streamed."""
    client = door.client(hand, replace(settings, stream="background"))
    hand.plan(*BACKGROUND_EVENTS[: CUT + 1])
    handler = make_handler(door)
    with pytest.raises(http_library().ReadTimeout) as caught:
        finish_helper(door, helper_with_timeout(door, client, handler))
    run = check_callbacks(handler, caught.value)
    hand.known["resp_1"] = {**BACKGROUND_EVENTS[-1]["response"], "status": "in_progress", "output": []}
    assert retrieve_run(door, client, run).status == "in_progress"
    hand.known["resp_1"] = BACKGROUND_EVENTS[-1]["response"]
    assert retrieve_run(door, client, run).status == "completed"
    assert stored_messages(settings, run.id) == [("completed", TEXT)]
    [created] = [argument for name, argument in handler.calls if name == "on_message_created"]
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.id == created.id


def test_a_response_that_ended_before_the_timeout_is_sent(door: Door, client: Any, hand: ManualUpstream) -> None:
    """If the response has ended although its events did not arrive, the stream ends as the response did."""
    hand.plan(*EVENTS[:CUT])
    hand.known["resp_1"] = EVENTS[-1]["response"]
    seen = read_rest(door, start_stream(door, client.with_options(timeout=TIMEOUT)))
    assert (event_names(seen)[-1], text_of(seen)) == ("run.completed", TEXT)
