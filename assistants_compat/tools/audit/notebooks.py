"""Reads the code cells of a `.ipynb` file, line for line: Python without IPython's magics, and shell commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_OTHER_CELL_MAGIC = re.compile(r"%%(?!time\b|timeit\b|capture\b|prun\b)")  # another language, or a file
_SHELL_CELL = re.compile(r"%%(?:!|(?:bash|sh|zsh|script|cmd|system|sx)\b)")
_SHELL_LINE = re.compile(r"\s*(?:[\w, ]+=\s*)?(?:!|%(?:sx|system)\b)")
_MAGIC_LINE = re.compile(r"(\s*)(?:%|!|\?|.*\?\s*$)")
_MAGIC_ASSIGNMENT = re.compile(r"(\s*[\w, ]+=\s*)[!%]")


def code_cells(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number of each code cell, its Python and its shell commands; all cells are counted, from one.

    Both have the lines of the cell, and a line of the other language is empty. Raises `ValueError` for text that is
    not a notebook.
    """
    notebook = json.loads(text)
    # Up to nbformat 3, cells were inside worksheets and had an `input` instead of a `source`.
    worksheets = notebook.get("worksheets", [notebook]) if isinstance(notebook, dict) else None
    if not isinstance(worksheets, list):
        message = "not a notebook"
        raise ValueError(message)  # noqa: TRY004 - callers treat it like text that is not JSON
    cells = [cell for worksheet in worksheets for cell in _list_value(worksheet, "cells")]
    for number, cell in enumerate(cells, start=1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            lines = cell.get("source", cell.get("input", ""))
            source = "".join(map(str, lines)) if isinstance(lines, list) else str(lines)
            if _SHELL_CELL.match(source.lstrip()):
                yield number, "", source
            elif not _OTHER_CELL_MAGIC.match(source.lstrip()):
                yield number, "\n".join(_without_magics(source)), "\n".join(_shell_lines(source))


def _list_value(worksheet: object, name: str) -> list[object]:
    value = worksheet.get(name) if isinstance(worksheet, dict) else None
    return value if isinstance(value, list) else []


def _shell_lines(source: str) -> Iterator[str]:
    """Yield the lines of shell commands, which a backslash continues, and an empty line for each other line."""
    continues = False
    for line in source.splitlines():
        is_shell = continues or _SHELL_LINE.match(line) is not None
        continues = is_shell and line.endswith("\\")
        yield line if is_shell else ""


def _without_magics(source: str) -> Iterator[str]:
    """Replace each magic by a statement without effect, line by line, so that line numbers stay the same."""
    continues = False  # a shell command goes on after a backslash
    for line in source.splitlines():
        if continues:
            yield ""
        elif assignment := _MAGIC_ASSIGNMENT.match(line):
            yield f"{assignment[1]}None"
        elif (magic := _MAGIC_LINE.match(line)) and not line.lstrip().startswith("#"):
            yield f"{magic[1]}pass"
        else:
            yield line
            continue
        continues = line.endswith("\\")
