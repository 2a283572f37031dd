"""Finds texts in a recording that look like secrets, before a cassette is written and for `cassettes check`.

A false alarm is better than a missed secret: users list harmless texts as regular expressions. Nothing here shows a
secret: a report has its kind, its location, its length and its first characters.
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

_EXCERPT_LENGTH = 4  # characters: enough to find the secret, and to tell `sk-p` from `eyJh`


@dataclass(frozen=True)
class Leak:
    """Something that looks like a secret: its kind, its location and the part of it that may be shown."""

    kind: str
    location: str
    excerpt: str

    def __str__(self) -> str:
        """Return the line that reports show."""
        return f"{self.location}: {self.kind} ({self.excerpt})"


# A token must not be part of a longer word. One that continues a longer word (an id, a
# hash before a file's name) is not a key of its own.
_TOKEN_START, _TOKEN_END = r"(?<![0-9A-Za-z_+/=.-])", r"(?![0-9A-Za-z_+/=-])"

_SECRET_KINDS: tuple[tuple[str, str], ...] = (
    ("an OpenAI key", r"sk-[A-Za-z0-9_-]{16,}"),
    ("an OpenAI session", r"sess-[A-Za-z0-9]{30,}"),
    ("a bearer token", r"(?i:bearer)\s+[A-Za-z0-9._~+/-]{16,}=*"),
    ("basic credentials", r"(?i:\bbasic)\s+[A-Za-z0-9+/]{12,}=*" + _TOKEN_END),
    ("a JSON web token", r"ey[AIJ][A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}"),
    ("an Azure key", _TOKEN_START + r"(?:[0-9a-f]{32}|[0-9A-F]{32})" + _TOKEN_END),
    ("an Azure key", _TOKEN_START + r"[A-Za-z0-9]{84}" + _TOKEN_END),
    ("an Azure storage key", _TOKEN_START + r"[A-Za-z0-9+/]{86}==" + r"(?![0-9A-Za-z_+/=-])"),
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
    ("an AWS key", _TOKEN_START + r"(?:AKIA|ASIA)[0-9A-Z]{16}" + _TOKEN_END),
    ("a Google key", r"AIza[0-9A-Za-z_-]{35}"),
    ("a Slack token", r"xox[abeoprs]-[0-9A-Za-z-]{10,}"),
    ("a Hugging Face token", _TOKEN_START + r"hf_[A-Za-z0-9]{30,}"),
)
_COMPILED_KINDS = tuple((kind, re.compile(pattern)) for kind, pattern in _SECRET_KINDS)
# MIME breaks base64 into lines, so several lines are one text.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}(?:\r?\n[A-Za-z0-9+/_-]+)*")
_URL_SAFE = str.maketrans("+/", "-_")
_MAX_DEPTH = 5  # texts within texts: arguments within an event within a log within a file
_MAX_UNPACKED_BYTES = 1 << 24  # of a compressed file; the rest is not searched


def find_leaks(value: Any, location: str, harmless: Collection[re.Pattern[str]] = ()) -> Iterator[Leak]:
    """Yield what looks like a secret anywhere in a value of strings, bytes, mappings and lists.

    `location` says where the value is; reports add the keys of mappings to it. A text is searched as it is, and also
    decoded: from JSON (whose escapes could hide something), from percent encoding and from base64. Decoded texts are
    decoded again. Bytes are read as UTF-8, and gzip data is unpacked first.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield from find_leaks(key, location, harmless)
            yield from find_leaks(item, f"{location} {key}", harmless)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from find_leaks(item, location, harmless)
    elif isinstance(value, bytes):
        yield from find_leaks(_gunzip(value).decode("utf-8", "replace"), location, harmless)
    elif isinstance(value, str):
        yield from _find_in_text(value, location, harmless)


def _find_in_text(text: str, location: str, harmless: Collection[re.Pattern[str]]) -> Iterator[Leak]:
    leaks: dict[str, Leak] = {}  # by the matched text: the same secret is reported once
    for decoded in _decodings(text):
        for kind, pattern in _COMPILED_KINDS:
            for match in pattern.finditer(decoded):
                if not any(exception.search(match[0]) for exception in harmless):
                    leaks.setdefault(match[0], Leak(kind, location, mask(match[0])))
    yield from leaks.values()


def mask(secret: str) -> str:
    """Return the part of a secret that may be shown."""
    return f"{secret[:_EXCERPT_LENGTH]}..., {len(secret)} characters"


def _gunzip(value: bytes) -> bytes:
    if not value.startswith(b"\x1f\x8b"):
        return value
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(value, _MAX_UNPACKED_BYTES)
    except zlib.error:
        return value


def _decodings(text: str, depth: int = _MAX_DEPTH) -> Iterator[str]:
    """Yield a text and, recursively, every text that is encoded in it."""
    yield text
    for inner in _embedded_texts(text) if depth else ():
        if inner != text:
            yield from _decodings(inner, depth - 1)


def _embedded_texts(text: str) -> Iterator[str]:
    # JSON without a backslash has no escapes, so searching the text itself is enough.
    if "\\" in text:
        try:
            yield from _strings_in_json(json.loads(text))
        except (ValueError, RecursionError):  # not JSON; an event stream holds JSON line by line
            for line in text.splitlines():
                if line.startswith("data:") and "\\" in line:
                    yield from _strings_in_json(_parse_json(line.removeprefix("data:")))
    if "%" in text:
        yield unquote(text)
    for match in _BASE64.finditer(text):
        yield from _decode_base64("".join(match[0].split()))


def _decode_base64(text: str) -> Iterator[str]:
    """Yield the decoded text; nothing for an image, or for a word that only looks like base64."""
    with suppress(ValueError):
        yield base64.urlsafe_b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4)).decode()


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings_in_json(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            # With its key: some secrets are recognizable only by their name.
            yield f"{key}={item}" if isinstance(item, str) else ""
            yield from _strings_in_json(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings_in_json(item)
