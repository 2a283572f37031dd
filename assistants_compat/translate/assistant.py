"""Translates assistants from their fields, and the tools and tool resources that assistants, threads and runs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..wire.objects import Assistant, Json

DEFAULT_RANKING_OPTIONS = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}
"""The ranking options of a file search tool whose request had none (recorded)."""


def assistant_from_fields(id_: str, created_at: int, fields: Mapping[str, Any]) -> Assistant:
    """Return an assistant as served: the caller's fields, and every other key with its recorded default.

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
        "tool_resources": tool_resources_from_fields(fields.get("tool_resources"), tools),
        "metadata": fields.get("metadata") or {},
        "response_format": _or_default(fields.get("response_format"), "auto"),
    }


def _or_default(value: Any, default: Any) -> Any:
    # `value or default` would turn a temperature of 0 into 1.
    return default if value is None else value


def tools_from_request(tools: list[Json] | None) -> list[Json]:
    """Return tools as served (recorded).

    A function without `strict` and `parameters` gets false and an empty schema. A file search gets default ranking
    options.
    """
    return [_TOOL_CONVERTERS[tool["type"]](tool) for tool in tools or []]


def _function_tool(tool: Json) -> Json:
    request_function = tool["function"]
    function: Json = {"name": request_function["name"]}
    if "description" in request_function:
        function["description"] = request_function["description"]
    # A function without parameters is served with an empty schema (StreamingToolCall()Async.json).
    function["parameters"] = _or_default(request_function.get("parameters"), {"type": "object", "properties": {}})
    function["strict"] = bool(request_function.get("strict"))
    return {"type": "function", "function": function}


def _file_search_tool(tool: Json) -> Json:
    options = tool.get("file_search") or {}
    ranking = {**DEFAULT_RANKING_OPTIONS, **(options.get("ranking_options") or {})}
    return {"type": "file_search", "file_search": {**options, "ranking_options": ranking}}


_TOOL_CONVERTERS: dict[str, Callable[[Json], Json]] = {
    "code_interpreter": dict,
    "function": _function_tool,
    "file_search": _file_search_tool,
}


def tool_resources_from_fields(resources: Mapping[str, Any] | None, tools: list[Json]) -> Json:
    """Return the tool resources of an assistant as served.

    An assistant with the code interpreter always has its `file_ids`, even if the list is empty (recorded).
    """
    served: Json = {}
    tool_types = {tool["type"] for tool in tools}
    requested = resources or {}
    # The order of the two recorded assistants that have both: file search first.
    if requested.get("file_search"):
        served["file_search"] = {"vector_store_ids": vector_store_ids(requested)}
    if "code_interpreter" in tool_types or requested.get("code_interpreter"):
        served["code_interpreter"] = {"file_ids": file_ids(requested)}
    return served


def file_ids(resources: Mapping[str, Any] | None) -> list[str]:
    """Return the code interpreter's file ids in tool resources."""
    return list(((resources or {}).get("code_interpreter") or {}).get("file_ids") or [])


def vector_store_ids(resources: Mapping[str, Any] | None) -> list[str]:
    """Return the vector store ids in tool resources."""
    return list(((resources or {}).get("file_search") or {}).get("vector_store_ids") or [])


def vector_stores_to_create(resources: Mapping[str, Any] | None) -> list[Json]:
    """Return the vector stores that a request wants created (`tool_resources.file_search.vector_stores`)."""
    return list(((resources or {}).get("file_search") or {}).get("vector_stores") or [])


def with_created_vector_stores(resources: Mapping[str, Any], created_ids: list[str]) -> Json:
    """Return tool resources in which the created vector stores are named by their ids (recorded)."""
    # Without `vector_stores`: the service served only ids.
    return {**resources, "file_search": {"vector_store_ids": [*vector_store_ids(resources), *created_ids]}}
