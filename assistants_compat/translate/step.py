"""Run steps that were begun: what becomes of them when outputs come, or when the run is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ..wire.objects import Json, RunStep, Usage


def answered(step: Json, outputs: Mapping[str, str], usage: Usage, now: int) -> RunStep:
    """A step of function calls with their outputs; it is completed by them (recorded)."""
    calls = [
        {**call, "function": {**call["function"], "output": outputs[call["id"]]}}
        for call in step["step_details"]["tool_calls"]
    ]
    details = {**step["step_details"], "tool_calls": calls}
    done = cast("RunStep", {**step, "step_details": details, "usage": usage})
    stamp(done, "completed", now)
    return done


def stopped(step: Json, status: str, now: int, usage: Usage | None) -> RunStep:
    """A step of a run that was cancelled or has expired: it has the same status, its time, and what it has used."""
    done = cast("RunStep", {**step, "usage": usage})
    stamp(done, status, now)
    return done


def without_content(step: Json) -> Json:
    """A step without what its searches found word by word: that is shown where `include` asks for it (spec)."""
    calls = step["step_details"].get("tool_calls") or []
    if not any(call["type"] == "file_search" for call in calls):
        return step
    shown = [_without_content(call) if call["type"] == "file_search" else call for call in calls]
    return {**step, "step_details": {**step["step_details"], "tool_calls": shown}}


def _without_content(call: Json) -> Json:
    search = call["file_search"]
    if not search.get("results"):  # an imported step may be one that was saved without them
        return call
    results = [{key: value for key, value in each.items() if key != "content"} for each in search["results"]]
    return {**call, "file_search": {**search, "results": results}}


def stamp(step: RunStep, status: str, now: int) -> None:
    """Give a step its status, with the time that belongs to it."""
    step["status"] = status
    if status != "in_progress":
        step["expires_at"] = None
        step[f"{status}_at"] = now  # type: ignore[literal-required]  # completed, failed, cancelled or expired
