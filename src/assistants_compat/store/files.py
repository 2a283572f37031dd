"""The bytes of generated files in a local directory, keyed by our own file ids.

A file is written beside its final place, synced and moved there, so that a reader sees all of it or nothing.  The name
that a model chose is never a path: only our id is (`file-` and letters and digits, checked here once more).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..errors import StoreError

_KEY = re.compile(r"file-[0-9A-Za-z]+\Z")


@contextlib.contextmanager
def _trouble_said(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = (
            f"Generated files cannot be written to {directory} ({error.strerror}): "
            "set ASSISTANTS_COMPAT_FILES to a directory that can."
        )
        raise StoreError(message) from None


@dataclass
class Draft:
    """A file that is being written: `write` it, then `commit` or `discard` it."""

    target: Path
    temporary: Path
    handle: IO[bytes]
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)  # hashlib names no public type

    def write(self, chunk: bytes) -> None:
        """Append a chunk."""
        with _trouble_said(self.target.parent):
            self.handle.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)

    def commit(self) -> tuple[int, str]:
        """Make the file visible; its size in bytes and its SHA-256."""
        with _trouble_said(self.target.parent):
            self.handle.flush()
            os.fsync(self.handle.fileno())
            self.handle.close()
            self.temporary.replace(self.target)
        return self.size, self.digest.hexdigest()

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # a full disk refuses what is still to be written, once more
            self.handle.close()
        self.temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class LocalFiles:
    """A directory (mode 0700) of files (mode 0600)."""

    directory: Path

    def draft(self, key: str) -> Draft:
        """Start to write the file `key`; raises `StoreError` when the directory cannot be written."""
        target = self._path(key)
        with _trouble_said(self.directory):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{key}-", dir=self.directory)
        return Draft(target, Path(name), os.fdopen(descriptor, "wb"))

    def has(self, key: str) -> bool:
        """Whether the file is here."""
        return self._path(key).is_file()

    def open(self, key: str) -> IO[bytes]:
        """The file, to read."""
        return self._path(key).open("rb")

    def delete(self, key: str) -> None:
        """Delete the file; it may be gone already."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        if _KEY.match(key) is None:
            message = "a file is kept under an id of ours only"
            raise ValueError(message)
        return self.directory / key
