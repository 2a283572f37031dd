"""The containers of a thread: used again while they live, and made anew from our copies when they have died.

A first run asks for `auto`; the container that its calls name belongs to the thread from then on, and to no other.
Twenty minutes after its last use it is gone with all that is in it.  Then one is made with the user's files by their
ids and the thread's generated files from our own copies; where none were generated, `auto` does the same without a
request.  Trouble with any of this is logged and never fails a run: `auto` is always left.
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
from ..store.queries import Found
from ..translate.request import container_of, in_container
from ..translate.uncited_files import containers_of
from ..wire.headers import form_name
from ..wire.objects import Json, Run
from .io import IO, Request, Upload

log = logging.getLogger("assistants_compat")

GUARD = 19 * 60  # seconds after its last use for which a container is used again
_LIVES = 20 * 60  # seconds for which it may be there
_EXPIRY = {"anchor": "last_active_at", "minutes": 20}  # the upstream's own for `auto` (recorded)

# What is put back into a new container at most, the newest first: one file more would hold the run up for longer than
# it is likely to be read.
MOST_FILES = 50
MOST_BYTES = 512 * 1024 * 1024

_NOT_FOUND = 404


@dataclass(frozen=True)
class Place:
    """Where a run's code works: its thread, and what it asks for where no container of that lives.

    `wanted` is `{"type": "auto", "file_ids"?, "memory_limit"?, "network_policy"?}`, or None for a run without the tool.
    """

    thread_id: str
    wanted: Json | None

    @classmethod
    def of(cls, row: Found) -> Place:
        """Where the code of a run works, by its row."""
        return cls(row["thread_id"], row["state"].get("container"))


async def placed(io: IO, place: Place, request: Json) -> Json:
    """The request with the thread's own container, where one lives; without the tool nothing is looked for."""
    if place.wanted is None:
        return request
    latest = await living(io, place)
    if latest is not None and await _joined(io, latest, place.wanted):
        return in_container(request, latest["id"])
    return in_container(request, await _restored(io, place))


async def living(io: IO, place: Place) -> Found | None:
    """The thread's container that was used last, as far as is known that it lives and is as is wanted."""
    if place.wanted is None:
        return None
    wanted = place.wanted
    rows = await io.read(lambda db: queries.of_thread(db, "containers", io.settings.namespace, place.thread_id))
    fit = [row for row in rows if io.now() < row["used_at"] + GUARD and _fits(row["body"], wanted)]
    return max(fit, key=lambda row: row["used_at"], default=None)


async def moved(io: IO, place: Place, request: Json, *, again: bool) -> Json:
    """The request in another container, because its own is gone: a restored one, or `auto` if it is so `again`."""
    gone = container_of(request)
    if place.wanted is None:
        return request
    if isinstance(gone, str):
        await _died(io, gone)
    return in_container(request, place.wanted if again else await _restored(io, place))


def remember(io: IO, db: Connection, run: Run, items: Iterable[Mapping[str, Any]]) -> None:
    """Note that the run's thread has just used the containers that these items name.

    One that is known as another thread's stays that: whatever the upstream says, threads share none.
    """
    namespace, now = io.settings.namespace, io.now()
    for id_ in containers_of(items):
        there = queries.get(db, "containers", namespace, id_)
        if there is None and id_.isascii() and id_.isprintable():
            row = queries.get(db, "runs", namespace, run["id"])
            wanted = None if row is None else row["state"].get("container")
            _add(io, db, id_, run["thread_id"], wanted or {"type": "auto"})
        elif there is not None and there["thread_id"] == run["thread_id"]:
            queries.change(db, "containers", namespace, id_, used_at=now)


async def remove_file(io: IO, file: Found) -> None:
    """Delete a generated file in its container too, if that may still be there."""
    namespace, id_ = io.settings.namespace, file["container_id"]
    if id_ is None:
        return
    container = await io.read(lambda db: queries.get(db, "containers", namespace, id_))
    if container is not None and io.now() < container["used_at"] + _LIVES:
        path = f"{_path(id_)}/files/{quote(str(file['container_file_id']), safe='')}"
        await delete_upstream(io, path, file["id"])


async def delete_upstream(io: IO, path: str, what: str) -> None:
    """Delete something upstream; what is gone already is as good, and other trouble is only logged."""
    try:
        await io.ask(Request("DELETE", path))
    except errors.UNANSWERED as error:
        if not _is_missing(error):
            log.warning("%s could not be deleted upstream: %s", what, type(error).__name__)


async def delete_all_upstream(io: IO, things: Iterable[tuple[str, str]]) -> None:
    """Delete several things, a few at a time: paths, and what each of them is, for the log."""
    await io.together([partial(delete_upstream, io, path, what) for path, what in things])


