"""Deferred writes: a transaction that is announced before it happens is executed before any other in the process."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from assistants_compat import Settings
from assistants_compat.errors import StoreBusyError
from assistants_compat.runtime import workers
from assistants_compat.store import database, queries
from assistants_compat.store.database import Connection, DeferredWrite, transact
from assistants_compat.store.locations import database_url


def insert_assistant(name: str) -> Callable[[Connection], str]:
    """Return a transaction that inserts an assistant with this id and returns the id."""

    def work(db: Connection) -> str:
        queries.insert_rows(db, "assistants", [{"namespace": "n", "id": name, "created_at": 1, "body": {}}])
        return name

    return work


def assistant_exists(url: str, name: str, *, write: bool = False) -> bool:
    """Return whether a transaction of its own finds an assistant."""
    return transact(url, lambda db: queries.get(db, "assistants", "n", name) is not None, write=write)


@pytest.fixture
def url(sqlite_settings: Settings) -> str:
    """The URL of a store that no other test uses."""
    return database_url(sqlite_settings.store)


@pytest.mark.parametrize("write", [False, True])
def test_a_transaction_executes_deferred_writes_first(url: str, *, write: bool) -> None:
    """Any transaction first executes the deferred writes of its store, and of no other store."""
    other = f"{url}.other"
    writes = [
        DeferredWrite(url, insert_assistant("a"), due=0),
        DeferredWrite(url, insert_assistant("b"), due=0),
        DeferredWrite(other, insert_assistant("a"), due=0),
    ]
    assert assistant_exists(url, "a", write=write)
    assert assistant_exists(url, "b")
    assert [deferred.done() for deferred in writes] == [True, True, False]
    assert [deferred.result() for deferred in writes] == ["a", "b", "a"]
    assert assistant_exists(other, "a")
    assert not database._deferred_writes


def test_a_deferred_write_is_executed_once(url: str) -> None:
    """Eight transactions at the same time wait for one execution of the deferred write."""
    executions: list[int] = []
    go = threading.Barrier(8)

    def work(db: Connection) -> str:
        executions.append(threading.get_ident())
        return insert_assistant("a")(db)

    deferred = DeferredWrite(url, work, due=0)
    found: list[bool] = []

    def query() -> None:
        go.wait()
        found.append(assistant_exists(url, "a"))

    threads = [threading.Thread(target=query) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert len(executions) == 1
    assert deferred.result() == "a"


def test_a_failed_deferred_write_raises_only_for_its_owner(url: str) -> None:
    """A failed deferred write raises at its owner, not in the transaction that executed it, and is not retried."""

    def work(db: Connection) -> None:
        insert_assistant("a")(db)
        raise StoreBusyError("busy")

    deferred = DeferredWrite(url, work, due=0)
    assert not assistant_exists(url, "a")
    for _ in range(2):
        with pytest.raises(StoreBusyError, match="busy"):
            deferred.result()


def test_an_interrupt_leaves_the_deferred_write_to_the_next_transaction(url: str) -> None:
    """An interrupt ends the transaction that executes a deferred write, and the next one executes it."""
    interrupts: list[type[BaseException]] = [KeyboardInterrupt]

    def work(db: Connection) -> str:
        name = insert_assistant("a")(db)
        if interrupts:
            raise interrupts.pop()
        return name

    deferred = DeferredWrite(url, work, due=0)
    with pytest.raises(KeyboardInterrupt):
        assistant_exists(url, "b")
    assert not deferred.done()
    assert assistant_exists(url, "a")
    assert deferred.result() == "a"


def test_a_signal_handler_does_not_wait_for_the_write_it_interrupted(url: str) -> None:
    """A signal handler that interrupts a deferred write does not wait for that write."""
    found: list[bool] = []

    def work(db: Connection) -> str:
        deferred.execute()
        found.append(deferred.done())
        return insert_assistant("a")(db)

    deferred = DeferredWrite(url, work, due=0)
    assert deferred.result() == "a"
    assert found == [False]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_signal_while_the_database_is_locked(url: str, sqlite_settings: Settings) -> None:
    """An exception of a signal handler during a wait for the lock leaves no transaction open."""
    assert not assistant_exists(url, "a")
    backup = sqlite3.connect(str(sqlite_settings.store), isolation_level=None, check_same_thread=False)
    backup.execute("BEGIN IMMEDIATE")

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    release = threading.Timer(0.4, backup.rollback)
    release.start()
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            transact(url, insert_assistant("a"), write=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        release.join()
    assert transact(url, insert_assistant("b"), write=True) == "b"
    assert not assistant_exists(url, "a")
    backup.execute("BEGIN IMMEDIATE")  # works, because no transaction is open
    backup.close()


def test_a_busy_store_is_waited_for_once(url: str) -> None:
    """A transaction waits for a busy store once, not once for each deferred write."""
    attempts: list[str] = []

    def busy(_db: Connection) -> None:
        attempts.append("busy")
        raise StoreBusyError("busy")

    writes = [DeferredWrite(url, busy, due=0) for _ in range(3)]
    assert not assistant_exists(url, "a")
    assert attempts == ["busy"]
    assert [deferred.done() for deferred in writes] == [True, False, False]
    database.close(url)
    assert attempts == ["busy"] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_deferred_write_is_executed_before_a_fork(url: str) -> None:
    """A deferred write is executed before a fork, once, and the child finds its row."""
    assert not assistant_exists(url, "a")  # opens the store
    deferred = DeferredWrite(url, insert_assistant("a"), due=0)
    process = os.fork()
    if process == 0:
        try:
            os._exit(int(assistant_exists(url, "a")))
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 1
    assert deferred.result() == "a"
    assert assistant_exists(url, "a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_while_another_thread_defers_writes(url: str) -> None:
    """Forks during deferred writes block neither side, and the background thread works in both processes."""
    stop = threading.Event()
    writes: list[DeferredWrite[str]] = []

    def defer_writes() -> None:
        while not stop.is_set():
            deferred = DeferredWrite(url, insert_assistant(f"asst_{len(writes)}"), due=0)
            with contextlib.suppress(RuntimeError):  # a fork has just ended the background thread
                workers.run_in_background_thread(deferred.execute)
            writes.append(deferred)
            deferred.result()

    thread = threading.Thread(target=defer_writes)
    assert not assistant_exists(url, "a")
    thread.start()
    try:
        for _ in range(20):
            process = os.fork()
            if process == 0:
                signal.alarm(20)  # ends a child that hangs; its exit code fails the test
                try:
                    deferred = DeferredWrite(url, insert_assistant(f"child_{os.getpid()}"), due=0)
                    workers.run_in_background_thread(deferred.execute)
                    wait([deferred], timeout=10)
                    os._exit(0 if deferred.done() else 3)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()
    assert all(deferred.done() for deferred in writes)
    assert all(assistant_exists(url, deferred.result()) for deferred in writes[-3:])


def test_deferred_writes_are_executed_when_the_program_ends(url: str) -> None:
    """Deferred writes that no transaction executed are executed when the program ends."""
    program = """
