"""Streams work over upstreams with unusual behaviour, and end properly when the application raises during a read."""

from __future__ import annotations

import importlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.runs import stream as streaming
from kit.doors import Door
from kit.legacy_code import FUNCTION, make_assistant, make_thread
from kit.streams import (
    ALL_EVENT_NAMES,
    CUT,
    DROP,
    END,
    EVENTS,
    TEXT,
    Json,
    ManualUpstream,
    event_names,
    events,
    eventually,
    finish_helper,
    function,
    message,
    next_event,
    read_rest,
    start_partial_stream,
    start_stream,
    step_statuses,
    stored_messages,
    text_of,
)

# httpx or httpx2, whichever this SDK is built on.
HTTP: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
POST = "POST /responses"


# --- an exception of the application in the middle of a read


class TimeIsUpError(Exception):
    """Raised for a soft time limit, as task queues set one."""


class HardLimit(BaseException):
    """Raised for a limit that `except Exception` must not catch."""


def check_run_failed_at_once(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, run_id: str, thread_id: str
) -> None:
    """Check that the run failed with its text so far, its connection is closed, and its thread is usable."""
    runs = client.beta.threads.runs
    assert door(runs.retrieve(run_id, thread_id=thread_id)).status == "failed"
    assert stored_messages(settings, run_id) == [("incomplete", "One two")]
    assert step_statuses(settings, run_id) == ["failed"]
    eventually(hand.stream().over.is_set, door)
    door(client.beta.threads.messages.create(thread_id, role="user", content="More."))
    assert hand.calls().count(POST) == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such signals")
@pytest.mark.parametrize("exception", [TimeIsUpError, HardLimit])
def test_an_exception_of_a_signal_handler_fails_the_run(
    sync: Door, hand: ManualUpstream, settings: Settings, exception: type[BaseException]
) -> None:
    """An exception that a signal handler raises during a read reaches the caller unchanged and fails the run."""
    client = sync.client(hand, settings)
    stream, run_id, thread_id = start_partial_stream(sync, client, hand)
    assert next_event(sync, stream).event == "thread.message.delta"

    def handle(*_: object) -> None:
        raise exception("time limit")

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(exception, match="time limit"):
            next_event(sync, stream)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    check_run_failed_at_once(sync, client, hand, settings, run_id, thread_id)


def raise_at_third_word(chunk: bytes) -> bytes:
    """Return the chunk, or raise if it has the third word."""
    if chunk.startswith(b"event: response.output_text.delta") and b'" three"' in chunk:
        raise TimeIsUpError("time limit")
    return chunk


class RaisingStream(HTTP.SyncByteStream):  # type: ignore[misc]
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __iter__(self) -> Iterator[bytes]:
        """Yield the inner stream's chunks."""
        yield from map(raise_at_third_word, self.inner)

    def close(self) -> None:
        """Close the inner stream."""
        self.inner.close()


