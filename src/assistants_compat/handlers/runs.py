"""`/threads/{thread_id}/runs` and `/threads/runs`."""

from __future__ import annotations

from .. import errors, lifecycle, shapes
from ..exchange import Call, Reply, json_reply
from ..io import IO
from ..paging import list_reply, page_from_call
from ..store import queries
from ..store.engine import Connection
from ..store.queries import Found
from ..vector_stores import with_made_stores
from ..wire import Run

_NOT_UPDATED = frozenset({"in_progress", "cancelling"})


def _polled(io: IO, run: Run) -> Reply:
    """A run with the header that tells the SDK's pollers how long to sleep, in milliseconds."""
    return json_reply(run, openai_poll_after_ms=str(io.settings.poll_after_ms))


async def create(io: IO, call: Call) -> Reply:
    """POST a run."""
    given = call.json(shapes.RUN_CREATE)
    run, _ended = await lifecycle.start(io, given, thread_id=call.parts["thread_id"])
    return _polled(io, run)


async def create_thread_and_run(io: IO, call: Call) -> Reply:
    """POST /threads/runs: a new thread and its first run; when the run is refused there is no thread either."""
    given = call.json(shapes.THREAD_AND_RUN_CREATE)
    thread = dict(given.pop("thread", None) or {})
    resources = given.pop("tool_resources", None)
    if resources:
        thread["tool_resources"] = {**(thread.get("tool_resources") or {}), **resources}
    thread = await with_made_stores(io, thread)
    run, _ended = await lifecycle.start(io, given, thread_id=io.mint("thread"), thread=thread)
    return _polled(io, run)


async def retrieve(io: IO, call: Call) -> Reply:
    """GET one: an active run moves by being looked at."""
    row = await lifecycle.look(io, await _get(io, call))
    return _polled(io, row["body"])


async def update(io: IO, call: Call) -> Reply:
    """POST to one: its metadata; refused while it works (recorded text)."""
    fields = call.json(shapes.RUN_UPDATE)
    row = await _get(io, call)

    def work(db: Connection) -> Run:
        fresh = queries.lock(db, "runs", io.settings.namespace, row["id"]) or row
        if fresh["status"] in _NOT_UPDATED:
            raise errors.ApiError(400, f"Cannot update run with status '{fresh['status']}'.")
        run: Run = fresh["body"]
        if "metadata" in fields:
            run["metadata"] = fields["metadata"] or {}
            queries.change(db, "runs", io.settings.namespace, row["id"], body=run)
        return run

    return _polled(io, await io.write(work))


async def list_(io: IO, call: Call) -> Reply:
    """GET the thread's; an active run is looked at first."""
    thread_id, page = call.parts["thread_id"], page_from_call(call)
    await lifecycle.look_at_thread(io, thread_id)

    def work(db: Connection) -> tuple[list[Found], bool]:
        if queries.get(db, "threads", io.settings.namespace, thread_id) is None:
            raise errors.not_found("thread", thread_id)
        return queries.page(db, "runs", io.settings.namespace, page, thread_id=thread_id)

    rows, more = await io.read(work)
    return list_reply([row["body"] for row in rows], has_more=more)


async def cancel(io: IO, call: Call) -> Reply:
    """POST .../cancel: comes with a later version."""
    await _get(io, call)
    feature = "cancelling runs"
    raise errors.not_supported(feature)


async def submit_tool_outputs(io: IO, call: Call) -> Reply:
    """POST .../submit_tool_outputs: comes with a later version."""
    await _get(io, call)
    feature = "function tools"
    raise errors.not_supported(feature)


async def _get(io: IO, call: Call) -> Found:
    thread_id, id_ = call.parts["thread_id"], call.parts["run_id"]

    def work(db: Connection) -> Found:
        if queries.get(db, "threads", io.settings.namespace, thread_id) is None:
            raise errors.not_found("thread", thread_id)
        row = queries.get(db, "runs", io.settings.namespace, id_, thread_id=thread_id)
        if row is None:
            raise errors.not_found("run", id_)
        return row

    return await io.read(work)
