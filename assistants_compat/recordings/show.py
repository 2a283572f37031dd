"""A recording in lines that a person reads: bodies are shortened, streams are counts of their events."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from .vcr_yaml import Exchange

_LONGEST = 80  # characters of a text that are shown
_ENTRIES = 5  # entries of a list
_LINE = 120
# What may not be read over somebody's shoulder: keys, tokens, and the queries that hold them.
_SECRET = re.compile(r"\b(?:sk|pk|sess|ek)-[\w-]{8,}|\beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?|(?i:\bbearer)\s+\S+")
_SECRET_QUERY = re.compile(r"(?i)([?&](?:sig|signature|token|key|api[-_]key|access[-_]token|code)=)[^&]+")
_EVENT = re.compile(rb"^event:\s*(\S+)", re.MULTILINE)
_TYPE = re.compile(rb'^data:\s*\{\s*"type":\s*"([\w.]+)"', re.MULTILINE)


def lines(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """Three lines an exchange at most: request, its body, the answer.  No header is shown, and no secret."""
    for number, exchange in enumerate(exchanges, 1):
        yield without_secrets(f"{number}. {exchange.method} {_address(exchange.uri)}")
        if exchange.request_body:
            yield without_secrets(f"   -> {body_in_words(exchange.request_body)}")
        said = _stream(exchange.body) if exchange.is_stream else body_in_words(exchange.body)
        yield without_secrets(f"   <- {exchange.status} {said}".rstrip())


def without_secrets(text: str) -> str:
    """A text with keys, tokens and signatures left out."""
    return _SECRET_QUERY.sub(r"\1...", _SECRET.sub("...", text))


def body_in_words(body: bytes) -> str:
    """A body in one line: JSON with its texts and lists shortened, or how many bytes there are."""
    if not body:
        return ""
    try:
        said = json.dumps(_shortened(json.loads(body)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return f"({len(body)} bytes)"
    return said if len(said) <= _LINE * 4 else f"{said[: _LINE * 4]}... ({len(body)} bytes)"


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}... ({len(value)} characters)"
    if isinstance(value, list):
        rest = len(value) - _ENTRIES
        return [_shortened(each) for each in value[:_ENTRIES]] + ([f"... {rest} more"] if rest > 0 else [])
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items() if each not in (None, {}, [])}
    return value


def _stream(body: bytes) -> str:
    names = [name.decode("ascii", "replace") for name in _EVENT.findall(body) or _TYPE.findall(body)]
    told = [f"{len(list(same))} x {name}" for name, same in groupby(names)]
    shown = told if len(told) <= _ENTRIES * 4 else [f"{count} x {name}" for name, count in Counter(names).items()]
    return f"stream: {', '.join(shown)}"


def _address(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}{f'?{parts.query}' if parts.query else ''}"
