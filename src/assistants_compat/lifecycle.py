"""How a run moves: it is looked at until it has ended.

No worker: a run moves when somebody looks at it.  The end of a round is one transaction with a compare-and-set on the
run's status: any number of pollers write its messages once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from . import errors, generated
from .asking import Asked, ask_shorter, is_too_long, status_of_response
from .io import IO, Request
from .store import queries
from .store.engine import Connection
from .store.queries import Found
from .translate import run as runs
from .translate.output import Outcome, outcome_from_response
from .translate.request import OUTPUTS
from .translate.run import added, outcome_of_response, usage_from_response
from .translate.step import stopped
from .wire import Json, Run

log = logging.getLogger("assistants_compat")

_LEASE_SECONDS = 300  # a poller that died while it copied holds a run's end back no longer than this


# --- looking


async def look_at_thread(io: IO, thread_id: str) -> None:
    """Let the thread's active run move, if it has one; an upstream that does not answer changes nothing."""
    row = await io.read(lambda db: queries.active_run(db, io.settings.namespace, thread_id))
    if row is None:
        return
    try:
        await look(io, row)
    except (errors.UpstreamError, errors.UnreachableError, errors.ApiError) as error:
        log.warning("run %s could not be looked at: %s", row["id"], type(error).__name__)


async def look(io: IO, row: Found) -> Found:
    """The run as it is now: an active one is asked for upstream (one GET) and moved by what that says.

    An upstream error is the caller's to see, and changes nothing: 404 may mean another project's key.  Past its time
    (600 s) a run that the upstream has not finished is expired, and so is one that waits for tool outputs.
    """
    if row["status"] in runs.TERMINAL:
        return row
    late = io.now() >= row["expires_at"]
    if row["response_id"] is None or row["status"] == "requires_action":
        return await _look_without_upstream(io, row, late=late)
    request = Request("GET", _path(row), query=_include(row["request"]))
    try:
        response = await io.ask(request)
    except errors.UpstreamError as error:
        if late and error.status == 404:  # noqa: PLR2004 - the upstream no longer has it
            return await stop(io, row, "expired")
        raise
    row = await advance(io, row, response)
    # What the upstream has finished is not late, even while somebody else still copies its files.
    if status_of_response(response) in runs.TERMINAL:
        # Calls that were found too late are not: nobody may answer them any more.
        return await stop(io, row, "expired") if late and row["status"] == "requires_action" else row
    if late:
        await cancel_upstream(io, row)
        return await stop(io, row, "expired")
    if row["status"] == "cancelling":  # the upstream did not hear it the first time
        await cancel_upstream(io, row)
    return row


async def _look_without_upstream(io: IO, row: Found, *, late: bool) -> Found:
    """Nothing works upstream: the run waits for outputs, or was cancelled, or its asker is still asking (or died)."""
    if row["status"] == "cancelling":
        return await stop(io, row, "cancelled")
    return await stop(io, row, "expired") if late else row


def _path(row: Found) -> str:
    return f"/responses/{quote(row['response_id'], safe='')}"


