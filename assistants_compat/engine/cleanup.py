"""Deletes what a thread created: containers, responses and vector stores upstream, and its generated files here.

The list is read before the thread's rows are deleted; the deletions follow afterwards and never fail the request.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from urllib.parse import quote

from .. import errors
from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..translate.thread import CREATED_STORES_KEY
from .containers import delete_all_upstream
from .file_copies import mark_file_deleted
from .io import IO
from .uploads import delete_copies

log = logging.getLogger("assistants_compat")


@dataclass(frozen=True)
class ThreadResources:
    """What was created for a thread, read before the thread's rows are deleted.

    It includes the vector stores that were created for the thread, unless another assistant or thread names them.
    """

    upstream: list[tuple[str, str]]  # paths, each with a label for the log
    files: list[Row]  # generated files; `Settings(thread_files="delete")` deletes them too


def thread_resources(db: Connection, namespace: str, thread_id: str) -> ThreadResources:
    """Return the containers, stored responses, own vector stores and generated files of a thread."""
    objects = [("containers", row["id"]) for row in queries.rows_of_thread(db, "containers", namespace, thread_id)]
    for run in queries.rows_of_thread(db, "runs", namespace, thread_id):
        if run["request"].get("store"):  # otherwise the upstream stored no response
            objects += [("responses", id_) for id_ in run["state"].get("responses", [])]
    thread = queries.get(db, "threads", namespace, thread_id)
    store_ids: list[str] = [] if thread is None else thread["body"].get(CREATED_STORES_KEY, [])
    unused = [id_ for id_ in store_ids if not queries.is_referenced(db, namespace, id_, except_id=thread_id)]
    objects += [("vector_stores", id_) for id_ in unused]
    upstream = [(f"/{noun}/{quote(id_, safe='')}", id_) for noun, id_ in objects]
    return ThreadResources(upstream, queries.rows_of_thread(db, "files", namespace, thread_id))


async def delete_resources(io: IO, resources: ThreadResources) -> None:
    """Delete the resources, a few at a time; a failure is logged and does not stop the thread's deletion."""
    await delete_all_upstream(io, resources.upstream)
    if io.settings.thread_files == "delete":
        for file in resources.files:
            await _delete_file(io, file)


async def _delete_file(io: IO, file: Row) -> None:
    """Delete a file, its content first: if that fails, the row must still tell that the content is stored."""
    try:
        await io.delete_content(file["id"])
        await delete_copies(io, file)
        await io.write(lambda db: mark_file_deleted(db, file))
    except errors.StoreError as error:
        log.warning("could not delete file %s of a deleted thread: %s", file["id"], type(error).__name__)
