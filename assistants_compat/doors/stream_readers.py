"""Reads a run's upstream stream to the end even if the consumer stops early.

The service never ended a run because its consumer stopped reading. So the SDK holds only a small body object, and a
reader in this module holds the engine's generator and with it the upstream connection:

- Sync: the consumer's own thread steps the generator. When the consumer leaves (closes the stream, breaks out of the
  loop, closes the client, ends the program), a daemon thread reads the rest. A consumer that is idle for a second may
  have left unnoticed: such a thread then reads ahead into a buffer, which the consumer finds if it comes back.
- Async: a task reads from the start, a little ahead, and the consumer reads a buffer. A cancelled consumer therefore
  never cancels a read on the upstream connection.

One daemon thread, the registry's, lives while streams are open. It renews their leases and starts the reading threads.
The garbage collector may abandon a stream at any point in a program, where starting a thread is not safe.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ..engine.io import LEASE_SECONDS, next_item

log = logging.getLogger("assistants_compat")

# All times are in seconds.
_IDLE_SECONDS = 1.0  # the library reads ahead for a consumer that has not read for this long
_CLOSE_TIMEOUT = 30.0  # how long closing a client waits for its open streams
_EXIT_TIMEOUT = 10.0  # how long the end of the program waits for all open streams
_DONE_EVENT = b"data: [DONE]\n\n"
_DONE_TIMEOUT = 0.5  # how long either waits for a stream after [DONE], when only its connection is left to end
# An async reader yields to the event loop at growing intervals: at first after each chunk, so that the consumer gets
# the first events at once, then less and less often, because each pause costs throughput.
_MAX_PAUSE_INTERVAL = 0.00025
_PAUSE_INTERVAL_STEPS = 32  # pauses until the interval has reached its maximum
_READ_AHEAD_BYTES = 64 * 1024  # an async reader stops while its buffer holds this much


class _StreamRegistry:
    """The open streams of this process, and the thread that looks after them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._readers: set[_StreamReader] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._abandoned: queue.SimpleQueue[SyncStreamReader] = queue.SimpleQueue()  # its put() is reentrant

    def add(self, reader: _StreamReader) -> None:
        with self._lock:
            self._readers.add(reader)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="assistants-compat-streams", daemon=True)
                self._thread.start()

    def remove(self, reader: _StreamReader) -> None:
        with self._lock:
            self._readers.discard(reader)

    def read_abandoned(self, reader: SyncStreamReader) -> None:
        """Let the registry's thread start reading the rest; safe to call from the garbage collector."""
        self._abandoned.put(reader)

    def owned_by(self, owner: object) -> list[_StreamReader]:
        with self._lock:
            return [reader for reader in self._readers if reader.owner is owner]

    def sync_readers(self) -> list[SyncStreamReader]:
        with self._lock:
            return [reader for reader in self._readers if isinstance(reader, SyncStreamReader)]

    def _run(self) -> None:
        renewal_due = time.monotonic() + LEASE_SECONDS / 3
        while True:
            try:
                self._abandoned.get(timeout=_IDLE_SECONDS / 2).read_in_background()
                continue
            except queue.Empty:
                pass
            for sync_reader in self.sync_readers():
                sync_reader.read_ahead_if_idle()
            if time.monotonic() < renewal_due:
                continue
            renewal_due = time.monotonic() + LEASE_SECONDS / 3
            with self._lock:
                open_readers = list(self._readers)
                # Decided under the lock: `add` either sees this thread alive or starts a new one.
                if not open_readers and self._abandoned.empty():
                    self._thread = None
                    return
            for reader in open_readers:
                reader.renew()


_registry = _StreamRegistry()


def _forget_streams() -> None:
    """Start an empty registry in a forked child: the open streams belong to the parent."""
    global _registry  # noqa: PLW0603 - one registry a process
    _registry = _StreamRegistry()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_streams)