def _include(request: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return (("include[]", OUTPUTS),) if OUTPUTS in request.get("include", ()) else ()


async def advance(io: IO, row: Found, response: Mapping[str, Any]) -> Found:
    """Move a run by what its response says."""
    status = status_of_response(response)
    if status == "failed" and is_too_long(response.get("error")) and row["status"] != "cancelling":
        return await _ask_again(io, row) or await _finish(io, row, response)
    if status in runs.TERMINAL:
        return await _finish(io, row, response)
    if status == "in_progress" and row["status"] == "queued":
        return await move(io, row, "in_progress")
    return row


async def _ask_again(io: IO, row: Found) -> Found | None:
    """Let the upstream try once more with a shorter input; None when that cannot be, and the run has failed."""
    if not await _lease(io, row):
        return await _again(io, row)  # somebody else asks, or has asked
    try:
        asked = await ask_shorter(io, row, row["request"])
    except errors.UpstreamError:
        asked = None
    except BaseException:
        await _end_lease(io, row)
        raise
    if asked is None:
        await _end_lease(io, row)
        return None
    fresh = await io.write(lambda db: _asked_anew(db, row, asked))
    if fresh is None or fresh["response_id"] != asked.response["id"]:  # it was stopped meanwhile
        await cancel_upstream(io, {**row, "response_id": asked.response["id"]})
        return fresh or row
    return await advance(io, fresh, asked.response)


def _asked_anew(db: Connection, row: Found, asked: Asked) -> Found | None:
    namespace, run_id = row["namespace"], row["id"]
    fresh = queries.lock(db, "runs", namespace, run_id)
    if fresh is None or fresh["status"] in runs.TERMINAL or fresh["status"] == "cancelling":
        return fresh
    state = {**fresh["state"], "cuts": fresh["state"].get("cuts", 0) + 1}
    changes = {"response_id": asked.response["id"], "request": asked.request, "state": state, "lease_until": 0}
    queries.change(db, "runs", namespace, run_id, **changes)
    return {**fresh, **changes}


# --- moving


async def move(io: IO, row: Found, status: str, **changes: object) -> Found:
    """The run in its next status, if it is still in the one that was seen; else the run as it is."""
    return await io.write(lambda db: _moved(io, db, row, status, **changes))


async def stop(io: IO, row: Found, status: str) -> Found:
    """Expire or cancel a run, and its steps that have not ended."""

    def work(db: Connection) -> Found:
        fresh = _moved(io, db, row, status)
        if fresh["status"] == status:
            for step in queries.steps_in_progress(db, row["namespace"], row["id"]):
                queries.change(db, "steps", row["namespace"], step["id"], body=stopped(step, status, io.now()))
        return fresh

    return await io.write(work)


def _moved(io: IO, db: Connection, row: Found, status: str, **changes: object) -> Found:
    fresh = queries.lock(db, "runs", row["namespace"], row["id"])
    if fresh is None or fresh["status"] != row["status"]:
        return fresh or row
    if status in runs.TERMINAL:
        changes["usage"] = row["state"]["usage"]  # of the rounds that ended
    moved: Found = {"status": status, "body": runs.moved(fresh["body"], status, io.now(), **changes)}
    if row["status"] == "requires_action":
        moved["response_id"] = None  # that response was read to its end: it is not looked at again
    queries.change(db, "runs", row["namespace"], row["id"], **moved)
    return {**fresh, **moved}


async def cancel_upstream(io: IO, row: Found) -> None:
    """Ask the upstream to stop, once; what it answers is seen at the next look."""
    if row["response_id"] is None or not row["request"].get("background"):
        return
    try:
        await io.ask(Request("POST", f"{_path(row)}/cancel"))
    except (errors.UpstreamError, errors.UnreachableError, errors.ApiError) as error:
        log.warning("the response of run %s could not be cancelled: %s", row["id"], type(error).__name__)


# --- ending a round


async def _finish(io: IO, row: Found, response: Mapping[str, Any]) -> Found:
    """Copy the files, then write messages, steps, files and the run's next status in one transaction.

    Of any number of pollers one takes the lease and copies; the others see the run as it still is.
    """
    run: Run = row["body"]
    now = io.now()
    usage = usage_from_response(response)
    total = added(row["state"]["usage"], usage)
    status, changes = outcome_of_response(run, response, total)
    waits = status == "requires_action"
    waiting = "in_progress" if waits else "cancelled" if status == "cancelled" else "failed"
    outcome = outcome_from_response(run, response, usage, io.mint, now, calls_are=waiting)
    state = {**row["state"], "usage": total, "step_usage": usage, "sent": _sent(row, response)}
    if outcome.files and not await _lease(io, row):
        return await _again(io, row)
    written = False
    try:
        kept = [await generated.keep(io, file, run) for file in outcome.files.values()]

        def work(db: Connection) -> bool:
            namespace, run_id = row["namespace"], row["id"]
            queries.lock(db, "threads", namespace, run["thread_id"])
            fresh = queries.lock(db, "runs", namespace, run_id)
            # Another poller may have been first; then this response is not the one that the run waits for.
            if fresh is None or fresh["status"] in runs.TERMINAL or fresh["response_id"] != row["response_id"]:
                return False
            # And what calls functions ends otherwise for a run that is cancelled meanwhile: the next look sees it.
            if fresh["status"] == "requires_action" or (waits and fresh["status"] == "cancelling"):
                return False
            ended = runs.moved(fresh["body"], status, now, **changes)
            queries.change(
                db, "runs", namespace, run_id, status=ended["status"], body=ended, state=state, lease_until=0
            )
            queries.add(db, "messages", [_entry(io, run, entry) for entry in outcome.entries])
            queries.add(db, "steps", [_row(namespace, step, run_id=run_id) for step in outcome.steps])
            queries.add(db, "files", kept)
            return True

        written = await io.write(work)
    finally:
        if not written:
            await _give_up(io, row, outcome)
    return await _again(io, row)


def _sent(row: Found, response: Mapping[str, Any]) -> list[Any]:
    """What the next round has to send again because the upstream keeps nothing (`store_responses=False`)."""
    return [] if row["request"]["store"] else [*row["state"]["sent"], list(response.get("output") or [])]


async def _lease(io: IO, row: Found) -> bool:
    namespace, run_id = row["namespace"], row["id"]
    return await io.write(lambda db: queries.lease_run(db, namespace, run_id, now=io.now(), seconds=_LEASE_SECONDS))


async def _end_lease(io: IO, row: Found) -> None:
    await io.write(lambda db: queries.change(db, "runs", row["namespace"], row["id"], lease_until=0))


async def _give_up(io: IO, row: Found, outcome: Outcome) -> None:
    """Let the next look try, and forget the copies that no row speaks of.

    Whether a transaction was written may be unknown (the connection was lost at its commit): the store says what is
    there, and while it does not answer nothing is forgotten.
    """
    if not outcome.files:
        return
    namespace = row["namespace"]
    with contextlib.suppress(errors.StoreError):
        await io.write(lambda db: queries.change(db, "runs", namespace, row["id"], lease_until=0))
        spoken_of = await io.read(
            lambda db: {id_ for id_ in outcome.files if queries.get(db, "files", namespace, id_) is not None}
        )
        for id_ in outcome.files.keys() - spoken_of:
            await io.forget(id_)


def _entry(io: IO, run: Run, entry: Json) -> Json:
    """A message's row, or the row of what a run did between its messages."""
    if "role" in entry:
        return _row(io.settings.namespace, entry, run_id=run["id"])
    return item_row(io, run, entry)


def item_row(io: IO, run: Run, entry: Json) -> Json:
    """The row of what a run did between its messages: it is told to later runs and never listed."""
    return {
        "namespace": io.settings.namespace,
        "id": io.mint("msg"),
        "created_at": io.now(),
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "kind": "item",
        "body": entry,
    }


def _row(namespace: str, object_: Mapping[str, Any], **columns: str) -> Json:
    return {
        "namespace": namespace,
        "id": object_["id"],
        "created_at": object_["created_at"],
        "thread_id": object_["thread_id"],
        "body": object_,
        **columns,
    }


async def _again(io: IO, row: Found) -> Found:
    return await io.read(lambda db: queries.get(db, "runs", row["namespace"], row["id"])) or row
