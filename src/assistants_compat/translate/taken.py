"""What the old API served, as what a caller would have given: for objects that are copied from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire import Json

_ASSISTANT = (
    *("model", "name", "description", "instructions", "tools", "tool_resources", "metadata"),
    *("temperature", "top_p", "reasoning_effort", "response_format"),
)
# Served where nothing was given, and refused by some models when it is sent.
_DEFAULTS: Mapping[str, Any] = {"temperature": 1.0, "top_p": 1.0, "response_format": "auto"}


def assistant_fields_from_served(served: Mapping[str, Any]) -> Json:
    """The fields of an assistant, without those that only show a default."""
    return {key: served[key] for key in _ASSISTANT if served.get(key) is not None and served[key] != _DEFAULTS.get(key)}


def thread_fields_from_served(served: Mapping[str, Any]) -> Json:
    """The fields of a thread."""
    return {key: served[key] for key in ("metadata", "tool_resources") if served.get(key)}


_MESSAGE: Mapping[str, Any] = {
    **dict.fromkeys(("assistant_id", "run_id", "incomplete_details", "incomplete_at", "completed_at")),
    "status": "completed",  # recorded messages lack it
}


def message_from_served(served: Mapping[str, Any]) -> Json:
    """A message as it is kept, which is as it was served, with the keys that every message has."""
    lists = {"attachments": served.get("attachments") or [], "metadata": served.get("metadata") or {}}
    return {**_MESSAGE, **served, **lists}
