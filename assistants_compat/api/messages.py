"""`/threads/{thread_id}/messages`: create, retrieve, update, delete and list messages, all in the store."""

from __future__ import annotations

from .. import errors
from ..engine import threads
from ..engine.io import IO
from ..engine.runs import refresh
from ..engine.runs.second_looks import look_again
from ..store import queries
from ..store.database import Connection
from ..store.lookup import get_or_404
from ..store.queries import Row
from ..translate.v1_requests import v2_request_from_v1
from ..wire import request_schemas
from ..wire.exchange import Call, Reply, json_reply
from ..wire.objects import Message
from .metadata import merged_metadata
from .paging import list_reply, page_from_call


async def create(io: IO, call: Call) -> Reply:
    """Create a message: POST .../messages.

    Refused with the recorded 400 while a run is active. The run is refreshed first, since it may have ended.
    """
    thread_id = call.path_params["thread_id"]
    params = v2_request_from_v1(call.json(request_schemas.MESSAGE_CREATE))
    await refresh.refresh_active_run(io, thread_id)

    def find_thread(db: Connection) -> Row:
        # The lock keeps a run from starting between this check and the new message.
        thread = get_or_404(db, io.settings.namespace, "thread", thread_id, lock=True)
        run = queries.active_run(db, io.settings.namespace, thread_id)
        if run is not None:
            raise errors.thread_locked(thread_id, run["id"])
        return thread

    def add_message(db: Connection, thread: Row) -> Message:
        [id_] = threads.add_messages(io, db, thread, [params], io.now())
        message: Message = get_or_404(db, io.settings.namespace, "message", id_)["body"]
        return message

    return json_reply(await threads.attach_and_write(io, [params], find_thread, add_message))


async def retrieve(io: IO, call: Call) -> Reply:
    """Retrieve a message: GET .../messages/{message_id}. Files that could not be listed are looked for again."""
    await look_again(io, call.path_params["thread_id"])
    return json_reply(await io.read(lambda db: _require_message(io, db, call)))


async def update(io: IO, call: Call) -> Reply:
    """Update a message: POST .../messages/{message_id}. Only its metadata can change."""
    params = call.json(request_schemas.MESSAGE_UPDATE)

    def update_metadata(db: Connection) -> Message:
        message = _require_message(io, db, call, lock=True)
        if "metadata" in params:
            message["metadata"] = merged_metadata(message["metadata"], params["metadata"])
            queries.update_row(db, "messages", io.settings.namespace, message["id"], body=message)
        return message

    return json_reply(await io.write(update_metadata))


async def delete(io: IO, call: Call) -> Reply:
    """Delete a message: DELETE .../messages/{message_id}. Later runs do not send it to the model."""

    def mark_deleted(db: Connection) -> str:
        id_ = _require_message(io, db, call, lock=True)["id"]
        queries.mark_deleted(db, "messages", io.settings.namespace, id_)
        return id_

    return json_reply({"id": await io.write(mark_deleted), "object": "thread.message.deleted", "deleted": True})


async def list_(io: IO, call: Call) -> Reply:
    """List the messages of a thread, or of one run (`run_id`): GET .../messages. Refreshes an active run first."""
    thread_id, run_id, page = call.path_params["thread_id"], call.query_value("run_id"), page_from_call(call)
    await refresh.refresh_active_run(io, thread_id)
    # The table also holds the tool items of a thread's transcript; `kind` leaves them out.
    filters = {"thread_id": thread_id, "kind": "message", **({"run_id": run_id} if run_id else {})}

    def read_page(db: Connection) -> tuple[list[Row], bool]:
        get_or_404(db, io.settings.namespace, "thread", thread_id)
        return queries.get_page(db, "messages", io.settings.namespace, page, **filters)

    rows, has_more = await io.read(read_page)
    return list_reply([row["body"] for row in rows], has_more=has_more)


def _require_message(io: IO, db: Connection, call: Call, *, lock: bool = False) -> Message:
    namespace, thread_id = io.settings.namespace, call.path_params["thread_id"]
    get_or_404(db, namespace, "thread", thread_id)  # an unknown thread has its own 404, which comes first
    message: Message = get_or_404(
        db, namespace, "message", call.path_params["message_id"], lock=lock, thread_id=thread_id, kind="message"
    )["body"]
    return message
