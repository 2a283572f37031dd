"""Streams that are read to their end, whoever leaves.

A run goes on when its consumer stops reading, as it did when the service kept it.  So what the SDK holds is a small
body; the core's generator, and with it the upstream's connection, is held here:

- for a synchronous client the consumer's own thread steps it, and once the consumer has left (closed the stream, broken
  out of the loop, closed the client, ended the program) a daemon thread reads the rest; one that only asks for nothing
  for some seconds may have left without a word, and finds what was read when it comes back;
- for an asynchronous one a task reads from the start, a little ahead, and the consumer only ever reads a buffer: so
  that its cancellation never reaches the upstream's connection.

One daemon thread, the keeper, lives while there are streams: it renews their leases, and starts the readers, because a
garbage collector may call from any place and may not start a thread there.
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

from ..engine.io import LEASE, step

log = logging.getLogger("assistants_compat")

_IDLE = 1.0  # seconds after which a consumer that asks for nothing is read ahead for
_PATIENCE = 30.0  # seconds that a closing client waits for streams that are still read
_LAST_PATIENCE = 10.0  # seconds that an ending program waits
_LAST = b"data: [DONE]\n\n"
_DRAIN = 0.5  # seconds that either waits for a stream that has told everything, and only has its connection to end
_TURN = 0.00025  # seconds for which an asynchronous reader goes on without a pause, once a stream is under way
_TURNS = 32  # pauses until then, each one later than the last: the first words are not to wait
_AHEAD = 64 * 1024  # bytes that are read before the consumer asks for them


class _Keeper:
    """Knows the streams of this process that are alive."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._alive: set[_Carrier] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._left: queue.SimpleQueue[SyncCarrier] = queue.SimpleQueue()  # its put() may interrupt itself

    def add(self, carrier: _Carrier) -> None:
        with self._lock:
            self._alive.add(carrier)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="assistants-compat-streams", daemon=True)
                self._thread.start()

    def remove(self, carrier: _Carrier) -> None:
        with self._lock:
            self._alive.discard(carrier)

    def leave(self, carrier: SyncCarrier) -> None:
        """Have the rest read; called from anywhere, also by the garbage collector."""
        self._left.put(carrier)

    def of(self, owner: object) -> list[_Carrier]:
        with self._lock:
            return [carrier for carrier in self._alive if carrier.owner is owner]

    def all_sync(self) -> list[SyncCarrier]:
        with self._lock:
            return [carrier for carrier in self._alive if isinstance(carrier, SyncCarrier)]

    def _keep(self) -> None:
        due = time.monotonic() + LEASE / 3
        while True:
            try:
                self._left.get(timeout=_IDLE / 2).read_behind()
                continue
            except queue.Empty:
                pass
            for idle in self.all_sync():
                idle.read_ahead_if_idle()
            if time.monotonic() < due:
                continue
            due = time.monotonic() + LEASE / 3
            with self._lock:
                alive = list(self._alive)
                if not alive and self._left.empty():
                    self._thread = None
                    return
            for carrier in alive:
                carrier.renew()


_keeper = _Keeper()


def _forget_streams() -> None:
    """In a forked child: the streams are the parent's."""
    global _keeper  # noqa: PLW0603 - one keeper a process
    _keeper = _Keeper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_streams)


class _Carrier:
    """A stream that is alive, its lease, and the client that it belongs to."""

    def __init__(self, chunks: AsyncIterator[bytes], hold: Callable[[], None], owner: object) -> None:
        self.chunks, self.hold, self.owner = chunks, hold, owner
        self.left = False
        self.told = False  # its last event was read
        self.heard = False  # and by the consumer
        self.keeper = _keeper

    def renew(self) -> None:
        try:
            self.hold()
        except Exception as error:  # noqa: BLE001 - the next beat tries again, before the lease has lapsed
            log.warning("a streamed run's lease could not be renewed: %s", type(error).__name__)


# --- synchronous


