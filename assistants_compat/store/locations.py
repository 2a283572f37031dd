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

from ..errors import StoreError
from .content import ContentStore, LocalFiles
from .object_storage import ObjectFiles

_APPLICATION_NAME = "assistants_compat"
_MEMORY_DATABASES = ("", ":memory:")


def database_url(store: str | None) -> str:
    """The SQLAlchemy URL for the setting `store`, which is a URL, a path or None (the user's data directory).

    Raises `StoreError` if the user has no data directory.
    """
    if store is None:
        store = str(_user_directory("store", "STORE") / "store.db")
    if "://" in store:
        return store
    return f"sqlite:///{store}"


def store_may_exist(store: str | None) -> bool:
    """Whether the store may contain anything, decided without opening it.

    It may if its file exists, if it is on a server, or if it is a memory store that this process has opened.
    """
    try:
        url = database_url(store)
    except StoreError:
        return False
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
        return _user_directory("generated files", "FILES") / "files"
    path = _sqlite_path(url)
    if path in _MEMORY_DATABASES:
        return _temporary_directory(os.getpid())
    return Path(f"{path}-files")


def _user_directory(what: str, variable: str) -> Path:
    """The user's data directory; a process in a container may have neither HOME nor an entry in the user database."""
    try:
        directory = user_data_path(_APPLICATION_NAME, appauthor=False)
    except RuntimeError:
        directory = None
    if directory is None or not directory.is_absolute():  # early versions of platformdirs return a path below "~"
        message = (
            f"There is no home directory for the {what}: HOME is not set, and the user is in no user database. "
            f"Set ASSISTANTS_COMPAT_{variable} to a path, or HOME to a directory."
        )
        raise StoreError(message)
    return directory


@functools.cache
def _temporary_directory(process_id: int) -> Path:
    """A temporary directory that exists as long as the memory store of this process."""
    directory = Path(tempfile.mkdtemp(prefix=f"{_APPLICATION_NAME}-"))

    def remove() -> None:
        if os.getpid() == process_id:  # a forked child runs the parent's exit functions too
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return directory
