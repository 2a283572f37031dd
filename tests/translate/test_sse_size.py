"""The time to decode a server-sent event is proportional to its size, however it is split."""

from __future__ import annotations

import json
import time

import pytest

from assistants_compat.translate.sse import Decoder

PIECE = 1024
SMALL, BIG = 400_000, 1_600_000

# Ways to write an event of a size.
SHAPES = {
    "one line": lambda size: b'data: {"type": "a", "delta": "' + b"A" * size + b'"}\n\n',
    "one line, CRLF": lambda size: b'data: {"type": "a", "delta": "' + b"A" * size + b'"}\r\n\r\n',
    "many lines": lambda size: b'data: {"type": "a", "delta": [\n' + b"data: 1,\n" * (size // 9) + b"data: 1]}\n\n",
    "many lines, CRLF": lambda size: (
        b'data: {"type": "a",\r\n' + b"data: \r\n" * (size // 8) + b'data: "b": 1}\r\n\r\n'
    ),
    "comments before it": lambda size: b": ping\n" * (size // 7) + b'data: {"type": "a"}\n\n',
}


def decoding_time(raw: bytes) -> float:
    """Decode these bytes piece by piece, several times, and return the shortest time."""
    times = []
    for _ in range(3):
        decoder, found = Decoder(), []
        started = time.process_time()
        for start in range(0, len(raw), PIECE):
            found += decoder.feed(raw[start : start + PIECE])
        times.append(time.process_time() - started)
        assert [event["type"] for event in found] == ["a"]
    return min(times)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_decoding_time_is_proportional_to_the_size(shape: str) -> None:
    """An event four times as large takes about four times as long to decode, not sixteen times."""
    make_event = SHAPES[shape]
    small, big = decoding_time(make_event(SMALL)), decoding_time(make_event(BIG))
    assert big < 8 * max(small, 0.002), f"{small:.4f} s for {SMALL} bytes, {big:.4f} s for {BIG}"


def test_a_large_event_is_complete() -> None:
    """A large event that arrives in many pieces is complete, and so are the events around it."""
    text = "".join(map(str, range(20_000)))
    expected = [{"type": "a"}, {"type": "b", "delta": text}, {"type": "c"}]
    raw = b"".join(f"event: {event['type']}\r\ndata: {json.dumps(event)}\r\n\r\n".encode() for event in expected)
    for piece in (7, 1009, PIECE):
        decoder = Decoder()
        pieces = [raw[start : start + piece] for start in range(0, len(raw), piece)]
        assert [event for chunk in pieces for event in decoder.feed(chunk)] == expected
