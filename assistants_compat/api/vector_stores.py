"""`/vector_stores` where a request names a generated file: the upstream gets its copy there.

Any other request is the upstream's: the handlers answer None, and it goes on untouched.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from ..engine.io import IO, Request
from ..engine.uploads import mapped, uploads_of
from ..engine.vector_stores import store_path
from ..store import queries
from ..wire.exchange import Call, Reply, passed_on
from ..wire.objects import Json, as_object


async def create(io: IO, call: Call) -> Reply | None:
    """POST a store with files."""
    return await _added(io, call, "/vector_stores")


async def add_file(io: IO, call: Call) -> Reply | None:
    """POST one file into a store."""
    return await _added(io, call, f"{store_path(call.parts['store_id'])}/files")


async def add_batch(io: IO, call: Call) -> Reply | None:
    """POST several."""
    return await _added(io, call, f"{store_path(call.parts['store_id'])}/file_batches")


async def file(io: IO, call: Call) -> Reply | None:
    """GET, POST or DELETE one that is in a store; without a copy upstream it is in none."""
    ours = call.parts["file_id"]
    row = await io.read(lambda db: queries.get(db, "files", io.settings.namespace, ours))
    copy = None if row is None else uploads_of(row).get("assistants")
    if copy is None:
        return None
    path = f"{store_path(call.parts['store_id'])}/files/{quote(copy, safe='')}{call.parts.get('rest', '')}"
    body = _object(call) if call.method == "POST" else None
    return await _answer(io, Request(call.method, path, body), {ours: copy})


async def file_content(io: IO, call: Call) -> Reply | None:
    """GET what was read from one that is in a store."""
    return await file(io, Call(call.method, {**call.parts, "rest": "/content"}, call.query, call.body, call.headers))


def _object(call: Call) -> Json:
    """The body, which the upstream checks."""
    try:
        return as_object(json.loads(call.body))
    except ValueError:
        return {}


async def _added(io: IO, call: Call, path: str) -> Reply | None:
    body = _object(call)
    known = await mapped(io, _named(body))
    return await _answer(io, Request("POST", path, _with(body, known)), known) if known else None


def _named(body: Json) -> list[str]:
    """The files that a request names."""
    files = body.get("files")
    entries = [body, *(each for each in (files if isinstance(files, list) else ()) if isinstance(each, dict))]
    several = body.get("file_ids")
    ids = [*(entry.get("file_id") for entry in entries), *(several if isinstance(several, list) else ())]
    return [id_ for id_ in ids if isinstance(id_, str)]


def _with(body: Json, known: dict[str, str]) -> Json:
    """The same request with the upstream's ids."""
    changed = dict(body)
    if isinstance(body.get("file_id"), str):
        changed["file_id"] = known.get(body["file_id"], body["file_id"])
    if isinstance(body.get("file_ids"), list):
        changed["file_ids"] = [known.get(id_, id_) if isinstance(id_, str) else id_ for id_ in body["file_ids"]]
    if isinstance(body.get("files"), list):
        changed["files"] = [_with(each, known) if isinstance(each, dict) else each for each in body["files"]]
    return changed


async def _answer(io: IO, request: Request, known: dict[str, str]) -> Reply:
    """The upstream's answer, in which the file has our id."""
    answer = await io.upstream.send(request)
    headers = passed_on(answer.headers)
    ours = {copy: id_ for id_, copy in known.items()}
    try:
        told = json.loads(answer.body)
    except ValueError:
        told = None
    if isinstance(told, dict) and told.get("id") in ours:
        return Reply(answer.status, json.dumps({**told, "id": ours[told["id"]]}).encode(), headers)
    return Reply(answer.status, answer.body, headers)