class AsyncRaisingStream(HTTP.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the inner stream's chunks."""
        async for chunk in self.inner:
            yield raise_at_third_word(chunk)

    async def aclose(self) -> None:
        """Close the inner stream."""
        await self.inner.aclose()


class RaisingTransport(HTTP.HTTPTransport):  # type: ignore[misc]
    def handle_request(self, request: Any) -> Any:
        """Return the answer with a stream that raises."""
        answer = super().handle_request(request)
        answer.stream = RaisingStream(answer.stream)
        return answer


class AsyncRaisingTransport(HTTP.AsyncHTTPTransport):  # type: ignore[misc]
    async def handle_async_request(self, request: Any) -> Any:
        """Return the answer with a stream that raises."""
        answer = await super().handle_async_request(request)
        answer.stream = AsyncRaisingStream(answer.stream)
        return answer


def test_an_exception_of_the_callers_transport_fails_the_run(
    door: Door, hand: ManualUpstream, settings: Settings
) -> None:
    """An exception of the caller's transport during an answer reaches the caller unchanged and fails the run."""
    http_client = (
        HTTP.Client(transport=RaisingTransport())
        if door.kind == "sync"
        else HTTP.AsyncClient(transport=AsyncRaisingTransport())
    )
    client = door.client(hand, settings, http_client=http_client)
    stream, run_id, thread_id = start_partial_stream(door, client, hand)
    hand.stream().send(EVENTS[CUT])
    with pytest.raises(TimeIsUpError, match="time limit"):
        read_rest(door, stream)
    check_run_failed_at_once(door, client, hand, settings, run_id, thread_id)


# --- upstreams with unusual behaviour


@pytest.mark.parametrize("cut", [1, 4, CUT, len(EVENTS) - 1])
def test_repeated_events_are_streamed_once(
    door: Door, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """If the upstream ignores `starting_after` and repeats all events, the caller gets each event once."""
    monkeypatch.setattr(streaming, "_FIRST_PAUSE_SECONDS", 0.001)
    client = door.client(hand, replace(settings, stream="background"))
    upstream_events = events(message(TEXT), background=True)
    hand.plan(*upstream_events[:cut], DROP)
    hand.plan(*upstream_events, END)
    seen = read_rest(door, start_stream(door, client))
    assert event_names(seen) == ALL_EVENT_NAMES
    assert text_of(seen) == TEXT
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert hand.calls() == [POST, "GET /responses/resp_1"]


def with_shifted_indexes(upstream_events: list[Json], by: int = 1) -> list[Json]:
    """Return events whose `output_index` differs from the place in the final output, which omits an earlier item."""
    return [
        {**event, "output_index": event["output_index"] + by} if "output_index" in event else event
        for event in upstream_events
    ]


def test_a_message_with_another_index_in_the_final_output_is_stored_once(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A message whose index differs in the final output is recognised by its id: streamed once, stored once."""
    hand.plan(*with_shifted_indexes(EVENTS), END)
    seen = read_rest(door, start_stream(door, client))
    assert event_names(seen) == ALL_EVENT_NAMES
    assert text_of(seen) == TEXT
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert step_statuses(settings, seen[-1].data.id) == ["completed"]


def test_items_in_another_order_in_the_final_output_are_stored_once(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """Items in another order in the final output are streamed and stored once each, and the call waits."""
    upstream_events = events(message(TEXT), function())
    final = upstream_events[-1]["response"]
    upstream_events[-1] = {**upstream_events[-1], "response": {**final, "output": final["output"][::-1]}}
    hand.plan(*upstream_events, END)
    seen = read_rest(door, start_stream(door, client, tools=[FUNCTION]))
    run = seen[-1].data
    assert seen[-1].event == "thread.run.requires_action"
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_1"]
    assert event_names(seen).count("message.completed") == 1
    assert event_names(seen).count("run.step.created") == 2
    assert text_of(seen) == TEXT
    assert stored_messages(settings, run.id) == [("completed", TEXT)]
    assert step_statuses(settings, run.id) == ["completed", "in_progress"]


READERS: dict[str, Callable[[Door, Any, str, str], Any]] = {
    "loop": lambda door, runs, thread, assistant: read_rest(
        door, door(runs.create(thread, assistant_id=assistant, stream=True))
    ),
    "helper": lambda door, runs, thread, assistant: finish_helper(
        door, runs.stream(thread_id=thread, assistant_id=assistant)
    ),
    "lines": lambda door, runs, thread, assistant: read_lines(
        door, runs.with_streaming_response.create(thread, assistant_id=assistant, stream=True)
    ),
}


def read_lines(door: Door, manager: Any) -> list[str]:
    """Return all lines of a raw answer."""
    if door.kind == "sync":
        with manager as answer:
            return list(answer.iter_lines())

    async def read() -> list[str]:
        async with manager as answer:
            return [line async for line in answer.iter_lines()]

    return list(door(read()))


@pytest.mark.parametrize("reader", READERS)
def test_a_stream_ends_although_the_upstreams_connection_stays_open(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, reader: str
) -> None:
    """A stream ends at `[DONE]` although the upstream's connection stays open, and the thread is usable at once."""
    hand.plan(*EVENTS)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    started = time.monotonic()
    READERS[reader](door, client.beta.threads.runs, thread.id, assistant.id)
    assert time.monotonic() - started < 2
    [run] = door.all(client.beta.threads.runs.list(thread.id))
    assert run.status == "completed"
    assert stored_messages(settings, run.id) == [("completed", TEXT)]
    hand.plan(*EVENTS, END)
    creation = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)
    assert event_names(read_rest(door, door(creation))) == ALL_EVENT_NAMES
