"""Submits tool outputs: they start the next round of a run, which continues the response that called the functions.

As in `create.py` the run is reserved first: its status becomes `queued`, so that no other caller can submit outputs.
If the request fails, the run gets back its status and waits for outputs again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ... import errors
from ...service.refusal_table import says_not_served
from ...store import queries
from ...store.database import Connection
from ...store.queries import Row
from ...translate import run as run_status
from ...translate.request import continuation_request
from ...translate.step import step_with_outputs
from ...translate.transcript import RunInput, function_output_item, items_from_answered_calls
from ...wire.objects import Json, Run, RunStep
from ..io import IO
from .ask_upstream import (
    BACKGROUND_IGNORED,
    UpstreamRequest,
    accepted_columns,
    create_response,
    creation_lease,
    remember_response,
    request_that_fits,
    request_with_own_items,
    response_request,
    retry_with_less_input,
    with_response_mode,
)
from .create import advance_logging_errors
from .finish import item_row, round_number
from .refresh import abandon_response, cancel_upstream, refresh_run
from .remedies import NOT_CONTINUED, RESPONSES_SERVED, Allowed, is_mapped_model

_OutputsByCall = Mapping[str, str]
_LONGEST_RESPONSE_ID = 64  # those of the service have 53 characters; gateways put theirs into longer ones


async def submit_tool_outputs(io: IO, row: Row, tool_outputs: Sequence[Json]) -> Run:
    """Submit the outputs of a run's function calls and return the run.

    Raises `ApiError` (recorded and reported texts) if the run does not wait for outputs or waits for other ones.
    """
    accepted_row, upstream_request, _ = await begin_next_round(io, row, tool_outputs)
    run: Run = (await advance_logging_errors(io, accepted_row, upstream_request.response))["body"]
    return run


async def begin_next_round(
    io: IO, row: Row, tool_outputs: Sequence[Json], *, stream: bool = False
) -> tuple[Row, UpstreamRequest, RunStep | None]:
    """Submit tool outputs up to the point where the upstream has accepted the request of the next round.

    Returns the run's row, the request, and the step that the outputs complete. Raises as `submit_tool_outputs` does.
    """
    # The run may have expired since it was read; it then refuses outputs (reported).
    row = await refresh_run(io, row)
    calls = _awaited_calls(row)
    outputs = _outputs_by_call(calls, tool_outputs)
    # Before the upstream is asked, so that of two concurrent submissions only one sends a request.
    reserved_row = await io.write(lambda db: _reserve(io, db, row, stream=stream))
    upstream_request = None
    try:
        upstream_request = await _request_next_round(io, reserved_row, calls, outputs, stream=stream)
        accepted_request = upstream_request  # mypy does not narrow a variable within a lambda
        accepted_row, step = await io.write(lambda db: _accept(io, db, reserved_row, calls, outputs, accepted_request))
    # Also when the caller's task is cancelled: the run would stay `queued`, with no response to poll, until it expires.
    except BaseException:
        # The undo comes first: whatever the upstream answers next, the run waits for outputs again.
        await io.write(lambda db: _undo_reservation(db, row))
        if upstream_request is not None:
            await abandon_response(io, row["id"], upstream_request)
        raise
    if accepted_row is None:  # the thread was deleted while the request was under way
        await abandon_response(io, row["id"], upstream_request)
        raise errors.not_found("run", row["id"])
    if accepted_row["status"] != reserved_row["status"]:  # cancelled or expired meanwhile
        await cancel_upstream(io, {**accepted_row, "response_id": upstream_request.response_id})
    return accepted_row, upstream_request, step


def _awaited_calls(row: Row) -> list[Json]:
    """Return the calls that a run waits for; the error text is byte-exact, including its double quotes (recorded)."""
    if row["status"] != "requires_action":
        raise errors.ApiError(400, f'Runs in status "{row["status"]}" do not accept tool outputs.')
    calls: list[Json] = row["body"]["required_action"]["submit_tool_outputs"]["tool_calls"]
    return calls


def _outputs_by_call(calls: Sequence[Json], tool_outputs: Sequence[Json]) -> _OutputsByCall:
    """Return the outputs by call id; raise `ApiError` unless they match the awaited calls exactly.

    The error text is reported, without a full stop. The spec makes `tool_call_id` optional, and the SDK's own tests
    leave it out: if one call is awaited, the output belongs to that call.
    """
    awaited = [call["id"] for call in calls]
    default_id = awaited[0] if len(awaited) == 1 else None
    submitted: list[Any] = [output.get("tool_call_id", default_id) for output in tool_outputs]
    # A Counter, not a set: two outputs for one call are refused, instead of one being dropped in silence.
    if Counter(awaited) != Counter(submitted):
        raise errors.ApiError(400, f"Expected tool outputs for call_ids {awaited}, got {submitted}")
    # The legacy output is optional, but that of a `function_call_output` is required (spec).
    return {call_id: output.get("output") or "" for call_id, output in zip(submitted, tool_outputs, strict=True)}


def _reserve(io: IO, db: Connection, row: Row, *, stream: bool) -> Row:
    """Set the run to `queued`, without a response to poll, while the request is under way.

    The returned row keeps the response id, which the next request continues.
    """
    current = queries.get(db, "runs", row["namespace"], row["id"], lock=True)
    if current is None:
        raise errors.not_found("run", row["id"])
    # Checked again under the lock: another submission may have been first.
    _awaited_calls(current)
    run = run_status.run_with_status(current["body"], "queued", io.now(), required_action=None)
    # The new round number keeps a delayed reader of the last round from writing into this one.
    state = {**current["state"], "round": round_number(current) + 1}
    columns = {"status": "queued", "body": run, "state": state}
    # Until the request is accepted, the row has the request of the last round. If that was streamed, a poll would take
    # the run for one whose reader died.
    was_streamed = bool(row["request"].get("stream"))
    lease_until = io.now() + creation_lease(io, row["request"], is_unstreamed=not stream) if was_streamed else 0
    queries.update_row(db, "runs", row["namespace"], row["id"], response_id=None, lease_until=lease_until, **columns)
    return {**current, **columns}


def _undo_reservation(db: Connection, row: Row) -> None:
    """Restore the run as it was before `_reserve`, unless it was cancelled or has ended meanwhile.

    Metadata stays current: the caller may have updated it while the request was under way.
    """
    namespace, run_id = row["namespace"], row["id"]
    current = queries.get(db, "runs", namespace, run_id, lock=True)
    if current is not None and current["status"] == "queued" and current["response_id"] is None:
        body = {**row["body"], "metadata": current["body"]["metadata"]}
        columns = {key: row[key] for key in ("status", "response_id", "state", "lease_until")}
        queries.update_row(db, "runs", namespace, run_id, body=body, **columns)


async def _request_next_round(
    io: IO, reserved_row: Row, calls: list[Json], outputs: _OutputsByCall, *, stream: bool
) -> UpstreamRequest:
    """Send the outputs, or the run's own items if the upstream does not continue its responses or refuses to."""
    request = with_response_mode(io, _next_request(reserved_row), stream=stream)
    own_items = items_from_answered_calls(calls, outputs)
    if (shorter := await request_that_fits(io, reserved_row, request, own_items)) is not None:
        return shorter
    if "previous_response_id" in request and not await _is_continued(io, reserved_row):
        return await request_with_own_items(io, reserved_row, request, own_items)
    allowed = Allowed(is_mapped=is_mapped_model(io, reserved_row))
    try:
        return await create_response(
            io, request, _next_input(reserved_row, outputs), allowed, run_id=reserved_row["id"]
        )
    except errors.UpstreamError as error:
        upstream_request = await retry_with_less_input(
            io, reserved_row, request, error.details(), own_items, status=error.status
        )
        if upstream_request is None:
            raise
        return upstream_request


