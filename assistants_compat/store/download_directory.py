"""Writes downloads into a directory of the user. It never follows a link and never overwrites a file."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from .content import Draft, write_all

# O_NOFOLLOW refuses an existing link, where the system has it. Without O_BINARY Windows would change line ends.
_CREATE_FLAGS = os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class DownloadDraft(Draft):
    """A temporary file in the directory. `commit` syncs it and renames it to the first of its names that is free."""

    has_digest = False

    def __init__(self, directory: Path, names: Iterator[str]) -> None:
        """Create the directory and the temporary file, with the permissions that the user's umask allows.

        Like every method, it raises `OSError`.
        """
        super().__init__()
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._names = directory, names
        self._temporary = directory / f".{secrets.token_hex(8)}.part"
        # Unbuffered, because a forked child would write its copy of a buffer again when it exits.
        self._handle = os.fdopen(os.open(self._temporary, os.O_RDWR | _CREATE_FLAGS, 0o666), "r+b", buffering=0)
        self.path: Path | None = None

    def _append(self, chunks: Sequence[bytes]) -> None:
        write_all(self._handle, chunks)

    def _finish(self) -> None:
        os.fsync(self._handle.fileno())
        for name in self._names:
            target = self._directory / name
            with contextlib.suppress(FileExistsError):
                self._publish(target)
                self.path = target
                break
        self._handle.close()
        self._temporary.unlink()

    def _publish(self, target: Path) -> None:
        """Give the file its final name; raises `FileExistsError` if the name is taken, even by a broken link."""
        try:
            os.link(self._temporary, target)
        except FileExistsError:
            raise
        except OSError:  # the file system has no hard links
            self._copy(target)

    def _copy(self, target: Path) -> None:
        with os.fdopen(os.open(target, os.O_WRONLY | _CREATE_FLAGS, 0o666), "wb") as copy:
            try:
                self._handle.seek(0)
                shutil.copyfileobj(self._handle, copy)
                copy.flush()
                os.fsync(copy.fileno())
            except BaseException:
                target.unlink()
                raise

    def _undo(self) -> None:
        with contextlib.suppress(OSError):
            self._handle.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()
