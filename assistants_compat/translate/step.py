"""Changes to run steps that exist already: tool outputs arrive, the run stops, or a caller asks for less.

New steps are built in `output.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ..wire.objects import Json, RunStep, Usage


def step_with_outputs(step: Json, outputs: Mapping[str, str], usage: Usage, now: int) -> RunStep:
    """Return a step of function calls with their outputs, which complete it (recorded)."""
    calls = [
        {**call, "function": {**call["function"], "output": outputs[call["id"]]}}
        for call in step["step_details"]["tool_calls"]
    ]
    details = {**step["step_details"], "tool_calls": calls}
    completed = cast("RunStep", {**step, "step_details": details, "usage": usage})
    set_step_status(completed, "completed", now)
    return completed


def stopped_step(step: Json, status: str, now: int, usage: Usage | None) -> RunStep:
    """Return a step of a run that was cancelled or has expired, with the run's status, its time and the usage."""
    ended = cast("RunStep", {**step, "usage": usage})
    set_step_status(ended, status, now)
    return ended


def without_search_content(step: Json) -> Json:
    """Return a step without the text of its search results, which only `include` asks for (spec)."""
    calls = step["step_details"].get("tool_calls") or []
    if not any(call["type"] == "file_search" for call in calls):
        return step
    shown_calls = [_call_without_content(call) if call["type"] == "file_search" else call for call in calls]
    return {**step, "step_details": {**step["step_details"], "tool_calls": shown_calls}}


def _call_without_content(call: Json) -> Json:
    search = call["file_search"]
    if not search.get("results"):  # an imported step may have been saved without them
        return call
    results = [{key: value for key, value in result.items() if key != "content"} for result in search["results"]]
    return {**call, "file_search": {**search, "results": results}}


def set_step_status(step: RunStep, status: str, now: int) -> None:
    """Set the status of a step and the timestamp that belongs to it."""
    step["status"] = status
    if status != "in_progress":
        # Over REST; a stream shows the time of expiry to the end (recorded).
        step["expires_at"] = None
        step[f"{status}_at"] = now  # type: ignore[literal-required]  # completed, failed, cancelled or expired
