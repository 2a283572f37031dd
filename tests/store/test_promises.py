"""Transactions that are told of before they have happened: whoever asks in this process finds them done."""

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
from assistants_compat.store.database import Connection, Promise, transact
from assistants_compat.store.locations import database_url


def adding(name: str) -> Callable[[Connection], str]:
    """A transaction that adds an assistant of this id, and gives it."""

    def work(db: Connection) -> str:
        queries.add(db, "assistants", [{"namespace": "n", "id": name, "created_at": 1, "body": {}}])
        return name

    return work


def there(url: str, name: str, *, write: bool = False) -> bool:
    """Whether an assistant is found by a transaction of its own."""
    return transact(url, lambda db: queries.get(db, "assistants", "n", name) is not None, write=write)


@pytest.fixture
def url(sqlite_settings: Settings) -> str:
    """A store that nobody else uses."""
    return database_url(sqlite_settings.store)


@pytest.mark.parametrize("write", [False, True])
def test_whoever_asks_finds_what_was_promised(url: str, *, write: bool) -> None:
    """A transaction of any kind does first what was promised, and only in the store that it was promised to."""
    other = f"{url}.other"
    promises = [Promise(url, adding("a"), due=0), Promise(url, adding("b"), due=0), Promise(other, adding("a"), due=0)]
    assert there(url, "a", write=write)
    assert there(url, "b")
    assert [promise.done() for promise in promises] == [True, True, False]
    assert [promise.result() for promise in promises] == ["a", "b", "a"]
    assert there(other, "a")
    assert not database._promises


def test_a_promise_is_kept_once(url: str) -> None:
    """Many that come at the same time wait for the one that was first."""
    times: list[int] = []
    go = threading.Barrier(8)

    def work(db: Connection) -> str:
        times.append(threading.get_ident())
        return adding("a")(db)

    promise = Promise(url, work, due=0)
    found: list[bool] = []

    def ask() -> None:
        go.wait()
        found.append(there(url, "a"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert len(times) == 1
    assert promise.result() == "a"


def test_what_goes_wrong_is_the_promiser_s(url: str) -> None:
    """Whoever only asks is not told that another one's writing failed, which is not tried again."""

    def work(db: Connection) -> None:
        adding("a")(db)
        raise StoreBusyError("busy")

    promise = Promise(url, work, due=0)
    assert not there(url, "a")
    for _ in range(2):
        with pytest.raises(StoreBusyError, match="busy"):
            promise.result()


def test_an_interrupt_ends_whoever_asks(url: str) -> None:
    """It is the asker's, and nothing was written: the next one keeps the promise."""
    interrupts: list[type[BaseException]] = [KeyboardInterrupt]

    def work(db: Connection) -> str:
        name = adding("a")(db)
        if interrupts:
            raise interrupts.pop()
        return name

    promise = Promise(url, work, due=0)
    with pytest.raises(KeyboardInterrupt):
        there(url, "b")
    assert not promise.done()
    assert there(url, "a")
    assert promise.result() == "a"


def test_a_signal_handler_may_ask_too(url: str) -> None:
    """One that interrupts the keeping of a promise waits for nobody: it would wait for itself."""
    found: list[bool] = []

    def work(db: Connection) -> str:
        promise.keep()
        found.append(promise.done())
        return adding("a")(db)

    promise = Promise(url, work, due=0)
    assert promise.result() == "a"
    assert found == [False]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_signal_while_the_database_is_locked(url: str, sqlite_settings: Settings) -> None:
    """What a signal raises when the lock was got at last leaves no transaction open: the store is free afterwards."""
    assert not there(url, "a")
    backup = sqlite3.connect(str(sqlite_settings.store), isolation_level=None, check_same_thread=False)
    backup.execute("BEGIN IMMEDIATE")

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    freeing = threading.Timer(0.4, backup.rollback)
    freeing.start()
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            transact(url, adding("a"), write=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        freeing.join()
    assert transact(url, adding("b"), write=True) == "b"
    assert not there(url, "a")
    backup.execute("BEGIN IMMEDIATE")  # nobody holds it
    backup.close()


def test_a_busy_store_is_waited_for_once(url: str) -> None:
    """Whoever asks does not wait for each promise by itself."""
    tried: list[str] = []

    def busy(_db: Connection) -> None:
        tried.append("busy")
        raise StoreBusyError("busy")

    promises = [Promise(url, busy, due=0) for _ in range(3)]
    assert not there(url, "a")
    assert tried == ["busy"]
    assert [promise.done() for promise in promises] == [True, False, False]
    database.close(url)
    assert tried == ["busy"] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_promise_is_kept_before_a_fork(url: str) -> None:
    """The child finds it, and it is written once."""
    assert not there(url, "a")  # the store is open
    promise = Promise(url, adding("a"), due=0)
    process = os.fork()
    if process == 0:
        try:
            os._exit(int(there(url, "a")))
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 1
    assert promise.result() == "a"
    assert there(url, "a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_while_others_promise(url: str) -> None:
    """Neither side waits for a thread that it has stopped itself, and the thread behind works on both."""
    stop = threading.Event()
    made: list[Promise[str]] = []

    def promising() -> None:
        while not stop.is_set():
            promise = Promise(url, adding(f"asst_{len(made)}"), due=0)
            with contextlib.suppress(RuntimeError):  # the thread behind has just been ended
                workers.behind(promise.keep)
            made.append(promise)
            promise.result()

    thread = threading.Thread(target=promising)
    assert not there(url, "a")
    thread.start()
    try:
        for _ in range(20):
            process = os.fork()
            if process == 0:
                signal.alarm(20)  # what hangs is ended, and seen below
                try:
                    promise = Promise(url, adding(f"child_{os.getpid()}"), due=0)
                    workers.behind(promise.keep)
                    wait([promise], timeout=10)
                    os._exit(0 if promise.done() else 3)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()
    assert all(promise.done() for promise in made)
    assert all(there(url, promise.result()) for promise in made[-3:])


def test_what_nobody_came_to_is_kept_when_the_program_ends(url: str) -> None:
    """An event loop may be left with its timers; the store has what was told of all the same."""
    program = """
import sys
from assistants_compat.store import queries
from assistants_compat.store.database import Promise
row = {"namespace": "n", "id": "a", "created_at": 1, "body": {}}
Promise(sys.argv[1], lambda db: queries.add(db, "assistants", [row]), due=0)
"""
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60)
    assert there(url, "a")


@hypothesis_settings(deadline=None, max_examples=40)  # each opens a store
@given(steps=st.lists(st.sampled_from(["promise", "keep", "read", "write", "fail"]), max_size=12))
def test_any_order(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """Whatever comes in between: each promise is kept once, and no transaction begins before those made before it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('promises') / 'store.db'}"
    promises: list[Promise[Any]] = []
    names: list[str] = []

    def failing(_db: Connection) -> None:
        raise ZeroDivisionError

    try:
        for number, step in enumerate(steps):
            if step == "promise":
                names.append(f"asst_{number}")
                promises.append(Promise(url, adding(names[-1]), due=0))
            elif step == "fail":
                promises.append(Promise(url, failing, due=0))
            elif step == "keep":
                for promise in promises[:1]:
                    promise.keep()
            else:
                assert not there(url, "another", write=step == "write")
                assert all(promise.done() for promise in promises)
        assert not there(url, "another")
        assert all(there(url, name) for name in names)
        assert not any(promise.url == url for promise in database._promises)
    finally:
        database.close(url)
