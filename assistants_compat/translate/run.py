"""Runs: the table of statuses, and what each of them sets.

The service's diagram as data (platform.md section 12).  A move that is not in the table is a bug and raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..wire.objects import Json, Run, Usage, as_object
from .assistant import tools_from_request

MOVES: Mapping[str, frozenset[str]] = {
    "queued": frozenset(
        {"in_progress", "completed", "failed", "incomplete", "expired", "requires_action", "cancelling", "cancelled"}
    ),
    "in_progress": frozenset(
        {"completed", "failed", "incomplete", "expired", "requires_action", "cancelling", "cancelled"}
    ),
    "requires_action": frozenset({"queued", "expired", "cancelling", "cancelled", "failed"}),
    "cancelling": frozenset({"cancelled", "completed", "failed", "incomplete", "expired"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "incomplete": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
"""Where a run may go from each status.

`queued` may end without having been seen `in_progress`: nobody may have looked in between.  `cancelled` may come
without `cancelling`: the upstream's own cancel is at once.
"""

TERMINAL = frozenset(status for status, moves in MOVES.items() if not moves)

STATUS_OF_RESPONSE = {
    "queued": "queued",
    "in_progress": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "incomplete": "incomplete",
    "cancelled": "cancelled",
}

_STAMP = {"completed": "completed_at", "failed": "failed_at", "cancelled": "cancelled_at", "incomplete": "completed_at"}
_STARTED = (TERMINAL | {"requires_action"}) - {"expired"}
_ERROR_CODES = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})


class IllegalMoveError(Exception):
    """A run was to move where the table does not let it."""


def run_from_request(  # noqa: PLR0913 - an id, a place, a time and three sources
    id_: str,
    thread_id: str,
    now: int,
    given: Mapping[str, Any],
    assistant: Mapping[str, Any],
    *,
    ttl: int,
) -> Run:
    """A new run as served: what the request gives overrides the assistant (BasicRunOperationsWork.json).

    `given` is the request, `assistant` the fields that its creator gave; echoes are the service's defaults.
    """
    merged = overridden(given, assistant)
    truncation = given.get("truncation_strategy") or {}
    return {
        "id": id_,
        "object": "thread.run",
        "created_at": now,
        "assistant_id": given["assistant_id"],
        "thread_id": thread_id,
        "status": "queued",
        "started_at": None,
        "expires_at": now + ttl,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": merged["model"],
        "instructions": _instructions(merged.get("instructions"), given.get("additional_instructions")),
        "tools": tools_from_request(merged.get("tools")),
        "tool_resources": {},
        "metadata": given.get("metadata") or {},
        "temperature": 1.0 if merged.get("temperature") is None else merged["temperature"],
        "top_p": 1.0 if merged.get("top_p") is None else merged["top_p"],
        "reasoning_effort": merged.get("reasoning_effort"),
        "max_completion_tokens": given.get("max_completion_tokens"),
        "max_prompt_tokens": given.get("max_prompt_tokens"),
        "truncation_strategy": {
            "type": truncation.get("type", "auto"),
            "last_messages": truncation.get("last_messages"),
        },
        "incomplete_details": None,
        "usage": None,
        "response_format": "auto" if merged.get("response_format") is None else merged["response_format"],
        "tool_choice": "auto" if given.get("tool_choice") is None else given["tool_choice"],
        "parallel_tool_calls": given.get("parallel_tool_calls") is not False,
    }


_OVERRIDES = ("model", "instructions", "tools", "temperature", "top_p", "reasoning_effort", "response_format")


def overridden(given: Mapping[str, Any], assistant: Mapping[str, Any]) -> Json:
    """The request's fields, with the assistant's where the request says nothing."""
    inherited = {key: assistant[key] for key in _OVERRIDES if given.get(key) is None and key in assistant}
    return {**given, **inherited}


def last_messages(run: Run) -> int | None:
    """How many of the newest messages a run sends; None for all: `auto` has no number, whatever is given beside it."""
    strategy = run["truncation_strategy"]
    number: int | None = strategy["last_messages"] if strategy["type"] == "last_messages" else None
    return number


def _instructions(instructions: str | None, additional: str | None) -> str | None:
    if not additional:
        return instructions
    return f"{instructions}\n{additional}" if instructions else additional


def moved(run: Run, status: str, now: int, **changes: object) -> Run:
    """The run in its next status, with the timestamps that belong to it; raises `IllegalMoveError`."""
    if status not in MOVES[run["status"]]:
        message = f"a run cannot go from {run['status']} to {status}"
        raise IllegalMoveError(message)
    stamps: Json = {}
    if status in TERMINAL:
        stamps["expires_at"] = None  # recorded: null once the run has ended
        stamps["required_action"] = None
    if status == "in_progress":
        stamps["started_at"] = min(now, run["expires_at"] or now)  # it may be seen to work when it is too late
    elif run["started_at"] is None and status in _STARTED:
        stamps["started_at"] = run["created_at"]  # its round ended between two looks: it had started
    if status in _STAMP:
        stamps[_STAMP[status]] = now
    return cast("Run", {**run, **stamps, "status": status, **changes})


def outcome_of_response(run: Run, response: Mapping[str, Any], usage: Usage) -> tuple[str, Json]:
    """The status that a finished response gives its run, and the changes that come with it.

    `usage` is the sum over all rounds.  A response that calls functions leaves the run waiting for their outputs,
    unless a budget of the run is spent or it is being cancelled.
    """
    changes: Json = {"usage": usage}
    status = STATUS_OF_RESPONSE.get(str(response.get("status")), "failed")
    calls = function_calls(response) if status == "completed" else []
    if status == "completed" and (reason := _spent(run, usage, more=bool(calls))):
        return "incomplete", {**changes, "incomplete_details": {"reason": reason}}
    if calls and run["status"] == "cancelling":
        return "cancelled", changes
    if calls:
        return "requires_action", {"required_action": _required_action(calls)}
    if status == "incomplete":
        reason = as_object(response.get("incomplete_details")).get("reason")
        # The legacy reasons know no content filter: the SDK's type takes any string, the spec's enum has two.
        changes["incomplete_details"] = {"reason": "max_completion_tokens" if reason == "max_output_tokens" else reason}
    elif status == "failed":
        changes["last_error"] = last_error(as_object(response.get("error")))
    return status, changes


def status_of_calls(status: str) -> str:
    """The status of a step whose functions a response calls, by what becomes of its run: mostly nobody answers them."""
    return {"requires_action": "in_progress", "cancelled": "cancelled"}.get(status, "failed")


def _spent(run: Run, usage: Usage, *, more: bool) -> str | None:
    """The budget of the whole run that is used up; the one for completions ends a run only if there is more to say."""
    prompt, completion = run["max_prompt_tokens"], run["max_completion_tokens"]
    if prompt is not None and usage["prompt_tokens"] > prompt:
        return "max_prompt_tokens"
    if more and completion is not None and usage["completion_tokens"] >= completion:
        return "max_completion_tokens"
    return None


def function_calls(response: Mapping[str, Any]) -> list[Json]:
    """The function calls of a response in legacy shape; their ids are the upstream's `call_id`s."""
    output = response.get("output")
    return [
        function_call(item)
        for item in (output if isinstance(output, list) else [])
        if isinstance(item, dict) and item.get("type") == "function_call"
    ]


