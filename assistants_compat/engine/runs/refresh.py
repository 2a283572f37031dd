"""How a run moves: it is looked at until it has ended.

No worker: a run moves when somebody looks at it.  The end of a round is one transaction with a compare-and-set on the
run's status: any number of pollers write its messages once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from ... import errors
from ...store import queries
from ...store.database import Connection
from ...store.queries import Found
from ...translate import run as runs
from ...translate.output import INCOMPLETE_REASONS, end_message
from ...translate.step import stopped
from ...wire.objects import Json, Message
from ..containers import delete_upstream
from ..io import IO, Request
from .ask_upstream import (
    Asked,
    ask_again,
    in_mode,
    may_be_asked_again,
    remember_response,
    response_path,
    response_request,
    status_of_response,
    taken,
)
from .finish import again, end_lease, finish, lease

log = logging.getLogger("assistants_compat")

_NOT_FOUND = 404
_PATIENCE = 86_400  # seconds for which what was finished in time may still be fetched

DIED = {"code": "server_error", "message": "The program that streamed this run ended before the run did."}


# --- looking


async def look_at_thread(io: IO, thread_id: str) -> None:
    """Let the thread's active run move, if it has one; an upstream that does not answer changes nothing."""
    row = await io.read(lambda db: queries.active_run(db, io.settings.namespace, thread_id))
    if row is not None:
        await look_if_possible(io, row)


async def look_if_possible(io: IO, row: Found) -> Found:
    """The run as it is now; where the upstream does not answer, as it was."""
    try:
        return await look(io, row)
    except errors.UNANSWERED as error:
        log.warning("run %s could not be looked at: %s", row["id"], type(error).__name__)
        return await again(io, row)


async def look(io: IO, row: Found) -> Found:
    """The run as it is now: an active one is asked for upstream (one GET) and moved by what that says.

    An upstream error is the caller's to see, and changes nothing (see `_ending`).  Past its time (600 s) a run that the
    upstream has not finished is expired, and so is one that waits for tool outputs.
    """
    if row["status"] in runs.TERMINAL:
        return row
    late = io.now() >= row["expires_at"]
    if row["status"] != "requires_action" and row["lease_until"] > io.now() and row["request"].get("stream"):
        return await _look_at_stream(io, row, late=late)
    if row["response_id"] is None or row["status"] == "requires_action":
        return await _look_without_upstream(io, row, late=late)
    return await _look_upstream(io, row, late=late)


async def _look_upstream(io: IO, row: Found, *, late: bool) -> Found:
    try:
        response = await io.ask(response_request(row))
    except errors.UNANSWERED as error:
        gone = isinstance(error, errors.UpstreamError) and error.status == _NOT_FOUND
        ending = _ending(row, io.now(), gone=gone)
        if ending is not None:
            return await stop(io, row, ending, last_error=DIED)
        if gone:  # the upstream's words hold its own id
            raise errors.no_response(row["id"]) from None
        raise
    row = await advance(io, row, response)
    # What the upstream has finished is not late, even while somebody else still copies its files.
    if status_of_response(response) in runs.TERMINAL:
        # Calls that were found too late are not: nobody may answer them any more.
        return await stop(io, row, "expired") if late and row["status"] == "requires_action" else row
    if late or row["status"] == "cancelling":  # one that is cancelled: the upstream did not hear it the first time
        await cancel_upstream(io, row)
    if late:
        return await stop(io, row, "expired")
    if _died(row):  # and nobody reads what the upstream says any more
        return await stop(io, row, "cancelled" if row["status"] == "cancelling" else "failed", last_error=DIED)
    return row


def _ending(row: Found, now: int, *, gone: bool) -> str | None:
    """How a run ends when the upstream does not say; None while it may still do so.

    Any error may pass: another key, or a 404 for another project's key, or an upstream that is out of order.  So a run
    ends by it only when nobody waits for its result any more, or when it is long past its time.
    """
    late = now - row["expires_at"]
    if row["status"] == "cancelling" and (gone or late >= 0):
        return "cancelled"
    if late >= (0 if gone else _PATIENCE):
        return "expired"
    return "failed" if gone and _died(row) else None


def _died(row: Found) -> bool:
    """Whether this run was streamed by a program that is gone, and cannot go on without it."""
    return bool(row["request"].get("stream")) and not row["request"].get("background")


async def _look_at_stream(io: IO, row: Found, *, late: bool) -> Found:
    """Somebody streams this run: it is left alone, unless it is to stop; its reader hears of that by itself."""
    if late:
        await cancel_upstream(io, row)
        return await stop(io, row, "expired")
    return await stop(io, row, "cancelled") if row["status"] == "cancelling" else row


async def _look_without_upstream(io: IO, row: Found, *, late: bool) -> Found:
    """Nothing works upstream: the run waits for outputs, or was cancelled, or its asker is still asking (or died)."""
    if row["status"] == "cancelling":
        return await stop(io, row, "cancelled")
    if late:
        return await stop(io, row, "expired")
    return await stop(io, row, "failed", last_error=DIED) if row["status"] != "requires_action" and _died(row) else row


