"""The response object: made from a request, and how it looks before it is finished or without what was not asked for.

Keys and their order are those of the newest complete recordings of gpt-4 models
(CanStreamBackgroundResponses.json and test_file_search.yaml, 2026-02: 33 keys, 34 with `billing`).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .state import Json

# The model that answers is the dated snapshot. Source: platform.md section 4; each pair is from a recording.
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
# Seconds that a made-up response took; any value would do, the recordings show 1 to 30.
_TOOK = 1


def conversation_id(asked: Json) -> str | None:
    """The conversation that a request belongs to: its id, or an object with that (spec)."""
    given = asked.get("conversation")
    return given["id"] if isinstance(given, dict) else given


def response_body(asked: Json, *, response_id: str, created_at: int, status: str) -> Json:
    """The object without its output: everything echoed from the request, with the recorded defaults."""
    model = asked.get("model", "")
    previous = asked.get("previous_response_id")
    conversation = conversation_id(asked)
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "background": bool(asked.get("background")),
        "billing": {"payer": "developer"},
        "completed_at": created_at + _TOOK if status == "completed" else None,
        **({} if conversation is None else {"conversation": {"id": conversation}}),
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"),
        "model": SNAPSHOTS.get(model, model),
        "output": [],
        "parallel_tool_calls": _given(asked, "parallel_tool_calls", default=True),
        "presence_penalty": 0.0,
        "previous_response_id": previous,
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "prompt_cache_retention": asked.get("prompt_cache_retention"),
        "reasoning": {"effort": None, "summary": None, **(asked.get("reasoning") or {})},
        "safety_identifier": asked.get("safety_identifier"),
        "service_tier": "default",
        "store": _given(asked, "store", default=True),
        "temperature": _given(asked, "temperature", default=1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(asked.get("text") or {})},
        "tool_choice": _given(asked, "tool_choice", default="auto"),
        "tools": [_tool(tool) for tool in asked.get("tools") or []],
        "top_logprobs": asked.get("top_logprobs") or 0,
        "top_p": _given(asked, "top_p", default=1.0),
        "truncation": _given(asked, "truncation", default="disabled"),
        "usage": None,
        "user": asked.get("user"),
        "metadata": asked.get("metadata") or {},
    }


def _given(asked: Json, name: str, *, default: Any) -> Any:
    value = asked.get(name)
    return default if value is None else value


def _tool(tool: Json) -> Json:
    """A tool as the service echoes it.

    Source: FileSearch.json (defaults filled in), FunctionCallWorks.json (key order) and Mirascope's
    handles-refusal-for-call.har (`strict: null` comes back false).
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


def usage(asked: Json, output: list[Json]) -> Json:
    """Numbers that depend on the texts only (words for tokens): never an estimate of the real service's."""
    said, answered = len(str(asked.get("input", "")).split()), len(str(output).split())
    return {
        "input_tokens": said,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": said + answered,
    }


def unfinished(final: Json, status: str) -> Json:
    """The same object while it is queued, in progress or cancelled.

    Source: test_background_mode_vcr.yaml: no `billing`, output [], usage null, service_tier "auto".
    """
    early = {key: value for key, value in final.items() if key != "billing"}
    empty: Json = {
        "status": status,
        "output": [],
        "usage": None,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "service_tier": "auto",
    }
    early.update({key: value for key, value in empty.items() if key in early})
    return early


def shown(final: Json, include: frozenset[str]) -> Json:
    """The object without the data that was not asked for by `include` (Source: recordings.md section 2)."""
    visible = dict(final)
    visible["output"] = [shown_item(item, include) for item in final.get("output", [])]
    return visible


def shown_item(item: Json, include: frozenset[str]) -> Json:
    """One output item: outputs and results are null unless asked for.

    Encrypted reasoning stays as the turn has it: ResponsesWithReasoning.json shows it without any include.
    """
    visible = copy.deepcopy(item)
    kind = item.get("type")
    if kind == "code_interpreter_call" and "code_interpreter_call.outputs" not in include:
        visible["outputs"] = None
    if kind == "file_search_call" and "file_search_call.results" not in include:
        visible["results"] = None
    return visible
