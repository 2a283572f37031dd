"""The bytes of generated files, keyed by our own file ids: what a place for them can do, and the local directory.

The name that a model chose is never a path: only our id is (`file-` and letters and digits, checked here once more).
Object storage is the other place, in `objects`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from ..errors import CompatError, StoreError

STEP = 256 * 1024  # bytes of one read or write: what is bigger leaves the processor's cache (benchmarks/files.py)
PIECE = 4 * 1024 * 1024  # bytes that are worth handing to another thread
_SENT = 8 * 1024 * 1024  # bytes that the system is told to bring to the disk while the next ones come

_KEY = re.compile(r"file-[0-9A-Za-z]+\Z")


class Draft(ABC):
    """A file that is being written: `write` it, then `commit` or `discard` it; nobody sees it before `commit`."""

    has_digest = True
    """Whether somebody keeps the SHA-256, which costs time; without it `commit` gives that of no bytes."""

    def __init__(self) -> None:
        """Count from nothing."""
        self._size = 0
        self._digest = hashlib.sha256()
        self._held: list[bytes] = []
        self._held_size = 0
        self._worker: ThreadPoolExecutor | None = None
        self._taking: Future[None] | None = None
        self._process = os.getpid()

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append chunks; raises `StoreError` when they, or those before them, cannot be kept.

        What has a digest is held until there is a big piece of it, which is digested and written in a thread while the
        next one arrives: it takes about as long.
        """
        size = sum(map(len, chunks))
        self._size += size
        if not self.has_digest:
            self._append(chunks)
            return
        self._held += chunks
        self._held_size += size
        if self._held_size >= PIECE:
            self._taken()
            piece = self._all_held()
            try:
                self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="assistants-compat-draft")
                self._taking = self._worker.submit(self._take, piece)
            except RuntimeError:  # a program that ends can have no thread any more
                self._take(piece)

    def commit(self) -> tuple[int, str]:
        """Make the file visible; its size in bytes and its SHA-256 in hexadecimal digits."""
        self._taken()
        self._leave_worker()
        self._take(self._all_held())
        self._finish()
        return self._size, self._digest.hexdigest()

    def discard(self) -> None:
        """Leave nothing behind.  In a forked child nothing happens: the draft is its parent's, which may go on."""
        if os.getpid() == self._process:
            with contextlib.suppress(Exception):  # what failed is why it is discarded, or no longer of interest
                self._taken()
            self._leave_worker()
            self._undo()

    def _all_held(self) -> bytes:
        # A copy costs less than the turns that two threads take for each chunk.
        piece = b"".join(self._held)
        self._held, self._held_size = [], 0
        return piece

    def _take(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._append([piece])

    def _taken(self) -> None:
        """Wait for the piece before; raises what it met."""
        taking, self._taking = self._taking, None
        if taking is not None:
            taking.result()

    def _leave_worker(self) -> None:
        if self._worker is not None:
            self._worker.shutdown(wait=False)
            self._worker = None

    @abstractmethod
    def _append(self, chunks: Sequence[bytes]) -> None: ...

    @abstractmethod
    def _finish(self) -> None: ...

    @abstractmethod
    def _undo(self) -> None: ...


class Files(Protocol):
    """A place for the bytes of files.  Each method raises `StoreError` when the place cannot be used."""

    def draft(self, key: str, disposition: str) -> Draft:
        """Start to write the file `key`; `disposition` is the Content-Disposition of links that the place signs."""

    def size(self, key: str) -> int | None:
        """How many bytes the file has, or None when it is not here."""

    def pieces(self, key: str, part: range) -> Generator[bytes, None, None]:
        """The bytes at these positions; opened at the first step, closed with the generator."""

    def delete(self, key: str) -> None:
        """Delete the file; it may be gone already."""

    def link(self, key: str, seconds: int) -> str:
        """A URL that anybody may download from for so long; `CompatError` where the place cannot make one."""


def checked(key: str) -> str:
    """The key, if it is an id of ours: a path can never be made of anything else."""
    if _KEY.match(key) is None:
        message = "a file is kept under an id of ours only"
        raise ValueError(message)
    return key


@contextlib.contextmanager
def _trouble_said(directory: Path, done: str = "written to") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = (
            f"Generated files cannot be {done} {directory} ({error.strerror}): "
            "set ASSISTANTS_COMPAT_FILES to a directory that can."
        )
        raise StoreError(message) from None


def write_all(handle: FileIO, chunks: Sequence[bytes]) -> None:
    """Write chunks to a file without a buffer, where a write may be a part of it.

    In steps: for one of megabytes the system looks for as much memory in one piece, and may take ten times as long.
    A big file goes to the disk as it grows: whoever syncs it at its end has little to wait for.
    """
    begun = handle.tell()
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            rest = rest[handle.write(rest[:STEP]) :]
    start, end = (place // _SENT * _SENT for place in (begun, handle.tell()))
    if sys.platform == "linux" and end > start:
        # Its name says that the pages may be dropped; those that are to be written are sent to the disk, and stay.
        os.posix_fadvise(handle.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)


class LocalDraft(Draft):
    """A temporary file beside the final place, synced and moved there: a reader sees all of it or nothing."""

    def __init__(self, target: Path) -> None:
        """Make the directory (0700) and the temporary file (0600)."""
        super().__init__()
        self._target = target
        with _trouble_said(target.parent):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        self._temporary = Path(name)
        # Without a buffer: a forked child would write its copy of it once more when it ends.
        self._handle = os.fdopen(descriptor, "wb", buffering=0)

    def _append(self, chunks: Sequence[bytes]) -> None:
        with _trouble_said(self._target.parent):
            write_all(self._handle, chunks)

    def _finish(self) -> None:
        with _trouble_said(self._target.parent):
            os.fsync(self._handle.fileno())
            self._handle.close()
            self._temporary.replace(self._target)
        _sync(self._target.parent)

    def _undo(self) -> None:
        with contextlib.suppress(OSError):
            self._handle.close()
        self._temporary.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    """Let the move outlast a loss of power; not every system lets a directory be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class LocalFiles:
    """A directory (mode 0700) of files (mode 0600)."""

    def __init__(self, directory: Path) -> None:
        """Nothing is made before the first file."""
        self._directory = directory

    def draft(self, key: str, _disposition: str) -> LocalDraft:
        """Start to write the file `key`."""
        return LocalDraft(self._path(key))

    def size(self, key: str) -> int | None:
        """How many bytes the file has, or None when it is not here."""
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def pieces(self, key: str, part: range) -> Generator[bytes, None, None]:
        """The bytes at these positions."""
        with _trouble_said(self._directory, "read from"), self._path(key).open("rb", buffering=0) as handle:
            handle.seek(part.start)
            left = len(part)
            while left and (piece := handle.read(min(left, STEP))):
                left -= len(piece)
                yield piece

    def delete(self, key: str) -> None:
        """Delete the file; it may be gone already."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    def link(self, key: str, _seconds: int) -> str:
        """Refuse: nothing serves this directory."""
        message = (
            f"There is no link for {checked(key)}: a local directory serves none, the library's own HTTP server will "
            "sign them later; set ASSISTANTS_COMPAT_FILES to s3://, az:// or gs:// for links today."
        )
        raise CompatError(message)

    def _path(self, key: str) -> Path:
        return self._directory / checked(key)


def copy_bytes(source: Files, target: Files, row: Mapping[str, Any], disposition: str) -> None:
    """Copy the bytes of a file, by its row, from one place to another.

    Raises `StoreError` when they cannot be, or are not those that the row speaks of; nothing is left then.
    """
    size = row["body"]["bytes"]
    draft = target.draft(row["id"], disposition)
    try:
        for piece in source.pieces(row["id"], range(size)):
            draft.write([piece])
        written, digest = draft.commit()
    except BaseException:
        draft.discard()
        raise
    if written != size or row["sha256"] not in {None, digest}:
        target.delete(row["id"])
        message = f"The bytes of {row['id']} are not those that its row speaks of."
        raise StoreError(message)
