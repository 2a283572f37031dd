"""Input items of a response or conversation as the service lists them: with ids, and messages with typed content.

Source: GetInputItemsWithPagination.json, FunctionCallWorks.json (an output's id begins with `fc_`),
ResponseUsingConversations.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output_items import id_prefix

if TYPE_CHECKING:
    from .state import Json, State


def listed_item(state: State, item: Json) -> Json:
    """Return an item of a request as the service lists it."""
    kind = item.get("type", "message")
    if kind == "message":
        return {
            "id": item.get("id") or state.ids.new("msg_"),
            "type": "message",
            "status": "completed",
            "content": _content(item),
            "role": item["role"],
        }
    prefix = "fc_" if kind == "function_call_output" else id_prefix(kind)
    first_keys = {"id": item.get("id") or state.ids.new(prefix), "type": kind, "status": "completed"}
    return {**first_keys, **{key: value for key, value in item.items() if value is not None}}


def _content(item: Json) -> list[Json]:
    content = item["content"]
    if not isinstance(content, str):
        return list(content)
    if item["role"] == "assistant":
        # In an assistant's message the service knows no `input_text` (reported).
        return [{"type": "output_text", "annotations": [], "logprobs": [], "text": content}]
    return [{"type": "input_text", "text": content}]
