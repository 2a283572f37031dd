"""The Code Interpreter containers of a thread: reuse while they live, and restore from our copies once they expired.

A thread's first run asks for an `auto` container. The container that its calls name belongs to that thread alone from
then on. Twenty minutes after its last use the container expires with its files. The next run then creates one with the
user's files, by id, and the thread's generated files, from our copies. If the thread has no generated files, `auto`
does the same without a request. A failure here is logged and never fails a run, because `auto` always remains.

Generated files that the Files API does not take (`uploads.files_of_run`) have no id upstream. Their bytes go into the
container, which is then never `auto`. A file of the user that was deleted upstream is left out.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from .. import errors
from ..service.refusal_table import FILE_ROWS, TABLE, container_is_gone
from ..service.refusals import recognize
from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..translate.links import WORKING_DIRECTORY
from ..translate.replay import MAX_CONTAINER_ID
from ..translate.request import container_of_request, request_in_container
from ..translate.request_files import without_file
from ..translate.uncited_files import container_ids_from_output
from ..translate.unlisted_files import ListFailure, marked_body
from ..wire.headers import form_filename
from ..wire.objects import Json, Run
from . import generated_files
from .deleted_files import FILE_GONE, deleted_files_of, is_known_as_deleted
from .io import IO, Request, Upload

log = logging.getLogger("assistants_compat")

# The margin of a minute keeps a run from starting in a container that expires before its first call.
REUSE_SECONDS = 19 * 60  # after its last use a container is reused for this long
_LIFETIME_SECONDS = 20 * 60  # after its last use a container may exist for this long
_EXPIRES_AFTER = {"anchor": "last_active_at", "minutes": 20}  # what the upstream sets for `auto` (recorded)

# Limits for restoring files, newest first: uploading more would delay the run, and old files are rarely read again.
MAX_RESTORED_FILES = 50
MAX_RESTORED_BYTES = 512 * 1024 * 1024

_NOT_FOUND = 404
_REFUSED_STATUSES = (400, 413, 415, 422)
_BAD_FILE_STATUSES = (413, 415)  # too large, of a wrong type


@dataclass(frozen=True)
class ContainerChoice:
    """What decides the container of a run: its thread, and the `auto` container to request if none of the thread lives.

    `auto_container` is `{"type": "auto", "file_ids"?, "memory_limit"?, "network_policy"?}`, or None for a run without
    the Code Interpreter. `copied_file_ids` are generated files whose bytes the container needs, because they cannot be
    uploaded.
    """

    thread_id: str
    auto_container: Json | None
    copied_file_ids: tuple[str, ...] = ()

    @classmethod
    def from_run(cls, row: Row) -> ContainerChoice:
        """Return the choice for the run of this row."""
        state = row["state"]
        return cls(row["thread_id"], state.get("container"), tuple(state.get("copied_files", ())))

    def without_file(self, file_id: str) -> ContainerChoice:
        """Return the choice without a file of the user, which no longer exists upstream."""
        return replace(self, auto_container=without_file(self.auto_container or {}, file_id))


async def with_container(io: IO, choice: ContainerChoice, request: Json) -> Json:
    """Return the request with a container of its thread: the living one, a restored one, or `auto`.

    A request without the Code Interpreter is returned unchanged.
    """
    if choice.auto_container is None:
        return request
    choice = _without_missing_files(io, choice)
    latest = await find_reusable_container(io, choice)
    if latest is not None and await _add_missing_files(io, latest, choice):
        return request_in_container(request, latest["id"])
    return request_in_container(request, await _restore_container(io, choice))


def _without_missing_files(io: IO, choice: ContainerChoice) -> ContainerChoice:
    """Return the choice without the files of which an earlier run has learned that they are gone."""
    for file_id in (choice.auto_container or {}).get("file_ids") or ():
        if is_known_as_deleted(io, file_id):
            choice = choice.without_file(file_id)
    return choice


async def find_reusable_container(io: IO, choice: ContainerChoice) -> Row | None:
    """Return the thread's most recently used container that should still live and has the limits of this run."""
    if choice.auto_container is None:
        return None
    auto_container = choice.auto_container
    rows = await io.read(lambda db: queries.rows_of_thread(db, "containers", io.settings.namespace, choice.thread_id))
    recent = [row for row in rows if io.now() < row["used_at"] + REUSE_SECONDS]
    # A gateway's long id is never sent: it would be refused (container_id_invalid).
    known = [row for row in recent if len(row["id"]) <= MAX_CONTAINER_ID]
    reusable = [row for row in known if _has_same_limits(row["body"], auto_container)]
    return max(reusable, key=lambda row: row["used_at"], default=None)


