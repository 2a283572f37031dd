"""The store's queries, as plain functions over a connection. A row is a dictionary of its columns.

Nothing here reads a clock, makes an id or interprets the JSON in `body`.
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
    Select,
    String,
    Table,
    Update,
    and_,
    bindparam,
    cast,
    delete,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row as ResultRow

from .tables import ACTIVE, assistants, containers, files, messages, runs, steps, threads

Values = Mapping[str, Any]
"""The columns of a row to insert."""
Row = dict[str, Any]
"""A row as it was read, by column."""
FilePlace = tuple[int, int]
"""Where a generated file stands in a list by time: when it was created, and its `seq`."""

TABLES: dict[str, Table] = {
    "assistants": assistants,
    "threads": threads,
    "messages": messages,
    "runs": runs,
    "steps": steps,
    "files": files,
    "containers": containers,
}
TableName = Literal["assistants", "threads", "messages", "runs", "steps", "files", "containers"]


@dataclass(frozen=True)
class Page:
    """A page of a list: up to `limit` entries after or before a cursor id, newest first unless `order` is `asc`."""

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class ThreadBusyError(Exception):
    """The thread already has the active run `run_id`."""

    def __init__(self, run_id: str) -> None:
        """`run_id` is the active run."""
        super().__init__(run_id)
        self.run_id = run_id


def _row_or_none(row: ResultRow[Any] | None) -> Row | None:
    return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented accessor


def _select_rows(db: Connection, query: Select[Any]) -> list[Row]:
    return [dict(row._mapping) for row in db.execute(query)]  # noqa: SLF001 - as above


def _storable_id(id_: str) -> str:
    """The id, or an empty string if a database cannot store it: a caller may send NUL or half a surrogate pair."""
    return id_ if id_.isascii() and id_.isprintable() else ""


def _matches_id(table: Table, namespace: str, id_: str) -> ColumnElement[bool]:
    return and_(table.c.namespace == namespace, table.c.id == _storable_id(id_), table.c.deleted.is_(False))


def _conditions(table: Table, values: Mapping[str, str]) -> list[ColumnElement[bool]]:
    return [table.c[name] == _storable_id(value) for name, value in values.items()]


# Statements are cached, because building one takes as long as running it on SQLite.


@cache
def _insert_statement(table_name: TableName) -> Insert:
    return insert(TABLES[table_name])


@cache
def _get_statement(table_name: TableName, columns: tuple[str, ...], *, lock: bool) -> Select[Any]:
    table = TABLES[table_name]
    query = select(table).where(table.c.deleted.is_(False), *(table.c[name] == bindparam(name) for name in columns))
    return query.with_for_update() if lock else query


@cache
def _body_statement(table_name: TableName) -> Select[Any]:
    table = TABLES[table_name]
    matches = (table.c.namespace == bindparam("namespace"), table.c.id == bindparam("id"))
    return select(table.c.deleted, table.c.body).where(*matches)


@cache
def _update_statement(table_name: TableName) -> Update:
    table = TABLES[table_name]
    # The prefix keeps these parameters apart from the columns of the same name.
    matches = (table.c.namespace == bindparam("its_namespace"), table.c.id == bindparam("its_id"))
    return update(table).where(table.c.deleted.is_(False), *matches)


@cache
def _active_run_statement() -> Select[Any]:
    matches = (runs.c.namespace == bindparam("namespace"), runs.c.thread_id == bindparam("thread_id"))
    return select(runs).where(*matches, runs.c.status.in_(ACTIVE))


@cache
def _insert_if_absent_statement(dialect: str, table_name: TableName) -> Insert:
    # `inline` omits a RETURNING that is not needed. SQLAlchemy keeps the row count of an INSERT only on request.
    insert_ = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return insert_(TABLES[table_name]).on_conflict_do_nothing().inline().execution_options(preserve_rowcount=True)


@cache
def _transcript_statement() -> Select[Any]:
    matches = (messages.c.namespace == bindparam("namespace"), messages.c.thread_id == bindparam("thread_id"))
    columns = (messages.c.body, messages.c.run_id, messages.c.kind, messages.c.deleted)
    return select(*columns).where(*matches).order_by(messages.c.seq)


def insert_rows(db: Connection, table_name: TableName, rows: Iterable[Values]) -> None:
    """Insert rows one by one, so that their `seq` follows their order."""
    for row in rows:
        db.execute(_insert_statement(table_name), dict(row))


def insert_if_absent(db: Connection, table_name: TableName, row: Values) -> bool:
    """Insert a row unless it conflicts with an existing or a concurrent one; returns whether it was inserted."""
    return db.execute(_insert_if_absent_statement(db.dialect.name, table_name), dict(row)).rowcount == 1


def get(
    db: Connection, table_name: TableName, namespace: str, id_: str, *, lock: bool = False, **where: str
) -> Row | None:
    """One row by id and other columns (`thread_id=...`), or None if it does not exist or was deleted.

    Pass `lock=True` to change the row in the same transaction: other writers then wait. SQLite has one writer at a time
    anyway (BEGIN IMMEDIATE) and ignores FOR UPDATE. To avoid deadlocks, lock a thread before anything in it.
    """
    values = {name: _storable_id(value) for name, value in where.items()}
    parameters = {"namespace": namespace, "id": _storable_id(id_), **values}
    return _row_or_none(db.execute(_get_statement(table_name, tuple(parameters), lock=lock), parameters).first())


def lock_thread(db: Connection, namespace: str, thread_id: str) -> None:
    """Make other writers of a thread wait, to change what is in it. SQLite has only one writer anyway."""
    if db.dialect.name != "sqlite":
        get(db, "threads", namespace, thread_id, lock=True)


def upsert(db: Connection, table_name: TableName, row: Values) -> None:
    """Insert a row or replace its body. An existing row keeps its metadata, and a deleted row stays deleted."""
    parameters = {"namespace": row["namespace"], "id": row["id"]}
    existing = db.execute(_body_statement(table_name), parameters).first()
    if existing is None:
        insert_rows(db, table_name, [row])
    elif not existing.deleted:
        metadata = {key: existing.body[key] for key in ("metadata",) if key in existing.body}
        update_row(db, table_name, row["namespace"], row["id"], body={**row["body"], **metadata})


def update_row(db: Connection, table_name: TableName, namespace: str, id_: str, **values: object) -> bool:
    """Set columns of one row; returns whether it exists."""
    parameters = {"its_namespace": namespace, "its_id": _storable_id(id_), **values}
    return db.execute(_update_statement(table_name), parameters).rowcount == 1


def mark_deleted(
    db: Connection, table_name: TableName, namespace: str, id_: str, *, kept: Mapping[str, Any] | None = None
) -> bool:
    """Delete an object's body but keep its row, so that page cursors can still refer to it; whether it existed.

    `kept` is what remains of the body.
    """
    table = TABLES[table_name]
    statement = update(table).where(_matches_id(table, namespace, id_)).values(deleted=True, body=dict(kept or {}))
    return db.execute(statement).rowcount == 1


def delete_row(db: Connection, table_name: TableName, namespace: str, id_: str) -> bool:
    """Delete a row and, through foreign keys, everything that belongs to it; returns whether it existed."""
    table = TABLES[table_name]
    statement = delete(table).where(table.c.namespace == namespace, table.c.id == _storable_id(id_))
    return db.execute(statement).rowcount == 1


def get_page(db: Connection, table_name: TableName, namespace: str, page: Page, **where: str) -> tuple[list[Row], bool]:
    """The rows of a page in its order, and whether there are more.

    The id of a deleted object is a valid cursor. An unknown cursor returns an empty page: older SDKs request pages
    until one is empty, so an unknown cursor must never restart the list.
    """
    table = TABLES[table_name]
    conditions = [table.c.namespace == namespace, *_conditions(table, where)]
    seq_of_cursor = select(table.c.seq).where(*conditions)
    descending = page.order == "desc"
    # An unknown cursor has the seq NULL. No comparison with NULL is true, so the page is empty.
    if page.after is not None:
        seq = seq_of_cursor.where(table.c.id == _storable_id(page.after)).scalar_subquery()
        conditions.append(table.c.seq < seq if descending else table.c.seq > seq)
    if page.before is not None:
        seq = seq_of_cursor.where(table.c.id == _storable_id(page.before)).scalar_subquery()
        conditions.append(table.c.seq > seq if descending else table.c.seq < seq)
    # With `before` alone, the page ends next to the cursor, so it is read backwards from the cursor.
    read_backwards = page.before is not None and page.after is None
    newest_first = descending != read_backwards
    ordering = table.c.seq.desc() if newest_first else table.c.seq.asc()
    query = select(table).where(*conditions, table.c.deleted.is_(False)).order_by(ordering).limit(page.limit + 1)
    rows = _select_rows(db, query)  # one more than the limit, to see whether there are more
    page_rows = rows[: page.limit]
    return (page_rows[::-1] if read_backwards else page_rows), len(rows) > page.limit


def active_run(db: Connection, namespace: str, thread_id: str) -> Row | None:
    """The active run of a thread, or None."""
    parameters = {"namespace": namespace, "thread_id": _storable_id(thread_id)}
    return _row_or_none(db.execute(_active_run_statement(), parameters).first())


def transcript(db: Connection, namespace: str, thread_id: str) -> Sequence[dict[str, Any]]:
    """The bodies of a thread's messages and of the items between them, oldest first, each with its `run_id`.

    The items of a run are left out if all messages of the run were deleted. If the run wrote no message, its items are
    left out if the message before them was deleted.
    """
    rows = db.execute(_transcript_statement(), {"namespace": namespace, "thread_id": thread_id}).all()
    runs_with_messages = {row.run_id for row in rows if row.kind == "message"}
    runs_with_kept_messages = {row.run_id for row in rows if row.kind == "message" and not row.deleted}
    entries = []
    previous_message_kept = True
    for row in rows:
        if row.kind == "message":
            is_kept = previous_message_kept = not row.deleted
        elif row.run_id in runs_with_messages:
            is_kept = row.run_id in runs_with_kept_messages
        else:
            is_kept = previous_message_kept
        if is_kept:
            entries.append({**row.body, "run_id": row.run_id})
    return entries


def delete_items(db: Connection, namespace: str, thread_id: str, *, except_run_id: str) -> None:
    """Delete the items between a thread's messages, except those of one run."""
    where = (messages.c.namespace == namespace, messages.c.thread_id == thread_id, messages.c.kind == "item")
    db.execute(delete(messages).where(*where, messages.c.run_id != except_run_id))


