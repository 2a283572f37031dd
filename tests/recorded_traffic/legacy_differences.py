"""A recorded answer and ours, compared field by field, and the table in the documentation that lists the differences.

What cannot be equal is compared by its shape: a time with a time, an id with an id of the same kind.  Ids are more than
shapes, though: where a recorded id comes again, ours has to come again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legacy_calls import ID

ABSENT = "absent"
SECTION = "## Answers that differ from recorded ones"
_STEP_USAGE = "thread.run.step.usage"
_KIND = re.compile(r"[a-z]+[_-]")


@dataclass
class Ids:
    """Which id of ours stands for which recorded one."""

    ours: dict[str, str] = field(default_factory=dict)

    def mapped(self, text: str) -> str:
        """A recorded path or body with our ids in it."""
        return ID.sub(lambda found: self.ours.get(found[0], found[0]), text)

    def same(self, recorded: str, ours: str) -> bool:
        """Whether two ids mean the same object; a recorded one that is new is learned."""
        if recorded not in self.ours:
            alike = ID.fullmatch(ours) and _KIND.match(recorded)[0] == _KIND.match(ours)[0]  # type: ignore[index]
            if not alike or ours in self.ours.values():
                return False
            self.ours[recorded] = ours
        return self.ours[recorded] == ours


@dataclass(frozen=True, order=True)
class Difference:
    """One field that is not as recorded; `where` begins with the kind of object that has it."""

    where: str
    recorded: str
    ours: str


def differences(recorded: Any, ours: Any, ids: Ids, place: str = "") -> Iterator[Difference]:
    """Every difference in keys, their order, types and values."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        yield from _objects(recorded, ours, ids, place)
    elif isinstance(recorded, list) and isinstance(ours, list):
        if len(recorded) != len(ours):
            yield Difference(place, f"{len(recorded)} entries", f"{len(ours)} entries")
        for one, other in zip(recorded, ours, strict=False):
            yield from differences(one, other, ids, f"{place}[]")
    elif not _agree(recorded, ours, ids, place) and not place.startswith(f"{_STEP_USAGE}."):
        yield Difference(place, shown(recorded, place), shown(ours, place))


def _objects(recorded: dict[str, Any], ours: dict[str, Any], ids: Ids, place: str) -> Iterator[Difference]:
    # An object that says what it is begins a place of its own, in whatever list it stands.
    kind = recorded.get("object", place)
    common = [key for key in recorded if key in ours]
    ordered = [key for key in ours if key in recorded]
    if place == _STEP_USAGE and recorded != ours:
        # Eighteen numbers that cannot be equal: one row says what they are instead.
        yield Difference(place, "its own tokens", "zeros" if ours["total_tokens"] == 0 else "the run's tokens")
    if common != ordered:
        yield Difference(kind, f"keys: {', '.join(common)}", f"keys: {', '.join(ordered)}")
    for key, value in recorded.items():
        where = f"{kind}.{key}".lstrip(".")
        if key in ours:
            yield from differences(value, ours[key], ids, where)
        else:
            yield Difference(where, shown(value, where), ABSENT)
    for key, value in ours.items():
        if key not in recorded:
            where = f"{kind}.{key}".lstrip(".")
            yield Difference(where, ABSENT, shown(value, where))


def _agree(recorded: Any, ours: Any, ids: Ids, place: str) -> bool:
    if type(recorded) is not type(ours):
        return False
    if _is_time(recorded, place):
        return True
    if isinstance(recorded, str) and ID.fullmatch(recorded):
        return ids.same(recorded, ours)
    return bool(recorded == ours)


def _is_time(value: Any, place: str) -> bool:
    return type(value) is int and place.endswith("_at")


def shown(value: Any, place: str) -> str:
    """A value as the table writes it."""
    if _is_time(value, place):
        return "a time"
    if isinstance(value, str) and ID.fullmatch(value):
        return "an id"
    return json.dumps(value, ensure_ascii=False)


Row = tuple[str, str, str]
"""Place with its era, what was recorded, what we answer (alternatives joined by "or")."""


def rows_of(found: set[tuple[str, Difference]]) -> set[Row]:
    """Differences, each with its era, as rows: our alternatives share a row, and so do eras that do not differ."""
    ours: dict[tuple[str, str, str], set[str]] = {}
    for era, each in found:
        ours.setdefault((each.where, each.recorded, era), set()).add(each.ours)
    eras: dict[Row, set[str]] = {}
    for (where, recorded, era), answers in ours.items():
        eras.setdefault((where, recorded, " or ".join(sorted(answers))), set()).add(era)
    return {
        (f"{where} ({', '.join(sorted(names))})", recorded, answers)
        for (where, recorded, answers), names in eras.items()
    }


def table_of(document: Path) -> dict[Row, str]:
    """The rows of the table in the documentation, each with its reason."""
    section = document.read_text("utf-8").partition(SECTION)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]  # head and rule
    rows: dict[Row, str] = {}
    for line in lines:
        where, recorded, ours, reason = (cell.strip() for cell in line.strip("|").split(" | "))
        row = (where.replace("`", ""), recorded.replace("`", ""), ours.replace("`", ""))
        assert row not in rows, f"twice in the table: {line}"
        rows[row] = reason
    return rows
