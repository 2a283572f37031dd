"""Worker threads: pools that run blocking work for async tasks, and one background thread for the process."""

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
import anyio.lowlevel
import anyio.to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

_MAX_THREADS = 20

# Each event loop has its own threads. The default ones may all be busy with code that waits for us (a server's
# synchronous endpoints). The weak keys end the threads of a loop that is gone.
_TRIO_LIMITER: RunVar[anyio.CapacityLimiter] = RunVar("assistants_compat_limiter")
_LOOP_EXECUTORS: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


def _limiter() -> anyio.CapacityLimiter:
    try:
        return _TRIO_LIMITER.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_MAX_THREADS)
        _TRIO_LIMITER.set(limiter)
        return limiter


def _executor_for(loop: asyncio.AbstractEventLoop) -> ThreadPoolExecutor:
    executor = _LOOP_EXECUTORS.get(loop)
    if executor is None:
        executor = _LOOP_EXECUTORS[loop] = ThreadPoolExecutor(_MAX_THREADS, "assistants-compat-store")
    return executor


async def run_in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a thread and return its result.

    The work always completes, even if the calling task is cancelled meanwhile.
    """
    with anyio.CancelScope(shield=True):
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio, whose only cancellation is by the cancel scopes that anyio shields
            return await anyio.to_thread.run_sync(work, limiter=_limiter())
        # Both anyio and `run_in_executor` with `shield` take longer to a thread and back (benchmarks/streams.py).
        answer: asyncio.Future[T] = loop.create_future()
        thread = _executor_for(loop).submit(copy_context().run, _work_and_answer, work, answer)
        try:
            return await answer
        except asyncio.CancelledError as cancelled:
            await _wait_for_thread(thread, cancelled)
            return thread.result()
        finally:
            del thread, answer  # an exception's traceback keeps this frame alive
    raise AssertionError  # pragma: no cover - a shielded scope swallows no exception, but its type allows that


async def raise_pending_cancellation() -> None:
    """Suspend the caller once if it was cancelled while a thread worked, so that the cancellation is raised here.

    From Python 3.12 on, `wait_for` and `timeout` run a call in the caller's own task. A call that returned without
    another suspension would raise no `TimeoutError`, and the caller's next await would be cancelled instead.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()  # by a cancel scope
    try:
        caller = asyncio.current_task()
    except RuntimeError:  # trio, which has no other cancellation
        return
    # Python 3.10 does not tell.
    if caller is not None and (sys.version_info < (3, 11) or caller.cancelling()):
        await asyncio.sleep(0)


def run_in_background_thread(work: Callable[[], object]) -> None:
    """Queue work for the background thread of the process.

    Raises `RuntimeError` while the program ends or forks.
    """
    _background_executor().submit(copy_context().run, work)


@cache
def _background_executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "assistants-compat-background")


def stop_background_thread() -> None:
    """Let the background thread finish its work and end; later work gets a new thread.

    Call it before a fork: the child does not inherit the thread, and Python warns about running threads.
    """
    _background_executor().shutdown()
    forget_background_thread()


def forget_background_thread() -> None:
    """Forget the background thread, in a forked child: only the parent has it."""
    _background_executor.cache_clear()


def _work_and_answer(work: Callable[[], T], answer: asyncio.Future[T]) -> T:
    """Run the work in a thread and pass the outcome to the caller's loop.

    The caller continues at once and need not wait for the thread to clean up.
    """
    try:
        result = work()
    except StopIteration as error:  # a future does not accept it
        message = "the work raised StopIteration"
        replacement = RuntimeError(message)
        _answer_loop(answer, answer.set_exception, replacement)
        raise replacement from error
    except BaseException as error:
        _answer_loop(answer, answer.set_exception, error)
        raise
    else:
        _answer_loop(answer, answer.set_result, result)
        return result
    finally:
        del answer  # an exception's traceback keeps this frame alive


def _answer_loop(answer: asyncio.Future[Any], set_outcome: Callable[[T], None], outcome: T) -> None:
    def set_if_pending() -> None:
        if not answer.done():  # it is done if the caller was cancelled
            set_outcome(outcome)

    with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
        answer.get_loop().call_soon_threadsafe(set_if_pending)


async def _wait_for_thread(thread: Future[Any], cancelled: asyncio.CancelledError) -> None:
    """Wait for a thread although its caller was cancelled; the next await then raises the cancellation.

    Otherwise the result of a transaction that continues in the thread would be lost. anyio's shield does not stop
    asyncio's own cancellations (`wait_for`, a server that drops a request).
    """
    ended = asyncio.wrap_future(thread)
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:  # noqa: PERF203 - each one is caught by itself
            cancelled = error
    ended.exception()  # mark it as retrieved: the caller raises it from the thread's future
    caller = asyncio.current_task()
    if caller is not None:
        if sys.version_info >= (3, 11):
            caller.uncancel()  # the next line requests the cancellation again, so count it once
        caller.cancel(*cancelled.args)
