"""`/files` for generated files, which the store keeps.

The upstream answers for every other file: then a handler returns None. A list has the files of both.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote

from .. import errors
from ..engine import containers, generated_files
from ..engine.answers import object_from_answer
from ..engine.file_copies import copies_of_files, forget_copy, mark_file_deleted, owner_of_copy
from ..engine.io import BAD_REQUEST, IO, Request
from ..engine.uploads import delete_copies
from ..store import queries
from ..store.database import Connection
from ..store.queries import FilePlace, Row
from ..translate.file import file_from_row, files_after_cursor, files_after_time, merged_by_time, time_of_file
from ..wire.exchange import Call, Reply, forwarded_headers, json_reply
from ..wire.headers import UnsatisfiableRangeError, content_disposition, requested_range
from ..wire.objects import Json, as_object_list
from .paging import list_reply, page_from_call

_OK, _PARTIAL_CONTENT, _NOT_FOUND = 200, 206, 404
_PURPOSE = "assistants_output"
_MAX_LIMIT = 10_000  # files in a page; also the default (spec)


async def retrieve(io: IO, call: Call) -> Reply | None:
    """Retrieve a file: GET /files/{file_id}."""
    row = await _read_row(io, call)
    return None if row is None else json_reply(file_from_row(row))


async def list_(io: IO, call: Call) -> Reply | None:
    """List files: GET /files. Generated files stand among the upstream's, by time, in pages of the requested size.

    Copies that the library has uploaded are left out. A cursor may name any file; for one of the upstream, a GET tells
    its time. The upstream alone answers where there is no file of ours.
    """
    namespace, cursor = io.settings.namespace, call.query_value("after") or ""

    def read_ours(db: Connection) -> tuple[FilePlace | None, set[str], bool]:
        place = queries.place_of_file(db, namespace, cursor)
        return place, copies_of_files(db, namespace), bool(queries.files_by_time(db, namespace, limit=1))

    own_place, copies, has_files = await io.read(read_ours)
    if not (own_place or has_files):
        return None
    page = page_from_call(call, max_limit=_MAX_LIMIT, default_limit=_MAX_LIMIT)
    descending = page.order == "desc"
    rows: list[Row] = []
    # Generated files are the only ones with this purpose, which no upload may have (platform.md section 7).
    if call.query_value("purpose") in (None, "", _PURPOSE):
        place = own_place or (await _place_of_upstream_file(io, cursor) if cursor else None)
        limit = page.limit + 1  # one more, to see whether there are more
        rows = await io.read(
            lambda db: queries.files_by_time(db, namespace, limit=limit, descending=descending, after=place)
        )
    listed = await _list_upstream(io, call, page.limit, copies, own_place)
    if isinstance(listed, Reply):
        return listed
    # In a recording of the old service, which lists them too.
    upstream_ids = {file.get("id") for file in listed.files}
    rows = [row for row in rows if row["id"] not in upstream_ids]
    merged = merged_by_time([file_from_row(row) for row in rows], listed.files, descending=descending)
    if listed.has_more:  # the upstream's next files may come before our next ones
        merged = merged[: merged.index(listed.files[-1]) + 1]
    data = merged[: page.limit]
    has_more = listed.has_more or len(data) < len(rows) + len(listed.files)
    is_unchanged = data == listed.as_sent and has_more == listed.has_more
    return listed.reply if is_unchanged else list_reply(data, has_more=has_more)


@dataclass(frozen=True)
class _UpstreamFiles:
    """The upstream's files after a cursor, and the reply that listed them, which may have had others too."""

    files: list[Json]
    has_more: bool
    as_sent: list[Json] | None  # None if the reply is no answer to the caller's own request
    reply: Reply


async def _list_upstream(
    io: IO, call: Call, limit: int, copies: Collection[str], own_place: FilePlace | None
) -> _UpstreamFiles | Reply:
    """Return the upstream's files after the call's cursor, at least one if there is any; or its error.

    The upstream does not know a cursor of ours: then its list is read from the beginning, in pages of its own size.
    """
    order, given_limit = call.query_value("order") or "", call.query_value("limit")
    cursor = "" if own_place else call.query_value("after") or ""
    sent_limit = str(min(limit + len(copies), _MAX_LIMIT)) if given_limit and not own_place else ""
    after = cursor
    while True:
        query = (("limit", sent_limit), ("order", order), ("after", after))
        response = await io.upstream.send(Request("GET", "/files", query=tuple(item for item in query if item[1])))
        reply = Reply(response.status, response.body, forwarded_headers(response.headers))
        if response.status >= BAD_REQUEST:
            return reply
        answer = object_from_answer(response.headers, response.body)
        if answer is None:
            return reply
        as_sent = as_object_list(answer.get("data"))
        files = files_after_cursor(as_sent, after)  # some servers ignore cursors
        last = str(files[-1].get("id", "")) if files else ""
        has_more = answer.get("has_more") is True and last not in ("", after)
        if own_place is not None:
            files = files_after_time(files, own_place[0], descending=order != "asc")
        files = [file for file in files if file.get("id") not in copies]
        if files or not has_more:
            is_callers = after == cursor and own_place is None
            return _UpstreamFiles(files, has_more, as_sent if is_callers else None, reply)
        after = last


async def _place_of_upstream_file(io: IO, file_id: str) -> FilePlace | None:
    """Return where a file of the upstream stands among ours; None if it was deleted: none of ours is then left out."""
    try:
        file = await io.ask(Request("GET", f"/files/{quote(file_id, safe='')}"))
    except errors.UpstreamError as error:
        if error.status != _NOT_FOUND:
            raise
        return None
    return time_of_file(file), 0


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
        return await _delete_copy(io, call.path_params["file_id"])
    # The bytes first: if their storage fails, the row is still there and the caller can retry.
    await io.delete_content(row["id"])
    await io.write(lambda db: mark_file_deleted(db, row))
    await containers.delete_file_in_container(io, row)
    await delete_copies(io, row)
    return json_reply(_deleted(row["id"]))


def note_deletion(io: IO, call: Call, status: int) -> None:
    """Note that the upstream has deleted a file of the user, so that runs do without it."""
    if status < BAD_REQUEST:
        io.memory.note_deleted(call.path_params["file_id"])


async def _delete_copy(io: IO, file_id: str) -> Reply | None:
    """Delete an upstream copy of a generated file, which is uploaded again when it is needed; None if it is no copy.

    One that went with its file counts as deleted, so that a program that deletes all files it knows of succeeds.
    """
    owner = await io.read(lambda db: owner_of_copy(db, io.settings.namespace, file_id))
    if owner is None:
        return None
    response = await io.upstream.send(Request("DELETE", f"/files/{quote(file_id, safe='')}"))
    if response.status < BAD_REQUEST or response.status == _NOT_FOUND:
        await io.write(lambda db: forget_copy(db, io.settings.namespace, file_id))
    if response.status == _NOT_FOUND and owner["deleted"]:
        return json_reply(_deleted(file_id))
    return Reply(response.status, response.body, forwarded_headers(response.headers))


def _deleted(file_id: str) -> Json:
    return {"object": "file", "id": file_id, "deleted": True}


async def _read_row(io: IO, call: Call) -> Row | None:
    return await io.read(lambda db: queries.get(db, "files", io.settings.namespace, call.path_params["file_id"]))
