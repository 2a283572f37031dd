"""Brings a run up to date with its upstream response, and ends runs that can no longer finish.

There is no worker: a run advances only when something polls it. Every change of status is a compare-and-set in one
transaction, so any number of pollers write the end of a run once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from ... import errors
from ...service.refusal_table import NOT_SERVED_STATUSES
from ...store import queries
from ...store.database import Connection
from ...store.queries import Row
from ...translate import run as run_status
from ...translate.output import INCOMPLETE_REASONS, set_message_end
from ...translate.request import container_of_request
from ...translate.step import stopped_step
from ...wire.objects import Json, Message
from ..containers import delete_upstream
from ..io import IO, Request
from .ask_upstream import (
    UpstreamRequest,
    accepted_columns,
    remember_response,
    request_with_own_items,
    response_path,
    retrieve_response,
    retry_with_less_input,
    status_of_response,
    with_response_mode,
)
from .finish import finish_round, release_lease, reload_run, round_number, take_lease
from .remedies import RESPONSES_SERVED, asks_for_less_input, row_of_error
from .run_log import log_if_ended
from .second_looks import containers_to_look_at, look_again, look_at

log = logging.getLogger("assistants_compat")

_NOT_FOUND = 404
_NOT_FOUND_PAUSES = (0.5, 1.0)  # seconds; before a response that was just created counts as not served
# While the upstream does not answer, a run past its time stays open this long: its response may have finished in time.
RESULT_RETENTION_SECONDS = 86_400
# A streamed run that is cancelled or late ends by its reader, which stores what it has shown. A reader looks at the run
# when something arrives, so one that hears nothing loses the run after this long.
_READER_SECONDS = 10

# The `last_error` of a streamed run whose program died. Callers see it, so its text stays as it is.
STREAMER_DIED_ERROR = {
    "code": "server_error",
    "message": "The program that streamed this run ended before the run did.",
}

# The `last_error` of a run whose response the upstream cannot retrieve.
NOT_SERVED_ERROR = {
    "code": "server_error",
    "message": ("The upstream accepted a background response and cannot retrieve it. Set mode='inline'."),
}


# --- refresh


async def refresh_active_run(io: IO, thread_id: str) -> None:
    """Refresh the thread's active run, if it has one; an upstream failure changes nothing.

    Without one, containers of earlier runs that could not be listed are looked at again.
    """

    def read(db: Connection) -> tuple[Row | None, list[Row]]:
        row = queries.active_run(db, io.settings.namespace, thread_id)
        return row, containers_to_look_at(io, db, thread_id) if row is None else []

    row, containers = await io.read(read)  # in one read, because almost every request to a thread comes here
    if row is not None:
        await refresh_run_if_reachable(io, row)
    await look_at(io, containers)


async def refresh_run_if_reachable(io: IO, row: Row, *, may_resend: bool = True) -> Row:
    """Return the refreshed run or, after an upstream failure, the run as it is in the store."""
    try:
        return await refresh_run(io, row, may_resend=may_resend)
    except errors.UPSTREAM_FAILURES as error:
        log.warning("run %s could not be refreshed: %s", row["id"], type(error).__name__)
        return await reload_run(io, row)


async def refresh_run(io: IO, row: Row, *, may_resend: bool = True) -> Row:
    """Bring a run up to date and return its row; an active run costs one GET upstream.

    With `may_resend` a run whose response the upstream cannot retrieve gets another one. An upstream failure is raised
    and changes nothing, except as `_status_without_response` says. Past its time (600 s) a run expires if the upstream
    has not finished it or if it waits for tool outputs.
    """
    if row["status"] in run_status.TERMINAL:
        if container_of_request(row["request"]) is not None:
            await look_again(io, row["thread_id"])
        return row
    is_late = io.now() >= row["expires_at"]
    if row["status"] != "requires_action" and row["lease_until"] > io.now() and row["request"].get("stream"):
        return await _refresh_streamed_run(io, row)
    if row["response_id"] is None or row["status"] == "requires_action":
        return await _refresh_without_response(io, row, is_late=is_late)
    return await _refresh_from_response(io, row, is_late=is_late, may_resend=may_resend and not is_late)


async def _refresh_from_response(io: IO, row: Row, *, is_late: bool, may_resend: bool) -> Row:
    """Refresh a run that has a response upstream."""
    try:
        response = await _retrieve(io, row, may_resend=may_resend)
    except _NotServedError:
        return await _leave_background(io, row)
    except errors.UPSTREAM_FAILURES as error:
        status = error.status if isinstance(error, errors.UpstreamError) else None
        is_gone = status == _NOT_FOUND
        end_status = _status_without_response(row, io.now(), is_gone=status in NOT_SERVED_STATUSES)
        if end_status is not None:
            return await end_run(io, row, end_status, last_error=STREAMER_DIED_ERROR)
        if is_gone:  # not the upstream's own error: its text contains the upstream's response id
            raise errors.response_not_found(row["id"]) from None
        raise
    row = await advance_run(io, row, response)
    # A response that has ended is not late, even while another poller still copies its files.
    if status_of_response(response) in run_status.TERMINAL:
        # Function calls that were found too late do expire: their outputs are no longer accepted.
        return await end_run(io, row, "expired") if is_late and row["status"] == "requires_action" else row
    if is_late or row["status"] == "cancelling":  # an earlier cancel did not reach the upstream
        await cancel_upstream(io, row)
    if is_late:
        return await end_run(io, row, "expired")
    if _is_orphaned_stream(row):  # its reader has no lease any more, so nothing reads the rest of the stream
        return await end_run(
            io, row, "cancelled" if row["status"] == "cancelling" else "failed", last_error=STREAMER_DIED_ERROR
        )
    return row


class _NotServedError(Exception):
    """The upstream has accepted a background response, and has no route to retrieve it."""


async def _retrieve(io: IO, row: Row, *, may_resend: bool) -> Json:
    """Retrieve a run's response.

    With `may_resend` raises `_NotServedError` if this process has created the response and cannot retrieve it at the
    first look, on an upstream that has never served one.
    """
    pauses = list(_NOT_FOUND_PAUSES)
    while True:
        try:
            return await retrieve_response(io, row)
        except errors.UpstreamError as error:  # noqa: PERF203 - each attempt handles its own error
            if not (may_resend and _may_not_be_served(io, row, error)):
                raise
            if error.status != _NOT_FOUND or not pauses:
                raise _NotServedError from None
            await io.sleep(pauses.pop(0))  # it may not be found yet


def _may_not_be_served(io: IO, row: Row, error: errors.UpstreamError) -> bool:
    """Whether an error at the first look may mean that the upstream retrieves no responses.

    Later, and in another process, the same error has other causes: another key, or a response that was deleted. A 404
    in the words of the service, or one that names the response (OGX), comes from a server that does retrieve responses.
    """
    request, details = row["request"], error.details()
    is_named = str(row["response_id"]) in str(details.get("message"))
    is_lost = is_named or row_of_error(details, error.status) == "responses_not_kept"
    is_first_look = io.memory.has_created(row["response_id"]) and not io.memory.has_note(RESPONSES_SERVED)
    return (
        error.status in NOT_SERVED_STATUSES
        and is_first_look
        and not is_lost
        and row["status"] == "queued"
        and bool(request.get("background") and not request.get("stream"))
    )


async def _leave_background(io: IO, row: Row) -> Row:
    """Create the response of a run inline, after one in the background that cannot be retrieved.

    That repeats no function: the caller has seen no call of the first response. Code might run twice in the thread's
    container, so a run with code fails instead. So does every run if `Settings(mode="background")` forbids inline.
    """
    io.memory.remember("response_not_served")
    has_code = container_of_request(row["request"]) is not None
    request = with_response_mode(io, row["request"], stream=False)
    current = None
    if not (has_code or request.get("background")):
        current = await _resend(io, row, lambda: request_with_own_items(io, row, request))
    return current or await end_run(io, row, "failed", last_error=NOT_SERVED_ERROR)


def _status_without_response(row: Row, now: int, *, is_gone: bool) -> str | None:
    """Return the status in which a run ends although its response cannot be read; None if it stays active.

    Any error may be temporary: a wrong key, a 404 because the key belongs to another project, or an upstream outage.
    So an error ends a run only if its result is no longer wanted or if it is long past its time.
    """
    seconds_late = now - row["expires_at"]
    if row["status"] == "cancelling" and (is_gone or seconds_late >= 0):
        return "cancelled"
    if seconds_late >= (0 if is_gone else RESULT_RETENTION_SECONDS):
        return "expired"
    return "failed" if is_gone and _is_orphaned_stream(row) else None


def _is_orphaned_stream(row: Row) -> bool:
    """Whether a run was streamed without background mode, so that it cannot finish without its reader."""
    return bool(row["request"].get("stream")) and not row["request"].get("background")


async def _refresh_streamed_run(io: IO, row: Row) -> Row:
    """Leave a run to the reader that streams it, unless it is so late that the reader must have noticed.

    The reader notices at its next save that the run is cancelled or late, and stores what it has shown together with
    the end. A run that is being cancelled has a short lease, see `begin_cancelling`.
    """
    if io.now() < row["expires_at"] + _READER_SECONDS:
        return row
    await cancel_upstream(io, row)
    return await end_run(io, row, "cancelled" if row["status"] == "cancelling" else "expired")


async def _refresh_without_response(io: IO, row: Row, *, is_late: bool) -> Row:
    """Refresh a run that has no unfinished response upstream.

    It waits for tool outputs, is being cancelled, or its request is still being sent (or the sender died).
    """
    if row["status"] == "cancelling":
        return await end_run(io, row, "cancelled")
    if is_late:
        return await end_run(io, row, "expired")
    if row["status"] != "requires_action" and _is_orphaned_stream(row):
        return await end_run(io, row, "failed", last_error=STREAMER_DIED_ERROR)
    return row


async def advance_run(io: IO, row: Row, response: Mapping[str, Any]) -> Row:
    """Apply a response to its run and return the run's row; a failed response may be retried with less input."""
    status = status_of_response(response)
    error: Any = response.get("error")
    may_retry = row["status"] != "cancelling" and io.now() < row["expires_at"]
    if status == "failed" and may_retry and asks_for_less_input(row["request"], error):
        return await _retry_failed_response(io, row, error) or await finish_round(io, row, response)
    if status in run_status.TERMINAL:
        return await finish_round(io, row, response)
    if status == "in_progress" and row["status"] == "queued":
        return await change_status(io, row, "in_progress")
    return row


