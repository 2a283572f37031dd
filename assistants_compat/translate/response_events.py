"""Tells a response that was not streamed as the events of a stream.

`RunEvents` gets these events as it would get an upstream's. The end of a response brings everything that was not
streamed before, so the items need no events of their own: the run's events come in the recorded order, each text in one
delta. `tests/recorded_traffic/test_response_events.py` compares both ways for every recorded stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.objects import Json
from .run import STATUS_OF_RESPONSE, TERMINAL


def has_ended(response: Mapping[str, Any]) -> bool:
    """Whether a response has ended."""
    return _status(response) in TERMINAL


def events_from_response(response: Mapping[str, Any]) -> list[Json]:
    """Return the events of a response as far as it has come; events that were told before may be repeated."""
    names = ["created"] if _status(response) == "queued" else ["created", "in_progress"]
    if has_ended(response):
        names.append(_status(response))
    return [{"type": f"response.{name}", "response": response} for name in names]


def _status(response: Mapping[str, Any]) -> str:
    """Return the status of a response; without one it is complete if it has output and does not run in the background.

    The spec does not require a status.
    """
    default = "completed" if response.get("output") and not response.get("background") else "in_progress"
    return STATUS_OF_RESPONSE.get(str(response.get("status") or default), "in_progress")
