"""The status table of runs, and the translation of a request and its responses into the fields of a run.

The table is the service's own diagram as data (platform.md section 12). A transition that is not in it is a bug and
raises. What a run sends upstream is in `request.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..wire.objects import Json, Run, Usage, as_object
from .assistant import tools_from_request

TRANSITIONS: Mapping[str, frozenset[str]] = {
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
"""The statuses that a run may change to from each status.

A `queued` run may end without ever being `in_progress`, because it advances only when something polls it. It may become
`cancelled` without `cancelling`, because the upstream cancels at once.
"""

TERMINAL = frozenset(status for status, targets in TRANSITIONS.items() if not targets)
"""The statuses in which a run has ended."""

STATUS_OF_RESPONSE = {
    "queued": "queued",
    "in_progress": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "incomplete": "incomplete",
    "cancelled": "cancelled",
}
"""The status of a run by the status of its response; any other response status is a failure."""

# A run has no `incomplete_at` and no `expired_at` (29 recorded keys).
_TIMESTAMP_KEYS = {
    "completed": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
    "incomplete": "completed_at",
}
# A run that reaches one of these statuses had started. An expired one may never have.
_IMPLIES_STARTED = (TERMINAL | {"requires_action"}) - {"expired"}
# By upstream codes and types. A run of the old service that a used-up quota ended was printed in public, with this code
# and the message of `insufficient_quota`; the recorded error has that as its code and type.
_LEGACY_CODES = {
    **{code: code for code in ("server_error", "rate_limit_exceeded", "invalid_prompt")},
    "insufficient_quota": "rate_limit_exceeded",
    "429": "rate_limit_exceeded",  # gateways send the HTTP status as the code
}


class IllegalTransitionError(Exception):
    """Raised for a status change that `TRANSITIONS` does not allow."""


def run_from_request(  # noqa: PLR0913 - the ids and times of the run, its request and its assistant
    id_: str,
    thread_id: str,
    now: int,
    params: Mapping[str, Any],
    assistant: Mapping[str, Any],
    *,
    ttl: int,
) -> Run:
    """Return a new run as served; the request's fields override the assistant's (BasicRunOperationsWork.json).

    `params` are those of the request, `assistant` the fields that the assistant was created with, and `ttl` the seconds
    until the run expires. Fields that neither sets get the service's defaults.
    """
    settings = with_assistant_defaults(params, assistant)
    truncation = params.get("truncation_strategy") or {}
    return {
        "id": id_,
        "object": "thread.run",
        "created_at": now,
        "assistant_id": params["assistant_id"],
        "thread_id": thread_id,
        "status": "queued",
        "started_at": None,
        "expires_at": now + ttl,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": settings["model"],
        "instructions": _join_instructions(settings.get("instructions"), params.get("additional_instructions")),
        "tools": tools_from_request(settings.get("tools")),
        "tool_resources": {},
        "metadata": params.get("metadata") or {},
        "temperature": 1.0 if settings.get("temperature") is None else settings["temperature"],
        "top_p": 1.0 if settings.get("top_p") is None else settings["top_p"],
        "reasoning_effort": settings.get("reasoning_effort"),
        "max_completion_tokens": params.get("max_completion_tokens"),
        "max_prompt_tokens": params.get("max_prompt_tokens"),
        "truncation_strategy": {
            "type": truncation.get("type", "auto"),
            "last_messages": truncation.get("last_messages"),
        },
        "incomplete_details": None,
        "usage": None,
        "response_format": "auto" if settings.get("response_format") is None else settings["response_format"],
        "tool_choice": "auto" if params.get("tool_choice") is None else params["tool_choice"],
        # Null counts as absent, and the recorded default is true.
        "parallel_tool_calls": params.get("parallel_tool_calls") is not False,
    }


_INHERITED_KEYS = ("model", "instructions", "tools", "temperature", "top_p", "reasoning_effort", "response_format")


def with_assistant_defaults(params: Mapping[str, Any], assistant: Mapping[str, Any]) -> Json:
    """Return the request's params, with the assistant's fields where the request has none."""
    inherited = {key: assistant[key] for key in _INHERITED_KEYS if params.get(key) is None and key in assistant}
    return {**params, **inherited}


def last_messages(run: Run) -> int | None:
    """Return how many of the newest messages a run sends, or None for all.

    The strategy `auto` sends all, even if the request has a number beside it.
    """
    strategy = run["truncation_strategy"]
    limit: int | None = strategy["last_messages"] if strategy["type"] == "last_messages" else None
    return limit


def _join_instructions(instructions: str | None, additional: str | None) -> str | None:
    if not additional:
        return instructions
    return f"{instructions}\n{additional}" if instructions else additional


def run_with_status(run: Run, status: str, now: int, **changes: object) -> Run:
    """Return the run with its next status, the timestamps that belong to it, and further changes.

    Raises `IllegalTransitionError`.
    """
    if status not in TRANSITIONS[run["status"]]:
        allowed = ", ".join(sorted(TRANSITIONS[run["status"]])) or "no other status"
        message = f"a run cannot change from {run['status']} to {status}; allowed: {allowed}"
        raise IllegalTransitionError(message)
    fields: Json = {}
    if status in TERMINAL:
        fields["expires_at"] = None  # recorded: null once the run has ended
        fields["required_action"] = None
    if status == "in_progress":
        fields["started_at"] = min(now, run["expires_at"] or now)  # a poll may see it work only after it expired
    elif run["started_at"] is None and status in _IMPLIES_STARTED:
        fields["started_at"] = run["created_at"]  # it started and ended between two polls
    if status in _TIMESTAMP_KEYS:
        fields[_TIMESTAMP_KEYS[status]] = now
    return cast("Run", {**run, **fields, "status": status, **changes})


def transition_from_response(run: Run, response: Mapping[str, Any], usage: Usage) -> tuple[str, Json]:
    """Return the status that a finished response gives its run, and the other fields that change with it.

    `usage` is the sum over all rounds. A response that calls functions leaves the run waiting for their outputs, unless
    the run has used up a token budget or is being cancelled.
    """
    changes: Json = {"usage": usage}
    status = STATUS_OF_RESPONSE.get(str(response.get("status")), "failed")
    calls = function_calls_from_response(response) if status == "completed" else []
    if status == "completed" and (reason := _exceeded_budget(run, usage, calls_functions=bool(calls))):
        return "incomplete", {**changes, "incomplete_details": {"reason": reason}}
    # A run that is being cancelled takes no outputs, so it would wait for them in vain.
    if calls and run["status"] == "cancelling":
        return "cancelled", changes
    if calls:
        return "requires_action", {"required_action": _required_action(calls)}
    if status == "incomplete":
        reason = as_object(response.get("incomplete_details")).get("reason")
        # The spec's enum has two reasons, without a content filter; the SDK's type accepts any string.
        changes["incomplete_details"] = {"reason": "max_completion_tokens" if reason == "max_output_tokens" else reason}
    elif status == "failed":
        changes["last_error"] = last_error_from_upstream(as_object(response.get("error")))
    return status, changes


def function_step_status(run_status: str) -> str:
    """Return the status of a step of function calls, given the run's new status.

    Only a run that requires action can still get their outputs.
    """
    return {"requires_action": "in_progress", "cancelled": "cancelled"}.get(run_status, "failed")


def _exceeded_budget(run: Run, usage: Usage, *, calls_functions: bool) -> str | None:
    """Return the token budget that the run has used up, or None.

    The completion budget ends a run only if another round would follow.
    """
    prompt_limit, completion_limit = run["max_prompt_tokens"], run["max_completion_tokens"]
    if prompt_limit is not None and usage["prompt_tokens"] > prompt_limit:
        return "max_prompt_tokens"
    if calls_functions and completion_limit is not None and usage["completion_tokens"] >= completion_limit:
        return "max_completion_tokens"
    return None


def function_calls_from_response(response: Mapping[str, Any]) -> list[Json]:
    """Return the function calls of a response in legacy shape; their ids are the upstream's `call_id`s."""
    output = response.get("output")
    return [
        function_call_from_item(item)
        for item in (output if isinstance(output, list) else [])
        if isinstance(item, dict) and item.get("type") == "function_call"
    ]


