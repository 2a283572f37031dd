"""A finished response as the stream of events that would have led to it.

Sequences are those of recordings.md section 4, field order that of FileSearchCallStreaming.json (2026-03): `type`,
then the rest by name.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from .response_objects import unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .state import Json

_PIECES = re.compile(r"\s*\S+|\s+")
# Deltas are padded to a multiple of this (Source: every delta of StreamingResponses.json).
_PADDING = 16
_LETTERS = "aZbYcXdWeVfUgThS"


def events_from_response(final: Json, include: frozenset[str], *, obfuscate: bool) -> list[Json]:
    """Every event of a response, `sequence_number` from 0; a background response is `queued` first.

    Deltas carry `obfuscation` unless it was switched off; those of background responses never did in the recordings.
    """
    events: list[Json] = []
    for event in _events(final, include):
        kind = event.pop("type")
        if obfuscate and kind.endswith(".delta"):
            event["obfuscation"] = _LETTERS[: _PADDING - len(event["delta"]) % _PADDING]
        event["sequence_number"] = len(events)
        events.append({"type": kind, **dict(sorted(event.items()))})
    return events


def _events(final: Json, include: frozenset[str]) -> Iterator[Json]:
    if final.get("background"):
        yield {"type": "response.created", "response": unfinished(final, "queued")}
        yield {"type": "response.queued", "response": unfinished(final, "queued")}
    else:
        yield {"type": "response.created", "response": unfinished(final, "in_progress")}
    yield {"type": "response.in_progress", "response": unfinished(final, "in_progress")}
    for index, item in enumerate(final["output"]):
        yield from _item(item, index, include)
    if final["status"] == "failed":
        # Source: openai-error.1.chunks.txt: an `error` event, its fields nested, before the last one.
        error = final.get("error") or {}
        nested = {"type": error.get("code"), "code": error.get("code"), "message": error.get("message"), "param": None}
        yield {"type": "error", "error": nested}
    last = {key: value for key, value in final.items() if key != "billing"}
    yield {"type": f"response.{final['status']}", "response": last}


def _item(item: Json, index: int, include: frozenset[str]) -> Iterator[Json]:
    begun, steps = _KINDS.get(item["type"], (_as_it_is, _nothing))
    yield {"type": "response.output_item.added", "item": begun(item, include), "output_index": index}
    for step in steps(item):
        yield {**step, "output_index": index} if "item_id" in step else step
    yield {"type": "response.output_item.done", "item": item, "output_index": index}


def _as_it_is(item: Json, _include: frozenset[str]) -> Json:
    return item


def _nothing(_item: Json) -> Iterator[Json]:
    return iter(())


def _message_begun(item: Json, _include: frozenset[str]) -> Json:
    return {**item, "status": "in_progress", "content": []}


def _message_steps(item: Json) -> Iterator[Json]:
    for index, part in enumerate(item["content"]):
        where = {"item_id": item["id"], "content_index": index}
        yield {"type": "response.content_part.added", **where, "part": _empty_part(part)}
        yield from (_refusal_steps if part["type"] == "refusal" else _text_steps)(part, where)
        yield {"type": "response.content_part.done", **where, "part": part}


def _empty_part(part: Json) -> Json:
    empty: Json = {"text": "", "annotations": [], "logprobs": [], "refusal": ""}
    return {key: empty.get(key, value) for key, value in part.items()}


def _text_steps(part: Json, where: Json) -> Iterator[Json]:
    """Container citations come in a bunch after the text; file citations in mid text (recordings.md sections 1, 4)."""
    text = part["text"]
    annotations = part.get("annotations") or []
    pending = sorted(
        (number for number, each in enumerate(annotations) if each["type"] == "file_citation"),
        key=lambda number: annotations[number]["index"],
    )
    sent = 0
    for piece in _pieces(text, [annotations[number]["index"] for number in pending]):
        while pending and annotations[pending[0]]["index"] <= sent:
            yield _annotation(annotations, pending.pop(0), where)
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
        sent += len(piece)
    rest = [number for number, each in enumerate(annotations) if each["type"] != "file_citation"]
    for number in pending + rest:
        yield _annotation(annotations, number, where)
    yield {"type": "response.output_text.done", **where, "text": text, "logprobs": []}


def _annotation(annotations: list[Json], number: int, where: Json) -> Json:
    kind = "response.output_text.annotation.added"
    return {"type": kind, **where, "annotation_index": number, "annotation": annotations[number]}


def _pieces(text: str, stops: list[int]) -> Iterator[str]:
    """Words with the space before them, cut where a citation stands."""
    bounds = sorted({0, len(text), *(stop for stop in stops if stop < len(text))})
    for start, end in pairwise(bounds):
        yield from _PIECES.findall(text[start:end])


def _refusal_steps(part: Json, where: Json) -> Iterator[Json]:
    """Recorded nowhere; the names are those of the SDK's ResponseRefusalDeltaEvent and ResponseRefusalDoneEvent."""
    for piece in _pieces(part["refusal"], []):
        yield {"type": "response.refusal.delta", **where, "delta": piece}
    yield {"type": "response.refusal.done", **where, "refusal": part["refusal"]}


