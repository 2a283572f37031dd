"""Warns once about each assistant or thread id that was never stored: the answer is a 404, and the log says why."""

from __future__ import annotations

from collections.abc import Callable

from .. import errors
from ..engine.io import IO
from ..runtime import logs
from ..store import queries
from ..wire.ids import looks_like_assistant_id, looks_like_thread_id

_KINDS: dict[str, tuple[queries.TableName, Callable[[str], bool]]] = {
    "assistant": ("assistants", looks_like_assistant_id),
    "thread": ("threads", looks_like_thread_id),
}
_MAX_REMEMBERED = 1000  # ids; beyond that no further id is looked up or logged
_checked_ids: set[str] = set()


async def warn_if_never_stored(io: IO, error: errors.NotFoundError) -> None:
    """Log an id of the old service and the three ways to add it; nothing for an object that was deleted here."""
    id_ = error.id
    if error.noun not in _KINDS:
        return
    table, looks_like_id = _KINDS[error.noun]
    # Anything else in the place of an id may be a text, and does not belong in the log.
    if not looks_like_id(id_):
        return
    if id_ in _checked_ids or len(_checked_ids) >= _MAX_REMEMBERED:
        return
    _checked_ids.add(id_)
    try:
        if await io.read(lambda db: queries.cursor_exists(db, table, io.settings.namespace, id_)):
            return
    except errors.StoreError:  # the 404 is the answer all the same
        return
    logs.library.warning(
        "The %s %s is not in the store and never was, so calls that use it answer 404. To add an assistant, list it "
        "in a file under its id (ASSISTANTS_COMPAT_ASSISTANTS=assistants.toml). To add a thread, let unknown threads "
        "start empty (ASSISTANTS_COMPAT_UNKNOWN_THREADS=create). To add either with its data, import what you exported "
        "from the old service (python -m assistants_compat import).",
        error.noun,
        id_,
    )
