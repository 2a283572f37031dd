"""Queries for import and export: many rows at a time, in the order of their tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, insert, select, text

from .queries import TABLES, Row, TableName, Values
from .tables import messages

_ROWS_PER_FETCH = 500


def use_snapshot(db: Connection) -> None:
    """Let the transaction see one snapshot of the database; call it first in the transaction.

    SQLite's transactions see a snapshot anyway.
    """
    if db.dialect.name == "postgresql":
        db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


def iter_rows(db: Connection, table_name: TableName, namespace: str) -> Iterator[Row]:
    """Yield every row of a table in order, including deleted ones, with only a few in memory at a time."""
    table = TABLES[table_name]
    query = select(table).where(table.c.namespace == namespace).order_by(table.c.seq)
    for row in db.execute(query, execution_options={"yield_per": _ROWS_PER_FETCH}):
        yield dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented accessor


def rows_by_id(db: Connection, table_name: TableName, namespace: str, ids: Sequence[str]) -> dict[str, Row]:
    """The rows with these ids, including deleted ones, by id."""
    table = TABLES[table_name]
    query = select(table).where(table.c.namespace == namespace, table.c.id.in_(ids))
    return {row.id: dict(row._mapping) for row in db.execute(query)}  # noqa: SLF001 - as above


def insert_many(db: Connection, table_name: TableName, rows: Sequence[Values]) -> None:
    """Insert rows with equal columns in one statement; their `seq` follows their order."""
    if rows:
        db.execute(insert(TABLES[table_name]), [dict(row) for row in rows])


def iter_thread_entries(db: Connection, namespace: str, thread_ids: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Yield the thread id, id and creation time of every message and item in these threads."""
    columns = (messages.c.thread_id, messages.c.id, messages.c.created_at)
    where = (messages.c.namespace == namespace, messages.c.thread_id.in_(thread_ids))
    for row in db.execute(select(*columns).where(*where), execution_options={"yield_per": _ROWS_PER_FETCH}):
        yield row.thread_id, row.id, row.created_at
