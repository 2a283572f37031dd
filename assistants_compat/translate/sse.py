"""Server-sent events, both ways: the upstream's bytes into events, the legacy events into bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ..wire.objects import Json

Event = tuple[str, Any]
"""A legacy event: its name, and its data as JSON (of `done` the word `[DONE]`)."""

DONE: Event = ("done", "[DONE]")


class Words(dict[str, Any]):
    """The data of a `thread.message.delta` that is a piece of a text and nothing else, as nearly all events are.

    A class of its own because to encode one string costs a thirtieth of encoding all that is around it.
    """

    def __init__(self, message_id: str, index: int, value: str) -> None:
        """A piece of the text at this place of a message's content."""
        content = [{"index": index, "type": "text", "text": {"value": value}}]
        super().__init__(id=message_id, object="thread.message.delta", delta={"content": content})
        self.message_id, self.index, self.value = message_id, index, value


class Decoder:
    """Bytes in any split into events, each a JSON object with its `type`.

    Lines are split on bytes: JSON may hold U+2028 as it is, which a splitter of text takes for the end of a line.
    Comments, `[DONE]` and what is no JSON object are passed over; an event that has its name only in the `event` field
    gets it as its type.
    """

    def __init__(self) -> None:
        """Begin with an empty buffer."""
        self._rest: list[bytes] = []  # pieces of an event that is not complete, joined once it is
        self._last = b""  # their last byte, in which its end may have begun
        self._held = b""  # a carriage return whose line feed may still come

    def feed(self, chunk: bytes) -> list[Json]:
        """The events that these bytes complete."""
        if self._held or b"\r" in chunk:
            chunk = self._held + chunk
            self._held = chunk[-1:] if chunk.endswith(b"\r") else b""
            chunk = chunk[: len(chunk) - len(self._held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._rest:
            if b"\n\n" not in self._last + chunk:
                self._rest.append(chunk)
                self._last = chunk[-1:] or self._last
                return []
            chunk = b"".join([*self._rest, chunk])
        *blocks, rest = chunk.split(b"\n\n")
        self._rest, self._last = [rest] if rest else [], rest[-1:]
        return [event for block in blocks if (event := _event(block)) is not None]


def _event(block: bytes) -> Json | None:
    usual = _USUAL.match(block)
    name, data = usual.groups() if usual else _fields(block)
    try:
        event = _load(data.strip().decode())[0]
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    if not isinstance(event.get("type"), str) or (name.strip() == b"error" and "response" not in event):
        event = {**event, "type": name.strip().decode("utf-8", "replace")}
    return event


def _fields(block: bytes) -> tuple[bytes, bytes]:
    """The name and the data of an event, whose lines may come in any order and number."""
    name, data = b"", []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line.startswith(b"event:"):
            name = line[6:]
    return name, b"\n".join(data)


def encoded(events: Iterable[Event]) -> bytes:
    """Events as the service wrote them: compact JSON; in ASCII, because older SDKs split lines on text."""
    return b"".join([_frame(name, data) for name, data in events])


def _frame(name: str, data: Any) -> bytes:
    if isinstance(data, Words):
        return (_WORDS % (data.message_id, data.index, _dump(data.value))).encode("ascii")
    text = data if data == "[DONE]" else _dump(data)
    return f"event: {name}\ndata: {text}\n\n".encode("ascii")


# As nearly all events come: the name, then the data in one line.
_USUAL = re.compile(rb"event:([^\n]*)\ndata:([^\n]*)\Z")
_WORDS = (
    'event: thread.message.delta\ndata: {"id":"%s","object":"thread.message.delta",'
    '"delta":{"content":[{"index":%d,"type":"text","text":{"value":%s}}]}}\n\n'
)
# The parser's own step: `json.loads` would first guess an encoding, and look for white space.
_load = json.JSONDecoder().raw_decode
_dump = json.JSONEncoder(separators=(",", ":")).encode
