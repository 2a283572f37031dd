"""Translates objects that the legacy API served into rows of the store.

A row holds the fields that a caller would have sent to create the object, and every key that newer objects have.
Nothing is validated here: an object comes from the legacy API itself or has passed `engine/saved/checks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..wire.objects import Json
from .assistant import DEFAULT_RANKING_OPTIONS

# `file_ids` is from the first version of the API.
_ASSISTANT_KEYS = (
    *("model", "name", "description", "instructions", "tools", "tool_resources", "file_ids", "metadata"),
    *("temperature", "top_p", "reasoning_effort", "response_format"),
)
_ASSISTANT_DEFAULTS: Json = {
    "temperature": 1.0,
    "top_p": 1.0,
    "response_format": "auto",
    "tools": [],
    "tool_resources": {},
    "file_ids": [],
    "metadata": {},
}


def assistant_fields_from_served(served: Mapping[str, Any]) -> Json:
    """Return the fields with which a caller would have created this assistant.

    Fields with default values are left out, because some models refuse them.
    """
    fields = {key: served[key] for key in _ASSISTANT_KEYS if served.get(key) is not None}
    fields = {key: value for key, value in fields.items() if value != _ASSISTANT_DEFAULTS.get(key)}
    if isinstance(fields.get("tools"), list):
        fields["tools"] = [_tool_from_served(tool) for tool in fields["tools"]]
    return fields


def _tool_from_served(tool: Any) -> Any:
    search = tool.get("file_search") if isinstance(tool, dict) else None
    ranking = search.get("ranking_options") if isinstance(search, dict) else None
    if (
        search is None
        or not isinstance(ranking, dict)
        or {**DEFAULT_RANKING_OPTIONS, **ranking} != DEFAULT_RANKING_OPTIONS
    ):
        return tool
    # The caller did not set these options: the service adds them to every file search it serves (recorded).
    other_options = {key: value for key, value in search.items() if key != "ranking_options"}
    return {"type": "file_search", "file_search": other_options} if other_options else {"type": "file_search"}


def thread_fields_from_served(served: Mapping[str, Any]) -> Json:
    """Return the fields with which a caller would have created this thread."""
    return {key: served[key] for key in ("metadata", "tool_resources") if served.get(key) not in (None, {})}


_MESSAGE_DEFAULTS: Json = {
    **dict.fromkeys(("id", "object", "created_at", "assistant_id", "thread_id", "run_id")),
    "status": "completed",
    "incomplete_details": None,
    "incomplete_at": None,
    "completed_at": None,
    "role": None,
    "content": [],
    "attachments": [],
    "metadata": {},
}


def message_from_served(served: Mapping[str, Any]) -> Json:
    """Return a message with all keys of a served message; images of users get a `detail`."""
    body = _with_defaults(served, _MESSAGE_DEFAULTS)
    if body["role"] == "user":
        body["content"] = [_block_with_detail(block) for block in body["content"]]
    return body


# Served as empty lists or objects. A saved object may have null.
_NEVER_NULL_KEYS = ("attachments", "metadata", "tools", "tool_resources")


def _with_defaults(served: Mapping[str, Any], defaults: Json) -> Json:
    """Return the object with missing keys filled in, in the order in which they are served; unknown keys come last."""
    body = {**defaults, **served}
    return {key: defaults[key] if value is None and key in _NEVER_NULL_KEYS else value for key, value in body.items()}


def _block_with_detail(block: Json) -> Json:
    block_type = block["type"]
    if block_type not in ("image_file", "image_url"):
        return block
    # The default that was served (ThreadWithInitialMessagesWorks.json).
    return {**block, block_type: {"detail": "auto", **block[block_type]}}


# Runs that were saved in 2024 lack the keys that the API got later, such as `reasoning_effort` (recorded).
_RUN_DEFAULTS: Json = {
    **dict.fromkeys(("id", "object", "created_at", "assistant_id", "thread_id", "status")),
    **dict.fromkeys(("started_at", "expires_at", "cancelled_at", "failed_at", "completed_at")),
    **dict.fromkeys(("required_action", "last_error", "model", "instructions")),
    "tools": [],
    "tool_resources": {},
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
    "reasoning_effort": None,
    "max_completion_tokens": None,
    "max_prompt_tokens": None,
    "truncation_strategy": {"type": "auto", "last_messages": None},
    "incomplete_details": None,
    "usage": None,
    "response_format": "auto",
    "tool_choice": "auto",
    "parallel_tool_calls": True,
}

# The spec requires `expired_at` and `metadata`, which no recorded step has.
_STEP_DEFAULTS: Json = {
    **dict.fromkeys(("id", "object", "created_at", "run_id", "assistant_id", "thread_id", "type", "status")),
    **dict.fromkeys(("cancelled_at", "completed_at", "expires_at", "failed_at", "last_error", "step_details")),
    "usage": None,
    "expired_at": None,
    "metadata": {},
}


def _assistant_columns(served: Mapping[str, Any]) -> Json:
    return {"body": assistant_fields_from_served(served)}


def _thread_columns(served: Mapping[str, Any]) -> Json:
    return {"body": thread_fields_from_served(served)}


def _message_columns(served: Mapping[str, Any]) -> Json:
    body = message_from_served(served)
    return {"thread_id": body["thread_id"], "run_id": body["run_id"], "kind": "message", "body": body}


def _run_columns(served: Mapping[str, Any]) -> Json:
    body = _with_defaults(served, _RUN_DEFAULTS)
    return {
        "thread_id": body["thread_id"],
        "assistant_id": body["assistant_id"],
        "status": body["status"],
        "expires_at": body["expires_at"] or body["created_at"],  # null once the run has ended (recorded)
        "response_id": None,
        "request": {},
        "state": {"usage": body["usage"], "sent": [], "cuts": 0, "plain": False},
        "body": body,
    }


def _step_columns(served: Mapping[str, Any]) -> Json:
    body = {**_STEP_DEFAULTS, **served}
    return {"thread_id": body["thread_id"], "run_id": body["run_id"], "body": body}


_EVERY_KEY = ("id", "object", "created_at")
KNOWN_KEYS: Mapping[str, frozenset[str]] = {
    "assistant": frozenset({*_EVERY_KEY, *_ASSISTANT_KEYS}),
    "thread": frozenset({*_EVERY_KEY, "metadata", "tool_resources"}),
    "thread.message": frozenset({*_MESSAGE_DEFAULTS, "file_ids"}),
    "thread.run": frozenset({*_RUN_DEFAULTS, "file_ids"}),
    "thread.run.step": frozenset(_STEP_DEFAULTS),
}
"""The keys that the service sends, by the kind of the object."""

_COLUMN_CONVERTERS: Mapping[str, Callable[[Mapping[str, Any]], Json]] = {
    "assistant": _assistant_columns,
    "thread": _thread_columns,
    "thread.message": _message_columns,
    "thread.run": _run_columns,
    "thread.run.step": _step_columns,
}


def row_from_served(object_type: str, served: Mapping[str, Any]) -> Json:
    """Return the columns of an object's row; `object_type` is the value of its key `object`.

    The row of an active run has no response id, because the upstream never received it. Raises `KeyError` for an object
    without `id` or `created_at`.
    """
    return {"id": served["id"], "created_at": served["created_at"], **_COLUMN_CONVERTERS[object_type](served)}
