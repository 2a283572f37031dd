"""Generated files as input of later runs: upload a copy at the first use and store its upstream id in the file's row.

Files for the Code Interpreter and file search are uploaded with the purpose `assistants`, images with `vision`; an
upload serves one of the two. Callers only ever see our own file id.

Two kinds of files are not uploaded for a run. Files that the Files API does not take are copied into the run's
container (`containers.py`). Images for an upstream without the purpose `vision` are sent with their bytes
(`images.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar
from urllib.parse import quote

from .. import errors
from ..runtime import clock
from ..service.file_types import is_taken_for_assistants, with_lower_case_extension
from ..service.refusal_table import FILE_ROWS, TABLE
from ..service.refusals import recognize
from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..wire.headers import form_filename
from . import generated_files
from .containers import delete_upstream
from .deleted_files import deleted_files_of
from .file_copies import BODY_KEY, upstream_copies
from .io import IO, Request, Upload

log = logging.getLogger("assistants_compat")

T = TypeVar("T")

# Two purposes, because it is unknown whether `vision` takes anything but images (platform.md section 14).
Purpose = Literal["assistants", "vision"]
FileUse = tuple[str, Purpose]
"""One of our file ids and the purpose that the file is used for."""

VISION_REFUSAL = "vision_purpose"
_AZURE_BASE = "/openai/v1"


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
        row = _generated_file(db, namespace, id_)
        if row is not None and purpose in upstream_copies(row):
            ids[use] = upstream_copies(row)[purpose]
        elif row is not None:
            missing.append(use)
    if missing:
        raise NotUploadedError(missing)
    return ids


@dataclass(frozen=True)
class RunFiles:
    """How the files of a run reach the upstream."""

    code_file_ids: list[str]  # ids upstream, for the container
    copied_file_ids: list[str]  # generated files that are copied into the container
    image_ids: dict[str, str]  # ids upstream by our file ids; images without one are sent with their bytes


def files_of_run(io: IO, db: Connection, code_file_ids: Sequence[str], image_ids: Sequence[str]) -> RunFiles:
    """Return how these files reach the upstream; raises `NotUploadedError` if some must be uploaded first."""
    namespace = io.settings.namespace
    by_id: list[str] = []
    copied: list[str] = []
    missing: list[FileUse] = []
    for id_ in dict.fromkeys(code_file_ids):
        row = _generated_file(db, namespace, id_)
        if row is None and is_deleted_file(db, namespace, id_):
            log.warning("file %s was deleted; the run does without it", id_)
            continue
        copy = id_ if row is None else upstream_copies(row).get("assistants")
        if copy is not None:
            by_id.append(copy)
        elif row is not None and _may_be_uploaded(row):
            missing.append((id_, "assistants"))
        elif row is not None and not row["body"].get(generated_files.UNUSABLE):
            copied.append(id_)
    images = uploaded_image_ids(db, namespace, image_ids)
    if not sends_image_bytes(io):
        others = [id_ for id_ in dict.fromkeys(image_ids) if id_ not in images]
        missing += [(id_, "vision") for id_ in others if _generated_file(db, namespace, id_) is not None]
    if missing:
        raise NotUploadedError(missing)
    # The caller may have named a file and its copy.
    return RunFiles(list(dict.fromkeys(by_id)), copied, images)


def uploaded_image_ids(db: Connection, namespace: str, image_ids: Iterable[str]) -> dict[str, str]:
    """Return the upstream ids of those images that are ours and have been uploaded, by our file id."""
    rows = {id_: _generated_file(db, namespace, id_) for id_ in dict.fromkeys(image_ids)}
    copies = {id_: upstream_copies(row).get("vision") for id_, row in rows.items() if row is not None}
    return {id_: copy for id_, copy in copies.items() if copy is not None}


def sends_image_bytes(io: IO) -> bool:
    """Whether images are sent with their bytes, because this upstream takes no upload with the purpose `vision`.

    Azure takes none (azure-sdk-for-net#44913). Its base is `/openai/v1`, with something before it behind a gateway.
    """
    return io.upstream.name.endswith(_AZURE_BASE) or io.memory.knows(VISION_REFUSAL)


def is_vision_refusal(status: int, error: object) -> bool:
    """Whether an error says that this upstream takes no upload with the purpose `vision`."""
    refusal = recognize(TABLE, status, error)
    return refusal is not None and refusal.row.name == VISION_REFUSAL


def _generated_file(db: Connection, namespace: str, id_: str) -> Row | None:
    return queries.get(db, "files", namespace, id_) if clock.current().may_be_generated_file(id_) else None


def is_deleted_file(db: Connection, namespace: str, id_: str) -> bool:
    """Whether this was a generated file, given that there is none of this id."""
    # A deleted file keeps its row for page cursors.
    return clock.current().may_be_generated_file(id_) and queries.cursor_exists(db, "files", namespace, id_)


def _may_be_uploaded(row: Row) -> bool:
    """Whether the Files API may take a file; a file that is not copied yet has no known size."""
    body = row["body"]
    size = body["bytes"] if row["stored"] else None
    return not body.get(generated_files.NOT_UPLOADABLE) and is_taken_for_assistants(
        form_filename(body["filename"]), size
    )


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


async def send_with_copies(io: IO, file_ids: Sequence[str], send: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
    """Call `send` with the upstream ids of those of these files that are ours, and return what it returns.

    Called once more, with new copies, if it raises `UpstreamError` because a copy was deleted upstream.
    """
    copies = await ensure_uploaded(io, file_ids)
    try:
        return await send(copies)
    except errors.UpstreamError as error:
        if not await deleted_files_of(io, copies.values(), error.status, error.details()):
            raise
    return await send(await ensure_uploaded(io, file_ids))


async def upload_all(io: IO, uses: Iterable[FileUse]) -> None:
    """Upload files and store their upstream ids.

    Raises `ApiError` (404) for a file whose content is gone, and what `IO.ask` raises.
    """
    await io.gather([partial(_upload, io, id_, purpose) for id_, purpose in uses])


async def upload_for_run(io: IO, uses: Iterable[FileUse]) -> None:
    """Upload files that a run uses; raises what `upload_all` raises, except for a refusal that has a remedy.

    After such a refusal `files_of_run` no longer asks for the upload.
    """
    await io.gather([partial(_upload_for_run, io, id_, purpose) for id_, purpose in uses])


async def _upload_for_run(io: IO, id_: str, purpose: Purpose) -> None:
    try:
        await _upload(io, id_, purpose)
    except errors.UpstreamError as error:
        refusal = recognize(TABLE, error.status, error.details())
        name = None if refusal is None else refusal.row.name
        if purpose == "vision" and name == VISION_REFUSAL:
            io.memory.remember(VISION_REFUSAL)
        elif purpose == "assistants" and name in FILE_ROWS:
            log.info("the Files API does not take file %s; it is copied into the run's container", id_)
            await generated_files.mark(io, id_, generated_files.NOT_UPLOADABLE)
        else:
            raise


async def _upload(io: IO, id_: str, purpose: Purpose) -> None:
    namespace = io.settings.namespace
    row = await io.read(lambda db: queries.get(db, "files", namespace, id_))
    if row is None:
        raise errors.no_such_file(id_)
    row = await generated_files.ensure_stored(io, row)
    size: int = row["body"]["bytes"]
    async with aclosing(io.load_content(id_, range(size))) as chunks:
        # The Files API refuses capital letters in an extension.
        name = with_lower_case_extension(form_filename(row["body"]["filename"]))
        upload = Upload(name, size, chunks, (("purpose", purpose),))
        uploaded = await io.ask(Request("POST", "/files", upload=upload))
    copy = uploaded.get("id")
    if not isinstance(copy, str):
        raise errors.bad_upstream("a file without an id")

    def store_id(db: Connection) -> None:
        # Read again under a lock: another upload of the file, for the other purpose, may have ended meanwhile.
        current = queries.get(db, "files", namespace, id_, lock=True)
        if current is not None:
            body = {**current["body"], BODY_KEY: {**upstream_copies(current), purpose: copy}}
            queries.update_row(db, "files", namespace, id_, body=body)

    await io.write(store_id)
