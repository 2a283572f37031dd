"""Encodes a response as the event stream that leads to it, in the pieces of the recorded Assistants stream.

Names and fields are those of recorded streams of the Responses API (CodeInterpreterToolStreaming.json,
FileSearchCallStreaming.json, FunctionCallStreamingWorks.json): `type` first, then the other fields by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from ...wire.objects import Json, as_object, as_object_list
from .evidence import Event

TextPieces = Mapping[str, list[str]]
"""The pieces in which texts were streamed.

The key of a message is its position among the messages (`msg 0`), the key of a tool call is its id.
"""


def encode_stream(response: Json, pieces: TextPieces) -> bytes:
    """Return the whole stream as it goes over the wire."""
    events = list(_events(response, pieces))
    numbered = ({**event, "sequence_number": number} for number, event in enumerate(events))
    ordered = ({"type": event.pop("type"), **dict(sorted(event.items()))} for event in numbered)
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in ordered)


def _events(response: Json, pieces: TextPieces) -> Iterator[Json]:
    started = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    started |= {"error": None, "incomplete_details": None}
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    messages = 0
    for index, item in enumerate(response["output"]):
        item_fields = {"output_index": index, "item_id": item["id"]}
        key = f"msg {messages}" if item["type"] == "message" else str(item.get("call_id") or item["id"])
        messages += item["type"] == "message"
        yield {"type": "response.output_item.added", "output_index": index, "item": _empty_item(item)}
        yield from _ITEM_EVENTS[item["type"]](item, item_fields, pieces.get(key, []))
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    # With any other status the recording does not show how the response ended, so the stream has no last event.
    if response["status"] in {"completed", "incomplete", "failed"}:
        yield {"type": f"response.{response['status']}", "response": response}


def _empty_item(item: Json) -> Json:
    empty: Json = {"content": [], "code": "", "arguments": "", "outputs": None, "results": None}
    return {**{key: empty.get(key, value) for key, value in item.items()}, "status": "in_progress"}


def _message_events(item: Json, item_fields: Json, pieces: list[str]) -> Iterator[Json]:
    for index, part in enumerate(item["content"]):
        part_fields = {**item_fields, "content_index": index}
        empty = {
            key: type(value)() if isinstance(value, (str, list)) and key != "type" else value
            for key, value in part.items()
        }
        yield {"type": "response.content_part.added", **part_fields, "part": empty}
        if part["type"] == "refusal":
            yield {"type": "response.refusal.delta", **part_fields, "delta": part["refusal"]}
            yield {"type": "response.refusal.done", **part_fields, "refusal": part["refusal"]}
        else:
            yield from _text_events(part, part_fields, pieces if index == 0 else [])
        yield {"type": "response.content_part.done", **part_fields, "part": part}


def _text_events(part: Json, part_fields: Json, pieces: list[str]) -> Iterator[Json]:
    """Yield the deltas of a text, with its annotations.

    Citations of searched files come at their position in the text, citations of container files after the text.
    """
    text, annotations = part["text"], list(enumerate(part["annotations"]))
    waiting = sorted(
        ((note["index"], number, note) for number, note in annotations if note["type"] == "file_citation"),
        key=lambda entry: entry[:2],
    )
    sent = 0
    # The text is cut at each citation too, so that the citation's event comes between the right two deltas.
    for piece in split_text(text, pieces, [index for index, _, _ in waiting]):
        while waiting and waiting[0][0] <= sent:
            yield _annotation_event(part_fields, *waiting.pop(0)[1:])
        yield {"type": "response.output_text.delta", **part_fields, "delta": piece, "logprobs": []}
        sent += len(piece)
    for _, number, note in waiting:
        yield _annotation_event(part_fields, number, note)
    for number, note in annotations:
        if note["type"] != "file_citation":
            yield _annotation_event(part_fields, number, note)
    yield {"type": "response.output_text.done", **part_fields, "text": text, "logprobs": []}


def _annotation_event(part_fields: Json, number: int, annotation: Json) -> Json:
    return {
        "type": "response.output_text.annotation.added",
        **part_fields,
        "annotation_index": number,
        "annotation": annotation,
    }


def split_text(text: str, pieces: Iterable[str], stops: Iterable[int]) -> list[str]:
    """Return a text in these pieces, which are also cut at the `stops`.

    Pieces that do not add up to the text are ignored.
    """
    parts = [piece for piece in pieces if piece]
    if "".join(parts) != text:
        parts = [text]
    bounds = {0, len(text), *(stop for stop in stops if stop < len(text))}
    position = 0
    for part in parts:
        position += len(part)
        bounds.add(position)
    ordered = sorted(bounds)
    return [text[start:end] for start, end in pairwise(ordered)]


def _code_events(item: Json, item_fields: Json, pieces: list[str]) -> Iterator[Json]:
    name = "response.code_interpreter_call"
    yield {"type": f"{name}.in_progress", **item_fields}
    for piece in split_text(item["code"], pieces, []):
        yield {"type": f"{name}_code.delta", **item_fields, "delta": piece}
    yield {"type": f"{name}_code.done", **item_fields, "code": item["code"]}
    yield {"type": f"{name}.interpreting", **item_fields}
    yield {"type": f"{name}.completed", **item_fields}


def _function_events(item: Json, item_fields: Json, pieces: list[str]) -> Iterator[Json]:
    name = "response.function_call_arguments"
    for piece in split_text(item["arguments"], pieces, []):
        yield {"type": f"{name}.delta", **item_fields, "delta": piece}
    yield {"type": f"{name}.done", **item_fields, "arguments": item["arguments"]}


def _search_events(_item: Json, item_fields: Json, _pieces: list[str]) -> Iterator[Json]:
    for status in ("in_progress", "searching", "completed"):
        yield {"type": f"response.file_search_call.{status}", **item_fields}


_ITEM_EVENTS = {
    "message": _message_events,
    "code_interpreter_call": _code_events,
    "function_call": _function_events,
    "file_search_call": _search_events,
}


def pieces_from_events(events: Iterable[Event], response: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the pieces of a recorded Assistants stream for `encode_stream`.

    They are its texts without citation markers, its code and its function arguments.
    """
    texts: dict[str, list[str]] = {}
    codes: dict[str, list[str]] = {}
    for name, data in events:
        delta = as_object(as_object(data).get("delta"))
        if name == "thread.message.delta":
            message_pieces = texts.setdefault(data["id"], [])
            message_pieces += [_text_without_markers(block) for block in as_object_list(delta.get("content"))]
        elif name == "thread.run.step.delta":
            for call in as_object_list(as_object(delta.get("step_details")).get("tool_calls")):
                tool = as_object(call.get(str(call.get("type"))))
                place = f"{data['id']} {call.get('index')}"
                codes.setdefault(place, []).append(str(tool.get("input") or tool.get("arguments") or ""))
    output = as_object_list(response.get("output"))
    calls = [item for item in output if item["type"] != "message"]
    # The recorded stream showed messages and tool calls in the order of the output, so they pair up by position.
    by_message = {f"msg {number}": pieces for number, pieces in enumerate(texts.values())}
    return by_message | {
        str(item.get("call_id") or item["id"]): pieces for item, pieces in zip(calls, codes.values(), strict=False)
    }


def _text_without_markers(block: Json) -> str:
    """Return the text of a delta without citation markers: the service wrote those, not the model."""
    text = as_object(block.get("text"))
    citations = [note for note in as_object_list(text.get("annotations")) if note.get("type") == "file_citation"]
    value = str(text.get("value") or "")
    for citation in citations:
        value = value.replace(str(citation.get("text")), "")
    return value
