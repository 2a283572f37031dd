"""The Code Interpreter containers of a thread: reuse while they live, and restore from our copies once they expired.

A thread's first run asks for an `auto` container. The container that its calls name belongs to that thread alone from
then on. Twenty minutes after its last use the container expires with its files. The next run then creates one with the
user's files, by id, and the thread's generated files, from our copies. If the thread has no generated files, `auto`
does the same without a request. A failure here is logged and never fails a run, because `auto` always remains.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from .. import errors
from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..translate.request import container_of_request, request_in_container
from ..translate.uncited_files import container_ids_from_output
from ..wire.headers import form_filename
from ..wire.objects import Json, Run
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


@dataclass(frozen=True)
class ContainerChoice:
    """What decides the container of a run: its thread, and the `auto` container to request if none of the thread lives.

    `auto_container` is `{"type": "auto", "file_ids"?, "memory_limit"?, "network_policy"?}`, or None for a run without
    the Code Interpreter.
    """

    thread_id: str
    auto_container: Json | None

    @classmethod
    def from_run(cls, row: Row) -> ContainerChoice:
        """Return the choice for the run of this row."""
        return cls(row["thread_id"], row["state"].get("container"))


async def with_container(io: IO, choice: ContainerChoice, request: Json) -> Json:
    """Return the request with a container of its thread: the living one, a restored one, or `auto`.

    A request without the Code Interpreter is returned unchanged.
    """
    if choice.auto_container is None:
        return request
    latest = await find_reusable_container(io, choice)
    if latest is not None and await _add_missing_files(io, latest, choice.auto_container):
        return request_in_container(request, latest["id"])
    return request_in_container(request, await _restore_container(io, choice))


async def find_reusable_container(io: IO, choice: ContainerChoice) -> Row | None:
    """Return the thread's most recently used container that should still live and has the limits of this run."""
    if choice.auto_container is None:
        return None
    auto_container = choice.auto_container
    rows = await io.read(lambda db: queries.rows_of_thread(db, "containers", io.settings.namespace, choice.thread_id))
    recent = [row for row in rows if io.now() < row["used_at"] + REUSE_SECONDS]
    reusable = [row for row in recent if _has_same_limits(row["body"], auto_container)]
    return max(reusable, key=lambda row: row["used_at"], default=None)


async def with_replacement_container(io: IO, choice: ContainerChoice, request: Json, *, use_auto: bool) -> Json:
    """Return the request with another container because its own is gone: a restored one, or `auto` if `use_auto`."""
    container = container_of_request(request)
    if choice.auto_container is None:
        return request
    if isinstance(container, str):
        await _mark_gone(io, container)
    return request_in_container(request, choice.auto_container if use_auto else await _restore_container(io, choice))


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
    return isinstance(error, errors.UpstreamError) and (
        error.status == _NOT_FOUND or errors.container_is_gone(error.error())
    )


def _container_path(container_id: str) -> str:
    return f"/containers/{quote(container_id, safe='')}"


def _has_same_limits(existing: Mapping[str, Any], auto_container: Mapping[str, Any]) -> bool:
    """Whether a container has the limits that the run asks for: one with a wider network policy must not be reused."""
    return all(existing.get(key) == auto_container.get(key) for key in ("memory_limit", "network_policy"))


async def _add_missing_files(io: IO, container: Row, auto_container: Json) -> bool:
    """Add to a container the files it lacks; returns whether the run can use it."""
    present: list[str] = container["body"].get("file_ids") or []
    missing = [file_id for file_id in auto_container.get("file_ids") or [] if file_id not in present]
    if not missing:
        return True
    try:
        for file_id in missing:
            await io.ask(Request("POST", f"{_container_path(container['id'])}/files", {"file_id": file_id}))
    except errors.UPSTREAM_FAILURES as error:
        text = "could not add files to container %s: %s; the run uses another container"
        log.warning(text, container["id"], type(error).__name__)
        if isinstance(error, errors.UpstreamError) and errors.container_is_gone(error.error()):
            await _mark_gone(io, container["id"])
        return False
    changes = {"body": {**container["body"], "file_ids": [*present, *missing]}, "used_at": io.now()}
    await io.write(lambda db: queries.update_row(db, "containers", container["namespace"], container["id"], **changes))
    return True


async def _mark_gone(io: IO, container_id: str) -> None:
    """Never reuse this container; its row stays, so that the container is deleted with its thread."""
    await io.write(lambda db: queries.update_row(db, "containers", io.settings.namespace, container_id, used_at=0))


async def _restore_container(io: IO, choice: ContainerChoice) -> Json | str:
    """Create a container with all files of the thread and return its id.

    Returns the `auto` container instead if the thread has no generated files or the upstream creates no container.
    """
    assert choice.auto_container is not None  # noqa: S101 - the callers have checked it
    files = await io.read(lambda db: _files_to_restore(db, io.settings.namespace, choice.thread_id))
    if not files:
        return choice.auto_container
    params = {key: value for key, value in choice.auto_container.items() if key != "type"}
    try:
        created = await io.ask(
            Request("POST", "/containers", {"name": choice.thread_id, **params, "expires_after": _EXPIRES_AFTER})
        )
    except errors.UPSTREAM_FAILURES as error:
        text = "could not create a container for thread %s: %s; the run uses one without earlier generated files"
        log.warning(text, choice.thread_id, type(error).__name__)
        return choice.auto_container
    id_ = created.get("id")
    if not (isinstance(id_, str) and id_):
        return choice.auto_container
    # Without a row no thread would ever delete the container.
    if not await io.write(lambda db: _claim_for_thread(io, db, id_, choice)):
        await delete_upstream(io, _container_path(id_), id_)
        return choice.auto_container
    await io.gather([partial(_upload_copy, io, id_, file) for file in files])
    return id_


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


async def _upload_copy(io: IO, container_id: str, file: Row) -> None:
    """Upload our copy of a file to a container; a failure is logged and does not affect the other files."""
    id_, size = file["id"], file["body"]["bytes"]
    try:
        if await io.content_size(id_) != size:  # another machine has stored it
            log.warning("file %s is not stored on this machine; container %s does not get it", id_, container_id)
            return
        async with aclosing(io.load_content(id_, range(size))) as chunks:
            upload = Upload(form_filename(file["body"]["filename"]), size, chunks)
            await io.ask(Request("POST", f"{_container_path(container_id)}/files", upload=upload))
    except (*errors.UPSTREAM_FAILURES, errors.StoreError) as error:
        log.warning("could not upload file %s to container %s: %s", id_, container_id, type(error).__name__)
