"""Fits the items of earlier responses to what the upstream keeps: what it would have to look up goes as plain text.

The service looks up reasoning and the calls of its own tools by their ids (refusal `item_not_found`). With
`store: false` nobody has kept them, so only encrypted reasoning, function calls and messages can be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..wire.objects import Json, as_object_list

MAX_CONTAINER_ID = 64
"""The service refuses longer container ids, which some gateways hand out (refusal `container_id_invalid`)."""

_FOLLOWS_REASONING = frozenset({"function_call", "message"})


def replayable_items(items: Iterable[Json], *, stored: bool) -> list[Json]:
    """Return input items as the upstream takes them; `stored` says whether it keeps responses.

    Code that ran and results of searches go as plain text. Reasoning stays only with the item that follows it.
    """
    if stored:
        return [_without_long_container(item) for item in items]
    result: list[Json] = []
    reasoning: list[Json] = []
    has_lost_reasoning = False
    for item in items:
        kind = item.get("type")
        if kind == "reasoning":
            reasoning.append(item)
            continue
        if kind in _FOLLOWS_REASONING and all(entry.get("encrypted_content") for entry in reasoning):
            result += reasoning
            result.append(without_id(item) if has_lost_reasoning else item)
        elif kind in _FOLLOWS_REASONING:
            has_lost_reasoning = True
            result.append(without_id(item))
        else:
            result += _as_text(item)
        reasoning = []
    return result


def without_reasoning(items: Iterable[Json]) -> list[Json]:
    """Return the items without reasoning; the others lose their ids, by which the service would miss it."""
    return [without_id(item) for item in items if item.get("type") != "reasoning"]


def without_id(item: Mapping[str, Any]) -> Json:
    """Return a function call or message without its id; a call of the service's own tools needs its id."""
    if item.get("type") not in _FOLLOWS_REASONING:
        return dict(item)
    return {key: value for key, value in item.items() if key != "id"}


def _without_long_container(item: Json) -> Json:
    is_too_long = len(str(item.get("container_id") or "")) > MAX_CONTAINER_ID
    return _text_of_code(item) if is_too_long and item.get("type") == "code_interpreter_call" else item


def _as_text(item: Json) -> list[Json]:
    """Return what replaces an item that the upstream would have to look up; nothing if it says nothing."""
    if item.get("type") == "code_interpreter_call":
        return [_text_of_code(item)]
    if item.get("type") == "file_search_call":
        return _text_of_search(item)
    return [item]


def _text_of_code(item: Mapping[str, Any]) -> Json:
    text = f"I ran this Python code:\n\n```python\n{item.get('code') or ''}\n```"
    logs = [str(output.get("logs")) for output in as_object_list(item.get("outputs")) if output.get("type") == "logs"]
    if logs:
        text += "\n\nIt printed:\n\n```\n" + "\n".join(logs) + "\n```"
    return {"role": "assistant", "content": text}


def _text_of_search(item: Mapping[str, Any]) -> list[Json]:
    results = as_object_list(item.get("results"))
    if not results:
        return []
    queries = ", ".join(f'"{query}"' for query in item.get("queries") or ())
    found = "\n\n".join(f"{result.get('filename')}:\n{result.get('text')}" for result in results)
    return [{"role": "assistant", "content": f"I searched the files for {queries} and found:\n\n{found}"}]
