"""`/threads/{thread_id}/runs` and `/threads/runs`: the endpoints of runs; `engine.runs` does the work."""

from __future__ import annotations

from .. import errors
from ..engine.io import IO
from ..engine.runs import refresh, stream, tool_outputs
from ..engine.runs.cancel import cancel_run
from ..engine.runs.create import create_run
from ..store import queries
from ..store.database import Connection
from ..store.lookup import get_or_404
from ..store.queries import Row
from ..translate.v1_requests import v2_request_from_v1
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Run
from .metadata import merged_metadata
from .paging import list_reply, page_from_call

_UPDATE_REFUSED = frozenset({"in_progress", "cancelling"})  # statuses in which a run cannot be updated (recorded)


def _run_reply(io: IO, run: Run) -> Reply:
    """Return a run with the header that tells the SDK's pollers how long to sleep, in milliseconds."""
    # The SDK sleeps for the value in the first answer, else for a second. No recorded answer of the old service has the
    # header (platform.md section 2).
    return json_reply(run, openai_poll_after_ms=str(io.settings.poll_after_ms))


async def create(io: IO, call: Call) -> Reply:
    """Create a run: POST .../runs."""
    params, thread_id = v2_request_from_v1(call.json(request_schemas.RUN_CREATE)), call.path_params["thread_id"]
    call.check_query_list("include", request_schemas.INCLUDE)
    if params.get("stream"):
        return await stream.create_run(io, params, thread_id=thread_id, content=bool(call.query_values("include")))
    return _run_reply(io, await create_run(io, params, thread_id=thread_id))


async def create_thread_and_run(io: IO, call: Call) -> Reply:
    """Create a thread and its first run: POST /threads/runs. If the run is refused, no thread is created either."""
    params = v2_request_from_v1(call.json(request_schemas.THREAD_AND_RUN_CREATE))
    thread = dict(params.pop("thread", None) or {})
    resources = params.pop("tool_resources", None)
    if resources:  # the thread's: a run has no tool resources of its own
        thread["tool_resources"] = {**(thread.get("tool_resources") or {}), **resources}
    # The 404 comes before a vector store is created for the thread.
    await io.read(lambda db: get_or_404(db, io.settings.namespace, "assistant", params["assistant_id"]))
    thread_id = io.new_id("thread")
    if params.get("stream"):
        return await stream.create_run(io, params, thread_id=thread_id, thread=thread)
    return _run_reply(io, await create_run(io, params, thread_id=thread_id, thread=thread))


async def retrieve(io: IO, call: Call) -> Reply:
    """Retrieve a run: GET .../runs/{run_id}. Refreshes an active run first; polling is what advances it."""
    row = await refresh.refresh_run(io, await _read_row(io, call))
    return _run_reply(io, row["body"])


async def update(io: IO, call: Call) -> Reply:
    """Update a run's metadata: POST .../runs/{run_id}.

    Refused with the recorded text while the run is in progress. The run is refreshed first, since it may have ended.
    """
    params = call.json(request_schemas.RUN_UPDATE)
    # Metadata is ours alone, so an upstream that cannot be reached does not refuse its update.
    await refresh.refresh_run_if_reachable(io, await _read_row(io, call))

    def update_metadata(db: Connection) -> Run:
        run: Run = _require_run(io, db, call, lock=True)["body"]
        if run["status"] in _UPDATE_REFUSED:
            raise errors.ApiError(400, f"Cannot update run with status '{run['status']}'.")
        if "metadata" in params:
            run["metadata"] = merged_metadata(run["metadata"], params["metadata"])
            queries.update_row(db, "runs", io.settings.namespace, run["id"], body=run)
        return run

    return _run_reply(io, await io.write(update_metadata))


async def list_(io: IO, call: Call) -> Reply:
    """List the runs of a thread: GET .../runs. Refreshes an active run first."""
    thread_id, page = call.path_params["thread_id"], page_from_call(call)
    await refresh.refresh_active_run(io, thread_id)

    def read_page(db: Connection) -> tuple[list[Row], bool]:
        get_or_404(db, io.settings.namespace, "thread", thread_id)
        return queries.get_page(db, "runs", io.settings.namespace, page, thread_id=thread_id)

    rows, has_more = await io.read(read_page)
    return list_reply([row["body"] for row in rows], has_more=has_more)


async def cancel(io: IO, call: Call) -> Reply:
    """Cancel a run: POST .../runs/{run_id}/cancel. The answer has the status `cancelling` (recorded)."""
    return _run_reply(io, await cancel_run(io, await _read_row(io, call)))


async def submit_tool_outputs(io: IO, call: Call) -> Reply:
    """Submit tool outputs: POST .../runs/{run_id}/submit_tool_outputs. The answer is `queued` (recorded)."""
    params = call.json(request_schemas.TOOL_OUTPUTS)
    row = await _read_row(io, call)
    if params.get("stream"):
        return await stream.submit_tool_outputs(io, row, params["tool_outputs"])
    return _run_reply(io, await tool_outputs.submit_tool_outputs(io, row, params["tool_outputs"]))


async def _read_row(io: IO, call: Call) -> Row:
    return await io.read(lambda db: _require_run(io, db, call))


def _require_run(io: IO, db: Connection, call: Call, *, lock: bool = False) -> Row:
    namespace, thread_id = io.settings.namespace, call.path_params["thread_id"]
    get_or_404(db, namespace, "thread", thread_id)  # an unknown thread has its own 404, which comes first
    return get_or_404(db, namespace, "run", call.path_params["run_id"], lock=lock, thread_id=thread_id)
