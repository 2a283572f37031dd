"""Exports everything in the store in the old API's format: `python -m assistants_compat export`.

The format of one object is decided in `engine.saved.objects`; this module writes the files of an export.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from ...engine.saved.objects import object_from_saved_row
from ...errors import StoreError
from ...settings import Settings
from ...store import bulk, locations
from ...store.content import LocalFiles, copy_bytes
from ...store.database import Connection, transact
from ...store.queries import Row, TableName
from ..progress import Advance, progress

EXPORT_FILES: dict[str, TableName] = {
    "assistants": "assistants",
    "threads": "threads",
    "messages": "messages",
    "runs": "runs",
    "run_steps": "steps",
    "containers": "containers",
    "files": "files",
}
"""The name of each exported file, without its suffix, and the table that it comes from."""

# O_EXCL never opens an existing file or link. Exports may contain private data, so the mode is set at creation.
_CREATE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class DirectoryNotEmptyError(Exception):
    """The target of an export is not an empty directory."""


@dataclass
class ExportResult:
    """The result of an export.

    `written` is the number of lines in each file, and `bytes` the total size of the generated files. `failed` maps the
    ids of files whose bytes could not be copied to the reason.
    """

    written: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def export(settings: Settings, directory: Path) -> ExportResult:
    """Write a snapshot of the namespace of the settings to a new directory (mode 0700, its files 0600).

    There is one JSON Lines file for each kind of object, oldest first; `files/` has the bytes of generated files, named
    by id. The directory gets its name only when everything is written. Raises `DirectoryNotEmptyError` if `directory`
    exists and is not an empty directory, `StoreError` if the store cannot be read, and `OSError` if writing fails.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise DirectoryNotEmptyError
    if directory.is_dir() and any(directory.iterdir()):
        raise DirectoryNotEmptyError
    with _temporary_directory(directory) as temporary:
        result = ExportResult()
        url = locations.database_url(settings.store)
        transact(url, partial(_write_objects, settings=settings, directory=temporary, result=result), write=False)
        # Bytes are copied outside the transaction, which must not stay open for as long as that may take.
        _copy_file_bytes(settings, url, temporary, result)
    return result


@contextmanager
def _temporary_directory(directory: Path) -> Iterator[Path]:
    """Yield a new directory beside `directory`; rename it to `directory` on success, delete it on failure."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.parent / f".{directory.name}-{secrets.token_hex(4)}.part"
    temporary.mkdir(mode=0o700)
    try:
        yield temporary
        if directory.is_dir():
            directory.rmdir()  # Windows cannot rename over an existing directory, even an empty one
        temporary.rename(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_objects(db: Connection, *, settings: Settings, directory: Path, result: ExportResult) -> None:
    bulk.use_snapshot(db)  # otherwise a message written meanwhile could be exported without its thread
    with progress(counts=True) as start_bar:
        for name, table in EXPORT_FILES.items():
            with _create_file(directory / f"{name}.jsonl") as handle:
                rows = bulk.iter_rows(db, table, settings.namespace)
                result.written[name] = _write_lines(handle, table, rows, start_bar(name, None))


@contextmanager
def _create_file(path: Path) -> Iterator[TextIO]:
    with os.fdopen(os.open(path, _CREATE_NEW, 0o600), "w", encoding="ascii", newline="\n") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())


def _write_lines(handle: TextIO, table: TableName, rows: Iterator[Row], advance: Advance) -> int:
    count = 0
    for count, row in enumerate(rows, 1):
        handle.write(json.dumps(object_from_saved_row(table, row, count)) + "\n")
        advance(1)
    return count


def _copy_file_bytes(settings: Settings, url: str, directory: Path, result: ExportResult) -> None:
    """Copy the bytes of the generated files that `files.jsonl` lists."""
    source, target = locations.content_store(settings.files, url), LocalFiles(directory / "files")
    with progress() as start_bar, (directory / "files.jsonl").open(encoding="ascii") as lines:
        for line in lines:
            file = json.loads(line)
            if file.get("deleted") or file["status"] != "processed":
                continue  # the store has no bytes of such a file
            try:
                if source.size(file["id"]) != file["bytes"]:
                    message = "its bytes are not in the content store"
                    raise StoreError(message)  # noqa: TRY301 - reported like the errors of the copy itself
                row = {"id": file["id"], "sha256": None, "body": file}
                copy_bytes(source, target, row, "")
                result.bytes += file["bytes"]
                start_bar(file["filename"], file["bytes"])(file["bytes"])
            except StoreError as error:
                result.failed[file["id"]] = str(error)
