"""Hypothesis strategies for response streams: every kind of item, in order or interleaved, complete or with gaps."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

PNG = "data:image/png;base64,iVBORw0KGgo="
words = st.text(alphabet="ab 😀【\u2028\n", min_size=1, max_size=6)
pieces = st.lists(words | st.just(""), max_size=3)
names = st.sampled_from(["a.csv", "b.png"])


def counting_ids() -> Callable[[str], str]:
    """Return a maker of ids that count up by kind, so that two translations of one output give the same ids."""
    numbers: dict[str, Any] = defaultdict(itertools.count)
    return lambda kind: f"{kind}_{next(numbers[kind])}"


@dataclass
class Script:
    """Output items, and the events that stream them, in the order of the items or interleaved."""

    items: list[Json]
    events: list[Json]

    def final_event(self, status: str = "completed", **more: Any) -> Json:
        """Return the last event, which holds the whole response."""
        usage = {"input_tokens": 7, "output_tokens": 4, "total_tokens": 11}
        response = {"status": status, "output": self.items, "usage": usage, **more}
        return {"type": f"response.{status}", "response": response}


def _container(name: str, number: int, start: int, end: int) -> Json:
    return {
        "type": "container_file_citation",
        "container_id": "cntr_1",
        "file_id": f"cfile_{number}",
        "filename": name,
        "start_index": start,
        "end_index": end,
    }


@st.composite
def texts(draw: st.DrawFn, *, as_recorded: bool) -> tuple[Json, list[Json]]:
    """A text with links, shown images and citations of searched files, and its events.

    With `as_recorded` a citation comes directly after the text before it, as in every recording. Otherwise its offset
    is arbitrary.
    """
    text, events, cited = "", [], []
    for piece in draw(st.lists(words, min_size=1, max_size=3) if as_recorded else pieces):
        text += piece
        events.append({"type": "response.output_text.delta", "delta": piece})
        if draw(st.booleans()):
            index = len(text) if as_recorded else draw(st.integers(-1, 12))
            cited.append({"type": "file_citation", "file_id": "file-1", "filename": draw(names), "index": index})
            note: Json = {"annotation": cited[-1], "annotation_index": len(cited) - 1}
            events.append({"type": "response.output_text.annotation.added", **note})
    linked = [_container(f"cfile_{number}.png", number, 0, 0) for number in range(draw(st.integers(0, 2)))]
    for name in draw(st.lists(names, max_size=2)):
        link = f"sandbox:/mnt/data/{name}"
        linked.append(_container(name, 2, len(text), len(text) + len(link)))
        text += link
        events.append({"type": "response.output_text.delta", "delta": link})
    for number, annotation in enumerate(linked, len(cited)):
        note = {"annotation": annotation, "annotation_index": number}
        events.append({"type": "response.output_text.annotation.added", **note})
    events.append({"type": "response.output_text.done", "text": text})
    return {"type": "output_text", "text": text, "annotations": [*cited, *linked]}, events


@st.composite
def refusals(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """A refusal and its events."""
    deltas = draw(st.lists(words, min_size=1, max_size=3))
    events: list[Json] = [{"type": "response.refusal.delta", "delta": piece} for piece in deltas]
    return {"type": "refusal", "refusal": "".join(deltas)}, [*events, {"type": "response.refusal.done"}]


@st.composite
def messages(draw: st.DrawFn, *, as_recorded: bool) -> tuple[Json, list[Json]]:
    """A message of several parts and its events."""
    item: Json = {"type": "message", "role": "assistant", "status": "completed", "content": []}
    events: list[Json] = [{"type": "response.output_item.added", "item": {**item, "status": "in_progress"}}]
    content = []
    for place, (part, part_events) in enumerate(
        draw(st.lists(texts(as_recorded=as_recorded) | refusals(), min_size=int(as_recorded), max_size=3))
    ):
        content.append(part)
        events += [{**event, "content_index": place} for event in part_events]
    item = {**item, "content": content}
    return item, [*events, {"type": "response.output_item.done", "item": item}]


@st.composite
def codes(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """A call of Code Interpreter and its events; its outputs may be null (recorded)."""
    code_pieces = draw(pieces)
    image, logs = {"type": "image", "url": PNG}, {"type": "logs", "logs": "1"}
    outputs = draw(st.none() | st.lists(st.sampled_from([image, logs, {"type": "next_year"}]), max_size=3))
    status = draw(st.sampled_from(["completed", "completed", "failed"]))
    started: Json = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "container_id": "cntr_1",
        "code": "",
        "outputs": None,
    }
    item = {**started, "status": status, "code": "".join(code_pieces), "outputs": outputs}
    deltas = [{"type": "response.code_interpreter_call_code.delta", "delta": piece} for piece in code_pieces]
    return item, _item_events(started, deltas, item)


@st.composite
def functions(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """A call of a function and its events."""
    argument_pieces = draw(pieces)
    started = {"type": "function_call", "name": "look", "arguments": "", "status": "in_progress"}
    item = {**started, "arguments": "".join(argument_pieces), "status": "completed"}
    deltas = [{"type": "response.function_call_arguments.delta", "delta": piece} for piece in argument_pieces]
    return item, _item_events(started, deltas, item)


def _item_events(started: Json, deltas: list[Json], item: Json) -> list[Json]:
    added, done = "response.output_item.added", "response.output_item.done"
    return [{"type": added, "item": started}, *deltas, {"type": done, "item": item}]


_RESULT: Json = {"file_id": "file-1", "filename": "a.txt", "score": 0.5, "text": "A.", "attributes": None}
searches = st.sampled_from([None, [], [_RESULT, _RESULT]]).map(
    lambda results: (
        {"type": "file_search_call", "status": "completed", "results": results},
        "response.file_search_call.searching",
    )
)
others = st.sampled_from(["reasoning", "mcp_call", "web_search_call", "computer_call", "next_year"]).map(
    lambda type_: ({"type": type_, "status": "completed", "summary": []}, f"response.{type_}.delta")
)
plain = (searches | others).map(
    lambda pair: (pair[0], _item_events(pair[0], [{"type": pair[1], "delta": "?"}], pair[0]))
)


def _script(items_and_events: list[tuple[Json, list[Json]]]) -> tuple[list[Json], list[list[Json]]]:
    items, events = [], []
    for place, (item, its_events) in enumerate(items_and_events):
        call_id = {"call_id": f"call_{place}"} if item["type"] == "function_call" else {}
        items.append({**item, **call_id})
        events.append(
            [
                {**event, "output_index": place, **({"item": {**event["item"], **call_id}} if "item" in event else {})}
                for event in its_events
            ]
        )
    return items, events


def _items(*, as_recorded: bool) -> st.SearchStrategy[list[tuple[Json, list[Json]]]]:
    return st.lists(messages(as_recorded=as_recorded) | codes() | functions() | plain, max_size=4)


@st.composite
def ordered_scripts(draw: st.DrawFn) -> Script:
    """A stream as the service sends it: one item after the other, with every event."""
    items, events = _script(draw(_items(as_recorded=True)))
    started: list[Json] = [{"type": "response.created", "response": {}}, {"type": "response.in_progress"}]
    return Script(items, [*started, *itertools.chain(*events)])


@st.composite
def unordered_scripts(draw: st.DrawFn) -> Script:
    """A stream of interleaved items, with some events missing and citations at any offset."""
    items, events = _script(draw(_items(as_recorded=False)))
    queues = [[event for event in item_events if draw(st.integers(0, 4))] for item_events in events]
    order = draw(st.permutations([number for number, queue in enumerate(queues) for _ in queue]))
    merged = [queues[number].pop(0) for number in order]
    return Script(items, [{"type": "response.in_progress"}, *merged])
