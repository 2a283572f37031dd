"""`/files/{file_id}` for generated files.  Any other file is the upstream's: the handler answers None."""

from __future__ import annotations

from .. import errors, generated
from ..exchange import Call, Reply, json_reply
from ..headers import UnsatisfiableError, asked_part, disposition
from ..io import IO
from ..store import queries
from ..store.engine import Connection
from ..store.queries import Found

_WHOLE, _PART = 200, 206


async def retrieve(io: IO, call: Call) -> Reply | None:
    """GET one."""
    row = await _get(io, call)
    return None if row is None else json_reply(generated.file_from_row(row))


async def content(io: IO, call: Call) -> Reply | None:
    """GET its bytes, or those that a `Range` header asks for; 416 when it has none of them."""
    row = await _get(io, call)
    if row is None:
        return None
    row = await _at_hand(io, row)
    size, etag = row["body"]["bytes"], f'"{row["sha256"]}"'
    try:
        part = asked_part(call.headers, size, etag)
    except UnsatisfiableError:
        raise errors.no_such_range(row["id"], size) from None
    wanted = range(size) if part is None else part
    headers = {
        "content-type": "application/octet-stream",  # for every file, as recorded
        "content-disposition": disposition(row["body"]["filename"]),
        "content-length": str(len(wanted)),
        "accept-ranges": "bytes",
        "etag": etag,
    }
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    return Reply(_WHOLE if part is None else _PART, headers=headers, chunks=io.load(row["id"], wanted))


async def delete(io: IO, call: Call) -> Reply | None:
    """DELETE one, with its bytes."""
    row = await _get(io, call)
    if row is None:
        return None
    # The bytes first: when their place does not answer, the next try still knows the file.
    await io.forget(row["id"])
    await io.write(lambda db: queries.bury(db, "files", io.settings.namespace, row["id"]))
    return json_reply({"object": "file", "id": row["id"], "deleted": True})


async def _get(io: IO, call: Call) -> Found | None:
    return await io.read(lambda db: queries.get(db, "files", io.settings.namespace, call.parts["file_id"]))


async def _at_hand(io: IO, row: Found) -> Found:
    """The row of a file whose bytes are here, all of them.

    Those that are not (another machine copied them, say) are asked of the container once more, while it lives.
    """
    if row["stored"] and await io.size(row["id"]) == row["body"]["bytes"]:
        return row
    changes = await generated.recovered(io, row)
    if changes is None:
        raise errors.no_such_file(row["id"], row["trouble"] or "its bytes are no longer kept here")
    now_stored: Found = {**row, **changes}

    def work(db: Connection) -> bool:
        before = queries.get(db, "files", io.settings.namespace, row["id"], lock=True)
        queries.change(db, "files", io.settings.namespace, row["id"], **changes)
        return before is not None and not before["stored"]

    # Of several that tried at once one was first; and what only lay on another machine was told of there.
    if await io.write(work):
        await generated.tell(io, [now_stored])
    return now_stored
