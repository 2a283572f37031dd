"""The transcript of a thread as input items: turns, what is left out of them, and what a message becomes.

An entry is a message as served, or `{"items": [...], "until": seconds or null}`: what runs did between the messages, in
the shape of input items, and how long it may be sent (a Code Interpreter call only while its container lives).  Both
have a `run_id`, null where a caller wrote the message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..wire.objects import Json

Turns = list[list[Json]]
"""Input items, a list for each turn: a user's message and all that follows it."""

_TOOL_ITEMS = frozenset({"function_call", "function_call_output", "code_interpreter_call", "reasoning"})


@dataclass(frozen=True)
class Input:
    """What a run sends of its thread, and what was left out because the upstream would not take it."""

    turns: Turns
    cuts: int = 0  # how often the middle was left out
    plain: bool = False  # whether what earlier runs did was
    own: frozenset[str] = frozenset()  # the calls of the run that asks: they and their outputs stay

    def shorter(self) -> Input | None:
        """Without the middle; None when only one turn is left."""
        turns = without_middle(self.turns)
        return None if turns is None else replace(self, turns=turns, cuts=self.cuts + 1)

    def plainer(self) -> Input | None:
        """Without what earlier runs did; None when nothing is left out by that."""
        turns = without_tool_items(self.turns, self.own)
        return None if turns == self.turns else replace(self, turns=turns, plain=True)


def turns_from_entries(
    entries: Iterable[Mapping[str, Any]], now: int, *, last_messages: int | None = None, run_id: str = ""
) -> Turns:
    """The turns of a thread, oldest first; with `last_messages` only those messages and what stands between them.

    What the run `run_id` has said itself does not count: the messages were chosen when it began.
    """
    kept = list(entries)
    if last_messages is not None:
        places = [place for place, entry in enumerate(kept) if "role" in entry and entry.get("run_id") != run_id]
        kept = kept[places[-last_messages] :] if len(places) >= last_messages else kept
    turns: Turns = []
    for entry in kept:
        if not turns or entry.get("role") == "user":
            turns.append([])
        turns[-1].extend(_items(entry, now))
    return [turn for turn in turns if turn]


def image_ids(turns: Turns) -> list[str]:
    """The files that are shown to the model as images."""
    parts = (part for turn in turns for item in turn if item.get("role") == "user" for part in item["content"])
    return [part["file_id"] for part in parts if "file_id" in part]


def with_names(turns: Turns, names: Mapping[str, str]) -> Turns:
    """The turns with the upstream's ids of some images in the place of ours."""
    if not names:
        return turns
    return [[_named(item, names) if item.get("role") == "user" else item for item in turn] for turn in turns]


def _named(item: Json, names: Mapping[str, str]) -> Json:
    parts = [
        {**part, "file_id": names.get(part["file_id"], part["file_id"])} if "file_id" in part else part
        for part in item["content"]
    ]
    return {**item, "content": parts}


def without_middle(turns: Turns) -> Turns | None:
    """About half as many turns, the first and the last of them; None when only one is left."""
    if len(turns) <= 1:
        return None
    tail = max(1, len(turns) // 4)
    head = tail if len(turns) > 2 else 0  # noqa: PLR2004 - of two turns, the one that is to be answered
    return turns[:head] + turns[-tail:]


def without_tool_items(turns: Turns, own: Collection[str] = ()) -> Turns:
    """Only what was said, and the calls `own` with their outputs."""
    return [
        [item for item in turn if item.get("type") not in _TOOL_ITEMS or item.get("call_id") in own] for turn in turns
    ]


def call_ids(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The functions that were called in these items."""
    return frozenset(item["call_id"] for item in items if "call_id" in item)


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
    return {"role": "user", "content": user_parts(message)}


def user_parts(message: Mapping[str, Any]) -> list[Json]:
    """What a user's message shows, as input parts."""
    return [_PARTS[block["type"]](block) for block in message["content"]]


def _said(block: Json) -> str:
    if block["type"] == "text":
        return _without_markers(block["text"])
    return str(block.get("refusal", ""))


def _without_markers(text: Json) -> str:
    """What the model said: a marker that stands for a citation was put there by us, and is not to be imitated."""
    said, done = "", 0
    value: str = text["value"]
    for note in sorted(text["annotations"], key=lambda note: note.get("start_index", 0)):
        if note["type"] == "file_citation":
            said += value[done : note["start_index"]]
            done = note["end_index"]
    return said + value[done:]


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
