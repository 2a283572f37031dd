"""HTTP headers of downloads and uploads: byte ranges, expected sizes and file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

_RANGE = re.compile(r"bytes=[ \t]*(?:([0-9]+)-([0-9]+)?|-([0-9]+))[ \t]*\Z", re.IGNORECASE)
_MAX_NAME_LENGTH = 200
_MAX_DIGITS = 18  # no size has more; Python refuses to parse thousands of digits


class UnsatisfiableRangeError(ValueError):
    """The requested range contains no byte of the file."""


def requested_range(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """The byte positions that `Range` and `If-Range` request, or None to send the whole file.

    Header names are lower case. Raises `UnsatisfiableRangeError` for a range that contains no byte.

    Malformed ranges and lists of several ranges are ignored. RFC 9110, section 14, allows a server to do both, because
    every client must accept the whole file.
    """
    match = _RANGE.match(headers.get("range", ""))
    if match is None or headers.get("if-range", etag) != etag:
        return None
    first, last, suffix_length = (None if digits is None else _position(digits) for digits in match.groups())
    if suffix_length is not None:
        positions = range(max(size - suffix_length, 0), size)
    elif first is not None and last is not None and last < first:
        return None  # RFC 9110: not a valid range, so it is ignored
    else:
        positions = range(first or 0, size if last is None else min(last + 1, size))
    if not positions:
        raise UnsatisfiableRangeError
    return positions


def _position(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def expected_size(headers: Mapping[str, str], size: int, known: int | None) -> int | None:
    """The number of bytes that a body should have, of which `size` have arrived; None if it is unknown.

    A Content-Length that differs from `size` wins over `known`. A compressed body is the exception, because it
    announces its compressed length. Header names are lower case.
    """
    announced = headers.get("content-length", "")
    if "content-encoding" not in headers and announced.isdigit() and int(announced) != size:
        return int(announced)
    return known


def content_disposition(filename: str) -> str:
    """An `attachment` Content-Disposition with the base name, and an RFC 5987 `filename*` if it is not plain ASCII."""
    name = PurePosixPath(filename).name or "file"
    # A quote or backslash would end the quoted string early, and a line break would begin another header.
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "_" for char in name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    return f'attachment; filename="{plain}"{encoded}'


def form_filename(path: str) -> str:
    """The base name of a model-chosen path, as the file name of a multipart upload; never used as a local path."""
    name = PurePosixPath(path.replace("\\", "/")).name.replace("\0", "")
    # Cut at the front: the upstream accepts a file by its suffix (openai/openai-dotnet#270).
    return name[-_MAX_NAME_LENGTH:] or "file"
