"""The rooms of the package, measured from its imports: figures, and the picture in docs/architecture.md.

`make rooms` prints the figures. Only the standard library is needed, and nothing of the package is imported.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "assistants_compat"
FACE = "__init__"  # what users import; it only hands names on, so its imports are not counted


def module_name(path: Path) -> str:
    """Return the dotted name of a file below the package, without the package's own name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imported_modules(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of the package that a file imports, also inside functions."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    elif package == [FACE]:
        package = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else ())]
        for alias in node.names:
            longest = ".".join([*base, alias.name])
            yield longest if longest in modules else ".".join(base)


@dataclass(frozen=True)
class House:
    """Every module of the package and what it imports."""

    lines: dict[str, int]
    imports: dict[str, frozenset[str]]

    @classmethod
    def measured(cls) -> House:
        """Read the package in this checkout."""
        files = [path for path in sorted(PACKAGE.rglob("*.py")) if "start" not in path.parts]  # see `doors/start`
        modules = {module_name(path): path for path in files}
        lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules.items()}
        imports = {
            name: frozenset(imported_modules(path, modules)) & set(modules)
            for name, path in modules.items()
            if name != FACE
        }
        return cls(lines, imports)

    @cached_property
    def rooms(self) -> dict[str, frozenset[str]]:
        """Map each folder and file at the top to those that it imports."""
        found: dict[str, set[str]] = {name.partition(".")[0]: set() for name in self.imports}
        for name, imported in self.imports.items():
            room = name.partition(".")[0]
            found[room] |= {other.partition(".")[0] for other in imported} - {room}
        return {room: frozenset(imported) for room, imported in found.items()}

    @cached_property
    def circles(self) -> set[str]:
        """Return the modules that import themselves through others; empty where no import points back up."""
        reached = {name: set(imported) - {name} for name, imported in self.imports.items()}
        changed = True
        while changed:
            changed = False
            for imported in reached.values():
                more = set().union(*(reached.get(other, set()) for other in imported)) - imported
                imported.update(more)
                changed = changed or bool(more)
        return {name for name, imported in reached.items() if name in imported}

    @cached_property
    def floors(self) -> dict[str, int]:
        """Return the floor of each room: 1 for what imports no other room, else one above the highest it imports."""
        known: dict[str, int] = {}

        def floor(room: str) -> int:
            if room not in known:
                known[room] = 1 + max((floor(other) for other in self.rooms[room]), default=0)
            return known[room]

        return {room: floor(room) for room in self.rooms}

    @cached_property
    def rows(self) -> dict[str, int]:
        """Return where each room is drawn: on its floor, or as far up as the rooms that import it allow."""
        known: dict[str, int] = {}

        def row(room: str) -> int:
            if room not in known:
                importers = [row(other) for other, imported in self.rooms.items() if room in imported]
                known[room] = min(importers) - 1 if importers else self.floors[room]
            return known[room]

        return {room: row(room) for room in self.rooms}

    @cached_property
    def nearest(self) -> list[tuple[str, str]]:
        """Return the imports between rooms that no longer way between the same two rooms implies."""

        def reachable(room: str) -> set[str]:
            return set().union(*({other} | reachable(other) for other in self.rooms[room]))

        return [
            (room, other)
            for room, imported in sorted(self.rooms.items())
            for other in sorted(imported)
            if not any(other in reachable(between) for between in imported)
        ]

    def figures(self) -> dict[str, int]:
        """Return the figures that tests hold: counts of rooms, files, floors and arrows, and the longest file."""
        folders = [room for room in self.rooms if any(name.startswith(f"{room}.") for name in self.lines)]
        return {
            "rooms (folders at the top)": len(folders),
            "files at the top": len(self.rooms) - len(folders) + 1,
            "files": len(self.lines),
            "lines in the longest file": max(self.lines.values()),
            "floors of rooms": max(self.floors.values()),
            "imports between rooms": sum(len(imported) for imported in self.rooms.values()),
            "modules in circles": len(self.circles),
        }


SAYS = {
    "__main__": "python -m assistants_compat",
    "api": "the Assistants API, one file per noun",
    "azure": "clients signed in to Azure",
    "cli": "one file per command",
    "doors": "calls in, answers out; HTTP, SDK",
    "engine": "runs, threads, files; all I/O",
    "errors": "everything that can go wrong",
    "pytest_plugin": "recorded tests",
    "recordings": "cassettes, and their conversion",
    "runtime": "threads, clock, off switch",
    "settings": "one frozen dataclass",
    "store": "database and bytes",
    "service": "facts: refusals, model families",
    "testing": "a stand-in for the service",
    "tools": "downloads, import, export, audit",
    "translate": "one API into the other, pure",
    "wire": "objects, ids, requests, headers",
}

WIDTH, BOX, HEIGHT, STEP = 1000, 236, 44, 74
_FONT = 'font-family="sans-serif" fill="#222"'


def picture() -> str:
    """Draw the rooms as an SVG: a row per floor, an arrow for each import that no longer way implies."""
    house = House.measured()
    top = max(house.floors.values())
    places: dict[str, tuple[int, int]] = {}
    for floor in range(1, top + 1):
        row = sorted(room for room, at in house.rows.items() if at == floor)
        for number, room in enumerate(row):
            places[room] = (WIDTH * (2 * number + 1) // (2 * len(row)), 24 + STEP * (top - floor))
    height = 24 + STEP * (top - 1) + HEIGHT + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The rooms of the package; an import points down</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 8 4 0 8z" fill="#889"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for room, other in house.nearest:
        (x1, y1), (x2, y2) = places[room], places[other]
        start, end = y1 + HEIGHT, y2 - 2
        bend = (end - start) // 2
        lines.append(
            f'<path d="M{x1} {start}C{x1} {start + bend} {x2} {end - bend} {x2} {end}" fill="none" stroke="#889" '
            'marker-end="url(#tip)"/>'
        )
    for room, (x, y) in sorted(places.items()):
        is_folder = any(name.startswith(f"{room}.") for name in house.lines)
        name = f"{room}/" if is_folder else f"{room}.py"
        fill = "#eef3fb" if is_folder else "#f6f4ec"
        lines += [
            f'<rect x="{x - BOX // 2}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="#557"/>',
            f'<text x="{x}" y="{y + 18}" text-anchor="middle" font-size="15" font-weight="bold" {_FONT}>{name}</text>',
            f'<text x="{x}" y="{y + 35}" text-anchor="middle" font-size="11.5" {_FONT}>{escape(SAYS[room])}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Print the figures, and the rooms from the top floor down."""
    house = House.measured()
    for name, figure in house.figures().items():
        sys.stdout.write(f"{name:28} {figure}\n")
    for floor in range(max(house.floors.values()), 0, -1):
        rooms = sorted(room for room, at in house.floors.items() if at == floor)
        sys.stdout.write(f"floor {floor:2}  {', '.join(rooms)}\n")


if __name__ == "__main__":
    main()
