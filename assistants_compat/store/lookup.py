"""Rows that have to be there: the row, or the 404 that the service gave."""

from __future__ import annotations

from typing import Literal

from ..errors import not_found
from . import queries
from .database import Connection
from .queries import Found, Noun

_TABLES: dict[str, Noun] = {
    "assistant": "assistants",
    "thread": "threads",
    "message": "messages",
    "run": "runs",
    "run step": "steps",
}


def existing(
    db: Connection,
    namespace: str,
    noun: Literal["assistant", "thread", "message", "run", "run step"],
    id_: str,
    *,
    lock: bool = False,
    **where: str,
) -> Found:
    """The row of an object by its id and further columns (`thread_id=...`), locked for whoever will change it."""
    found = queries.get(db, _TABLES[noun], namespace, id_, lock=lock, **where)
    if found is None:
        raise not_found(noun, id_)
    return found
