"""Worker threads: for tasks, a way to one and back; for everybody, one that works behind them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

_AT_MOST = 20

# Threads of our own, as many for each event loop: the default ones may all be waiting for us (a server's synchronous
# endpoints). Those of a loop that is gone end with it.
_LIMITER: RunVar[anyio.CapacityLimiter] = RunVar("assistants_compat_limiter")
_THREADS: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


def _limiter() -> anyio.CapacityLimiter:
    try:
        return _LIMITER.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_AT_MOST)
        _LIMITER.set(limiter)
        return limiter


def _threads(loop: asyncio.AbstractEventLoop) -> ThreadPoolExecutor:
    threads = _THREADS.get(loop)
    if threads is None:
        threads = _THREADS[loop] = ThreadPoolExecutor(_AT_MOST, "assistants-compat-store")
    return threads


async def done(work: Callable[[], T]) -> T:
    """Do something that blocks in a thread; once it is wanted it is done, whoever is cancelled meanwhile."""
    with anyio.CancelScope(shield=True):
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio, which knows cancel scopes only
            return await anyio.to_thread.run_sync(work, limiter=_limiter())
        # Not by anyio, nor by `run_in_executor` and `shield`: those ways to a thread and back are longer
        # (benchmarks/streams.py).
        answer: asyncio.Future[T] = loop.create_future()
        thread = _threads(loop).submit(copy_context().run, _answered, work, answer)
        try:
            return await answer
        except asyncio.CancelledError as cancelled:
            await _finished(thread, cancelled)
            return thread.result()
        finally:
            del thread, answer  # an error's traceback holds this frame
    raise AssertionError  # pragma: no cover - a shielded scope swallows nothing, which its type does not say


def behind(work: Callable[[], object]) -> None:
    """Do something in the one thread that works behind everybody.

    Raises `RuntimeError` when the program ends, and at the moment of a fork.
    """
    _behind().submit(copy_context().run, work)


@cache
def _behind() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "assistants-compat-behind")


def end() -> None:
    """Have the thread behind everybody finish and end; the next work has another one.

    Before a fork: a child would not have it, and Python warns of such threads.
    """
    _behind().shutdown()
    forget()


def forget() -> None:
    """In a forked child: the thread is the parent's."""
    _behind.cache_clear()


def _answered(work: Callable[[], T], answer: asyncio.Future[T]) -> T:
    """Do the work of a thread and tell its caller's loop, which need not wait for what the thread does then."""
    try:
        result = work()
    except StopIteration as error:  # no future takes it
        message = "the work raised StopIteration"
        wrong = RuntimeError(message)
        _tell(answer, answer.set_exception, wrong)
        raise wrong from error
    except BaseException as error:
        _tell(answer, answer.set_exception, error)
        raise
    else:
        _tell(answer, answer.set_result, result)
        return result
    finally:
        del answer  # an error's traceback holds this frame


def _tell(answer: asyncio.Future[Any], set_: Callable[[T], None], outcome: T) -> None:
    def tell() -> None:
        if not answer.done():  # its caller was cancelled
            set_(outcome)

    with contextlib.suppress(RuntimeError):  # the loop is gone, and with it whoever waited
        answer.get_loop().call_soon_threadsafe(tell)


async def _finished(thread: Future[Any], cancelled: asyncio.CancelledError) -> None:
    """Wait for a thread's work although its caller was cancelled: the cancellation then meets the next await.

    Else what a transaction that goes on in its thread has done would be lost.  What asyncio cancels itself
    (`wait_for`, a server that drops a request) passes through anyio's shields.
    """
    ended = asyncio.wrap_future(thread)
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:  # noqa: PERF203 - each one is caught by itself
            cancelled = error
    ended.exception()  # whoever waits for the thread raises it
    caller = asyncio.current_task()
    if caller is not None:
        if sys.version_info >= (3, 11):
            caller.uncancel()  # it is asked for again, once
        caller.cancel(*cancelled.args)
