"""`Settings(only=...)`: decides which calls are answered here, and which go to an upstream that still has the old API.

The setting selects the assistants, the store decides about threads: the calls of a stored thread are answered here. A
thread belongs to the side that created it until a run of a selected assistant takes it over. Then it is copied with its
messages, under the same ids, and its calls are answered here from then on. The upstream's own copy stays unchanged.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from ..engine.io import IO, Request
from ..errors import ApiError, UpstreamError, run_already_active
from ..store import queries
from ..store.database import Connection
from ..store.tables import ACTIVE
from ..translate.legacy_objects import row_from_served
from ..wire.exchange import Call
from ..wire.objects import Json

_ASSISTANT, _THREAD, _RUNS = "/assistants/{assistant_id}", "/threads/{thread_id}", "/threads/{thread_id}/runs"
_NOT_FOUND = 404


async def is_answered_here(io: IO, call: Call, route: str) -> bool:
    """Whether a call is answered here; if so, the assistant and thread that it needs have been copied.

    Raises what a request to the upstream raises, and `ApiError` for a run that neither side can create.
    """
    thread_id = call.path_params.get("thread_id")
    if route.startswith("/assistants"):
        assistant_id = call.path_params.get("assistant_id")
        return (
            assistant_id is not None
            and _is_selected(io, assistant_id)
            and await _copy_assistant_if_unknown(io, assistant_id, copy=call.method != "DELETE")
        )
    if thread_id is None:  # /threads/runs creates the thread where the assistant is; /threads creates it upstream
        assistant_id = _assistant_id_in_body(call)
        return (
            assistant_id is not None
            and _is_selected(io, assistant_id)
            and await _copy_assistant_if_unknown(io, assistant_id)
        )
    if not route.startswith("/threads"):
        return True
    is_stored = await io.read(lambda db: queries.get(db, "threads", io.settings.namespace, thread_id)) is not None
    if (call.method, route) != ("POST", _RUNS):
        return is_stored and await _has_named_run(io, call)
    assistant_id = _assistant_id_in_body(call)
    if assistant_id is None or not _is_selected(io, assistant_id):
        # The thread is here and the assistant is upstream, so neither side has both.
        if is_stored and assistant_id is not None:
            raise _unservable_run_error(thread_id, assistant_id)
        return is_stored
    return await _copy_assistant_if_unknown(io, assistant_id) and (is_stored or await _copy_thread(io, thread_id))


def is_also_sent_upstream(call: Call, route: str) -> bool:
    """Whether a call that was answered here also goes upstream: assistants and threads are deleted on both sides."""
    return call.method == "DELETE" and route in {_ASSISTANT, _THREAD}


def _is_selected(io: IO, assistant_id: str) -> bool:
    only = io.settings.only
    return only is None or (bool(only(assistant_id)) if callable(only) else assistant_id in only)


def _assistant_id_in_body(call: Call) -> str | None:
    try:
        body: Any = json.loads(call.body)
    except ValueError:  # the side that answers the call refuses it
        return None
    assistant_id = body.get("assistant_id") if isinstance(body, dict) else None
    return assistant_id if isinstance(assistant_id, str) else None


async def _has_named_run(io: IO, call: Call) -> bool:
    """Whether the run that a call names is stored here, if it names one.

    A run that was created before its thread was taken over exists only upstream.
    """
    run_id = call.path_params.get("run_id")
    if run_id is None:
        return True
    return await io.read(lambda db: queries.get(db, "runs", io.settings.namespace, run_id)) is not None


async def _copy_assistant_if_unknown(io: IO, assistant_id: str, *, copy: bool = True) -> bool:
    """Copy a selected assistant from upstream unless the store has it, deleted or not.

    Returns False if the upstream must answer the call: it has no such assistant either, or `copy` is false.
    """
    if await io.read(lambda db: queries.cursor_exists(db, "assistants", io.settings.namespace, assistant_id)):
        return True
    if not copy:
        return False
    legacy_object = await _get_upstream(io, f"/assistants/{quote(assistant_id, safe='')}")
    if legacy_object is None:
        return False
    row = _row_from_upstream(io, "assistant", legacy_object)
    await io.write(lambda db: queries.insert_if_absent(db, "assistants", row))
    return True


async def _copy_thread(io: IO, thread_id: str) -> bool:
    """Copy a thread and its messages; False if the upstream has no such thread."""
    path = f"/threads/{quote(thread_id, safe='')}"
    legacy_object = await _get_upstream(io, path)
    if legacy_object is None:
        return False
    await _require_idle_thread(io, thread_id, path)
    # Oldest first, so that the last id is the cursor for messages that are added during the copy.
    messages = await _upstream_message_rows(io, path, None)
    thread = _row_from_upstream(io, "thread", legacy_object)

    # One transaction: from its commit on, calls find the thread here, and they must find its messages too.
    def insert_thread(db: Connection) -> bool:
        is_new = queries.insert_if_absent(db, "threads", thread)  # a concurrent call may have copied it first
        if is_new:
            queries.insert_rows(db, "messages", messages)
        return is_new

    if await io.write(insert_thread) and (
        later := await _upstream_message_rows(io, path, messages[-1]["id"] if messages else None)
    ):
        # Messages added upstream during the copy. From now on every call finds the thread here.
        await io.write(lambda db: queries.insert_rows(db, "messages", later))
    return True


async def _require_idle_thread(io: IO, thread_id: str, path: str) -> None:
    """Raise the recorded error if a run of the thread is active upstream: it would add messages after the copy."""
    # One page, newest first, is enough: a thread has one active run at most.
    runs = await _get_upstream(io, f"{path}/runs", ("limit", "100"))
    for run in (runs or {}).get("data", ()):
        if run.get("status") in ACTIVE:
            raise run_already_active(thread_id, run["id"])


async def _upstream_message_rows(io: IO, path: str, after: str | None) -> list[Json]:
    """Return the rows of a thread's messages upstream, oldest first, from the message after `after` on."""
    rows: list[Json] = []
    while True:
        cursor = (("after", after),) if after else ()
        page = await _get_upstream(io, f"{path}/messages", ("limit", "100"), ("order", "asc"), *cursor)
        data = (page or {}).get("data") or []
        rows += [_row_from_upstream(io, "thread.message", message) for message in data]
        if not data or not (page or {}).get("has_more"):
            return rows
        after = data[-1]["id"]


async def _get_upstream(io: IO, path: str, *query: tuple[str, str]) -> Json | None:
    """Return an object or list of the old API; None if it answers 404."""
    try:
        return await io.ask(Request("GET", path, query=query, legacy=True))
    except UpstreamError as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def _row_from_upstream(io: IO, kind: str, legacy_object: Json) -> Json:
    return {"namespace": io.settings.namespace, **row_from_served(kind, legacy_object)}


def _unservable_run_error(thread_id: str, assistant_id: str) -> ApiError:
    text = (
        f"Thread {thread_id} is kept by assistants_compat, and assistant {assistant_id} is not among those that "
        "Settings(only=...) names: its run can be made neither here nor upstream."
    )
    return ApiError(400, text)