class _StreamReader:
    """An open stream, the function that renews its run's lease, and the HTTP client that owns it."""

    def __init__(self, chunks: AsyncIterator[bytes], renew_lease: Callable[[], None], owner: object) -> None:
        self.chunks, self.renew_lease, self.owner = chunks, renew_lease, owner
        self.abandoned = False  # the consumer has left
        self.done_received = False  # the generator has yielded [DONE]
        self.done_delivered = False  # the consumer has read [DONE]
        self.registry = _registry

    def renew(self) -> None:
        try:
            self.renew_lease()
        except Exception as error:  # noqa: BLE001 - the registry retries before the lease lapses
            log.warning("Could not renew the lease of a streamed run: %s. Retrying soon.", type(error).__name__)


# --- synchronous


class SyncStreamReader(_StreamReader):
    """A stream that the consumer's thread or a background thread steps, never both at once."""

    def __init__(self, chunks: AsyncIterator[bytes], renew_lease: Callable[[], None], owner: object) -> None:
        """Register the stream; reading starts with the consumer."""
        super().__init__(chunks, renew_lease, owner)
        self._step_lock = threading.Lock()
        self._buffer: deque[bytes] = deque()  # chunks that a background thread read for the consumer
        self._last_read_at = time.monotonic()
        self._has_read_thread = False
        self._consumer_is_waiting = False  # tells the background thread to give way
        self._client_is_closing = False
        self._error: Exception | None = None  # met by a background thread, raised at the consumer's next read
        self.ended = threading.Event()
        self.registry.add(self)

    def read(self) -> bytes | None:
        """Return the next bytes; None at the end, once the consumer has left, and in a forked child."""
        if self.abandoned or self.done_delivered or self.registry is not _registry:
            return None
        chunk = self._buffer.popleft() if self._buffer else self._next_chunk()
        self.done_delivered = chunk is not None and chunk.endswith(_DONE_EVENT)
        self._last_read_at = time.monotonic()
        return chunk

    def _next_chunk(self) -> bytes | None:
        """Return the next bytes from upstream, waiting for a background thread that is reading them already."""
        self._consumer_is_waiting = True
        with self._step_lock:
            self._consumer_is_waiting = False
            # The background thread may have filled the buffer while this one waited for the lock.
            return self._buffer.popleft() if self._buffer else self._step_upstream()

    def _step_upstream(self) -> bytes | None:
        if self.ended.is_set():
            error, self._error = self._error, None
            if error is not None:
                raise error
            return None
        try:
            chunk = next_item(self.chunks)
        except StopAsyncIteration:
            self._mark_ended()
            return None
        except BaseException:
            self._mark_ended()
            raise
        # After [DONE] the connection may stay open for long. Return the chunk at once; the next step reads the end.
        self.done_received = self.done_received or chunk.endswith(_DONE_EVENT)
        return chunk

    def _mark_ended(self) -> None:
        self.ended.set()
        self.registry.remove(self)

    def abandon(self) -> None:
        """Note that the consumer has left.

        The garbage collector may be the caller, so this starts no thread and reads nothing; the registry does.
        """
        if not (self.abandoned or self.ended.is_set()):
            self.abandoned = True
            self.registry.read_abandoned(self)

    def drain(self) -> None:
        """Read the rest in a thread because the client is closing, and keep it for a consumer that is still there."""
        self._client_is_closing = True
        self.read_in_background()

    def read_ahead_if_idle(self) -> None:
        """Start reading ahead if the consumer has not read for a while and is not waiting for a chunk."""
        is_idle = time.monotonic() - self._last_read_at > _IDLE_SECONDS
        if is_idle and not (self._has_read_thread or self._step_lock.locked()):
            self.read_in_background()

    def read_in_background(self) -> None:
        """Read the rest in a daemon thread, or in this one if no thread can start (Python 3.12 at exit)."""
        if self._has_read_thread:
            return
        self._has_read_thread = True
        try:
            threading.Thread(target=self._read_rest, name="assistants-compat-stream", daemon=True).start()
        except RuntimeError:
            self._read_rest()

    def _read_rest(self) -> None:
        while not self.ended.is_set() and (self.abandoned or self._client_is_closing or not self._consumer_is_waiting):
            with self._step_lock:
                try:
                    chunk = self._step_upstream()
                except Exception as error:  # noqa: BLE001 - raised again if the consumer comes back
                    self._error = error
                    log.warning("Could not read the rest of a run's stream: %s", type(error).__name__)
                    return
                if chunk is not None and not self.abandoned:
                    self._buffer.append(chunk)
        self._has_read_thread = False  # the consumer has come back and reads by itself
        # It may have left again before the line above: then no thread was started for the rest, so ask for one.
        if (self.abandoned or self._client_is_closing) and not self.ended.is_set():
            self.registry.read_abandoned(self)


