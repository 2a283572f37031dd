"""The open output items of a stream: what was sent of each, and the deltas that send it.

The rules for the end of a streamed message are here, because what was sent to a caller can no longer change. The order
of events is not: that is `run_events.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..wire.objects import Json, Message, RunStep, as_object_list
from .citations import MarkerPosition, marker_positions
from .links import LINK_SCHEME
from .output import ItemDraft
from .sse import Event, TextDelta

_PART_TYPES = frozenset({"output_text", "refusal"})


class TextBuffer:
    """A text that grows piece by piece.

    It takes about a byte a character; a list of pieces would take ten times as much.
    """

    def __init__(self) -> None:
        """Create an empty buffer."""
        self._bytes = bytearray()
        self.length = 0  # in characters

    def write(self, piece: str) -> None:
        """Append a piece."""
        self._bytes += piece.encode("utf-8", "surrogatepass")
        self.length += len(piece)

    def ends_with_piece_of(self, word: str, piece: str) -> bool:
        """Whether an ASCII word ends within the last `piece`."""
        start = len(self._bytes) - len(piece.encode("utf-8", "surrogatepass")) - len(word) + 1
        return self._bytes.find(word.encode("ascii"), max(0, start)) >= 0

    def getvalue(self) -> str:
        """Return the whole text."""
        return self._bytes.decode("utf-8", "surrogatepass")


@dataclass
class _Piece:
    """A piece of a text, and the annotations of its delta; None if the delta has no such key."""

    text: str
    annotations: list[Json] | None


class OpenPart:
    """A text or refusal of a message while it is streamed, and what was sent of it.

    The last piece may be `held` back: it is part of what was sent already, except for `block`.
    """

    def __init__(self, kind: str, index: int) -> None:
        """Begin with nothing sent; `kind` is `text` or `refusal`, `index` that of its block in the message."""
        self.kind, self.index = kind, index
        self.raw = TextBuffer()  # the upstream's text, without markers
        self.markers: list[tuple[int, str]] = []  # sent markers, each with its offset in the upstream's text
        self.annotations: list[Json] = []  # sent annotations
        # Sent citations by their index among the upstream's annotations.
        self.citations: dict[int, tuple[MarkerPosition, Json]] = {}
        self.has_started = False
        self.has_link = False  # to a file of a container
        self.held: _Piece | None = None

    def write(self, piece: str) -> None:
        """Append a piece of the upstream's text."""
        self.raw.write(piece)
        self.has_link = self.has_link or self.raw.ends_with_piece_of(LINK_SCHEME, piece)

    @property
    def length(self) -> int:
        """The number of characters that were sent, including markers."""
        return self.raw.length + sum(len(marker) for _, marker in self.markers)

    def sent_text(self) -> str:
        """Return the text that was sent, including markers."""
        raw, start, pieces = self.raw.getvalue(), 0, []
        for offset, marker in self.markers:
            pieces += [raw[start:offset], marker]
            start = offset
        return "".join([*pieces, raw[start:]])

    def blocks(self) -> list[Json]:
        """Return the content block with what was sent so far, without the piece held back; none before the first."""
        text, annotations = self.sent_text(), list(self.annotations)
        if self.kind == "refusal":
            return [{"type": "refusal", "refusal": text}]
        if self.held is not None:
            if self.held.text == text:
                return []
            text = text[: len(text) - len(self.held.text)]
            annotations = annotations[: len(annotations) - len(self.held.annotations or ())]
        return [{"type": "text", "text": {"value": text, "annotations": annotations}}]


class OpenItem:
    """An output item that has begun and not ended.

    A hosted tool call has a `draft` and a `step`. A message has only a `draft`. A function call has only a `step`, of
    which it is the call at `call_index`.
    """

    def __init__(
        self, kind: str, draft: ItemDraft | None = None, call_index: int = 0, step: RunStep | None = None
    ) -> None:
        """Begin with nothing sent; `kind` is the type of the output item."""
        self.kind = kind
        self.draft, self.call_index, self.step = draft, call_index, step
        self.parts: dict[int, OpenPart] = {}  # of a message, by their index in the upstream's content
        self.sent_text = TextBuffer()  # the code of a call, or the arguments of a function
        self.marker_count = 0
        # What a message that is cut off ends as; replaced if the upstream sends an incomplete item.
        self.incomplete_item: Json = {"type": "message", "status": "incomplete", "content": []}

    @property
    def is_message(self) -> bool:
        """Whether this is a message, not a call."""
        return self.step is None

    def content(self) -> str:
        """Return the text, code or call id as far as it was sent; `item_matching.content_of_item` returns the whole."""
        if self.is_message:
            return "".join(self.parts[index].raw.getvalue() for index in sorted(self.parts))
        if self.kind == "function_call":
            assert self.step is not None  # noqa: S101 - a function call has a step
            return str(self.step["step_details"]["tool_calls"][self.call_index]["id"])
        return self.sent_text.getvalue()


# --- deltas


def message_delta(message: Message, block: Json) -> Event:
    """Return a `thread.message.delta` event that adds to one block."""
    return "thread.message.delta", {
        "id": message["id"],
        "object": "thread.message.delta",
        "delta": {"content": [block]},
    }


