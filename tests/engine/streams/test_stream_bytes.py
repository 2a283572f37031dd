"""Streams are correct as bytes: raw answers, any split of the upstream's bytes, and unknown events."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.legacy_code import FUNCTION, make_assistant, make_thread, upstream_calls
from kit.streams import (
    END,
    PLAIN_EVENT_NAMES,
    ManualUpstream,
    event_names,
    events,
    frame,
    function,
    message,
    read_rest,
    start_stream,
    stored_messages,
    text_of,
    without_repeats,
)

POST = "POST /responses"


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


# --- raw answers


def test_with_streaming_response_gives_the_bytes(door: Door, client: Any) -> None:
    """`read`, `iter_lines` and `iter_bytes` give the service's frames, from the run to `[DONE]`."""
    assistant = make_assistant(door, client)
    create = client.beta.threads.runs.with_streaming_response.create

    def blocking(way: str) -> bytes:
        thread = make_thread(door, client)
        with create(thread.id, assistant_id=assistant.id, stream=True) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["x-request-id"].startswith("req_")
            if way == "read":
                return bytes(answer.read())
            if way == "iter_lines":
                return "\n".join(answer.iter_lines()).encode() + b"\n\n"
            return b"".join(answer.iter_bytes(7))

    async def asynchronous(way: str) -> bytes:
        thread = await client.beta.threads.create(messages=[{"role": "user", "content": "Hello."}])
        async with create(thread.id, assistant_id=assistant.id, stream=True) as answer:
            if way == "read":
                return bytes(await answer.read())
            if way == "iter_lines":
                return "\n".join([line async for line in answer.iter_lines()]).encode() + b"\n\n"
            return b"".join([piece async for piece in answer.iter_bytes(7)])

    for way in ("read", "iter_lines", "iter_bytes"):
        content = blocking(way) if door.kind == "sync" else door(asynchronous(way))
        frames = [raw_frame.split(b"\n") for raw_frame in content.strip(b"\n").split(b"\n\n")]
        assert all(len(lines) == 2 and lines[0].startswith(b"event: ") for lines in frames)
        assert frames[0][0] == b"event: thread.run.created"
        assert frames[-1] == [b"event: done", b"data: [DONE]"]
        completed = json.loads(frames[-2][1].removeprefix(b"data: "))
        assert (completed["object"], completed["status"]) == ("thread.run", "completed")
        assert completed["tool_resources"] == {"code_interpreter": {"file_ids": []}}
        assert b": " not in frames[-2][1].removeprefix(b"data: ").replace(b"null", b"").split(b'"instructions"')[0]


def test_with_raw_response_parses_to_the_stream(door: Door, client: Any) -> None:
    """`with_raw_response.create(stream=True).parse()` is the stream that `create` gives."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    create = client.beta.threads.runs.with_raw_response.create
    answer = door(create(thread.id, assistant_id=assistant.id, stream=True))
    stream = answer.parse()
    if inspect.isawaitable(stream):
        stream = door(stream)
    assert without_repeats(event_names(read_rest(door, stream))) == PLAIN_EVENT_NAMES


def test_a_stream_requested_in_the_body_alone_is_one_answer(door: Door, client: Any) -> None:
    """A caller who sets `stream` only in the body gets the whole stream as one answer."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    body = {"assistant_id": assistant.id, "stream": True}
    text = door(client.post(f"/threads/{thread.id}/runs", body=body, cast_to=str))
    assert text.startswith("event: thread.run.created\n")
    assert text.endswith("event: done\ndata: [DONE]\n\n")
    assert [answer.role for answer in door.all(client.beta.threads.messages.list(thread.id))] == ["assistant", "user"]


