"""Files in a directory of the user's: nothing that is there is ever followed or overwritten."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from .content import Draft, write_all

# A link in the way is not followed, on systems that have them; Windows would change line ends without the last.
_NEW = os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class SavedDraft(Draft):
    """A temporary file in the directory, synced and given the first of its names that is free."""

    has_digest = False

    def __init__(self, directory: Path, names: Iterator[str]) -> None:
        """Make the directory and the temporary file; permissions are what the user's umask leaves.

        Raises `OSError`, here and in every method.
        """
        super().__init__()
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._names = directory, names
        self._temporary = directory / f".{secrets.token_hex(8)}.part"
        # Without a buffer: a forked child would write its copy of it once more when it ends.
        self._handle = os.fdopen(os.open(self._temporary, os.O_RDWR | _NEW, 0o666), "r+b", buffering=0)
        self.path: Path | None = None

    def _append(self, chunks: Sequence[bytes]) -> None:
        write_all(self._handle, chunks)

    def _finish(self) -> None:
        os.fsync(self._handle.fileno())
        for name in self._names:
            target = self._directory / name
            with contextlib.suppress(FileExistsError):
                self._place(target)
                self.path = target
                break
        self._handle.close()
        self._temporary.unlink()

    def _place(self, target: Path) -> None:
        """Give the file its name; raises `FileExistsError` when anything has it, a link to nowhere included."""
        try:
            os.link(self._temporary, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            self._copy(target)

    def _copy(self, target: Path) -> None:
        with os.fdopen(os.open(target, os.O_WRONLY | _NEW, 0o666), "wb") as copy:
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
