"""Plain functions over a connection.  A row goes in and comes out as a mapping of column names.

Nothing here reads a clock, mints an id or knows what the JSON in `body` means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Row,
    Select,
    String,
    Table,
    Update,
    and_,
    bindparam,
    cast,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from .tables import ACTIVE, assistants, containers, files, messages, runs, steps, threads

Values = Mapping[str, Any]
Found = dict[str, Any]

TABLES: dict[str, Table] = {
    "assistants": assistants,
    "threads": threads,
    "messages": messages,
    "runs": runs,
    "steps": steps,
    "files": files,
    "containers": containers,
}
Noun = Literal["assistants", "threads", "messages", "runs", "steps", "files", "containers"]


@dataclass(frozen=True)
class Page:
    """One page of a list: `limit` entries after or before a cursor, newest first unless `order` is `asc`."""

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class ThreadBusyError(Exception):
    """The thread has an active run already; `run_id` says which."""

    def __init__(self, run_id: str) -> None:
        """Name the run that holds the thread."""
        super().__init__(run_id)
        self.run_id = run_id


def _found(row: Row[Any] | None) -> Found | None:
    return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented accessor


def _all(db: Connection, query: Select[Any]) -> list[Found]:
    return [dict(row._mapping) for row in db.execute(query)]  # noqa: SLF001 - as above


def _plain(id_: str) -> str:
    """An id as a database takes it: what a caller sends may hold NUL or half a surrogate, and then names nothing."""
    return id_ if id_.isascii() and id_.isprintable() else ""


def _is(table: Table, namespace: str, id_: str) -> ColumnElement[bool]:
    return and_(table.c.namespace == namespace, table.c.id == _plain(id_), table.c.deleted.is_(False))


def _where(table: Table, values: Mapping[str, str]) -> list[ColumnElement[bool]]:
    return [table.c[name] == _plain(value) for name, value in values.items()]


# Built once: building a statement costs as much as running it on SQLite.


@cache
def _inserting(noun: Noun) -> Insert:
    return insert(TABLES[noun])


@cache
def _getting(noun: Noun, columns: tuple[str, ...], *, lock: bool) -> Select[Any]:
    table = TABLES[noun]
    query = select(table).where(table.c.deleted.is_(False), *(table.c[name] == bindparam(name) for name in columns))
    return query.with_for_update() if lock else query


@cache
def _finding(noun: Noun) -> Select[Any]:
    table = TABLES[noun]
    same = (table.c.namespace == bindparam("namespace"), table.c.id == bindparam("id"))
    return select(table.c.deleted, table.c.body).where(*same)


@cache
def _changing(noun: Noun) -> Update:
    table = TABLES[noun]
    same = (table.c.namespace == bindparam("its_namespace"), table.c.id == bindparam("its_id"))
    return update(table).where(table.c.deleted.is_(False), *same)


@cache
def _holding() -> Select[Any]:
    same = (runs.c.namespace == bindparam("namespace"), runs.c.thread_id == bindparam("thread_id"))
    return select(runs).where(*same, runs.c.status.in_(ACTIVE))


@cache
def _inserting_new(dialect: str, noun: Noun) -> Insert:
    insert_ = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return insert_(TABLES[noun]).on_conflict_do_nothing().inline().execution_options(preserve_rowcount=True)


@cache
def _telling() -> Select[Any]:
    same = (messages.c.namespace == bindparam("namespace"), messages.c.thread_id == bindparam("thread_id"))
    columns = (messages.c.body, messages.c.run_id, messages.c.kind, messages.c.deleted)
    return select(*columns).where(*same).order_by(messages.c.seq)


def add(db: Connection, noun: Noun, rows: Iterable[Values]) -> None:
    """Insert rows, one by one, so that their `seq` follows their order."""
    for row in rows:
        db.execute(_inserting(noun), dict(row))


def add_new(db: Connection, noun: Noun, row: Values) -> bool:
    """Insert a row where no other is in its way, also one that is being written now; whether it was inserted."""
    return db.execute(_inserting_new(db.dialect.name, noun), dict(row)).rowcount == 1


def get(db: Connection, noun: Noun, namespace: str, id_: str, *, lock: bool = False, **where: str) -> Found | None:
    """One row by id, also limited to other columns (`thread_id=...`); None when it is not there or was deleted.

    With `lock` no other writer has the row until the transaction ends: for whoever changes what he has read.  SQLite
    has one writer at a time anyway (BEGIN IMMEDIATE) and ignores FOR UPDATE.  Whoever needs a thread and something in
    it locks the thread first.
    """
    named = {"namespace": namespace, "id": _plain(id_), **{name: _plain(value) for name, value in where.items()}}
    return _found(db.execute(_getting(noun, tuple(named), lock=lock), named).first())


def lock_thread(db: Connection, namespace: str, thread_id: str) -> None:
    """Keep a thread from other writers, for whoever changes what is in it; nothing to do where there is one anyway."""
    if db.dialect.name != "sqlite":
        get(db, "threads", namespace, thread_id, lock=True)


def put(db: Connection, noun: Noun, row: Values) -> None:
    """Insert a row, or write its body anew where it is there; what was deleted stays so, and metadata as it was set."""
    named = {"namespace": row["namespace"], "id": row["id"]}
    there = db.execute(_finding(noun), named).first()
    if there is None:
        add(db, noun, [row])
    elif not there.deleted:
        kept = {key: there.body[key] for key in ("metadata",) if key in there.body}
        change(db, noun, row["namespace"], row["id"], body={**row["body"], **kept})


def change(db: Connection, noun: Noun, namespace: str, id_: str, **values: object) -> bool:
    """Set columns of one row; whether it was there."""
    named = {"its_namespace": namespace, "its_id": _plain(id_), **values}
    return db.execute(_changing(noun), named).rowcount == 1


def bury(db: Connection, noun: Noun, namespace: str, id_: str) -> bool:
    """Delete what an object says but keep its place in the order, for page cursors that name it."""
    table = TABLES[noun]
    statement = update(table).where(_is(table, namespace, id_)).values(deleted=True, body={})
    return db.execute(statement).rowcount == 1


def remove(db: Connection, noun: Noun, namespace: str, id_: str) -> bool:
    """Delete a row and, by the foreign keys, what belongs to it; whether it was there."""
    table = TABLES[noun]
    return db.execute(delete(table).where(table.c.namespace == namespace, table.c.id == _plain(id_))).rowcount == 1


def page(db: Connection, noun: Noun, namespace: str, page: Page, **where: str) -> tuple[list[Found], bool]:
    """The rows of one page in its order, and whether there are more.

    A cursor of a deleted object still has its place.  An unknown cursor gives an empty page: older SDKs page until one
    is empty, so the end of a list must never start it again.
    """
    table = TABLES[noun]
    conditions = [table.c.namespace == namespace, *_where(table, where)]
    place = select(table.c.seq).where(*conditions)
    backwards = page.order == "desc"
    # Comparing with the NULL of an unknown cursor is never true: that is the empty page.
    if page.after is not None:
        seq = place.where(table.c.id == _plain(page.after)).scalar_subquery()
        conditions.append(table.c.seq < seq if backwards else table.c.seq > seq)
    if page.before is not None:
        seq = place.where(table.c.id == _plain(page.before)).scalar_subquery()
        conditions.append(table.c.seq > seq if backwards else table.c.seq < seq)
    # With `before` alone the page is the one that ends next to the cursor, so it is read from there.
    from_cursor = page.before is not None and page.after is None
    newest_first = backwards != from_cursor
    ordering = table.c.seq.desc() if newest_first else table.c.seq.asc()
    query = select(table).where(*conditions, table.c.deleted.is_(False)).order_by(ordering).limit(page.limit + 1)
    rows = _all(db, query)
    kept = rows[: page.limit]
    return (kept[::-1] if from_cursor else kept), len(rows) > page.limit


def active_run(db: Connection, namespace: str, thread_id: str) -> Found | None:
    """The run that holds a thread, if one does."""
    return _found(db.execute(_holding(), {"namespace": namespace, "thread_id": _plain(thread_id)}).first())


def transcript(db: Connection, namespace: str, thread_id: str) -> Sequence[dict[str, Any]]:
    """The bodies of a thread's messages and of what stands between them, oldest first, each with its `run_id`.

    What a run did is left out when all its messages were deleted, or, where it wrote none, the message before.
    """
    rows = db.execute(_telling(), {"namespace": namespace, "thread_id": thread_id}).all()
    spoke = {row.run_id for row in rows if row.kind == "message"}
    heard = {row.run_id for row in rows if row.kind == "message" and not row.deleted}
    told = []
    is_there = True  # the message before
    for row in rows:
        if row.kind == "message":
            tell = is_there = not row.deleted
        else:
            tell = row.run_id in heard if row.run_id in spoke else is_there
        if tell:
            told.append({**row.body, "run_id": row.run_id})
    return told


def forget_items(db: Connection, namespace: str, thread_id: str, *, but: str) -> None:
    """Delete what stands between a thread's messages, except that of one run."""
    where = (messages.c.namespace == namespace, messages.c.thread_id == thread_id, messages.c.kind == "item")
    db.execute(delete(messages).where(*where, messages.c.run_id != but))


