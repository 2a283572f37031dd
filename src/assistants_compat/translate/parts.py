"""The parts of a message while it is streamed: what was sent of them, and what the message is in the end."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ..wire import Json
from .citations import is_file_citation, offset_of_citation
from .output import objects

_KINDS = frozenset({"output_text", "refusal"})


class Part:
    """A text or refusal while it is streamed: its place in the message, and what was sent of it."""

    def __init__(self, kind: str, index: int) -> None:
        """Begin with nothing sent; `kind` is `text` or `refusal`, `index` the place of the block."""
        self.kind, self.index = kind, index
        self.raw, self.raw_length = io.StringIO(), 0  # as the upstream sent it
        self.sent, self.sent_length = io.StringIO(), 0  # with the markers
        self.notes: list[Json] = []  # the annotations that were sent
        self.cited: dict[int, tuple[int, Json]] = {}  # by the place of a citation: where its marker went, and itself
        self.begun = False

    def block(self) -> Json:
        """The block as far as it was said."""
        said = self.sent.getvalue()
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": said}
        return {"type": "text", "text": {"value": said, "annotations": list(self.notes)}}


def numbered(note: Json, number: int) -> Json:
    """An annotation as it stands in a delta: with its number, a citation also with an empty quote (recorded)."""
    if note["type"] == "file_citation":
        note = {**note, "file_citation": {**note["file_citation"], "quote": ""}}
    return {"index": number, **note}


def as_streamed(item: Json, streamed: Mapping[Any, Part]) -> list[tuple[Any, Json]]:
    """The parts of a message that has ended, by their content index, in the order in which they were streamed.

    What was sent cannot be taken back: a text that the upstream tells otherwise at its end stays as it was sent, and a
    marker stays where it went.  A message that was cut has what was sent; an empty text where that is nothing, because
    the SDK's event handlers expect a block.
    """
    told = dict(enumerate(objects(item.get("content"))))
    parts: dict[Any, Json] = {place: part for place, part in told.items() if part.get("type") in _KINDS}
    for place, part in streamed.items():
        key = "refusal" if part.kind == "refusal" else "text"
        final, raw = parts.get(place, {}), part.raw.getvalue()
        notes = objects(final.get("annotations")) if final else [note for _, note in part.cited.values()]
        at = {n: offset for n, (offset, _) in (part.cited.items() if final else enumerate(part.cited.values()))}
        for number, note in enumerate(notes):
            if is_file_citation(note) and number not in at:
                at[number] = max(offset_of_citation(note, len(longer(final.get(key), raw))), part.raw_length)
        type_ = "refusal" if part.kind == "refusal" else "output_text"
        parts[place] = {"type": type_, key: longer(final.get(key), raw), "annotations": notes, "offsets": at}
    if not parts:
        parts[0] = {"type": "output_text", "text": ""}
    order = {place: part.index for place, part in streamed.items()}
    return sorted(parts.items(), key=lambda entry: order.get(entry[0], len(order) + len(parts)))


def longer(final: object, sent: str) -> str:
    """A text at its end: the upstream's last word where it continues what was sent."""
    return final if isinstance(final, str) and final.startswith(sent) else sent
