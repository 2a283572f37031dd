"""Lengths, names and schemas in a request for a response, which no request type states.

Each refusal is a row of `service/refusal_table.py`, which has its sources. The service checks these before it looks at
what it has stored, and before what the model can do (measured: a public conformance matrix, "schema before state").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .table_refusals import table_refusal

if TYPE_CHECKING:
    from .state import Json

_MAX_INPUT_ITEMS = 16_384
_MAX_LONG_TEXT = 1_048_576
_MAX_CALL_ID = 64
_MAX_TOOLS = 128
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def check_limits(body: Json) -> None:
    """Refuse what is too long, a wrong name of a function, and a strict function whose schema is not closed."""
    _check_instructions(body.get("instructions"))
    items = body.get("input")
    if isinstance(items, list):
        if len(items) > _MAX_INPUT_ITEMS:
            raise table_refusal("input_array_too_long", length=len(items))
        for index, item in enumerate(items):
            _check_call(item, index)
    tools = body.get("tools") or []
    if len(tools) > _MAX_TOOLS:
        raise table_refusal("tools_too_many", length=len(tools))
    for index, tool in enumerate(tools):
        if tool.get("type") == "function":
            _check_function(tool, index)


def _check_instructions(instructions: Any) -> None:
    if isinstance(instructions, str) and len(instructions) > _MAX_LONG_TEXT:
        raise table_refusal("instructions_too_long", length=len(instructions))


def _check_call(item: Json, index: int) -> None:
    arguments, call_id = item.get("arguments"), item.get("call_id")
    if item.get("type") == "function_call" and isinstance(arguments, str) and len(arguments) > _MAX_LONG_TEXT:
        raise table_refusal("arguments_too_long", index=index, length=len(arguments))
    if isinstance(call_id, str) and len(call_id) > _MAX_CALL_ID:
        raise table_refusal("call_id_too_long", index=index, length=len(call_id))


def _check_function(tool: Json, index: int) -> None:
    name = tool.get("name")
    if isinstance(name, str) and not _TOOL_NAME.fullmatch(name):
        raise table_refusal("tool_name_invalid", index=index)
    schema = tool.get("parameters")
    # The public text is about the outermost object; the service checks inner ones too, with another context.
    if tool.get("strict") and isinstance(schema, dict) and schema.get("additionalProperties") is not False:
        raise table_refusal("function_schema_invalid", index=index, function=name)