async def advance(io: IO, row: Found, response: Mapping[str, Any]) -> Found:
    """Move a run by what its response says."""
    status = status_of_response(response)
    error: Any = response.get("error")
    goes_on = row["status"] != "cancelling" and io.now() < row["expires_at"]
    if status == "failed" and goes_on and may_be_asked_again(error):
        return await _ask_again(io, row, error) or await finish(io, row, response)
    if status in runs.TERMINAL:
        return await finish(io, row, response)
    if status == "in_progress" and row["status"] == "queued":
        return await move(io, row, "in_progress")
    return row


async def _ask_again(io: IO, row: Found, error: Json) -> Found | None:
    """Let the upstream try once more with less input; None when that cannot be, and the run has failed."""
    if not await lease(io, row):
        return await again(io, row)  # somebody else asks, or has asked
    try:
        asked = await ask_again(io, row, in_mode(io, row["request"], stream=False), error)
    except errors.UpstreamError:
        asked = None
    except BaseException:
        await end_lease(io, row)
        raise
    if asked is None:
        await end_lease(io, row)
        return None
    fresh = await io.write(lambda db: _asked_anew(io, db, row, asked))
    if fresh is None:  # its thread was deleted meanwhile
        await abandon(io, row["id"], asked)
        return row
    if fresh["response_id"] != asked.response_id:  # it was stopped meanwhile
        await cancel_upstream(io, {**row, "response_id": asked.response_id})
        return fresh
    return await advance(io, fresh, asked.response)


def _asked_anew(io: IO, db: Connection, row: Found, asked: Asked) -> Found | None:
    namespace, run_id = row["namespace"], row["id"]
    fresh = queries.get(db, "runs", namespace, run_id, lock=True)
    if fresh is None:
        return None
    if fresh["status"] in runs.TERMINAL or fresh["status"] == "cancelling":
        remember_response(db, fresh, asked)
        return fresh
    changes = taken(db, fresh, asked, io.now())
    queries.change(db, "runs", namespace, run_id, **changes)
    return {**fresh, **changes}


# --- moving


async def move(io: IO, row: Found, status: str, **changes: object) -> Found:
    """The run in its next status, if it is still in the one that was seen; else the run as it is."""
    return await io.write(lambda db: _moved(io, db, row, status, **changes))


async def stop(io: IO, row: Found, status: str, *, last_error: Json | None = None) -> Found:
    """Expire, cancel or fail a run, and what of its messages and steps has not ended."""
    changes: Json = {"last_error": last_error} if status == "failed" else {}

    def work(db: Connection) -> Found:
        fresh = _moved(io, db, row, status, **changes)
        if fresh["status"] == status:
            namespace, now, usage = row["namespace"], io.now(), fresh["state"].get("step_usage")
            for message in queries.in_progress(db, "messages", namespace, row["id"]):
                end_message(cast("Message", message), INCOMPLETE_REASONS[status], now)
                queries.change(db, "messages", namespace, message["id"], body=message)
            for step in queries.in_progress(db, "steps", namespace, row["id"]):
                queries.change(db, "steps", namespace, step["id"], body=stopped(step, status, now, usage))
        return fresh

    return await io.write(work)


def _moved(io: IO, db: Connection, row: Found, status: str, **changes: object) -> Found:
    fresh = queries.get(db, "runs", row["namespace"], row["id"], lock=True)
    if fresh is None or fresh["status"] != row["status"]:
        return fresh or row
    if status in runs.TERMINAL:
        changes["usage"] = row["state"]["usage"]  # of the rounds that ended
    moved: Found = {"status": status, "body": runs.moved(fresh["body"], status, io.now(), **changes)}
    if row["status"] == "requires_action":
        moved["response_id"] = None  # that response was read to its end: it is not looked at again
    queries.change(db, "runs", row["namespace"], row["id"], **moved)
    return {**fresh, **moved}


async def abandon(io: IO, run_id: str, asked: Asked) -> None:
    """Stop what the upstream does for a run that is not there any more, and let it keep nothing of it."""
    await asked.aclose()
    row = {"id": run_id, "response_id": asked.response_id, "request": asked.request}
    await cancel_upstream(io, row)
    if asked.response_id is not None and asked.request["store"]:
        await delete_upstream(io, response_path(row), asked.response_id)


async def cancel_upstream(io: IO, row: Found) -> None:
    """Ask the upstream to stop, once; what it answers is seen at the next look."""
    if row["response_id"] is None or not row["request"].get("background"):
        return
    try:
        await io.ask(Request("POST", f"{response_path(row)}/cancel"))
    except errors.UNANSWERED as error:
        log.warning("the response of run %s could not be cancelled: %s", row["id"], type(error).__name__)