class SyncCarrier(_Carrier):
    """A stream that is stepped by whoever reads it: one at a time."""

    def __init__(self, chunks: AsyncIterator[bytes], hold: Callable[[], None], owner: object) -> None:
        """Hold it from now on."""
        super().__init__(chunks, hold, owner)
        self._step = threading.Lock()
        self._ahead: deque[bytes] = deque()  # what was read before the consumer asked for it
        self._asked_at = time.monotonic()
        self._is_read = False  # by a thread of ours
        self._is_wanted = False  # by the consumer, who waits for it
        self._is_closing = False  # its client: what is left is read at once, and kept
        self._error: Exception | None = None  # that ended it while nobody waited
        self.ended = threading.Event()
        self.keeper.add(self)

    def read(self) -> bytes | None:
        """The next bytes, or None after the last, for a consumer that has left, and in a forked child."""
        if self.left or self.heard or self.keeper is not _keeper:
            return None
        chunk = self._ahead.popleft() if self._ahead else self._waited_for()
        self.heard = chunk is not None and chunk.endswith(_LAST)
        self._asked_at = time.monotonic()
        return chunk

    def _waited_for(self) -> bytes | None:
        """The next bytes from upstream; who reads ahead may be waiting for them already, and stops then."""
        self._is_wanted = True
        with self._step:
            self._is_wanted = False
            return self._ahead.popleft() if self._ahead else self._stepped()

    def _stepped(self) -> bytes | None:
        if self.ended.is_set():
            error, self._error = self._error, None
            if error is not None:
                raise error
            return None
        try:
            chunk = step(self.chunks)
        except StopAsyncIteration:
            self._end()
            return None
        except BaseException:
            self._end()
            raise
        # The connection may still be open, and for long: its end is read by whoever comes next, not before this.
        self.told = self.told or chunk.endswith(_LAST)
        return chunk

    def _end(self) -> None:
        self.ended.set()
        self.keeper.remove(self)

    def leave(self) -> None:
        """The consumer is gone: nothing happens here, because the garbage collector may be calling."""
        if not (self.left or self.ended.is_set()):
            self.left = True
            self.keeper.leave(self)

    def hurry(self) -> None:
        """Its client closes: the rest is read now, and kept for a consumer that may still be there, in a thread."""
        self._is_closing = True
        self.read_behind()

    def read_ahead_if_idle(self) -> None:
        """Read on for a consumer that has asked for nothing for some time, and is not waiting either."""
        if time.monotonic() - self._asked_at > _IDLE and not (self._is_read or self._step.locked()):
            self.read_behind()

    def read_behind(self) -> None:
        """Read the rest in a thread of its own, or in this one where none can be had (a program that ends, 3.12)."""
        if self._is_read:
            return
        self._is_read = True
        try:
            threading.Thread(target=self._rest, name="assistants-compat-stream", daemon=True).start()
        except RuntimeError:
            self._rest()

    def _rest(self) -> None:
        while not self.ended.is_set() and (self.left or self._is_closing or not self._is_wanted):
            with self._step:
                try:
                    chunk = self._stepped()
                except Exception as error:  # noqa: BLE001 - raised where the consumer comes back; it may never do so
                    self._error = error
                    log.warning("the rest of a stream could not be read: %s", type(error).__name__)
                    return
                if chunk is not None and not self.left:
                    self._ahead.append(chunk)
        self._is_read = False  # the consumer has come back, and reads by itself
        if (self.left or self._is_closing) and not self.ended.is_set():
            self.keeper.leave(self)


class SyncBody:
    """What the SDK holds: always the same iterator, so that reading on after `[DONE]` never starts again."""

    def __init__(self, carrier: SyncCarrier) -> None:
        """Watch for the day when nobody holds this any more: a consumer may simply have broken out of its loop."""
        self._carrier = carrier
        weakref.finalize(self, carrier.leave).atexit = False

    def __iter__(self) -> Iterator[bytes]:
        """Itself."""
        return self

    def __next__(self) -> bytes:
        """The next bytes."""
        chunk = self._carrier.read()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Leave."""
        self._carrier.leave()


def carry(chunks: AsyncIterator[bytes], hold: Callable[[], None], owner: object) -> SyncBody:
    """A run's stream for a synchronous client; `hold` renews its lease, `owner` is the HTTP client that reads it."""
    return SyncBody(SyncCarrier(chunks, hold, owner))


def finish(owner: object) -> None:
    """Before a client closes: read what is still open to its end, or as far as patience goes."""
    _wait([carrier for carrier in _keeper.of(owner) if isinstance(carrier, SyncCarrier)], _PATIENCE)


def _wait(carriers: list[SyncCarrier], patience: float) -> None:
    started = time.monotonic()
    for carrier in carriers:
        carrier.hurry()
    for carrier in sorted(carriers, key=lambda carrier: carrier.told):
        until = started + (min(patience, _DRAIN) if carrier.told else patience)
        carrier.ended.wait(max(0.0, until - time.monotonic()))


