"""Sample bytes for files that a recorded response cites; recordings do not contain them."""

from __future__ import annotations

import hashlib
import struct
import zlib


def sample_bytes(name: str) -> bytes:
    """Return bytes that depend only on the name: a valid PNG for `.png`, rows for `.csv`, else one line of text."""
    if name.endswith(".png"):
        return _png(hashlib.sha256(name.encode()).digest()[:3])
    if name.endswith(".csv"):
        return f"name,characters\n{name},{len(name)}\n".encode()
    return f"Content of {name} as the stand-in made it.\n".encode()


def _png(colour: bytes) -> bytes:
    """Return a PNG of one pixel (Source: the PNG specification, chunks IHDR, IDAT, IEND)."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + colour)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
