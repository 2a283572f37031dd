"""Input items as they are listed, of a response or of a conversation: each with an id, messages with typed content.

Source: GetInputItemsWithPagination.json, FunctionCallWorks.json (an output's id begins with `fc_`),
ResponseUsingConversations.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output_items import prefix_of

if TYPE_CHECKING:
    from .state import Json, State


def listed_item(state: State, item: Json) -> Json:
    """An item that was given, as it is listed."""
    kind = item.get("type", "message")
    if kind == "message":
        return {
            "id": item.get("id") or state.mint.new("msg_"),
            "type": "message",
            "status": "completed",
            "content": _content(item),
            "role": item["role"],
        }
    prefix = "fc_" if kind == "function_call_output" else prefix_of(kind)
    identity = {"id": item.get("id") or state.mint.new(prefix), "type": kind, "status": "completed"}
    return {**identity, **{key: value for key, value in item.items() if value is not None}}


def _content(item: Json) -> list[Json]:
    content = item["content"]
    if not isinstance(content, str):
        return list(content)
    if item["role"] == "assistant":
        return [{"type": "output_text", "annotations": [], "logprobs": [], "text": content}]
    return [{"type": "input_text", "text": content}]
