"""Checks the parts of messages in a request, which the service allows by role; and completes an assistant's message.

Source: a public conformance matrix of the Responses API of 2026-08-30 (rows `content block ...` and `input item
assistant ...`), and many reports for an assistant's `input_text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exchange import Refusal
from .sdk_schema import choice_message
from .table_refusals import table_refusal

if TYPE_CHECKING:
    from .state import Json

_ASSISTANT_PARTS = ("output_text", "refusal")
# In the order in which the measured refusal names them.
_OTHER_PARTS = ("input_text", "input_image", "input_file", "scoped_content", "input_audio")
_KNOWN_PARTS = (
    *("input_text", "input_image", "input_audio", "output_text", "refusal", "input_file", "computer_screenshot"),
    *("summary_text", "encrypted_content"),
)


def checked_messages(items: Any, key: str) -> Any:
    """Return the items of the list `key` with complete messages of an assistant; refuse a part of the wrong kind.

    The service takes an assistant's text without the keys that its own answers have, whatever the request types say:
    `id`, `status`, `annotations` and `logprobs` (recorded without `logprobs`, reported without the others).
    """
    if not isinstance(items, list):
        return items
    for index, item in enumerate(items):
        if _has_parts(item):
            _check_parts(item, key, index)
    return [_complete(item) if _has_parts(item) and item["role"] == "assistant" else item for item in items]


def _has_parts(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.get("type", "message") == "message"
        and isinstance(item.get("role"), str)
        and isinstance(item.get("content"), list)
    )


def _check_parts(item: Json, key: str, index: int) -> None:
    for number, part in enumerate(item["content"]):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            continue  # the request types refuse it
        if item["role"] == "assistant" and kind == "input_text" and key == "input":
            raise table_refusal("assistant_input_text", index=index, part=number)
        where = f"{key}[{index}].content[{number}]"
        allowed = _ASSISTANT_PARTS if item["role"] == "assistant" else _OTHER_PARTS
        if kind in allowed:
            continue
        if kind in _KNOWN_PARTS:
            raise Refusal(400, choice_message(kind, allowed), param=where, code="invalid_value")
        raise Refusal(400, choice_message(kind, _KNOWN_PARTS), param=f"{where}.type", code="invalid_value")


def _complete(item: Json) -> Json:
    parts = [
        {"annotations": [], "logprobs": [], **part}
        if isinstance(part, dict) and part.get("type") == "output_text"
        else part
        for part in item["content"]
    ]
    return {"id": "msg_", "type": "message", "status": "completed", **item, "content": parts}
