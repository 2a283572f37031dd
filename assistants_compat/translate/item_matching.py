"""Finds which items of a finished response have been streamed already.

By the API an item keeps its id and its place. Gateways and some servers send other ids in the finished response than in
the stream, or leave items out there, which shifts the places. An item that is not recognized would be told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..wire.objects import Json, as_object_list


@dataclass(frozen=True)
class StreamedItem:
    """An item that has begun in the stream; `content` is its text, code or call id as far as it is known."""

    kind: str
    id: str | None
    content: str


_IsSame = Callable[[int, Json, int, StreamedItem], bool]
"""Decides whether an output item is a streamed one: takes the former's position and the latter's index with them."""


def indexes_of_output(output: Sequence[Json], streamed: Mapping[int, StreamedItem]) -> dict[int, int]:
    """Return the streamed index of each output item by its position in the output.

    `streamed` maps the index of each streamed item to the item. An item that was never streamed gets its position, or a
    negative index if its position is the index of another item. An item is the same as a streamed one if it has its id,
    else its content, else its type and place. Two items that are both in the output are never the same.
    """
    found: dict[int, int] = {}
    used: set[int] = set()

    def find(is_same: _IsSame) -> None:
        for position, item in enumerate(output):
            if position not in found:
                free = (index for index in streamed if index not in used)
                indexes = [index for index in free if is_same(position, item, index, streamed[index])]
                if indexes:
                    found[position] = position if position in indexes else min(indexes)
                    used.add(found[position])

    find(_has_same_id)
    has_known_ids = bool(found)
    find(_has_same_content)
    find(_has_same_place)
    if not has_known_ids:
        find(_has_same_type)
    return {
        position: found.get(position, -1 - position if position in streamed else position)
        for position in range(len(output))
    }


def _has_same_id(_position: int, item: Json, _index: int, streamed: StreamedItem) -> bool:
    return streamed.id is not None and streamed.id == item.get("id")


def _has_same_content(_position: int, item: Json, _index: int, streamed: StreamedItem) -> bool:
    content = content_of_item(item)
    if streamed.kind != item.get("type") or not streamed.content:
        return False
    # The text of a streamed message may still lack its end.
    return content.startswith(streamed.content) if streamed.kind == "message" else content == streamed.content


def _has_same_place(position: int, item: Json, index: int, streamed: StreamedItem) -> bool:
    return position == index and _has_same_type(position, item, index, streamed)


def _has_same_type(_position: int, item: Json, _index: int, streamed: StreamedItem) -> bool:
    # Two function calls of one response differ in their call ids, which the caller's outputs repeat.
    is_other_call = streamed.kind == "function_call" and streamed.content not in {"", content_of_item(item)}
    return streamed.kind == item.get("type") and not is_other_call


def content_of_item(item: Json) -> str:
    """Return what tells an item from others of its type: a text, a code or a call id; empty if it has none."""
    if item.get("type") == "message":
        parts = as_object_list(item.get("content"))
        return "".join(str(part.get("text") or part.get("refusal") or "") for part in parts)
    return str(item.get("call_id" if item.get("type") == "function_call" else "code") or "")
