"""Generated images as input of an upstream that takes no upload with the purpose `vision`: sent with their bytes.

The bytes join a request when it is sent. What the store keeps of a run names the image by our file id.
"""

from __future__ import annotations

import base64
import logging
from contextlib import aclosing

from .. import errors
from ..runtime import clock
from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..translate.transcript import GONE_IMAGE, RunInput, image_file_ids, with_image_parts
from ..wire.objects import Json
from . import generated_files
from .io import IO
from .uploads import is_deleted_file

log = logging.getLogger("assistants_compat")

_IMAGE_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


async def with_image_data(io: IO, run_input: RunInput) -> RunInput:
    """Return the input with the bytes of the generated images that it names by our own file ids.

    Images that were uploaded have upstream ids by now and stay as they are; those that the user has deleted through a
    client of this process are left out.
    """
    named = list(dict.fromkeys(image_file_ids(run_input.turns)))
    ids = [id_ for id_ in named if clock.current().may_be_generated_file(id_)]
    gone = [id_ for id_ in named if id_ not in ids and io.memory.was_deleted(id_)]
    if (shorter := run_input.without_image_files(gone)) is not None:
        log.info("images that were deleted are not sent: %s", ", ".join(gone))
        run_input = shorter
    if not ids:
        return run_input

    def read_rows(db: Connection) -> tuple[list[Row], list[str]]:
        namespace = io.settings.namespace
        rows = {id_: queries.get(db, "files", namespace, id_) for id_ in ids}
        deleted = [id_ for id_, row in rows.items() if row is None and is_deleted_file(db, namespace, id_)]
        return [row for row in rows.values() if row is not None], deleted

    rows, deleted = await io.read(read_rows)
    parts = {row["id"]: await _image_part(io, row) for row in rows} | dict.fromkeys(deleted, GONE_IMAGE)
    return with_image_parts(run_input, parts) if parts else run_input


async def _image_part(io: IO, row: Row) -> Json:
    """Return what replaces an image's `file_id`; if its bytes are gone, a part that says so."""
    try:
        row = await generated_files.ensure_stored(io, row)
        async with aclosing(io.load_content(row["id"], range(row["body"]["bytes"]))) as chunks:
            content = b"".join([chunk async for chunk in chunks])
    except (errors.ApiError, errors.StoreError) as error:
        log.warning("image %s is not sent, its content is not available: %s", row["id"], type(error).__name__)
        return GONE_IMAGE
    kind = next((kind for start, kind in _IMAGE_TYPES.items() if content.startswith(start)), "image/png")
    return {"type": "input_image", "image_url": f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"}