async def _is_continued(io: IO, reserved_row: Row) -> bool:
    """Whether the upstream continues a response of its own by `previous_response_id`, as far as that is known.

    Some gateways accept the parameter and forget the conversation in silence. They show it only by the responses that
    they cannot retrieve. So one response is retrieved, once, if the upstream does not look like the service: its ids
    have another form, or it has ignored `background`.
    """
    if any(io.memory.knows(name) for name in NOT_CONTINUED):
        return False
    response_id = str(reserved_row["response_id"])
    is_foreign = not response_id.startswith("resp_") or len(response_id) > _LONGEST_RESPONSE_ID
    is_unusual = is_foreign or io.memory.has_note(BACKGROUND_IGNORED)
    if not is_unusual or io.memory.has_note(RESPONSES_SERVED):
        return True
    try:
        await io.ask(response_request(reserved_row))
    except errors.UpstreamError as error:
        if not says_not_served(error.status, error.details()):
            return True
        io.memory.remember("conversation_forgotten")
        return False
    except (errors.ApiError, errors.UnreachableError):
        return True
    io.memory.note(RESPONSES_SERVED)
    return True


def _next_request(reserved_row: Row) -> Json:
    """Build the request of the next round, without its input."""
    spent_tokens = reserved_row["state"]["usage"]["completion_tokens"]
    return continuation_request(
        reserved_row["request"],
        reserved_row["response_id"],
        spent_tokens,
        reserved_row["body"]["max_completion_tokens"],
    )


def _next_input(reserved_row: Row, outputs: _OutputsByCall) -> RunInput:
    """Return the outputs as input; if the upstream stores nothing, they follow all earlier items of the run."""
    output_items = [function_output_item(call_id, output) for call_id, output in outputs.items()]
    return RunInput([*reserved_row["state"]["sent"], output_items])


def _accept(  # noqa: PLR0913, PLR0917 - the run, its calls and outputs, and the accepted request
    io: IO,
    db: Connection,
    reserved_row: Row,
    calls: list[Json],
    outputs: _OutputsByCall,
    upstream_request: UpstreamRequest,
) -> tuple[Row | None, RunStep | None]:
    """Write the accepted request, complete the step that called the functions, and keep the calls for later runs.

    Returns the run's row, None if the thread was deleted, and the completed step, if there is one.
    """
    namespace, run_id = reserved_row["namespace"], reserved_row["id"]
    # The thread before the run, as in every transaction: another order could deadlock.
    queries.lock_thread(db, namespace, reserved_row["thread_id"])
    current = queries.get(db, "runs", namespace, run_id, lock=True)
    if current is None:
        return None, None
    if current["status"] in run_status.TERMINAL:
        # A run that was stopped meanwhile stays so. Its response is recorded only to be deleted with the thread.
        remember_response(db, current, upstream_request)
        return current, None
    queries.update_row(db, "runs", namespace, run_id, **accepted_columns(db, reserved_row, upstream_request, io.now()))
    completed_step: RunStep | None = None
    for step in queries.in_progress_bodies(db, "steps", namespace, run_id):
        completed_step = step_with_outputs(step, outputs, reserved_row["state"]["step_usage"], io.now())
        queries.update_row(db, "steps", namespace, step["id"], body=completed_step)
    entry = {"id": io.new_id("msg"), "items": items_from_answered_calls(calls, outputs), "until": None}
    queries.insert_rows(db, "messages", [item_row(io, reserved_row["body"], entry)])
    return queries.get(db, "runs", namespace, run_id), completed_step
