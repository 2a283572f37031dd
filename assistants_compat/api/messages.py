"""`/threads/{thread_id}/messages`."""

from __future__ import annotations

from .. import errors
from ..engine import threads
from ..engine.io import IO
from ..engine.runs import refresh
from ..store import queries
from ..store.database import Connection
from ..store.lookup import existing
from ..store.queries import Found
from ..translate.v1_requests import understood
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Message
from .paging import list_reply, page_from_call


async def create(io: IO, call: Call) -> Reply:
    """POST: refused with the service's own 400 while a run is active; whether it still is is looked at first."""
    thread_id = call.parts["thread_id"]
    given = understood(call.json(request_schemas.MESSAGE_CREATE))
    await refresh.look_at_thread(io, thread_id)

    def find(db: Connection) -> Found:
        thread = existing(db, io.settings.namespace, "thread", thread_id, lock=True)
        run = queries.active_run(db, io.settings.namespace, thread_id)
        if run is not None:
            raise errors.locked(thread_id, run["id"])
        return thread

    def work(db: Connection, thread: Found) -> Message:
        [id_] = threads.add_messages(io, db, thread, [given], io.now())
        message: Message = existing(db, io.settings.namespace, "message", id_)["body"]
        return message

    return json_reply(await threads.attaching(io, [given], find, work))


async def retrieve(io: IO, call: Call) -> Reply:
    """GET one."""
    return json_reply(await io.read(lambda db: _message(io, db, call)))


async def update(io: IO, call: Call) -> Reply:
    """POST to one: its metadata."""
    fields = call.json(request_schemas.MESSAGE_UPDATE)

    def work(db: Connection) -> Message:
        message = _message(io, db, call, lock=True)
        if "metadata" in fields:
            message["metadata"] = fields["metadata"] or {}
            queries.change(db, "messages", io.settings.namespace, message["id"], body=message)
        return message

    return json_reply(await io.write(work))


async def delete(io: IO, call: Call) -> Reply:
    """DELETE one: it is not sent to the model again."""

    def work(db: Connection) -> str:
        id_ = _message(io, db, call, lock=True)["id"]
        queries.bury(db, "messages", io.settings.namespace, id_)
        return id_

    return json_reply({"id": await io.write(work), "object": "thread.message.deleted", "deleted": True})


async def list_(io: IO, call: Call) -> Reply:
    """GET the thread's, of one run (`run_id`) or all; an active run is looked at first."""
    thread_id, run_id, page = call.parts["thread_id"], call.parameter("run_id"), page_from_call(call)
    await refresh.look_at_thread(io, thread_id)
    where = {"thread_id": thread_id, "kind": "message", **({"run_id": run_id} if run_id else {})}

    def work(db: Connection) -> tuple[list[Found], bool]:
        existing(db, io.settings.namespace, "thread", thread_id)
        return queries.page(db, "messages", io.settings.namespace, page, **where)

    rows, more = await io.read(work)
    return list_reply([row["body"] for row in rows], has_more=more)


def _message(io: IO, db: Connection, call: Call, *, lock: bool = False) -> Message:
    namespace, thread_id = io.settings.namespace, call.parts["thread_id"]
    existing(db, namespace, "thread", thread_id)
    message: Message = existing(
        db, namespace, "message", call.parts["message_id"], lock=lock, thread_id=thread_id, kind="message"
    )["body"]
    return message
