"""The bytes of generated files in a local directory, keyed by our own file ids.

A file is written beside its final place, synced and moved there, so that a reader sees all of it or nothing.  The name
that a model chose is never a path: only our id is (`file-` and letters and digits, checked here once more).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..errors import StoreError

_KEY = re.compile(r"file-[0-9A-Za-z]+\Z")


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
        self.handle.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)

    def commit(self) -> tuple[int, str]:
        """Make the file visible; its size in bytes and its SHA-256."""
        self.handle.flush()
        os.fsync(self.handle.fileno())
        self.handle.close()
        self.temporary.replace(self.target)
        return self.size, self.digest.hexdigest()

    def discard(self) -> None:
        """Leave nothing behind."""
        self.handle.close()
        self.temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class LocalFiles:
    """A directory (mode 0700) of files (mode 0600)."""

    directory: Path

    def draft(self, key: str) -> Draft:
        """Start to write the file `key`; raises `StoreError` when the directory cannot be written."""
        target = self._path(key)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{key}-", dir=self.directory)
        except OSError as error:
            message = (
                f"Generated files cannot be written to {self.directory} ({error.strerror}): "
                "set ASSISTANTS_COMPAT_FILES to a directory that can."
            )
            raise StoreError(message) from None
        return Draft(target, Path(name), os.fdopen(descriptor, "wb"))

    def open(self, key: str) -> IO[bytes] | None:
        """The file to read, or None when it is not here."""
        try:
            return self._path(key).open("rb")
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        """Delete the file; it may be gone already."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if _KEY.match(key) is None:
            message = "a file is kept under an id of ours only"
            raise ValueError(message)
        return self.directory / key
