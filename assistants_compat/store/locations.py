"""Turns settings into the locations of the store and of the bytes of generated files."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from platformdirs import user_data_path

from .content import ContentStore, LocalFiles
from .object_storage import ObjectFiles

_APPLICATION_NAME = "assistants_compat"
_MEMORY_DATABASES = ("", ":memory:")


def database_url(store: str | None) -> str:
    """The SQLAlchemy URL for the setting `store`, which is a URL, a path or None (the user's data directory)."""
    if store is None:
        store = str(user_data_path(_APPLICATION_NAME, appauthor=False) / "store.db")
    if "://" in store:
        return store
    return f"sqlite:///{store}"


def store_may_exist(store: str | None) -> bool:
    """Whether the store may contain anything, decided without opening it.

    It may if its file exists, if it is on a server, or if it is a memory store that this process has opened.
    """
    url = database_url(store)
    if not url.startswith("sqlite"):
        return True
    path = _sqlite_path(url)
    if path in _MEMORY_DATABASES:
        database = sys.modules.get(f"{__package__}.database")  # not imported here, because that loads SQLAlchemy
        return database is not None and url in database.open_urls()
    return Path(path).exists()


def _sqlite_path(url: str) -> str:
    """The file path in a SQLite URL."""
    return url.partition(":///")[2].partition("?")[0]


def content_store(files: str | None, url: str) -> ContentStore:
    """The storage for generated files: a bucket or container if `files` is a URL, else a local directory."""
    if files is not None and "://" in files:
        return ObjectFiles(files)
    return LocalFiles(_files_directory(files, url))


def _files_directory(files: str | None, url: str) -> Path:
    """The directory for generated files: as set, else beside the SQLite file, else in the user's data directory."""
    if files is not None:
        return Path(files)
    if not url.startswith("sqlite"):
        return user_data_path(_APPLICATION_NAME, appauthor=False) / "files"
    path = _sqlite_path(url)
    if path in _MEMORY_DATABASES:
        return _temporary_directory(os.getpid())
    return Path(f"{path}-files")


@functools.cache
def _temporary_directory(process_id: int) -> Path:
    """A temporary directory that exists as long as the memory store of this process."""
    directory = Path(tempfile.mkdtemp(prefix=f"{_APPLICATION_NAME}-"))

    def remove() -> None:
        if os.getpid() == process_id:  # a forked child runs the parent's exit functions too
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return directory
