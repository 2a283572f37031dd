"""`Settings(only=...)`: which calls are answered here and which are left to an upstream that still has the old API.

Two rules: the setting says which assistants are ours, and the store which threads.  A thread is where it was made,
until a run of one of our assistants takes it over: it is copied with its messages, under its ids, and is here from then
on.  The upstream's own copy stays as it was.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from ..engine.io import IO, Request
from ..errors import ApiError, UpstreamError, active_run
from ..store import queries
from ..store.database import Connection
from ..store.tables import ACTIVE
from ..translate.legacy_objects import row_from_served
from ..wire.exchange import Call
from ..wire.objects import Json

_ASSISTANT, _THREAD, _RUNS = "/assistants/{assistant_id}", "/threads/{thread_id}", "/threads/{thread_id}/runs"
_NOT_FOUND = 404


async def is_ours(io: IO, call: Call, route: str) -> bool:
    """Whether a call is answered here; what it needs from the upstream has been copied then.

    Raises what asking the upstream does, and `ApiError` for a run that neither of the two could make.
    """
    thread_id = call.parts.get("thread_id")
    if route.startswith("/assistants"):
        id_ = call.parts.get("assistant_id")
        return id_ is not None and _named(io, id_) and await _with_assistant(io, id_, taking=call.method != "DELETE")
    if thread_id is None:  # a thread is made where its run's assistant is, and without one upstream
        id_ = _assistant_of(call)
        return id_ is not None and _named(io, id_) and await _with_assistant(io, id_)
    if not route.startswith("/threads"):
        return True
    here = await io.read(lambda db: queries.get(db, "threads", io.settings.namespace, thread_id)) is not None
    if (call.method, route) != ("POST", _RUNS):
        return here and await _has_run(io, call)
    id_ = _assistant_of(call)
    if id_ is None or not _named(io, id_):
        if here and id_ is not None:
            raise _neither(thread_id, id_)
        return here
    return await _with_assistant(io, id_) and (here or await _with_thread(io, thread_id))


def is_upstreams_too(call: Call, route: str) -> bool:
    """Whether the upstream is to hear of a call that was answered here: what is deleted is deleted in both."""
    return call.method == "DELETE" and route in {_ASSISTANT, _THREAD}


def _named(io: IO, assistant_id: str) -> bool:
    only = io.settings.only
    return only is None or (bool(only(assistant_id)) if callable(only) else assistant_id in only)


def _assistant_of(call: Call) -> str | None:
    try:
        body: Any = json.loads(call.body)
    except ValueError:
        return None
    id_ = body.get("assistant_id") if isinstance(body, dict) else None
    return id_ if isinstance(id_, str) else None


async def _has_run(io: IO, call: Call) -> bool:
    """Whether a run that a call names is here: one from before the thread was taken over is the upstream's."""
    run_id = call.parts.get("run_id")
    if run_id is None:
        return True
    return await io.read(lambda db: queries.get(db, "runs", io.settings.namespace, run_id)) is not None


async def _with_assistant(io: IO, id_: str, *, taking: bool = True) -> bool:
    """Copy an assistant of ours that is not here yet; False where only the upstream can answer for it."""
    if await io.read(lambda db: queries.has_place(db, "assistants", io.settings.namespace, id_)):
        return True
    if not taking:
        return False
    served = await _asked(io, f"/assistants/{quote(id_, safe='')}")
    if served is None:
        return False
    row = _row(io, "assistant", served)
    await io.write(lambda db: queries.add_new(db, "assistants", row))
    return True


async def _with_thread(io: IO, id_: str) -> bool:
    """Copy a thread and its messages; False where only the upstream can answer for it."""
    path = f"/threads/{quote(id_, safe='')}"
    served = await _asked(io, path)
    if served is None:
        return False
    await _is_idle(io, id_, path)
    messages = await _messages(io, path, None)
    thread = _row(io, "thread", served)

    def work(db: Connection) -> bool:
        new = queries.add_new(db, "threads", thread)  # another call may have been quicker
        if new:
            queries.add(db, "messages", messages)
        return new

    if await io.write(work) and (later := await _messages(io, path, messages[-1]["id"] if messages else None)):
        # What came while we read; whoever writes from now on finds the thread here.
        await io.write(lambda db: queries.add(db, "messages", later))
    return True


async def _is_idle(io: IO, id_: str, path: str) -> None:
    runs = await _asked(io, f"{path}/runs", ("limit", "100"))
    for run in (runs or {}).get("data", ()):
        if run.get("status") in ACTIVE:
            raise active_run(id_, run["id"])


async def _messages(io: IO, path: str, after: str | None) -> list[Json]:
    """The rows of a thread's messages."""
    found: list[Json] = []
    while True:
        cursor = (("after", after),) if after else ()
        page = await _asked(io, f"{path}/messages", ("limit", "100"), ("order", "asc"), *cursor)
        data = (page or {}).get("data") or []
        found += [_row(io, "thread.message", message) for message in data]
        if not data or not (page or {}).get("has_more"):
            return found
        after = data[-1]["id"]


async def _asked(io: IO, path: str, *query: tuple[str, str]) -> Json | None:
    """What the old API answers; None where it knows nothing of the kind."""
    try:
        return await io.ask(Request("GET", path, query=query, legacy=True))
    except UpstreamError as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def _row(io: IO, kind: str, served: Json) -> Json:
    return {"namespace": io.settings.namespace, **row_from_served(kind, served)}


def _neither(thread_id: str, assistant_id: str) -> ApiError:
    text = (
        f"Thread {thread_id} is kept by assistants_compat, and assistant {assistant_id} is not among those that "
        "Settings(only=...) names: its run can be made neither here nor upstream."
    )
    return ApiError(400, text)
