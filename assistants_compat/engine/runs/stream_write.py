"""What a stream writes of its run in one transaction: messages, steps, files and columns; and what others wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...store import queries
from ...store.database import Connection
from ...store.queries import Row
from ...translate import run as run_status
from ...translate.outcome import GeneratedFile
from ...translate.run_events import RunEvents
from ...wire.objects import Json
from ..io import IO, LEASE_SECONDS
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


def progress_columns(
    io: IO,
    events: RunEvents,
    assigned_ids: Mapping[str, list[str]],
    generated: Mapping[str, GeneratedFile],
    files: list[Json],
) -> ColumnsOf:
    """Return the function that gives the columns of a run that continues.

    It writes the `generated` files, too, of which `files` are the new rows.
    """
    # As they are now: the transaction may run later.
    run, response_id, assigned_ids = dict(events.run), events.response_id, dict(assigned_ids)
    lease_until = io.now() + LEASE_SECONDS

    def columns_of(db: Connection, current: Row) -> Json:
        finish.write_files(db, current["namespace"], generated, files)
        columns: Json = {
            "response_id": response_id,
            "state": run_status.with_response_id({**current["state"], "minted": assigned_ids}, response_id),
            # That of a run that is being cancelled ends soon (`refresh.begin_cancelling`).
            "lease_until": current["lease_until"] if current["status"] == "cancelling" else lease_until,
        }
        if (current["status"], run["status"]) == ("queued", "in_progress"):
            columns["status"] = "in_progress"
            columns["body"] = {**current["body"], "status": "in_progress", "started_at": run["started_at"]}
        return columns

    return columns_of


async def stored_bodies(io: IO, row: Row) -> dict[str, Json]:
    """Return a run's messages and steps as they are stored, by id."""

    def read(db: Connection) -> list[Row]:
        place = (row["namespace"], row["thread_id"])
        messages = queries.rows_of_thread(db, "messages", *place, run_id=row["id"], kind="message")
        return [*messages, *queries.rows_of_thread(db, "steps", *place, run_id=row["id"])]

    return {stored["id"]: stored["body"] for stored in await io.read(read)}
