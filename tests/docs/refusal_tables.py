"""The tables of docs/refusals.md and docs/models.md: the refusals, the tests that show them, and the model families."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from markdown_cells import cell

from assistants_compat.service.model_families import CHECKED, FAMILIES, ModelFamily
from assistants_compat.service.refusal_table import TABLE
from assistants_compat.service.refusals import Refusal
from assistants_compat.service.refused_input import INPUT_ROWS
from assistants_compat.service.refused_parameters import PARAMETER_ROWS
from assistants_compat.service.refused_tools import TOOL_ROWS
from kit.paths import ROOT

TOPICS = {"input": INPUT_ROWS, "parameters": PARAMETER_ROWS, "tools": TOOL_ROWS}
"""The parts of docs/refusals.md; together they have every row."""

_REMEMBERED = {
    "request": "",
    "upstream": "Remembered for the upstream.",
    "model": "Remembered for the upstream and the model.",
    "thread": "Remembered for the thread.",
    "container": "Remembered for the container.",
}
_LONGEST = 150  # characters of a message that a cell shows


def refusals(rows: tuple[Refusal, ...]) -> Iterator[str]:
    """Yield the table of some rows."""
    yield "| row | the service says | when | what the library does | source |"
    yield "|---|---|---|---|---|"
    for row in rows:
        kept = f"Kept: {row.keeps}" if row.keeps else ""
        done = " ".join(part for part in (row.remedy, kept, _REMEMBERED[row.scope]) if part)
        sources = "; ".join(row.sources)
        yield (
            f"| `{row.name}` | {_said(row)} | {cell(row.when)} | **{row.outcome}**: {cell(done)} | {cell(sources)} |"
        )


def _said(row: Refusal) -> str:
    """Return a refusal's message in short, with its status, param and code."""
    message = row.message.replace("`", "'")
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST].rpartition(' ')[0]} …"
    text = message if message.startswith("(") else f"`{message}`"
    named = [f"{label} `{value}`" for label, value in (("param", row.param), ("code", row.code)) if value]
    return f"{cell(text)}<br>{', '.join([str(row.status), *named])}"


def tests() -> Iterator[str]:
    """Yield the table that names the tests of each row."""
    yield "| row | outcome | tests |"
    yield "|---|---|---|"
    marked = marked_tests()
    for row in TABLE:
        found = "<br>".join(f"`{path}` {f'`{name}`' if name else '(all)'}" for path, name in marked.get(row.name, ()))
        yield f"| `{row.name}` | {row.outcome} | {found} |"


def marked_tests() -> Mapping[str, list[tuple[str, str]]]:
    """Return file and name of the tests that carry `@pytest.mark.refusal(...)`, by the rows that it names.

    A file that carries it as a whole (`pytestmark`) has no name.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        source = file.read_text(encoding="utf-8")
        if "mark.refusal(" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            for name in _marked_rows(node):
                found.setdefault(name, []).append((file.relative_to(ROOT).as_posix(), getattr(node, "name", "")))
    return found


def _marked_rows(node: ast.AST) -> Iterator[str]:
    """Yield the rows that a test's decorators name, or those of a module's `pytestmark`."""
    marks: list[ast.expr] = []
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        marks = node.decorator_list
    elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
        marks = node.value.elts if isinstance(node.value, ast.List) else [node.value]
    for mark in marks:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.refusal":
            yield from (ast.literal_eval(argument) for argument in mark.args)


def families() -> Iterator[str]:
    """Yield the table of model families."""
    yield from (f"Last compared with the sources on {CHECKED}.", "")
    yield "| models | reasons by default | efforts | `temperature`, `top_p` | not available | source |"
    yield "|---|---|---|---|---|---|"
    for family in FAMILIES:
        efforts = ", ".join(f"`{effort}`" for effort in family.efforts) or "none"
        yield (
            f"| `{family.prefix}` | {'yes' if family.reasons_by_default else 'no'} | {efforts} | {_sampling(family)} |"
            f" {_missing(family)} | {cell('; '.join(family.sources))} |"
        )


def _sampling(family: ModelFamily) -> str:
    if family.takes_sampling(None):
        return "yes; not with another effort than `none`" if family.reasons else "yes"
    return "with effort `none`" if "none" in family.efforts else "no"


def _missing(family: ModelFamily) -> str:
    missing = [f"`{tool}`" for tool in ("code_interpreter", "file_search") if tool not in family.hosted_tools]
    if not family.takes_parallel_tool_calls:
        missing.append("`parallel_tool_calls`")
    if not family.takes_json_schema:
        missing.append("`json_schema`")
    if family.needs_verification:
        missing.append("streams, until the organization is verified")
    return ", ".join(missing)
