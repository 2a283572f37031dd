"""Everything in the store as the old API served it: `python -m assistants_compat export`."""

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

from ...engine.saved.objects import object_from_saved
from ...errors import StoreError
from ...settings import Settings
from ...store import bulk, locations
from ...store.content import LocalFiles, copy_bytes
from ...store.database import Connection, transact
from ...store.queries import Found, Noun
from ..progress import Advance, progress

FILES: dict[str, Noun] = {
    "assistants": "assistants",
    "threads": "threads",
    "messages": "messages",
    "runs": "runs",
    "run_steps": "steps",
    "containers": "containers",
    "files": "files",
}
"""The files of an export, without their suffix, and the tables that they are of."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class TakenDirectoryError(Exception):
    """The directory has something in it already."""


@dataclass
class Exported:
    """What an export wrote.

    `written` counts the lines of each file, `bytes` those of generated files; `failed` says by their ids why the bytes
    of some are not among them.
    """

    written: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def export(settings: Settings, directory: Path) -> Exported:
    """Write the namespace of the settings into a new directory (0700, its files 0600), as it is at one moment.

    A file of JSON lines for each kind of object, oldest first, and in `files/` the bytes of generated files by their
    ids.  The directory has its name when all is written.  Raises `TakenDirectoryError` where it is not empty,
    `StoreError` when the store cannot be read, and `OSError`.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise TakenDirectoryError
    if directory.is_dir() and any(directory.iterdir()):
        raise TakenDirectoryError
    with _growing(directory) as growing:
        done = Exported()
        url = locations.database_url(settings.store)
        transact(url, partial(_write_all, settings=settings, directory=growing, done=done), write=False)
        _copy_all(settings, url, growing, done)
    return done


@contextmanager
def _growing(directory: Path) -> Iterator[Path]:
    """A directory beside the one that is wanted, which becomes it at the end."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    growing = directory.parent / f".{directory.name}-{secrets.token_hex(4)}.part"
    growing.mkdir(mode=0o700)
    try:
        yield growing
        if directory.is_dir():
            directory.rmdir()
        growing.rename(directory)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise


def _write_all(db: Connection, *, settings: Settings, directory: Path, done: Exported) -> None:
    bulk.freeze(db)
    with progress(counts=True) as begin:
        for name, noun in FILES.items():
            with _opened(directory / f"{name}.jsonl") as handle:
                rows = bulk.in_order(db, noun, settings.namespace)
                done.written[name] = _write(handle, noun, rows, begin(name, None))


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    with os.fdopen(os.open(path, _NEW, 0o600), "w", encoding="ascii", newline="\n") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())


def _write(handle: TextIO, noun: Noun, rows: Iterator[Found], advance: Advance) -> int:
    number = 0
    for number, row in enumerate(rows, 1):
        handle.write(json.dumps(object_from_saved(noun, row, number)) + "\n")
        advance(1)
    return number


def _copy_all(settings: Settings, url: str, directory: Path, done: Exported) -> None:
    """Copy the bytes of those generated files that were written down."""
    source, target = locations.content_store(settings.files, url), LocalFiles(directory / "files")
    with progress() as begin, (directory / "files.jsonl").open(encoding="ascii") as lines:
        for line in lines:
            file = json.loads(line)
            if file.get("deleted") or file["status"] != "processed":
                continue
            try:
                if source.size(file["id"]) != file["bytes"]:
                    message = "its bytes are not in the content store"
                    raise StoreError(message)  # noqa: TRY301 - one way to say it
                row = {"id": file["id"], "sha256": None, "body": file}
                copy_bytes(source, target, row, "")
                done.bytes += file["bytes"]
                begin(file["filename"], file["bytes"])(file["bytes"])
            except StoreError as error:
                done.failed[file["id"]] = str(error)
