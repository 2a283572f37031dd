"""`/vector_stores` requests that name a generated file: they go upstream with the id of the file's upstream copy.

For any other request a handler returns None, and the request goes upstream unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from .. import errors
from ..engine.file_copies import upstream_copies
from ..engine.io import BAD_REQUEST, IO, Request
from ..engine.uploads import send_with_copies
from ..engine.vector_stores import store_path
from ..store import queries
from ..wire.exchange import Call, Reply, forwarded_headers
from ..wire.objects import Json, as_object


async def create(io: IO, call: Call) -> Reply | None:
    """Create a vector store with files: POST /vector_stores."""
    return await _add_files(io, call, "/vector_stores")


async def add_file(io: IO, call: Call) -> Reply | None:
    """Add a file to a vector store: POST /vector_stores/{store_id}/files."""
    return await _add_files(io, call, f"{store_path(call.path_params['store_id'])}/files")


async def add_batch(io: IO, call: Call) -> Reply | None:
    """Add several files to a vector store: POST /vector_stores/{store_id}/file_batches."""
    return await _add_files(io, call, f"{store_path(call.path_params['store_id'])}/file_batches")


async def file(io: IO, call: Call) -> Reply | None:
    """Retrieve, update or delete a file of a vector store: GET, POST or DELETE .../files/{file_id}.

    A generated file without an upstream copy is in no vector store; the upstream then answers for the unknown id.
    """
    file_id = call.path_params["file_id"]
    row = await io.read(lambda db: queries.get(db, "files", io.settings.namespace, file_id))
    # Only copies of this purpose join vector stores; one for `vision` is an image that a message shows.
    copy = None if row is None else upstream_copies(row).get("assistants")
    if copy is None:
        return None
    path = f"{store_path(call.path_params['store_id'])}/files/{quote(copy, safe='')}{call.path_params.get('rest', '')}"
    body = _body_of(call) if call.method == "POST" else None
    return await _forward(io, Request(call.method, path, body), {file_id: copy})


async def file_content(io: IO, call: Call) -> Reply | None:
    """Retrieve the parsed content of a file of a vector store: GET .../files/{file_id}/content."""
    return await file(
        io, Call(call.method, {**call.path_params, "rest": "/content"}, call.query, call.body, call.headers)
    )


def _body_of(call: Call) -> Json:
    """Return the request's JSON object, unchecked: the upstream checks it."""
    try:
        return as_object(json.loads(call.body))
    except ValueError:  # it names no file
        return {}


async def _add_files(io: IO, call: Call, path: str) -> Reply | None:
    body = _body_of(call)

    async def add(copies: Mapping[str, str]) -> Reply | None:
        # Without a generated file the request goes upstream as the caller sent it, byte for byte.
        return await _forward(io, Request("POST", path, _with_upstream_ids(body, copies)), copies) if copies else None

    return await send_with_copies(io, _file_ids(body), add)


def _file_ids(body: Json) -> list[str]:
    """Return the ids of the files that a request names, in `file_id`, `file_ids` or `files`."""
    files = body.get("files")
    entries = [body, *(entry for entry in (files if isinstance(files, list) else ()) if isinstance(entry, dict))]
    file_ids = body.get("file_ids")
    ids = [*(entry.get("file_id") for entry in entries), *(file_ids if isinstance(file_ids, list) else ())]
    return [id_ for id_ in ids if isinstance(id_, str)]


def _with_upstream_ids(body: Json, copies: Mapping[str, str]) -> Json:
    """Return the request with the ids of upstream copies in place of those of generated files, each id once."""
    changed = dict(body)
    if isinstance(body.get("file_id"), str):
        changed["file_id"] = copies.get(body["file_id"], body["file_id"])
    if isinstance(body.get("file_ids"), list):
        changed["file_ids"] = _unique(
            [copies.get(id_, id_) if isinstance(id_, str) else id_ for id_ in body["file_ids"]]
        )
    if isinstance(body.get("files"), list):
        changed["files"] = _unique(
            [_with_upstream_ids(entry, copies) if isinstance(entry, dict) else entry for entry in body["files"]],
            key=lambda entry: entry.get("file_id", entry) if isinstance(entry, dict) else entry,
        )
    return changed


def _unique(entries: list[Any], key: Callable[[Any], Any] = lambda entry: entry) -> list[Any]:
    """Return the entries without later ones of the same key: a caller may have named a file and its copy."""
    keys = [key(entry) for entry in entries]
    return [entry for number, entry in enumerate(entries) if keys.index(keys[number]) == number]


async def _forward(io: IO, request: Request, copies: Mapping[str, str]) -> Reply:
    """Send a request and return the upstream's response, with the generated file's own id in it.

    Raises `UpstreamError` for a refusal, which reaches the caller as it is.
    """
    response = await io.upstream.send(request)
    if response.status >= BAD_REQUEST:
        raise errors.UpstreamError(response.status, response.headers, response.body)
    headers = forwarded_headers(response.headers)
    generated_ids = {copy: id_ for id_, copy in copies.items()}
    try:
        body = json.loads(response.body)
    except ValueError:  # an error page of a gateway, for example
        body = None
    if isinstance(body, dict) and body.get("id") in generated_ids:
        return Reply(response.status, json.dumps({**body, "id": generated_ids[body["id"]]}).encode(), headers)
    return Reply(response.status, response.body, headers)
