"""`/assistants`: objects that the service no longer keeps, so the store does."""

from __future__ import annotations

from .. import errors
from ..engine.io import IO
from ..engine.vector_stores import making, with_made_stores
from ..store import queries
from ..store.database import Connection
from ..store.lookup import existing
from ..store.queries import Found
from ..translate.assistant import assistant_from_fields
from ..translate.v1_requests import understood
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Assistant
from .paging import list_reply, page_from_call


def _served(row: Found) -> Assistant:
    return assistant_from_fields(row["id"], row["created_at"], row["body"])


async def create(io: IO, call: Call) -> Reply:
    """POST /assistants."""
    given = understood(call.json(request_schemas.ASSISTANT_CREATE))
    async with making(io) as made:
        fields = await with_made_stores(io, given, made, of_thread=False)
        row = {"namespace": io.settings.namespace, "id": io.mint("asst"), "created_at": io.now(), "body": fields}
        await io.write(lambda db: queries.add(db, "assistants", [row]))
    return json_reply(_served(row))


async def retrieve(io: IO, call: Call) -> Reply:
    """GET /assistants/{assistant_id}."""
    return json_reply(_served(await _get(io, call.parts["assistant_id"])))


async def update(io: IO, call: Call) -> Reply:
    """POST /assistants/{assistant_id}: only the keys that are given change (recorded)."""
    id_ = call.parts["assistant_id"]
    there = await _get(io, id_)  # before a vector store is made for an assistant that is not there
    given = understood(call.json(request_schemas.ASSISTANT_UPDATE), there["body"].get("tools") or ())
    async with making(io) as made:
        fields = await with_made_stores(io, given, made, of_thread=False)

        def work(db: Connection) -> Found:
            row = existing(db, io.settings.namespace, "assistant", id_, lock=True)
            row["body"] = {**row["body"], **fields}
            queries.change(db, "assistants", io.settings.namespace, id_, body=row["body"])
            return row

        return json_reply(_served(await io.write(work)))


async def delete(io: IO, call: Call) -> Reply:
    """DELETE /assistants/{assistant_id}."""
    id_ = call.parts["assistant_id"]
    if not await io.write(lambda db: queries.bury(db, "assistants", io.settings.namespace, id_)):
        raise errors.not_found("assistant", id_)
    return json_reply({"id": id_, "object": "assistant.deleted", "deleted": True})


async def list_(io: IO, call: Call) -> Reply:
    """GET /assistants."""
    page = page_from_call(call)
    rows, more = await io.read(lambda db: queries.page(db, "assistants", io.settings.namespace, page))
    return list_reply([_served(row) for row in rows], has_more=more)


async def _get(io: IO, id_: str) -> Found:
    return await io.read(lambda db: existing(db, io.settings.namespace, "assistant", id_))
