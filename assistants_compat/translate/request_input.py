"""Puts a request and its input together, and avoids what the service refuses in an input.

The rows of these refusals in `service/refusal_table.py` are `json_word_missing`, `input_empty`, `arguments_too_long`
and `call_id_too_long`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from ..wire.objects import Json

_MAX_ARGUMENTS = 1_048_576  # characters
_MAX_CALL_ID = 64
_PREVIOUS_RESPONSE_ID = "previous_response_id"
_READ_ROLES = ("user", "developer", "system")  # whose messages are known to count as "input messages"


def body_with_input(request: Mapping[str, Any], items: Iterable[Json]) -> Json:
    """Return the body of `POST /responses`: the request with these input items, as far as the service takes them."""
    sent_items = _with_short_call_ids(_without_long_calls(list(items)))
    body = dict(request)
    if _needs_json_word(request, sent_items):
        message = {"role": "developer", "content": body.pop("instructions")}
        # Behind the outputs of a continued response: a server that calls Chat Completions wants them next to the calls.
        is_continued = _PREVIOUS_RESPONSE_ID in request
        sent_items = [*sent_items, message] if is_continued else [message, *sent_items]
    return {**body, "input": sent_items or [{"role": "user", "content": ""}]}


def _needs_json_word(request: Mapping[str, Any], items: list[Json]) -> bool:
    """Whether the service would miss the word "json", which JSON mode requires, although the instructions have it.

    It reads only the input. Whether it reads that of earlier rounds too is not known, so every round is treated alike.
    """
    text_format = (request.get("text") or {}).get("format") or {}
    if text_format.get("type") != "json_object" or "json" not in str(request.get("instructions", "")).lower():
        return False
    return not any("json" in text.lower() for item in items for text in _message_texts(item))


def _message_texts(item: Json) -> list[str]:
    if item.get("role") not in _READ_ROLES:
        return []
    content = item["content"]
    return [content] if isinstance(content, str) else [str(part.get("text", "")) for part in content]


def _without_long_calls(items: list[Json]) -> list[Json]:
    """Leave out function calls whose arguments the service refuses, with their outputs."""
    long_ids = {item.get("call_id") for item in items if len(item.get("arguments") or "") > _MAX_ARGUMENTS}
    return [item for item in items if item.get("call_id") not in long_ids] if long_ids else items


def _with_short_call_ids(items: list[Json]) -> list[Json]:
    """Shorten call ids that the service refuses, of a call and its output alike.

    The output of a call that is not among the items keeps its id: `previous_response_id` stands for the call.
    """
    short_ids = {
        item["call_id"]: _short_call_id(item["call_id"])
        for item in items
        if item.get("type") == "function_call" and len(item["call_id"]) > _MAX_CALL_ID
    }
    if not short_ids:
        return items
    return [
        {**item, "call_id": short_ids[item["call_id"]]} if item.get("call_id") in short_ids else item for item in items
    ]


def _short_call_id(call_id: str) -> str:
    # The hash keeps ids apart that begin alike, and is the same in each run of the thread.
    digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{call_id[: _MAX_CALL_ID - 33]}_{digest}"
