"""Generated files as input: a copy is uploaded at the first use, and its id upstream is remembered in the file's row.

A file for the code interpreter or a search has the purpose `assistants`, an image `vision`: an upload serves the one or
the other.  What callers see stays our id.
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
from ..store.queries import Found
from ..wire.headers import form_name
from . import generated_files
from .containers import delete_upstream
from .io import IO, Request, Upload

Purpose = Literal["assistants", "vision"]
Use = tuple[str, Purpose]
"""One of our file ids, and what it is used for."""

_KEY = "uploads"


class NotUploadedError(Exception):
    """Generated files are used that have no copy upstream yet; `uses` says which."""

    def __init__(self, uses: list[Use]) -> None:
        """Name them."""
        super().__init__(len(uses))
        self.uses = uses


def names(db: Connection, namespace: str, uses: Iterable[Use]) -> dict[Use, str]:
    """The upstream's ids of those files that are ours, by their use; raises `NotUploadedError` for those without."""
    known: dict[Use, str] = {}
    missing: list[Use] = []
    for use in dict.fromkeys(uses):
        id_, purpose = use
        row = queries.get(db, "files", namespace, id_) if clock.current().owns(id_) else None
        if row is not None and purpose in uploads_of(row):
            known[use] = uploads_of(row)[purpose]
        elif row is not None:
            missing.append(use)
    if missing:
        raise NotUploadedError(missing)
    return known


def images_of(known: Mapping[Use, str]) -> dict[str, str]:
    """Of what `names` gives, the images."""
    return {id_: copy for (id_, purpose), copy in known.items() if purpose == "vision"}


def uploads_of(row: Found) -> dict[str, str]:
    """The copies of a generated file upstream, by their purpose."""
    return dict(row["body"].get(_KEY) or {})


async def delete_copies(io: IO, row: Found) -> None:
    """Delete the copies of a generated file upstream; what cannot be deleted is logged."""
    for copy in uploads_of(row).values():
        await delete_upstream(io, f"/files/{quote(copy, safe='')}", row["id"])


async def mapped(io: IO, file_ids: Iterable[str]) -> dict[str, str]:
    """The upstream's ids of those files among these that are ours, uploaded where they were not yet.

    Raises as `upload_all` does.
    """
    uses: list[Use] = [(id_, "assistants") for id_ in file_ids if clock.current().owns(id_)]
    while uses:
        try:
            known = await io.read(lambda db: names(db, io.settings.namespace, uses))
            return {id_: copy for (id_, _), copy in known.items()}
        except NotUploadedError as needed:  # noqa: PERF203 - each try is one of its own
            await upload_all(io, needed.uses)
    return {}


async def upload_all(io: IO, uses: Iterable[Use]) -> None:
    """Upload files and remember their ids.

    Raises `ApiError` (404) for one whose bytes are not here any more, and what asking the upstream raises.
    """
    await io.together([partial(_upload, io, id_, purpose) for id_, purpose in uses])


async def _upload(io: IO, id_: str, purpose: Purpose) -> None:
    namespace = io.settings.namespace
    row = await io.read(lambda db: queries.get(db, "files", namespace, id_))
    if row is None:
        raise errors.no_such_file(id_)
    row = await generated_files.at_hand(io, row)
    size: int = row["body"]["bytes"]
    async with aclosing(io.load(id_, range(size))) as chunks:
        upload = Upload(form_name(row["body"]["filename"]), size, chunks, (("purpose", purpose),))
        answer = await io.ask(Request("POST", "/files", upload=upload))
    copy = answer.get("id")
    if not isinstance(copy, str):
        raise errors.bad_upstream("a file without an id")

    def remember(db: Connection) -> None:
        fresh = queries.get(db, "files", namespace, id_, lock=True)
        if fresh is not None:
            body = {**fresh["body"], _KEY: {**uploads_of(fresh), purpose: copy}}
            queries.change(db, "files", namespace, id_, body=body)

    await io.write(remember)
