"""`/files/{file_id}` for generated files.  Any other file is the upstream's: the handler answers None."""

from __future__ import annotations

from .. import errors
from ..engine import containers, generated_files
from ..engine.io import IO, Request
from ..engine.uploads import delete_copies
from ..runtime import clock
from ..store import queries
from ..store.database import Connection
from ..store.queries import Found
from ..translate.file import file_from_row
from ..wire.exchange import Call, Reply, json_reply
from ..wire.headers import UnsatisfiableError, asked_part, disposition
from ..wire.objects import File, objects
from .paging import list_reply, page_from_call

_WHOLE, _PART = 200, 206
_PURPOSE = "assistants_output"
_MOST = 10_000  # files in a page, which is also the default (spec)


async def retrieve(io: IO, call: Call) -> Reply | None:
    """GET one."""
    row = await _get(io, call)
    return None if row is None else json_reply(file_from_row(row))


async def list_(io: IO, call: Call) -> Reply | None:
    """GET all: the pages of ours first, then the upstream's as they are.

    A cursor of ours asks for what comes after it here, and behind our last file for the upstream's first page.  So our
    last page says that there is more, which only the upstream knows.
    """
    if call.parameter("purpose") not in (None, "", _PURPOSE):
        return None
    cursor = call.parameter("after") or ""
    if cursor and not clock.current().owns(cursor):
        return None
    page = page_from_call(call, most=_MOST, default=_MOST)
    namespace = io.settings.namespace

    def work(db: Connection) -> tuple[list[Found], bool]:
        rows, _ = queries.page(db, "files", namespace, page)
        return rows, bool(cursor) and queries.has_place(db, "files", namespace, cursor)

    rows, is_ours = await io.read(work)
    ours = [file_from_row(row) for row in rows]
    if ours and not call.reads_on:
        return await _with_upstream(io, ours)
    if ours:
        return list_reply(ours, has_more=True)
    return await _first_of_upstream(io, call) if is_ours else None


async def _with_upstream(io: IO, ours: list[File]) -> Reply:
    """Ours and the upstream's in one page, for a caller that asks for no other."""
    theirs = await io.ask(Request("GET", "/files"))
    return json_reply({**theirs, "data": [*ours, *objects(theirs.get("data"))], "first_id": ours[0]["id"]})


async def _first_of_upstream(io: IO, call: Call) -> Reply:
    """The upstream's first page, byte for byte: the same question without our cursor."""
    kept = tuple((key, value) for key, value in call.query if key in ("limit", "order"))
    answer = await io.upstream.send(Request("GET", "/files", query=kept))
    headers = {name: answer.headers[name] for name in ("content-type", "x-request-id") if name in answer.headers}
    return Reply(answer.status, answer.body, headers)


async def content(io: IO, call: Call) -> Reply | None:
    """GET its bytes, or those that a `Range` header asks for; 416 when it has none of them."""
    row = await _get(io, call)
    if row is None:
        return None
    row = await generated_files.at_hand(io, row)
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
    """DELETE one, with its bytes, and in its container while that may live."""
    row = await _get(io, call)
    if row is None:
        return None
    # The bytes first: when their place does not answer, the next try still knows the file.
    await io.forget(row["id"])
    await io.write(lambda db: queries.bury(db, "files", io.settings.namespace, row["id"]))
    await containers.remove_file(io, row)
    await delete_copies(io, row)
    return json_reply({"object": "file", "id": row["id"], "deleted": True})


async def _get(io: IO, call: Call) -> Found | None:
    return await io.read(lambda db: queries.get(db, "files", io.settings.namespace, call.parts["file_id"]))