def _code_begun(item: Json, include: frozenset[str]) -> Json:
    """`outputs` is null, or [] when outputs were asked for (Source: recordings.md section 2)."""
    outputs: list[Json] | None = [] if "code_interpreter_call.outputs" in include else None
    return {**item, "status": "in_progress", "code": "", "outputs": outputs}


def _code_steps(item: Json) -> Iterator[Json]:
    where = {"item_id": item["id"]}
    name = "response.code_interpreter_call"
    yield {"type": f"{name}.in_progress", **where}
    for piece in _pieces(item["code"] or "", []):
        yield {"type": f"{name}_code.delta", **where, "delta": piece}
    yield {"type": f"{name}_code.done", **where, "code": item["code"]}
    yield {"type": f"{name}.interpreting", **where}
    yield {"type": f"{name}.completed", **where}


def _function_begun(item: Json, _include: frozenset[str]) -> Json:
    return {**item, "status": "in_progress", "arguments": ""}


def _function_steps(item: Json) -> Iterator[Json]:
    where = {"item_id": item["id"]}
    for piece in _pieces(item["arguments"], []):
        yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]}


def _search_begun(item: Json, _include: frozenset[str]) -> Json:
    return {**item, "status": "in_progress", "queries": [], "results": None}


def _search_steps(item: Json) -> Iterator[Json]:
    where = {"item_id": item["id"]}
    for step in ("in_progress", "searching", "completed"):
        yield {"type": f"response.file_search_call.{step}", **where}


def _reasoning_begun(item: Json, _include: frozenset[str]) -> Json:
    return {**item, "summary": []}


def _reasoning_steps(item: Json) -> Iterator[Json]:
    name = "response.reasoning_summary"
    for index, part in enumerate(item.get("summary") or []):
        where = {"item_id": item["id"], "summary_index": index}
        yield {"type": f"{name}_part.added", **where, "part": {**part, "text": ""}}
        for piece in _pieces(part["text"], []):
            yield {"type": f"{name}_text.delta", **where, "delta": piece}
        yield {"type": f"{name}_text.done", **where, "text": part["text"]}
        yield {"type": f"{name}_part.done", **where, "part": part}


_KINDS: dict[str, tuple[Callable[[Json, frozenset[str]], Json], Callable[[Json], Iterator[Json]]]] = {
    "code_interpreter_call": (_code_begun, _code_steps),
    "file_search_call": (_search_begun, _search_steps),
    "function_call": (_function_begun, _function_steps),
    "message": (_message_begun, _message_steps),
    "reasoning": (_reasoning_begun, _reasoning_steps),
}
