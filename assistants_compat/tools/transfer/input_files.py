"""Reads files of saved data: JSON, JSON Lines, HAR and CSV, compressed or not, directories of them, and stdin.

It yields JSON values with their location. Which objects are in a value is decided in `shapes.py`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ...wire.objects import check_nesting, parse_finite_float, reject_json_constant
from . import csv_rows

MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
"""The most bytes of one line, or of a file that is one JSON document, that are read into memory."""

STDIN = Path("-")
"""The path that stands for stdin."""

_JSON_LINES_SUFFIXES = (".jsonl", ".ndjson")
_CSV_SUFFIXES = (".csv", ".tsv")
_SUFFIXES = (".json", *_JSON_LINES_SUFFIXES, *_CSV_SUFFIXES, ".har")
_GZIP_SUFFIX, _GZIP_MAGIC = ".gz", b"\x1f\x8b"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BUFFER_SIZE = 1024 * 1024  # bytes

OnRefused = Callable[[str, str], None]
"""Called with the location (`file:line`) of input that cannot be read, and the reason."""
Advance = Callable[[int], None]
"""Called with the number of bytes that were read."""


def list_input_files(paths: Iterable[Path], on_refused: OnRefused) -> list[Path]:
    """Return the files to read: files that are named, and those in directories whose suffix is known, sorted by name.

    Symbolic links to directories inside a directory are not followed.
    """
    files: list[Path] = []
    for path in paths:
        reason = why_unusable(path)
        if reason is not None:
            on_refused(str(path), reason)
            continue
        files += _files_in_directory(path, on_refused) if path.is_dir() else [path]
    return files


def why_unusable(path: Path) -> str | None:
    """Return why there is nothing to read at a path, or None: it is missing or unreadable, or an empty directory."""
    if path == STDIN:
        return None
    try:
        path.stat()
    except (OSError, ValueError, RuntimeError) as error:  # older Pythons raise RuntimeError for a loop of links
        return f"it cannot be read: {getattr(error, 'strerror', None) or 'it is not a valid path'}"
    problems: list[str] = []
    if path.is_dir() and not _files_in_directory(path, lambda _place, problem: problems.append(problem)):
        suffixes = f"{', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}"
        return problems[0] if problems else f"it contains no file with the suffix {suffixes}"
    return None


def _files_in_directory(directory: Path, on_refused: OnRefused) -> list[Path]:
    def refuse_directory(error: OSError) -> None:
        on_refused(str(error.filename), f"it cannot be read: {error.strerror}")

    files = [
        Path(folder, name)
        for folder, _, names in os.walk(directory, onerror=refuse_directory)
        for name in names
        if _suffix(Path(name)) in _SUFFIXES
    ]
    return sorted(files, key=lambda path: _natural_sort_key(str(path)))


def _natural_sort_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that orders numbers by value: `page-10` comes after `page-9`."""
    # Every second part is a run of digits. The tag before it keeps numbers and text from being compared.
    parts = re.split(r"(\d{1,18})", name)
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)]


