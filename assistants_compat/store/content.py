"""Storage for the bytes of generated files: its interface, and the implementation for a local directory.

Files are stored under our own ids (`file-` and letters and digits), which this module checks again. A name that a model
chose never becomes a path. `object_storage.py` has the other implementation.
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

IO_CHUNK_SIZE = 256 * 1024  # larger reads and writes do not fit into the processor's cache (benchmarks/files.py)
WORKER_CHUNK_SIZE = 4 * 1024 * 1024  # smaller pieces are not worth passing to another thread
_WRITEBACK_SIZE = 8 * 1024 * 1024  # the system writes this much to the disk while the next bytes arrive

_KEY = re.compile(r"file-[0-9A-Za-z]+\Z")


class Draft(ABC):
    """A file that is being written: call `write`, then `commit` or `discard`. It is invisible before `commit`."""

    has_digest = True
    """Whether to compute the SHA-256, which takes time. If False, `commit` returns the digest of no bytes."""

    def __init__(self) -> None:
        """Start with an empty file."""
        self._size = 0
        self._digest = hashlib.sha256()
        self._buffer: list[bytes] = []
        self._buffer_size = 0
        self._worker: ThreadPoolExecutor | None = None
        self._pending_write: Future[None] | None = None
        self._process_id = os.getpid()

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append chunks; raises `StoreError` if these or earlier chunks cannot be written.

        With a digest, chunks are collected into large pieces. A worker thread digests and writes one piece while the
        next one arrives, which takes about as long.
        """
        size = sum(map(len, chunks))
        self._size += size
        if not self.has_digest:
            self._append(chunks)
            return
        self._buffer += chunks
        self._buffer_size += size
        if self._buffer_size >= WORKER_CHUNK_SIZE:
            self._wait_for_pending_write()
            piece = self._take_buffer()
            try:
                self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="assistants-compat-draft")
                self._pending_write = self._worker.submit(self._write_piece, piece)
            except RuntimeError:  # a program that is ending cannot start a thread
                self._write_piece(piece)

    def commit(self) -> tuple[int, str]:
        """Make the file visible; returns its size in bytes and its SHA-256 in hexadecimal digits."""
        self._wait_for_pending_write()
        self._end_worker()
        self._write_piece(self._take_buffer())
        self._finish()
        return self._size, self._digest.hexdigest()

    def discard(self) -> None:
        """Delete what was written. A forked child does nothing: the draft belongs to its parent, which may continue."""
        if os.getpid() == self._process_id:
            with contextlib.suppress(Exception):  # the caller discards because of this error, or does not need it
                self._wait_for_pending_write()
            self._end_worker()
            self._undo()

    def _take_buffer(self) -> bytes:
        # Copying is cheaper than switching between two threads for each chunk.
        piece = b"".join(self._buffer)
        self._buffer, self._buffer_size = [], 0
        return piece

    def _write_piece(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._append([piece])

    def _wait_for_pending_write(self) -> None:
        """Wait until the worker has written its piece; raises the worker's exception."""
        pending_write, self._pending_write = self._pending_write, None
        if pending_write is not None:
            pending_write.result()

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.shutdown(wait=False)
            self._worker = None

    @abstractmethod
    def _append(self, chunks: Sequence[bytes]) -> None: ...

    @abstractmethod
    def _finish(self) -> None: ...

    @abstractmethod
    def _undo(self) -> None: ...


class ContentStore(Protocol):
    """Storage for the bytes of files. Each method raises `StoreError` if the storage cannot be used."""

    def draft(self, key: str, disposition: str) -> Draft:
        """Start writing the file `key`; signed links to it will send `disposition` as Content-Disposition."""

    def size(self, key: str) -> int | None:
        """The size of the file in bytes, or None if it does not exist."""

    def read_chunks(self, key: str, positions: range) -> Generator[bytes, None, None]:
        """Yield the bytes at these positions. The file is opened at the first step and closed with the generator."""

    def delete(self, key: str) -> None:
        """Delete the file if it exists."""

    def link(self, key: str, seconds: int) -> str:
        """A download URL for anyone, valid for `seconds`; raises `CompatError` if the storage has no such links."""


def check_key(key: str) -> str:
    """Return the key; raises `ValueError` unless it is an id of ours. Only such a key may become part of a path."""
    if _KEY.match(key) is None:
        message = f"{key!r} is not the id of a generated file"
        raise ValueError(message)
    return key


@contextlib.contextmanager
def _store_errors(directory: Path, action: str = "written to") -> Iterator[None]:
    """Turn an `OSError` into a `StoreError`."""
    try:
        yield
    except OSError as error:
        message = (
            f"Generated files cannot be {action} {directory} ({error.strerror}): "
            "set ASSISTANTS_COMPAT_FILES to a directory that this process can read and write."
        )
        raise StoreError(message) from None


def write_all(handle: FileIO, chunks: Sequence[bytes]) -> None:
    """Write all chunks to an unbuffered file, whose `write` may accept only a part.

    Each write is small: for a write of megabytes the system needs that much contiguous memory, and may take ten times
    as long. A large file is sent to the disk while it grows, so that the final sync is short.
    """
    first_position = handle.tell()
    for chunk in chunks:
        unwritten = memoryview(chunk)
        while unwritten:
            unwritten = unwritten[handle.write(unwritten[:IO_CHUNK_SIZE]) :]
    start, end = (position // _WRITEBACK_SIZE * _WRITEBACK_SIZE for position in (first_position, handle.tell()))
    if sys.platform == "linux" and end > start:
        # DONTNEED allows the system to drop pages; it sends unwritten pages to the disk and keeps them until then.
        os.posix_fadvise(handle.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)


class LocalDraft(Draft):
    """A temporary file beside its target. `commit` syncs and renames it, so a reader sees all of it or nothing."""

    def __init__(self, target: Path) -> None:
        """Create the directory (mode 0700) and the temporary file (mode 0600)."""
        super().__init__()
        self._target = target
        with _store_errors(target.parent):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # In the same directory, because a rename is atomic only within one file system.
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        self._temporary = Path(name)
        # Unbuffered, because a forked child would write its copy of a buffer again when it exits.
        self._handle = os.fdopen(descriptor, "wb", buffering=0)

    def _append(self, chunks: Sequence[bytes]) -> None:
        with _store_errors(self._target.parent):
            write_all(self._handle, chunks)

    def _finish(self) -> None:
        with _store_errors(self._target.parent):
            # Sync before the rename; otherwise a crash could leave an incomplete file under the final name.
            os.fsync(self._handle.fileno())
            self._handle.close()
            self._temporary.replace(self._target)
        _sync_directory(self._target.parent)

    def _undo(self) -> None:
        with contextlib.suppress(OSError):
            self._handle.close()
        self._temporary.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Make the rename survive a power failure; some systems cannot sync a directory."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class LocalFiles:
    """A directory (mode 0700) of files (mode 0600)."""

    def __init__(self, directory: Path) -> None:
        """The directory is created with the first file."""
        self._directory = directory

    def draft(self, key: str, _disposition: str) -> LocalDraft:
        """Start writing the file `key`."""
        return LocalDraft(self._path(key))

    def size(self, key: str) -> int | None:
        """The size of the file in bytes, or None if it does not exist."""
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_chunks(self, key: str, positions: range) -> Generator[bytes, None, None]:
        """Yield the bytes at these positions."""
        with _store_errors(self._directory, "read from"), self._path(key).open("rb", buffering=0) as handle:
            handle.seek(positions.start)
            remaining = len(positions)
            while remaining and (chunk := handle.read(min(remaining, IO_CHUNK_SIZE))):
                remaining -= len(chunk)
                yield chunk

    def delete(self, key: str) -> None:
        """Delete the file if it exists."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    def link(self, key: str, _seconds: int) -> str:
        """Refuse, because nothing serves this directory."""
        message = (
            f"{check_key(key)} has no link: a local directory cannot serve links. The library's own HTTP server will "
            "sign them in a later version; until then, set ASSISTANTS_COMPAT_FILES to s3://, az:// or gs://."
        )
        raise CompatError(message)

    def _path(self, key: str) -> Path:
        return self._directory / check_key(key)


def copy_bytes(source: ContentStore, target: ContentStore, row: Mapping[str, Any], disposition: str) -> None:
    """Copy the bytes of a file from one storage to another.

    Raises `StoreError` if they cannot be copied or do not match the file's row; then the copy is removed.
    """
    size = row["body"]["bytes"]
    draft = target.draft(row["id"], disposition)
    try:
        for chunk in source.read_chunks(row["id"], range(size)):
            draft.write([chunk])
        written, digest = draft.commit()
    except BaseException:
        draft.discard()
        raise
    if written != size or row["sha256"] not in {None, digest}:
        target.delete(row["id"])
        message = f"The bytes of {row['id']} do not match the size and SHA-256 in its row."
        raise StoreError(message)
