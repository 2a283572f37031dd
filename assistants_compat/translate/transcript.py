"""Translates the transcript of a thread into the input items of a run, grouped in turns.

A transcript entry is a message as served, or `{"items": [...], "until": seconds or null}`. The latter holds the input
items of what a run did between its messages, and until when they may be sent: a Code Interpreter call only while its
container lives. An entry of the second form may also list images that can no longer be read (`gone_images`). Both have
a `run_id`, which is null if a caller wrote the message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..wire.objects import Json
from .citations import text_without_markers

Turns = list[list[Json]]
"""Input items, one list for each turn: a user's message and everything that follows it."""

GONE_IMAGES_KEY = "gone_images"
"""The key of a transcript entry that lists images which the upstream could not read: URLs and file ids."""

GONE_IMAGE: Json = {"type": "input_text", "text": "[image no longer available]"}
"""What is sent in place of an image that can no longer be read."""

# The table of refusals searches the first 500 characters of a message, so a long URL may be cut off in a refusal.
_LONGEST_WHOLE_REFERENCE = 400

# The service takes 16,384 input items. One is left for the developer message of JSON mode.
_MAX_ITEMS = 16_383

_TOOL_ITEM_TYPES = frozenset(
    {"function_call", "function_call_output", "code_interpreter_call", "file_search_call", "reasoning"}
)


@dataclass(frozen=True)
class RunInput:
    """The part of its thread that a run sends, and what was dropped because the upstream refused it."""

    turns: Turns
    cuts: int = 0  # how often the middle turns were dropped
    tool_items_dropped: bool = False
    own_call_ids: frozenset[str] = frozenset()  # calls of the run itself, which stay with their outputs
    gone_images: tuple[str, ...] = ()  # URLs and file ids of images that the upstream could not read
    image_resent: bool = False  # the same input was sent again after an image could not be read

    def without_middle_turns(self) -> RunInput | None:
        """Return the input without its middle turns, or None if it has only one turn."""
        turns = drop_middle_turns(self.turns)
        return None if turns is None else replace(self, turns=turns, cuts=self.cuts + 1)

    def without_tool_items(self) -> RunInput | None:
        """Return the input without the tool items of earlier runs, or None if it has none."""
        turns = drop_tool_items(self.turns, self.own_call_ids)
        return None if turns == self.turns else replace(self, turns=turns, tool_items_dropped=True)

    def within_item_limit(self) -> RunInput:
        """Return the input without as many middle turns as the service's limit for input items requires."""
        run_input = self
        while sum(map(len, run_input.turns)) > _MAX_ITEMS and (shorter := run_input.without_middle_turns()):
            run_input = shorter
        return run_input

    def without_images(self, reference: str | None = None) -> RunInput | None:
        """Return the input with a text in place of unreadable images, or None if that is no remedy.

        `reference` is the URL or the file id that the refusal names. If it names none, or if leaving out the named one
        did not help, all images go. Those of the last user message stay: the caller has just sent them, and is told.
        """
        older, newest = _images(self.turns)
        named = set() if self.gone_images else _images_named(reference, older)
        if not named and _images_named(reference, newest):
            return None
        return self._without(named or older)

    def without_image_files(self, file_ids: Collection[str]) -> RunInput | None:
        """Return the input with a text in place of these images, as `without_images` does; None if it has none."""
        return self._without(_images(self.turns)[0] & set(file_ids))

    def _without(self, gone: set[str]) -> RunInput | None:
        if not gone:
            return None
        turns = without_gone_images(self.turns, gone)
        return replace(self, turns=turns, gone_images=tuple(dict.fromkeys([*self.gone_images, *sorted(gone)])))


def turns_from_entries(
    entries: Iterable[Mapping[str, Any]], now: int, *, last_messages: int | None = None, run_id: str = ""
) -> Turns:
    """Return the turns of a thread, oldest first.

    With `last_messages`, only that many of the newest messages are sent, with the items between them. Messages of the
    run `run_id` itself do not count, because the number applies to the thread as it was when the run began.
    """
    selected = list(entries)
    if last_messages is not None:
        message_indexes = [
            index for index, entry in enumerate(selected) if "role" in entry and entry.get("run_id") != run_id
        ]
        selected = selected[message_indexes[-last_messages] :] if len(message_indexes) >= last_messages else selected
    turns: Turns = []
    for entry in selected:
        # Entries before the first user message form a turn of their own.
        if not turns or entry.get("role") == "user":
            turns.append([])
        turns[-1].extend(_items_from_entry(entry, now))
    turns = [turn for turn in turns if turn]
    gone = frozenset(image for entry in selected for image in entry.get(GONE_IMAGES_KEY, ()))
    return without_gone_images(turns, gone) if gone else turns


def without_gone_images(turns: Turns, gone: Collection[str]) -> Turns:
    """Return the turns with a text in place of these images, except in the last user message."""
    last_message = _last_user_message(turns)
    return [
        [
            {**item, "content": [GONE_IMAGE if _image_of(part) in gone else part for part in item["content"]]}
            if item.get("role") == "user" and item is not last_message
            else item
            for item in turn
        ]
        for turn in turns
    ]


def _images(turns: Turns) -> tuple[set[str], set[str]]:
    """Return the images of the user messages before the last one, and those of the last one: URLs and file ids."""
    last_message = _last_user_message(turns)
    older, newest = set[str](), set[str]()
    for turn in turns:
        for item in turn:
            if item.get("role") == "user":
                images = {image for part in item["content"] if (image := _image_of(part)) is not None}
                (newest if item is last_message else older).update(images)
    return older, newest


