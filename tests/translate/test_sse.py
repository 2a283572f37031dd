"""Server-sent events are decoded for any split of the bytes and any way to write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assistants_compat.translate.sse import DONE, Decoder, TextDelta, encode_events

Json = dict[str, Any]

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(
    alphabet="\u2028\u2029\x85😀\r\n:", max_size=5
)
events = st.fixed_dictionaries({"type": st.sampled_from(["response.created", "error", "a"])}, optional={"delta": texts})
noise = st.sampled_from(
    [b"", b": ping", b"id: 7", b"retry: 10", b"data", b"data: [DONE]", b"data: {", b"data: [1]", b"x"]
)


def decode(raw: bytes, cuts: list[int]) -> list[Json]:
    """Decode these bytes, fed in pieces, and return the events."""
    decoder, found, start = Decoder(), [], 0
    for cut in [*sorted(min(cut, len(raw)) for cut in cuts), len(raw)]:
        found += decoder.feed(raw[start:cut])
        start = cut
    return found


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Json], bytes]:
    """Make events, and one way to write them: line ends, spaces, comments, data over several lines, raw U+2028."""
    written = draw(st.lists(events, max_size=5))
    lines: list[bytes] = []
    for event in written:
        lines += [draw(noise), b""]
        text = json.dumps(event, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1)))
        space = draw(st.sampled_from([b"", b" "]))
        block = [b"data:" + space + line.encode() for line in text.split("\n")]
        block += draw(st.lists(st.sampled_from([b": ping", b"id: 1", b"event: " + event["type"].encode()]), max_size=2))
        lines += [*block, b""]
    ends = draw(st.sampled_from([(b"\n",), (b"\r\n",), (b"\r",), (b"\n", b"\r\n")]))
    raw = b"".join(line + draw(st.sampled_from(ends)) for line in lines)
    return written, raw + (b": end\n" if ends == (b"\r",) else b"")  # a "\n" could still follow a final "\r"


@given(streams(), st.lists(st.integers(0, 300), max_size=6))
@example(([{"type": "a"}], b'data: {"type":"a"}\r\n\r\n'), [19, 20, 21])
@example(([{"type": "a", "delta": "\u2028"}], 'data: {"type":"a","delta":"\u2028"}\n\n'.encode()), [28, 29])
def test_any_split_of_the_bytes_gives_the_events(stream: tuple[list[Json], bytes], cuts: list[int]) -> None:
    """A stream gives the same events in order, however its bytes are split and its lines end."""
    expected, raw = stream
    assert decode(raw, cuts) == expected


@given(streams())
def test_single_bytes_give_the_events(stream: tuple[list[Json], bytes]) -> None:
    """A stream that arrives one byte at a time gives the same events."""
    expected, raw = stream
    assert decode(raw, list(range(len(raw)))) == expected


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=4))
@example(b"data: \xff\n\n", [])
@example(b'data: {"type": 1}\n\nevent: \xff\ndata: {}\n\n', [])
@example(b"data: " + b"[" * 60 + b"\n\n", [])
def test_no_bytes_break_the_decoder(raw: bytes, cuts: list[int]) -> None:
    """Any bytes give events with a type, or nothing."""
    assert all(isinstance(event["type"], str) for event in decode(raw, cuts))


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
        (b'data: {"error": {"message": "No."}}\n\n', {"error": {"message": "No."}, "type": "error"}),
        (b'event: message\ndata: {"error": "No."}\n\n', {"error": "No.", "type": "error"}),
        (b'event: response.failed\ndata: {"error": "No."}\n\n', {"error": "No.", "type": "response.failed"}),
        (b'data: {"error": null}\n\n', {"error": None, "type": ""}),
    ],
)
def test_an_event_has_its_type_from_its_data_or_its_name(raw: bytes, event: Json) -> None:
    """An event's type comes from its data, or from its `event` field if the data has none or only an error's code."""
    assert Decoder().feed(raw) == [event]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_a_last_event_without_its_blank_line_is_read_at_the_end(end: bytes) -> None:
    """The end of a stream also ends its last event; one that was cut within its data is dropped."""
    decoder = Decoder()
    assert decoder.feed(b'data: {"type": "a"}' + end) == []
    assert decoder.end() == [{"type": "a"}]
    assert Decoder().end() == []
    cut = Decoder()
    cut.feed(b'data: {"type": "a')
    assert cut.end() == []


def test_an_unfinished_event_is_dropped() -> None:
    """An unfinished event at a lost connection is dropped, and the events before it are kept."""
    assert Decoder().feed(b'data: {"type": "a"}\n\ndata: {"type": "b"}\n') == [{"type": "a"}]


payloads = st.dictionaries(st.text(max_size=3), texts | st.integers() | st.none(), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["thread.run.created", "thread.message.delta"]), payloads), max_size=4))
def test_events_are_encoded_as_compact_ascii(sent: list[tuple[str, Json]]) -> None:
    """Encoded events are compact ASCII, so readers of text lines (older SDKs) and of bytes see the same frames."""
    raw = encode_events([*sent, DONE])
    assert raw.isascii()
    assert raw.decode().splitlines() == [line.decode() for line in raw.split(b"\n")[:-1]]
    frames = [frame.split("\n") for frame in raw.decode().split("\n\n")]
    assert frames.pop() == [""]
    assert frames.pop() == ["event: done", "data: [DONE]"]
    assert [(name, json.loads(data.removeprefix("data: "))) for name, data in frames] == [
        (f"event: {name}", data) for name, data in sent
    ]
    for (_, data), (_, payload) in zip(frames, sent, strict=True):
        assert data == "data: " + json.dumps(payload, separators=(",", ":"))


@given(st.text(st.characters(categories=["L", "N"], max_codepoint=0x7F)), st.integers(0, 30), st.text())
def test_a_text_delta_is_encoded_as_any_other_event(message_id: str, index: int, value: str) -> None:
    """A text delta is encoded to the same bytes as its dictionary."""
    delta = TextDelta(f"msg_{message_id}", index, value)
    assert encode_events([("thread.message.delta", delta)]) == encode_events([("thread.message.delta", dict(delta))])