def part_deltas(
    message: Message, parts: Iterable[OpenPart], part: OpenPart, text: str, added: list[Json] | None = None
) -> list[Event]:
    """Return the deltas to send for the next piece of a text or refusal, one of the `parts` of a message.

    The first delta of a text always has `annotations`; a later one has them only if some were `added`. Once a text has
    a link to a file, its last piece is held back. The annotation of the link is known only at the end of the text, and
    readers skip a delta without text, so both are sent together, as in the recorded citations of searched files.
    """
    is_first, part.has_started = not part.has_started, True
    pieces = [] if part.held is None else [part.held]
    part.held = None
    if part.kind == "refusal":
        deltas = [message_delta(message, {"index": part.index, "type": "refusal", "refusal": text})]
    else:
        pieces.append(_Piece(text, None if added is None and not is_first else _annotate(part, added or [])))
        part.held = pieces.pop() if part.has_link else None
        deltas = [_text_delta(message, part, piece) for piece in pieces]
    if not deltas:
        return []
    earlier = [other for other in parts if other.index < part.index]
    return [*(event for other in earlier for event in _release(message, other)), *deltas]


def remaining_deltas(message: Message, parts: Iterable[OpenPart], part: OpenPart, block: Json) -> list[Event]:
    """Return the deltas for what was not yet sent of a block; annotations come with the last piece of its text."""
    if block["type"] == "refusal":
        unsent = block["refusal"][part.length :]
        return part_deltas(message, parts, part, unsent) if unsent or not part.has_started else []
    unsent, annotations = block["text"]["value"][part.length :], block["text"]["annotations"][len(part.annotations) :]
    if unsent or not part.has_started:
        events = part_deltas(message, parts, part, unsent, annotations or None)
        return [*events, *_release(message, part)]
    if part.held is None:  # another part began after this one
        return [_text_delta(message, part, _Piece("", _annotate(part, annotations)))] if annotations else []
    if annotations:
        part.held.annotations = [*(part.held.annotations or ()), *_annotate(part, annotations)]
    return _release(message, part)


def _release(message: Message, part: OpenPart) -> list[Event]:
    """Return the delta of the piece that was held back, if there is one."""
    piece, part.held = part.held, None
    return [] if piece is None else [_text_delta(message, part, piece)]


def _text_delta(message: Message, part: OpenPart, piece: _Piece) -> Event:
    if piece.annotations is None:
        return "thread.message.delta", TextDelta(message["id"], part.index, piece.text)
    content: Json = {"value": piece.text, "annotations": piece.annotations}
    return message_delta(message, {"index": part.index, "type": "text", "text": content})


def _annotate(part: OpenPart, added: list[Json]) -> list[Json]:
    """Add annotations to a part and return them as a delta has them."""
    first = len(part.annotations)
    part.annotations += added
    return [delta_annotation(annotation, index) for index, annotation in enumerate(added, first)]


def call_delta(step: RunStep, index: int, call: Json) -> Event:
    """Return a `thread.run.step.delta` event that adds to the tool call at `index`."""
    return "thread.run.step.delta", {
        "id": step["id"],
        "object": "thread.run.step.delta",
        "delta": {"step_details": {"type": "tool_calls", "tool_calls": [{"index": index, **call}]}},
    }


def delta_annotation(annotation: Json, index: int) -> Json:
    """Return an annotation as a delta has it: with its index, and a citation with an empty quote (recorded)."""
    if annotation["type"] == "file_citation":
        annotation = {**annotation, "file_citation": {**annotation["file_citation"], "quote": ""}}
    return {"index": index, **annotation}


# --- the end of a message


@dataclass
class FinishedPart:
    """A part of a message that has ended, in the upstream's shape, and the positions of its markers."""

    content_index: int
    content: Json
    marker_positions: dict[int, MarkerPosition]


def finished_parts(item: Json, streamed: Mapping[int, OpenPart]) -> list[FinishedPart]:
    """Return the parts of a message that has ended, in the order in which they were streamed.

    What was sent cannot be taken back. If the upstream's final text differs, the sent text stays, and each marker keeps
    its position and number. A message that was cut off keeps what was sent. If nothing was, it gets an empty text,
    because the SDK's event handlers expect a block.
    """
    contents = dict(enumerate(as_object_list(item.get("content"))))
    final_parts = {index: part for index, part in contents.items() if str(part.get("type")) in _PART_TYPES}
    # Streamed parts first, in the order of their blocks; then those that only the final item has.
    block_indexes = {index: part.index for index, part in streamed.items()}
    content_indexes = sorted(
        {*final_parts, *streamed} or {0},
        key=lambda index: (index not in block_indexes, block_indexes.get(index, index)),
    )
    marker_count = sum(len(part.citations) for part in streamed.values())
    finished = []
    for index in content_indexes:
        part, final_part = streamed.get(index), final_parts.get(index, {})
        kind = part.kind if part else "refusal" if final_part.get("type") == "refusal" else "text"
        text = final_text(final_part.get(kind), part.raw.getvalue() if part else "")
        annotations = dict(enumerate(as_object_list(final_part.get("annotations"))))
        citations = part.citations if part else {}
        annotations.update((key, citation) for key, (_, citation) in citations.items())
        keys = sorted(annotations)
        ordered = [annotations[key] for key in keys]
        sent_positions = {number: citations[key][0] for number, key in enumerate(keys) if key in citations}
        sent_length = part.raw.length if part else 0
        positions = marker_positions(text, ordered, marker_count, sent_positions, sent_length)
        marker_count += len(positions) - len(sent_positions)
        part_type = "refusal" if kind == "refusal" else "output_text"
        finished.append(FinishedPart(index, {"type": part_type, kind: text, "annotations": ordered}, positions))
    return finished


def final_text(upstream_text: object, sent_text: str) -> str:
    """Return the upstream's final text if it continues what was sent, else what was sent."""
    return upstream_text if isinstance(upstream_text, str) and upstream_text.startswith(sent_text) else sent_text