def in_progress(db: Connection, noun: Noun, namespace: str, run_id: str) -> Sequence[dict[str, Any]]:
    """The bodies of a run's messages or steps that have not ended."""
    table = TABLES[noun]
    query = select(table.c.body).where(
        table.c.namespace == namespace, table.c.run_id == run_id, table.c.deleted.is_(False)
    )
    return [body for body in db.execute(query).scalars() if body.get("status") == "in_progress"]


def reserve_run(db: Connection, row: Values) -> None:
    """Insert a run where no other is active; raises `ThreadBusyError`.

    The partial unique index decides.  Whoever reserves has locked the thread, so its holder is still there to be named.
    """
    if not add_new(db, "runs", row):
        holder = active_run(db, row["namespace"], row["thread_id"])
        assert holder is not None  # noqa: S101 - the index has found it
        raise ThreadBusyError(holder["id"])


def release_run(db: Connection, namespace: str, run_id: str, message_ids: Sequence[str]) -> None:
    """Undo a reservation: the run and the messages that came with it were never there."""
    db.execute(delete(messages).where(messages.c.namespace == namespace, messages.c.id.in_(message_ids)))
    remove(db, "runs", namespace, run_id)


def lease_run(db: Connection, namespace: str, run_id: str, *, now: int, seconds: int) -> bool:
    """Take or renew the right to finish a run; False while another has it or when the run has ended."""
    statement = (
        update(runs)
        .where(_is(runs, namespace, run_id), runs.c.status.in_(ACTIVE), runs.c.lease_until <= now)
        .values(lease_until=now + seconds)
    )
    return db.execute(statement).rowcount == 1


