"""`/threads`: create, retrieve, update and delete threads, all in the store."""

from __future__ import annotations

from ..engine import cleanup, threads
from ..engine.cleanup import ThreadResources
from ..engine.io import IO
from ..engine.runs import refresh
from ..engine.vector_stores import delete_on_failure, with_created_stores
from ..store import queries
from ..store.database import Connection
from ..store.lookup import get_or_404
from ..store.queries import Row
from ..translate.thread import CREATED_STORES_KEY, thread_from_fields
from ..translate.v1_requests import v2_request_from_v1
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Json
from .metadata import with_merged_metadata


def _thread_reply(row: Row, *, answers_post: bool) -> Reply:
    return json_reply(thread_from_fields(row["id"], row["created_at"], row["body"], answers_post=answers_post))


async def create(io: IO, call: Call) -> Reply:
    """Create a thread, with messages if the request has any: POST /threads."""
    params = v2_request_from_v1(call.json(request_schemas.THREAD_CREATE))
    async with delete_on_failure(io) as created:
        fields = await threads.with_vector_store(io, params, created)
        row = await io.write(lambda db: threads.add_thread(io, db, io.new_id("thread"), fields, io.now()))
    return _thread_reply(row, answers_post=True)


async def retrieve(io: IO, call: Call) -> Reply:
    """Retrieve a thread: GET /threads/{thread_id}."""
    return _thread_reply(await _read_row(io, call.path_params["thread_id"]), answers_post=False)


async def update(io: IO, call: Call) -> Reply:
    """Update a thread: POST /threads/{thread_id}. Only the keys in the request change; metadata is merged."""
    id_ = call.path_params["thread_id"]
    await _read_row(io, id_)  # the 404 comes before a vector store is created
    params = call.json(request_schemas.THREAD_UPDATE)
    async with delete_on_failure(io) as created:
        fields = await with_created_stores(io, params, created, of_thread=True)

        def update_row(db: Connection) -> Row:
            row = get_or_404(db, io.settings.namespace, "thread", id_, lock=True)
            stores: Json = {}
            if CREATED_STORES_KEY in fields:  # added to the earlier ones: deleting the thread deletes all of them
                stores = {CREATED_STORES_KEY: [*row["body"].get(CREATED_STORES_KEY, ()), *fields[CREATED_STORES_KEY]]}
            row["body"] = {**row["body"], **with_merged_metadata(fields, row["body"]), **stores}
            queries.update_row(db, "threads", io.settings.namespace, id_, body=row["body"])
            return row

        return _thread_reply(await io.write(update_row), answers_post=True)


async def delete(io: IO, call: Call) -> Reply:
    """Delete a thread: DELETE /threads/{thread_id}.

    This deletes its messages, runs and steps, and what was created for it upstream. Its generated files stay, unless
    the settings say otherwise.
    """
    id_, namespace = call.path_params["thread_id"], io.settings.namespace

    def delete_rows(db: Connection) -> tuple[Row | None, ThreadResources]:
        thread = get_or_404(db, namespace, "thread", id_, lock=True)
        # Both are read before the rows that they come from are deleted.
        run_row, resources = queries.active_run(db, namespace, id_), cleanup.thread_resources(db, namespace, id_)
        queries.delete_row(db, "threads", namespace, id_)
        # An empty row stays, so that the id does not count as unknown (`Settings(unknown_threads="create")`).
        queries.insert_rows(db, "threads", [{**thread, "deleted": True, "body": {}}])
        return run_row, resources

    run_row, resources = await io.write(delete_rows)
    # No caller can retrieve the run any more. A run in `requires_action` has no response in progress.
    if run_row is not None and run_row["status"] != "requires_action":
        await refresh.cancel_upstream(io, run_row)
    await cleanup.delete_resources(io, resources)
    return json_reply({"id": id_, "object": "thread.deleted", "deleted": True})


async def _read_row(io: IO, id_: str) -> Row:
    return await io.read(lambda db: get_or_404(db, io.settings.namespace, "thread", id_))
