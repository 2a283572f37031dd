"""Big server-sent events: the time to decode one follows its size, however it is cut up."""

from __future__ import annotations

import json
import time

import pytest

from assistants_compat.translate.sse import Decoder

PIECE = 1024
SMALL, BIG = 400_000, 1_600_000

# How an event of that many bytes is written.
SHAPES = {
    "one line": lambda size: b'data: {"type": "a", "delta": "' + b"A" * size + b'"}\n\n',
    "one line, CRLF": lambda size: b'data: {"type": "a", "delta": "' + b"A" * size + b'"}\r\n\r\n',
    "many lines": lambda size: b'data: {"type": "a", "delta": [\n' + b"data: 1,\n" * (size // 9) + b"data: 1]}\n\n",
    "many lines, CRLF": lambda size: (
        b'data: {"type": "a",\r\n' + b"data: \r\n" * (size // 8) + b'data: "b": 1}\r\n\r\n'
    ),
    "comments before it": lambda size: b": ping\n" * (size // 7) + b'data: {"type": "a"}\n\n',
}


def spent(raw: bytes) -> float:
    """The least of several times that decoding these bytes took, piece by piece."""
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
def test_the_time_follows_the_size_of_an_event(shape: str) -> None:
    """Four times the bytes take about four times as long, and not sixteen times."""
    made = SHAPES[shape]
    small, big = spent(made(SMALL)), spent(made(BIG))
    assert big < 8 * max(small, 0.002), f"{small:.4f} s for {SMALL} bytes, {big:.4f} s for {BIG}"


def test_an_event_that_is_big_is_whole() -> None:
    """Every byte of an event that came in many pieces is in it, and the events around it are as they were."""
    text = "".join(map(str, range(20_000)))
    told = [{"type": "a"}, {"type": "b", "delta": text}, {"type": "c"}]
    raw = b"".join(f"event: {event['type']}\r\ndata: {json.dumps(event)}\r\n\r\n".encode() for event in told)
    for piece in (7, 1009, PIECE):
        decoder = Decoder()
        pieces = [raw[start : start + piece] for start in range(0, len(raw), piece)]
        assert [event for each in pieces for event in decoder.feed(each)] == told
