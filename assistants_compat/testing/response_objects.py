"""Builds the response object of a request, its unfinished forms, and its form without data that `include` leaves out.

Keys and their order are those of the newest complete recordings of gpt-4 models
(CanStreamBackgroundResponses.json and test_file_search.yaml, 2026-02: 33 keys, 34 with `billing`).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .state import Json

# A response names the dated snapshot of its model. Source: platform.md section 4; each pair is from a recording.
SNAPSHOTS = {
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
    "o3-mini": "o3-mini-2025-01-31",
}
# Duration of a scripted response. Any value would do; the recordings show 1 to 30 seconds.
_DURATION_SECONDS = 1


def conversation_id(params: Json) -> str | None:
    """Return the id of the request's conversation, which may be the id or an object with it (spec)."""
    conversation = params.get("conversation")
    return conversation["id"] if isinstance(conversation, dict) else conversation


def response_body(params: Json, *, response_id: str, created_at: int, status: str) -> Json:
    """Return a response without output: it echoes the request and has the recorded defaults."""
    model = params.get("model", "")
    previous = params.get("previous_response_id")
    conversation = conversation_id(params)
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "background": bool(params.get("background")),
        "billing": {"payer": "developer"},
        "completed_at": created_at + _DURATION_SECONDS if status == "completed" else None,
        **({} if conversation is None else {"conversation": {"id": conversation}}),
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": params.get("instructions"),
        "max_output_tokens": params.get("max_output_tokens"),
        "max_tool_calls": params.get("max_tool_calls"),
        "model": SNAPSHOTS.get(model, model),
        "output": [],
        "parallel_tool_calls": _param_or_default(params, "parallel_tool_calls", default=True),
        "presence_penalty": 0.0,
        "previous_response_id": previous,
        "prompt_cache_key": params.get("prompt_cache_key"),
        "prompt_cache_retention": params.get("prompt_cache_retention"),
        "reasoning": {"effort": None, "summary": None, **(params.get("reasoning") or {})},
        "safety_identifier": params.get("safety_identifier"),
        "service_tier": "default",
        "store": _param_or_default(params, "store", default=True),
        "temperature": _param_or_default(params, "temperature", default=1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(params.get("text") or {})},
        "tool_choice": _param_or_default(params, "tool_choice", default="auto"),
        "tools": [_echoed_tool(tool) for tool in params.get("tools") or []],
        "top_logprobs": params.get("top_logprobs") or 0,
        "top_p": _param_or_default(params, "top_p", default=1.0),
        "truncation": _param_or_default(params, "truncation", default="disabled"),
        "usage": None,
        "user": params.get("user"),
        "metadata": params.get("metadata") or {},
    }


def _param_or_default(params: Json, name: str, *, default: Any) -> Any:
    value = params.get(name)
    # Null is as good as absent for nearly every field of the request (measured on the service).
    return default if value is None else value


def _echoed_tool(tool: Json) -> Json:
    """Return a tool as the service echoes it.

    Source: FileSearch.json (defaults filled in), FunctionCallWorks.json (key order) and Mirascope's
    handles-refusal-for-call.har (`strict: null` is echoed as false).
    """
    if tool["type"] == "file_search":
        ranking = {"ranker": "auto", "score_threshold": 0.0, **(tool.get("ranking_options") or {})}
        return {
            "type": "file_search",
            "filters": tool.get("filters"),
            "max_num_results": tool.get("max_num_results") or 20,
            "ranking_options": ranking,
            "vector_store_ids": tool["vector_store_ids"],
        }
    if tool["type"] == "function":
        return {
            "type": "function",
            "description": tool.get("description"),
            "name": tool["name"],
            "parameters": tool.get("parameters"),
            "strict": bool(tool.get("strict")),
        }
    return {"type": tool["type"], **tool}


def usage(params: Json, output: list[Json]) -> Json:
    """Return repeatable usage: it counts words as tokens and does not estimate what the service would count."""
    input_words, output_words = len(str(params.get("input", "")).split()), len(str(output).split())
    return {
        "input_tokens": input_words,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_words,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_words + output_words,
    }


def unfinished_response(final: Json, status: str) -> Json:
    """Return a response as it is while `status` is queued, in_progress or cancelled.

    Source: test_background_mode_vcr.yaml (no `billing`, output [], usage null, service_tier "auto").
    """
    response = {key: value for key, value in final.items() if key != "billing"}
    empty: Json = {
        "status": status,
        "output": [],
        "usage": None,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "service_tier": "auto",
    }
    response.update({key: value for key, value in empty.items() if key in response})
    return response


def visible_response(final: Json, include: frozenset[str]) -> Json:
    """Return a response without the data that `include` does not name (Source: recordings.md section 2)."""
    visible = dict(final)
    visible["output"] = [visible_item(item, include) for item in final.get("output", [])]
    return visible


def visible_item(item: Json, include: frozenset[str]) -> Json:
    """Return an output item whose outputs and results are null unless `include` names them.

    Encrypted reasoning is never removed: ResponsesWithReasoning.json shows it without any `include`.
    """
    visible = copy.deepcopy(item)  # the stored item keeps what this answer hides
    kind = item.get("type")
    if kind == "code_interpreter_call" and "code_interpreter_call.outputs" not in include:
        visible["outputs"] = None
    if kind == "file_search_call" and "file_search_call.results" not in include:
        visible["results"] = None
    return visible
