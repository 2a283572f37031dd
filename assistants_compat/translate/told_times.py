"""Keeps the times that a stream tells and those that are stored the same: a moment is read from the clock once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..wire.objects import Json, Run
from .sse import Event

_TIME_KEYS = ("created_at", "started_at", "completed_at", "failed_at", "cancelled_at", "incomplete_at", "expired_at")


def times_of_told_run(told: Run, stored: Run, status: str) -> Json:
    """Return the times to store for a run that a stream has told, when it gets this status.

    A start that is stored already stays: other readers may have seen it.
    """
    started_at = told["started_at"] if stored["started_at"] is None else stored["started_at"]
    start: Json = {} if started_at is None else {"started_at": started_at}
    if told["status"] != status:
        return start
    return {**{key: told[key] for key in ("completed_at", "failed_at", "cancelled_at")}, **start}


def events_with_stored_times(events: Sequence[Event], bodies: Mapping[str, Mapping[str, Any]]) -> list[Event]:
    """Return the events with the times of the stored objects, which are given by their ids."""
    return [_with_stored_times(event, bodies) for event in events]


def _with_stored_times(event: Event, bodies: Mapping[str, Mapping[str, Any]]) -> Event:
    name, data = event
    body = bodies.get(str(data.get("id"))) if isinstance(data, dict) else None
    if body is None:
        return event
    return name, {**data, **{key: body[key] for key in _TIME_KEYS if key in data and key in body}}
