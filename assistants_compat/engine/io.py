"""All I/O of the core: database, upstream requests, stored content, clock and sleep.

The core is written once, as `async def` functions that await methods of `IO` and nothing else. The methods of
`BlockingIO` never suspend, so `run` can drive such a coroutine for a synchronous client. `AsyncIO` moves blocking work
to worker threads and runs in the caller's event loop. Other modules of `engine` and `api` may not use threads, a clock
or sleep. No module of theirs, this one included, imports an HTTP library: only `doors` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import anyio.to_thread

from ..errors import StoreError, UnreachableError, UpstreamError, bad_upstream
from ..runtime import clock, workers
from ..runtime.upstream_memory import BoundMemory, UpstreamMemory, memory_of
from ..settings import Settings, StoredFile
from ..store import locations, queries
from ..store.content import ContentStore, Draft
from ..store.database import DeferredWrite, saved_verdicts, transact
from ..wire import ids
from ..wire.objects import Json
from .answers import object_from_answer

if TYPE_CHECKING:
    from ..store.database import Connection

T = TypeVar("T")

log = logging.getLogger("assistants_compat")

LEASE_SECONDS = 45  # for which a stream holds its run; the stream renews it three times in that time
BAD_REQUEST = 400
_POOL_SECONDS = 0.5  # that a request waits for a connection before the open stream gives up its own
_MIN_CONCURRENT = 2  # a single task runs in the caller's own thread or task
_MAX_CONCURRENT = 4
_DEFERRED_WRITE_DELAY = 0.002  # seconds between `write_later` and the write


@dataclass(frozen=True)
class Upload:
    """A file to upload: the form sends `fields` first, then `chunks` as the field `file`. `chunks` can be read once."""

    filename: str
    size: int  # in bytes
    chunks: AsyncGenerator[bytes, None]
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Request:
    """A request to the upstream; `path` is relative to the API's base URL and consists of encoded parts."""

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    query: tuple[tuple[str, str], ...] = ()
    accept: str = "application/json"
    upload: Upload | None = None  # instead of `json`
    legacy: bool = False  # sent to the Assistants API, where the upstream still has it
    pool_seconds: float | None = None  # to wait for a free connection at most, if the client would wait longer


