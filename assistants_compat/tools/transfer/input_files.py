"""Files of saved objects: JSON lists as the old API served them, JSON lines, single objects, directories of those."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...wire.objects import finite, refuse_constant

MOST = 256 * 1024 * 1024
"""Bytes of a line, or of a file that is one JSON document: more is not read into memory."""

_LINES = (".jsonl", ".ndjson")
_SUFFIXES = (".json", *_LINES)

Refuse = Callable[[str, str], None]
"""Is told the place (`file:line`) of what cannot be read, and why."""
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Found:
    """An object that was read: where it stands, the directory of its file, and its JSON."""

    place: str
    directory: Path
    value: Any


def sources(paths: Iterable[Path], refuse: Refuse) -> list[Path]:
    """The files to read: those that are named, and of directories those with a suffix of JSON, in the order of names.

    Links to directories inside of a directory are not followed.
    """
    found: list[Path] = []
    for path in paths:
        try:
            is_directory = path.is_dir()
            path.stat()
        except (OSError, ValueError, RuntimeError) as error:  # a loop of links is a RuntimeError in older Pythons
            refuse(str(path), f"it cannot be read: {getattr(error, 'strerror', None) or 'it is no path'}")
            continue
        found += _inside(path, refuse) if is_directory else [path]
    return found


def _inside(directory: Path, refuse: Refuse) -> list[Path]:
    def failed(error: OSError) -> None:
        refuse(str(error.filename), f"it cannot be read: {error.strerror}")

    found = [
        Path(folder, name)
        for folder, _, names in os.walk(directory, onerror=failed)
        for name in names
        if Path(name).suffix.lower() in _SUFFIXES
    ]
    if not found:
        refuse(str(directory), "it has no .json, .jsonl or .ndjson file")
    return sorted(found, key=lambda path: _natural(str(path)))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """`page-10` behind `page-9`."""
    parts = re.split(r"(\d{1,18})", name)
    return [(1, int(part), "") if number % 2 else (0, 0, part) for number, part in enumerate(parts)]


def objects_of(path: Path, refuse: Refuse, advance: Advance) -> Iterator[Found]:
    """Every object of a file, of lists and pages each entry; `advance` is told of the bytes that were read."""
    try:
        with path.open("rb") as handle:
            for line, value in _values(path, handle, refuse, advance):
                yield from _entries(f"{path}:{line}", path.parent, value)
    except OSError as error:
        refuse(str(path), f"it cannot be read: {error.strerror}")


def _values(path: Path, handle: BinaryIO, refuse: Refuse, advance: Advance) -> Iterator[tuple[int, Any]]:
    """Each JSON value with the number of its line: one a line, or else the whole file."""
    by_line = path.suffix.lower() in _LINES
    for number, line in _lines(handle, advance):
        if line is None:
            refuse(f"{path}:{number}", f"the line is longer than {MOST} bytes")
            continue
        if not line.strip():
            continue
        try:
            value = parsed(line)
        except ValueError as error:
            if by_line:
                refuse(f"{path}:{number}", str(error))
                continue
            rest = handle.read(MOST - len(line) + 1)
            advance(len(rest))
            if len(line) + len(rest) > MOST:
                refuse(str(path), f"it is one JSON document of more than {MOST} bytes: write it as JSON lines")
                return
            try:
                value = parsed(line + rest)
            except ValueError as whole:
                refuse(f"{path}:{number}", str(whole))
                return
            yield number, value
            return
        by_line = True  # its first line was whole: so are the others
        yield number, value


def _lines(handle: BinaryIO, advance: Advance) -> Iterator[tuple[int, bytes | None]]:
    """The lines with their numbers; None for one that is too long."""
    number = 0
    while line := handle.readline(MOST + 1):
        number += 1
        advance(len(line))
        if len(line) <= MOST:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = handle.readline(MOST)
            advance(len(line))
        yield number, None


def parsed(text: bytes) -> Any:
    """The JSON in some bytes; raises `ValueError` that says what is wrong, in words without what the bytes say."""
    try:
        return _DECODER.decode(text.decode("utf-8-sig"))
    except UnicodeDecodeError:
        message = "it is not UTF-8"
    except json.JSONDecodeError as error:
        message = f"it is not JSON ({error.msg} at character {error.pos + 1})"
    except RecursionError:
        message = "it is nested too deeply"
    except ValueError:
        message = "it holds a number that cannot be kept"
    raise ValueError(message)


_DECODER = json.JSONDecoder(parse_constant=refuse_constant, parse_float=finite)


def _entries(place: str, directory: Path, value: Any) -> Iterator[Found]:
    """A value, or the entries of a list or page, in their order."""
    if isinstance(value, dict) and value.get("object") == "list" and isinstance(value.get("data"), list):
        value = value["data"]
    if not isinstance(value, list):
        yield Found(place, directory, value)
        return
    for number, entry in enumerate(value):
        yield from _entries(f"{place}[{number}]", directory, entry)