class SyncBody:
    """The iterator that the SDK holds; always the same one, so that reading past `[DONE]` does not start over."""

    def __init__(self, reader: SyncStreamReader) -> None:
        """Abandon the stream when this object is collected: a consumer may break out of its loop without closing."""
        self._reader = reader
        weakref.finalize(self, reader.abandon).atexit = False

    def __iter__(self) -> Iterator[bytes]:
        """Return this object."""
        return self

    def __next__(self) -> bytes:
        """Return the next bytes."""
        chunk = self._reader.read()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Abandon the stream; the rest is read in the background."""
        self._reader.abandon()


def sync_stream_body(chunks: AsyncIterator[bytes], renew_lease: Callable[[], None], owner: object) -> SyncBody:
    """Return a run's stream as a response body of the sync HTTP client `owner`."""
    return SyncBody(SyncStreamReader(chunks, renew_lease, owner))


def finish_streams(owner: object) -> None:
    """Read a closing client's open streams to their end, for at most `_CLOSE_TIMEOUT` seconds."""
    readers = [reader for reader in _registry.owned_by(owner) if isinstance(reader, SyncStreamReader)]
    _wait_for_readers(readers, _CLOSE_TIMEOUT)


def _wait_for_readers(readers: list[SyncStreamReader], timeout: float) -> None:
    started = time.monotonic()
    for reader in readers:
        reader.drain()
    # Unfinished streams first: meanwhile the connections of the finished ones have time to end.
    for reader in sorted(readers, key=lambda reader: reader.done_received):
        until = started + (min(timeout, _DONE_TIMEOUT) if reader.done_received else timeout)
        reader.ended.wait(max(0.0, until - time.monotonic()))


@atexit.register
def _finish_at_exit() -> None:
    # A fork made in C skips the hook above and leaves the child a copy of its parent's registry.
    if _registry.pid == os.getpid():
        _wait_for_readers(_registry.sync_readers(), _EXIT_TIMEOUT)


# --- asynchronous