def _suffix(path: Path) -> str:
    """Return the suffix of a file in lower case; that of `messages.jsonl.gz` is `.jsonl`."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == _GZIP_SUFFIX else suffix


def display_name(path: Path) -> str:
    """The name of a file in messages."""
    return "stdin" if path == STDIN else str(path)


def read_values(path: Path, on_refused: OnRefused, advance: Advance) -> Iterator[tuple[str, Any]]:
    """Yield every JSON value in a file, and every row of a table as an object, each with its location."""
    name = display_name(path)
    try:
        with _open(path, advance) as handle:
            values = (
                csv_rows.rows_from_csv(handle, MAX_DOCUMENT_BYTES)
                if _is_table(path, handle)
                else _json_values(path, handle, on_refused)
            )
            for line_number, value in values:
                yield f"{name}:{line_number}", value
    except (OSError, EOFError, zlib.error) as error:  # all three also for a damaged gzip file
        reason = getattr(error, "strerror", None) or "it is damaged, or is no gzip file"
        on_refused(name, f"it cannot be read: {reason}")
    except ValueError as error:
        on_refused(name, str(error))


class _CountedReader(io.RawIOBase):
    """Reads a file and tells how many of its own, perhaps compressed, bytes were read."""

    def __init__(self, file: BinaryIO, advance: Advance) -> None:
        self._file, self._advance = file, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._advance(len(data))
        return len(data)


@contextmanager
def _open(path: Path, advance: Advance) -> Iterator[io.BufferedReader[Any]]:
    """Open a file or stdin, decompressed if it is a gzip file, and as UTF-8 if a mark says that it is UTF-16."""
    # Windows PowerShell writes UTF-16 when a program's output is sent to a file.
    source = sys.stdin.buffer if path == STDIN else path.open("rb", buffering=0)
    try:
        reader: io.BufferedReader[Any] = io.BufferedReader(_CountedReader(source, advance), _BUFFER_SIZE)
        if reader.peek(2)[:2] == _GZIP_MAGIC:
            reader = io.BufferedReader(gzip.GzipFile(fileobj=reader), _BUFFER_SIZE)
        if reader.peek(2)[:2] in _UTF_16_MARKS:
            reader = io.BufferedReader(io.BytesIO(_recoded(reader.read(MAX_DOCUMENT_BYTES + 1))))
        yield reader
    finally:
        if path != STDIN:
            source.close()


def _recoded(content: bytes) -> bytes:
    if len(content) > MAX_DOCUMENT_BYTES:
        message = f"it is UTF-16 of more than {MAX_DOCUMENT_BYTES} bytes; convert it to UTF-8"
        raise ValueError(message)
    try:
        return content.decode("utf-16").encode()
    except UnicodeError:
        message = "it is not UTF-16, although it begins so"
        raise ValueError(message) from None


def _is_table(path: Path, handle: io.BufferedReader) -> bool:
    """Whether a file is CSV: by its suffix, or because its first line is no JSON and names the columns of messages."""
    suffix = _suffix(path)
    first_line = handle.peek(1).lstrip(b"\xef\xbb\xbf").partition(b"\n")[0].strip()
    is_table = csv_rows.columns_of(first_line) is not None and first_line[:1] not in (b"[", b"{")
    if suffix in _CSV_SUFFIXES and not is_table:
        message = (
            "its first line does not name the columns of messages, such as thread_id, role, content and created_at"
        )
        raise ValueError(message)
    return is_table and suffix not in (*_JSON_LINES_SUFFIXES, ".json", ".har")


def _json_values(path: Path, handle: io.BufferedReader, on_refused: OnRefused) -> Iterator[tuple[int, Any]]:
    """Yield each JSON value with its line number: one value a line, or else the whole file as one value.

    A file is read as JSON Lines if its suffix says so, or if its first line is a complete JSON value. Otherwise it may
    have several values one after the other, each over many lines, as a program writes that appends to a file.
    """
    name, is_json_lines = display_name(path), _suffix(path) in _JSON_LINES_SUFFIXES
    for number, line in _bounded_lines(handle):
        if line is None:
            on_refused(f"{name}:{number}", f"the line is longer than {MAX_DOCUMENT_BYTES} bytes")
            continue
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            if is_json_lines:
                on_refused(f"{name}:{number}", str(error))
                continue
            remainder = handle.read(MAX_DOCUMENT_BYTES - len(line) + 1)
            if len(line) + len(remainder) > MAX_DOCUMENT_BYTES:
                reason = f"it is one JSON document of more than {MAX_DOCUMENT_BYTES} bytes; convert it to JSON Lines"
                on_refused(name, reason)
                return
            try:
                documents = _documents(line + remainder)
            except ValueError as document_error:
                on_refused(f"{name}:{number}", str(document_error))
                return
            yield from ((number + offset, value) for offset, value in documents)
            return
        is_json_lines = True
        yield number, value


def _bounded_lines(handle: io.BufferedReader) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines with their numbers; None stands for a line that is too long."""
    number = 0
    while line := handle.readline(MAX_DOCUMENT_BYTES + 1):  # one byte more shows that the line is too long
        number += 1
        if len(line) <= MAX_DOCUMENT_BYTES:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):  # skip the rest of the line without keeping it in memory
            line = handle.readline(MAX_DOCUMENT_BYTES)
        yield number, None


def parse_json(content: bytes) -> Any:
    """Parse JSON; raise `ValueError` with a reason that quotes nothing from the input, which may be private."""
    try:
        value = _DECODER.decode(content.decode("utf-8-sig"))
        check_nesting(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(_reason(error)) from None
    return value


def _documents(content: bytes) -> list[tuple[int, Any]]:
    """Return the JSON values that follow each other in a text, each with its line; raises like `parse_json`."""
    documents: list[tuple[int, Any]] = []
    try:
        text = content.decode("utf-8-sig")
        line, line_counted_to, position = 0, 0, _next_value(text, 0)
        while position < len(text) or not documents:
            line += text.count("\n", line_counted_to, position)
            line_counted_to = position
            value, end = _DECODER.raw_decode(text, position)
            check_nesting(value)
            documents.append((line, value))
            position = _next_value(text, end)
    except (ValueError, RecursionError) as error:
        raise ValueError(_reason(error)) from None
    return documents


def _next_value(text: str, position: int) -> int:
    match = _NOT_WHITE_SPACE.search(text, position)
    return match.start() if match else len(text)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON ({error.msg} at character {error.pos + 1})"
    return (
        "it is nested too deeply" if isinstance(error, RecursionError) else "it contains a number that cannot be stored"
    )


_NOT_WHITE_SPACE = re.compile(r"[^ \t\r\n]")
# Refuses NaN, Infinity and numbers such as 1e999, which a database's JSON column could not store.
_DECODER = json.JSONDecoder(parse_constant=reject_json_constant, parse_float=parse_finite_float)