def function_call_from_item(item: Mapping[str, Any], **extra_fields: None) -> Json:
    """Return a function call in legacy shape; in a step it also has `output`, null until the caller submits it."""
    function = {"name": str(item.get("name")), "arguments": str(item.get("arguments") or ""), **extra_fields}
    # Not the item's own `fc_` id: the upstream matches an output by `call_id` (platform.md section 10).
    return {"id": str(item.get("call_id")), "type": "function", "function": function}


def _required_action(calls: list[Json]) -> Json:
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def last_error_from_upstream(error: Mapping[str, Any]) -> Json:
    """Return a run's `last_error`: the legacy API has three codes, so any other becomes `server_error`.

    The upstream's code decides; if it is none of those that are known, its type.
    """
    known = (_LEGACY_CODES.get(str(error.get(key))) for key in ("code", "type"))
    message = str(error.get("message") or "Sorry, something went wrong.")
    return {"code": next(filter(None, known), "server_error"), "message": message}


def _int_or_zero(value: object) -> int:
    return value if isinstance(value, int) else 0


def sum_usage(first: Usage | None, second: Usage) -> Usage:
    """Return the sum of two usages."""
    if first is None:
        return second
    return {
        "prompt_tokens": first["prompt_tokens"] + second["prompt_tokens"],
        "completion_tokens": first["completion_tokens"] + second["completion_tokens"],
        "total_tokens": first["total_tokens"] + second["total_tokens"],
        "prompt_token_details": _sum_counts(first["prompt_token_details"], second["prompt_token_details"]),
        "completion_tokens_details": _sum_counts(
            first["completion_tokens_details"], second["completion_tokens_details"]
        ),
    }


def _sum_counts(first: Json, second: Json) -> Json:
    return {key: first[key] + second[key] for key in first}


def usage_from_response(response: Mapping[str, Any]) -> Usage:
    """Return token counts under their legacy names, including `prompt_token_details` (recorded).

    Counts that the upstream does not report are 0.
    """
    usage = as_object(response.get("usage"))
    prompt, completion = _int_or_zero(usage.get("input_tokens")), _int_or_zero(usage.get("output_tokens"))
    cached = _int_or_zero(as_object(usage.get("input_tokens_details")).get("cached_tokens"))
    reasoning = _int_or_zero(as_object(usage.get("output_tokens_details")).get("reasoning_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": _int_or_zero(usage.get("total_tokens")) or prompt + completion,
        "prompt_token_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def with_response_id(state: Json, response_id: str | None) -> Json:
    """Return a run's state with this response id added.

    The state lists all responses of the run, because they are deleted upstream together with the thread.
    """
    response_ids = state.get("responses", [])
    return (
        state
        if response_id is None or response_id in response_ids
        else {**state, "responses": [*response_ids, response_id]}
    )