async def with_replacement_container(io: IO, choice: ContainerChoice, request: Json, *, use_auto: bool) -> Json:
    """Return the request with another container because its own is gone: a restored one, or `auto` if `use_auto`."""
    container = container_of_request(request)
    if choice.auto_container is None:
        return request
    if isinstance(container, str):
        await _mark_gone(io, container)
    choice = _without_missing_files(io, choice)
    return request_in_container(
        request, (choice.auto_container or {}) if use_auto else await _restore_container(io, choice)
    )


def record_container_use(io: IO, db: Connection, run: Run, items: Iterable[Mapping[str, Any]]) -> None:
    """Record that the run's thread has just used the containers that these output items name.

    A container that is recorded for another thread stays with that thread: threads never share a container, whatever
    the upstream reports.
    """
    namespace, now = io.settings.namespace, io.now()
    for id_ in container_ids_from_output(items):
        container = queries.get(db, "containers", namespace, id_)
        if container is None and id_.isascii() and id_.isprintable():
            row = queries.get(db, "runs", namespace, run["id"])
            auto_container = None if row is None else row["state"].get("container")
            _insert_container(io, db, id_, run["thread_id"], auto_container or {"type": "auto"})
        elif container is not None and container["thread_id"] == run["thread_id"]:
            queries.update_row(db, "containers", namespace, id_, used_at=now)


def record_unlisted(io: IO, db: Connection, run: Run, failures: Mapping[str, ListFailure], since: object) -> None:
    """Record which containers of a run could not be listed and why; `since` is when the run's response began."""
    namespace = io.settings.namespace
    for id_, failure in failures.items():
        if queries.get(db, "containers", namespace, id_, lock=True) is None:
            record_container_use(io, db, run, [{"type": "code_interpreter_call", "container_id": id_}])
        row = queries.get(db, "containers", namespace, id_, lock=True)
        # A container of another thread is looked at by the runs of that thread.
        if row is not None and row["thread_id"] == run["thread_id"]:
            body = marked_body(row["body"], run["id"], failure, since, io.now())
            queries.update_row(db, "containers", namespace, id_, body=body)


async def delete_file_in_container(io: IO, file: Row) -> None:
    """Delete a generated file from its container, unless the container has expired by now."""
    namespace, id_ = io.settings.namespace, file["container_id"]
    if id_ is None:
        return
    container = await io.read(lambda db: queries.get(db, "containers", namespace, id_))
    if container is not None and io.now() < container["used_at"] + _LIFETIME_SECONDS:
        path = f"{_container_path(id_)}/files/{quote(str(file['container_file_id']), safe='')}"
        await delete_upstream(io, path, file["id"])


async def delete_upstream(io: IO, path: str, label: str) -> None:
    """Delete an upstream object; if it is already gone nothing happens, and any other failure is only logged."""
    try:
        await io.ask(Request("DELETE", path))
    except errors.UPSTREAM_FAILURES as error:
        if not _is_missing(error):
            log.warning("could not delete %s upstream: %s", label, type(error).__name__)


async def delete_all_upstream(io: IO, objects: Iterable[tuple[str, str]]) -> None:
    """Delete several upstream objects concurrently; each is a path and a label for the log."""
    await io.gather([partial(delete_upstream, io, path, label) for path, label in objects])


def _is_missing(error: Exception) -> bool:
    return isinstance(error, errors.UpstreamError) and (error.status == _NOT_FOUND or container_is_gone(error.error()))


def _container_path(container_id: str) -> str:
    return f"/containers/{quote(container_id, safe='')}"


def _has_same_limits(existing: Mapping[str, Any], auto_container: Mapping[str, Any]) -> bool:
    """Whether a container has the limits that the run asks for: one with a wider network policy must not be reused."""
    return all(existing.get(key) == auto_container.get(key) for key in ("memory_limit", "network_policy"))


async def _add_missing_files(io: IO, container: Row, choice: ContainerChoice) -> bool:
    """Add to a container the files it lacks; returns whether the run can use it."""
    body, auto_container = container["body"], choice.auto_container or {}
    present: list[str] = body.get("file_ids") or []
    missing = [file_id for file_id in auto_container.get("file_ids") or [] if file_id not in present]
    copied: list[str] = body.get("copied_files") or []
    to_copy = await _files_to_copy(io, choice, [id_ for id_ in choice.copied_file_ids if id_ not in copied])
    if not (missing or to_copy):
        return True
    try:
        for file_id in missing:
            await _add_file(io, container["id"], file_id)
        added = [file["id"] for file in to_copy if await _copy_into(io, container["id"], file)]
    except errors.UPSTREAM_FAILURES as error:
        text = "could not add files to container %s: %s; the run uses another container"
        log.warning(text, container["id"], type(error).__name__)
        if isinstance(error, errors.UpstreamError) and container_is_gone(error.error()):
            await _mark_gone(io, container["id"])
        return False
    new_keys = {"file_ids": [*present, *missing], **_copied_files([*copied, *added])}

    def work(db: Connection) -> None:
        row = queries.get(db, "containers", container["namespace"], container["id"], lock=True)
        if row is not None:  # its body may have got other keys meanwhile
            changed = {"body": {**row["body"], **new_keys}, "used_at": io.now()}
            queries.update_row(db, "containers", container["namespace"], container["id"], **changed)

    await io.write(work)
    return True


