"""Streams over upstreams with a mind of their own, and applications that raise in the middle of a read."""

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
    CUT,
    DROP,
    END,
    EVENTS,
    TEXT,
    WHOLE,
    ByHand,
    Json,
    begin,
    begun,
    events,
    eventually,
    following,
    function,
    message,
    names,
    rest,
    said,
    step_statuses,
    text_of,
    whole,
)

# httpx or httpx2, whichever this SDK is built on.
HTTP: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
POST = "POST /responses"


# --- an exception of the application in the middle of a read


class TimeIsUpError(Exception):
    """A time limit that a task queue sets."""


class HardLimit(BaseException):
    """A limit that no `except Exception` may hold back."""


def check_cut(door: Door, client: Any, hand: ByHand, settings: Settings, run_id: str, thread_id: str) -> None:
    """The run has failed at once, with what was said; its connection is closed, and its thread can be used."""
    runs = client.beta.threads.runs
    assert door(runs.retrieve(run_id, thread_id=thread_id)).status == "failed"
    assert said(settings, run_id) == [("incomplete", "One two")]
    assert step_statuses(settings, run_id) == ["failed"]
    eventually(hand.wire().over.is_set, door)
    door(client.beta.threads.messages.create(thread_id, role="user", content="More."))
    assert hand.asked().count(POST) == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such signals")
@pytest.mark.parametrize("trouble", [TimeIsUpError, HardLimit])
def test_a_signal_handler_that_raises_inside_a_read(
    sync: Door, hand: ByHand, settings: Settings, trouble: type[BaseException]
) -> None:
    """A soft time limit: the caller's own exception ends his loop as itself, and the run with it."""
    client = sync.client(hand, settings)
    stream, run_id, thread_id = begun(sync, client, hand)
    assert following(sync, stream).event == "thread.message.delta"

    def handle(*_: object) -> None:
        raise trouble("time limit")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(trouble, match="time limit"):
            following(sync, stream)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    check_cut(sync, client, hand, settings, run_id, thread_id)


def failing(chunk: bytes) -> bytes:
    """The chunk; what comes after the second word does not come."""
    if chunk.startswith(b"event: response.output_text.delta") and b'" three"' in chunk:
        raise TimeIsUpError("time limit")
    return chunk


class Blocking(HTTP.SyncByteStream):  # type: ignore[misc]
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __iter__(self) -> Iterator[bytes]:
        """The inner one's chunks."""
        yield from map(failing, self.inner)

    def close(self) -> None:
        """Close the inner one."""
        self.inner.close()


class Asynchronous(HTTP.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The inner one's chunks."""
        async for chunk in self.inner:
            yield failing(chunk)

    async def aclose(self) -> None:
        """Close the inner one."""
        await self.inner.aclose()


class BlockingTransport(HTTP.HTTPTransport):  # type: ignore[misc]
    def handle_request(self, request: Any) -> Any:
        """The inner answer, with a stream of ours."""
        answer = super().handle_request(request)
        answer.stream = Blocking(answer.stream)
        return answer


class AsynchronousTransport(HTTP.AsyncHTTPTransport):  # type: ignore[misc]
    async def handle_async_request(self, request: Any) -> Any:
        """The inner answer, with a stream of ours."""
        answer = await super().handle_async_request(request)
        answer.stream = Asynchronous(answer.stream)
        return answer


def test_a_transport_of_the_callers_that_raises(door: Door, hand: ByHand, settings: Settings) -> None:
    """What the caller's own transport raises in the middle of an answer reaches the caller as itself."""
    http_client = (
        HTTP.Client(transport=BlockingTransport())
        if door.kind == "sync"
        else HTTP.AsyncClient(transport=AsynchronousTransport())
    )
    client = door.client(hand, settings, http_client=http_client)
    stream, run_id, thread_id = begun(door, client, hand)
    hand.wire().send(EVENTS[CUT])
    with pytest.raises(TimeIsUpError, match="time limit"):
        rest(door, stream)
    check_cut(door, client, hand, settings, run_id, thread_id)


# --- upstreams with a mind of their own


@pytest.mark.parametrize("cut", [1, 4, CUT, len(EVENTS) - 1])
def test_an_upstream_that_begins_again(
    door: Door, hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """A server that ignores `starting_after` tells everything once more: the caller hears it once."""
    monkeypatch.setattr(streaming, "_FIRST_PAUSE", 0.001)
    client = door.client(hand, replace(settings, stream="background"))
    given = events(message(TEXT), background=True)
    hand.plan(*given[:cut], DROP)
    hand.plan(*given, END)
    seen = rest(door, begin(door, client))
    assert names(seen) == WHOLE
    assert text_of(seen) == TEXT
    assert said(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert hand.asked() == [POST, "GET /responses/resp_1"]


def moved(given: list[Json], by: int = 1) -> list[Json]:
    """Events whose items have other places than in the final output: something before them was dropped from that."""
    return [{**each, "output_index": each["output_index"] + by} if "output_index" in each else each for each in given]


def test_a_message_that_has_another_place_in_the_end(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """It is known by its id: told once, stored once."""
    hand.plan(*moved(EVENTS), END)
    seen = rest(door, begin(door, client))
    assert names(seen) == WHOLE
    assert text_of(seen) == TEXT
    assert said(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert step_statuses(settings, seen[-1].data.id) == ["completed"]


def test_items_that_change_places(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """Words and a call, in the final output the other way round: each is told and stored once, and the call waits."""
    given = events(message(TEXT), function())
    final = given[-1]["response"]
    given[-1] = {**given[-1], "response": {**final, "output": final["output"][::-1]}}
    hand.plan(*given, END)
    seen = rest(door, begin(door, client, tools=[FUNCTION]))
    run = seen[-1].data
    assert seen[-1].event == "thread.run.requires_action"
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_1"]
    assert names(seen).count("message.completed") == 1
    assert names(seen).count("run.step.created") == 2
    assert text_of(seen) == TEXT
    assert said(settings, run.id) == [("completed", TEXT)]
    assert step_statuses(settings, run.id) == ["completed", "in_progress"]


READERS: dict[str, Callable[[Door, Any, str, str], Any]] = {
    "loop": lambda door, runs, thread, assistant: rest(
        door, door(runs.create(thread, assistant_id=assistant, stream=True))
    ),
    "helper": lambda door, runs, thread, assistant: whole(door, runs.stream(thread_id=thread, assistant_id=assistant)),
    "lines": lambda door, runs, thread, assistant: lines(
        door, runs.with_streaming_response.create(thread, assistant_id=assistant, stream=True)
    ),
}


def lines(door: Door, manager: Any) -> list[str]:
    """The lines of a raw answer, to its end."""
    if door.kind == "sync":
        with manager as answer:
            return list(answer.iter_lines())

    async def read() -> list[str]:
        async with manager as answer:
            return [line async for line in answer.iter_lines()]

    return list(door(read()))


@pytest.mark.parametrize("reader", READERS)
def test_an_upstream_that_leaves_its_connection_open(
    door: Door, client: Any, hand: ByHand, settings: Settings, reader: str
) -> None:
    """A loop ends at `[DONE]`, although the upstream's connection does not; the thread can be used at once."""
    hand.plan(*EVENTS)
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    started = time.monotonic()
    READERS[reader](door, client.beta.threads.runs, thread.id, assistant.id)
    assert time.monotonic() - started < 2
    [run] = door.all(client.beta.threads.runs.list(thread.id))
    assert run.status == "completed"
    assert said(settings, run.id) == [("completed", TEXT)]
    hand.plan(*EVENTS, END)
    again = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)
    assert names(rest(door, door(again))) == WHOLE
