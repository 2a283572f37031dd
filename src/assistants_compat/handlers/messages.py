"""`/threads/{thread_id}/messages`."""

from __future__ import annotations

from .. import errors, lifecycle, shapes
from ..exchange import Call, Reply, json_reply
from ..io import IO
from ..paging import list_reply, page_from_call
from ..store import queries
from ..store.engine import Connection
from ..wire import Message


async def create(io: IO, call: Call) -> Reply:
    """POST: refused with the service's own 400 while a run is active; whether it still is is looked at first."""
    thread_id = call.parts["thread_id"]
    given = call.json(shapes.MESSAGE_CREATE)
    await lifecycle.look_at_thread(io, thread_id)

    def work(db: Connection) -> Message:
        namespace = io.settings.namespace
        thread = queries.lock(db, "threads", namespace, thread_id)
        if thread is None:
            raise errors.not_found("thread", thread_id)
        run = queries.active_run(db, namespace, thread_id)
        if run is not None:
            raise errors.locked(thread_id, run["id"])
        [id_] = lifecycle.add_messages(io, db, thread, [given], io.now())
        return _existing(db, namespace, thread_id, id_)

    return json_reply(await io.write(work))


async def retrieve(io: IO, call: Call) -> Reply:
    """GET one."""
    thread_id, id_ = call.parts["thread_id"], call.parts["message_id"]
    return json_reply(await io.read(lambda db: _existing(db, io.settings.namespace, thread_id, id_)))


async def update(io: IO, call: Call) -> Reply:
    """POST to one: its metadata."""
    thread_id, id_ = call.parts["thread_id"], call.parts["message_id"]
    fields = call.json(shapes.MESSAGE_UPDATE)

    def work(db: Connection) -> Message:
        queries.lock(db, "messages", io.settings.namespace, id_)
        message = _existing(db, io.settings.namespace, thread_id, id_)
        if "metadata" in fields:
            message["metadata"] = fields["metadata"] or {}
            queries.change(db, "messages", io.settings.namespace, id_, body=message)
        return message

    return json_reply(await io.write(work))


async def delete(io: IO, call: Call) -> Reply:
    """DELETE one: it is not sent to the model again."""
    thread_id, id_ = call.parts["thread_id"], call.parts["message_id"]

    def work(db: Connection) -> None:
        _existing(db, io.settings.namespace, thread_id, id_)
        queries.bury(db, "messages", io.settings.namespace, id_)

    await io.write(work)
    return json_reply({"id": id_, "object": "thread.message.deleted", "deleted": True})


async def list_(io: IO, call: Call) -> Reply:
    """GET the thread's, of one run (`run_id`) or all; an active run is looked at first."""
    thread_id, run_id, page = call.parts["thread_id"], call.parameter("run_id"), page_from_call(call)
    await lifecycle.look_at_thread(io, thread_id)
    where = {"thread_id": thread_id, **({"run_id": run_id} if run_id else {})}

    def work(db: Connection) -> tuple[list[queries.Found], bool]:
        if queries.get(db, "threads", io.settings.namespace, thread_id) is None:
            raise errors.not_found("thread", thread_id)
        return queries.page(db, "messages", io.settings.namespace, page, **where)

    rows, more = await io.read(work)
    return list_reply([row["body"] for row in rows], has_more=more)


def _existing(db: Connection, namespace: str, thread_id: str, id_: str) -> Message:
    if queries.get(db, "threads", namespace, thread_id) is None:
        raise errors.not_found("thread", thread_id)
    row = queries.get(db, "messages", namespace, id_, thread_id=thread_id)
    if row is None:
        raise errors.not_found("message", id_)
    message: Message = row["body"]
    return message
