"""Assistants, and the tools and tool resources that assistants, threads and runs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..wire.objects import Assistant, Json

RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}
"""The ranking options that are served where none were given (recorded)."""


def assistant_from_fields(id_: str, created_at: int, fields: Mapping[str, Any]) -> Assistant:
    """What is served for the fields that a caller gave: every other key at its recorded default.

    Source: BasicAssistantOperationsWork.json.
    """
    tools = tools_from_request(fields.get("tools"))
    return {
        "id": id_,
        "object": "assistant",
        "created_at": created_at,
        "name": fields.get("name"),
        "description": fields.get("description"),
        "model": fields["model"],
        "instructions": fields.get("instructions"),
        "tools": tools,
        "top_p": _or_default(fields.get("top_p"), 1.0),
        "temperature": _or_default(fields.get("temperature"), 1.0),
        "reasoning_effort": fields.get("reasoning_effort"),
        "tool_resources": resources_from_fields(fields.get("tool_resources"), tools),
        "metadata": fields.get("metadata") or {},
        "response_format": _or_default(fields.get("response_format"), "auto"),
    }


def _or_default(value: Any, default: Any) -> Any:
    return default if value is None else value


def tools_from_request(tools: list[Json] | None) -> list[Json]:
    """Tools as served (recorded): a function gains `strict: false` and empty parameters, a search its ranking."""
    return [_TOOLS[tool["type"]](tool) for tool in tools or []]


def _function(tool: Json) -> Json:
    given = tool["function"]
    function: Json = {"name": given["name"]}
    if "description" in given:
        function["description"] = given["description"]
    # Empty parameters are served where none were given (StreamingToolCall()Async.json).
    function["parameters"] = _or_default(given.get("parameters"), {"type": "object", "properties": {}})
    function["strict"] = bool(given.get("strict"))
    return {"type": "function", "function": function}


def _file_search(tool: Json) -> Json:
    given = tool.get("file_search") or {}
    ranking = {**RANKING, **given.get("ranking_options", {})}
    return {"type": "file_search", "file_search": {**given, "ranking_options": ranking}}


_TOOLS: dict[str, Callable[[Json], Json]] = {
    "code_interpreter": dict,
    "function": _function,
    "file_search": _file_search,
}


def resources_from_fields(resources: Mapping[str, Any] | None, tools: list[Json]) -> Json:
    """Tool resources of an assistant as served: what was given, and the code interpreter's empty list (recorded)."""
    served: Json = {}
    kinds = {tool["type"] for tool in tools}
    given = resources or {}
    if given.get("file_search"):  # first, in the two recorded assistants that have both
        served["file_search"] = {"vector_store_ids": store_ids(given)}
    if "code_interpreter" in kinds or given.get("code_interpreter"):
        served["code_interpreter"] = {"file_ids": file_ids(given)}
    return served


def file_ids(resources: Mapping[str, Any] | None) -> list[str]:
    """The code interpreter's file ids among tool resources."""
    return list(((resources or {}).get("code_interpreter") or {}).get("file_ids") or [])


def store_ids(resources: Mapping[str, Any] | None) -> list[str]:
    """The vector store ids among tool resources."""
    return list(((resources or {}).get("file_search") or {}).get("vector_store_ids") or [])


def wanted_stores(resources: Mapping[str, Any] | None) -> list[Json]:
    """The vector stores that a request asks to be made (`tool_resources.file_search.vector_stores`)."""
    return list(((resources or {}).get("file_search") or {}).get("vector_stores") or [])


def with_stores(resources: Mapping[str, Any], made: list[str]) -> Json:
    """Tool resources once the wanted stores were made: they come back as ids (recorded)."""
    return {**resources, "file_search": {"vector_store_ids": [*store_ids(resources), *made]}}