@atexit.register
def _at_exit() -> None:
    if _keeper.pid == os.getpid():
        _wait(_keeper.all_sync(), _LAST_PATIENCE)


# --- asynchronous


class AsyncCarrier(_Carrier):
    """A stream that a task reads, a little ahead of its consumer."""

    def __init__(self, chunks: AsyncIterator[bytes], hold: Callable[[], None], owner: object) -> None:
        """Begin to read."""
        super().__init__(chunks, hold, owner)
        self._loop = asyncio.get_running_loop()
        self._buffer: deque[bytes] = deque()
        self._size = 0
        self._error: BaseException | None = None
        self._is_closing = False  # its client: what is left is read at once, and kept
        self._readable: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.ended = False
        self.keeper.add(self)
        self.task = self._loop.create_task(self._read(), name="assistants-compat-stream")

    def renew(self) -> None:
        """Renew the lease, unless the loop was closed and took the reader with it: then the next look ends the run."""
        if self._loop.is_closed():
            self.keeper.remove(self)
        else:
            super().renew()

    async def _read(self) -> None:
        turn_at = turn = 0.0
        try:
            async for chunk in self.chunks:
                self.told = self.told or chunk.endswith(_LAST)
                if self.left:
                    continue
                self._buffer.append(chunk)
                self._size += len(chunk)
                _wake(self._readable)
                if time.monotonic() >= turn_at:
                    # An upstream that never lets us wait would keep the consumer, and others, from their turns.
                    await asyncio.sleep(0)
                    turn_at = time.monotonic() + turn
                    turn = min(turn + _TURN / _TURNS, _TURN)
                while self._size >= _AHEAD and not self._is_hurried():
                    self._room = self._loop.create_future()
                    await self._room
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
            if self.left:
                log.warning("the rest of a stream could not be read: %s", type(error).__name__)
        finally:
            self.ended = True
            self.keeper.remove(self)
            _wake(self._readable)

    async def read(self) -> bytes | None:
        """All bytes that have come since the last time, or None at the end, and for a consumer that has left."""
        while not self._buffer:
            if self.left or self.heard:
                return None
            if self.ended:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                return None
            self._readable = self._loop.create_future()
            await self._readable
        data = b"".join(self._buffer)
        self.heard = data.endswith(_LAST)
        self._buffer.clear()
        self._size = 0
        _wake(self._room)
        return data

    def leave(self) -> None:
        """The consumer is gone: the task reads on, and keeps nothing; the garbage collector may be calling."""
        if self.left or self.ended:
            return
        self.left = True
        self._buffer.clear()
        self._size = 0
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake_all)

    def _is_hurried(self) -> bool:
        return self.left or self._is_closing

    def hurry(self) -> None:
        """Its client closes: the rest is read now, and kept for a consumer that may still be there, in a task."""
        self._is_closing = True
        _wake(self._room)

    def _wake_all(self) -> None:
        _wake(self._room)
        _wake(self._readable)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


class AsyncBody:
    """What the SDK holds: always the same iterator."""

    def __init__(self, carrier: AsyncCarrier) -> None:
        """Watch for the day when nobody holds this any more."""
        self._carrier = carrier
        weakref.finalize(self, carrier.leave).atexit = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Itself."""
        return self

    async def __anext__(self) -> bytes:
        """The next bytes."""
        chunk = await self._carrier.read()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Leave."""
        self._carrier.leave()


def carry_async(chunks: AsyncIterator[bytes], hold: Callable[[], None], owner: object) -> Any:
    """A run's stream for an asynchronous client.

    Under trio there is no task that could outlive its nursery: there the consumer reads by itself, and ends the run
    when it leaves (docs/differences.md).
    """
    if "trio" in sys.modules:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return chunks
    return AsyncBody(AsyncCarrier(chunks, hold, owner))


async def finish_async(owner: object) -> None:
    """`finish`, for an asynchronous client."""
    carriers = [carrier for carrier in _keeper.of(owner) if isinstance(carrier, AsyncCarrier)]
    if not carriers:  # under trio there never are any
        return
    loop = asyncio.get_running_loop()
    mine = [carrier for carrier in carriers if carrier.task.get_loop() is loop]
    for carrier in mine:
        carrier.hurry()
    for told, patience in ((False, _PATIENCE), (True, min(_PATIENCE, _DRAIN))):
        if tasks := [carrier.task for carrier in mine if carrier.told is told and not carrier.ended]:
            await asyncio.wait(tasks, timeout=patience)
