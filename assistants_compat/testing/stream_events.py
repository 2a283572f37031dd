"""Turns a finished response into the stream of events that would have produced it.

Sequences are those of recordings.md section 4. The field order is that of FileSearchCallStreaming.json (2026-03):
`type`, then the other fields by name.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from .response_objects import unfinished_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .state import Json

# Every character is in some piece, so the deltas add up to the text.
_PIECES = re.compile(r"\s*\S+|\s+")
# `obfuscation` pads each delta to a multiple of this length (Source: every delta of StreamingResponses.json).
_OBFUSCATION_BLOCK = 16
_OBFUSCATION_LETTERS = "aZbYcXdWeVfUgThS"


def events_from_response(final: Json, include: frozenset[str], *, obfuscate: bool) -> list[Json]:
    """Return every event of a response, with `sequence_number` from 0; a background response is `queued` first.

    With `obfuscate` deltas have `obfuscation`. In the recordings the deltas of background responses never have it.
    """
    events: list[Json] = []
    for event in _unnumbered_events(final, include):
        event_type = event.pop("type")
        if obfuscate and event_type.endswith(".delta"):
            event["obfuscation"] = _OBFUSCATION_LETTERS[: _OBFUSCATION_BLOCK - len(event["delta"]) % _OBFUSCATION_BLOCK]
        event["sequence_number"] = len(events)
        events.append({"type": event_type, **dict(sorted(event.items()))})
    return events


def _unnumbered_events(final: Json, include: frozenset[str]) -> Iterator[Json]:
    if final.get("background"):
        yield {"type": "response.created", "response": unfinished_response(final, "queued")}
        yield {"type": "response.queued", "response": unfinished_response(final, "queued")}
    else:
        yield {"type": "response.created", "response": unfinished_response(final, "in_progress")}
    yield {"type": "response.in_progress", "response": unfinished_response(final, "in_progress")}
    for index, item in enumerate(final["output"]):
        yield from _item_events(item, index, include)
    if final["status"] == "failed":
        # Source: openai-error.1.chunks.txt (an `error` event with nested fields before the last event).
        error = final.get("error") or {}
        nested = {"type": error.get("code"), "code": error.get("code"), "message": error.get("message"), "param": None}
        yield {"type": "error", "error": nested}
    # No stream in the recordings has `billing`.
    last = {key: value for key, value in final.items() if key != "billing"}
    yield {"type": f"response.{final['status']}", "response": last}


def _item_events(item: Json, index: int, include: frozenset[str]) -> Iterator[Json]:
    started_item, inner_events = _ITEM_EVENTS.get(item["type"], (_unchanged, _no_events))
    yield {"type": "response.output_item.added", "item": started_item(item, include), "output_index": index}
    for event in inner_events(item):
        yield {**event, "output_index": index} if "item_id" in event else event
    yield {"type": "response.output_item.done", "item": item, "output_index": index}


def _unchanged(item: Json, _include: frozenset[str]) -> Json:
    return item


def _no_events(_item: Json) -> Iterator[Json]:
    return iter(())


def _started_message(item: Json, _include: frozenset[str]) -> Json:
    return {**item, "status": "in_progress", "content": []}


def _message_events(item: Json) -> Iterator[Json]:
    for index, part in enumerate(item["content"]):
        position = {"item_id": item["id"], "content_index": index}
        yield {"type": "response.content_part.added", **position, "part": _empty_part(part)}
        yield from (_refusal_events if part["type"] == "refusal" else _text_events)(part, position)
        yield {"type": "response.content_part.done", **position, "part": part}


def _empty_part(part: Json) -> Json:
    empty: Json = {"text": "", "annotations": [], "logprobs": [], "refusal": ""}
    return {key: empty.get(key, value) for key, value in part.items()}


def _text_events(part: Json, position: Json) -> Iterator[Json]:
    """Yield text and citations: file citations within the text, container citations together after it.

    Source: recordings.md sections 1 and 4.
    """
    text = part["text"]
    annotations = part.get("annotations") or []
    pending = sorted(
        (number for number, annotation in enumerate(annotations) if annotation["type"] == "file_citation"),
        key=lambda number: annotations[number]["index"],
    )
    sent = 0
    for piece in _pieces(text, [annotations[number]["index"] for number in pending]):
        while pending and annotations[pending[0]]["index"] <= sent:
            yield _annotation_event(annotations, pending.pop(0), position)
        yield {"type": "response.output_text.delta", **position, "delta": piece, "logprobs": []}
        sent += len(piece)
    others = [number for number, annotation in enumerate(annotations) if annotation["type"] != "file_citation"]
    for number in pending + others:
        yield _annotation_event(annotations, number, position)
    yield {"type": "response.output_text.done", **position, "text": text, "logprobs": []}


def _annotation_event(annotations: list[Json], number: int, position: Json) -> Json:
    event_type = "response.output_text.annotation.added"
    return {"type": event_type, **position, "annotation_index": number, "annotation": annotations[number]}


def _pieces(text: str, cuts: list[int]) -> Iterator[str]:
    """Yield words with the space before them, cut at the positions of citations."""
    bounds = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, end in pairwise(bounds):
        yield from _PIECES.findall(text[start:end])


def _refusal_events(part: Json, position: Json) -> Iterator[Json]:
    """Yield a refusal; no recording has one.

    The names are those of the SDK's ResponseRefusalDeltaEvent and ResponseRefusalDoneEvent.
    """
    for piece in _pieces(part["refusal"], []):
        yield {"type": "response.refusal.delta", **position, "delta": piece}
    yield {"type": "response.refusal.done", **position, "refusal": part["refusal"]}


def _started_code_call(item: Json, include: frozenset[str]) -> Json:
    """Return a started call, whose `outputs` are [] if `include` names them, else null (recordings.md section 2)."""
    outputs: list[Json] | None = [] if "code_interpreter_call.outputs" in include else None
    return {**item, "status": "in_progress", "code": "", "outputs": outputs}


def _code_call_events(item: Json) -> Iterator[Json]:
    position = {"item_id": item["id"]}
    name = "response.code_interpreter_call"
    yield {"type": f"{name}.in_progress", **position}
    for piece in _pieces(item["code"] or "", []):
        yield {"type": f"{name}_code.delta", **position, "delta": piece}
    yield {"type": f"{name}_code.done", **position, "code": item["code"]}
    yield {"type": f"{name}.interpreting", **position}
    yield {"type": f"{name}.completed", **position}


def _started_function_call(item: Json, _include: frozenset[str]) -> Json:
    return {**item, "status": "in_progress", "arguments": ""}


def _function_call_events(item: Json) -> Iterator[Json]:
    position = {"item_id": item["id"]}
    for piece in _pieces(item["arguments"], []):
        yield {"type": "response.function_call_arguments.delta", **position, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **position, "arguments": item["arguments"]}


def _started_file_search(item: Json, _include: frozenset[str]) -> Json:
    # The queries come only with `output_item.done` (recordings.md section 4).
    return {**item, "status": "in_progress", "queries": [], "results": None}


def _file_search_events(item: Json) -> Iterator[Json]:
    position = {"item_id": item["id"]}
    for state in ("in_progress", "searching", "completed"):
        yield {"type": f"response.file_search_call.{state}", **position}


def _started_reasoning(item: Json, _include: frozenset[str]) -> Json:
    return {**item, "summary": []}


def _reasoning_events(item: Json) -> Iterator[Json]:
    name = "response.reasoning_summary"
    for index, part in enumerate(item.get("summary") or []):
        position = {"item_id": item["id"], "summary_index": index}
        yield {"type": f"{name}_part.added", **position, "part": {**part, "text": ""}}
        for piece in _pieces(part["text"], []):
            yield {"type": f"{name}_text.delta", **position, "delta": piece}
        yield {"type": f"{name}_text.done", **position, "text": part["text"]}
        yield {"type": f"{name}_part.done", **position, "part": part}


_ITEM_EVENTS: dict[str, tuple[Callable[[Json, frozenset[str]], Json], Callable[[Json], Iterator[Json]]]] = {
    "code_interpreter_call": (_started_code_call, _code_call_events),
    "file_search_call": (_started_file_search, _file_search_events),
    "function_call": (_started_function_call, _function_call_events),
    "message": (_started_message, _message_events),
    "reasoning": (_started_reasoning, _reasoning_events),
}
