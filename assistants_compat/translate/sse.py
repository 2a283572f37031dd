"""Server-sent events: decodes the upstream's bytes into events, and encodes legacy events into bytes.

Which events to send is decided in `run_events.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ..wire.objects import Json

Event = tuple[str, Any]
"""A legacy event: its name, and its data as JSON (for `done` the string `[DONE]`)."""

DONE: Event = ("done", "[DONE]")


class TextDelta(dict[str, Any]):
    """The data of a `thread.message.delta` that only adds a piece of text, as nearly all events do.

    It has its own class so that only the text needs encoding, a thirtieth of the cost of encoding the whole event.
    """

    def __init__(self, message_id: str, index: int, value: str) -> None:
        """Create the delta of `value` for the text block at `index` of a message."""
        content = [{"index": index, "type": "text", "text": {"value": value}}]
        super().__init__(id=message_id, object="thread.message.delta", delta={"content": content})
        self.message_id, self.index, self.value = message_id, index, value


class Decoder:
    """Decodes bytes, split at any point, into events, each a JSON object with a `type`.

    Lines are split on bytes, because JSON may contain a raw U+2028, at which `str.splitlines` would split too.
    Comments, `[DONE]` and data that is not a JSON object are skipped. An event without a `type` in its data gets the
    name in its `event` field; without that name it is an `error` if its data has an `error`, as gateways send it.
    """

    def __init__(self) -> None:
        """Create a decoder with an empty buffer."""
        self._pending: list[bytes] = []  # pieces of an incomplete event, joined only once it is complete
        self._last_byte = b""  # the last pending byte: the blank line that ends the event may begin with it
        self._held_return = b""  # a carriage return whose line feed may be in the next chunk

    def feed(self, chunk: bytes) -> list[Json]:
        """Return the events that these bytes complete."""
        if self._held_return or b"\r" in chunk:
            chunk = self._held_return + chunk
            self._held_return = chunk[-1:] if chunk.endswith(b"\r") else b""
            chunk = chunk[: len(chunk) - len(self._held_return)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._pending:
            if b"\n\n" not in self._last_byte + chunk:
                self._pending.append(chunk)
                self._last_byte = chunk[-1:] or self._last_byte
                return []
            chunk = b"".join([*self._pending, chunk])
        *blocks, incomplete = chunk.split(b"\n\n")
        self._pending, self._last_byte = [incomplete] if incomplete else [], incomplete[-1:]
        return [event for block in blocks if (event := _event_from_block(block)) is not None]

    def end(self) -> list[Json]:
        """Return the last event if the stream ended without the blank line after it."""
        return self.feed(b"\n\n")


def _event_from_block(block: bytes) -> Json | None:
    match = _COMMON_BLOCK.match(block)
    name, data = match.groups() if match else _name_and_data(block)
    try:
        event = _decode_json(data.strip().decode())[0]
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    if not isinstance(event.get("type"), str) or (name.strip() == b"error" and "response" not in event):
        named = name.strip().decode("utf-8", "replace")
        event = {**event, "type": "error" if event.get("error") and named in _UNNAMED else named}
    return event


def _name_and_data(block: bytes) -> tuple[bytes, bytes]:
    """Return the name and the data of an event whose lines come in any order and number."""
    name, data = b"", []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line.startswith(b"event:"):
            name = line[6:]
    return name, b"\n".join(data)


def encode_events(events: Iterable[Event]) -> bytes:
    """Encode events as the service did, in compact JSON; in ASCII, because older SDKs split lines on text."""
    return b"".join([_encode_event(name, data) for name, data in events])


def _encode_event(name: str, data: Any) -> bytes:
    if isinstance(data, TextDelta):
        return (_TEXT_DELTA_FRAME % (data.message_id, data.index, _encode_json(data.value))).encode("ascii")
    text = data if data == "[DONE]" else _encode_json(data)
    return f"event: {name}\ndata: {text}\n\n".encode("ascii")


# The form of nearly all events: the name, then the data on one line.
_COMMON_BLOCK = re.compile(rb"event:([^\n]*)\ndata:([^\n]*)\Z")
_UNNAMED = frozenset({"", "message"})  # `message` is the default name of an event (HTML standard)
_TEXT_DELTA_FRAME = (
    'event: thread.message.delta\ndata: {"id":"%s","object":"thread.message.delta",'
    '"delta":{"content":[{"index":%d,"type":"text","text":{"value":%s}}]}}\n\n'
)
# Faster than `json.loads`, which first guesses an encoding and skips white space.
_decode_json = json.JSONDecoder().raw_decode
_encode_json = json.JSONEncoder(separators=(",", ":")).encode
