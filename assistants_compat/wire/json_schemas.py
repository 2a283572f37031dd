"""Checks what a new assistant or run was refused for beside the form of its tools, with the service's own 400 texts.

The old service checked names and strict schemas when they were set (refusals `tool_name_invalid` and
`function_schema_invalid`), so a mistake never got as far as a run. The texts about strict schemas are reported:
`additionalProperties` in lastmile-ai/openai-agents-mcp#2 and, for an answer's format, in dottxt-ai/outlines#844;
`required` in anomalyco/opencode#13737. Other rules of strict schemas are left to the upstream.

Saved objects are not checked for this: they exist, and what the upstream says about them is said when they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ApiError
from .checks import choice, missing_parameter, string

# "Must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum length of 64" (spec: `FunctionObject` and
# `ResponseFormatJsonSchema`).
_NAME = string(pattern="^[a-zA-Z0-9_-]+$")
_RANKER = choice("auto", "default_2024_08_21")
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")
_SCHEMA_LISTS = ("anyOf",)


def check_new_tools(tools: Any, path: str) -> None:
    """Check what the form of tools does not show: the names of functions, strict schemas, a ranking's threshold."""
    for index, tool in enumerate(tools):
        tool_path = f"{path}[{index}]"
        if tool["type"] == "function":
            _check_function(tool["function"], f"{tool_path}.function")
        ranking = (tool.get("file_search") or {}).get("ranking_options")
        if ranking is not None:
            _check_ranking(ranking, f"{tool_path}.file_search.ranking_options")


def check_new_format(response_format: Any, path: str) -> None:
    """Check the name and the strict schema of an answer's format."""
    if not isinstance(response_format, dict) or response_format["type"] != "json_schema":
        return
    schema = response_format["json_schema"]
    _NAME(schema["name"], f"{path}.json_schema.name")
    if schema.get("strict") and (fault := fault_of_strict_schema(schema.get("schema"))):
        raise ApiError(400, f"Invalid schema for response_format '{schema['name']}': {fault}", param=path)


def _check_ranking(ranking: Mapping[str, Any], path: str) -> None:
    """Check the options of a ranking as the spec has them (`FileSearchRankingOptions`)."""
    if "score_threshold" not in ranking:
        raise missing_parameter(path, "score_threshold")
    if ranking.get("ranker") is not None:
        _RANKER(ranking["ranker"], f"{path}.ranker")


def _check_function(function: Mapping[str, Any], path: str) -> None:
    name = function["name"]
    _NAME(name, f"{path}.name")
    if function.get("strict") and (fault := fault_of_strict_schema(function.get("parameters"))):
        text = f"Invalid schema for function '{name}': {fault}"
        raise ApiError(400, text, param=f"{path}.parameters", code="invalid_function_parameters")


def fault_of_strict_schema(schema: Any) -> str | None:
    """Return what the service would say about the first object that is not strict, or None.

    A strict object forbids other keys than its own and requires all of these. The text is the service's, with the place
    of the object as a Python tuple.
    """
    for place, entry in _schemas(schema):
        types = entry.get("type")
        if types != "object" and not (isinstance(types, list) and "object" in types):
            continue
        if entry.get("additionalProperties") is not False:
            return f"In context={place}, 'additionalProperties' is required to be supplied and to be false."
        properties, required = entry.get("properties"), entry.get("required")
        known = required if isinstance(required, list) else []
        missing = next((key for key in (properties if isinstance(properties, dict) else ()) if key not in known), None)
        if missing is not None:
            return (
                f"In context={place}, 'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{missing}'."
            )
    return None


def _schemas(schema: Any) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield the schemas within a schema with their places, the outer ones first. Not recursive: JSON may be deep."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), schema)]
    while pending:
        place, entry = pending.pop()
        if not isinstance(entry, dict):
            continue
        yield place, entry
        inner: list[tuple[tuple[str, ...], Any]] = []
        for key in _SCHEMAS_BY_NAME:
            if isinstance(entry.get(key), dict):
                inner += [((*place, key, name), value) for name, value in entry[key].items()]
        inner.append(((*place, "items"), entry.get("items")))
        for key in _SCHEMA_LISTS:
            if isinstance(entry.get(key), list):
                inner += [((*place, key, str(index)), value) for index, value in enumerate(entry[key])]
        pending += reversed(inner)
