"""Cancels a run: its status is `cancelling` at once, and `cancelled` when the upstream has stopped."""

from __future__ import annotations

from ... import errors
from ...store.queries import Row
from ...wire.objects import Run
from ..io import IO
from .refresh import begin_cancelling, cancel_upstream, refresh_run_if_reachable

_CANCELLABLE = frozenset({"queued", "in_progress", "requires_action"})


async def cancel_run(io: IO, row: Row) -> Run:
    """Cancel a run; raises `ApiError` (reported text) if it has ended.

    The run is refreshed first, because it may have ended without having been polled. An upstream failure does not
    prevent the cancellation: otherwise the run would keep its thread busy.
    """
    row = await refresh_run_if_reachable(io, row, may_resend=False)
    if row["status"] not in _CANCELLABLE:
        raise errors.ApiError(400, f"Cannot cancel run with status '{row['status']}'.")
    row = await begin_cancelling(io, row)
    if row["status"] != "cancelling":  # it ended after the refresh
        raise errors.ApiError(400, f"Cannot cancel run with status '{row['status']}'.")
    await cancel_upstream(io, row)  # does nothing for a run that waited for outputs: it has no open response
    run: Run = row["body"]
    return run
