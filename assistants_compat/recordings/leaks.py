"""What looks like a secret in a recording: the last look before a cassette is written, and `cassettes check`.

A text that only looks so is better asked about than kept: whoever knows better names it as harmless (a regular
expression).  Nothing here shows a secret: what is said names its kind, its place, its length and its first characters.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

_SHOWN = 4  # characters: enough to find it, and to tell `sk-p` from `eyJh`


@dataclass(frozen=True)
class Leak:
    """Something that looks like a secret: its kind, where it is, and what may be shown of it."""

    kind: str
    place: str
    shown: str

    def __str__(self) -> str:
        """In words."""
        return f"{self.place}: {self.kind} ({self.shown})"


# A token ends where none of its characters follows; one that continues a longer word (an id, a hash before a file's
# name) is no key of its own.
_ALONE, _END = r"(?<![0-9A-Za-z_+/=.-])", r"(?![0-9A-Za-z_+/=-])"

_KINDS: tuple[tuple[str, str], ...] = (
    ("an OpenAI key", r"sk-[A-Za-z0-9_-]{16,}"),
    ("an OpenAI session", r"sess-[A-Za-z0-9]{30,}"),
    ("a bearer token", r"(?i:bearer)\s+[A-Za-z0-9._~+/-]{16,}=*"),
    ("basic credentials", r"(?i:\bbasic)\s+[A-Za-z0-9+/]{12,}=*" + _END),
    ("a JSON web token", r"ey[AIJ][A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}"),
    ("an Azure key", _ALONE + r"(?:[0-9a-f]{32}|[0-9A-F]{32})" + _END),
    ("an Azure key", _ALONE + r"[A-Za-z0-9]{84}" + _END),
    ("an Azure storage key", _ALONE + r"[A-Za-z0-9+/]{86}==" + r"(?![0-9A-Za-z_+/=-])"),
    ("a connection string", r"(?i:AccountKey|SharedAccessKey|SharedAccessSignature)\s*=\s*[^\s;\"']{8,}"),
    ("a shared access signature", r"(?i)(?<![A-Za-z0-9])sig=[A-Za-z0-9%+/=_-]{16,}"),
    ("a password in an address", r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"']*:[^\s/@\"']{3,}@[A-Za-z0-9.\[-]"),
    (
        "a named secret",
        r"""(?ix) (?: (?:api|subscription)[-_]?key | client[-_]?secret | (?:access|refresh)[-_]?token | password
        | authorization | (?-i:[A-Z0-9]_(?:KEY|SECRET|TOKEN)) )
        ["']? (?: \s*[:=]\s* | \r?\n\r?\n) ["']? [^\s"',;&{}\[\]]{16,}""",
    ),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("a GitHub token", r"(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,})"),
    ("an AWS key", _ALONE + r"(?:AKIA|ASIA)[0-9A-Z]{16}" + _END),
    ("a Google key", r"AIza[0-9A-Za-z_-]{35}"),
    ("a Slack token", r"xox[abeoprs]-[0-9A-Za-z-]{10,}"),
    ("a Hugging Face token", _ALONE + r"hf_[A-Za-z0-9]{30,}"),
)
# Several lines of it are one text, as MIME writes it.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}(?:\r?\n[A-Za-z0-9+/_-]+)*")
_URL_SAFE = str.maketrans("+/", "-_")
_DEEPEST = 5  # texts within texts: arguments within an event within a log within a file
_LONGEST = 1 << 24  # bytes of a compressed file that are looked at
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _KINDS)


def leaks(value: Any, place: str, harmless: Collection[re.Pattern[str]] = ()) -> Iterator[Leak]:
    """What looks like a secret anywhere in a value of strings, bytes, mappings and lists; `place` is where it is.

    A text is read as it is, as JSON (whose escapes could hide something), without percent signs and out of base64, and
    so is what is found in there; bytes are read as UTF-8, those of gzip unpacked.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaks(key, place, harmless)
            yield from leaks(item, f"{place} {key}", harmless)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaks(item, place, harmless)
    elif isinstance(value, bytes):
        yield from leaks(_unpacked(value).decode("utf-8", "replace"), place, harmless)
    elif isinstance(value, str):
        yield from _in_text(value, place, harmless)


def _in_text(value: str, place: str, harmless: Collection[re.Pattern[str]]) -> Iterator[Leak]:
    found: dict[str, Leak] = {}
    for text in _readings(value):
        for kind, pattern in _PATTERNS:
            for match in pattern.finditer(text):
                if not any(known.search(match[0]) for known in harmless):
                    found.setdefault(match[0], Leak(kind, place, masked(match[0])))
    yield from found.values()


def masked(secret: str) -> str:
    """What may be shown of a secret."""
    return f"{secret[:_SHOWN]}..., {len(secret)} characters"


def _unpacked(value: bytes) -> bytes:
    if not value.startswith(b"\x1f\x8b"):
        return value
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(value, _LONGEST)
    except zlib.error:
        return value


def _readings(text: str, depth: int = _DEEPEST) -> Iterator[str]:
    yield text
    for inner in _within(text) if depth else ():
        if inner != text:
            yield from _readings(inner, depth - 1)


def _within(text: str) -> Iterator[str]:
    if "\\" in text:
        try:
            yield from _strings(json.loads(text))
        except (ValueError, RecursionError):  # no JSON; events hold JSON line by line
            for line in text.splitlines():
                if line.startswith("data:") and "\\" in line:
                    yield from _strings(_json(line.removeprefix("data:")))
    if "%" in text:
        yield unquote(text)
    for match in _BASE64.finditer(text):
        yield from _from_base64("".join(match[0].split()))


def _from_base64(text: str) -> Iterator[str]:
    """What it says if it is a text; an image, or a word that only could be base64, is none."""
    with suppress(ValueError):
        yield base64.urlsafe_b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4)).decode()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            # With its name, which is what tells some secrets.
            yield f"{key}={item}" if isinstance(item, str) else ""
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
