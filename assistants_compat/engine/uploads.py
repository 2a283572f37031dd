"""Generated files as input of later runs: upload a copy at the first use and store its upstream id in the file's row.

Files for the Code Interpreter and file search are uploaded with the purpose `assistants`, images with `vision`; an
upload serves one of the two. Callers only ever see our own file id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Literal
from urllib.parse import quote

from .. import errors
from ..runtime import clock
from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..wire.headers import form_filename
from . import generated_files
from .containers import delete_upstream
from .io import IO, Request, Upload

# Two purposes, because it is unknown whether `vision` takes anything but images (platform.md section 14).
Purpose = Literal["assistants", "vision"]
FileUse = tuple[str, Purpose]
"""One of our file ids and the purpose that the file is used for."""

_BODY_KEY = "uploads"  # in the body of a file's row: upstream id by purpose


class NotUploadedError(Exception):
    """Generated files must be uploaded before they can be used; `uses` lists them."""

    def __init__(self, uses: list[FileUse]) -> None:
        """Set the uses that need an upload."""
        super().__init__(len(uses))
        self.uses = uses


def upstream_ids(db: Connection, namespace: str, uses: Iterable[FileUse]) -> dict[FileUse, str]:
    """Return the upstream ids of our own files among these uses; raises `NotUploadedError` if some are not uploaded.

    Ids of files that are not ours are left out: they are upstream ids already.
    """
    ids: dict[FileUse, str] = {}
    missing: list[FileUse] = []
    for use in dict.fromkeys(uses):
        id_, purpose = use
        row = queries.get(db, "files", namespace, id_) if clock.current().may_be_generated_file(id_) else None
        if row is not None and purpose in upstream_copies(row):
            ids[use] = upstream_copies(row)[purpose]
        elif row is not None:
            missing.append(use)
    if missing:
        raise NotUploadedError(missing)
    return ids


def upstream_image_ids(ids: Mapping[FileUse, str]) -> dict[str, str]:
    """Return the images among the result of `upstream_ids`, by our file id."""
    return {id_: copy for (id_, purpose), copy in ids.items() if purpose == "vision"}


def upstream_copies(row: Row) -> dict[str, str]:
    """Return the ids of a generated file's upstream copies, by purpose."""
    return dict(row["body"].get(_BODY_KEY) or {})


async def delete_copies(io: IO, row: Row) -> None:
    """Delete the upstream copies of a generated file; failures are logged."""
    for copy in upstream_copies(row).values():
        await delete_upstream(io, f"/files/{quote(copy, safe='')}", row["id"])


async def ensure_uploaded(io: IO, file_ids: Iterable[str]) -> dict[str, str]:
    """Upload those of our own files that are not uploaded yet, and return the upstream ids of all of ours.

    Raises what `upload_all` raises.
    """
    uses: list[FileUse] = [(id_, "assistants") for id_ in file_ids if clock.current().may_be_generated_file(id_)]
    while uses:
        try:
            ids = await io.read(lambda db: upstream_ids(db, io.settings.namespace, uses))
            return {id_: copy for (id_, _), copy in ids.items()}
        except NotUploadedError as error:  # noqa: PERF203 - the loop is the retry
            await upload_all(io, error.uses)
    return {}


async def upload_all(io: IO, uses: Iterable[FileUse]) -> None:
    """Upload files and store their upstream ids.

    Raises `ApiError` (404) for a file whose content is gone, and what `IO.ask` raises.
    """
    await io.gather([partial(_upload, io, id_, purpose) for id_, purpose in uses])


async def _upload(io: IO, id_: str, purpose: Purpose) -> None:
    namespace = io.settings.namespace
    row = await io.read(lambda db: queries.get(db, "files", namespace, id_))
    if row is None:
        raise errors.no_such_file(id_)
    row = await generated_files.ensure_stored(io, row)
    size: int = row["body"]["bytes"]
    async with aclosing(io.load_content(id_, range(size))) as chunks:
        upload = Upload(form_filename(row["body"]["filename"]), size, chunks, (("purpose", purpose),))
        uploaded = await io.ask(Request("POST", "/files", upload=upload))
    copy = uploaded.get("id")
    if not isinstance(copy, str):
        raise errors.bad_upstream("a file without an id")

    def store_id(db: Connection) -> None:
        # Read again under a lock: another upload of the file, for the other purpose, may have ended meanwhile.
        current = queries.get(db, "files", namespace, id_, lock=True)
        if current is not None:
            body = {**current["body"], _BODY_KEY: {**upstream_copies(current), purpose: copy}}
            queries.update_row(db, "files", namespace, id_, body=body)

    await io.write(store_id)
