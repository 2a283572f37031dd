"""Where the store and the bytes of generated files lie, from what the settings say."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from platformdirs import user_data_path

from .content import Files, LocalFiles
from .object_storage import ObjectFiles

_APPLICATION = "assistants_compat"
_MEMORY = ("", ":memory:")


def database_url(store: str | None) -> str:
    """A SQLAlchemy URL from a setting: nothing (the user's data directory), a path, or a URL."""
    if store is None:
        store = str(user_data_path(_APPLICATION, appauthor=False) / "store.db")
    if "://" in store:
        return store
    return f"sqlite:///{store}"


def has_store(store: str | None) -> bool:
    """Whether a setting's store may hold something, seen without opening it: its file is there, or it is a server.

    A store in memory is there once this process has opened it.
    """
    url = database_url(store)
    if not url.startswith("sqlite"):
        return True
    database = _database(url)
    if database in _MEMORY:
        engine = sys.modules.get(f"{__package__}.engine")  # not imported here: it loads SQLAlchemy
        return engine is not None and url in engine.opened()
    return Path(database).exists()


def _database(url: str) -> str:
    """The path in a SQLite URL."""
    return url.partition(":///")[2].partition("?")[0]


def content_store(files: str | None, url: str) -> Files:
    """The place of generated files: a bucket or container by its URL, else a local directory."""
    if files is not None and "://" in files:
        return ObjectFiles(files)
    return LocalFiles(_files_directory(files, url))


def _files_directory(files: str | None, url: str) -> Path:
    """The directory of generated files: as set, or beside the SQLite file, or in the user's data directory."""
    if files is not None:
        return Path(files)
    if not url.startswith("sqlite"):
        return user_data_path(_APPLICATION, appauthor=False) / "files"
    database = _database(url)
    if database in _MEMORY:
        return _temporary(os.getpid())
    return Path(f"{database}-files")


@functools.cache
def _temporary(process: int) -> Path:
    """A directory that lives as long as the memory store of this process."""
    directory = Path(tempfile.mkdtemp(prefix=f"{_APPLICATION}-"))

    def remove() -> None:
        if os.getpid() == process:  # a forked child runs the parent's exit functions too
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return directory