def in_progress_bodies(db: Connection, table_name: TableName, namespace: str, run_id: str) -> Sequence[dict[str, Any]]:
    """The bodies of a run's messages or steps whose status is `in_progress`."""
    table = TABLES[table_name]
    query = select(table.c.body).where(
        table.c.namespace == namespace, table.c.run_id == run_id, table.c.deleted.is_(False)
    )
    return [body for body in db.execute(query).scalars() if body.get("status") == "in_progress"]


def reserve_run(db: Connection, row: Values) -> None:
    """Insert a run; raises `ThreadBusyError` if the thread has an active run.

    The partial unique index decides. The caller must have locked the thread, so that the active run cannot end before
    the error names it.
    """
    if not insert_if_absent(db, "runs", row):
        other_run = active_run(db, row["namespace"], row["thread_id"])
        assert other_run is not None  # noqa: S101 - the index has found it
        raise ThreadBusyError(other_run["id"])


def release_run(db: Connection, namespace: str, run_id: str, message_ids: Sequence[str]) -> None:
    """Undo a reservation: delete the run and the messages that were added with it."""
    db.execute(delete(messages).where(messages.c.namespace == namespace, messages.c.id.in_(message_ids)))
    delete_row(db, "runs", namespace, run_id)


def lease_run(db: Connection, namespace: str, run_id: str, *, now: int, seconds: int) -> bool:
    """Take or renew the lease of a run, which is the right to finish it.

    Returns False while the lease lasts or if the run has ended.
    """
    statement = (
        update(runs)
        .where(_matches_id(runs, namespace, run_id), runs.c.status.in_(ACTIVE), runs.c.lease_until <= now)
        .values(lease_until=now + seconds)
    )
    return db.execute(statement).rowcount == 1


