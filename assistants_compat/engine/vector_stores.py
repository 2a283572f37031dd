"""Vector stores: creates the requested ones, adds the files that messages attach, and waits until they are indexed.

Vector stores live upstream and keep their upstream ids. What was created for a request is deleted if the request fails.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

from .. import errors
from ..translate.assistant import vector_store_ids, vector_stores_to_create, with_created_vector_stores
from ..translate.request_files import missing_file_of
from ..translate.thread import CREATED_STORES_KEY, attached_file_ids
from ..wire.objects import Json, as_object
from .containers import delete_all_upstream
from .io import IO, Request
from .uploads import send_with_copies

log = logging.getLogger("assistants_compat")

# The service deletes a store that it created for a thread seven days after its last use (platform.md section 12).
_EXPIRES_AFTER = {"anchor": "last_active_at", "days": 7}

# At creation a store takes 100 files by a report of 2024 (openchatstudio/open-chat-studio#954) and 500 by the spec of
# 2026; a batch takes 2000 by the spec, so 500 is safe. The old helper took 10,000 and more in one request.
_MAX_FILES_AT_CREATION = 100
_MAX_FILES_OF_BATCH = 500

_STORE_GONE = "vector_store_gone"  # a row of `service/refusal_table.py`
_BAD_REQUEST = 400
_ABSENT_STATUSES = (404, 400)  # answers for a file that is not in the store; 400 comes from OGX
_JOINED_STATUSES = ("completed", "in_progress")  # a file with one of these need not be added again
_INDEXING_TIMEOUT = 60.0  # seconds that a run waits for the index of its thread's store (platform.md section 12)
_DELETED: Json = {"deleted": True}
_FIRST_POLL_DELAY, _MAX_POLL_DELAY = 0.25, 4.0  # seconds; each delay is 1.5 times the previous one


@dataclass
class CreatedObjects:
    """What was created upstream for a request that may still be refused."""

    upstream: list[tuple[str, str]] = field(default_factory=list)  # paths, each with a label for the log


@asynccontextmanager
async def delete_on_failure(io: IO) -> AsyncIterator[CreatedObjects]:
    """Collect what is created upstream for a request, and delete it if the request fails for any reason."""
    created = CreatedObjects()
    try:
        yield created
    except BaseException:
        await delete_all_upstream(io, created.upstream)
        raise


async def with_created_stores(io: IO, fields: Json, created: CreatedObjects, *, of_thread: bool) -> Json:
    """Create the vector stores that an assistant or thread requests, and return its fields with their ids.

    Each store costs one POST, and one more for every 500 files after the first 100. A request may both name an existing
    store and request a new one, as in the SDK's own tests; how the service answered that was never recorded.
    """
    resources = fields.get("tool_resources")
    requested = vector_stores_to_create(resources)
    if not requested:
        return fields
    expiry = {"expires_after": _EXPIRES_AFTER} if of_thread else {}
    ids = [await _create_store(io, {**store, **expiry}, created) for store in requested]
    record = {CREATED_STORES_KEY: [*fields.get(CREATED_STORES_KEY, ()), *ids]} if of_thread else {}
    return {**fields, "tool_resources": with_created_vector_stores(as_object(resources), ids), **record}


async def _create_store(io: IO, store: Json, created: CreatedObjects) -> str:
    """Create a vector store with all of its files and return its id; raises if any of them is refused."""
    file_ids: list[str] = store.get("file_ids") or []

    async def create(copies: Mapping[str, str]) -> str:
        files = list(dict.fromkeys(copies.get(id_, id_) for id_ in file_ids))
        first_files = {"file_ids": files[:_MAX_FILES_AT_CREATION]} if files else {}
        response = await io.ask(Request("POST", "/vector_stores", {**store, **first_files}))
        id_ = response.get("id")
        if not isinstance(id_, str):
            raise errors.bad_upstream("a vector store without an id")
        # At once, before anything else can fail: `delete_on_failure` deletes only what is listed here.
        created.upstream.append((store_path(id_), id_))
        options = {"chunking_strategy": store["chunking_strategy"]} if store.get("chunking_strategy") else {}
        for batch in _batches(files[_MAX_FILES_AT_CREATION:]):
            await io.ask(Request("POST", f"{store_path(id_)}/file_batches", {"file_ids": batch, **options}))
        return id_

    return await send_with_copies(io, file_ids, create)


def _batches(files: Sequence[str]) -> Iterator[list[str]]:
    """Yield the files, as many at a time as the upstream takes in a batch."""
    for start in range(0, len(files), _MAX_FILES_OF_BATCH):
        yield list(files[start : start + _MAX_FILES_OF_BATCH])


def store_path(store_id: str) -> str:
    """Return the upstream path of a vector store."""
    return f"/vector_stores/{quote(store_id, safe='')}"


def files_to_search(messages: Iterable[Json], *, first_version: bool | None = None) -> list[str]:
    """Return the files that messages attach for file search, without duplicates.

    `first_version=True` returns only the files of Assistants v1 messages (`file_ids`), False only all others.
    """
    return list(
        dict.fromkeys(
            file_id
            for message in messages
            for file_id in attached_file_ids(message, "file_search")
            if first_version in (None, file_id in (message.get("file_ids") or ()))
        )
    )


async def attach_files(io: IO, thread: Json, messages: Iterable[Json], created: CreatedObjects) -> str | None:
    """Add the files that messages attach to the vector store of a thread with these fields.

    Returns the id of the store that was created, or None if the thread had one already or needs none. Assistants v1
    does not say which tool a file is for: if the upstream cannot search one (such as a table), only the Code
    Interpreter gets it.
    """
    messages = list(messages)
    store_ids = vector_store_ids(thread.get("tool_resources"))
    new_store = await _add_to_store(io, store_ids, files_to_search(messages, first_version=False), created)
    v1_files = files_to_search(messages, first_version=True)
    try:
        return await _add_to_store(io, [new_store] if new_store else store_ids, v1_files, created) or new_store
    except errors.UpstreamError as error:
        if error.status != _BAD_REQUEST:
            raise
        log.warning("%d file(s) are left out of file search: the upstream refuses to index them", len(v1_files))
    return new_store


async def _add_to_store(io: IO, store_ids: list[str], files: list[str], created: CreatedObjects) -> str | None:
    """Add files to the newest of these stores, or create one with them; returns the id of a created store.

    The newest is the one that runs search in any case (`translate.request.searched_store_ids`). One that was deleted is
    passed over.
    """
    if not files:
        return None
    if not store_ids:
        return await _create_store(io, {"file_ids": files, "expires_after": _EXPIRES_AFTER}, created)
    *other_ids, newest = store_ids
    if not io.memory.knows(_STORE_GONE, newest):
        try:
            await send_with_copies(io, files, partial(_add_to_existing, io, store_path(newest), files, created))
        except errors.UpstreamError as error:
            if not missing_file_of([newest], error.status, error.details()):
                raise
            io.memory.remember(_STORE_GONE, newest)
        else:
            return None
    return await _add_to_store(io, other_ids, files, created)


async def _add_to_existing(
    io: IO, path: str, file_ids: list[str], created: CreatedObjects, copies: Mapping[str, str]
) -> None:
    """Add those of the files to a vector store that it does not have yet; `copies` has the upstream ids of ours."""
    files = list(dict.fromkeys(copies.get(id_, id_) for id_ in file_ids))
    paths = {file_id: f"{path}/files/{quote(file_id, safe='')}" for file_id in files}
    statuses = dict(
        zip(files, await io.gather([partial(_file_status, io, paths[file_id]) for file_id in files]), strict=True)
    )
    # Only files that were absent are deleted on failure; the others may belong to the caller or to earlier messages.
    to_add = [file_id for file_id in files if statuses[file_id] not in _JOINED_STATUSES]
    for batch in _batches(to_add):
        await io.ask(Request("POST", f"{path}/file_batches", {"file_ids": batch}))
        # At once: if a later batch is refused, the files of this one are deleted.
        created.upstream += [(paths[file_id], file_id) for file_id in batch if statuses[file_id] is None]


async def _file_status(io: IO, path: str) -> str | None:
    """Return the status of a file in a vector store; None if it is not there, "" if the upstream does not tell."""
    try:
        return str((await io.ask(Request("GET", path))).get("status"))
    except errors.UpstreamError as error:
        return None if error.status in _ABSENT_STATUSES else ""


@dataclass(frozen=True)
class StoreCheck:
    """Whether a run can search its vector stores.

    `error` is the run's `last_error` if it cannot, because a store has expired. `deleted` are stores that no longer
    exist.
    """

    error: Json | None
    deleted: list[str]


async def check_stores(io: IO, store_ids: Sequence[str], awaited: Collection[str]) -> StoreCheck:
    """Return whether a run can search these stores.

    Waits until the `awaited` stores are indexed, for at most 60 seconds: the service promised no more, and no source
    says that such a run failed. A store that cannot be retrieved for any other reason than that it was deleted is left
    to the upstream, which reports the problem when it searches the store.
    """
    deleted = [id_ for id_ in store_ids if io.memory.knows(_STORE_GONE, id_)]
    store_ids = [id_ for id_ in store_ids if id_ not in deleted]
    results = await io.gather([partial(_check_store, io, id_, wait=id_ in awaited) for id_ in store_ids])
    deleted += [id_ for id_, result in zip(store_ids, results, strict=True) if result == _DELETED]
    for id_ in deleted:
        io.memory.remember(_STORE_GONE, id_)
    return StoreCheck(next((result for result in results if result not in (None, _DELETED)), None), deleted)


async def _check_store(io: IO, store_id: str, *, wait: bool) -> Json | None:
    """Return the error of an expired store, `_DELETED` or None; with `wait` only after it is indexed or time is up."""
    delay, deadline = _FIRST_POLL_DELAY, io.monotonic() + _INDEXING_TIMEOUT
    while True:
        try:
            store = await io.ask(Request("GET", store_path(store_id)))
        except errors.UPSTREAM_FAILURES as error:
            if isinstance(error, errors.UpstreamError) and missing_file_of([store_id], error.status, error.details()):
                return _DELETED
            log.warning("could not retrieve vector store %s: %s", store_id, type(error).__name__)
            return None
        if store.get("status") == "expired":
            return {"code": "server_error", "message": f"Vector store {store_id} has expired."}
        in_progress: Any = as_object(store.get("file_counts")).get("in_progress")
        if not wait or not in_progress:
            return None
        if io.monotonic() + delay > deadline:
            text = "vector store %s still indexes %s file(s) after %.0f seconds; the run continues without them"
            log.warning(text, store_id, in_progress, _INDEXING_TIMEOUT)
            return None
        await io.sleep(delay)
        delay = min(delay * 1.5, _MAX_POLL_DELAY)
