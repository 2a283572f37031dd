"""The transcript of a thread as input items: turns, what is left out of them, and what a message becomes.

An entry is a message as served, or `{"items": [...], "until": seconds or null}`: what earlier runs did between the
messages, in the shape of input items, and how long it may be sent (a Code Interpreter call only while its container
lives).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..wire import Json

Turns = list[list[Json]]
"""Input items, a list for each turn: a user's message and all that follows it."""

_TOOL_ITEMS = frozenset({"function_call", "function_call_output", "code_interpreter_call", "reasoning"})


def turns_from_entries(entries: Iterable[Mapping[str, Any]], now: int, *, last_messages: int | None = None) -> Turns:
    """The turns of a thread, oldest first; with `last_messages` only those messages and what stands between them."""
    kept = list(entries)
    if last_messages is not None:
        places = [place for place, entry in enumerate(kept) if "role" in entry]
        kept = kept[places[-last_messages] :] if len(places) >= last_messages else kept
    turns: Turns = []
    for entry in kept:
        if not turns or entry.get("role") == "user":
            turns.append([])
        turns[-1].extend(_items(entry, now))
    return [turn for turn in turns if turn]


def without_middle(turns: Turns) -> Turns | None:
    """About half as many turns, the first and the last of them; None when only one is left."""
    if len(turns) <= 1:
        return None
    head = len(turns) // 4
    tail = max(1, len(turns) // 4)
    return turns[:head] + turns[-tail:]


def without_tool_items(turns: Turns) -> Turns:
    """Only what was said."""
    return [[item for item in turn if item.get("type") not in _TOOL_ITEMS] for turn in turns]


def answered_calls(calls: Iterable[Mapping[str, Any]], outputs: Mapping[str, str]) -> list[Json]:
    """Function calls of a run with their outputs, as later runs of the thread are told of them."""
    return [
        item
        for call in calls
        for item in (
            {
                "type": "function_call",
                "call_id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
            },
            function_output(call["id"], outputs[call["id"]]),
        )
    ]


def function_output(call_id: str, output: str) -> Json:
    """What a function gave, as an input item."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _items(entry: Mapping[str, Any], now: int) -> list[Json]:
    if "role" not in entry:
        until = entry.get("until")
        return list(entry["items"]) if until is None or now < until else []
    item = _message(entry)
    return [] if item is None else [item]


def _message(message: Mapping[str, Any]) -> Json | None:
    """A user's message as parts, an assistant's as plain text.

    An `InputMessage` has no assistant role (platform.md section 3), and upstream ids of earlier answers are not sent.
    """
    if message["role"] == "assistant":
        text = "\n\n".join(filter(None, (_said(block) for block in message["content"])))
        return {"role": "assistant", "content": text} if text else None
    return {"role": "user", "content": [_PARTS[block["type"]](block) for block in message["content"]]}


def _said(block: Json) -> str:
    if block["type"] == "text":
        return str(block["text"]["value"])
    return str(block.get("refusal", ""))


def _image_url(block: Json) -> Json:
    image = block["image_url"]
    return {"type": "input_image", "image_url": image["url"], "detail": image["detail"]}


def _image_file(block: Json) -> Json:
    image = block["image_file"]
    return {"type": "input_image", "file_id": image["file_id"], "detail": image["detail"]}


_PARTS = {
    "text": lambda block: {"type": "input_text", "text": block["text"]["value"]},
    "image_url": _image_url,
    "image_file": _image_file,
}
