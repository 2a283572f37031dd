"""A response as the stream that leads to it, in the pieces of the recorded stream.

Names and fields are those of recorded streams of the Responses API (CodeInterpreterToolStreaming.json,
FileSearchCallStreaming.json, FunctionCallStreamingWorks.json): `type`, then the rest by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from ...wire.objects import Json, as_object, objects
from .evidence import Event

Pieces = Mapping[str, list[str]]
"""The pieces in which a text came: of a message by its place among the messages (`msg 0`), of a call by its id."""


def stream_of(response: Json, pieces: Pieces) -> bytes:
    """The whole stream, as it goes over the wire."""
    events = list(_events(response, pieces))
    numbered = ({**event, "sequence_number": number} for number, event in enumerate(events))
    ordered = ({"type": event.pop("type"), **dict(sorted(event.items()))} for event in numbered)
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in ordered)


def _events(response: Json, pieces: Pieces) -> Iterator[Json]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    begun |= {"error": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    messages = 0
    for index, item in enumerate(response["output"]):
        where = {"output_index": index, "item_id": item["id"]}
        key = f"msg {messages}" if item["type"] == "message" else str(item.get("call_id") or item["id"])
        messages += item["type"] == "message"
        yield {"type": "response.output_item.added", "output_index": index, "item": _empty(item)}
        yield from _ITEMS[item["type"]](item, where, pieces.get(key, []))
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    if response["status"] in {"completed", "incomplete", "failed"}:  # else the recording has no end of it
        yield {"type": f"response.{response['status']}", "response": response}


def _empty(item: Json) -> Json:
    empty: Json = {"content": [], "code": "", "arguments": "", "outputs": None, "results": None}
    return {**{key: empty.get(key, value) for key, value in item.items()}, "status": "in_progress"}


def _message(item: Json, where: Json, pieces: list[str]) -> Iterator[Json]:
    for index, part in enumerate(item["content"]):
        at = {**where, "content_index": index}
        begun = {
            key: type(value)() if isinstance(value, (str, list)) and key != "type" else value
            for key, value in part.items()
        }
        yield {"type": "response.content_part.added", **at, "part": begun}
        if part["type"] == "refusal":
            yield {"type": "response.refusal.delta", **at, "delta": part["refusal"]}
            yield {"type": "response.refusal.done", **at, "refusal": part["refusal"]}
        else:
            yield from _text(part, at, pieces if index == 0 else [])
        yield {"type": "response.content_part.done", **at, "part": part}


def _text(part: Json, at: Json, pieces: list[str]) -> Iterator[Json]:
    """Citations of searched files come where they stand, those of containers after the text."""
    text, notes = part["text"], list(enumerate(part["annotations"]))
    waiting = sorted(
        ((note["index"], number, note) for number, note in notes if note["type"] == "file_citation"),
        key=lambda each: each[:2],
    )
    sent = 0
    for piece in cut(text, pieces, [index for index, _, _ in waiting]):
        while waiting and waiting[0][0] <= sent:
            yield _noted(at, *waiting.pop(0)[1:])
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
        sent += len(piece)
    for _, number, note in waiting:
        yield _noted(at, number, note)
    for number, note in notes:
        if note["type"] != "file_citation":
            yield _noted(at, number, note)
    yield {"type": "response.output_text.done", **at, "text": text, "logprobs": []}


def _noted(at: Json, number: int, note: Json) -> Json:
    return {"type": "response.output_text.annotation.added", **at, "annotation_index": number, "annotation": note}


def cut(text: str, pieces: Iterable[str], stops: Iterable[int]) -> list[str]:
    """A text in these pieces, also cut at the stops; in one where the pieces are not the text."""
    given = [piece for piece in pieces if piece]
    if "".join(given) != text:
        given = [text]
    bounds = {0, len(text), *(stop for stop in stops if stop < len(text))}
    at = 0
    for piece in given:
        at += len(piece)
        bounds.add(at)
    ordered = sorted(bounds)
    return [text[start:end] for start, end in pairwise(ordered)]


def _code(item: Json, where: Json, pieces: list[str]) -> Iterator[Json]:
    name = "response.code_interpreter_call"
    yield {"type": f"{name}.in_progress", **where}
    for piece in cut(item["code"], pieces, []):
        yield {"type": f"{name}_code.delta", **where, "delta": piece}
    yield {"type": f"{name}_code.done", **where, "code": item["code"]}
    yield {"type": f"{name}.interpreting", **where}
    yield {"type": f"{name}.completed", **where}


def _function(item: Json, where: Json, pieces: list[str]) -> Iterator[Json]:
    name = "response.function_call_arguments"
    for piece in cut(item["arguments"], pieces, []):
        yield {"type": f"{name}.delta", **where, "delta": piece}
    yield {"type": f"{name}.done", **where, "arguments": item["arguments"]}


def _search(_item: Json, where: Json, _pieces: list[str]) -> Iterator[Json]:
    for each in ("in_progress", "searching", "completed"):
        yield {"type": f"response.file_search_call.{each}", **where}


_ITEMS = {
    "message": _message,
    "code_interpreter_call": _code,
    "function_call": _function,
    "file_search_call": _search,
}


def pieces_of(events: Iterable[Event], response: Mapping[str, Any]) -> dict[str, list[str]]:
    """The pieces of a recorded stream, for `stream_of`: its texts, without markers, its code and its arguments."""
    texts: dict[str, list[str]] = {}
    codes: dict[str, list[str]] = {}
    for name, data in events:
        delta = as_object(as_object(data).get("delta"))
        if name == "thread.message.delta":
            said = texts.setdefault(data["id"], [])
            said += [_said(block) for block in objects(delta.get("content"))]
        elif name == "thread.run.step.delta":
            for call in objects(as_object(delta.get("step_details")).get("tool_calls")):
                kind = as_object(call.get(str(call.get("type"))))
                place = f"{data['id']} {call.get('index')}"
                codes.setdefault(place, []).append(str(kind.get("input") or kind.get("arguments") or ""))
    output = objects(response.get("output"))
    calls = [item for item in output if item["type"] != "message"]
    found = {f"msg {number}": each for number, each in enumerate(texts.values())}
    return found | {
        str(item.get("call_id") or item["id"]): each for item, each in zip(calls, codes.values(), strict=False)
    }


def _said(block: Json) -> str:
    """What a delta says; a marker is no text of the model's."""
    text = as_object(block.get("text"))
    marks = [note for note in objects(text.get("annotations")) if note.get("type") == "file_citation"]
    said = str(text.get("value") or "")
    for mark in marks:
        said = said.replace(str(mark.get("text")), "")
    return said
