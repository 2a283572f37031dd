"""Translates the citations of a text into legacy annotations, and finds their spans in the text.

Responses cites a container file in two ways only (recordings.md section 1, 16 of 16 annotations):

- case A: `text[start:end]` is the link `sandbox:/mnt/data/NAME`. The `file_path` annotation has the same span.
- case B: the span is 0/0, for an image that was shown and never linked. It becomes an `image_file` block before the
  text. Every recorded one is called `<file_id>.png`; a file of another kind at 0/0 is a file that nothing links.

It is unknown whether the upstream counts code points or UTF-16 units: no recording has an astral character before a
citation. So a span is trusted only if the text there is a link; otherwise the text is searched for the link.

A citation of a searched file has only an offset (13 of 13: the length of the text before it). Legacy code expects a
marker such as `【4:0†name】` to replace, so one is inserted there, and every later span moves.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from ..wire.objects import Json
from .links import (
    LINK_SCHEME,
    WORKING_DIRECTORY,
    Span,
    base_name,
    links_to_base_name,
    links_to_paths,
    path_from_name,
    paths_from_link,
)

MarkerPosition = tuple[int, int]
"""The offset of a marker in the upstream's text, and the marker's number in the message."""

_IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
# A name that the service made from an id: `cfile_….png` (recorded), or a bare uuid as of legacy images (recorded).
_NAME_FROM_ID = re.compile(r"(?:c?file[-_].*|[0-9a-f-]{32,36})", re.IGNORECASE)


def is_container_citation(annotation: Mapping[str, Any]) -> bool:
    """Return whether an annotation cites a container file."""
    return annotation.get("type") == "container_file_citation"


def is_shown_image(annotation: Mapping[str, Any]) -> bool:
    """Return whether a container citation is case B: an image that was shown, with the span 0/0.

    The name decides: 0/0 may also be said of a file that the text does not link. Without a name it is an image.
    """
    name = str(annotation.get("filename") or "")
    has_no_span = annotation.get("start_index") == 0 and annotation.get("end_index") == 0
    return has_no_span and (not name or is_image(name) or (not posixpath.splitext(name)[1] and is_named_by_id(name)))


def is_image(name: str) -> bool:
    """Return whether a name or path is that of an image."""
    return name.lower().endswith(_IMAGE_EXTENSIONS)


def is_named_by_id(name: str) -> bool:
    """Return whether the service named a file, as it does an image that was shown, and not the code that saved it."""
    return _NAME_FROM_ID.fullmatch(posixpath.splitext(posixpath.basename(name))[0]) is not None


def is_file_citation(annotation: Mapping[str, Any]) -> bool:
    """Return whether an annotation cites a file that was searched."""
    return annotation.get("type") == "file_citation"


def span_of_citation(text: str, annotation: Mapping[str, Any], used_spans: Iterable[Span] = ()) -> Span | None:
    """Return the span of case A in code points, so that `text[start:end]` is the link, or None if there is no link.

    The upstream's numbers are tried as code points, then as UTF-16 units. A link there is believed, also if its name
    differs from the file's. If neither fits, the first link to the file that is not among `used_spans` counts (a file
    may be linked twice). An annotation may have the file's `path`, which its container listed.
    """
    spans = [span for span in _cited_spans(text, annotation) if _is_link(text[slice(*span)])]
    named = next((span for span in spans if _names_file(text[slice(*span)], annotation)), None)
    if named is not None:
        return named
    used_starts = {start for start, _ in used_spans}
    found = [span for span in _spans_of_file(text, annotation) if span[0] not in used_starts]
    # A span that ends too early is not the name that it cuts.
    whole = (span for span in found if any(span[0] == start for start, _ in spans))
    return next(whole, next(iter([*spans, *found]), None))


def _cited_spans(text: str, annotation: Mapping[str, Any]) -> Iterator[Span]:
    start, end = annotation.get("start_index"), annotation.get("end_index")
    if isinstance(start, int) and isinstance(end, int) and 0 <= start < end:
        if end <= len(text):
            yield start, end
        if (span := _span_from_utf16(text, start, end)) is not None:
            yield span


def _is_link(piece: str) -> bool:
    return piece.startswith(LINK_SCHEME) and piece != LINK_SCHEME and "\n" not in piece


def _names_file(link: str, annotation: Mapping[str, Any]) -> bool:
    # A citation names only the last part of the path (recordings.md section 1).
    name = base_name(str(annotation.get("filename") or ""))
    return any(posixpath.basename(path) == name for path in paths_from_link(link))


def _spans_of_file(text: str, annotation: Mapping[str, Any]) -> Iterator[Span]:
    """Yield the spans of the links to a cited file: those to its path if that is known, then those to its name."""
    path, name = annotation.get("path"), str(annotation.get("filename") or "")
    if path is not None:
        yield from (link.span for link in links_to_paths(text, {path_from_name(str(path))}))
    if name:
        yield from (link.span for link in links_to_base_name(text, name))


def _span_from_utf16(text: str, start: int, end: int) -> Span | None:
    units = text.encode("utf-16-le", "surrogatepass")  # the model's text may have lone surrogates
    if end * 2 > len(units):
        return None
    before, piece = units[: start * 2], units[start * 2 : end * 2]
    first = len(before.decode("utf-16-le", "replace"))
    return first, first + len(piece.decode("utf-16-le", "replace"))


def path_of_citation(annotation: Mapping[str, Any], link: str | None = None) -> str:
    """Return the name of a cited file as the service had it: of a linked file the full path (platform.md section 7).

    The container's list has the path. Without it the link tells the folder. The name is data, never a path.
    """
    name, path = str(annotation.get("filename") or annotation.get("file_id")), str(annotation.get("path") or "")
    if is_shown_image(annotation):
        return name
    if path.startswith("/"):
        return path
    for linked_path in paths_from_link(link) if link else ():
        if posixpath.basename(linked_path) == base_name(name):
            return posixpath.join(posixpath.dirname(linked_path), posixpath.basename(name))
    return f"{WORKING_DIRECTORY}{name}"


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


# A name may have any sign but these brackets, which only markers have.
_MARKER = re.compile("【[^【】]*†[^【】]*】")


def text_without_markers(text: Json) -> str:
    """Return the value of a legacy text block without the markers of its file citations.

    A saved citation may have wrong offsets: those of JavaScript, which counts UTF-16 units, or of a text that was
    edited later. So a span is believed only if it is the marker. Otherwise the nearest marker with the citation's text
    is meant, or the nearest one of all if the citation has no text. Nothing else is ever cut out.
    """
    value: str = text["value"]
    citations = [annotation for annotation in text["annotations"] if annotation["type"] == "file_citation"]
    spans = {span for citation in citations if (span := _exact_marker_span(value, citation)) is not None}
    for citation in citations:
        if _exact_marker_span(value, citation) is None:
            span = _nearest_marker_span(value, citation, spans)
            spans |= set() if span is None else {span}
    result, copied_to = "", 0
    for start, end in sorted(spans):
        result += value[copied_to:start]
        copied_to = max(copied_to, end)
    return result + value[copied_to:]


def _exact_marker_span(value: str, citation: Mapping[str, Any]) -> Span | None:
    start, end, marker = citation.get("start_index"), citation.get("end_index"), citation.get("text")
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(value)):
        return None
    piece = value[start:end]
    return (start, end) if piece == marker or (not marker and _MARKER.fullmatch(piece)) else None


def _nearest_marker_span(value: str, citation: Mapping[str, Any], used_spans: Collection[Span]) -> Span | None:
    marker, start = citation.get("text"), citation.get("start_index")
    spans = (match.span() for match in _MARKER.finditer(value) if not marker or match[0] == marker)
    free_spans = [span for span in spans if span not in used_spans]
    return min(free_spans, key=lambda span: abs(span[0] - (start or 0)), default=None)


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
    file_id_of: Callable[[Json, str | None], str | None],
    *,
    first_number: int = 0,
    positions: Mapping[int, MarkerPosition] | None = None,
) -> Json:
    """Return a text block with markers and legacy annotations; the span of each annotation is exactly its text.

    `file_id_of` returns this library's id for a cited container file, whose link is the second argument, or None if the
    citation is that of a shown image.
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
        span = None if is_shown_image(annotation) else span_of_citation(text, annotation, used_spans)
        file_id = file_id_of(annotation, None if span is None else text[slice(*span)])
        if span is not None:
            used_spans.append(span)
            # A marker at the very start of a link moves it; one at its very end does not lengthen it.
            start = span[0] + sum(length for offset, length in markers if offset <= span[0])
            end = span[1] + sum(length for offset, length in markers if offset < span[1])
            legacy_annotations.append(file_path_annotation(value, start, end, str(file_id)))
    return {"type": "text", "text": {"value": value, "annotations": legacy_annotations}}


def file_path_annotation(value: str, start: int, end: int, file_id: str) -> Json:
    """Return the annotation of a link to a generated file, which is `value[start:end]`."""
    return {
        "type": "file_path",
        "text": value[start:end],
        "start_index": start,
        "end_index": end,
        "file_path": {"file_id": file_id},
    }
