"""Translates the citations of a text into legacy annotations, and finds their spans in the text.

Responses cites a container file in two ways only (recordings.md section 1, 16 of 16 annotations):

- case A: `text[start:end]` is the link `sandbox:/mnt/data/NAME`. The `file_path` annotation has the same span.
- case B: the span is 0/0, for an image that was shown and never linked. It becomes an `image_file` block before the
  text.

It is unknown whether the upstream counts code points or UTF-16 units: no recording has an astral character before a
citation. So a span is trusted only if the text there is the link; otherwise the text is searched for the link.

A citation of a searched file has only an offset (13 of 13: the length of the text before it). Legacy code expects a
marker such as `【4:0†name】` to replace, so one is inserted there, and every later span moves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ..wire.objects import Json

Span = tuple[int, int]
"""The start and the end of a piece of text, in code points."""

MarkerPosition = tuple[int, int]
"""The offset of a marker in the upstream's text, and the marker's number in the message."""

_LINK_SCHEME = "sandbox:"
LINK_PREFIX = "sandbox:/mnt/data/"
"""How a link to a container file begins."""


def is_container_citation(annotation: Mapping[str, Any]) -> bool:
    """Return whether an annotation cites a container file."""
    return annotation.get("type") == "container_file_citation"


def is_shown_image(annotation: Mapping[str, Any]) -> bool:
    """Return whether a container citation is case B: an image that was shown, with the span 0/0."""
    return annotation.get("start_index") == 0 and annotation.get("end_index") == 0


def is_file_citation(annotation: Mapping[str, Any]) -> bool:
    """Return whether an annotation cites a file that was searched."""
    return annotation.get("type") == "file_citation"


def span_of_citation(text: str, annotation: Mapping[str, Any], used_spans: Iterable[Span] = ()) -> Span | None:
    """Return the span of case A in code points, so that `text[start:end]` is the link, or None if there is no link.

    The upstream's numbers are tried as code points, then as UTF-16 units. If neither fits, the first link that is not
    among `used_spans` counts (a file may be linked twice).
    """
    name = str(annotation.get("filename") or "")
    start, end = annotation.get("start_index"), annotation.get("end_index")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start < end:
        for span in ((start, end), _span_from_utf16(text, start, end)):
            if span is not None and _is_link(text[span[0] : span[1]], name):
                return span
    return find_link(text, name, list(used_spans))


def _is_link(piece: str, name: str) -> bool:
    # A citation names only the last part of the path (recordings.md section 1).
    return piece.startswith(_LINK_SCHEME) and piece.endswith(f"/{name}")


def _span_from_utf16(text: str, start: int, end: int) -> Span | None:
    units = text.encode("utf-16-le", "surrogatepass")  # the model's text may have lone surrogates
    if end * 2 > len(units):
        return None
    before, piece = units[: start * 2], units[start * 2 : end * 2]
    first = len(before.decode("utf-16-le", "replace"))
    return first, first + len(piece.decode("utf-16-le", "replace"))


def find_link(text: str, name: str, used_spans: Collection[Span]) -> Span | None:
    """Return the span of the first `sandbox:/mnt/data/NAME` in a text that is not among `used_spans`, or None.

    The name may be percent-encoded, as in Markdown links: `a%20b.csv`.
    """
    if not name:
        return None
    spellings = "|".join(re.escape(spelling) for spelling in (name, quote(name, errors="surrogatepass")))
    # The name must not be the beginning of a longer one: `sandbox:/mnt/data/d.csv.zip` does not link `d.csv`.
    link = re.compile(rf"{re.escape(LINK_PREFIX)}(?:{spellings})(?![.-]*\w)")
    return next((match.span() for match in link.finditer(text) if match.span() not in used_spans), None)


# --- markers


def marker_from_citation(number: int, annotation: Mapping[str, Any]) -> str:
    """Return the marker of the citation with this number in its message (FileSearchStreamingWorks.json)."""
    # The recorded first number is 4; no source says what it counts.
    return f"【4:{number}†{annotation.get('filename') or annotation.get('file_id')}】"


def file_citation_from_annotation(annotation: Mapping[str, Any], text: str, start: int) -> Json:
    """Return the legacy citation of a searched file; `text` is its marker, which begins at `start`."""
    return {
        "type": "file_citation",
        "text": text,
        "start_index": start,
        "end_index": start + len(text),
        # Without `quote`, which only a delta has (recorded).
        "file_citation": {"file_id": str(annotation.get("file_id"))},
    }


def marker_offset(annotation: Mapping[str, Any], length: int) -> int:
    """Return the offset of a citation's marker in a text of this length; the end if the citation has none."""
    index = annotation.get("index")
    return min(max(index, 0), length) if isinstance(index, int) else length


def marker_positions(
    text: str,
    annotations: list[Json],
    first_number: int,
    sent_positions: Mapping[int, MarkerPosition] | None = None,
    start: int = 0,
) -> dict[int, MarkerPosition]:
    """Return the position of each citation's marker, by the citation's index in `annotations`.

    Markers that a stream has sent keep their `sent_positions`. The others are numbered from `first_number` and are put
    at `start` or after it, because the text before it was already sent.
    """
    sent_positions = sent_positions or {}
    unsent = sorted(
        (max(marker_offset(annotation, len(text)), start), index)
        for index, annotation in enumerate(annotations)
        if is_file_citation(annotation) and index not in sent_positions
    )
    return {
        **sent_positions,
        **{index: (offset, number) for number, (offset, index) in enumerate(unsent, first_number)},
    }


def text_block_with_citations(
    text: str,
    annotations: list[Json],
    file_id_of: Callable[[Json], str | None],
    *,
    first_number: int = 0,
    positions: Mapping[int, MarkerPosition] | None = None,
) -> Json:
    """Return a text block with markers and legacy annotations; the span of each annotation is exactly its text.

    `file_id_of` returns this library's id for a cited container file, or None if the citation is not a link.
    `first_number` is the number of the first marker. `positions` are the positions of the markers of a streamed text,
    by the index of their citations in `annotations`.
    """
    if positions is None:
        positions = marker_positions(text, annotations, first_number)
    value, legacy_annotations, markers, copied_to = "", [], [], 0
    for (offset, number), index in sorted((position, index) for index, position in positions.items()):
        value += text[copied_to:offset]
        copied_to = offset
        marker = marker_from_citation(number, annotations[index])
        legacy_annotations.append(file_citation_from_annotation(annotations[index], marker, len(value)))
        markers.append((offset, len(marker)))
        value += marker
    value += text[copied_to:]
    used_spans: list[Span] = []
    for annotation in filter(is_container_citation, annotations):
        file_id = file_id_of(annotation)
        span = None if file_id is None else span_of_citation(text, annotation, used_spans)
        if span is not None:
            used_spans.append(span)
            # A marker at the very start of a link moves it; one at its very end does not lengthen it.
            start = span[0] + sum(length for offset, length in markers if offset <= span[0])
            end = span[1] + sum(length for offset, length in markers if offset < span[1])
            legacy_annotations.append(_file_path_annotation(value, start, end, str(file_id)))
    return {"type": "text", "text": {"value": value, "annotations": legacy_annotations}}


def _file_path_annotation(value: str, start: int, end: int, file_id: str) -> Json:
    return {
        "type": "file_path",
        "text": value[start:end],
        "start_index": start,
        "end_index": end,
        "file_path": {"file_id": file_id},
    }
