"""The parts of the documentation that come from the code, each between two comments.

`python tests/docs/tables.py` writes them; a test compares them with what is there.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.store.tables import ACTIVE
from assistants_compat.tools.audit import calls_table, other_uses_table
from assistants_compat.tools.audit.calls_table import Row
from assistants_compat.tools.audit.parameters_table import Fate
from assistants_compat.translate.run import MOVES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def cell(words: str) -> str:
    """What may stand in a table."""
    parts = words.replace("|", "\\|").split("`")  # every second one is code, where a bracket is a bracket
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def calls(rows: tuple[Row, ...]) -> Iterator[str]:
    """The table of some methods."""
    yield "| method | routes | verdict | what becomes of it | native |"
    yield "|---|---|---|---|---|"
    for row in rows:
        routes = "<br>".join(f"`{route}`" for route in row.routes)
        yield f"| `{row.call}` | {routes} | {row.fate.verdict} | {cell(row.fate.note)} | {cell(row.native)} |"


def parameters() -> Iterator[str]:
    """The table of parameters: those of which the same is said stand together."""
    known: dict[tuple[str, Fate], list[str]] = {}
    for row in (*calls_table.ROWS, *calls_table.FILES, *calls_table.STORES):
        for name, fate in row.parameters.items():
            known.setdefault((name, fate), []).append(row.call)
    yield "| parameter | of | verdict | what becomes of it |"
    yield "|---|---|---|---|"
    for (name, fate), of in sorted(known.items(), key=lambda item: (item[0][0], item[1])):
        families = sorted({call.rpartition(".")[0] for call in of})
        where = ", ".join(f"`{family}`" for family in families)
        yield f"| `{name}` | {where} | {fate.verdict} | {cell(fate.note)} |"


def mistakes() -> Iterator[str]:
    """What an audit says beside calls."""
    yield "| what | verdict | what is said | native |"
    yield "|---|---|---|---|"
    for what, other in other_uses_table.SAID.items():
        yield f"| {what} | {other.verdict} | {cell(other.note)} | {cell(other.native)} |"


def statuses() -> Iterator[str]:
    """The moves of a run."""
    yield "| a run that is | may become |"
    yield "|---|---|"
    for start, ends in MOVES.items():
        yield f"| `{start}` | {', '.join(f'`{end}`' for end in sorted(ends))} |"


def settings() -> Iterator[str]:
    """Each setting with its variable, as the docstring says it."""
    yield "| setting | variable | what it does |"
    yield "|---|---|---|"
    text = inspect.cleandoc(Settings.__doc__ or "")
    for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]:
        found = re.match(r"`(\w+)` \(`(\w+)`(, [^)]*(?:\([^)]*\)[^)]*)*)?\): (.*)", " ".join(item.split()))
        assert found is not None, item
        form = f" {found[3].removeprefix(', ').capitalize()}." if found[3] else ""
        words = re.sub(r"  +", " ", found[4])
        yield f"| `{found[1]}` | `{found[2]}` | {cell(words)}{cell(form)} |"


def commands() -> Iterator[str]:
    """Every command as `--help` shows it."""
    for names in walked(typer.main.get_command(app)):
        asked = CliRunner().invoke(
            app, [*names, "--help"], prog_name="python -m assistants_compat", terminal_width=96, max_content_width=96
        )
        said = "\n".join(line.rstrip() for line in asked.stdout.strip().splitlines())
        yield from (f"## {' '.join(names)}", "", "```text", said, "```", "")


def walked(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
    """The names that lead to each command."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from walked(command, *before, name)
        else:
            yield (*before, name)


_STYLE = 'font-family="monospace" font-size="14" fill="#333"'


def moves() -> str:
    """The picture of how a run moves: what works on the left, its ends on the right, an arrow for each move."""
    ends = sorted(set(MOVES) - set(ACTIVE))
    left = {status: 40 + 100 * number for number, status in enumerate(ACTIVE)}
    right = {status: 25 + 80 * number for number, status in enumerate(ends)}
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 400" role="img">',
        "<title>How a run moves</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 8 4 0 8z" fill="#777"/></marker></defs>',
        '<rect width="720" height="400" fill="#fff"/>',
    ]
    for status, y in left.items():
        for target in sorted(MOVES[status]):
            if target in right:
                path = f"M320 {y}C430 {y} 430 {right[target]} 540 {right[target]}"
            else:
                bow = 180 - abs(left[target] - y) // 2  # the further, the wider
                path = f"M200 {y}C{bow} {y} {bow} {left[target]} 200 {left[target]}"
            lines.append(f'<path d="{path}" fill="none" stroke="#777" marker-end="url(#tip)"/>')
    for x, width, places in ((200, 120, left), (540, 100, right)):
        for status, y in places.items():
            lines.append(f'<rect x="{x}" y="{y - 15}" width="{width}" height="30" rx="6" fill="#eef" stroke="#557"/>')
            lines.append(f'<text x="{x + width // 2}" y="{y + 5}" text-anchor="middle" {_STYLE}>{status}</text>')
    return "\n".join([*lines, "</svg>", ""])


PICTURES: dict[str, Callable[[], str]] = {"moves.svg": moves}

PARTS: dict[tuple[str, str], Callable[[], Iterator[str]]] = {
    ("endpoints.md", "calls"): lambda: calls(calls_table.ROWS),
    ("endpoints.md", "files"): lambda: calls(calls_table.FILES),
    ("endpoints.md", "stores"): lambda: calls(calls_table.STORES),
    ("endpoints.md", "parameters"): parameters,
    ("auditing.md", "others"): mistakes,
    ("how_it_works.md", "statuses"): statuses,
    ("settings.md", "settings"): settings,
    ("cli.md", "commands"): commands,
}


def with_part(page: str, part: str, lines: Iterator[str]) -> str:
    """A page with its part as the code says it."""
    found = re.search(rf"(<!-- {part} -->\n).*?(\n?<!-- /{part} -->)", page, re.DOTALL)
    assert found is not None, part
    return f"{page[: found.start()]}{found[1]}{chr(10).join(lines).rstrip()}\n<!-- /{part} -->{page[found.end() :]}"


def main() -> None:
    """Write every part, and the pictures."""
    for (name, part), lines in PARTS.items():
        path = DOCS / name
        path.write_text(with_part(path.read_text(encoding="utf-8"), part, lines()), encoding="utf-8")
        sys.stdout.write(f"{name}: {part}\n")
    for name, picture in PICTURES.items():
        (DOCS / name).write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