def _copied_files(ids: list[str]) -> Json:
    """Return what a container's row says of the files that were copied into it."""
    return {"copied_files": ids} if ids else {}


async def _add_file(io: IO, container_id: str, file_id: str) -> None:
    """Add a file of the user to a container; one that was deleted upstream is left out, now and later."""
    try:
        await io.ask(Request("POST", f"{_container_path(container_id)}/files", {"file_id": file_id}))
    except errors.UpstreamError as error:
        if not await deleted_files_of(io, [file_id], error.status, error.details()):
            raise
        io.memory.remember(FILE_GONE, file_id)


async def _files_to_copy(io: IO, choice: ContainerChoice, ids: Iterable[str]) -> list[Row]:
    """Return the rows of generated files whose bytes a container needs; a file that was deleted is left out."""
    ids, namespace = list(ids), io.settings.namespace
    if not ids:
        return []
    rows = await io.read(lambda db: {id_: queries.get(db, "files", namespace, id_) for id_ in ids})
    for id_ in [id_ for id_, row in rows.items() if row is None]:
        log.warning("file %s was deleted; the runs of thread %s do without it", id_, choice.thread_id)
    return [row for row in rows.values() if row is not None]


async def _copy_into(io: IO, container_id: str, file: Row) -> bool:
    """Copy a generated file that cannot be uploaded into a container; returns False if it is to be tried again.

    Raises `UpstreamError` only if the container is gone.
    """
    if file["container_id"] == container_id:  # it was made there
        return True
    try:
        file = await generated_files.ensure_stored(io, file)
        await _send_content(io, container_id, file, form_filename(file["body"]["filename"]))
    except errors.UpstreamError as error:
        if container_is_gone(error.error()):
            raise
        text = "container %s does not take file %s (%d bytes): the upstream answered %d"
        log.warning(text, container_id, file["id"], file["body"]["bytes"], error.status)
        if _is_refusal_of_file(error, file):
            await generated_files.mark(io, file["id"], generated_files.UNUSABLE)
        return error.status in _REFUSED_STATUSES  # any other status may pass: the next run tries again
    except (errors.ApiError, errors.UnreachableError, errors.StoreError) as error:
        log.warning("could not copy file %s into container %s: %s", file["id"], container_id, type(error).__name__)
        return False
    return True


def _is_refusal_of_file(error: errors.UpstreamError, file: Row) -> bool:
    """Whether a container refuses a file for what it is, so that no other container takes it either."""
    refusal = recognize(TABLE, error.status, error.details())
    is_known = refusal is not None and refusal.row.name in FILE_ROWS
    is_empty = error.status in _REFUSED_STATUSES and not file["body"]["bytes"]
    return is_known or is_empty or error.status in _BAD_FILE_STATUSES


async def _mark_gone(io: IO, container_id: str) -> None:
    """Never reuse this container; its row stays, so that the container is deleted with its thread."""
    await io.write(lambda db: queries.update_row(db, "containers", io.settings.namespace, container_id, used_at=0))


async def _restore_container(io: IO, choice: ContainerChoice) -> Json | str:
    """Create a container with all files of the thread and return its id.

    Returns the `auto` container instead if there are no generated files or the upstream creates no container.
    """
    auto_container = choice.auto_container or {"type": "auto"}
    files = await io.read(lambda db: _files_to_restore(db, io.settings.namespace, choice.thread_id))
    to_copy = await _files_to_copy(io, choice, choice.copied_file_ids)
    restored_ids = {file["id"] for file in to_copy}
    files = [file for file in files if file["id"] not in restored_ids]
    if not (files or to_copy):
        return auto_container
    try:
        choice, created = await _create_container(io, choice)
    except errors.UPSTREAM_FAILURES as error:
        text = "could not create a container for thread %s: %s; the run uses one without earlier generated files"
        log.warning(text, choice.thread_id, type(error).__name__)
        return auto_container
    id_ = created.get("id")
    if not (isinstance(id_, str) and id_):
        return auto_container
    # Without a row no thread would ever delete the container.
    if len(id_) > MAX_CONTAINER_ID or not await io.write(lambda db: _claim_for_thread(io, db, id_, choice)):
        await delete_upstream(io, _container_path(id_), id_)
        return auto_container
    names = _upload_names(file["body"]["filename"] for file in files)
    await io.gather([partial(_upload_copy, io, id_, file, name) for file, name in zip(files, names, strict=True)])
    if to_copy and not await _copy_all_into(io, id_, choice, to_copy):
        return auto_container
    return id_


