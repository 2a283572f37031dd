"""Undoes what programs do to an object between the wire and a file: nulls, the SDK's own names, and other times.

`model_dump()` of the SDK writes a null for every optional key that the service left out, and `schema_` for `schema`.
Databases and other languages write times as decimals, strings or ISO 8601. Everything here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ...wire.checks import FREE_FORM_KEYS
from ...wire.objects import Json

TIME_KEYS = frozenset(
    {"created_at", "started_at", "expires_at", "cancelled_at", "failed_at", "completed_at", "incomplete_at"}
    | {"expired_at"}
)

# The service itself sends these nulls (recorded), and `output` of a function call is required and nullable (spec).
_SERVED_NULLS = frozenset({"last_messages", "hybrid_search", "output"})
_SDK_NAMES = {"schema_": "schema"}  # the names of attributes, which `model_dump()` writes by default

_ISO_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<clock>\d\d:\d\d(?::\d\d)?)(?:[.,](?P<fraction>\d{1,9}))? ?"
    r"(?:(?P<utc>Z|z|UTC|GMT)|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)?)?\Z",
    re.ASCII,
)
_NUMBER = re.compile(r"\d{1,16}(?:\.\d{1,9})?\Z", re.ASCII)
_FIRST_MILLISECONDS = 10**11  # as seconds this is the year 5138, as milliseconds 1973


def object_from_dump(saved: Mapping[str, Any]) -> Json:
    """Return a saved object as the service would have sent it: without added nulls, with times in whole seconds.

    A time that cannot be understood stays as it is, and is left to the checks.
    """
    return {
        key: value if type(value) is str and key not in TIME_KEYS else _plain_value(key, value)
        for key, value in saved.items()
        if value is not None
    }


def _plain_value(key: str, value: Any) -> Any:
    if key in TIME_KEYS:
        return _plain_seconds(value)
    return value if key in FREE_FORM_KEYS else _without_nulls(value)


def _plain_seconds(value: Any) -> Any:
    if type(value) is int and value < _FIRST_MILLISECONDS:
        return value
    seconds = seconds_from_time(value)
    return value if seconds is None else int(seconds)


def _without_nulls(value: Any) -> Any:
    if type(value) is str:  # most are
        return value
    if isinstance(value, dict):
        return {
            _SDK_NAMES.get(key, key): item if key in FREE_FORM_KEYS or key in _SDK_NAMES else _without_nulls(item)
            for key, item in value.items()
            if item is not None or key in _SERVED_NULLS
        }
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def seconds_from_time(value: object) -> float | None:
    """Return a time as seconds since the epoch, or None if it is not understood.

    Understood are whole and decimal numbers of seconds, milliseconds from 1973 on, either of them as a string, and
    ISO 8601 with a space or a `T`. A time without a zone is read as UTC.
    """
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.match(text) is None:
            return _seconds_from_iso(text)
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _FIRST_MILLISECONDS * 1000:
        return None
    return value / 1000 if value >= _FIRST_MILLISECONDS else value


def _seconds_from_iso(text: str) -> float | None:
    match = _ISO_TIME.match(text)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(f"{match['day']}T{match['clock'] or '00:00'}").replace(tzinfo=timezone.utc)
    except ValueError:  # a month 13, say
        return None
    if match["sign"]:
        offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"] or 0))
        moment -= offset if match["sign"] == "+" else -offset
    seconds = moment.timestamp() + float(f"0.{match['fraction'] or 0}")
    return seconds if seconds >= 0 else None