def _images_named(reference: str | None, images: Collection[str]) -> set[str]:
    """Return the images that a refusal names; a long URL may be cut off there."""
    if reference is None:
        return set()
    if reference not in images and len(reference) > _LONGEST_WHOLE_REFERENCE:
        return {image for image in images if image.startswith(reference)}
    return {reference} & set(images)


def _last_user_message(turns: Turns) -> Json | None:
    """Return the last user message, if nothing has answered it: what a caller has just sent."""
    messages = (item for turn in reversed(turns) for item in reversed(turn) if "role" in item)
    last = next(messages, None)
    return last if last is not None and last["role"] == "user" else None


def _image_of(part: Json) -> str | None:
    image: str | None = part.get("image_url") or part.get("file_id")
    return image


def image_file_ids(turns: Turns) -> list[str]:
    """Return the ids of the files that the turns show to the model as images."""
    parts = (part for turn in turns for item in turn if item.get("role") == "user" for part in item["content"])
    return [part["file_id"] for part in parts if "file_id" in part]


def with_upstream_file_ids(turns: Turns, upstream_ids: Mapping[str, str]) -> Turns:
    """Return the turns with image file ids replaced by those of the upstream, where `upstream_ids` has them."""
    if not upstream_ids:
        return turns
    return [
        [_item_with_upstream_ids(item, upstream_ids) if item.get("role") == "user" else item for item in turn]
        for turn in turns
    ]


def _item_with_upstream_ids(item: Json, upstream_ids: Mapping[str, str]) -> Json:
    parts = [
        {**part, "file_id": upstream_ids.get(part["file_id"], part["file_id"])} if "file_id" in part else part
        for part in item["content"]
    ]
    return {**item, "content": parts}


def with_image_parts(run_input: RunInput, parts: Mapping[str, Json]) -> RunInput:
    """Return the input with other parts in place of images, by the image's file id; an image keeps its `detail`."""

    def replaced(part: Json) -> Json:
        new_part = parts.get(part.get("file_id", ""))
        if new_part is None:
            return part
        return {**new_part, "detail": part["detail"]} if new_part["type"] == "input_image" else new_part

    turns = [
        [
            {**item, "content": [replaced(part) for part in item["content"]]}
            if item.get("role") == "user" and not isinstance(item["content"], str)
            else item
            for item in turn
        ]
        for turn in run_input.turns
    ]
    return replace(run_input, turns=turns)


def drop_middle_turns(turns: Turns) -> Turns | None:
    """Return about half of the turns, the first and the last ones, or None if there is only one."""
    if len(turns) <= 1:
        return None
    # The legacy `auto` truncation dropped from the middle (platform.md section 10). Whole turns go, because a call
    # without its output, or an item without its reasoning, is refused (section 4).
    tail = max(1, len(turns) // 4)
    head = tail if len(turns) > 2 else 0  # noqa: PLR2004 - of two turns only the last stays, which the model is to answer
    return turns[:head] + turns[-tail:]


def drop_tool_items(turns: Turns, own_call_ids: Collection[str] = ()) -> Turns:
    """Return the turns without tool items, except the calls in `own_call_ids` and their outputs."""
    return [
        [item for item in turn if item.get("type") not in _TOOL_ITEM_TYPES or item.get("call_id") in own_call_ids]
        for turn in turns
    ]


def call_ids(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the `call_id`s of the function calls among these items."""
    return frozenset(item["call_id"] for item in items if "call_id" in item)


def items_from_answered_calls(calls: Iterable[Mapping[str, Any]], outputs: Mapping[str, str]) -> list[Json]:
    """Return the function calls of a run and their outputs as input items for later runs of the thread."""
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
            function_output_item(call["id"], outputs[call["id"]]),
        )
    ]


def function_output_item(call_id: str, output: str) -> Json:
    """Return the output of a function as an input item."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _items_from_entry(entry: Mapping[str, Any], now: int) -> list[Json]:
    if "role" not in entry:
        expiry = entry.get("until")
        return list(entry["items"]) if expiry is None or now < expiry else []
    item = _item_from_message(entry)
    return [] if item is None else [item]


def _item_from_message(message: Mapping[str, Any]) -> Json | None:
    """Return a user's message as parts, an assistant's as plain text, or None if that has no text.

    An `InputMessage` has no assistant role (platform.md section 3), and upstream ids of earlier answers are not sent.
    """
    if message["role"] == "assistant":
        text = "\n\n".join(filter(None, (_text_from_block(block) for block in message["content"])))
        # A message that has only images is left out: the Responses API takes no images of an assistant.
        return {"role": "assistant", "content": text} if text else None
    return {"role": "user", "content": input_parts_from_message(message)}


def input_parts_from_message(message: Mapping[str, Any]) -> list[Json]:
    """Return the content of a user's message as input parts."""
    return [_PART_CONVERTERS[block["type"]](block) for block in message["content"]]


def _text_from_block(block: Json) -> str:
    if block["type"] == "text":
        return text_without_markers(block["text"])  # this library inserted them; the model should not imitate them
    return str(block.get("refusal", ""))


def _part_from_image_url(block: Json) -> Json:
    image = block["image_url"]
    return {"type": "input_image", "image_url": image["url"], "detail": image["detail"]}


def _part_from_image_file(block: Json) -> Json:
    image = block["image_file"]
    return {"type": "input_image", "file_id": image["file_id"], "detail": image["detail"]}


_PART_CONVERTERS = {
    "text": lambda block: {"type": "input_text", "text": block["text"]["value"]},
    "image_url": _part_from_image_url,
    "image_file": _part_from_image_file,
}
