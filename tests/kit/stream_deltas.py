"""Sums of the deltas of a legacy stream, and the shapes that a delta may have.

This code is independent of the package. It follows the recordings and the SDK's types only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

RECORDED, TYPES = "recorded", "the SDK's types"
SHAPES = {
    "index,type,text(value,annotations[])": RECORDED,
    "index,type,text(value)": RECORDED,
    "index,type,text(value,annotations[index,type,text,start_index,end_index,file_citation(file_id,quote)])": RECORDED,
    "index,type,text(value,annotations[index,type,text,start_index,end_index,file_path(file_id)])": TYPES,
    "index,type,image_file(file_id)": TYPES,
    "index,type,refusal": TYPES,
    "index,id,type,code_interpreter(input,outputs[])": RECORDED,
    "index,type,code_interpreter(input)": RECORDED,
    "index,type,code_interpreter(outputs[index,type,logs])": TYPES,
    "index,type,code_interpreter(outputs[index,type,image(file_id)])": TYPES,
    "index,type,code_interpreter(input,outputs[index,type,logs])": TYPES,
    "index,type,code_interpreter(input,outputs[index,type,image(file_id)])": TYPES,
    "index,id,type,file_search(ranking_options(ranker,score_threshold),results[])": RECORDED,
    "index,id,type,function(name,arguments,output)": RECORDED,
    "index,type,function(arguments)": RECORDED,
}
"""Every shape that a piece of a delta may have, with its source."""


def shapes(piece: Json) -> set[str]:
    """Return the keys of a piece of a delta in order, once for each kind of entry in its lists."""
    found = [""]
    for number, (key, value) in enumerate(piece.items()):
        inner = [key]
        if isinstance(value, dict):
            inner = [f"{key}({shape})" for shape in shapes(value)]
        elif isinstance(value, list):
            inner = sorted({f"{key}[{shape}]" for entry in value for shape in shapes(entry)}) or [f"{key}[]"]
        found = [f"{before}{',' if number else ''}{after}" for before in found for after in inner]
    return set(found)


def pieces_of(name: str, data: Any) -> list[Json]:
    """Return the pieces of a delta event; none for other events."""
    if name == "thread.message.delta":
        return list(data["delta"]["content"])
    if name == "thread.run.step.delta":
        return list(data["delta"]["step_details"]["tool_calls"])
    return []


@dataclass
class DeltaSums:
    """Adds up deltas, checks the shape of each, and compares the sum with the finished object at the end."""

    contents: dict[str, list[Json]] = field(default_factory=dict)  # by message
    calls: dict[str, list[Json]] = field(default_factory=dict)  # by step
    ended: dict[str, Json] = field(default_factory=dict)  # whole objects by their ids

    def add_all(self, events: Iterable[tuple[str, Any]]) -> DeltaSums:
        """Add all of these events."""
        for name, data in events:
            self.add(name, data)
        return self

    def add(self, name: str, data: Any) -> None:
        """Add one event."""
        for piece in pieces_of(name, data):
            assert shapes(piece) <= set(SHAPES), shapes(piece) - set(SHAPES)
            if name == "thread.message.delta":
                self._block(self.contents.setdefault(data["id"], []), dict(piece))
            else:
                self._call(self.calls.setdefault(data["id"], []), dict(piece))
        if name in {"thread.message.completed", "thread.message.incomplete"}:
            assert data["content"] == self.contents.get(data["id"], [])
            self.ended[data["id"]] = data
        elif name.startswith("thread.run.step.") and data.get("status", "in_progress") != "in_progress":
            if data["type"] == "tool_calls" and data["id"] in self.calls:
                assert [without_results(call) for call in data["step_details"]["tool_calls"]] == self.calls[data["id"]]
            self.ended[data["id"]] = data

    @staticmethod
    def _block(content: list[Json], piece: Json) -> None:
        index = piece.pop("index")
        is_first = index == len(content)
        assert is_first or index < len(content)
        if piece["type"] == "image_file":
            assert is_first
            content.append(piece)
        elif piece["type"] == "refusal":
            if is_first:
                content.append({"type": "refusal", "refusal": ""})
            content[index]["refusal"] += piece["refusal"]
        else:
            if is_first:
                content.append({"type": "text", "text": {"value": "", "annotations": []}})
            is_last = index == len(content) - 1
            _add_text(content[index]["text"], piece["text"], is_first=is_first, is_last=is_last)

    @staticmethod
    def _call(calls: list[Json], piece: Json) -> None:
        index, kind = piece.pop("index"), piece["type"]
        if index == len(calls):
            # A first delta is empty: the SDK does not pass its input to on_tool_call_delta (clients.md).
            assert piece[kind].get("input", "") == piece[kind].get("arguments", "") == ""
            assert not piece[kind].get("outputs")
            calls.append({**piece, kind: dict(piece[kind])})
            return
        assert "id" not in piece
        call = calls[index]
        assert call["type"] == kind
        for key in {"input", "arguments"} & set(piece[kind]):
            assert piece[kind][key]
            call[kind][key] += piece[kind][key]
        for output in piece[kind].get("outputs", []):
            assert output["index"] == len(call[kind]["outputs"])
            call[kind]["outputs"] = [*call[kind]["outputs"], _without_index(output)]


def without_results(call: Json) -> Json:
    """Return a call without search results, which come with the finished step only and never in deltas (recorded)."""
    search = call.get("file_search")
    return {**call, "file_search": {**search, "results": []}} if search else call


def _without_index(piece: Json) -> Json:
    return {key: value for key, value in piece.items() if key != "index"}


def _add_text(text: Json, piece: Json, *, is_first: bool, is_last: bool) -> None:
    """Add a piece of text. The first piece has `annotations`, a later one only if it brings some.

    Frameworks skip a delta without text, so only a text that another block follows may get its links in one.
    """
    text["value"] += piece["value"]
    notes = piece.get("annotations")
    assert notes is not None if is_first else notes != []
    assert piece["value"] or notes or is_first
    for note in notes or []:
        assert note["index"] == len(text["annotations"])
        assert text["value"][note["start_index"] : note["end_index"]] == note["text"]
        if note["type"] == "file_citation":
            assert note["text"] in piece["value"]
            assert note["file_citation"]["quote"] == ""
            note = {**note, "file_citation": {"file_id": note["file_citation"]["file_id"]}}  # noqa: PLW2901 - as stored
        else:
            assert note["type"] == "file_path"
            assert piece["value"] or not is_last
            # A search may be cited in the middle of a link, and the part already sent cannot be withdrawn.
            assert re.sub("【[^】]*】", "", note["text"]).startswith("sandbox:/mnt/data/")
        text["annotations"].append(_without_index(note))
