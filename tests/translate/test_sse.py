"""Server-sent events, for any split of the bytes and any way to write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assistants_compat.translate.sse import DONE, Decoder, Words, encoded

Json = dict[str, Any]

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(
    alphabet="\u2028\u2029\x85😀\r\n:", max_size=5
)
events = st.fixed_dictionaries({"type": st.sampled_from(["response.created", "error", "a"])}, optional={"delta": texts})
noise = st.sampled_from(
    [b"", b": ping", b"id: 7", b"retry: 10", b"data", b"data: [DONE]", b"data: {", b"data: [1]", b"x"]
)


def decoded(raw: bytes, cuts: list[int]) -> list[Json]:
    """The events of these bytes, fed in pieces."""
    decoder, found, done = Decoder(), [], 0
    for cut in [*sorted(min(cut, len(raw)) for cut in cuts), len(raw)]:
        found += decoder.feed(raw[done:cut])
        done = cut
    return found


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Json], bytes]:
    """Events, and one way to write them: line ends, spaces, comments, data over several lines, raw U+2028."""
    told = draw(st.lists(events, max_size=5))
    lines: list[bytes] = []
    for event in told:
        lines += [draw(noise), b""]
        text = json.dumps(event, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1)))
        space = draw(st.sampled_from([b"", b" "]))
        block = [b"data:" + space + line.encode() for line in text.split("\n")]
        block += draw(st.lists(st.sampled_from([b": ping", b"id: 1", b"event: " + event["type"].encode()]), max_size=2))
        lines += [*block, b""]
    ends = draw(st.sampled_from([(b"\n",), (b"\r\n",), (b"\r",), (b"\n", b"\r\n")]))
    raw = b"".join(line + draw(st.sampled_from(ends)) for line in lines)
    return told, raw + (b": end\n" if ends == (b"\r",) else b"")  # the feed after a last return may still come


@given(streams(), st.lists(st.integers(0, 300), max_size=6))
@example(([{"type": "a"}], b'data: {"type":"a"}\r\n\r\n'), [19, 20, 21])
@example(([{"type": "a", "delta": "\u2028"}], 'data: {"type":"a","delta":"\u2028"}\n\n'.encode()), [28, 29])
def test_any_split_of_the_bytes_gives_the_events(stream: tuple[list[Json], bytes], cuts: list[int]) -> None:
    """The bytes may come in any pieces, with any line end and anything between: the events are all there, in order."""
    told, raw = stream
    assert decoded(raw, cuts) == told


@given(streams())
def test_single_bytes_are_enough(stream: tuple[list[Json], bytes]) -> None:
    """One byte at a time, as a slow network sends them."""
    told, raw = stream
    assert decoded(raw, list(range(len(raw)))) == told


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=4))
@example(b"data: \xff\n\n", [])
@example(b'data: {"type": 1}\n\nevent: \xff\ndata: {}\n\n', [])
@example(b"data: " + b"[" * 60 + b"\n\n", [])
def test_no_bytes_break_the_decoder(raw: bytes, cuts: list[int]) -> None:
    """Whatever comes, there is an object with a type or nothing."""
    assert all(isinstance(event["type"], str) for event in decoded(raw, cuts))


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (b'event: response.failed\ndata: {"a": 1}\n\n', {"a": 1, "type": "response.failed"}),
        (b'event: error\ndata: {"type": "server_error"}\n\n', {"type": "error"}),
        (
            b'event: error\ndata: {"type": "response.failed", "response": {}}\n\n',
            {"type": "response.failed", "response": {}},
        ),
        (b'data: {"a": 1}\n\n', {"a": 1, "type": ""}),
    ],
)
def test_an_event_has_its_type_from_its_data_or_its_name(raw: bytes, event: Json) -> None:
    """Some servers name an event in the `event` field alone; an error's own type is another word for its code."""
    assert Decoder().feed(raw) == [event]


def test_an_event_that_is_not_finished_is_not_told() -> None:
    """A connection that is lost in the middle of an event leaves the events before it."""
    assert Decoder().feed(b'data: {"type": "a"}\n\ndata: {"type": "b"}\n') == [{"type": "a"}]


payloads = st.dictionaries(st.text(max_size=3), texts | st.integers() | st.none(), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["thread.run.created", "thread.message.delta"]), payloads), max_size=4))
def test_what_is_written_is_compact_ascii_that_any_reader_splits_alike(told: list[tuple[str, Json]]) -> None:
    """A reader of text lines (older SDKs) and one of bytes see the same frames: name, data, blank line."""
    raw = encoded([*told, DONE])
    assert raw.isascii()
    assert raw.decode().splitlines() == [line.decode() for line in raw.split(b"\n")[:-1]]
    frames = [frame.split("\n") for frame in raw.decode().split("\n\n")]
    assert frames.pop() == [""]
    assert frames.pop() == ["event: done", "data: [DONE]"]
    assert [(name, json.loads(data.removeprefix("data: "))) for name, data in frames] == [
        (f"event: {name}", data) for name, data in told
    ]
    for (_, data), (_, sent) in zip(frames, told, strict=True):
        assert data == "data: " + json.dumps(sent, separators=(",", ":"))


@given(st.text(st.characters(categories=["L", "N"], max_codepoint=0x7F)), st.integers(0, 30), st.text())
def test_a_piece_of_a_text_is_written_as_any_other_data(message_id: str, index: int, value: str) -> None:
    """The short way of writing it gives the bytes of the long one."""
    words = Words(f"msg_{message_id}", index, value)
    assert encoded([("thread.message.delta", words)]) == encoded([("thread.message.delta", dict(words))])
