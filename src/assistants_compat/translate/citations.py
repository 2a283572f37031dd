"""Where a citation stands in a text.

Responses cites a container's file in two ways only (recordings.md section 1, 16 of 16 annotations):

- case A: `text[start:end]` is the link `sandbox:/mnt/data/NAME`; a `file_path` annotation has the same span;
- case B: 0/0, an image that was shown and never linked; it becomes an `image_file` block before the text.

Whether upstream counts code points or UTF-16 units is undecided (no recording has an astral character before a
citation), so a span is believed only when the text there reads like the link; else the link is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Span = tuple[int, int]

_LINK = "sandbox:"
_ROOT = "sandbox:/mnt/data/"


def is_container_citation(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation cites a file in a container."""
    return annotation.get("type") == "container_file_citation"


def is_shown_image(annotation: Mapping[str, Any]) -> bool:
    """Case B: an image that was shown; its span is 0/0."""
    return annotation.get("start_index") == 0 and annotation.get("end_index") == 0


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
    return _find_link(text, name, set(taken))


def _is_link(piece: str, name: str) -> bool:
    return piece.startswith(_LINK) and piece.endswith(f"/{name}")


def _from_utf16(text: str, start: int, end: int) -> Span | None:
    units = text.encode("utf-16-le", "surrogatepass")
    if end * 2 > len(units):
        return None
    before, piece = units[: start * 2], units[start * 2 : end * 2]
    first = len(before.decode("utf-16-le", "replace"))
    return first, first + len(piece.decode("utf-16-le", "replace"))


def _find_link(text: str, name: str, taken: set[Span]) -> Span | None:
    if not name:
        return None
    # Not the beginning of a longer name: `d.csv` is not cited by `sandbox:/mnt/data/d.csv.zip`.
    link = re.compile(re.escape(_ROOT + name) + r"(?![.-]*\w)")
    return next((found.span() for found in link.finditer(text) if found.span() not in taken), None)
