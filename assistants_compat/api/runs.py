"""`/threads/{thread_id}/runs` and `/threads/runs`."""

from __future__ import annotations

from .. import errors
from ..engine.io import IO
from ..engine.runs import cancel as stopping
from ..engine.runs import create as starting
from ..engine.runs import refresh, stream, tool_outputs
from ..store import queries
from ..store.database import Connection
from ..store.lookup import existing
from ..store.queries import Found
from ..translate.v1_requests import understood
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Run
from .paging import list_reply, page_from_call

_NOT_UPDATED = frozenset({"in_progress", "cancelling"})


def _polled(io: IO, run: Run) -> Reply:
    """A run with the header that tells the SDK's pollers how long to sleep, in milliseconds."""
    return json_reply(run, openai_poll_after_ms=str(io.settings.poll_after_ms))


async def create(io: IO, call: Call) -> Reply:
    """POST a run."""
    given, thread_id = understood(call.json(request_schemas.RUN_CREATE)), call.parts["thread_id"]
    call.check_list("include", request_schemas.INCLUDE)
    if given.get("stream"):
        return await stream.start(io, given, thread_id=thread_id, content=bool(call.values("include")))
    return _polled(io, await starting.start(io, given, thread_id=thread_id))


async def create_thread_and_run(io: IO, call: Call) -> Reply:
    """POST /threads/runs: a new thread and its first run; when the run is refused there is no thread either."""
    given = understood(call.json(request_schemas.THREAD_AND_RUN_CREATE))
    thread = dict(given.pop("thread", None) or {})
    resources = given.pop("tool_resources", None)
    if resources:
        thread["tool_resources"] = {**(thread.get("tool_resources") or {}), **resources}
    # Before a vector store is made for it.
    await io.read(lambda db: existing(db, io.settings.namespace, "assistant", given["assistant_id"]))
    thread_id = io.mint("thread")
    if given.get("stream"):
        return await stream.start(io, given, thread_id=thread_id, thread=thread)
    return _polled(io, await starting.start(io, given, thread_id=thread_id, thread=thread))


async def retrieve(io: IO, call: Call) -> Reply:
    """GET one: an active run moves by being looked at."""
    row = await refresh.look(io, await _get(io, call))
    return _polled(io, row["body"])


async def update(io: IO, call: Call) -> Reply:
    """POST to one: its metadata; refused while it works (recorded text), which is looked at first."""
    fields = call.json(request_schemas.RUN_UPDATE)
    await refresh.look_if_possible(io, await _get(io, call))

    def work(db: Connection) -> Run:
        run: Run = _run(io, db, call, lock=True)["body"]
        if run["status"] in _NOT_UPDATED:
            raise errors.ApiError(400, f"Cannot update run with status '{run['status']}'.")
        if "metadata" in fields:
            run["metadata"] = fields["metadata"] or {}
            queries.change(db, "runs", io.settings.namespace, run["id"], body=run)
        return run

    return _polled(io, await io.write(work))


async def list_(io: IO, call: Call) -> Reply:
    """GET the thread's; an active run is looked at first."""
    thread_id, page = call.parts["thread_id"], page_from_call(call)
    await refresh.look_at_thread(io, thread_id)

    def work(db: Connection) -> tuple[list[Found], bool]:
        existing(db, io.settings.namespace, "thread", thread_id)
        return queries.page(db, "runs", io.settings.namespace, page, thread_id=thread_id)

    rows, more = await io.read(work)
    return list_reply([row["body"] for row in rows], has_more=more)


async def cancel(io: IO, call: Call) -> Reply:
    """POST .../cancel: answered `cancelling` (recorded)."""
    return _polled(io, await stopping.cancel(io, await _get(io, call)))


async def submit_tool_outputs(io: IO, call: Call) -> Reply:
    """POST .../submit_tool_outputs: answered `queued` (recorded)."""
    given = call.json(request_schemas.TOOL_OUTPUTS)
    row = await _get(io, call)
    if given.get("stream"):
        return await stream.submit(io, row, given["tool_outputs"])
    return _polled(io, await tool_outputs.submit(io, row, given["tool_outputs"]))


async def _get(io: IO, call: Call) -> Found:
    return await io.read(lambda db: _run(io, db, call))


def _run(io: IO, db: Connection, call: Call, *, lock: bool = False) -> Found:
    namespace, thread_id = io.settings.namespace, call.parts["thread_id"]
    existing(db, namespace, "thread", thread_id)
    return existing(db, namespace, "run", call.parts["run_id"], lock=lock, thread_id=thread_id)
