"""`/threads/{thread_id}/runs/{run_id}/steps`."""

from __future__ import annotations

from .. import errors, lifecycle
from ..exchange import Call, Reply, json_reply
from ..io import IO
from ..paging import list_reply, page_from_call
from ..store import queries
from ..store.engine import Connection
from ..store.queries import Found


async def retrieve(io: IO, call: Call) -> Reply:
    """GET one."""
    run_id, id_ = call.parts["run_id"], call.parts["step_id"]

    def work(db: Connection) -> Found:
        _check_run(io, db, call)
        row = queries.get(db, "steps", io.settings.namespace, id_, run_id=run_id)
        if row is None:
            raise errors.not_found("run step", id_)
        return row

    return json_reply((await io.read(work))["body"])


async def list_(io: IO, call: Call) -> Reply:
    """GET a run's, newest first unless asked otherwise; an active run is looked at first."""
    page = page_from_call(call)
    await lifecycle.look_at_thread(io, call.parts["thread_id"])

    def work(db: Connection) -> tuple[list[Found], bool]:
        _check_run(io, db, call)
        return queries.page(db, "steps", io.settings.namespace, page, run_id=call.parts["run_id"])

    rows, more = await io.read(work)
    return list_reply([row["body"] for row in rows], has_more=more)


def _check_run(io: IO, db: Connection, call: Call) -> None:
    thread_id, run_id = call.parts["thread_id"], call.parts["run_id"]
    if queries.get(db, "threads", io.settings.namespace, thread_id) is None:
        raise errors.not_found("thread", thread_id)
    if queries.get(db, "runs", io.settings.namespace, run_id, thread_id=thread_id) is None:
        raise errors.not_found("run", run_id)
