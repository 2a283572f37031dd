"""Generated files: copied out of their container while it lives, and served from our own store afterwards."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

from . import errors
from .io import CHUNK, IO, Body, Request
from .store.queries import Found
from .translate.output import Generated
from .wire import File, Json, Run

log = logging.getLogger("assistants_compat")

_TRIES = 3
_FIRST_PAUSE = 0.5  # seconds; doubled after each try
_OK, _SERVER_ERROR = 200, 500
_TRANSIENT = frozenset({408, 409, 429})


class NotCopiedError(Exception):
    """The bytes could not be had; `again` says whether another try may help."""

    def __init__(self, reason: str, *, again: bool) -> None:
        """Say why in words that a caller may read."""
        super().__init__(reason)
        self.again = again


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
        size, sha256 = await _copied(io, file.id, file.data, file.container_id, file.container_file_id)
    except NotCopiedError as trouble:
        log.warning("file %s of run %s could not be copied: %s", file.id, run["id"], trouble)
        return {**row, "trouble": str(trouble)}
    return {**row, "stored": True, "sha256": sha256, "body": {"filename": file.filename, "bytes": size}}


async def recovered(io: IO, row: Found) -> Json | None:
    """Try once more to copy a file that could not be had; the changes for its row, or None."""
    if row["container_id"] is None:
        return None
    try:
        size, sha256 = await _copied(io, row["id"], None, row["container_id"], row["container_file_id"])
    except NotCopiedError:
        return None
    return {"stored": True, "sha256": sha256, "trouble": None, "body": {**row["body"], "bytes": size}}


async def _copied(
    io: IO, id_: str, data: bytes | None, container_id: str | None, container_file_id: str | None
) -> tuple[int, str]:
    if data is not None:
        return await io.save(id_, _pieces(data))
    path = f"/containers/{quote(str(container_id), safe='')}/files/{quote(str(container_file_id), safe='')}/content"
    pause = _FIRST_PAUSE
    for left in reversed(range(_TRIES)):
        try:
            return await _fetched(io, id_, Request("GET", path, accept="*/*"))
        except NotCopiedError as trouble:
            if not (left and trouble.again):
                raise
        await io.sleep(pause)
        pause *= 2
    raise AssertionError  # pragma: no cover - the last try returns or raises


async def _fetched(io: IO, id_: str, request: Request) -> tuple[int, str]:
    try:
        async with aclosing(await io.upstream.open(request)) as body:
            if body.status != _OK:
                again = body.status >= _SERVER_ERROR or body.status in _TRANSIENT
                reason = f"the container answered {body.status}"
                raise NotCopiedError(reason, again=again)
            return await _checked(io, id_, body)
    except errors.UnreachableError:
        reason = "the connection to the container was lost"
        raise NotCopiedError(reason, again=True) from None


async def _checked(io: IO, id_: str, body: Body) -> tuple[int, str]:
    """Keep the bytes only if they are as many as were announced (a compressed answer announces others)."""
    size, sha256 = await io.save(id_, body.chunks())
    announced = body.headers.get("content-length", "")
    if "content-encoding" not in body.headers and announced.isdigit() and int(announced) != size:
        await io.forget(id_)
        reason = f"the container sent {size} of {announced} bytes"
        raise NotCopiedError(reason, again=True)
    return size, sha256


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


def file_from_row(row: Found) -> File:
    """A generated file as the Files API served it: purpose `assistants_output`, key order as recorded."""
    return {
        "object": "file",
        "id": row["id"],
        "purpose": "assistants_output",
        "filename": row["body"]["filename"],
        "bytes": row["body"]["bytes"],
        "created_at": row["created_at"],
        "expires_at": None,
        "status": "processed" if row["stored"] else "error",
        "status_details": row["trouble"],
    }