def renew_lease(db: Connection, namespace: str, run_id: str, until: int) -> None:
    """Extend the lease of a run, if it still has one and is not being cancelled."""
    # Another process may have finished the round meanwhile, which sets `lease_until` to 0.
    is_active = runs.c.status.in_([status for status in ACTIVE if status != "cancelling"])
    is_leased = (_matches_id(runs, namespace, run_id), is_active, runs.c.lease_until > 0)
    db.execute(update(runs).where(*is_leased).values(lease_until=until))


def idle_runs(db: Connection, namespace: str, now: int) -> list[tuple[str, str]]:
    """The active runs that no process is streaming, oldest first, as pairs of thread id and run id."""
    columns = (runs.c.thread_id, runs.c.id, runs.c.request, runs.c.lease_until)
    where = (runs.c.namespace == namespace, runs.c.status.in_(ACTIVE), runs.c.deleted.is_(False))
    rows = db.execute(select(*columns).where(*where).order_by(runs.c.seq)).all()
    # A process that streams a run keeps renewing its lease.
    return [(row.thread_id, row.id) for row in rows if not (row.request.get("stream") and row.lease_until > now)]


def files_without_bytes(db: Connection, namespace: str, since: int) -> list[str]:
    """The ids of files created since `since` whose bytes are only in their container, oldest first."""
    where = (files.c.namespace == namespace, files.c.deleted.is_(False), files.c.stored.is_(False))
    has_container = (files.c.container_id.is_not(None), files.c.created_at >= since)
    return list(db.execute(select(files.c.id).where(*where, *has_container).order_by(files.c.seq)).scalars())


