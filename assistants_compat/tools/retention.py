"""Old generated files, removed with their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ..errors import StoreError
from ..settings import Settings
from ..store import locations, queries
from ..store.database import transact
from ..store.queries import Found


@dataclass(frozen=True)
class Collected:
    """What `collect` removed, or would: ids, oldest first, and their bytes in sum; `failed` says why, by id."""

    removed: tuple[str, ...]
    bytes: int
    failed: Mapping[str, str]


def collect(settings: Settings, *, before: int, dry_run: bool = False) -> Collected:
    """Remove the generated files of the namespace that were made before a time, in seconds since the epoch.

    As `files.delete` does: the bytes go, and what the row says; its place stays, so that a container that still lives
    does not bring the file back.  With `dry_run` nothing is changed.  One that fails does not stop the others.  Raises
    `StoreError` when the store cannot be read.
    """
    url = locations.database_url(settings.store)
    content = locations.content_store(settings.files, url)
    rows = transact(url, lambda db: queries.old_files(db, settings.namespace, before), write=False)
    removed: list[Found] = []
    failed: dict[str, str] = {}
    for row in rows:
        try:
            if not dry_run:
                # The bytes first: when their place does not answer, the next try still knows the file.
                content.delete(row["id"])
                transact(
                    url, partial(queries.bury, noun="files", namespace=settings.namespace, id_=row["id"]), write=True
                )
        except StoreError as error:  # noqa: PERF203 - each one is caught by itself
            failed[row["id"]] = str(error)
        else:
            removed.append(row)
    return Collected(
        removed=tuple(row["id"] for row in removed),
        bytes=sum(row["body"]["bytes"] for row in removed),
        failed=failed,
    )
