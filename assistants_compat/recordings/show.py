"""Summarizes a recording for a person: short bodies, streams as counts of their events, no headers, no secrets."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from .vcr_yaml import Exchange

_MAX_TEXT = 80  # characters of a text
_MAX_ENTRIES = 5  # entries of a list
_LINE_LENGTH = 120
# What must not show on a screen or in a CI log: keys, tokens, and the query parameters that hold them.
_SECRET = re.compile(r"\b(?:sk|pk|sess|ek)-[\w-]{8,}|\beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?|(?i:\bbearer)\s+\S+")
_SECRET_QUERY = re.compile(r"(?i)([?&](?:sig|signature|token|key|api[-_]key|access[-_]token|code)=)[^&]+")
_EVENT_NAME = re.compile(rb"^event:\s*(\S+)", re.MULTILINE)
_DATA_TYPE = re.compile(rb'^data:\s*\{\s*"type":\s*"([\w.]+)"', re.MULTILINE)


def summary_lines(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """Yield at most three lines for each exchange: the request, its body, the response."""
    for number, exchange in enumerate(exchanges, 1):
        yield redact(f"{number}. {exchange.method} {_without_credentials(exchange.uri)}")
        if exchange.request_body:
            yield redact(f"   -> {summarize_body(exchange.request_body)}")
        summary = _summarize_stream(exchange.body) if exchange.is_stream else summarize_body(exchange.body)
        yield redact(f"   <- {exchange.status} {summary}".rstrip())


def redact(text: str) -> str:
    """Return a text without keys, tokens and signatures."""
    return _SECRET_QUERY.sub(r"\1...", _SECRET.sub("...", text))


def summarize_body(body: bytes) -> str:
    """Return a body as one line: JSON with shortened texts and lists, or the number of bytes."""
    if not body:
        return ""
    try:
        text = json.dumps(_shorten(json.loads(body)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return f"({len(body)} bytes)"
    return text if len(text) <= _LINE_LENGTH * 4 else f"{text[: _LINE_LENGTH * 4]}... ({len(body)} bytes)"


def _shorten(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}... ({len(value)} characters)"
    if isinstance(value, list):
        hidden = len(value) - _MAX_ENTRIES
        return [_shorten(entry) for entry in value[:_MAX_ENTRIES]] + ([f"... {hidden} more"] if hidden > 0 else [])
    if isinstance(value, dict):
        return {key: _shorten(item) for key, item in value.items() if item not in (None, {}, [])}
    return value


def _summarize_stream(body: bytes) -> str:
    # Some recorders kept the data of each event and not its name.
    names = [name.decode("ascii", "replace") for name in _EVENT_NAME.findall(body) or _DATA_TYPE.findall(body)]
    groups = [f"{len(list(group))} x {name}" for name, group in groupby(names)]
    counts = (
        groups if len(groups) <= _MAX_ENTRIES * 4 else [f"{count} x {name}" for name, count in Counter(names).items()]
    )
    return f"stream: {', '.join(counts)}"


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}{f'?{parts.query}' if parts.query else ''}"