def _is_missing(error: Exception) -> bool:
    return isinstance(error, errors.UpstreamError) and (
        error.status == _NOT_FOUND or errors.container_is_gone(error.error())
    )


def _path(container_id: str) -> str:
    return f"/containers/{quote(container_id, safe='')}"


def _fits(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a container was made under the limits that are wanted now: one with a wider network is not used again."""
    return all(made.get(key) == wanted.get(key) for key in ("memory_limit", "network_policy"))


async def _joined(io: IO, container: Found, wanted: Json) -> bool:
    """Whether the container lives, as far as is known, and has the files that came since it was made."""
    has: list[str] = container["body"].get("file_ids") or []
    new = [file_id for file_id in wanted.get("file_ids") or [] if file_id not in has]
    if not new:
        return True
    try:
        for file_id in new:
            await io.ask(Request("POST", f"{_path(container['id'])}/files", {"file_id": file_id}))
    except errors.UNANSWERED as error:
        log.warning("files could not be added to container %s: %s", container["id"], type(error).__name__)
        if isinstance(error, errors.UpstreamError) and errors.container_is_gone(error.error()):
            await _died(io, container["id"])
        return False
    changes = {"body": {**container["body"], "file_ids": [*has, *new]}, "used_at": io.now()}
    await io.write(lambda db: queries.change(db, "containers", container["namespace"], container["id"], **changes))
    return True


async def _died(io: IO, container_id: str) -> None:
    """Never ask for it again; its row stays, so that it is deleted with its thread."""
    await io.write(lambda db: queries.change(db, "containers", io.settings.namespace, container_id, used_at=0))


async def _restored(io: IO, place: Place) -> Json | str:
    """A new container with all that the thread has: its id, or what is wanted of `auto` where that does as well."""
    assert place.wanted is not None  # noqa: S101 - whoever comes here has the tool
    files = await io.read(lambda db: _copies(db, io.settings.namespace, place.thread_id))
    if not files:
        return place.wanted
    asked = {key: value for key, value in place.wanted.items() if key != "type"}
    try:
        made = await io.ask(
            Request("POST", "/containers", {"name": place.thread_id, **asked, "expires_after": _EXPIRY})
        )
    except errors.UNANSWERED as error:
        log.warning("no container could be made for thread %s: %s", place.thread_id, type(error).__name__)
        return place.wanted
    id_ = made.get("id")
    if not (isinstance(id_, str) and id_):
        return place.wanted
    if not await io.write(lambda db: _taken(io, db, id_, place)):
        await delete_upstream(io, _path(id_), id_)
        return place.wanted
    await io.together([partial(_put_back, io, id_, file) for file in files])
    return id_


def _taken(io: IO, db: Connection, id_: str, place: Place) -> bool:
    """Whether the thread that the container was made for is still there."""
    if queries.get(db, "threads", io.settings.namespace, place.thread_id, lock=True) is None:
        return False
    _add(io, db, id_, place.thread_id, place.wanted)
    return True


def _add(io: IO, db: Connection, id_: str, thread_id: str, wanted: Json | None) -> None:
    now = io.now()
    values = {"namespace": io.settings.namespace, "id": id_, "created_at": now, "used_at": now}
    # Two threads may be told the same id at the same moment: it is the first one's.
    queries.add_new(db, "containers", {**values, "thread_id": thread_id, "body": wanted})


def _copies(db: Connection, namespace: str, thread_id: str) -> list[Found]:
    """The thread's generated files, oldest first: of each path the last one, and of these the newest that fit."""
    last: dict[str, Found] = {}
    for row in queries.of_thread(db, "files", namespace, thread_id):
        if row["stored"]:
            last.setdefault(row["body"]["filename"], row)
    left, kept = MOST_BYTES, []
    for row in list(last.values())[:MOST_FILES]:
        left -= row["body"]["bytes"]
        if left < 0:
            break
        kept.append(row)
    return kept[::-1]


async def _put_back(io: IO, container_id: str, file: Found) -> None:
    """Upload one of our copies; without it the others are there all the same."""
    id_, size = file["id"], file["body"]["bytes"]
    try:
        if await io.size(id_) != size:  # another machine has its bytes
            log.warning("file %s is not kept here, and was not put into container %s", id_, container_id)
            return
        async with aclosing(io.load(id_, range(size))) as chunks:
            upload = Upload(form_name(file["body"]["filename"]), size, chunks)
            await io.ask(Request("POST", f"{_path(container_id)}/files", upload=upload))
    except (*errors.UNANSWERED, errors.StoreError) as error:
        log.warning("file %s could not be put into container %s: %s", id_, container_id, type(error).__name__)
