"""Compares what the library answers after conversion with what was recorded, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...wire.objects import Json
from .evidence import Event

ABSENT = "absent"
_MAX_SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class FieldComparison:
    """One field: its path in the object, its recorded value and its current value, both as text."""

    path: str
    recorded: str
    current: str

    @property
    def is_same(self) -> bool:
        """Whether both objects have the field, with the same value and type."""
        return self.recorded == self.current

    @property
    def is_new(self) -> bool:
        """Whether the recorded object does not have the field: the service added fields over the years."""
        return self.recorded == ABSENT

    @property
    def is_time(self) -> bool:
        """Whether the field is a time.

        The time of an event between two recorded calls is not known; it gets the time of the later call.
        """
        return self.path.endswith("_at") and self.recorded.isdigit() and self.current.isdigit()

    def __str__(self) -> str:
        """Return the line that the report shows."""
        return f"{self.path}: recorded {shorten(self.recorded)}, now {shorten(self.current)}"


def compare_values(recorded: Any, current: Any, path: str = "") -> Iterator[FieldComparison]:
    """Yield every leaf field of either value; a dictionary or list that is empty in both is a leaf."""
    if isinstance(recorded, dict) and isinstance(current, dict) and (recorded or current):
        for key in [*recorded, *(key for key in current if key not in recorded)]:
            field_path = f"{path}.{key}".lstrip(".")
            if key not in recorded or key not in current:
                yield FieldComparison(field_path, _value_or_absent(recorded, key), _value_or_absent(current, key))
            else:
                yield from compare_values(recorded[key], current[key], field_path)
    elif isinstance(recorded, list) and isinstance(current, list) and (recorded or current):
        for number in range(max(len(recorded), len(current))):
            entry_path = f"{path}[{number}]"
            if number < len(recorded) and number < len(current):
                yield from compare_values(recorded[number], current[number], entry_path)
            else:
                yield FieldComparison(entry_path, _entry_text(recorded, number), _entry_text(current, number))
    else:
        yield FieldComparison(path, json.dumps(recorded, ensure_ascii=False), json.dumps(current, ensure_ascii=False))


def _value_or_absent(object_: dict[Any, Any], key: Any) -> str:
    return json.dumps(object_[key], ensure_ascii=False) if key in object_ else ABSENT


def _entry_text(entries: list[Any], number: int) -> str:
    """Return a list's entry as text; a missing entry is not `ABSENT`, because no API version explains it."""
    return json.dumps(entries[number], ensure_ascii=False) if number < len(entries) else "no entry"


def shorten(text: str) -> str:
    """Return a value as reports show it."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def summarize_events(events: list[Event]) -> Json:
    """Return a stream as one object: its event names without repetition, each whole object, and the sums of deltas.

    Two streams with the same contents in different pieces are therefore equal.
    """
    names: list[str] = []
    objects: dict[str, Any] = {}
    sums: dict[str, str] = {}
    for name, data in events:
        if not (name.endswith(".delta") and names[-1:] == [name]):
            names.append(name)
        if name.endswith(".delta"):
            for place, text in _delta_texts(data.get("delta"), data.get("id", "")):
                sums[place] = sums.get(place, "") + text
        elif isinstance(data, dict):
            # The number of the event keeps several objects of one event name apart.
            objects[f"{name} {sum(earlier == name for earlier in names)}"] = data
    return {"events": names, "objects": objects, "deltas": sums}


def _delta_texts(delta: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a delta that clients concatenate (text, code, arguments, logs), each with its place."""
    if isinstance(delta, dict):
        for key, value in delta.items():
            if key in {"value", "input", "arguments", "refusal"} and isinstance(value, str):
                yield f"{place} {key}", value
            else:
                yield from _delta_texts(value, place)
    elif isinstance(delta, list):
        for number, value in enumerate(delta):
            index = value.get("index", number) if isinstance(value, dict) else number
            yield from _delta_texts(value, f"{place} {index}")
