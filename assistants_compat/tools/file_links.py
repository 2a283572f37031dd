"""Links for people: a URL from which a generated file can be downloaded for a while, without a key."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any, overload

import anyio.to_thread
import openai

from ..doors.wrap import client_of, settings_of
from ..errors import CompatError
from ..settings import Settings
from ..store import locations, queries
from ..store.database import transact

_LONGEST = 7 * 24 * 3600  # seconds; no cloud signs for longer


@overload
def file_url(client: openai.OpenAI, file_id: str, *, expires: int = 3600) -> str: ...


@overload
def file_url(client: openai.AsyncOpenAI, file_id: str, *, expires: int = 3600) -> Coroutine[Any, Any, str]: ...


def file_url(
    client: openai.OpenAI | openai.AsyncOpenAI, file_id: str, *, expires: int = 3600
) -> str | Coroutine[Any, Any, str]:
    """A link to a generated file that works in any browser for `expires` seconds, an hour if nothing is said.

    `client` is a wrapped one; an asynchronous one gives a coroutine to await.  The object storage of
    `Settings(files="s3://...")` signs the link, a week at most, and anybody who has it may read the file.  `expires` is
    not checked against the life of temporary credentials, which may end earlier.

    Raises `CompatError` when there is no such file, when its bytes could not be had, and for files in a local directory
    (the HTTP server to come will sign links to those), `StoreError` when the storage cannot be used, `TypeError` for a
    client that is not wrapped and `ValueError` for a time that cannot be signed.
    """
    given: Any = expires
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= _LONGEST:
        message = f"file_url(expires={expires!r}): a whole number of seconds from 1 to {_LONGEST} (a week) is needed."
        raise ValueError(message)
    served = client_of(client)
    signed = partial(_signed, settings_of(served), file_id, expires)
    return signed() if isinstance(served, openai.OpenAI) else anyio.to_thread.run_sync(signed)


def _signed(settings: Settings, file_id: str, seconds: int) -> str:
    url = locations.database_url(settings.store)
    row = transact(url, lambda db: queries.get(db, "files", settings.namespace, file_id), write=False)
    if row is None:
        message = f"No such File object: {file_id} (a link can be had for generated files only)"
        raise CompatError(message)
    if not row["stored"]:
        message = f"There is no link for {file_id}: {row['trouble']}; files.content({file_id!r}) tries once more."
        raise CompatError(message)
    return locations.content_store(settings.files, url).link(file_id, seconds)