class AsyncStreamReader(_StreamReader):
    """A stream that a task reads into a buffer, a little ahead of the consumer."""

    def __init__(self, chunks: AsyncIterator[bytes], renew_lease: Callable[[], None], owner: object) -> None:
        """Register the stream and start the task that reads it."""
        super().__init__(chunks, renew_lease, owner)
        self._loop = asyncio.get_running_loop()
        self._buffer: deque[bytes] = deque()
        self._size = 0
        self._error: BaseException | None = None
        self._client_is_closing = False
        self._readable: asyncio.Future[None] | None = None  # the consumer waits on it
        self._room_freed: asyncio.Future[None] | None = None  # the task waits on it while the buffer is full
        self.ended = False
        self.registry.add(self)
        self.task = self._loop.create_task(self._read(), name="assistants-compat-stream")

    def renew(self) -> None:
        """Renew the lease unless the event loop is closed; then the task is dead and the next poll ends the run."""
        if self._loop.is_closed():
            self.registry.remove(self)
        else:
            super().renew()

    async def _read(self) -> None:
        pause_due = pause_interval = 0.0
        try:
            async for chunk in self.chunks:
                self.done_received = self.done_received or chunk.endswith(_DONE_EVENT)
                if self.abandoned:
                    continue
                self._buffer.append(chunk)
                self._size += len(chunk)
                _resolve(self._readable)
                if time.monotonic() >= pause_due:
                    # If every chunk is there already, the loop above never suspends and starves the consumer.
                    await asyncio.sleep(0)
                    pause_due = time.monotonic() + pause_interval
                    step = _MAX_PAUSE_INTERVAL / _PAUSE_INTERVAL_STEPS
                    pause_interval = min(pause_interval + step, _MAX_PAUSE_INTERVAL)
                while self._size >= _READ_AHEAD_BYTES and not self._ignores_buffer_limit():
                    self._room_freed = self._loop.create_future()
                    await self._room_freed
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
            if self.abandoned:
                log.warning("Could not read the rest of a run's stream: %s", type(error).__name__)
        finally:
            self.ended = True
            self.registry.remove(self)
            _resolve(self._readable)

    async def read(self) -> bytes | None:
        """Return all bytes that have arrived since the last read; None at the end and once the consumer has left."""
        while not self._buffer:
            if self.abandoned or self.done_delivered:
                return None
            if self.ended:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                return None
            self._readable = self._loop.create_future()
            await self._readable
        data = b"".join(self._buffer)
        self.done_delivered = data.endswith(_DONE_EVENT)
        self._buffer.clear()
        self._size = 0
        _resolve(self._room_freed)
        return data

    def abandon(self) -> None:
        """Note that the consumer has left; the task reads on and drops what it reads.

        The garbage collector may be the caller, in any thread, so only the loop itself touches the futures.
        """
        if self.abandoned or self.ended:
            return
        self.abandoned = True
        self._buffer.clear()
        self._size = 0
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._resolve_futures)

    def _ignores_buffer_limit(self) -> bool:
        return self.abandoned or self._client_is_closing

    def drain(self) -> None:
        """Let the task read the rest because the client is closing, and keep it for a consumer that is still there."""
        self._client_is_closing = True
        _resolve(self._room_freed)

    def _resolve_futures(self) -> None:
        _resolve(self._room_freed)
        _resolve(self._readable)


def _resolve(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


class AsyncBody:
    """The asynchronous iterator that the SDK holds; always the same one."""

    def __init__(self, reader: AsyncStreamReader) -> None:
        """Abandon the stream when this object is collected."""
        self._reader = reader
        weakref.finalize(self, reader.abandon).atexit = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return this object."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes."""
        chunk = await self._reader.read()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Abandon the stream; the task reads the rest."""
        self._reader.abandon()


def async_stream_body(chunks: AsyncIterator[bytes], renew_lease: Callable[[], None], owner: object) -> Any:
    """Return a run's stream as a response body of the async HTTP client `owner`.

    Under trio no task can outlive its nursery. There the consumer reads the generator itself and ends the run when it
    leaves (docs/differences.md).
    """
    if "trio" in sys.modules:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return chunks
    return AsyncBody(AsyncStreamReader(chunks, renew_lease, owner))


async def finish_streams_async(owner: object) -> None:
    """Read a closing async client's open streams to their end, for at most `_CLOSE_TIMEOUT` seconds."""
    readers = [reader for reader in _registry.owned_by(owner) if isinstance(reader, AsyncStreamReader)]
    if not readers:  # always so under trio, which has no asyncio loop
        return
    loop = asyncio.get_running_loop()
    # A client may have been used in several loops; only tasks of this one can be awaited here.
    own_readers = [reader for reader in readers if reader.task.get_loop() is loop]
    for reader in own_readers:
        reader.drain()
    for is_done, timeout in ((False, _CLOSE_TIMEOUT), (True, min(_CLOSE_TIMEOUT, _DONE_TIMEOUT))):
        if tasks := [reader.task for reader in own_readers if reader.done_received is is_done and not reader.ended]:
            await asyncio.wait(tasks, timeout=timeout)
