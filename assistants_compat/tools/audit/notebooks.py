"""Notebooks: the code cells of a `.ipynb` file as Python, line for line, without the magics of IPython."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_ELSEWHERE = re.compile(r"%%(?!time\b|timeit\b|capture\b|prun\b)")  # a cell in another language, or a file of its own
_MAGIC = re.compile(r"(\s*)(?:%|!|\?|.*\?\s*$)")
_GIVEN = re.compile(r"(\s*[\w, ]+=\s*)[!%]")


def cells(text: str) -> Iterator[tuple[int, str]]:
    """The number of each code cell, counted from one over all cells, with its Python.

    Raises `ValueError` for what is no notebook.
    """
    book = json.loads(text)
    sheets = book.get("worksheets", [book]) if isinstance(book, dict) else None  # up to nbformat 3 there were sheets
    if not isinstance(sheets, list):
        message = "it is no notebook"
        raise ValueError(message)  # noqa: TRY004 - for the caller it is a text like any other that is none
    every = [cell for sheet in sheets for cell in _list(sheet, "cells")]
    for number, cell in enumerate(every, start=1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input", ""))
            written = "".join(map(str, source)) if isinstance(source, list) else str(source)
            if not _ELSEWHERE.match(written.lstrip()):
                yield number, "\n".join(_plain(written))


def _list(sheet: object, name: str) -> list[object]:
    found = sheet.get(name) if isinstance(sheet, dict) else None
    return found if isinstance(found, list) else []


def _plain(written: str) -> Iterator[str]:
    """Line by line, so that numbers stay: a magic does nothing, what a shell gives is nothing."""
    for line in written.splitlines():
        if given := _GIVEN.match(line):
            yield f"{given[1]}None"
        elif (magic := _MAGIC.match(line)) and not line.lstrip().startswith("#"):
            yield f"{magic[1]}pass"
        else:
            yield line