def function_call(item: Mapping[str, Any], **more: None) -> Json:
    """One call; in a step it also has its `output`, null until it comes."""
    function = {"name": str(item.get("name")), "arguments": str(item.get("arguments") or ""), **more}
    return {"id": str(item.get("call_id")), "type": "function", "function": function}


def _required_action(calls: list[Json]) -> Json:
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def last_error(error: Mapping[str, Any]) -> Json:
    """A run's `last_error`: three codes are known there, the others become `server_error`; the message is kept."""
    code = str(error.get("code"))
    message = str(error.get("message") or "Sorry, something went wrong.")
    return {"code": code if code in _ERROR_CODES else "server_error", "message": message}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def added(one: Usage | None, other: Usage) -> Usage:
    """The sum of two usages."""
    if one is None:
        return other
    return {
        "prompt_tokens": one["prompt_tokens"] + other["prompt_tokens"],
        "completion_tokens": one["completion_tokens"] + other["completion_tokens"],
        "total_tokens": one["total_tokens"] + other["total_tokens"],
        "prompt_token_details": _sums(one["prompt_token_details"], other["prompt_token_details"]),
        "completion_tokens_details": _sums(one["completion_tokens_details"], other["completion_tokens_details"]),
    }


def _sums(one: Json, other: Json) -> Json:
    return {key: one[key] + other[key] for key in one}


def usage_from_response(response: Mapping[str, Any]) -> Usage:
    """Token counts in the legacy words, `prompt_token_details` included (recorded); zeros where upstream says none."""
    usage = as_object(response.get("usage"))
    prompt, completion = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    cached = _count(as_object(usage.get("input_tokens_details")).get("cached_tokens"))
    reasoning = _count(as_object(usage.get("output_tokens_details")).get("reasoning_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": _count(usage.get("total_tokens")) or prompt + completion,
        "prompt_token_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def with_response(state: Json, response_id: str | None) -> Json:
    """The state of a run, which remembers every response that was made for it: they are deleted with its thread."""
    known = state.get("responses", [])
    return state if response_id is None or response_id in known else {**state, "responses": [*known, response_id]}
