"""The parts of a message while it is streamed: what was sent of them, and what the message is in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..wire.objects import Json, objects
from .citations import marker_places

_KINDS = frozenset({"output_text", "refusal"})


class Growing:
    """A text that grows piece by piece, at about a byte a character: a list of pieces would take ten times as much."""

    def __init__(self) -> None:
        """Begin empty."""
        self._bytes = bytearray()
        self.length = 0  # in characters

    def write(self, piece: str) -> None:
        """Append a piece."""
        self._bytes += piece.encode("utf-8", "surrogatepass")
        self.length += len(piece)

    def getvalue(self) -> str:
        """The whole text."""
        return self._bytes.decode("utf-8", "surrogatepass")


class Part:
    """A text or refusal while it is streamed: its place in the message, and what was sent of it."""

    def __init__(self, kind: str, index: int) -> None:
        """Begin with nothing sent; `kind` is `text` or `refusal`, `index` the place of the block."""
        self.kind, self.index = kind, index
        self.raw = Growing()  # as the upstream sent it
        self.markers: list[tuple[int, str]] = []  # sent besides, each with its offset in that
        self.notes: list[Json] = []  # the annotations that were sent
        # By the place of a citation: where its marker went and which number it has, and itself.
        self.cited: dict[int, tuple[tuple[int, int], Json]] = {}
        self.begun = False

    @property
    def length(self) -> int:
        """The characters that were sent, those of markers too."""
        return self.raw.length + sum(len(words) for _, words in self.markers)

    def sent(self) -> str:
        """All that was sent."""
        raw, start, pieces = self.raw.getvalue(), 0, []
        for offset, words in self.markers:
            pieces += [raw[start:offset], words]
            start = offset
        return "".join([*pieces, raw[start:]])

    def block(self) -> Json:
        """The block as far as it was said."""
        said = self.sent()
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": said}
        return {"type": "text", "text": {"value": said, "annotations": list(self.notes)}}


def numbered(note: Json, number: int) -> Json:
    """An annotation as it stands in a delta: with its number, a citation also with an empty quote (recorded)."""
    if note["type"] == "file_citation":
        note = {**note, "file_citation": {**note["file_citation"], "quote": ""}}
    return {"index": number, **note}


@dataclass
class Told:
    """A part of a message that has ended: as the upstream gives it, and where its markers are."""

    place: int
    part: Json
    offsets: dict[int, tuple[int, int]]


def as_streamed(item: Json, streamed: Mapping[int, Part]) -> list[Told]:
    """The parts of a message that has ended, in the order in which they were streamed.

    What was sent cannot be taken back: a text that the upstream tells otherwise at its end stays as it was sent, and a
    marker stays where it went, under its number.  A message that was cut has what was sent; an empty text where that is
    nothing, because the SDK's event handlers expect a block.
    """
    contents = dict(enumerate(objects(item.get("content"))))
    finals = {place: part for place, part in contents.items() if str(part.get("type")) in _KINDS}
    order = {place: part.index for place, part in streamed.items()}
    places = sorted({*finals, *streamed} or {0}, key=lambda place: (place not in order, order.get(place, place)))
    markers = sum(len(part.cited) for part in streamed.values())
    told = []
    for place in places:
        part, final = streamed.get(place), finals.get(place, {})
        kind = part.kind if part else "refusal" if final.get("type") == "refusal" else "text"
        words = longer(final.get(kind), part.raw.getvalue() if part else "")
        notes = dict(enumerate(objects(final.get("annotations"))))
        cited = part.cited if part else {}
        notes.update((number, note) for number, (_, note) in cited.items())
        numbers = sorted(notes)
        annotations = [notes[number] for number in numbers]
        sent = {n: cited[number][0] for n, number in enumerate(numbers) if number in cited}
        offsets = marker_places(words, annotations, markers, sent, part.raw.length if part else 0)
        markers += len(offsets) - len(sent)
        type_ = "refusal" if kind == "refusal" else "output_text"
        told.append(Told(place, {"type": type_, kind: words, "annotations": annotations}, offsets))
    return told


def longer(final: object, sent: str) -> str:
    """A text at its end: the upstream's last word where it continues what was sent."""
    return final if isinstance(final, str) and final.startswith(sent) else sent
