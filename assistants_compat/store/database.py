"""Opens the store and runs transactions: one engine for each database, with each dialect's settings, safe over a fork.

Prototypes showed (decision 0019): with a deferred BEGIN 263 of 300 transactions failed as "database is locked",
with BEGIN IMMEDIATE none. A StaticPool shared by threads crashed the interpreter, so the memory store uses a pool of
one connection.
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
from . import tables, verdicts

__all__ = ["Connection", "network_filesystem", "transact"]

T = TypeVar("T")

BUSY_SECONDS = 30
_MEMORY_DATABASES = (None, "", ":memory:")
_SCHEMA_LOCK_KEY = 0x41435F31  # "AC_1", for the advisory lock: one process at a time creates PostgreSQL's tables
_NETWORK_FILESYSTEM = re.compile(
    r"(nfs\d?|cifs|smb\d?|smbfs|afs|9p|ceph|glusterfs|lustre|beegfs|fuse\.(sshfs|glusterfs|rclone|s3fs))\Z"
)


class _Engines(NamedTuple):
    """One pool of connections with options for the two kinds of transactions, and the verdicts that were saved.

    Both engines are created once, because creating them costs as much time as a statement.
    """

    writing: Engine
    reading: Engine
    saved_verdicts: frozenset[verdicts.Verdict]


_engines: dict[str, _Engines] = {}


class _ForkGate:
    """Counts running transactions, so that a fork can wait for them and hold back new ones."""

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


_fork_gate = _ForkGate()
_open_lock = threading.Lock()


def _before_fork() -> None:
    """Close the connections, which parent and child must not share.

    A child that inherits SQLite connections relies on locks that it does not hold. In an experiment, the parent ended
    and deleted the WAL, and the child's writes were lost. The memory store exists only in its connection, so it stays
    open and is copied with the process.
    """
    for deferred_write in list(_deferred_writes):  # so that the child's copy of a memory store contains them
        deferred_write.execute()
    workers.stop_background_thread()  # before the gate closes, because the thread may be waiting at the gate
    _fork_gate.changed.acquire()
    _fork_gate.forking += 1  # holds back new transactions; otherwise busy threads might never leave a gap
    _fork_gate.changed.wait_for(lambda: _fork_gate.running == 0, timeout=BUSY_SECONDS)
    for engines in _engines.values():
        if not _is_memory(engines.writing):
            engines.writing.dispose()


def _after_fork_in_parent() -> None:
    _fork_gate.forking -= 1
    _fork_gate.changed.notify_all()
    _fork_gate.changed.release()


def _after_fork_in_child() -> None:
    """Start with new locks."""
    global _fork_gate, _open_lock  # threads that do not exist in the child may hold the parent's locks
    _fork_gate, _open_lock = _ForkGate(), threading.Lock()
    _deferred_writes.clear()  # the parent executes those that were made since `_before_fork`
    workers.forget_background_thread()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows only
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def transact(url: str, work: Callable[[Connection], T], *, write: bool) -> T:
    """Run `work` in one transaction; on SQLite a write uses BEGIN IMMEDIATE, so that writers queue.

    Deferred writes of this store are executed first. Raises `StoreBusyError` if the database does not answer; then
    nothing was written.
    """
    for deferred_write in _deferred_writes_for(url):
        if not deferred_write.execute():
            break  # the store is busy, so the others would fail too
    return _run_transaction(url, work, write=write)


class DeferredWrite(Future[T]):
    """A write transaction that runs later, although a client may already know its effect.

    The next transaction on the same store in this process executes it first, so that no reader misses the effect.
    """

    def __init__(self, url: str, work: Callable[[Connection], T], *, due: float) -> None:
        """Register the write; the caller must see that it is executed when it is `due` by the monotonic clock."""
        super().__init__()
        self.url, self.due, self._work = url, due, work
        self._lock = threading.RLock()
        self._is_executing = False
        _deferred_writes[self] = None

    def execute(self) -> bool:
        """Run the transaction unless that has happened; returns whether the store answered. `result` raises its error.

        A `BaseException` that is no `Exception` is raised here, and the write stays registered for the next call.
        """
        with self._lock:
            # The lock is reentrant: a signal handler of the thread that executes the write may come here again.
            if self.done() or self._is_executing:
                return True
            self._is_executing = True
            try:
                result = _run_transaction(self.url, self._work, write=True)
            except Exception as error:  # noqa: BLE001 - `result` raises it
                self.set_exception(error)
            else:
                self.set_result(result)
            finally:
                self._is_executing = False
            _deferred_writes.pop(self, None)
            del self._work
        return not isinstance(self.exception(), StoreBusyError)

    def result(self, timeout: float | None = None) -> T:
        """The result of the transaction, which is executed here if that has not happened yet."""
        self.execute()
        return super().result(timeout)


_deferred_writes: dict[DeferredWrite[Any], None] = {}


def _deferred_writes_for(url: str) -> list[DeferredWrite[Any]]:
    return [deferred_write for deferred_write in list(_deferred_writes) if deferred_write.url == url]


@atexit.register
def _execute_deferred_writes_at_exit() -> None:
    """Execute the remaining writes: an event loop may have ended before its timers were due."""
    for deferred_write in list(_deferred_writes):
        if not deferred_write.execute():
            break


def _run_transaction(url: str, work: Callable[[Connection], T], *, write: bool) -> T:
    engines = _engines_for(url)
    try:
        with _fork_gate, (engines.writing if write else engines.reading).begin() as db:
            return work(db)
    except (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError) as error:
        message = f"The store did not answer: {_first_line(error)}."
        raise StoreBusyError(message) from None


def _engines_for(url: str) -> _Engines:
    """The engines of this process for `url`; the first use opens the store and creates its tables.

    Raises `StoreError`, whose message says what is wrong and what to do.
    """
    engines = _engines.get(url)
    if engines is None:
        with _fork_gate, _open_lock:
            engines = _engines.get(url)
            if engines is None:
                engine, saved = _open_engine(url)
                reading = engine.execution_options(assistants_compat_write=False)
                engines = _engines[url] = _Engines(engine, reading, saved)
    return engines


def saved_verdicts(url: str) -> frozenset[verdicts.Verdict]:
    """The verdicts that the store had when this process opened it; none while it is not open. Reads nothing."""
    engines = _engines.get(url)
    return frozenset() if engines is None else engines.saved_verdicts


def open_urls() -> Collection[str]:
    """The URLs of the stores that are open in this process."""
    return _engines.keys()


def close(url: str) -> None:
    """Close the store if it is open; the next transaction opens it again."""
    for deferred_write in _deferred_writes_for(url):
        deferred_write.execute()
    with _open_lock:
        engines = _engines.pop(url, None)
    if engines is not None:
        engines.writing.dispose()


def _is_memory(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite" and engine.url.database in _MEMORY_DATABASES


def _open_engine(url: str) -> tuple[Engine, frozenset[verdicts.Verdict]]:
    """Open the store and return its engine and its verdicts, which are read here, once in a process."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # an invalid port is a ValueError
        message = "ASSISTANTS_COMPAT_STORE (or Settings(store=...)) is neither a path nor a database URL."
        raise StoreError(message) from None
    dialect = parsed.get_backend_name()
    if dialect == "sqlite":
        engine = _sqlite(url, parsed.database)
    elif dialect == "postgresql":
        engine = _postgresql(url)
    else:
        message = f"The store's database type {dialect!r} is not supported: use SQLite or PostgreSQL."
        raise StoreError(message)
    try:
        with engine.begin() as db:
            _prepare_schema(db)
            saved = verdicts.load(db)
    except StoreError:
        engine.dispose()
        raise
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        location = "/".join(filter(None, (parsed.host, parsed.database)))  # not the query, which may hold a password
        message = f"The store {dialect}:{location} cannot be opened: {_first_line(error)}."
        raise StoreError(message) from None
    return engine, saved