def renew_lease(db: Connection, namespace: str, run_id: str, until: int) -> None:
    """Hold on to a run that is held already: a round may have ended meanwhile, and with it the lease."""
    held = (_is(runs, namespace, run_id), runs.c.status.in_(ACTIVE), runs.c.lease_until > 0)
    db.execute(update(runs).where(*held).values(lease_until=until))


def idle_runs(db: Connection, namespace: str, now: int) -> list[tuple[str, str]]:
    """The active runs that nobody streams just now, oldest first: their threads' ids and their own."""
    columns = (runs.c.thread_id, runs.c.id, runs.c.request, runs.c.lease_until)
    where = (runs.c.namespace == namespace, runs.c.status.in_(ACTIVE), runs.c.deleted.is_(False))
    rows = db.execute(select(*columns).where(*where).order_by(runs.c.seq)).all()
    return [(row.thread_id, row.id) for row in rows if not (row.request.get("stream") and row.lease_until > now)]


def missing_files(db: Connection, namespace: str, since: int) -> list[str]:
    """The ids of files made since then whose bytes are in their container only, oldest first."""
    where = (files.c.namespace == namespace, files.c.deleted.is_(False), files.c.stored.is_(False))
    there = (files.c.container_id.is_not(None), files.c.created_at >= since)
    return list(db.execute(select(files.c.id).where(*where, *there).order_by(files.c.seq)).scalars())


def old_files(db: Connection, namespace: str, before: int) -> list[Found]:
    """The rows of files made before then, oldest first."""
    where = (files.c.namespace == namespace, files.c.deleted.is_(False), files.c.created_at < before)
    return _all(db, select(files).where(*where).order_by(files.c.seq))


def places(db: Connection, namespace: str, container_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """Our ids of the files that came from these containers, by container and file; also of those deleted since."""
    query = select(files.c.container_id, files.c.container_file_id, files.c.id)
    where = (files.c.namespace == namespace, files.c.container_id.in_(list(map(_plain, container_ids))))
    return {(row.container_id, row.container_file_id): row.id for row in db.execute(query.where(*where))}


def of_thread(db: Connection, noun: Noun, namespace: str, thread_id: str, **where: str) -> list[Found]:
    """The rows of a thread, newest first, also limited to other columns (`run_id=...`)."""
    table = TABLES[noun]
    named = _where(table, {"thread_id": thread_id, **where})
    query = select(table).where(table.c.namespace == namespace, table.c.deleted.is_(False), *named)
    return _all(db, query.order_by(table.c.seq.desc()))


def is_named(db: Connection, namespace: str, word: str, *, but: str) -> bool:
    """Whether an assistant or a thread, `but` for one, names something in its body."""
    for table in (assistants, threads):
        where = (table.c.namespace == namespace, table.c.id != but, table.c.deleted.is_(False))
        names = cast(table.c.body, String).contains(word, autoescape=True)
        if db.execute(select(table.c.seq).where(*where, names).limit(1)).first() is not None:
            return True
    return False


def has_place(db: Connection, noun: Noun, namespace: str, id_: str) -> bool:
    """Whether a page cursor may name this object, which may be deleted."""
    table = TABLES[noun]
    query = select(table.c.seq).where(table.c.namespace == namespace, table.c.id == _plain(id_))
    return db.execute(query).first() is not None
