"""The parts of the documentation that come from the code, each between two comments.

`make pages` writes them, and a test compares them with the pages.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import refusal_tables
import rooms
import typer
from interface import interface
from markdown_cells import cell
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.cli.live_checks.catalogue import CHECKS
from assistants_compat.store.tables import ACTIVE
from assistants_compat.tools.audit import calls_table, other_uses_table
from assistants_compat.tools.audit.calls_table import MethodRow
from assistants_compat.tools.audit.parameters_table import Support
from assistants_compat.translate.run import TRANSITIONS
from kit.paths import DOCS


def calls(rows: tuple[MethodRow, ...]) -> Iterator[str]:
    """Yield the table of some methods; call and routes share a cell, because five columns would be too narrow."""
    yield "| call | verdict | what the library does | native call |"
    yield "|---|---|---|---|"
    for row in rows:
        call = "<br>".join(f"`{line}`" for line in (row.call, *row.routes))
        yield f"| {call} | {row.support.verdict} | {cell(row.support.note)} | {cell(row.native)} |"


def parameters() -> Iterator[str]:
    """Yield the table of parameters; parameters with the same support share a row."""
    calls_by_support: dict[tuple[str, Support], list[str]] = {}
    for row in (*calls_table.BETA_ROWS, *calls_table.FILE_ROWS, *calls_table.VECTOR_STORE_ROWS):
        for name, support in row.parameters.items():
            calls_by_support.setdefault((name, support), []).append(row.call)
    yield "| parameter | of | verdict | what the library does |"
    yield "|---|---|---|---|"
    for (name, support), callers in sorted(calls_by_support.items(), key=lambda item: (item[0][0], item[1])):
        families = sorted({call.rpartition(".")[0] for call in callers})
        where = ", ".join(f"`{family}`" for family in families)
        yield f"| `{name}` | {where} | {support.verdict} | {cell(support.note)} |"


def mistakes() -> Iterator[str]:
    """Yield the table of uses other than calls that an audit reports."""
    yield "| use | verdict | what the library does | native code |"
    yield "|---|---|---|---|"
    for what, support in other_uses_table.DOCUMENTED_USES.items():
        yield f"| {what} | {support.verdict} | {cell(support.note)} | {cell(support.native)} |"


def statuses() -> Iterator[str]:
    """Yield the table of a run's statuses and their transitions."""
    yield "| status | may change to |"
    yield "|---|---|"
    for start, ends in TRANSITIONS.items():
        yield f"| `{start}` | {', '.join(f'`{end}`' for end in sorted(ends))} |"


def settings() -> Iterator[str]:
    """Yield a row a setting, with its variable and the text of the docstring."""
    yield "| setting | variable | what it does |"
    yield "|---|---|---|"
    text = inspect.cleandoc(Settings.__doc__ or "").partition("\nExample::")[0]
    for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]:
        match = re.match(r"`(\w+)` \(`(\w+)`(, [^)]*(?:\([^)]*\)[^)]*)*)?\): (.*)", " ".join(item.split()))
        assert match is not None, item
        form = f" {match[3].removeprefix(', ').capitalize()}." if match[3] else ""
        description = re.sub(r"  +", " ", match[4])
        yield f"| `{match[1]}` | `{match[2]}` | {cell(description)}{cell(form)} |"


def commands() -> Iterator[str]:
    """Yield every command as `--help` shows it."""
    for names in command_paths(typer.main.get_command(app)):
        result = CliRunner().invoke(
            app, [*names, "--help"], prog_name="python -m assistants_compat", terminal_width=80, max_content_width=80
        )
        help_text = "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())
        yield from (f"## {' '.join(names)}", "", "```text", help_text, "```", "")


def command_paths(group: Any, *parents: str) -> Iterator[tuple[str, ...]]:
    """Yield the names that lead to each command."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from command_paths(command, *parents, name)
        else:
            yield (*parents, name)


def live_checks() -> Iterator[str]:
    """Yield a row for each check of `doctor --live`."""
    yield "| # | check | what it sends | what the answer tells |"
    yield "|---|---|---|---|"
    for number, check in CHECKS.items():
        each = " (for each model)" if check.per_model else ""
        yield f"| {number} | {check.name}{each} | {cell(check.sends)} | {cell(check.tells)} |"


_STYLE = 'font-family="monospace" font-size="14" fill="#333"'


def run_statuses() -> str:
    """Return the picture of the status table: active statuses left, final ones right, an arrow for each transition."""
    ends = sorted(set(TRANSITIONS) - set(ACTIVE))
    left = {status: 40 + 100 * number for number, status in enumerate(ACTIVE)}
    right = {status: 25 + 80 * number for number, status in enumerate(ends)}
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 400" role="img">',
        "<title>How the status of a run changes</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 8 4 0 8z" fill="#777"/></marker></defs>',
        '<rect width="720" height="400" fill="#fff"/>',
    ]
    for status, y in left.items():
        for target in sorted(TRANSITIONS[status]):
            if target in right:
                path = f"M330 {y}C430 {y} 430 {right[target]} 540 {right[target]}"
            else:
                bow = 170 - abs(left[target] - y) // 2  # a longer way bows wider
                path = f"M190 {y}C{bow} {y} {bow} {left[target]} 190 {left[target]}"
            lines.append(f'<path d="{path}" fill="none" stroke="#777" marker-end="url(#tip)"/>')
    for x, width, places in ((190, 140, left), (540, 100, right)):
        for status, y in places.items():
            lines.append(f'<rect x="{x}" y="{y - 15}" width="{width}" height="30" rx="6" fill="#eef" stroke="#557"/>')
            lines.append(f'<text x="{x + width // 2}" y="{y + 5}" text-anchor="middle" {_STYLE}>{status}</text>')
    return "\n".join([*lines, "</svg>", ""])


PICTURES: dict[str, Callable[[], str]] = {"run_statuses.svg": run_statuses, "rooms.svg": rooms.picture}

PARTS: dict[tuple[str, str], Callable[[], Iterator[str]]] = {
    ("endpoints.md", "calls"): lambda: calls(calls_table.BETA_ROWS),
    ("endpoints.md", "files"): lambda: calls(calls_table.FILE_ROWS),
    ("endpoints.md", "stores"): lambda: calls(calls_table.VECTOR_STORE_ROWS),
    ("endpoints.md", "parameters"): parameters,
    ("auditing.md", "others"): mistakes,
    ("how_it_works.md", "statuses"): statuses,
    ("settings.md", "settings"): settings,
    ("cli.md", "commands"): commands,
    ("doctor.md", "checks"): live_checks,
    ("api.md", "interface"): interface,
    **{("refusals.md", topic): partial(refusal_tables.refusals, rows) for topic, rows in refusal_tables.TOPICS.items()},
    ("refusals.md", "tests"): refusal_tables.tests,
    ("models.md", "families"): refusal_tables.families,
}


def with_part(page: str, part: str, lines: Iterator[str]) -> str:
    """Return a page with the part as the code has it."""
    match = re.search(rf"(<!-- {part} -->\n).*?(\n?<!-- /{part} -->)", page, re.DOTALL)
    assert match is not None, part
    return f"{page[: match.start()]}{match[1]}{chr(10).join(lines).rstrip()}\n<!-- /{part} -->{page[match.end() :]}"


def main() -> None:
    """Write every part and the pictures."""
    for (name, part), lines in PARTS.items():
        path = DOCS / name
        path.write_text(with_part(path.read_text(encoding="utf-8"), part, lines()), encoding="utf-8")
        sys.stdout.write(f"{name}: {part}\n")
    for name, picture in PICTURES.items():
        (DOCS / name).write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