async def _retry_failed_response(io: IO, row: Row, error: Json) -> Row | None:
    """Retry a failed response with less input; None if that is not possible, so that the run fails."""
    request = with_response_mode(io, row["request"], stream=False)
    return await _resend(io, row, lambda: retry_with_less_input(io, row, request, error))


async def _resend(io: IO, row: Row, send: Callable[[], Awaitable[UpstreamRequest | None]]) -> Row | None:
    """Give a run another response and return its row; None if the upstream refuses that, or `send` returns None."""
    if not await take_lease(io, row):
        return await reload_run(io, row)  # another poller retries, or has retried
    try:
        upstream_request = await send()
    except errors.UpstreamError:
        upstream_request = None
    except BaseException:
        await release_lease(io, row)
        raise
    if upstream_request is None:
        await release_lease(io, row)
        return None
    current = await io.write(lambda db: _accept_retry(io, db, row, upstream_request))
    if current is None:  # the thread was deleted meanwhile
        await abandon_response(io, row["id"], upstream_request)
        return row
    if current["response_id"] != upstream_request.response_id:  # the run ended or was cancelled meanwhile
        await cancel_upstream(io, {**row, "response_id": upstream_request.response_id})
        return current
    return await advance_run(io, current, upstream_request.response)


def _accept_retry(io: IO, db: Connection, row: Row, upstream_request: UpstreamRequest) -> Row | None:
    """Write the accepted retry to the run's row; None when the thread was deleted meanwhile."""
    namespace, run_id = row["namespace"], row["id"]
    queries.lock_thread(db, namespace, row["thread_id"])  # before the run, as in every transaction
    current = queries.get(db, "runs", namespace, run_id, lock=True)
    if current is None:
        return None
    if current["status"] in run_status.TERMINAL or current["status"] == "cancelling":
        remember_response(db, current, upstream_request)
        return current
    columns = accepted_columns(db, current, upstream_request, io.now())
    queries.update_row(db, "runs", namespace, run_id, **columns)
    return {**current, **columns}


