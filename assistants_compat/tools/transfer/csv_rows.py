"""Reads the rows of a CSV file whose first line names the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from ...engine.saved.app_rows import has_row_keys
from ...wire.objects import Json

_DELIMITERS = ",;\t|"


def columns_of(line: bytes) -> list[str] | None:
    """Return the columns that the first line of a table names, or None if they are not those of messages."""
    try:
        text = line.decode("utf-8-sig")
        columns = next(csv.reader([text], delimiter=_delimiter(text)), [])
    except (UnicodeDecodeError, csv.Error):
        return None
    return columns if has_row_keys(columns) else None


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def rows_from_csv(handle: BinaryIO, largest_cell: int) -> Iterator[tuple[int, Json]]:
    """Yield each row as an object by its columns, with the number of its last line; empty cells are left out.

    Raises `ValueError` with a reason that quotes nothing from the file.
    """
    text = io.TextIOWrapper(handle, encoding="utf-8-sig", newline="")
    previous_limit = csv.field_size_limit(largest_cell)
    try:
        header = text.readline()
        columns = next(csv.reader([header], delimiter=_delimiter(header)), [])
        reader = csv.reader(text, delimiter=_delimiter(header))
        for cells in reader:
            if cells:
                yield reader.line_num + 1, _row(columns, cells)
    except UnicodeDecodeError:
        message = "it is not UTF-8"
        raise ValueError(message) from None
    except csv.Error as error:
        message = f"it is not CSV ({error})"
        raise ValueError(message) from None
    finally:
        csv.field_size_limit(previous_limit)
        text.detach()  # the caller closes the file


def _row(columns: Sequence[str], cells: Sequence[str]) -> Json:
    row: Json = {column: cell for column, cell in zip(columns, cells, strict=False) if cell != ""}
    if len(cells) > len(columns):
        row["cells without a column"] = list(cells[len(columns) :])
    return row
