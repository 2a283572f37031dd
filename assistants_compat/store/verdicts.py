"""What `doctor --live --save` found out about an upstream: the refusals that a process knows before it meets them.

The table is made by the first `--save`, and not with the others: a store without verdicts has the schema of every
earlier version, and an earlier version ignores the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, delete, insert, inspect, select


class Verdict(NamedTuple):
    """An upstream refuses what a row of the table of refusals describes; `key` is a model's name, for example."""

    namespace: str
    upstream: str
    row: str
    key: str


_verdicts = Table(
    "verdicts",
    MetaData(),
    Column("namespace", String, primary_key=True),
    Column("upstream", String, primary_key=True),  # origin and base path
    Column("row", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("found_at", BigInteger, nullable=False),
)


def load(db: Connection) -> frozenset[Verdict]:
    """Return every saved verdict; none if nothing has been saved."""
    if not inspect(db).has_table(_verdicts.name):
        return frozenset()
    columns = _verdicts.c
    found = db.execute(select(columns.namespace, columns.upstream, columns.row, columns.key))
    return frozenset(Verdict(*row) for row in found)


def save(db: Connection, namespace: str, upstream: str, refused: Mapping[tuple[str, str], bool], found_at: int) -> None:
    """Save what was found out: (row, key) -> whether it is refused. What is no longer refused is forgotten."""
    _verdicts.create(db, checkfirst=True)
    columns = _verdicts.c
    for (row, key), is_refused in refused.items():
        place = {"namespace": namespace, "upstream": upstream, "row": row, "key": key}
        db.execute(delete(_verdicts).where(*(columns[name] == value for name, value in place.items())))
        if is_refused:
            db.execute(insert(_verdicts).values(**place, found_at=found_at))
