"""Looks again at containers whose files could not be listed when their run ended, and stores what it finds.

The row of such a container has a mark (`translate/unlisted_files.py`). Whoever reads the thread or begins its next run
looks again, and so does `settle`. The files go to the run that made them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ... import errors
from ...store import queries
from ...store.database import Connection
from ...store.queries import Row
from ...translate.outcome import GeneratedFile
from ...translate.uncited_files import (
    copies_of_shown_images,
    files_made_by_model,
    keys_of_version,
    location_of_file,
    name_of_copy,
    version_of_file,
    was_written_again,
)
from ...translate.unlisted_files import (
    ListFailure,
    attach_found_files,
    body_after_failure,
    body_without_mark,
    marks_of_container,
    may_be_looked_at,
    open_marks,
    run_of_file,
)
from ...wire.objects import Json
from .. import generated_files
from ..io import IO
from .finish import copied_files

log = logging.getLogger("assistants_compat")


async def look_again(io: IO, thread_id: str) -> None:
    """List the thread's containers that could not be listed before, once each; does nothing while a run is active.

    A list that fails again is left to a later look, and so is a store that cannot be written: whoever asks gets the
    answer to what was asked.
    """
    await look_at(io, await io.read(lambda db: containers_to_look_at(io, db, thread_id)))


async def look_at(io: IO, containers: Iterable[Row]) -> None:
    """List these containers, once each, and store what is found."""
    for container in containers:
        listed, failure = await generated_files.list_container(io, container["id"], attempts=1)
        try:
            if failure is None:
                await _store_files(io, container, files_made_by_model(listed))
            else:
                await _record_failure(io, container, failure)
        except errors.StoreError as error:
            log.warning("files found in container %s were not stored: %s", container["id"], type(error).__name__)


def containers_to_look_at(io: IO, db: Connection, thread_id: str) -> list[Row]:
    """Return the containers of a thread that are due for another look; none while a run is active."""
    namespace, now = io.settings.namespace, io.now()
    rows = queries.rows_of_thread(db, "containers", namespace, thread_id)
    due = [row for row in rows if may_be_looked_at(row["body"], now)]
    # An active run lists its containers itself, and may be making files in them.
    return [] if due and queries.active_run(db, namespace, thread_id) is not None else due


async def _record_failure(io: IO, container: Row, failure: ListFailure) -> None:
    namespace, id_ = container["namespace"], container["id"]

    def work(db: Connection) -> None:
        row = queries.get(db, "containers", namespace, id_, lock=True)
        if row is not None:
            queries.update_row(
                db, "containers", namespace, id_, body=body_after_failure(row["body"], failure, io.now())
            )

    await io.write(work)


async def _store_files(io: IO, container: Row, listed: list[Json]) -> None:
    """Copy the files that no run has recorded, and write them to the runs that have a mark."""
    marks = open_marks(container["body"], io.now())
    known = await io.read(lambda db: queries.generated_files(db, container["namespace"], [container["id"]]))
    new_files = [
        file for file in listed if (row := known.get(location_of_file(file))) is None or was_written_again(file, row)
    ]
    for mark in marks:
        own_files = [file for file in new_files if run_of_file(file, marks) == mark["run_id"]]
        await _store_files_of_run(io, container, mark["run_id"], own_files)


async def _store_files_of_run(io: IO, container: Row, run_id: str, listed: list[Json]) -> None:
    namespace, thread_id, container_id = container["namespace"], container["thread_id"], container["id"]
    run_rows = await io.read(
        lambda db: queries.rows_of_thread(db, "files", namespace, thread_id, run_id=run_id)[::-1]  # oldest first
    )
    shown = {row["id"]: row["body"]["bytes"] for row in run_rows if row["container_file_id"] is None}
    copies = copies_of_shown_images(listed, shown)
    files: dict[str, Json] = {io.new_id("file"): file for file in listed if file not in copies.values()}
    generated = {id_: _generated_file(id_, file) for id_, file in files.items()}

    def work(db: Connection, rows: list[Json]) -> bool:
        """Write the files and remove the mark, unless another look has done so or a run has begun meanwhile."""
        queries.lock_thread(db, namespace, thread_id)
        if queries.active_run(db, namespace, thread_id) is not None:
            return False
        row = queries.get(db, "containers", namespace, container_id, lock=True)
        if row is None or all(mark["run_id"] != run_id for mark in marks_of_container(row["body"])):
            return False
        queries.insert_rows(db, "files", rows)
        for id_, copy in copies.items():
            body = {"filename": name_of_copy(copy), **keys_of_version(version_of_file(copy))}
            queries.locate_file(db, namespace, id_, location_of_file(copy), **body)
        # They come newest first.
        message_rows = queries.rows_of_thread(db, "messages", namespace, thread_id, run_id=run_id, kind="message")
        ids = [message_row["id"] for message_row in reversed(message_rows)]
        # Locked, because an update of a message locks only that.
        locked = [queries.get(db, "messages", namespace, id_, lock=True) for id_ in (ids if files else ())]
        messages = [message_row["body"] for message_row in locked if message_row is not None]
        attach_found_files(messages, [(file, id_) for id_, file in files.items()])
        for message in messages:
            queries.update_row(db, "messages", namespace, message["id"], body=message)
        queries.update_row(db, "containers", namespace, container_id, body=body_without_mark(row["body"], run_id))
        return True

    run: Json = {"id": run_id, "thread_id": thread_id}
    async with copied_files(io, generated, run) as rows:  # type: ignore[arg-type]  # all that a copy needs of a run
        is_written = await io.write(lambda db: work(db, rows))
    if is_written:
        await generated_files.report_stored(io, rows)


def _generated_file(id_: str, file: Json) -> GeneratedFile:
    size, listed_at = version_of_file(file)
    return GeneratedFile(id_, str(file["path"]), *location_of_file(file), size=size, listed_at=listed_at)
