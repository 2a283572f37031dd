"""The HTTP headers of a download: which part is asked for, and the name under which it is saved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

_RANGE = re.compile(r"bytes=[ \t]*(?:([0-9]+)-([0-9]+)?|-([0-9]+))[ \t]*\Z", re.IGNORECASE)
_LONGEST_NAME = 200
_DIGITS = 18  # more than any size has; Python refuses to read thousands of them


class UnsatisfiableError(ValueError):
    """A range that lies behind the end of what there is."""


def asked_part(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """The positions that `Range` and `If-Range` ask for; None when the whole is to be sent (RFC 9110, section 14).

    Names of headers are lower case.  What is not understood is ignored, as is a list of several ranges: a server may
    do both, and every client has to cope with the whole.  Raises `UnsatisfiableError` for a range with no byte in it.
    """
    found = _RANGE.match(headers.get("range", ""))
    if found is None or headers.get("if-range", etag) != etag:
        return None
    first, last, suffix = (None if digits is None else _number(digits) for digits in found.groups())
    if suffix is not None:
        part = range(max(size - suffix, 0), size)
    elif first is not None and last is not None and last < first:
        return None  # not a range at all, says the RFC
    else:
        part = range(first or 0, size if last is None else min(last + 1, size))
    if not part:
        raise UnsatisfiableError
    return part


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS


def expected_size(headers: Mapping[str, str], size: int, known: int | None) -> int | None:
    """How many bytes there should be where `size` have come; None where nobody says.

    The answer's own number goes before the one that is `known`, unless it is the right one: a body that is compressed
    announces another.  Names of headers are lower case.
    """
    announced = headers.get("content-length", "")
    if "content-encoding" not in headers and announced.isdigit() and int(announced) != size:
        return int(announced)
    return known


def disposition(filename: str) -> str:
    """`attachment` with the base name: plain for ASCII, and RFC 5987 besides for the rest."""
    name = PurePosixPath(filename).name or "file"
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "_" for char in name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    return f'attachment; filename="{plain}"{encoded}'


def form_name(path: str) -> str:
    """The base name of a path that a model chose, for a file in a form; it is never a path of ours."""
    name = PurePosixPath(path.replace("\\", "/")).name.replace("\0", "")
    return name[-_LONGEST_NAME:] or "file"
