"""Reads multipart/form-data byte for byte, because the parsers of the standard library rewrite line endings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from .exchange import Refusal

if TYPE_CHECKING:
    from .exchange import Request


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `filename` is None for a plain value."""

    name: str
    filename: str | None
    content: bytes


def read_form(request: Request) -> dict[str, Part]:
    """Return the fields of the form by name, or refuse a body that is not multipart/form-data."""
    # The boundary may be in quotes (RFC 2046, section 5.1.1).
    boundary = re.search(r'boundary="?([^";]+)"?', request.headers.get("content-type", ""))
    if boundary is None:
        message = "Invalid content type. Expected multipart/form-data."
        raise Refusal(400, message)
    # The first boundary has no line break before it, so one is added; the last piece is the closing `--`.
    delimiter = b"\r\n--" + boundary.group(1).encode()
    pieces = (b"\r\n" + request.body).split(delimiter)[1:-1]
    parts = [_read_part(piece) for piece in pieces]
    return {part.name: part for part in parts}


def _read_part(piece: bytes) -> Part:
    # Only the first blank line ends the head; a file may contain more of them.
    head, _, content = piece.partition(b"\r\n\r\n")
    disposition = next(
        (line for line in head.decode().split("\r\n") if line.lower().startswith("content-disposition:")),
        "",
    )
    return Part(_parameter(disposition, "name") or "", _filename(disposition), content)


def _parameter(disposition: str, name: str) -> str | None:
    match = re.search(rf';\s*{name}=("((?:[^"\\]|\\.)*)"|([^;\s]+))', disposition)
    if match is None:
        return None
    return match.group(3) or re.sub(r"\\(.)", r"\1", match.group(2) or "")


def _filename(disposition: str) -> str | None:
    """Return `filename*` (RFC 5987) if it is there, else `filename`, in which HTTP clients escape quotes as %22."""
    extended = re.search(r";\s*filename\*=([\w-]+)''([^;\s]+)", disposition)
    if extended is not None:
        return unquote_to_bytes(extended.group(2)).decode(extended.group(1))
    plain = _parameter(disposition, "filename")
    return None if plain is None else plain.replace("%22", '"')
