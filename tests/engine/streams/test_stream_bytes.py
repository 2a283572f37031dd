"""Streams as bytes: raw answers of the SDK, the upstream's bytes in any split, and what nobody knows yet."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.legacy_code import FUNCTION, asked, make_assistant, make_thread
from kit.streams import (
    END,
    PLAIN,
    ByHand,
    begin,
    events,
    frame,
    function,
    message,
    names,
    once,
    rest,
    said,
    text_of,
)

POST = "POST /responses"


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite; one test below names the other store."""
    return sqlite_settings


# --- raw answers


def test_with_streaming_response_gives_the_bytes(door: Door, client: Any) -> None:
    """`read`, `iter_lines` and `iter_bytes` see the service's own frames, from the run to `[DONE]`."""
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
        got = blocking(way) if door.kind == "sync" else door(asynchronous(way))
        frames = [each.split(b"\n") for each in got.strip(b"\n").split(b"\n\n")]
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
    assert once(names(rest(door, stream))) == PLAIN


def test_a_stream_that_the_sdk_does_not_stream_is_read_whole(door: Door, client: Any) -> None:
    """A caller who asks for `stream` in the body alone gets all of it at once."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    body = {"assistant_id": assistant.id, "stream": True}
    text = door(client.post(f"/threads/{thread.id}/runs", body=body, cast_to=str))
    assert text.startswith("event: thread.run.created\n")
    assert text.endswith("event: done\ndata: [DONE]\n\n")
    assert [answer.role for answer in door.all(client.beta.threads.messages.list(thread.id))] == ["assistant", "user"]


# --- bytes


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_upstreams_bytes_may_be_split_anyhow(door: Door, hand: ByHand, settings: Settings, size: int) -> None:
    """Over real HTTP chunks, with a raw U+2028, an emoji and CRLF: the text arrives whole, in compact ASCII frames."""
    words = "Zeile\u2028eins\u2029 😀 \u2013 zwei\r\n\x85drei"
    data = b"".join(frame(event) for event in events(message(words))).replace(b"\n", b"\r\n")
    data = b": a comment\r\n\r\n" + data + b"data: [DONE]\r\n\r\n"
    hand.plan(*(data[start : start + size] for start in range(0, len(data), size)), END)
    client = door.client(hand, settings)
    seen = rest(door, begin(door, client))
    assert text_of(seen) == words
    run = seen[-1].data
    assert said(settings, run.id) == [("completed", words)]


def test_reading_on_after_the_end_starts_nothing(door: Door, client: Any, upstream: StandIn) -> None:
    """The response's stream is one iterator: after `[DONE]` there is nothing, and no second run begins."""
    stream = begin(door, client)
    first = rest(door, stream)
    assert first[-1].event == "thread.run.completed"
    assert rest(door, stream) == []

    async def again() -> list[bytes]:
        return [piece async for piece in stream.response.stream]

    if door.kind == "sync":
        assert list(stream.response.stream) == []
    else:
        assert door(again()) == []
    assert asked(upstream) == [POST]


# --- what nobody knows yet


def test_unknown_events_and_items_pass(door: Door, hand: ByHand, settings: Settings) -> None:
    """Events, items, annotations and parts of next year are passed over; what is known arrives whole, in order."""
    strange: list[Any] = [
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
    first, second, *others = events({"type": "reasoning", "id": "rs", "summary": []}, item)
    item["content"].append({"type": "hologram", "data": "x"})
    hand.plan(first, second, *strange, *others, END)
    client = door.client(hand, settings)
    seen = rest(door, begin(door, client))
    assert once(names(seen)) == PLAIN
    assert said(settings, seen[-1].data.id) == [("completed", "Still here.")]


def test_function_calls_beside_each_other(door: Door, hand: ByHand, settings: Settings) -> None:
    """A text and two calls in one response: the run waits for both, and the message is stored."""
    hand.plan(*events(message("Wait."), function("call_1"), function("call_2")), END)
    hand.plan(*events(message("Done."), id="resp_2"), END)
    client = door.client(hand, settings)
    seen = rest(door, begin(door, client, tools=[FUNCTION]))
    run = seen[-1].data
    assert [call.id for call in run.required_action.submit_tool_outputs.tool_calls] == ["call_1", "call_2"]
    assert said(settings, run.id) == [("completed", "Wait.")]
    outputs = [{"tool_call_id": f"call_{number}", "output": str(number)} for number in (1, 2)]
    runs = client.beta.threads.runs
    seen = rest(
        door, door(runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True))
    )
    assert seen[-1].data.status == "completed"
    assert said(settings, run.id) == [("completed", "Wait."), ("completed", "Done.")]
    assert [each["json"].get("previous_response_id") for each in hand.requests] == [None, "resp_1"]
