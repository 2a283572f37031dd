"""Generated files: copied out of their container while it lives, and served from our own store afterwards."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from urllib.parse import quote

from .. import errors
from ..settings import StoredFile
from ..store import queries
from ..store.database import Connection
from ..store.queries import Found
from ..translate.output import Generated
from ..translate.uncited_files import has_links, made_files, place_of
from ..wire.headers import disposition, expected_size
from ..wire.objects import Json, Run, objects
from .io import IO, Body, Request

log = logging.getLogger("assistants_compat")

_PAGES = 50  # of a hundred files each
_TRIES = 3
_FIRST_PAUSE = 0.5  # seconds; doubled after each try
_OK, _SERVER_ERROR = 200, 500
_TRANSIENT = frozenset({408, 409, 429})
_LONGEST_ERROR = 64 * 1024  # bytes; no error of the service's is so long


class NotCopiedError(Exception):
    """The bytes could not be had; `again` says whether another try may help."""

    def __init__(self, reason: str, *, again: bool) -> None:
        """Say why in words that a caller may read."""
        super().__init__(reason)
        self.again = again


async def found_files(io: IO, container_ids: Sequence[str], minted: Mapping[str, list[str]]) -> list[Json]:
    """The files that the model made in these containers, without those that an earlier round has left already.

    `minted` are the ids of this round.  A container that cannot be listed loses nothing that is cited.
    """
    if not container_ids:
        return []
    files = [file for container_id in container_ids for file in made_files(await _listed(io, container_id))]
    known = await io.read(lambda db: queries.places(db, io.settings.namespace, container_ids))
    ours = {None, *minted.get("file", ())}
    return [file for file in files if known.get(place_of(file)) in ours]


async def earlier_files(io: IO, run: Run, items: Sequence[Json]) -> list[Json]:
    """The files that the thread has already, newest first, as a container lists them and with our ids as `ours`.

    They are for links that have no citation: nothing is looked up where these output items have no link at all.
    """
    if not has_links(items):
        return []
    rows = await io.read(lambda db: queries.of_thread(db, "files", io.settings.namespace, run["thread_id"]))
    return [
        {
            "id": row["container_file_id"],
            "container_id": row["container_id"],
            "path": row["body"]["filename"],
            "ours": row["id"],
        }
        for row in rows
    ]


async def _listed(io: IO, container_id: str) -> list[Json]:
    path, after, files = f"/containers/{quote(container_id, safe='')}/files", "", []
    try:
        for _ in range(_PAGES):
            query = (("limit", "100"), ("order", "asc"), *((("after", after),) if after else ()))
            page = await io.ask(Request("GET", path, query=query))
            # A page names its container in each file (spec); servers that do not are helped.
            files += [{"container_id": container_id, **file} for file in objects(page.get("data"))]
            after = str(page.get("last_id") or "")
            if not (page.get("has_more") and after):
                break
    except errors.UNANSWERED as error:
        log.warning("container %s could not be listed: %s", container_id, type(error).__name__)
    return files


async def keep_all(io: IO, files: Sequence[Generated], run: Run) -> list[Json]:
    """Copy files into our store, several at a time; their rows, in the same order."""
    return await io.together([partial(keep, io, file, run) for file in files])


async def keep(io: IO, file: Generated, run: Run) -> Json:
    """Copy one file into our store; its row for the table of files.

    A file that cannot be had does not fail the run: its row says why, and a download tries again.
    """
    row: Json = {
        "namespace": io.settings.namespace,
        "id": file.id,
        "created_at": io.now(),
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "container_id": file.container_id,
        "container_file_id": file.container_file_id,
        "body": {"filename": file.filename, "bytes": 0},
        "stored": False,
    }
    try:
        size, sha256 = await _copied(io, row, file.data, file.size)
    except NotCopiedError as trouble:
        log.warning("file %s of run %s could not be copied: %s", file.id, run["id"], trouble)
        return {**row, "trouble": str(trouble)}
    return {**row, "stored": True, "sha256": sha256, "body": {"filename": file.filename, "bytes": size}}


async def at_hand(io: IO, row: Found) -> Found:
    """The row of a file whose bytes are here, all of them; raises `ApiError` (404) when they are gone.

    Those that are not (another machine copied them, say) are asked of the container once more, while it lives.
    """
    if row["stored"] and await io.size(row["id"]) == row["body"]["bytes"]:
        return row
    changes = await recovered(io, row)
    if changes is None:
        raise errors.no_such_file(row["id"], row["trouble"] or "its bytes are no longer kept here")
    now_stored: Found = {**row, **changes}

    def work(db: Connection) -> bool:
        before = queries.get(db, "files", io.settings.namespace, row["id"], lock=True)
        queries.change(db, "files", io.settings.namespace, row["id"], **changes)
        return before is not None and not before["stored"]

    # Of several that tried at once one was first; and what only lay on another machine was told of there.
    if await io.write(work):
        await tell(io, [now_stored])
    return now_stored


async def tell(io: IO, rows: Sequence[Json]) -> None:
    """Say of which files the bytes are kept now; for whoever has just committed these rows, and for nobody else."""
    for row in rows:
        if row["stored"]:
            body = row["body"]
            await io.tell(StoredFile(row["id"], body["filename"], body["bytes"], row["thread_id"], row["run_id"]))


async def recovered(io: IO, row: Found) -> Json | None:
    """Try once more to copy a file that could not be had; the changes for its row, or None."""
    if row["container_id"] is None:
        return None
    try:
        size, sha256 = await _copied(io, row, None)
    except NotCopiedError:
        return None
    return {"stored": True, "sha256": sha256, "trouble": None, "body": {**row["body"], "bytes": size}}


async def _copied(io: IO, row: Found, data: bytes | None, expected: int | None = None) -> tuple[int, str]:
    """Keep the bytes of a row: those that are at hand, or the container's; their number and their SHA-256."""
    if data is not None:
        return await io.save(row["id"], _whole(data), disposition(row["body"]["filename"]))
    request = Request("GET", f"{_place(row)}/content", accept="*/*")
    pause = _FIRST_PAUSE
    for left in reversed(range(_TRIES)):
        try:
            return await _fetched(io, row, request, expected)
        except NotCopiedError as trouble:
            if not (left and trouble.again):
                raise
        await io.sleep(pause)
        pause *= 2
    raise AssertionError  # pragma: no cover - the last try returns or raises


