"""Compares recorded answers with ours field by field, and reads the documentation's table of differences.

Values that cannot be equal are compared by kind: a time with a time, an id with an id of the same kind. Where a
recorded id is repeated, ours must be repeated too.
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
    """Maps recorded ids to ours."""

    ours: dict[str, str] = field(default_factory=dict)

    def translate(self, text: str) -> str:
        """Return a recorded path or body with our ids in it."""
        return ID.sub(lambda match: self.ours.get(match[0], match[0]), text)

    def matches(self, recorded: str, ours: str) -> bool:
        """Return whether two ids name the same object; a new recorded id is learned."""
        if recorded not in self.ours:
            same_kind = ID.fullmatch(ours) and _KIND.match(recorded)[0] == _KIND.match(ours)[0]  # type: ignore[index]
            if not same_kind or ours in self.ours.values():
                return False
            self.ours[recorded] = ours
        return self.ours[recorded] == ours


@dataclass(frozen=True, order=True)
class Difference:
    """One field that is not as recorded; `where` begins with the kind of the object that has it."""

    where: str
    recorded: str
    ours: str


def differences(recorded: Any, ours: Any, ids: Ids, path: str = "") -> Iterator[Difference]:
    """Yield every difference in keys, their order, types and values."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        yield from _objects(recorded, ours, ids, path)
    elif isinstance(recorded, list) and isinstance(ours, list):
        if len(recorded) != len(ours):
            yield Difference(path, f"{len(recorded)} entries", f"{len(ours)} entries")
        for recorded_entry, our_entry in zip(recorded, ours, strict=False):
            yield from differences(recorded_entry, our_entry, ids, f"{path}[]")
    elif not _agree(recorded, ours, ids, path) and not path.startswith(f"{_STEP_USAGE}."):
        yield Difference(path, displayed(recorded, path), displayed(ours, path))


def _objects(recorded: dict[str, Any], ours: dict[str, Any], ids: Ids, path: str) -> Iterator[Difference]:
    # An object with an `object` key starts a new path, whatever list it is in.
    kind = recorded.get("object", path)
    common = [key for key in recorded if key in ours]
    ordered = [key for key in ours if key in recorded]
    if path == _STEP_USAGE and recorded != ours:
        # Eighteen numbers cannot be equal, so one row says what we answer instead.
        yield Difference(path, "its own tokens", "zeros" if ours["total_tokens"] == 0 else "the run's tokens")
    if common != ordered:
        yield Difference(kind, f"keys: {', '.join(common)}", f"keys: {', '.join(ordered)}")
    for key, value in recorded.items():
        where = f"{kind}.{key}".lstrip(".")
        if key in ours:
            yield from differences(value, ours[key], ids, where)
        else:
            yield Difference(where, displayed(value, where), ABSENT)
    for key, value in ours.items():
        if key not in recorded:
            where = f"{kind}.{key}".lstrip(".")
            yield Difference(where, ABSENT, displayed(value, where))


def _agree(recorded: Any, ours: Any, ids: Ids, path: str) -> bool:
    if type(recorded) is not type(ours):
        return False
    if _is_time(recorded, path):
        return True
    if isinstance(recorded, str) and ID.fullmatch(recorded):
        return ids.matches(recorded, ours)
    return bool(recorded == ours)


def _is_time(value: Any, path: str) -> bool:
    return type(value) is int and path.endswith("_at")


def displayed(value: Any, path: str) -> str:
    """Return a value as the table writes it."""
    if _is_time(value, path):
        return "a time"
    if isinstance(value, str) and ID.fullmatch(value):
        return "an id"
    return json.dumps(value, ensure_ascii=False)


Row = tuple[str, str, str]
"""Path with its era, the recorded value, our value (alternatives joined by "or")."""


def rows_of(differences_by_era: set[tuple[str, Difference]]) -> set[Row]:
    """Turn differences with their eras into rows; our alternatives share one, and so do eras with equal differences."""
    ours: dict[tuple[str, str, str], set[str]] = {}
    for era, difference in differences_by_era:
        ours.setdefault((difference.where, difference.recorded, era), set()).add(difference.ours)
    eras: dict[Row, set[str]] = {}
    for (where, recorded, era), answers in ours.items():
        eras.setdefault((where, recorded, " or ".join(sorted(answers))), set()).add(era)
    return {
        (f"{where} ({', '.join(sorted(names))})", recorded, answers)
        for (where, recorded, answers), names in eras.items()
    }


def table_of(document: Path) -> dict[Row, str]:
    """Return the rows of the table in the documentation, each with its reason."""
    section = document.read_text("utf-8").partition(SECTION)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]  # head and rule
    rows: dict[Row, str] = {}
    for line in lines:
        where, recorded, ours, reason = (cell.strip() for cell in line.strip("|").split(" | "))
        row = (where.replace("`", ""), recorded.replace("`", ""), ours.replace("`", ""))
        assert row not in rows, f"twice in the table: {line}"
        rows[row] = reason
    return rows
