"""Fetches the row of an object or raises the recorded 404."""

from __future__ import annotations

from typing import Literal

from ..errors import not_found
from . import queries
from .database import Connection
from .queries import Row, TableName

_TABLE_OF_NOUN: dict[str, TableName] = {
    "assistant": "assistants",
    "thread": "threads",
    "message": "messages",
    "run": "runs",
    "run step": "steps",
}


def get_or_404(
    db: Connection,
    namespace: str,
    noun: Literal["assistant", "thread", "message", "run", "run step"],
    id_: str,
    *,
    lock: bool = False,
    **where: str,
) -> Row:
    """The row of an object by its id and other columns (`thread_id=...`); raises the 404 `ApiError` if it is missing.

    Pass `lock=True` to change the row in the same transaction.
    """
    row = queries.get(db, _TABLE_OF_NOUN[noun], namespace, id_, lock=lock, **where)
    if row is None:
        raise not_found(noun, id_)
    return row
