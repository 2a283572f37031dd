"""Tool outputs: they continue the response that asked for them, in the same run.

As at creation the run is reserved first (its status says `queued`, and nobody else can answer), and is as it was when
the upstream refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ... import errors
from ...store import queries
from ...store.database import Connection
from ...store.queries import Found
from ...translate import run as runs
from ...translate.request import continued
from ...translate.step import answered
from ...translate.transcript import Input, answered_calls, function_output
from ...wire.objects import Json, Run, RunStep
from ..io import IO
from .ask_upstream import Asked, ask, ask_again, in_mode, remember_response, taken
from .create import moved_on
from .finish import item_row, round_of
from .refresh import abandon, cancel_upstream, look

_Outputs = Mapping[str, str]


async def submit(io: IO, row: Found, given: Sequence[Json]) -> Run:
    """Give a run the outputs of its functions.

    Raises `ApiError` (recorded and reported texts) when the run does not wait for outputs, or for others than these.
    """
    accepted, asked, _ = await go_on(io, row, given)
    run: Run = (await moved_on(io, accepted, asked.response))["body"]
    return run


async def go_on(
    io: IO, row: Found, given: Sequence[Json], *, stream: bool = False
) -> tuple[Found, Asked, RunStep | None]:
    """The run as it was accepted, what the upstream answered, and the step whose outputs came; raises as `submit`."""
    row = await look(io, row)
    calls = _awaited(row)
    outputs = _outputs(calls, given)
    held = await io.write(lambda db: _hold(io, db, row))
    asked = None
    try:
        asked = await _ask(io, held, calls, outputs, stream=stream)
        done = asked
        accepted, step = await io.write(lambda db: _accept(io, db, held, calls, outputs, done))
    except BaseException:
        await io.write(lambda db: _release(db, row))
        if asked is not None:
            await abandon(io, row["id"], asked)
        raise
    if accepted is None:  # the thread was deleted while the upstream was asked
        await abandon(io, row["id"], asked)
        raise errors.not_found("run", row["id"])
    if accepted["status"] != held["status"]:  # the run was stopped meanwhile, and what was asked is for nothing
        await cancel_upstream(io, {**accepted, "response_id": asked.response_id})
    return accepted, asked, step


def _awaited(row: Found) -> list[Json]:
    """The calls that a run waits for; the refusal is byte-exact, its quotes too (recorded)."""
    if row["status"] != "requires_action":
        raise errors.ApiError(400, f'Runs in status "{row["status"]}" do not accept tool outputs.')
    calls: list[Json] = row["body"]["required_action"]["submit_tool_outputs"]["tool_calls"]
    return calls


def _outputs(calls: Sequence[Json], given: Sequence[Json]) -> _Outputs:
    """Outputs by call; exactly those that are awaited (reported text, without a full stop).

    The spec lets an output leave out its call, as the SDK's own tests do: that is plain where one call is awaited.
    """
    expected = [call["id"] for call in calls]
    only = expected[0] if len(expected) == 1 else None
    got: list[Any] = [output.get("tool_call_id", only) for output in given]
    if Counter(expected) != Counter(got):
        raise errors.ApiError(400, f"Expected tool outputs for call_ids {expected}, got {got}")
    return {call_id: output.get("output") or "" for call_id, output in zip(got, given, strict=True)}


def _hold(io: IO, db: Connection, row: Found) -> Found:
    """Move the run to `queued`, without a response to look at, for the time of asking."""
    fresh = queries.get(db, "runs", row["namespace"], row["id"], lock=True)
    if fresh is None:
        raise errors.not_found("run", row["id"])
    _awaited(fresh)
    run = runs.moved(fresh["body"], "queued", io.now(), required_action=None)
    # A new round: a reader of the last one that was long away has nothing to write any more.
    state = {**fresh["state"], "round": round_of(fresh) + 1}
    changes = {"status": "queued", "body": run, "state": state}
    queries.change(db, "runs", row["namespace"], row["id"], response_id=None, **changes)
    return {**fresh, **changes}


def _release(db: Connection, row: Found) -> None:
    """Put the run back as it was, unless it was stopped meanwhile."""
    namespace, run_id = row["namespace"], row["id"]
    fresh = queries.get(db, "runs", namespace, run_id, lock=True)
    if fresh is not None and fresh["status"] == "queued" and fresh["response_id"] is None:
        body = {**row["body"], "metadata": fresh["body"]["metadata"]}
        changes = {"status": row["status"], "response_id": row["response_id"], "state": row["state"]}
        queries.change(db, "runs", namespace, run_id, body=body, **changes)


async def _ask(io: IO, held: Found, calls: list[Json], outputs: _Outputs, *, stream: bool) -> Asked:
    request = in_mode(io, _request(held), stream=stream)
    try:
        return await ask(io, request, _input(held, outputs))
    except errors.UpstreamError as error:
        asked = await ask_again(io, held, request, error.error(), answered_calls(calls, outputs))
        if asked is None:
            raise
        return asked


def _request(held: Found) -> Json:
    spent = held["state"]["usage"]["completion_tokens"]
    return continued(held["request"], held["response_id"], spent, held["body"]["max_completion_tokens"])


def _input(held: Found, outputs: _Outputs) -> Input:
    """The outputs; where the upstream keeps nothing, after all that was said before them."""
    given = [function_output(call_id, output) for call_id, output in outputs.items()]
    return Input([*held["state"]["sent"], given])


def _accept(  # noqa: PLR0913, PLR0917 - the run, what it asked, what it got, and how the upstream took it
    io: IO, db: Connection, held: Found, calls: list[Json], outputs: _Outputs, asked: Asked
) -> tuple[Found | None, RunStep | None]:
    namespace, run_id = held["namespace"], held["id"]
    queries.lock_thread(db, namespace, held["thread_id"])
    fresh = queries.get(db, "runs", namespace, run_id, lock=True)
    if fresh is None:
        return None, None
    if fresh["status"] in runs.TERMINAL:
        remember_response(db, fresh, asked)
        return fresh, None
    queries.change(db, "runs", namespace, run_id, **taken(db, held, asked, io.now()))
    done: RunStep | None = None
    for step in queries.in_progress(db, "steps", namespace, run_id):
        done = answered(step, outputs, held["state"]["step_usage"], io.now())
        queries.change(db, "steps", namespace, step["id"], body=done)
    entry = {"id": io.mint("msg"), "items": answered_calls(calls, outputs), "until": None}
    queries.add(db, "messages", [item_row(io, held["body"], entry)])
    return queries.get(db, "runs", namespace, run_id), done
