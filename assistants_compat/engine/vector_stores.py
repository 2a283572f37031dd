"""Vector stores: those that a request asks to be made, those of what messages attach, and how far they are.

They live upstream and keep their ids.  What is made for a request that is then refused is taken back.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

from .. import errors
from ..translate.assistant import store_ids, wanted_stores, with_stores
from ..translate.thread import MADE, attached_files
from ..wire.objects import Json, as_object
from .containers import delete_all_upstream
from .io import IO, Request
from .uploads import mapped

log = logging.getLogger("assistants_compat")

# A store that was made for a thread goes seven days after its last use (platform.md section 12).
_EXPIRY = {"anchor": "last_active_at", "days": 7}

_REFUSED = 400
_ABSENT = (404, 400)  # what a file that is not in a store is answered with; the second by OGX
_SEARCHED = ("completed", "in_progress")  # statuses of a file in a store that need not be joined once more
_PATIENCE = 60.0  # seconds for which a run waits until its thread's store is indexed (platform.md section 12)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0  # seconds between two looks, each half as long again as the one before


@dataclass
class Made:
    """What was made upstream for a request that may still be refused: paths, and what each of them is, for the log."""

    upstream: list[tuple[str, str]] = field(default_factory=list)


@asynccontextmanager
async def making(io: IO) -> AsyncIterator[Made]:
    """Remember what is made for a request, and delete it again when the request fails, for whatever reason."""
    made = Made()
    try:
        yield made
    except BaseException:
        await delete_all_upstream(io, made.upstream)
        raise


async def with_made_stores(io: IO, fields: Json, made: Made, *, of_thread: bool) -> Json:
    """The fields of an assistant or thread, their wanted vector stores made (one POST each) beside those they name.

    One of each is taken, as in the SDK's own tests; no answer to both was ever recorded.
    """
    resources = fields.get("tool_resources")
    wanted = wanted_stores(resources)
    if not wanted:
        return fields
    expiry = {"expires_after": _EXPIRY} if of_thread else {}
    ids = [await _make(io, {**store, **expiry}, made) for store in wanted]
    known = {MADE: [*fields.get(MADE, ()), *ids]} if of_thread else {}
    return {**fields, "tool_resources": with_stores(as_object(resources), ids), **known}


async def _make(io: IO, store: Json, made: Made) -> str:
    if ids := store.get("file_ids"):
        known = await mapped(io, ids)
        store = {**store, "file_ids": [known.get(id_, id_) for id_ in ids]}
    answer = await io.ask(Request("POST", "/vector_stores", store))
    id_ = answer.get("id")
    if not isinstance(id_, str):
        raise errors.bad_upstream("a vector store without an id")
    made.upstream.append((store_path(id_), id_))
    return id_


def store_path(store_id: str) -> str:
    """Where a vector store is."""
    return f"/vector_stores/{quote(store_id, safe='')}"


def searched_files(given: Iterable[Json], *, first_version: bool | None = None) -> list[str]:
    """The files that messages attach to be searched, each once; with `first_version` only those, or all others."""
    return list(
        dict.fromkeys(
            file_id
            for entry in given
            for file_id in attached_files(entry, "file_search")
            if first_version in (None, file_id in (entry.get("file_ids") or ()))
        )
    )


async def attach(io: IO, thread: Json, given: Iterable[Json], made: Made) -> str | None:
    """Let files that messages attach join the vector store of a thread with these fields.

    The id of a new one, if it had none.  In the first version nobody said which tool a file is for: one that cannot be
    searched (a table) is then there for the code interpreter alone.
    """
    messages = list(given)
    there = store_ids(thread.get("tool_resources"))
    new = await _join(io, there, searched_files(messages, first_version=False), made)
    either = searched_files(messages, first_version=True)
    try:
        return await _join(io, [new] if new else there, either, made) or new
    except errors.UpstreamError as error:
        if error.status != _REFUSED:
            raise
        log.warning("%d file(s) cannot be searched: the upstream refuses them", len(either))
    return new


async def _join(io: IO, there: list[str], files: list[str], made: Made) -> str | None:
    if not files:
        return None
    if not there:
        return await _make(io, {"file_ids": files, "expires_after": _EXPIRY}, made)
    known = await mapped(io, files)
    files = list(dict.fromkeys(known.get(id_, id_) for id_ in files))
    path = store_path(there[0])
    paths = {file_id: f"{path}/files/{quote(file_id, safe='')}" for file_id in files}
    statuses = dict(zip(files, await io.together([partial(_status, io, paths[each]) for each in files]), strict=True))
    # What is there already stays when the request is refused: it may be the caller's, or an earlier message's.
    joining = [file_id for file_id in files if statuses[file_id] not in _SEARCHED]
    if joining:
        await io.ask(Request("POST", f"{path}/file_batches", {"file_ids": joining}))
    made.upstream += [(paths[file_id], file_id) for file_id in joining if statuses[file_id] is None]
    return None


async def _status(io: IO, path: str) -> str | None:
    """How far a file is in a vector store; None for one that is not there, "" where the upstream does not say."""
    try:
        return str((await io.ask(Request("GET", path))).get("status"))
    except errors.UpstreamError as error:
        return None if error.status in _ABSENT else ""


async def trouble(io: IO, searched: Sequence[str], awaited: Collection[str]) -> Json | None:
    """Why a run cannot search these stores, as its `last_error`: one has expired.  Those `awaited` are indexed then.

    What is not indexed in 60 seconds is not waited for: the service promised no more, and nothing says that such a run
    failed.  A store that cannot be looked at is left to the upstream, which says what is wrong when it is to search it.
    """
    looks = await io.together([partial(_look, io, id_, waits=id_ in awaited) for id_ in searched])
    return next((error for error in looks if error is not None), None)


async def _look(io: IO, store_id: str, *, waits: bool) -> Json | None:
    pause, until = _FIRST_PAUSE, io.monotonic() + _PATIENCE
    while True:
        try:
            store = await io.ask(Request("GET", store_path(store_id)))
        except errors.UNANSWERED as error:
            log.warning("vector store %s could not be looked at: %s", store_id, type(error).__name__)
            return None
        if store.get("status") == "expired":
            return {"code": "server_error", "message": f"Vector store {store_id} has expired."}
        left: Any = as_object(store.get("file_counts")).get("in_progress")
        if not waits or not left:
            return None
        if io.monotonic() + pause > until:
            text = "vector store %s still indexes %s file(s) after %.0f seconds: the run goes on without them"
            log.warning(text, store_id, left, _PATIENCE)
            return None
        await io.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
