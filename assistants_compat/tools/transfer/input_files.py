"""Reads files of saved objects: JSON lists as the old API served them, JSON Lines, single objects and directories.

It yields JSON values with their location. What a value means, and whether it can be imported, is decided elsewhere.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...wire.objects import check_nesting, parse_finite_float, reject_json_constant

MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
"""The most bytes of one line, or of a file that is one JSON document, that are read into memory."""

_JSON_LINES_SUFFIXES = (".jsonl", ".ndjson")
_SUFFIXES = (".json", *_JSON_LINES_SUFFIXES)

OnRefused = Callable[[str, str], None]
"""Called with the location (`file:line`) of input that cannot be read, and the reason."""
Advance = Callable[[int], None]
"""Called with the number of bytes that were read."""


@dataclass(frozen=True)
class InputObject:
    """A JSON value from the input: its location, the directory of its file, and the value itself."""

    location: str
    directory: Path
    value: Any


def list_input_files(paths: Iterable[Path], on_refused: OnRefused) -> list[Path]:
    """Return the files to read: files that are named, and the JSON files inside directories, sorted by name.

    Symbolic links to directories inside a directory are not followed.
    """
    files: list[Path] = []
    for path in paths:
        try:
            is_directory = path.is_dir()
            path.stat()  # raises for what `is_dir` only calls "no directory": a missing or unreadable path
        except (OSError, ValueError, RuntimeError) as error:  # older Pythons raise RuntimeError for a loop of links
            reason = getattr(error, "strerror", None) or "it is not a valid path"
            on_refused(str(path), f"it cannot be read: {reason}")
            continue
        files += _files_in_directory(path, on_refused) if is_directory else [path]
    return files


def _files_in_directory(directory: Path, on_refused: OnRefused) -> list[Path]:
    def refuse_directory(error: OSError) -> None:
        on_refused(str(error.filename), f"it cannot be read: {error.strerror}")

    files = [
        Path(folder, name)
        for folder, _, names in os.walk(directory, onerror=refuse_directory)
        for name in names
        if Path(name).suffix.lower() in _SUFFIXES
    ]
    if not files:
        on_refused(str(directory), "it contains no .json, .jsonl or .ndjson file")
    return sorted(files, key=lambda path: _natural_sort_key(str(path)))


def _natural_sort_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that orders numbers by value: `page-10` comes after `page-9`."""
    # Every second part is a run of digits. The tag before it keeps numbers and text from being compared.
    parts = re.split(r"(\d{1,18})", name)
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)]


def read_objects(path: Path, on_refused: OnRefused, advance: Advance) -> Iterator[InputObject]:
    """Yield every object in a file; lists and pages yield each of their entries."""
    try:
        with path.open("rb") as handle:
            for line_number, value in _json_values(path, handle, on_refused, advance):
                yield from _flatten_lists(f"{path}:{line_number}", path.parent, value)
    except OSError as error:
        on_refused(str(path), f"it cannot be read: {error.strerror}")


def _json_values(path: Path, handle: BinaryIO, on_refused: OnRefused, advance: Advance) -> Iterator[tuple[int, Any]]:
    """Yield each JSON value with its line number: one value a line, or else the whole file as one value.

    A file is read as JSON Lines if its suffix says so, or if its first line is a complete JSON value.
    """
    is_json_lines = path.suffix.lower() in _JSON_LINES_SUFFIXES
    for number, line in _bounded_lines(handle, advance):
        if line is None:
            on_refused(f"{path}:{number}", f"the line is longer than {MAX_DOCUMENT_BYTES} bytes")
            continue
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            if is_json_lines:
                on_refused(f"{path}:{number}", str(error))
                continue
            remainder = handle.read(MAX_DOCUMENT_BYTES - len(line) + 1)
            advance(len(remainder))
            if len(line) + len(remainder) > MAX_DOCUMENT_BYTES:
                reason = f"it is one JSON document of more than {MAX_DOCUMENT_BYTES} bytes; convert it to JSON Lines"
                on_refused(str(path), reason)
                return
            try:
                value = parse_json(line + remainder)
            except ValueError as document_error:
                on_refused(f"{path}:{number}", str(document_error))
                return
            yield number, value
            return
        is_json_lines = True
        yield number, value


def _bounded_lines(handle: BinaryIO, advance: Advance) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines with their numbers; None stands for a line that is too long."""
    number = 0
    while line := handle.readline(MAX_DOCUMENT_BYTES + 1):  # one byte more shows that the line is too long
        number += 1
        advance(len(line))
        if len(line) <= MAX_DOCUMENT_BYTES:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):  # skip the rest of the line without keeping it in memory
            line = handle.readline(MAX_DOCUMENT_BYTES)
            advance(len(line))
        yield number, None


def parse_json(text: bytes) -> Any:
    """Parse JSON; raise `ValueError` with a reason that quotes nothing from the input, which may be private."""
    try:
        value = _DECODER.decode(text.decode("utf-8-sig"))
        check_nesting(value)
    except UnicodeDecodeError:
        message = "it is not UTF-8"
    except json.JSONDecodeError as error:
        message = f"it is not JSON ({error.msg} at character {error.pos + 1})"
    except RecursionError:
        message = "it is nested too deeply"
    except ValueError:
        message = "it contains a number that cannot be stored"
    else:
        return value
    raise ValueError(message)


# Refuses NaN, Infinity and numbers such as 1e999, which a database's JSON column could not store.
_DECODER = json.JSONDecoder(parse_constant=reject_json_constant, parse_float=parse_finite_float)


def _flatten_lists(location: str, directory: Path, value: Any) -> Iterator[InputObject]:
    """Yield a value, or the entries of a list or of a page of the API, in order."""
    if isinstance(value, dict) and value.get("object") == "list" and isinstance(value.get("data"), list):
        value = value["data"]
    if not isinstance(value, list):
        yield InputObject(location, directory, value)
        return
    for index, entry in enumerate(value):
        yield from _flatten_lists(f"{location}[{index}]", directory, entry)