def files_by_time(
    db: Connection, namespace: str, *, limit: int, descending: bool = True, after: FilePlace | None = None
) -> list[Row]:
    """The generated files after a place, ordered by when they were created; at most `limit`."""
    conditions = [files.c.namespace == namespace, files.c.deleted.is_(False)]
    columns = (files.c.created_at, files.c.seq)
    if after is not None:
        own, place = tuple_(*columns), tuple_(*map(literal, after))
        conditions.append(own < place if descending else own > place)
    ordering = [column.desc() if descending else column.asc() for column in columns]
    return _select_rows(db, select(files).where(*conditions).order_by(*ordering).limit(limit))


def place_of_file(db: Connection, namespace: str, id_: str) -> FilePlace | None:
    """The place of a generated file, which may be deleted, in a list by time; None if there is none."""
    where = (files.c.namespace == namespace, files.c.id == _storable_id(id_))
    row = db.execute(select(files.c.created_at, files.c.seq).where(*where)).first()
    return None if row is None else (row.created_at, row.seq)


def files_that_mention(db: Connection, namespace: str, text: str) -> list[Row]:
    """The rows of generated files, deleted ones too, whose body contains a text."""
    contains_text = cast(files.c.body, String).contains(text, autoescape=True)
    return _select_rows(db, select(files).where(files.c.namespace == namespace, contains_text))


def recent_containers(db: Connection, namespace: str, since: int) -> list[Row]:
    """The rows of the containers that were used at or after `since`, oldest first."""
    where = (containers.c.namespace == namespace, containers.c.deleted.is_(False), containers.c.used_at >= since)
    return _select_rows(db, select(containers).where(*where).order_by(containers.c.seq))


def locate_file(db: Connection, namespace: str, id_: str, location: tuple[str | None, str], **body: Any) -> None:
    """Set a file's place, which is its container id and container file id, and keys of its `body`.

    A deleted file gets its place too: otherwise a later run would take what the container still has for a new file.
    """
    container_id, container_file_id = location
    matches = (files.c.namespace == namespace, files.c.id == _storable_id(id_))
    row = _row_or_none(db.execute(select(files).where(*matches).with_for_update()).first())
    if row is not None and (row["container_id"], row["container_file_id"]) != location:
        new_body = {} if row["deleted"] else {"body": {**row["body"], **body}}
        place = {"container_id": container_id, "container_file_id": container_file_id}
        db.execute(update(files).where(*matches).values(**place, **new_body))


def old_files(db: Connection, namespace: str, before: int) -> list[Row]:
    """The rows of files created before `before`, oldest first."""
    where = (files.c.namespace == namespace, files.c.deleted.is_(False), files.c.created_at < before)
    return _select_rows(db, select(files).where(*where).order_by(files.c.seq))


def generated_files(db: Connection, namespace: str, container_ids: Sequence[str]) -> dict[tuple[str, str], Row]:
    """The newest file of each file in these containers, deleted ones too, by container id and container file id."""
    where = (files.c.namespace == namespace, files.c.container_id.in_(list(map(_storable_id, container_ids))))
    rows = _select_rows(db, select(files).where(*where).order_by(files.c.seq))
    return {(row["container_id"], row["container_file_id"]): row for row in rows}


def rows_of_thread(db: Connection, table_name: TableName, namespace: str, thread_id: str, **where: str) -> list[Row]:
    """The rows of a thread, newest first, optionally with conditions on other columns (`run_id=...`)."""
    table = TABLES[table_name]
    conditions = _conditions(table, {"thread_id": thread_id, **where})
    query = select(table).where(table.c.namespace == namespace, table.c.deleted.is_(False), *conditions)
    return _select_rows(db, query.order_by(table.c.seq.desc()))


def is_referenced(db: Connection, namespace: str, id_: str, *, except_id: str) -> bool:
    """Whether the body of any assistant or thread, except one, contains an id."""
    # A text search may find too much, but then only something unused is kept.
    for table in (assistants, threads):
        where = (table.c.namespace == namespace, table.c.id != except_id, table.c.deleted.is_(False))
        contains_id = cast(table.c.body, String).contains(id_, autoescape=True)
        if db.execute(select(table.c.seq).where(*where, contains_id).limit(1)).first() is not None:
            return True
    return False


def existing_ids(db: Connection, table_name: TableName, namespace: str, ids: Iterable[str]) -> set[str]:
    """Those of these ids that have a row, which may be deleted."""
    table = TABLES[table_name]
    query = select(table.c.id).where(table.c.namespace == namespace, table.c.id.in_(list(map(_storable_id, ids))))
    return set(db.execute(query).scalars())


def cursor_exists(db: Connection, table_name: TableName, namespace: str, id_: str) -> bool:
    """Whether a page cursor may refer to this object, which may be deleted."""
    table = TABLES[table_name]
    query = select(table.c.seq).where(table.c.namespace == namespace, table.c.id == _storable_id(id_))
    return db.execute(query).first() is not None
