"""`/files/{file_id}` for generated files.  Any other file is the upstream's: the handler answers None."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from urllib.parse import quote

from .. import errors, generated
from ..exchange import Call, Reply, json_reply
from ..io import IO
from ..store import queries
from ..store.queries import Found


async def retrieve(io: IO, call: Call) -> Reply | None:
    """GET one."""
    row = await _get(io, call)
    return None if row is None else json_reply(generated.file_from_row(row))


async def content(io: IO, call: Call) -> Reply | None:
    """GET its bytes; what could not be copied before is tried again while the container lives."""
    row = await _get(io, call)
    if row is None:
        return None
    row, chunks = await _bytes(io, row)
    if chunks is None:
        raise errors.no_such_file(row["id"], row["trouble"] or "its bytes are no longer kept here")
    headers = {
        "content-type": "application/octet-stream",  # for every file, as recorded
        "content-disposition": disposition(row["body"]["filename"]),
        "content-length": str(row["body"]["bytes"]),
    }
    return Reply(200, headers=headers, chunks=chunks)


async def delete(io: IO, call: Call) -> Reply | None:
    """DELETE one, with its bytes."""
    row = await _get(io, call)
    if row is None:
        return None
    await io.write(lambda db: queries.bury(db, "files", io.settings.namespace, row["id"]))
    await io.forget(row["id"])
    return json_reply({"object": "file", "id": row["id"], "deleted": True})


async def _get(io: IO, call: Call) -> Found | None:
    return await io.read(lambda db: queries.get(db, "files", io.settings.namespace, call.parts["file_id"]))


async def _bytes(io: IO, row: Found) -> tuple[Found, AsyncIterator[bytes] | None]:
    """The bytes; those that are not here (another machine copied them, say) are asked of the container once more."""
    chunks = await io.load(row["id"]) if row["stored"] else None
    if chunks is not None:
        return row, chunks
    changes = await generated.recovered(io, row)
    if changes is None:
        return row, None
    await io.write(lambda db: queries.change(db, "files", io.settings.namespace, row["id"], **changes))
    return {**row, **changes}, await io.load(row["id"])


def disposition(filename: str) -> str:
    """`attachment` with the base name: plain for ASCII, and RFC 5987 besides for the rest."""
    name = PurePosixPath(filename).name or "file"
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "_" for char in name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{encoded}'
