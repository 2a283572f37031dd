"""Files that their user has deleted from the Files API: which they are, and what is remembered of them.

Nobody has seen how the service refuses such a file as input (refusals.md, live check 15). A refusal that names it and
says that it is gone is believed. Where the words do not tell, the Files API is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from .. import errors
from ..runtime import clock
from ..service.refusal_table import TABLE
from ..service.refusals import recognize
from ..translate.request_files import may_concern_files, missing_file_of, names_file_ids
from .file_copies import forget_copy
from .io import IO, Request

FILE_GONE = "container_file_gone"  # a row of `service/refusal_table.py`
_GONE_ROWS = (FILE_GONE, "image_file_gone")


async def deleted_files_of(
    io: IO, ids: Iterable[str], status: int | None, details: Mapping[str, Any], *, by_words: bool = True
) -> list[str]:
    """Return those of the files of a request that were deleted, after an error of the request; empty if it is another.

    `by_words=False` asks the Files API even if the error names a file.
    """
    ids = [id_ for id_ in dict.fromkeys(ids) if not clock.current().may_be_generated_file(id_)]
    named = missing_file_of(ids, status, details) if by_words else None
    if named is not None:
        gone = [named]
    else:
        recognized = recognize(TABLE, status, details)
        is_another = recognized is not None and recognized.row.name not in _GONE_ROWS
        if (is_another and not names_file_ids(details)) or not may_concern_files(status, details):
            return []
        found = await io.gather([partial(_is_deleted, io, id_) for id_ in ids])
        gone = [id_ for id_, is_deleted in zip(ids, found, strict=True) if is_deleted]
    await forget_copies(io, gone)
    return gone


async def forget_copies(io: IO, gone: Iterable[str]) -> None:
    """Forget those of these upstream files that are copies of generated files: they are uploaded again when needed."""
    for id_ in gone:
        await io.write(lambda db, id_=id_: forget_copy(db, io.settings.namespace, id_))  # type: ignore[misc]


async def _is_deleted(io: IO, file_id: str) -> bool:
    """Whether the Files API says that it has no such file; any other trouble says nothing."""
    try:
        await io.ask(Request("GET", f"/files/{quote(file_id, safe='')}"))
    except errors.UpstreamError as error:
        return missing_file_of([file_id], error.status, error.details()) is not None
    except errors.UPSTREAM_FAILURES:
        return False
    return False


def is_known_as_deleted(io: IO, file_id: str) -> bool:
    """Whether a file of the user was deleted through a client of this process, or an earlier run has missed it."""
    if io.memory.was_deleted(file_id):
        io.memory.remember(FILE_GONE, file_id)
    return io.memory.knows(FILE_GONE, file_id)
