"""Signed links: URLs from which a generated file can be downloaded for a limited time, without a key.

The object storage signs them (`store.content`); this module finds the file and checks the arguments.
"""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any, overload

import anyio.to_thread
import openai

from ..doors.wrap import resolve_client, settings_of
from ..errors import CompatError
from ..settings import Settings
from ..store import locations, queries
from ..store.database import transact

_MAX_EXPIRES_SECONDS = 7 * 24 * 3600  # no cloud signs a link for longer


@overload
def file_url(client: openai.OpenAI, file_id: str, *, expires: int = 3600) -> str: ...


@overload
def file_url(client: openai.AsyncOpenAI, file_id: str, *, expires: int = 3600) -> Coroutine[Any, Any, str]: ...


def file_url(
    client: openai.OpenAI | openai.AsyncOpenAI, file_id: str, *, expires: int = 3600
) -> str | Coroutine[Any, Any, str]:
    """Return a link to a generated file that works in any browser for `expires` seconds (default: one hour).

    The object storage of `Settings(files="s3://...")` signs the link, for a week at most. Anyone who has the link can
    read the file. A link signed with temporary credentials ends with them, even if `expires` is later; this is not
    checked.

    `client` must be wrapped; with an asynchronous one, await the returned coroutine. Raises `CompatError` if there is
    no such file, if its bytes could not be copied, and for files in a local directory. (The library's own HTTP server
    will sign links to local files later.) Raises `StoreError` if the storage cannot be used, `TypeError` for a client
    that is not wrapped, and `ValueError` for an `expires` that cannot be signed.

    Example::

        url = assistants_compat.file_url(client, file_id, expires=600)
    """
    seconds: Any = expires  # callers without a type checker may pass anything
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= _MAX_EXPIRES_SECONDS:
        message = (
            f"file_url(expires={expires!r}): expires must be a whole number of seconds "
            f"from 1 to {_MAX_EXPIRES_SECONDS} (a week)."
        )
        raise ValueError(message)
    sdk_client = resolve_client(client)
    # Signing reads the store, which would block an event loop: an asynchronous client does it in a worker thread.
    sign = partial(_sign_url, settings_of(sdk_client), file_id, expires)
    return sign() if isinstance(sdk_client, openai.OpenAI) else anyio.to_thread.run_sync(sign)


def _sign_url(settings: Settings, file_id: str, seconds: int) -> str:
    url = locations.database_url(settings.store)
    row = transact(url, lambda db: queries.get(db, "files", settings.namespace, file_id), write=False)
    if row is None:
        message = f"No such File object: {file_id} (only generated files have links)"
        raise CompatError(message)
    if not row["stored"]:
        message = f"There is no link for {file_id}: {row['trouble']}; files.content({file_id!r}) retries the copy."
        raise CompatError(message)
    return locations.content_store(settings.files, url).link(file_id, seconds)
