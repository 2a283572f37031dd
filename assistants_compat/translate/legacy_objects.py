"""What the old API served, as the store keeps it: what a caller would have given, and the keys that an object lacks.

Nothing is checked here: an object comes from the old API itself, or has been looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..wire.objects import Json
from .assistant import RANKING

_ASSISTANT = (
    *("model", "name", "description", "instructions", "tools", "tool_resources", "file_ids", "metadata"),
    *("temperature", "top_p", "reasoning_effort", "response_format"),
)
_DEFAULTS: Json = {
    "temperature": 1.0,
    "top_p": 1.0,
    "response_format": "auto",
    "tools": [],
    "tool_resources": {},
    "file_ids": [],
    "metadata": {},
}


def assistant_fields_from_served(served: Mapping[str, Any]) -> Json:
    """What somebody gave who was served this assistant; defaults are left out, as models refuse some."""
    fields = {key: served[key] for key in _ASSISTANT if served.get(key) is not None}
    fields = {key: value for key, value in fields.items() if value != _DEFAULTS.get(key)}
    if isinstance(fields.get("tools"), list):
        fields["tools"] = [_given_tool(tool) for tool in fields["tools"]]
    return fields


def _given_tool(tool: Any) -> Any:
    search = tool.get("file_search") if isinstance(tool, dict) else None
    ranking = search.get("ranking_options") if isinstance(search, dict) else None
    if search is None or not isinstance(ranking, dict) or {**RANKING, **ranking} != RANKING:
        return tool
    rest = {key: value for key, value in search.items() if key != "ranking_options"}
    return {"type": "file_search", "file_search": rest} if rest else {"type": "file_search"}


def thread_fields_from_served(served: Mapping[str, Any]) -> Json:
    """What somebody gave who was served this thread."""
    return {key: served[key] for key in ("metadata", "tool_resources") if served.get(key) not in (None, {})}


_MESSAGE: Json = {
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
    """A message with every key that one is served with; images of users have a `detail`."""
    body = _filled(served, _MESSAGE)
    if body["role"] == "user":
        body["content"] = [_shown_block(block) for block in body["content"]]
    return body


_LISTS = ("attachments", "metadata", "tools", "tool_resources")


def _filled(served: Mapping[str, Any], defaults: Json) -> Json:
    """The object with what it lacks, in the order in which it is served; keys that nobody knows come last."""
    body = {**defaults, **served}
    return {key: defaults[key] if value is None and key in _LISTS else value for key, value in body.items()}


def _shown_block(block: Json) -> Json:
    kind = block["type"]
    return {**block, kind: {"detail": "auto", **block[kind]}} if kind in ("image_file", "image_url") else block


_RUN: Json = {
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

_STEP: Json = {
    **dict.fromkeys(("id", "object", "created_at", "run_id", "assistant_id", "thread_id", "type", "status")),
    **dict.fromkeys(("cancelled_at", "completed_at", "expires_at", "failed_at", "last_error", "step_details")),
    "usage": None,
    "expired_at": None,
    "metadata": {},
}


def _assistant(served: Mapping[str, Any]) -> Json:
    return {"body": assistant_fields_from_served(served)}


def _thread(served: Mapping[str, Any]) -> Json:
    return {"body": thread_fields_from_served(served)}


def _message(served: Mapping[str, Any]) -> Json:
    body = message_from_served(served)
    return {"thread_id": body["thread_id"], "run_id": body["run_id"], "kind": "message", "body": body}


def _run(served: Mapping[str, Any]) -> Json:
    body = _filled(served, _RUN)
    return {
        "thread_id": body["thread_id"],
        "assistant_id": body["assistant_id"],
        "status": body["status"],
        "expires_at": body["expires_at"] or body["created_at"],
        "response_id": None,
        "request": {},
        "state": {"usage": body["usage"], "sent": [], "cuts": 0, "plain": False},
        "body": body,
    }


def _step(served: Mapping[str, Any]) -> Json:
    body = {**_STEP, **served}
    return {"thread_id": body["thread_id"], "run_id": body["run_id"], "body": body}


_ROWS: Mapping[str, Callable[[Mapping[str, Any]], Json]] = {
    "assistant": _assistant,
    "thread": _thread,
    "thread.message": _message,
    "thread.run": _run,
    "thread.run.step": _step,
}


def row_from_served(kind: str, served: Mapping[str, Any]) -> Json:
    """The columns of an object's row, by the kind that its `object` says; raises `KeyError` without `id` and time.

    An active run is one that nobody asked the upstream for: it has no response.
    """
    return {"id": served["id"], "created_at": served["created_at"], **_ROWS[kind](served)}
