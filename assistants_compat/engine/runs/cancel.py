"""Cancelling a run: it is `cancelling` at once, and `cancelled` when the upstream has stopped."""

from __future__ import annotations

from ... import errors
from ...store.queries import Found
from ...wire.objects import Run
from ..io import IO
from .refresh import cancel_upstream, look_if_possible, move

_CANCELLED_FROM = frozenset({"queued", "in_progress", "requires_action"})


async def cancel(io: IO, row: Found) -> Run:
    """Cancel a run; it is looked at first, because it may have ended.  Raises `ApiError` (reported text) if it has.

    An upstream that does not answer is no reason not to: the run must not hold its thread for that.
    """
    row = await look_if_possible(io, row)
    if row["status"] not in _CANCELLED_FROM:
        raise errors.ApiError(400, f"Cannot cancel run with status '{row['status']}'.")
    row = await move(io, row, "cancelling", required_action=None)
    if row["status"] != "cancelling":  # it ended between the look and the move
        raise errors.ApiError(400, f"Cannot cancel run with status '{row['status']}'.")
    await cancel_upstream(io, row)  # one that waited for outputs has nothing upstream any more
    run: Run = row["body"]
    return run