def accept_streamed_retry(io: IO, db: Connection, row: Row, upstream_request: UpstreamRequest) -> Row | None:
    """Write the accepted retry of a stream to the run's row, and return the new columns.

    Returns None if the run has ended, is being cancelled, was deleted, or is in another round.
    """
    namespace, run_id = row["namespace"], row["id"]
    queries.lock_thread(db, namespace, row["thread_id"])  # before the run, as in every transaction
    current = queries.get(db, "runs", namespace, run_id, lock=True)
    if current is None or current["status"] in {*run_status.TERMINAL, "requires_action", "cancelling"}:
        return None
    if round_number(current) != round_number(row):
        return None
    # The failed response is deleted with the thread.
    state = run_status.with_response_id(current["state"], row["response_id"])
    columns = accepted_columns(db, {**current, "state": state}, upstream_request, io.now())
    queries.update_row(db, "runs", namespace, run_id, **columns)
    return columns


# --- change the status


async def change_status(io: IO, row: Row, status: str, **changes: object) -> Row:
    """Set a run's status if it still has the status of `row`; return the run's row as it is afterwards."""
    return await io.write(lambda db: _change_status(io, db, row, status, **changes))


async def begin_cancelling(io: IO, row: Row) -> Row:
    """Set a run to `cancelling` if it still has the status of `row`; return the run's row as it is afterwards.

    If a reader streams the run, its lease ends soon, so that the run ends even if the reader hears nothing more.
    """

    def work(db: Connection) -> Row:
        current = _change_status(io, db, row, "cancelling", required_action=None)
        lease_until = io.now() + _READER_SECONDS
        if (
            current["status"] != "cancelling"
            or not row["request"].get("stream")
            or current["lease_until"] < lease_until
        ):
            return current
        queries.update_row(db, "runs", row["namespace"], row["id"], lease_until=lease_until)
        return {**current, "lease_until": lease_until}

    return await io.write(work)


