"""Opening the store: one engine for each database, safe in a forked process, with the settings that each dialect needs.

Tried in prototypes (DESIGN.md, "State"): a deferred BEGIN gave 263 of 300 "database is locked", BEGIN IMMEDIATE none;
a StaticPool shared by threads crashed the interpreter, so the memory store is one pooled connection.
"""

from __future__ import annotations

import atexit
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from ..errors import StoreBusyError, StoreError
from ..runtime import workers
from . import tables

__all__ = ["Connection", "network_filesystem", "transact"]

T = TypeVar("T")

BUSY_SECONDS = 30
_MEMORY = (None, "", ":memory:")
_ADVISORY_LOCK = 0x41435F31  # "AC_1": one process at a time creates the PostgreSQL tables
_NETWORK = re.compile(
    r"(nfs\d?|cifs|smb\d?|smbfs|afs|9p|ceph|glusterfs|lustre|beegfs|fuse\.(sshfs|glusterfs|rclone|s3fs))\Z"
)


class _Engines(NamedTuple):
    """One pool of connections, for the two kinds of transactions; made once: each making costs a statement's time."""

    writing: Engine
    reading: Engine


_engines: dict[str, _Engines] = {}


class _Gate:
    """Counts the transactions that run, so that a fork can wait until there are none, and holds back new ones."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running = 0
        self.forking = 0

    def __enter__(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: not self.forking)
            self.running += 1

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.running -= 1
            self.changed.notify_all()


_gate = _Gate()
_opening = threading.Lock()


def _before_fork() -> None:
    """Close what must not be shared: a child that inherits SQLite's connections believes in locks that it has not.

    (Tried: the parent ended, deleted the WAL, and what the child had written was gone.)  The memory store is its
    connection, so it is kept, and copied with the process.
    """
    for promise in list(_promises):  # the child's memory store is a copy
        promise.keep()
    workers.end()  # before the gate is closed, at which its thread may stand
    _gate.changed.acquire()
    _gate.forking += 1  # no transaction begins until the fork is done: busy threads would leave no gap between theirs
    _gate.changed.wait_for(lambda: _gate.running == 0, timeout=BUSY_SECONDS)
    for engine, _ in _engines.values():
        if not _is_memory(engine):
            engine.dispose()


def _after_fork_in_parent() -> None:
    _gate.forking -= 1
    _gate.changed.notify_all()
    _gate.changed.release()


def _after_fork_in_child() -> None:
    """Start with locks that nobody holds."""
    global _gate, _opening  # the parent's were held by threads that do not exist here
    _gate, _opening = _Gate(), threading.Lock()
    _promises.clear()  # the parent keeps those that were made since
    workers.forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows only
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def transact(url: str, work: Callable[[Connection], T], *, write: bool) -> T:
    """Run `work` in one transaction: BEGIN IMMEDIATE on SQLite when it writes, so that two writers queue.

    What was promised to this store is done first.  Raises `StoreBusyError` when the database does not answer (then
    nothing was written).
    """
    for promise in _promised(url):
        if not promise.keep():
            break  # the store is busy, and would be so for each of them
    return _transact(url, work, write=write)


class Promise(Future[T]):
    """A transaction that writes, and of which may be told before it has happened.

    Whoever begins another one on that store in this process does this one first: nobody misses what he was told of.
    """

    def __init__(self, url: str, work: Callable[[Connection], T], *, due: float) -> None:
        """Promise it; somebody has to keep it when it is `due`, by the monotonic clock."""
        super().__init__()
        self.url, self.due, self._work = url, due, work
        self._keeping = threading.RLock()
        self._is_being_kept = False
        _promises[self] = None

    def keep(self) -> bool:
        """Do it, unless it is done; whether the store answered.  What it raises is raised by `result`.

        What is no `Exception` ends whoever asks, and the promise stays: the next one keeps it.
        """
        with self._keeping:
            if self.done() or self._is_being_kept:  # by this thread, which a signal has interrupted
                return True
            self._is_being_kept = True
            try:
                result = _transact(self.url, self._work, write=True)
            except Exception as error:  # noqa: BLE001 - whoever wants the result gets it
                self.set_exception(error)
            else:
                self.set_result(result)
            finally:
                self._is_being_kept = False
            _promises.pop(self, None)
            del self._work
        return not isinstance(self.exception(), StoreBusyError)

    def result(self, timeout: float | None = None) -> T:
        """What it gave, once it is done: here and now, if nobody has begun yet."""
        self.keep()
        return super().result(timeout)


_promises: dict[Promise[Any], None] = {}


def _promised(url: str) -> list[Promise[Any]]:
    return [promise for promise in list(_promises) if promise.url == url]


@atexit.register
def _at_exit() -> None:
    """Keep what nobody came to: an event loop may have been left with its timers."""
    for promise in list(_promises):
        if not promise.keep():
            break


def _transact(url: str, work: Callable[[Connection], T], *, write: bool) -> T:
    engines = _engines_of(url)
    try:
        with _gate, (engines.writing if write else engines.reading).begin() as db:
            return work(db)
    except (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError) as error:
        message = f"The store did not answer: {_reason(error)}."
        raise StoreBusyError(message) from None


def _engines_of(url: str) -> _Engines:
    """The engines of this process for `url`, opened and its tables made at first use.

    Raises `StoreError`, one sentence that says what is wrong and what to do.
    """
    engines = _engines.get(url)
    if engines is None:
        with _gate, _opening:
            engines = _engines.get(url)
            if engines is None:
                engine = _open(url)
                engines = _engines[url] = _Engines(engine, engine.execution_options(assistants_compat_write=False))
    return engines


def opened() -> Collection[str]:
    """The URLs of the stores that this process has opened."""
    return _engines.keys()


def close(url: str) -> None:
    """Close the store, if this process has opened it; the next transaction opens it again."""
    for promise in _promised(url):
        promise.keep()
    with _opening:
        engines = _engines.pop(url, None)
    if engines is not None:
        engines.writing.dispose()


def _is_memory(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite" and engine.url.database in _MEMORY


def _open(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number is a ValueError
        message = "ASSISTANTS_COMPAT_STORE (or Settings(store=...)) is neither a path nor a database URL."
        raise StoreError(message) from None
    dialect = parsed.get_backend_name()
    if dialect == "sqlite":
        engine = _sqlite(url, parsed.database)
    elif dialect == "postgresql":
        engine = _postgresql(url)
    else:
        message = f"The store's database is {dialect}; SQLite and PostgreSQL are supported."
        raise StoreError(message)
    try:
        with engine.begin() as db:
            _prepare(db)
    except StoreError:
        engine.dispose()
        raise
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        place = "/".join(filter(None, (parsed.host, parsed.database)))  # a URL's query may hold a password
        message = f"The store {dialect}:{place} cannot be opened: {_reason(error)}."
        raise StoreError(message) from None
    return engine


def _reason(error: Exception) -> str:
    first_line = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return first_line.rstrip(".")


def _prepare(db: Connection) -> None:
    """Make the tables, or see that those there are ours and not newer than this library."""
    if db.dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    if not inspect(db).has_table(tables.schema_version.name):
        tables.metadata.create_all(db)
        db.execute(insert(tables.schema_version).values(version=tables.SCHEMA_VERSION))
        return
    version = db.execute(select(tables.schema_version.c.version)).scalar_one()
    if version > tables.SCHEMA_VERSION:
        message = (
            f"The store has schema version {version}, and this assistants_compat knows up to "
            f"{tables.SCHEMA_VERSION}: install a newer assistants_compat."
        )
        raise StoreError(message)


def _postgresql(url: str) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except (ImportError, NoSuchModuleError):
        message = (
            "The store is a PostgreSQL database, whose driver is not installed: "
            "pip install 'assistants-compat[postgres]' and use a postgresql+psycopg:// URL."
        )
        raise StoreError(message) from None


def _sqlite(url: str, database: str | None) -> Engine:
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False}, "hide_parameters": True}
    options["pool_reset_on_return"] = None  # each transaction is ended by whoever began it
    if database in _MEMORY:
        # One connection, handed from thread to thread: every transaction waits for its turn.
        options.update(poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=BUSY_SECONDS)
    else:
        _claim(Path(str(database)))
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the begin event below says how a transaction starts, not the driver
    # With WAL, NORMAL loses nothing when a process dies; only when the machine's power does, the last moments.
    pragmas = ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_SECONDS * 1000}", "foreign_keys=ON")
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(db: Connection) -> None:
    write = db.get_execution_options().get("assistants_compat_write", True)
    connection: Any = db.connection.dbapi_connection  # by itself: SQLAlchemy's own way to it costs as much as a query
    try:
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    except BaseException:
        connection.rollback()  # a signal's exception may come when the transaction has begun
        raise


def _claim(path: Path) -> None:
    """Make the database file with mode 0600 (its WAL inherits that), or say why it cannot be."""
    filesystem = network_filesystem(path)
    if filesystem:
        message = (
            f"The store {path} lies on a network file system ({filesystem}), where SQLite's WAL mode is unsafe: "
            "set ASSISTANTS_COMPAT_STORE to a local path or to a postgresql+psycopg:// URL."
        )
        raise StoreError(message)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        message = (
            f"The store {path} cannot be written ({error.strerror}): "
            "set ASSISTANTS_COMPAT_STORE to a path that can, or to a postgresql+psycopg:// URL."
        )
        raise StoreError(message) from None


def network_filesystem(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The kind of network file system that `path` lies on, or None; known on Linux and for Windows shares only."""
    if str(path).startswith("\\\\"):
        return "a Windows share"
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    entries = [line.split(" ")[1:3] for line in lines if line.count(" ") >= 2]  # noqa: PLR2004 - device, point, kind
    points = {point.replace("\\040", " "): kind for point, kind in entries}
    resolved = path.resolve()
    kind = next((points[str(place)] for place in (resolved, *resolved.parents) if str(place) in points), "")
    return kind if _NETWORK.match(kind) else None
