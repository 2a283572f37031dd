"""What a deleted thread leaves behind: upstream its containers, responses and stores, and here its generated files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from urllib.parse import quote

from .. import errors
from ..store import queries
from ..store.database import Connection
from ..store.queries import Found
from ..translate.thread import MADE
from .containers import delete_all_upstream
from .io import IO
from .uploads import delete_copies

log = logging.getLogger("assistants_compat")


@dataclass(frozen=True)
class Leavings:
    """What was made for a thread, as it was known before the thread's rows were deleted.

    Vector stores are among it that were made for the thread, and that nothing else here names.
    """

    upstream: list[tuple[str, str]]  # paths, and what each of them is, for the log
    files: list[Found]


def leavings_of(db: Connection, namespace: str, thread_id: str) -> Leavings:
    """The containers, stored responses and own vector stores of a thread, and its generated files."""
    made = [("containers", row["id"]) for row in queries.of_thread(db, "containers", namespace, thread_id)]
    for run in queries.of_thread(db, "runs", namespace, thread_id):
        if run["request"].get("store"):  # else the upstream keeps nothing
            made += [("responses", id_) for id_ in run["state"].get("responses", [])]
    thread = queries.get(db, "threads", namespace, thread_id)
    stores: list[str] = [] if thread is None else thread["body"].get(MADE, [])
    made += [("vector_stores", id_) for id_ in stores if not queries.is_named(db, namespace, id_, but=thread_id)]
    upstream = [(f"/{noun}/{quote(id_, safe='')}", id_) for noun, id_ in made]
    return Leavings(upstream, queries.of_thread(db, "files", namespace, thread_id))


async def remove(io: IO, left: Leavings) -> None:
    """Delete it, a few things at a time; what cannot be deleted is logged, and the thread is deleted all the same."""
    await delete_all_upstream(io, left.upstream)
    if io.settings.thread_files == "delete":
        for file in left.files:
            await _forget(io, file)


async def _forget(io: IO, file: Found) -> None:
    """Delete a file: the bytes first, so that its row still says that they are there when they could not be."""
    try:
        await io.forget(file["id"])
        await delete_copies(io, file)
        await io.write(lambda db: queries.bury(db, "files", file["namespace"], file["id"]))
    except errors.StoreError as error:
        log.warning("file %s of a deleted thread stays: %s", file["id"], type(error).__name__)
