"""What the shim answers now beside what was recorded, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...wire.objects import Json
from .evidence import Event

ABSENT = "absent"
_SHOWN = 60  # characters of a value that are shown


@dataclass(frozen=True)
class Field:
    """One field: where it is, and whether it is as recorded."""

    where: str
    recorded: str
    now: str

    @property
    def same(self) -> bool:
        """Whether both have it, with the same value and type."""
        return self.recorded == self.now

    @property
    def is_new(self) -> bool:
        """Whether the recorded answer did not have it: the service added fields over the years."""
        return self.recorded == ABSENT

    @property
    def is_time(self) -> bool:
        """Whether it is a time: what happens between two calls has that of the second now."""
        return self.where.endswith("_at") and self.recorded.isdigit() and self.now.isdigit()

    def __str__(self) -> str:
        """As the report says it."""
        return f"{self.where}: {shortened(self.recorded)}, now {shortened(self.now)}"


def fields(recorded: Any, now: Any, where: str = "") -> Iterator[Field]:
    """Every field of either, down to what holds no other."""
    if isinstance(recorded, dict) and isinstance(now, dict) and (recorded or now):
        for key in [*recorded, *(key for key in now if key not in recorded)]:
            place = f"{where}.{key}".lstrip(".")
            if key not in recorded or key not in now:
                yield Field(place, _said(recorded, key), _said(now, key))
            else:
                yield from fields(recorded[key], now[key], place)
    elif isinstance(recorded, list) and isinstance(now, list) and (recorded or now):
        for number in range(max(len(recorded), len(now))):
            place = f"{where}[{number}]"
            if number < len(recorded) and number < len(now):
                yield from fields(recorded[number], now[number], place)
            else:
                yield Field(place, _entry(recorded, number), _entry(now, number))
    else:
        yield Field(where, json.dumps(recorded, ensure_ascii=False), json.dumps(now, ensure_ascii=False))


def _said(given: dict[Any, Any], key: Any) -> str:
    return json.dumps(given[key], ensure_ascii=False) if key in given else ABSENT


def _entry(given: list[Any], number: int) -> str:
    """An entry of a list; one too many is no field that came with the years."""
    return json.dumps(given[number], ensure_ascii=False) if number < len(given) else "no entry"


def shortened(text: str) -> str:
    """A value as it is shown."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def told(events: list[Event]) -> Json:
    """A stream as one object: the names of its events without repetition, each whole object, and the sums of deltas.

    So two streams are alike that say the same in other pieces.
    """
    names: list[str] = []
    whole: dict[str, Any] = {}
    sums: dict[str, str] = {}
    for name, data in events:
        if not (name.endswith(".delta") and names[-1:] == [name]):
            names.append(name)
        if name.endswith(".delta"):
            for place, piece in _pieces(data.get("delta"), data.get("id", "")):
                sums[place] = sums.get(place, "") + piece
        elif isinstance(data, dict):
            whole[f"{name} {sum(each == name for each in names)}"] = data
    return {"events": names, "objects": whole, "deltas": sums}


def _pieces(delta: Any, where: str) -> Iterator[tuple[str, str]]:
    """What grows in a delta: text, code, arguments and logs; with their places."""
    if isinstance(delta, dict):
        for key, value in delta.items():
            if key in {"value", "input", "arguments", "refusal"} and isinstance(value, str):
                yield f"{where} {key}", value
            else:
                yield from _pieces(value, where)
    elif isinstance(delta, list):
        for number, value in enumerate(delta):
            place = value.get("index", number) if isinstance(value, dict) else number
            yield from _pieces(value, f"{where} {place}")