# --- bytes


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_upstreams_bytes_may_be_split_anyhow(
    door: Door, hand: ManualUpstream, settings: Settings, size: int
) -> None:
    """The text arrives complete however the upstream's bytes are split, with U+2028, an emoji and CRLF in it."""
    text = "Zeile\u2028eins\u2029 😀 \u2013 zwei\r\n\x85drei"
    data = b"".join(frame(event) for event in events(message(text))).replace(b"\n", b"\r\n")
    data = b": a comment\r\n\r\n" + data + b"data: [DONE]\r\n\r\n"
    hand.plan(*(data[start : start + size] for start in range(0, len(data), size)), END)
    client = door.client(hand, settings)
    seen = read_rest(door, start_stream(door, client))
    assert text_of(seen) == text
    run = seen[-1].data
    assert stored_messages(settings, run.id) == [("completed", text)]


def test_reading_on_after_the_end_starts_nothing(door: Door, client: Any, upstream: StandIn) -> None:
    """Reading the stream or its response after `[DONE]` gives nothing and starts no second run."""
    stream = start_stream(door, client)
    first = read_rest(door, stream)
    assert first[-1].event == "thread.run.completed"
    assert read_rest(door, stream) == []

    async def read_again() -> list[bytes]:
        return [piece async for piece in stream.response.stream]

    if door.kind == "sync":
        assert list(stream.response.stream) == []
    else:
        assert door(read_again()) == []
    assert upstream_calls(upstream) == [POST]


# --- unknown events and parallel items


def test_unknown_events_and_items_are_skipped(door: Door, hand: ManualUpstream, settings: Settings) -> None:
    """Unknown events, items, annotations and parts are skipped, and known ones arrive completely and in order."""
    unknown: list[Any] = [
        {"type": "response.telepathy.delta", "delta": "..", "output_index": 0, "sequence_number": 2},
        {"type": "response.output_item.added", "item": {"type": "mcp_list_tools", "id": "m"}, "output_index": 0},
        {"type": "response.mcp_call_arguments.delta", "delta": "{", "output_index": 0},
        {"type": "response.output_item.done", "item": {"type": "mcp_list_tools", "id": "m"}, "output_index": 0},
        {"type": "response.output_item.added", "item": {"type": "web_search_call", "id": "w"}, "output_index": 1},
        {"type": "response.output_item.done", "item": None, "output_index": 1},
        b"event: ping\ndata: \n\n",
        b'data: {"no": "type"}\n\n',
        b"data: [1, 2]\n\ndata: nonsense\n\n",
        {"type": "keepalive"},
    ]
    item = message("Still here.")
    item["content"][0]["annotations"] = [{"type": "url_citation", "url": "u", "start_index": 0, "end_index": 5}]
    first, second, *rest = events({"type": "reasoning", "id": "rs", "summary": []}, item)
    item["content"].append({"type": "hologram", "data": "x"})
    hand.plan(first, second, *unknown, *rest, END)
    client = door.client(hand, settings)
    seen = read_rest(door, start_stream(door, client))
    assert without_repeats(event_names(seen)) == PLAIN_EVENT_NAMES
    assert stored_messages(settings, seen[-1].data.id) == [("completed", "Still here.")]


def test_a_text_and_two_calls_in_one_response(door: Door, hand: ManualUpstream, settings: Settings) -> None:
    """A response with a text and two calls stores the message, and the run waits for both outputs."""
    hand.plan(*events(message("Wait."), function("call_1"), function("call_2")), END)
    hand.plan(*events(message("Done."), id="resp_2"), END)
    client = door.client(hand, settings)
    seen = read_rest(door, start_stream(door, client, tools=[FUNCTION]))
    run = seen[-1].data
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_1", "call_2"]
    assert stored_messages(settings, run.id) == [("completed", "Wait.")]
    outputs = [{"tool_call_id": f"call_{number}", "output": str(number)} for number in (1, 2)]
    runs = client.beta.threads.runs
    seen = read_rest(
        door, door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True))
    )
    assert seen[-1].data.status == "completed"
    assert stored_messages(settings, run.id) == [("completed", "Wait."), ("completed", "Done.")]
    assert [request["json"].get("previous_response_id") for request in hand.requests] == [None, "resp_1"]