import sys
from assistants_compat.store import queries
from assistants_compat.store.database import DeferredWrite
row = {"namespace": "n", "id": "a", "created_at": 1, "body": {}}
DeferredWrite(sys.argv[1], lambda db: queries.insert_rows(db, "assistants", [row]), due=0)
"""
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60)
    assert assistant_exists(url, "a")


@hypothesis_settings(deadline=None, max_examples=40)  # each opens a store
@given(steps=st.lists(st.sampled_from(["promise", "keep", "read", "write", "fail"]), max_size=12))
def test_deferred_writes_are_executed_once_and_in_time(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """In any sequence each deferred write is executed once, and before every transaction that starts after it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('promises') / 'store.db'}"
    writes: list[DeferredWrite[Any]] = []
    names: list[str] = []

    def failing(_db: Connection) -> None:
        raise ZeroDivisionError

    try:
        for number, step in enumerate(steps):
            if step == "promise":
                names.append(f"asst_{number}")
                writes.append(DeferredWrite(url, insert_assistant(names[-1]), due=0))
            elif step == "fail":
                writes.append(DeferredWrite(url, failing, due=0))
            elif step == "keep":
                for deferred in writes[:1]:
                    deferred.execute()
            else:
                assert not assistant_exists(url, "another", write=step == "write")
                assert all(deferred.done() for deferred in writes)
        assert not assistant_exists(url, "another")
        assert all(assistant_exists(url, name) for name in names)
        assert not any(deferred.url == url for deferred in database._deferred_writes)
    finally:
        database.close(url)