async def end_run(io: IO, row: Row, status: str, *, last_error: Json | None = None) -> Row:
    """Expire, cancel or fail a run, together with its messages and steps that are in progress."""
    changes: Json = {"last_error": last_error} if status == "failed" else {}

    def work(db: Connection) -> Row:
        current = _change_status(io, db, row, status, **changes)
        if current["status"] == status:
            namespace, now, usage = row["namespace"], io.now(), current["state"].get("step_usage")
            for message in queries.in_progress_bodies(db, "messages", namespace, row["id"]):
                set_message_end(cast("Message", message), INCOMPLETE_REASONS[status], now)
                queries.update_row(db, "messages", namespace, message["id"], body=message)
            for step in queries.in_progress_bodies(db, "steps", namespace, row["id"]):
                queries.update_row(db, "steps", namespace, step["id"], body=stopped_step(step, status, now, usage))
        return current

    ended_row = await io.write(work)
    if ended_row["status"] == status:
        await log_if_ended(io, ended_row)
    return ended_row


def _change_status(io: IO, db: Connection, row: Row, status: str, **changes: object) -> Row:
    """Do the work of `change_status` inside a transaction."""
    current = queries.get(db, "runs", row["namespace"], row["id"], lock=True)
    if current is None or current["status"] != row["status"]:
        return current or row
    if status in run_status.TERMINAL:
        changes["usage"] = row["state"]["usage"]  # of the rounds that are finished
    columns: Row = {"status": status, "body": run_status.run_with_status(current["body"], status, io.now(), **changes)}
    if row["status"] == "requires_action":
        columns["response_id"] = None  # that response was read to its end and is not read again
    queries.update_row(db, "runs", row["namespace"], row["id"], **columns)
    return {**current, **columns}


async def abandon_response(io: IO, run_id: str, upstream_request: UpstreamRequest) -> None:
    """Cancel and delete the response of a run that no longer exists."""
    await upstream_request.aclose()
    row = {"id": run_id, "response_id": upstream_request.response_id, "request": upstream_request.request}
    await cancel_upstream(io, row)
    if upstream_request.response_id is not None and upstream_request.request["store"]:
        await delete_upstream(io, response_path(row), upstream_request.response_id)


async def cancel_upstream(io: IO, row: Row) -> None:
    """Cancel a run's background response, with one request; the next poll sees the result."""
    if row["response_id"] is None or not row["request"].get("background"):
        return
    try:
        await io.ask(Request("POST", f"{response_path(row)}/cancel"))
    except errors.UPSTREAM_FAILURES as error:
        log.warning("the response of run %s could not be cancelled: %s", row["id"], type(error).__name__)