async def _fetched(io: IO, row: Found, request: Request, expected: int | None) -> tuple[int, str]:
    try:
        async with aclosing(await io.upstream.open(request)) as body:
            if body.status != _OK:
                raise await _refused(body)
            return await _checked(io, row, body, expected)
    except errors.UnreachableError:
        reason = "the connection to the container was lost"
        raise NotCopiedError(reason, again=True) from None


async def _refused(body: Body) -> NotCopiedError:
    """Why a container gives no bytes, in words of ours: its own hold ids of the upstream's."""
    said = b""
    async with aclosing(body.chunks()) as chunks:
        async for chunk in chunks:
            said += chunk
            if len(said) > _LONGEST_ERROR:
                break
    if errors.container_is_gone(errors.UpstreamError(body.status, body.headers, said).error()):
        return NotCopiedError("its container has expired or was deleted", again=False)
    again = body.status >= _SERVER_ERROR or body.status in _TRANSIENT
    return NotCopiedError(f"the container answered {body.status}", again=again)


async def _checked(io: IO, row: Found, body: Body, expected: int | None) -> tuple[int, str]:
    """Keep the bytes only if they are as many as the container's list or the answer's header says.

    So an error body with status 200 is no file.  Where the list was not read (on a later try, or when it could not
    be) the container is asked for the number.
    """
    size, sha256 = await io.save(row["id"], body.chunks(), disposition(row["body"]["filename"]))
    known = await _listed_size(io, row) if expected is None else expected
    expected = expected_size(body.headers, size, known)
    if expected is not None and expected != size:
        await io.forget(row["id"])
        reason = f"the container sent {size} of {expected} bytes"
        raise NotCopiedError(reason, again=True)
    return size, sha256


async def _listed_size(io: IO, row: Found) -> int | None:
    """How many bytes a file has in its container; None where that is not said."""
    try:
        size = (await io.ask(Request("GET", _place(row)))).get("bytes")
    except errors.UNANSWERED:
        return None
    return size if isinstance(size, int) else None


def _place(row: Found) -> str:
    """Where the file is upstream."""
    container, file = (quote(str(row[name]), safe="") for name in ("container_id", "container_file_id"))
    return f"/containers/{container}/files/{file}"


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
