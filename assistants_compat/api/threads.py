"""`/threads`."""

from __future__ import annotations

from ..engine import cleanup, threads
from ..engine.cleanup import Leavings
from ..engine.io import IO
from ..engine.runs import refresh
from ..engine.vector_stores import making, with_made_stores
from ..store import queries
from ..store.database import Connection
from ..store.lookup import existing
from ..store.queries import Found
from ..translate.thread import MADE, thread_from_fields
from ..translate.v1_requests import understood
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply


def _reply(row: Found, *, fresh: bool) -> Reply:
    return json_reply(thread_from_fields(row["id"], row["created_at"], row["body"], fresh=fresh))


async def create(io: IO, call: Call) -> Reply:
    """POST /threads, with its first messages or without."""
    given = understood(call.json(request_schemas.THREAD_CREATE))
    async with making(io) as made:
        fields = await threads.furnished(io, given, made)
        row = await io.write(lambda db: threads.add_thread(io, db, io.mint("thread"), fields, io.now()))
    return _reply(row, fresh=True)


async def retrieve(io: IO, call: Call) -> Reply:
    """GET /threads/{thread_id}."""
    return _reply(await _get(io, call.parts["thread_id"]), fresh=False)


async def update(io: IO, call: Call) -> Reply:
    """POST /threads/{thread_id}: only the keys that are given change."""
    id_ = call.parts["thread_id"]
    await _get(io, id_)  # before a vector store is made for a thread that is not there
    given = call.json(request_schemas.THREAD_UPDATE)
    async with making(io) as made:
        fields = await with_made_stores(io, given, made, of_thread=True)

        def work(db: Connection) -> Found:
            row = existing(db, io.settings.namespace, "thread", id_, lock=True)
            known = {MADE: [*row["body"].get(MADE, ()), *fields[MADE]]} if MADE in fields else {}
            row["body"] = {**row["body"], **fields, **known}
            queries.change(db, "threads", io.settings.namespace, id_, body=row["body"])
            return row

        return _reply(await io.write(work), fresh=True)


async def delete(io: IO, call: Call) -> Reply:
    """DELETE /threads/{thread_id}: its messages, runs and steps go with it, and what was made for it upstream.

    Its generated files stay, unless the settings say otherwise.
    """
    id_, namespace = call.parts["thread_id"], io.settings.namespace

    def work(db: Connection) -> tuple[Found | None, Leavings]:
        thread = existing(db, namespace, "thread", id_, lock=True)
        run, left = queries.active_run(db, namespace, id_), cleanup.leavings_of(db, namespace, id_)
        queries.remove(db, "threads", namespace, id_)
        # Its place stays, so that nobody takes the id for one that was never here.
        queries.add(db, "threads", [{**thread, "deleted": True, "body": {}}])
        return run, left

    run, left = await io.write(work)
    if run is not None and run["status"] != "requires_action":  # nobody can ask for its result any more
        await refresh.cancel_upstream(io, run)
    await cleanup.remove(io, left)
    return json_reply({"id": id_, "object": "thread.deleted", "deleted": True})


async def _get(io: IO, id_: str) -> Found:
    return await io.read(lambda db: existing(db, io.settings.namespace, "thread", id_))
