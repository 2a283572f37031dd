"""`/files` for generated files, which the store keeps.

The upstream answers for every other file: then a handler returns None.
"""

from __future__ import annotations

from .. import errors
from ..engine import containers, generated_files
from ..engine.io import IO, Request
from ..engine.uploads import delete_copies
from ..runtime import clock
from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..translate.file import file_from_row
from ..wire.exchange import Call, Reply, json_reply
from ..wire.headers import UnsatisfiableRangeError, content_disposition, requested_range
from ..wire.objects import File, as_object_list
from .paging import list_reply, page_from_call

_OK, _PARTIAL_CONTENT = 200, 206
_PURPOSE = "assistants_output"
_MAX_LIMIT = 10_000  # files in a page; also the default (spec)


async def retrieve(io: IO, call: Call) -> Reply | None:
    """Retrieve a file: GET /files/{file_id}."""
    row = await _read_row(io, call)
    return None if row is None else json_reply(file_from_row(row))


async def list_(io: IO, call: Call) -> Reply | None:
    """List files: GET /files. The pages of generated files come first, then the upstream's pages, unchanged.

    A cursor that names a generated file is answered from the store, and after the last one with the upstream's first
    page. So the last page of generated files says `has_more`, although only the upstream knows.
    """
    # Generated files are the only ones with this purpose, which no upload may have (platform.md section 7).
    if call.query_value("purpose") not in (None, "", _PURPOSE):
        return None
    cursor = call.query_value("after") or ""
    if cursor and not clock.current().may_be_generated_file(cursor):
        return None
    page = page_from_call(call, max_limit=_MAX_LIMIT, default_limit=_MAX_LIMIT)
    namespace = io.settings.namespace

    def read_page(db: Connection) -> tuple[list[Row], bool]:
        rows, _ = queries.get_page(db, "files", namespace, page)
        return rows, bool(cursor) and queries.cursor_exists(db, "files", namespace, cursor)

    rows, cursor_is_known = await io.read(read_page)
    generated = [file_from_row(row) for row in rows]
    if generated and not call.reads_all_pages:
        return await _merged_with_upstream(io, generated)
    if generated:
        return list_reply(generated, has_more=True)
    return await _upstream_first_page(io, call) if cursor_is_known else None


async def _merged_with_upstream(io: IO, generated: list[File]) -> Reply:
    """Return generated files and the upstream's in one page, for an SDK that reads only the first page."""
    page = await io.ask(Request("GET", "/files"))
    files = [*generated, *as_object_list(page.get("data"))]
    return json_reply({**page, "data": files, "first_id": generated[0]["id"]})


async def _upstream_first_page(io: IO, call: Call) -> Reply:
    """Return the upstream's first page, byte for byte; the upstream does not know the caller's cursor."""
    query = tuple((key, value) for key, value in call.query if key in ("limit", "order"))
    response = await io.upstream.send(Request("GET", "/files", query=query))
    headers = {name: response.headers[name] for name in ("content-type", "x-request-id") if name in response.headers}
    return Reply(response.status, response.body, headers)


async def content(io: IO, call: Call) -> Reply | None:
    """Download a file: GET /files/{file_id}/content, with a `Range` header a part of it.

    A range outside the file is refused with 416.
    """
    row = await _read_row(io, call)
    if row is None:
        return None
    row = await generated_files.ensure_stored(io, row)
    size, etag = row["body"]["bytes"], f'"{row["sha256"]}"'
    try:
        requested = requested_range(call.headers, size, etag)
    except UnsatisfiableRangeError:
        raise errors.no_such_range(row["id"], size) from None
    byte_range = range(size) if requested is None else requested
    headers = {
        "content-type": "application/octet-stream",  # for every file, as recorded
        "content-disposition": content_disposition(row["body"]["filename"]),
        "content-length": str(len(byte_range)),
        "accept-ranges": "bytes",
        "etag": etag,
    }
    if requested is not None:
        headers["content-range"] = f"bytes {requested.start}-{requested.stop - 1}/{size}"
    status = _OK if requested is None else _PARTIAL_CONTENT
    return Reply(status, headers=headers, chunks=io.load_content(row["id"], byte_range))


async def delete(io: IO, call: Call) -> Reply | None:
    """Delete a file: DELETE /files/{file_id}. Its bytes, its upstream copies and the container's file go with it."""
    row = await _read_row(io, call)
    if row is None:
        return None
    # The bytes first: if their storage fails, the row is still there and the caller can retry.
    await io.delete_content(row["id"])
    await io.write(lambda db: queries.mark_deleted(db, "files", io.settings.namespace, row["id"]))
    await containers.delete_file_in_container(io, row)
    await delete_copies(io, row)
    return json_reply({"object": "file", "id": row["id"], "deleted": True})


async def _read_row(io: IO, call: Call) -> Row | None:
    return await io.read(lambda db: queries.get(db, "files", io.settings.namespace, call.path_params["file_id"]))
