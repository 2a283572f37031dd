"""`/threads/{thread_id}/runs/{run_id}/steps`."""

from __future__ import annotations

from ..engine.io import IO
from ..engine.runs import refresh
from ..store import queries
from ..store.database import Connection
from ..store.lookup import existing
from ..store.queries import Found
from ..translate.step import without_content
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Json
from .paging import list_reply, page_from_call


async def retrieve(io: IO, call: Call) -> Reply:
    """GET one; an active run is looked at first."""
    call.check_list("include", request_schemas.INCLUDE)
    await refresh.look_at_thread(io, call.parts["thread_id"])

    def work(db: Connection) -> Found:
        run_id = _run(io, db, call)["id"]
        return existing(db, io.settings.namespace, "run step", call.parts["step_id"], run_id=run_id)

    return json_reply(_shown(call, await io.read(work)))


async def list_(io: IO, call: Call) -> Reply:
    """GET a run's, newest first unless asked otherwise; an active run is looked at first."""
    page = page_from_call(call)
    call.check_list("include", request_schemas.INCLUDE)
    await refresh.look_at_thread(io, call.parts["thread_id"])

    def work(db: Connection) -> tuple[list[Found], bool]:
        return queries.page(db, "steps", io.settings.namespace, page, run_id=_run(io, db, call)["id"])

    rows, more = await io.read(work)
    return list_reply([_shown(call, row) for row in rows], has_more=more)


def _shown(call: Call, row: Found) -> Json:
    """A step; what its searches found is there without its text, unless that is asked for."""
    return row["body"] if call.values("include") else without_content(row["body"])


def _run(io: IO, db: Connection, call: Call) -> Found:
    thread_id = existing(db, io.settings.namespace, "thread", call.parts["thread_id"])["id"]
    return existing(db, io.settings.namespace, "run", call.parts["run_id"], thread_id=thread_id)
