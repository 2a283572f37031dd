"""Queries of import and export: many rows at once, in the order of their tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, insert, select, text

from .queries import TABLES, Found, Noun, Values
from .tables import messages

_AT_ONCE = 500


def freeze(db: Connection) -> None:
    """Let the transaction see one moment only; first in it.  SQLite's does by itself."""
    if db.dialect.name == "postgresql":
        db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


def in_order(db: Connection, noun: Noun, namespace: str) -> Iterator[Found]:
    """Every row of a table, deleted ones too, a few in memory at a time."""
    table = TABLES[noun]
    query = select(table).where(table.c.namespace == namespace).order_by(table.c.seq)
    for row in db.execute(query, execution_options={"yield_per": _AT_ONCE}):
        yield dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented accessor


def there(db: Connection, noun: Noun, namespace: str, ids: Sequence[str]) -> dict[str, Found]:
    """The rows with these ids, deleted ones too."""
    table = TABLES[noun]
    query = select(table).where(table.c.namespace == namespace, table.c.id.in_(ids))
    return {row.id: dict(row._mapping) for row in db.execute(query)}  # noqa: SLF001 - as above


def add_all(db: Connection, noun: Noun, rows: Sequence[Values]) -> None:
    """Insert rows that have the same columns; their `seq` follows their order."""
    if rows:
        db.execute(insert(TABLES[noun]), [dict(row) for row in rows])


def entries_of(db: Connection, namespace: str, thread_ids: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """What stands in these threads, messages and all between them: the thread, the id and the time of each."""
    columns = (messages.c.thread_id, messages.c.id, messages.c.created_at)
    where = (messages.c.namespace == namespace, messages.c.thread_id.in_(thread_ids))
    for row in db.execute(select(*columns).where(*where), execution_options={"yield_per": _AT_ONCE}):
        yield row.thread_id, row.id, row.created_at
