"""`/threads/{thread_id}/runs/{run_id}/steps`: retrieve and list the steps of a run."""

from __future__ import annotations

from ..engine.io import IO
from ..engine.runs import refresh
from ..store import queries
from ..store.database import Connection
from ..store.lookup import get_or_404
from ..store.queries import Row
from ..translate.step import without_search_content
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Json
from .paging import list_reply, page_from_call


async def retrieve(io: IO, call: Call) -> Reply:
    """Retrieve a step: GET .../steps/{step_id}. Refreshes an active run first."""
    call.check_query_list("include", request_schemas.INCLUDE)
    # Polling is what advances a run: without it, the step of a run that has expired would stay in progress.
    await refresh.refresh_active_run(io, call.path_params["thread_id"])

    def read_step(db: Connection) -> Row:
        run_id = _require_run(io, db, call)["id"]
        return get_or_404(db, io.settings.namespace, "run step", call.path_params["step_id"], run_id=run_id)

    return json_reply(_step_for_call(call, await io.read(read_step)))


async def list_(io: IO, call: Call) -> Reply:
    """List the steps of a run: GET .../steps, newest first by default. Refreshes an active run first."""
    page = page_from_call(call)
    call.check_query_list("include", request_schemas.INCLUDE)
    await refresh.refresh_active_run(io, call.path_params["thread_id"])

    def read_page(db: Connection) -> tuple[list[Row], bool]:
        return queries.get_page(db, "steps", io.settings.namespace, page, run_id=_require_run(io, db, call)["id"])

    rows, has_more = await io.read(read_page)
    return list_reply([_step_for_call(call, row) for row in rows], has_more=has_more)


def _step_for_call(call: Call, row: Row) -> Json:
    """Return a step; file search results have their text only if the call's `include` requests it."""
    return row["body"] if call.query_values("include") else without_search_content(row["body"])


def _require_run(io: IO, db: Connection, call: Call) -> Row:
    thread_id = get_or_404(db, io.settings.namespace, "thread", call.path_params["thread_id"])["id"]
    return get_or_404(db, io.settings.namespace, "run", call.path_params["run_id"], thread_id=thread_id)
