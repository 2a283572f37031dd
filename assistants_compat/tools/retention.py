"""Removes old generated files, their bytes and their content in the store; `store gc` is its command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ..errors import StoreError
from ..settings import Settings
from ..store import locations, queries
from ..store.database import transact
from ..store.queries import Row


@dataclass(frozen=True)
class RemovedFiles:
    """The result of `remove_old_files`: what was removed or, with `dry_run`, what would be.

    `removed` are ids, oldest first; `bytes` is their total size; `failed` maps the other ids to the reason.
    """

    removed: tuple[str, ...]
    bytes: int
    failed: Mapping[str, str]


def remove_old_files(settings: Settings, *, before: int, dry_run: bool = False) -> RemovedFiles:
    """Remove the generated files of the namespace that were created before a time, in seconds since the epoch.

    Like `files.delete`, this deletes the bytes and empties the row. The row itself stays, so that a container that is
    still alive does not bring the file back. With `dry_run` nothing changes. A file that fails does not stop the
    others. Raises `StoreError` if the store cannot be read.
    """
    url = locations.database_url(settings.store)
    content = locations.content_store(settings.files, url)
    rows = transact(url, lambda db: queries.old_files(db, settings.namespace, before), write=False)
    removed: list[Row] = []
    failed: dict[str, str] = {}
    for row in rows:
        try:
            if not dry_run:
                # The bytes go first: if the content store does not answer, the row stays and the next call retries.
                content.delete(row["id"])
                transact(
                    url,
                    partial(queries.mark_deleted, table_name="files", namespace=settings.namespace, id_=row["id"]),
                    write=True,
                )
        except StoreError as error:  # noqa: PERF203 - one failing file must not stop the others
            failed[row["id"]] = str(error)
        else:
            removed.append(row)
    return RemovedFiles(
        removed=tuple(row["id"] for row in removed),
        bytes=sum(row["body"]["bytes"] for row in removed),
        failed=failed,
    )
