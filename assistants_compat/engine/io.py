"""The only I/O of the core, and how one `async def` core serves a blocking caller and an asynchronous one.

The core awaits methods of `IO` and nothing else.  `BlockingIO` has methods that never suspend, so `run` can step a
coroutine of the core by hand; `AsyncIO` does the same work in a worker thread and with the caller's own event loop.
Only this module, `workers` and the doors know threads, clocks and sleeping; only the doors know an HTTP library.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    MutableSet,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import anyio.to_thread

from ..errors import StoreError, UpstreamError, bad_upstream
from ..runtime import clock, workers
from ..settings import Settings, StoredFile
from ..store import locations, queries
from ..store.content import Draft
from ..store.database import Promise, transact
from ..wire import ids
from ..wire.objects import Json

if TYPE_CHECKING:
    from ..store.database import Connection

T = TypeVar("T")

log = logging.getLogger("assistants_compat")

LEASE = 45  # seconds for which a stream holds its run; it is renewed three times in that time
BAD_REQUEST = 400
_SEVERAL = 2
_AT_ONCE = 4
_DELAY = 0.002  # seconds between a promise and its keeping


@dataclass(frozen=True)
class Upload:
    """A file to send as the field `file` of a form, behind other `fields`; its `chunks` are read once."""

    filename: str
    size: int  # in bytes
    chunks: AsyncGenerator[bytes, None]
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Request:
    """A request to the upstream; `path` is relative to the API's base and built of checked, encoded parts."""

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    query: tuple[tuple[str, str], ...] = ()
    accept: str = "application/json"
    upload: Upload | None = None  # in the place of `json`
    legacy: bool = False  # to the old API, where the upstream still has it


