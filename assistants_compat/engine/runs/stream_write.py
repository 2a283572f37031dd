"""The transaction with which a stream writes its run: its messages, its steps and its new columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...store import queries
from ...store.database import Connection
from ...store.queries import Row
from ...translate import run as run_status
from ...wire.objects import Json
from ..io import IO
from . import finish

ColumnsOf = Callable[[Connection, Row], Json]
"""Adds to the transaction and returns the run's new columns, from the run's row as it is in the store."""
WriteResult = tuple[Row | None, dict[str, int] | None]
"""The run's row, None if it was deleted, and the hashes of its stored objects."""


class TakenOverError(Exception):
    """Another reader has taken this run over, because this one was away for longer than its lease."""

    MESSAGE = "Another reader has taken this run over: this one was away for longer than its lease."


def write_transaction(  # noqa: PLR0913, PLR0917 - a run, its parts and what is known of the store
    io: IO,
    row: Row,
    columns_of: ColumnsOf,
    entries: Sequence[Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]],
    stored_hashes: dict[str, int] | None,
) -> Callable[[Connection], WriteResult]:
    """Return the transaction; it writes nothing if the run has ended.

    It raises `TakenOverError` if the run is in another round.
    """

    def work(db: Connection) -> WriteResult:
        namespace, run_id = row["namespace"], row["id"]
        queries.lock_thread(db, namespace, row["thread_id"])  # before the run, as in every transaction
        current = queries.get(db, "runs", namespace, run_id, lock=True)
        if current is None or current["status"] in run_status.TERMINAL:
            return current, stored_hashes
        if current["status"] == "requires_action" or finish.round_number(current) != finish.round_number(row):
            raise TakenOverError
        columns = columns_of(db, current)
        queries.update_row(db, "runs", namespace, run_id, **columns)
        return {**current, **columns}, finish.write_objects(io, db, row["body"], entries, steps, stored_hashes)

    return work
