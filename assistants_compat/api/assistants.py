"""`/assistants`: create, retrieve, update, delete and list assistants, all in the store."""

from __future__ import annotations

from .. import errors
from ..engine.io import IO
from ..engine.vector_stores import delete_on_failure, with_created_stores
from ..store import queries
from ..store.database import Connection
from ..store.lookup import get_or_404
from ..store.queries import Row
from ..translate.assistant import assistant_from_fields
from ..translate.v1_requests import v2_request_from_v1
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Assistant
from .metadata import with_merged_metadata
from .paging import list_reply, page_from_call


def _assistant_from_row(row: Row) -> Assistant:
    return assistant_from_fields(row["id"], row["created_at"], row["body"])


async def create(io: IO, call: Call) -> Reply:
    """Create an assistant: POST /assistants."""
    params = v2_request_from_v1(call.json(request_schemas.ASSISTANT_CREATE))
    async with delete_on_failure(io) as created:
        fields = await with_created_stores(io, params, created, of_thread=False)
        row = {"namespace": io.settings.namespace, "id": io.new_id("asst"), "created_at": io.now(), "body": fields}
        await io.write(lambda db: queries.insert_rows(db, "assistants", [row]))
    return json_reply(_assistant_from_row(row))


async def retrieve(io: IO, call: Call) -> Reply:
    """Retrieve an assistant: GET /assistants/{assistant_id}."""
    return json_reply(_assistant_from_row(await _read_row(io, call.path_params["assistant_id"])))


async def update(io: IO, call: Call) -> Reply:
    """Update an assistant: POST /assistants/{assistant_id}. Only the keys in the request change (recorded).

    Its metadata is merged.
    """
    id_ = call.path_params["assistant_id"]
    stored = await _read_row(io, id_)  # the 404 comes before a vector store is created
    params = v2_request_from_v1(call.json(request_schemas.ASSISTANT_UPDATE), stored["body"].get("tools") or ())
    async with delete_on_failure(io) as created:
        fields = await with_created_stores(io, params, created, of_thread=False)

        def update_row(db: Connection) -> Row:
            # Read again under a lock: another request may have changed the assistant meanwhile.
            row = get_or_404(db, io.settings.namespace, "assistant", id_, lock=True)
            row["body"] = {**row["body"], **with_merged_metadata(fields, row["body"])}
            queries.update_row(db, "assistants", io.settings.namespace, id_, body=row["body"])
            return row

        return json_reply(_assistant_from_row(await io.write(update_row)))


async def delete(io: IO, call: Call) -> Reply:
    """Delete an assistant: DELETE /assistants/{assistant_id}."""
    id_ = call.path_params["assistant_id"]
    # The row stays, marked: with `Settings(only=...)`, assistants that the store never held are copied from the
    # upstream, and a deleted one must not come back.
    if not await io.write(lambda db: queries.mark_deleted(db, "assistants", io.settings.namespace, id_)):
        raise errors.not_found("assistant", id_)
    return json_reply({"id": id_, "object": "assistant.deleted", "deleted": True})


async def list_(io: IO, call: Call) -> Reply:
    """List assistants: GET /assistants."""
    page = page_from_call(call)
    rows, has_more = await io.read(lambda db: queries.get_page(db, "assistants", io.settings.namespace, page))
    return list_reply([_assistant_from_row(row) for row in rows], has_more=has_more)


async def _read_row(io: IO, id_: str) -> Row:
    return await io.read(lambda db: get_or_404(db, io.settings.namespace, "assistant", id_))