@dataclass(frozen=True)
class Answer:
    """A whole answer of the upstream; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Body(Protocol):
    """An answer whose bytes are still to come."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in lower case."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes, as they come; raises `UnreachableError` when they stop coming."""

    async def aclose(self) -> None:
        """Close the connection; closing twice is allowed."""


class Upstream(Protocol):
    """How a door sends: siblings of the legacy request, with its origin, credentials and timeout (DESIGN.md)."""

    @property
    def name(self) -> str:
        """Which upstream this is, to remember what it refused."""

    async def send(self, request: Request) -> Answer:
        """Send and read the whole answer; raises `UnreachableError` when there is none."""

    async def open(self, request: Request) -> Body:
        """Send and leave the body to be read in chunks; whoever opens it closes it."""


class IO(ABC):
    """Everything that the core may ask of the world."""

    _piece = 0  # bytes that are worth a `_call`

    def __init__(self, settings: Settings, upstream: Upstream, without_background: MutableSet[str]) -> None:
        """Bind the settings and the upstream of one legacy request; nothing is opened yet.

        `without_background` remembers, as long as the process lives, which upstreams refused that mode.
        """
        self.settings = settings
        self.upstream = upstream
        self.without_background = without_background
        self.request_id: str | None = None  # the upstream's last one becomes ours
        self._pid = os.getpid()
        self._url = locations.database_url(settings.store)
        self._files = locations.content_store(settings.files, self._url)

    @abstractmethod
    async def _call(self, work: Callable[[], T]) -> T:
        """Run something that blocks; once started it is always finished."""

    @abstractmethod
    async def together(self, works: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """Do several things of the core, a few at a time; their results in order."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def ask(self, request: Request) -> Json:
        """Send to the upstream and read its JSON object.

        Raises `UpstreamError` for an answer of 400 and more, `UnreachableError` when there is none, and `ApiError`
        (502) for a success that is not a JSON object.
        """
        answer = await self.upstream.send(request)
        self._look_at(answer.status, answer.headers, answer.body)
        try:
            body = json.loads(answer.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise bad_upstream(f"{request.method} {request.path.split('/')[1]} gave no JSON object")
        return body

    async def open(self, request: Request) -> Body:
        """Send to the upstream and leave what it streams to be read; whoever opens it closes it.

        Raises as `ask` does, also for a success that is no stream of events.
        """
        body = await self.upstream.open(request)
        kind = body.headers.get("content-type", "text/event-stream")
        if body.status < BAD_REQUEST and kind.startswith("text/event-stream"):
            self._look_at(body.status, body.headers, b"")
            return body
        try:
            said = b"".join([chunk async for chunk in body.chunks()])
        finally:
            await body.aclose()
        self._look_at(body.status, body.headers, said)
        raise bad_upstream(f"{request.method} {request.path.split('/')[1]} gave no stream of events")

    def _look_at(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.request_id = headers.get("x-request-id", self.request_id)
        if status >= BAD_REQUEST:
            raise UpstreamError(status, headers, body)

    def hold(self, run_id: str) -> None:
        """Renew the lease of a run that is streamed; called beside the core, by a thread of its own."""
        until = self.now() + LEASE
        transact(self._url, lambda db: queries.renew_lease(db, self.settings.namespace, run_id, until), write=True)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run queries in a transaction that only reads."""
        return await self._call(lambda: transact(self._url, work, write=False))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run queries in a transaction that writes; all of it happens or nothing."""
        return await self._call(lambda: transact(self._url, work, write=True))

    def promise(self, work: Callable[[Connection], T]) -> Promise[T]:
        """Write soon: what it writes may be told of at once, because whoever asks for it in this process waits.

        A thread does it, some milliseconds later: at once, the two would only take turns.  Whoever asks from another
        process may be early.
        """
        promise = Promise(self._url, work, due=self.monotonic() + _DELAY)
        self._keep_soon(promise)
        return promise

    def _keep_soon(self, promise: Promise[Any]) -> None:
        try:
            workers.behind(partial(_keep, promise))
        except RuntimeError:  # the program ends or is forked
            promise.keep()

    def is_due(self, promise: Promise[Any]) -> bool:
        """Whether whoever promised should look at what came of it."""
        return promise.done()

    async def kept(self, promise: Promise[T]) -> T:
        """What a promised transaction gave; raises what it raised."""
        return promise.result() if promise.done() else await self._call(promise.result)

    async def save(self, key: str, chunks: AsyncIterator[bytes], disposition: str) -> tuple[int, str]:
        """Keep bytes under one of our file ids; their number and their SHA-256.  Nothing is kept on a failure.

        `disposition` is the Content-Disposition of links to them.
        """
        return await self.fill(lambda: self._files.draft(key, disposition), chunks)

    async def fill(self, begin: Callable[[], Draft], chunks: AsyncIterator[bytes]) -> tuple[int, str]:
        """Write a draft and commit it; the number of its bytes and their SHA-256.  Discarded on a failure."""
        draft = await self._call(begin)
        try:
            held: list[bytes] = []
            size = 0
            async for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size >= self._piece:
                    await self._call(partial(draft.write, held))
                    held, size = [], 0
            await self._call(partial(draft.write, held))
            return await self._call(draft.commit)
        except GeneratorExit:
            draft.discard()  # whoever is closed may not await
            raise
        except BaseException:
            await self._call(draft.discard)
            raise

    async def size(self, key: str) -> int | None:
        """How many bytes are kept under one of our file ids, or None when there are none."""
        return await self._call(lambda: self._files.size(key))

    async def load(self, key: str, part: range) -> AsyncGenerator[bytes, None]:
        """The bytes at these positions of what is kept under one of our file ids; `StoreError` if some are missing."""
        # Opened at the first step: what is never read is never begun, and would never be closed.
        pieces = self._files.pieces(key, part)
        left = len(part)
        try:
            while several := await self._call(partial(_several, pieces, self._piece)):
                for piece in several:
                    left -= len(piece)
                    yield piece
        finally:
            pieces.close()
        if left:
            message = f"{left} bytes of {key} are missing in the content store."
            raise StoreError(message)

    async def forget(self, key: str) -> None:
        """Delete the bytes kept under one of our file ids."""
        await self._call(lambda: self._files.delete(key))

    async def tell(self, file: StoredFile) -> None:
        """Call the `on_file` of the settings; what it raises is logged: where, because its words may hold anything."""
        on_file = self.settings.on_file
        if on_file is None:
            return
        try:
            await self._call(partial(on_file, file))
        except Exception as error:  # noqa: BLE001 - the caller's own code: the file is kept all the same
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("on_file failed for %s: %s\n%s", file.id, type(error).__name__, where)  # noqa: TRY400 - as above

    def is_forked(self) -> bool:
        """Whether this is a copy in a child process: what its parent has begun is not the child's to end."""
        return self._pid != os.getpid()

    def monotonic(self) -> float:
        """Seconds on a clock that only measures durations."""
        return time.monotonic()

    def now(self) -> int:
        """The time, in whole seconds since the epoch, as the API counts."""
        return clock.current().now()

    def mint(self, kind: ids.Kind) -> str:
        """A new id."""
        return clock.current().mint(kind)


class BlockingIO(IO):
    """I/O for a synchronous client: nothing here suspends."""

    async def _call(self, work: Callable[[], T]) -> T:
        return work()

    def is_due(self, promise: Promise[Any]) -> bool:
        """Or do it himself: while this thread never waits, the one behind it gets no turn."""
        return promise.done() or self.monotonic() >= promise.due

    async def together(self, works: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """One alone in the caller's thread; several in threads of their own."""
        if len(works) < _SEVERAL:
            return [await work() for work in works]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="assistants-compat-files") as pool:
            jobs = [pool.submit(copy_context().run, _run, work) for work in works]
            return [job.result() for job in jobs]

    async def sleep(self, seconds: float) -> None:
        """Block the caller's thread."""
        time.sleep(seconds)  # noqa: ASYNC251 - this door's methods never suspend


class AsyncIO(IO):
    """I/O for an asynchronous client: what blocks runs in a worker thread, shielded from cancellation."""

    _piece = 1024 * 1024  # each call is a trip to another thread

    async def _call(self, work: Callable[[], T]) -> T:
        # A transaction, once wanted, is finished: an undo must run although its caller was cancelled.
        return await workers.done(work)

    def _keep_soon(self, promise: Promise[Any]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio
            super()._keep_soon(promise)
        else:  # when the loop has told it
            loop.call_later(_DELAY, super()._keep_soon, promise)

    async def together(self, works: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """In tasks of their own; when one fails the others are finished all the same."""
        if len(works) < _SEVERAL:
            return [await work() for work in works]
        results: dict[int, T] = {}
        failed: list[Exception] = []
        limit = anyio.CapacityLimiter(_AT_ONCE)

        async def do(number: int) -> None:
            async with limit:
                try:
                    results[number] = await works[number]()
                except Exception as error:  # noqa: BLE001 - raised below, by itself and not in a group
                    failed.append(error)

        async with anyio.create_task_group() as group:
            for number in range(len(works)):
                group.start_soon(do, number)
        if failed:
            raise failed[0]
        return [results[number] for number in range(len(works))]

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller's task."""
        await anyio.sleep(seconds)


def _keep(promise: Promise[Any]) -> None:
    """Do what was promised when it is due, unless somebody has."""
    time.sleep(max(0.0, promise.due - time.monotonic()))
    promise.keep()


def _several(pieces: Iterator[bytes], size: int) -> list[bytes]:
    """The next pieces, together of this size or a little more; none at the end."""
    several: list[bytes] = []
    for piece in pieces:
        several.append(piece)
        size -= len(piece)
        if size <= 0:
            break
    return several


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return run(work())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Step a coroutine of the core to its end in the caller's thread; a suspension is a bug and raises.

    Meanwhile a running event loop must not adopt our generators: it would close them when it ends (notebooks).
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        coroutine.close()
        sys.set_asyncgen_hooks(*hooks)
    message = "the core suspended in the blocking door"
    raise RuntimeError(message)


def step(chunks: AsyncIterator[T]) -> T:
    """The next item of an asynchronous iterator of the core, in the caller's thread; raises as `__anext__` does."""
    return run(_next(chunks))


def iterate(chunks: AsyncIterator[T]) -> Generator[T, None, None]:
    """Walk an asynchronous iterator of the core in the caller's thread, and close it on every way out."""
    try:
        while True:
            try:
                item = step(chunks)
            except StopAsyncIteration:
                return
            yield item
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            run(close())


async def _next(chunks: AsyncIterator[T]) -> T:
    return await chunks.__anext__()