@dataclass(frozen=True)
class BufferedResponse:
    """An upstream response whose body was read completely; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedResponse(Protocol):
    """An upstream response whose body is read in chunks; the code that opened it closes it."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are lower case."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives; raises `UnreachableError` when the connection breaks."""

    async def aclose(self) -> None:
        """Close the connection; closing twice is allowed."""


class Upstream(Protocol):
    """Sends upstream requests with the origin, credentials and timeout of the legacy request (decision 0005)."""

    @property
    def name(self) -> str:
        """Origin and base path of this upstream: the key under which the process remembers what it refused."""

    @property
    def credential(self) -> str:
        """The key or token of its requests; the process remembers a hash of it with what was refused."""

    async def send(self, request: Request) -> BufferedResponse:
        """Send a request and read the whole response; raises `UnreachableError` when none arrives."""

    async def open(self, request: Request) -> StreamedResponse:
        """Send a request and return the response with an unread body; the caller closes it."""


class IO(ABC):
    """All I/O that the core may do for one legacy request."""

    _batch_bytes = 0  # content is read and written in batches of at least this size; 0: chunk by chunk

    def __init__(self, settings: Settings, upstream: Upstream, memory: UpstreamMemory | None = None) -> None:
        """Bind the settings and the upstream of one legacy request; opens nothing.

        `memory` holds what upstreams have refused; by default the one that all clients of the store share.
        """
        self.settings = settings
        self.upstream = upstream
        self._memory = memory_of(settings) if memory is None else memory
        self.request_id: str | None = None  # of the last upstream response; our reply repeats it
        # Each makes the stream that is open read its rest into memory and close its connection.
        self.connection_holders: list[Callable[[], Awaitable[None]]] = []
        self._pid = os.getpid()

    # When they are needed, so that a missing location is an answer to the request, like a store that cannot be opened.
    @cached_property
    def _url(self) -> str:
        return locations.database_url(self.settings.store)

    @cached_property
    def _files(self) -> ContentStore:
        return locations.content_store(self.settings.files, self._url)

    @property
    def memory(self) -> BoundMemory:
        """What this upstream has refused, and what `doctor --live --save` found out about it."""
        for verdict in saved_verdicts(self._url):  # read when the store was opened, so this waits for nothing
            if verdict.namespace == self.settings.namespace:
                self._memory.add(verdict.upstream, verdict.row, verdict.key)
        return self._memory.of(self.upstream.name, self.upstream.credential)

    @abstractmethod
    async def _run_blocking(self, work: Callable[[], T]) -> T:
        """Run a blocking function; once started it always finishes, even if the caller is cancelled."""

    @abstractmethod
    async def gather(self, tasks: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """Run several coroutines of the core, at most four at a time, and return their results in order."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""

    async def ask(self, request: Request) -> Json:
        """Send a request to the upstream and return the JSON object of its response.

        Raises `UpstreamError` for a status of 400 or more, `UnreachableError` when there is no response, and `ApiError`
        (502) for a success that is not a JSON object.
        """
        response = await self._with_connection(self.upstream.send, request)
        self._check_response(response.status, response.headers, response.body)
        answer = object_from_answer(response.headers, response.body)
        if answer is None:
            raise bad_upstream(f"{request.method} {request.path.split('/')[1]} gave no JSON object")
        return answer

    async def open(self, request: Request) -> StreamedResponse | Json:
        """Send a request to the upstream and return its event stream, still unread; the caller closes it.

        An upstream that does not stream (some gateways) answers with JSON, which is returned instead. Raises what `ask`
        raises; `ApiError` (502) for a success that is neither.
        """
        response = await self._with_connection(self.upstream.open, request)
        kind = response.headers.get("content-type", "text/event-stream").strip().lower()
        if response.status < BAD_REQUEST and kind.startswith("text/event-stream"):
            self._check_response(response.status, response.headers, b"")
            return response
        try:
            body = b"".join([chunk async for chunk in response.chunks()])
        finally:
            await response.aclose()
        self._check_response(response.status, response.headers, body)
        answer = object_from_answer(response.headers, body)
        if answer is None:
            raise bad_upstream(f"{request.method} {request.path.split('/')[1]} gave no stream of events")
        return answer

    async def open_content(self, request: Request) -> StreamedResponse:
        """Send a request to the upstream and return its response, whatever it is, with an unread body."""
        return await self._with_connection(self.upstream.open, request)

    async def _with_connection(self, send: Callable[[Request], Awaitable[T]], request: Request) -> T:
        """Send a request; if the client's pool has no connection left for it, it gets the one of the open stream.

        Otherwise a streamed run would wait for a connection that only its own end frees, and lose its files.
        """
        if not self.connection_holders:
            return await send(request)
        try:
            return await send(replace(request, pool_seconds=_POOL_SECONDS))
        except UnreachableError as error:
            if type(error.original).__name__ != "PoolTimeout":  # of httpx and httpx2, which are not imported here
                raise
        # Of several requests at the same time, also of several threads, one gets the holder: `pop` is atomic.
        with contextlib.suppress(IndexError):
            free_connection = self.connection_holders.pop()
            log.info("the client's pool has no free connection; the stream is read to its end first")
            await free_connection()
        return await send(request)

    def _check_response(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.request_id = headers.get("x-request-id", self.request_id)
        if status >= BAD_REQUEST:
            raise UpstreamError(status, headers, body)

    def renew_lease(self, run_id: str) -> None:
        """Renew the lease of a streamed run; a separate thread calls this while the core streams."""
        until = self.now() + LEASE_SECONDS
        transact(self._url, lambda db: queries.renew_lease(db, self.settings.namespace, run_id, until), write=True)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read-only transaction and return its result."""
        return await self._run_blocking(lambda: transact(self._url, work, write=False))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a write transaction and return its result; if it raises, nothing is written."""
        return await self._run_blocking(lambda: transact(self._url, work, write=True))

    def write_later(self, work: Callable[[Connection], T]) -> DeferredWrite[T]:
        """Run `work` in a write transaction a few milliseconds later, in a background thread.

        The caller may report the written state at once: every later transaction of this process executes the write
        first. Another process may not see it for a few milliseconds. The delay keeps the two threads from competing
        for the interpreter.
        """
        deferred = DeferredWrite(self._url, work, due=self.monotonic() + _DEFERRED_WRITE_DELAY)
        self._schedule_write(deferred)
        return deferred

    def _schedule_write(self, deferred: DeferredWrite[Any]) -> None:
        try:
            workers.run_in_background_thread(partial(_execute_when_due, deferred))
        except RuntimeError:  # the program is exiting or forking, so no thread can start
            deferred.execute()

    def is_due(self, deferred: DeferredWrite[Any]) -> bool:
        """Whether to collect the result of a deferred write now."""
        return deferred.done()

    async def write_result(self, deferred: DeferredWrite[T]) -> T:
        """Return the result of a deferred write, executing it if necessary; raises what it raised."""
        return deferred.result() if deferred.done() else await self._run_blocking(deferred.result)

    async def save_content(self, key: str, chunks: AsyncIterator[bytes], disposition: str) -> tuple[int, str]:
        """Store a file's content under its id and return its size and SHA-256; on failure nothing is stored.

        `disposition` is the Content-Disposition header of signed links to the file.
        """
        return await self.write_draft(lambda: self._files.draft(key, disposition), chunks)

    async def write_draft(self, open_draft: Callable[[], Draft], chunks: AsyncIterator[bytes]) -> tuple[int, str]:
        """Write chunks to a draft, commit it and return its size and SHA-256; on failure the draft is discarded."""
        draft = await self._run_blocking(open_draft)
        try:
            batch: list[bytes] = []
            size = 0
            async for chunk in chunks:
                batch.append(chunk)
                size += len(chunk)
                if size >= self._batch_bytes:
                    await self._run_blocking(partial(draft.write, batch))
                    batch, size = [], 0
            await self._run_blocking(partial(draft.write, batch))
            return await self._run_blocking(draft.commit)
        except GeneratorExit:
            draft.discard()  # a coroutine that is being closed may not await
            raise
        except BaseException:
            await self._run_blocking(draft.discard)
            raise

    async def content_size(self, key: str) -> int | None:
        """Return the size in bytes of a file's stored content, or None if there is none."""
        return await self._run_blocking(lambda: self._files.size(key))

    async def load_content(self, key: str, part: range) -> AsyncGenerator[bytes, None]:
        """Yield a range of a file's stored content; raises `StoreError` if the content is shorter than that."""
        # `read_chunks` opens the file at its first iteration: a generator that never starts could not close it.
        chunks = self._files.read_chunks(key, part)
        missing = len(part)
        try:
            while batch := await self._run_blocking(partial(_next_batch, chunks, self._batch_bytes)):
                for chunk in batch:
                    missing -= len(chunk)
                    yield chunk
        finally:
            chunks.close()
        if missing:
            message = f"{missing} bytes of {key} are missing in the content store."
            raise StoreError(message)

    async def delete_content(self, key: str) -> None:
        """Delete a file's stored content."""
        await self._run_blocking(lambda: self._files.delete(key))

    async def call_on_file(self, file: StoredFile) -> None:
        """Call the `on_file` callback of the settings, if there is one; log an exception instead of raising it."""
        on_file = self.settings.on_file
        if on_file is None:
            return
        try:
            await self._run_blocking(partial(on_file, file))
        except Exception as error:  # noqa: BLE001 - the caller's own code: the file stays stored
            # Only the frames are logged: the exception's text may contain user data.
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.error("on_file failed for %s: %s\n%s", file.id, type(error).__name__, stack)  # noqa: TRY400 - as above

    def is_forked(self) -> bool:
        """Whether this object was copied into a forked child, which must not finish what its parent began."""
        return self._pid != os.getpid()

    def monotonic(self) -> float:
        """Return the seconds of a monotonic clock, for measuring durations."""
        return time.monotonic()

    def now(self) -> int:
        """Return the time in whole seconds since the epoch, as the API counts."""
        return clock.current().now()

    def new_id(self, kind: ids.IdKind) -> str:
        """Return a new id of this kind."""
        return clock.current().new_id(kind)


class BlockingIO(IO):
    """I/O for a synchronous client: no method suspends."""

    async def _run_blocking(self, work: Callable[[], T]) -> T:
        return work()

    def is_due(self, deferred: DeferredWrite[Any]) -> bool:
        """Whether the write is done or due: a thread that never waits starves the background thread."""
        return deferred.done() or self.monotonic() >= deferred.due

    async def gather(self, tasks: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """Run one task in the caller's thread, several in a thread pool."""
        if len(tasks) < _MIN_CONCURRENT:
            return [await task() for task in tasks]
        with ThreadPoolExecutor(_MAX_CONCURRENT, thread_name_prefix="assistants-compat-files") as pool:
            futures = [pool.submit(copy_context().run, _run_task, task) for task in tasks]
            return [future.result() for future in futures]

    async def sleep(self, seconds: float) -> None:
        """Block the caller's thread."""
        time.sleep(seconds)  # noqa: ASYNC251 - BlockingIO never suspends


class AsyncIO(IO):
    """I/O for an asynchronous client: blocking work runs in a worker thread, shielded from cancellation."""

    _batch_bytes = 1024 * 1024  # larger batches mean fewer switches to a worker thread

    async def _run_blocking(self, work: Callable[[], T]) -> T:
        # A transaction must finish even if its caller was cancelled; otherwise an undo would be lost.
        return await workers.run_in_thread(work)

    def _schedule_write(self, deferred: DeferredWrite[Any]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio
            super()._schedule_write(deferred)
        else:  # the timer runs after the loop has sent the event that the write belongs to
            loop.call_later(_DEFERRED_WRITE_DELAY, super()._schedule_write, deferred)

    async def gather(self, tasks: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """Run the tasks in a task group; if one fails, the others still finish and then the first error is raised."""
        if len(tasks) < _MIN_CONCURRENT:
            return [await task() for task in tasks]
        results: dict[int, T] = {}
        failures: list[Exception] = []
        limit = anyio.CapacityLimiter(_MAX_CONCURRENT)

        async def run_one(index: int) -> None:
            async with limit:
                try:
                    results[index] = await tasks[index]()
                except Exception as error:  # noqa: BLE001 - raised below, alone and not in a group
                    failures.append(error)

        async with anyio.create_task_group() as group:
            for index in range(len(tasks)):
                group.start_soon(run_one, index)
        if failures:
            raise failures[0]
        return [results[index] for index in range(len(tasks))]

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller's task."""
        await anyio.sleep(seconds)


def _execute_when_due(deferred: DeferredWrite[Any]) -> None:
    """Execute a deferred write when it is due; does nothing if another transaction has already executed it."""
    time.sleep(max(0.0, deferred.due - time.monotonic()))
    deferred.execute()


def _next_batch(chunks: Iterator[bytes], size: int) -> list[bytes]:
    """Return the next chunks, together at least `size` bytes long; an empty list at the end."""
    batch: list[bytes] = []
    for chunk in chunks:
        batch.append(chunk)
        size -= len(chunk)
        if size <= 0:
            break
    return batch


def _run_task(task: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return run(task())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of the core to its end in the caller's thread; a suspension is a bug and raises.

    A running event loop must not adopt our generators, because it would close them when it ends (notebooks). So its
    async generator hooks are removed for the duration of the call.
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
    message = "A coroutine suspended although BlockingIO never does; this is a bug in assistants-compat."
    raise RuntimeError(message)


def next_item(chunks: AsyncIterator[T]) -> T:
    """Return the next item of an async iterator of the core, in the caller's thread; raises what `__anext__` raises."""
    return run(_await_next(chunks))


def iterate(chunks: AsyncIterator[T]) -> Generator[T, None, None]:
    """Yield the items of an async iterator of the core in the caller's thread, and close it on every exit."""
    try:
        while True:
            try:
                item = next_item(chunks)
            except StopAsyncIteration:
                return
            yield item
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            run(close())


async def _await_next(chunks: AsyncIterator[T]) -> T:
    return await chunks.__anext__()