async def _create_container(io: IO, choice: ContainerChoice) -> tuple[ContainerChoice, Json]:
    """Create a container; returns the choice without the files of the user that are gone, and the answer."""
    while True:
        params = {key: value for key, value in (choice.auto_container or {}).items() if key != "type"}
        body = {"name": choice.thread_id, **params, "expires_after": _EXPIRES_AFTER}
        try:
            return choice, await io.ask(Request("POST", "/containers", body))
        except errors.UpstreamError as error:
            # Ends because each attempt leaves out a file.
            gone = await deleted_files_of(io, params.get("file_ids") or (), error.status, error.details())
            if not gone:
                raise
            for file_id in gone:
                io.memory.remember(FILE_GONE, file_id)
                choice = choice.without_file(file_id)


async def _copy_all_into(io: IO, id_: str, choice: ContainerChoice, files: list[Row]) -> bool:
    """Copy the files that cannot be uploaded into a new container, and record which; False if it is gone already."""
    try:
        copied = await io.gather([partial(_copy_into, io, id_, file) for file in files])
    except errors.UpstreamError as error:
        log.warning("could not copy files into container %s: %s", id_, type(error).__name__)
        await _mark_gone(io, id_)  # the next run would name it otherwise
        return False
    ids = [file["id"] for file, is_done in zip(files, copied, strict=True) if is_done]
    body = {**(choice.auto_container or {}), **_copied_files(ids)}
    await io.write(lambda db: queries.update_row(db, "containers", io.settings.namespace, id_, body=body))
    return True


def _claim_for_thread(io: IO, db: Connection, id_: str, choice: ContainerChoice) -> bool:
    """Record the new container for its thread; returns False if the thread was deleted meanwhile."""
    if queries.get(db, "threads", io.settings.namespace, choice.thread_id, lock=True) is None:
        return False
    _insert_container(io, db, id_, choice.thread_id, choice.auto_container)
    return True


def _insert_container(io: IO, db: Connection, id_: str, thread_id: str, auto_container: Json | None) -> None:
    now = io.now()
    values = {"namespace": io.settings.namespace, "id": id_, "created_at": now, "used_at": now}
    # The upstream may report the same id to two threads at the same moment: the first insert wins.
    queries.insert_if_absent(db, "containers", {**values, "thread_id": thread_id, "body": auto_container})


def _files_to_restore(db: Connection, namespace: str, thread_id: str) -> list[Row]:
    """Return the thread's generated files, oldest first: the newest file of each path, as many as the limits allow."""
    latest: dict[str, Row] = {}
    for row in queries.rows_of_thread(db, "files", namespace, thread_id):
        if row["stored"]:  # rows come newest first, so the first row of a path is its newest file
            latest.setdefault(row["body"]["filename"], row)
    bytes_left, restored = MAX_RESTORED_BYTES, []
    for row in list(latest.values())[:MAX_RESTORED_FILES]:
        bytes_left -= row["body"]["bytes"]
        if bytes_left < 0:
            break
        restored.append(row)
    return restored[::-1]


def _upload_names(paths: Iterable[str]) -> list[str]:
    """Return the names under which files are uploaded: their base names, with their folders where two are the same.

    A container puts every upload into one folder, behind a hash (recorded), so that a model could not tell them apart.
    """
    paths = list(paths)
    counts = Counter(map(form_filename, paths))
    full_names = [form_filename(path.removeprefix(WORKING_DIRECTORY).replace("/", "_")) for path in paths]
    base_names = map(form_filename, paths)
    return [full if counts[base] > 1 else base for base, full in zip(base_names, full_names, strict=True)]


async def _upload_copy(io: IO, container_id: str, file: Row, name: str) -> None:
    """Upload our copy of a file to a container; a failure is logged and does not affect the other files."""
    id_, size = file["id"], file["body"]["bytes"]
    try:
        if await io.content_size(id_) != size:  # another machine has stored it
            log.warning("file %s is not stored on this machine; container %s does not get it", id_, container_id)
            return
        await _send_content(io, container_id, file, name)
    except (*errors.UPSTREAM_FAILURES, errors.StoreError) as error:
        log.warning("could not upload file %s to container %s: %s", id_, container_id, type(error).__name__)


async def _send_content(io: IO, container_id: str, file: Row, name: str) -> None:
    """Upload our copy of a file to a container under a name; raises what `IO.ask` raises, and `StoreError`."""
    size = file["body"]["bytes"]
    async with aclosing(io.load_content(file["id"], range(size))) as chunks:
        upload = Upload(name, size, chunks)
        await io.ask(Request("POST", f"{_container_path(container_id)}/files", upload=upload))
