"""Logs one line when a run starts and one when it ends: ids, status, model, seconds and the number of files."""

from __future__ import annotations

import logging

from ... import errors
from ...runtime import logs
from ...store import queries
from ...store.queries import Row
from ...translate.run import TERMINAL
from ..io import IO


def log_run_start(row: Row) -> None:
    """Log a run that the upstream has accepted; a streamed one has no response id yet."""
    response_id = row["response_id"] or "not known yet"
    logs.runs.info("run %s started: response %s, model %s", row["id"], response_id, row["request"].get("model"))


async def log_if_ended(io: IO, row: Row) -> None:
    """Log a run whose status has just changed, if it has ended. Files are counted only for a line that is printed."""
    if row["status"] not in TERMINAL or not logs.runs.isEnabledFor(logging.INFO):
        return
    namespace, run_id, thread_id = row["namespace"], row["id"], row["thread_id"]
    try:
        files = await io.read(lambda db: len(queries.rows_of_thread(db, "files", namespace, thread_id, run_id=run_id)))
    except errors.StoreError:  # the run has ended all the same
        return
    logs.runs.info(
        "run %s %s: response %s, model %s, %s s, files: %s",
        run_id,
        row["status"],
        row["response_id"] or "none",
        row["request"].get("model"),
        io.now() - row["created_at"],
        files,
    )
