"""Where a citation stands in a text, and the text block that it becomes part of.

Responses cites a container's file in two ways only (recordings.md section 1, 16 of 16 annotations):

- case A: `text[start:end]` is the link `sandbox:/mnt/data/NAME`; a `file_path` annotation has the same span;
- case B: 0/0, an image that was shown and never linked; it becomes an `image_file` block before the text.

Whether upstream counts code points or UTF-16 units is undecided (no recording has an astral character before a
citation), so a span is believed only when the text there reads like the link; else the link is looked for.

A file that was searched is cited by an offset alone (13 of 13: the length of the text before it).  Legacy code replaces
a marker such as `【4:0†name】`, so one is put there, and every span behind it moves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ..wire.objects import Json

Span = tuple[int, int]

_LINK = "sandbox:"
LINK_ROOT = "sandbox:/mnt/data/"
"""How a link to a file of a container begins."""


def is_container_citation(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation cites a file in a container."""
    return annotation.get("type") == "container_file_citation"


def is_shown_image(annotation: Mapping[str, Any]) -> bool:
    """Case B: an image that was shown; its span is 0/0."""
    return annotation.get("start_index") == 0 and annotation.get("end_index") == 0


def is_file_citation(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation cites a file that was searched."""
    return annotation.get("type") == "file_citation"


def span_of_citation(text: str, annotation: Mapping[str, Any], taken: Iterable[Span] = ()) -> Span | None:
    """The span of case A in Python's code points, so that `text[start:end]` is the link; None when no link is there.

    The given numbers are tried as code points, then as UTF-16 units; at last the link is searched for, past the spans
    that are `taken` already (a file may be linked twice).
    """
    name = str(annotation.get("filename") or "")
    start, end = annotation.get("start_index"), annotation.get("end_index")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start < end:
        for span in ((start, end), _from_utf16(text, start, end)):
            if span is not None and _is_link(text[span[0] : span[1]], name):
                return span
    return link_of(text, name, list(taken))


def _is_link(piece: str, name: str) -> bool:
    return piece.startswith(_LINK) and piece.endswith(f"/{name}")


def _from_utf16(text: str, start: int, end: int) -> Span | None:
    units = text.encode("utf-16-le", "surrogatepass")
    if end * 2 > len(units):
        return None
    before, piece = units[: start * 2], units[start * 2 : end * 2]
    first = len(before.decode("utf-16-le", "replace"))
    return first, first + len(piece.decode("utf-16-le", "replace"))


def link_of(text: str, name: str, taken: Collection[Span]) -> Span | None:
    """Where `sandbox:/mnt/data/NAME` stands in a text, past the spans that are `taken`; None when it does not.

    In Markdown a link's name may be quoted: `a%20b.csv`.
    """
    if not name:
        return None
    names = "|".join(re.escape(each) for each in (name, quote(name, errors="surrogatepass")))
    # Not the beginning of a longer name: `d.csv` is not cited by `sandbox:/mnt/data/d.csv.zip`.
    link = re.compile(rf"{re.escape(LINK_ROOT)}(?:{names})(?![.-]*\w)")
    return next((found.span() for found in link.finditer(text) if found.span() not in taken), None)


# --- markers


def marker(ordinal: int, annotation: Mapping[str, Any]) -> str:
    """What stands in the text for the citation with this number in its message (FileSearchStreamingWorks.json)."""
    return f"【4:{ordinal}†{annotation.get('filename') or annotation.get('file_id')}】"


def file_citation(annotation: Mapping[str, Any], text: str, start: int) -> Json:
    """A citation of a searched file, whose marker is `text`."""
    return {
        "type": "file_citation",
        "text": text,
        "start_index": start,
        "end_index": start + len(text),
        "file_citation": {"file_id": str(annotation.get("file_id"))},
    }


def offset_of_citation(annotation: Mapping[str, Any], length: int) -> int:
    """Where a marker belongs in a text of this length."""
    index = annotation.get("index")
    return min(max(index, 0), length) if isinstance(index, int) else length


def marker_places(
    text: str, annotations: list[Json], first: int, sent: Mapping[int, tuple[int, int]] | None = None, start: int = 0
) -> dict[int, tuple[int, int]]:
    """Where the marker of each citation goes, and its number, by the citation's place in `annotations`.

    Those that were `sent` stay; the others get the numbers from `first` on, and go to `start` or behind it.
    """
    sent = sent or {}
    late = sorted(
        (max(offset_of_citation(annotation, len(text)), start), number)
        for number, annotation in enumerate(annotations)
        if is_file_citation(annotation) and number not in sent
    )
    return {**sent, **{number: (offset, ordinal) for ordinal, (offset, number) in enumerate(late, first)}}


def text_block(
    text: str,
    annotations: list[Json],
    file_id_of: Callable[[Json], str | None],
    *,
    first: int = 0,
    offsets: Mapping[int, tuple[int, int]] | None = None,
) -> Json:
    """A text with its markers and annotations, as legacy code gets it: every annotation slices its own text.

    `file_id_of` gives our id for a cited file of a container, or None where it is no link; `first` is the number of the
    first marker; `offsets` says of a text that was streamed where its markers are and which numbers they have, by the
    place of their citations in `annotations`.
    """
    if offsets is None:
        offsets = marker_places(text, annotations, first)
    value, cited, markers, done = "", [], [], 0
    for (offset, ordinal), number in sorted((place, number) for number, place in offsets.items()):
        value += text[done:offset]
        done = offset
        words = marker(ordinal, annotations[number])
        cited.append(file_citation(annotations[number], words, len(value)))
        markers.append((offset, len(words)))
        value += words
    value += text[done:]
    taken: list[Span] = []
    for annotation in filter(is_container_citation, annotations):
        file_id = file_id_of(annotation)
        span = None if file_id is None else span_of_citation(text, annotation, taken)
        if span is not None:
            taken.append(span)
            start = span[0] + sum(length for offset, length in markers if offset <= span[0])
            end = span[1] + sum(length for offset, length in markers if offset < span[1])
            cited.append(_file_path(value, start, end, str(file_id)))
    return {"type": "text", "text": {"value": value, "annotations": cited}}


def _file_path(value: str, start: int, end: int, file_id: str) -> Json:
    return {
        "type": "file_path",
        "text": value[start:end],
        "start_index": start,
        "end_index": end,
        "file_path": {"file_id": file_id},
    }