def _first_line(error: Exception) -> str:
    first_line = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return first_line.rstrip(".")


def _prepare_schema(db: Connection) -> None:
    """Create the tables, or check that the existing tables are not newer than this library."""
    if db.dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK_KEY})
    if not inspect(db).has_table(tables.schema_version.name):
        tables.metadata.create_all(db)
        db.execute(insert(tables.schema_version).values(version=tables.SCHEMA_VERSION))
        return
    version = db.execute(select(tables.schema_version.c.version)).scalar_one()
    if version > tables.SCHEMA_VERSION:
        message = (
            f"The store has schema version {version}, but this assistants_compat supports versions up to "
            f"{tables.SCHEMA_VERSION}: install a newer assistants_compat."
        )
        raise StoreError(message)


def _postgresql(url: str) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except (ImportError, NoSuchModuleError):
        message = (
            "The store is a PostgreSQL database, but its driver is not installed: "
            "run pip install 'psycopg[binary]' and use a postgresql+psycopg:// URL."
        )
        raise StoreError(message) from None


def _sqlite(url: str, database: str | None) -> Engine:
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False}, "hide_parameters": True}
    options["pool_reset_on_return"] = None  # not needed: every transaction ends itself
    if database in _MEMORY_DATABASES:
        # One connection that passes from thread to thread, so that transactions queue.
        options.update(poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=BUSY_SECONDS)
    else:
        _create_database_file(Path(str(database)))
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # `_on_begin` starts transactions, not the driver
    # With WAL, NORMAL loses nothing if the process dies. A power failure may lose the last moments.
    pragmas = ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_SECONDS * 1000}", "foreign_keys=ON")
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(db: Connection) -> None:
    write = db.get_execution_options().get("assistants_compat_write", True)
    connection: Any = db.connection.dbapi_connection  # executing through SQLAlchemy costs as much as a query
    try:
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    except BaseException:
        connection.rollback()  # a signal handler may have raised after the transaction began
        raise


def _create_database_file(path: Path) -> None:
    """Create the database file with mode 0600, which its WAL inherits; raises `StoreError` if that is impossible."""
    filesystem = network_filesystem(path)
    if filesystem:
        message = (
            f"The store {path} is on a network file system ({filesystem}), where SQLite's WAL mode is unsafe: "
            "set ASSISTANTS_COMPAT_STORE to a local path or to a postgresql+psycopg:// URL."
        )
        raise StoreError(message)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        message = (
            f"The store {path} cannot be written ({error.strerror}): "
            "set ASSISTANTS_COMPAT_STORE to a writable path or to a postgresql+psycopg:// URL."
        )
        raise StoreError(message) from None


def network_filesystem(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the network file system that holds `path`, or None.

    It detects them on Linux only, and Windows shares by their path.
    """
    if str(path).startswith("\\\\"):
        return "a Windows share"
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    entries = [line.split(" ")[1:3] for line in lines if line.count(" ") >= 2]  # noqa: PLR2004 - device, point, type
    type_of_mount = {mount_point.replace("\\040", " "): type_ for mount_point, type_ in entries}
    resolved = path.resolve()
    parents = (str(parent) for parent in (resolved, *resolved.parents))
    filesystem = next((type_of_mount[parent] for parent in parents if parent in type_of_mount), "")
    return filesystem if _NETWORK_FILESYSTEM.match(filesystem) else None
