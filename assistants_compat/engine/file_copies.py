"""What the rows of generated files say of their upstream copies, which are uploaded as input of runs (`uploads.py`)."""

from __future__ import annotations

from ..store import queries
from ..store.database import Connection
from ..store.queries import Row

BODY_KEY = "uploads"  # in the body of a file's row: upstream id by purpose


def upstream_copies(row: Row) -> dict[str, str]:
    """Return the ids of a generated file's upstream copies, by purpose."""
    return dict(row["body"].get(BODY_KEY) or {})


def copies_of_files(db: Connection, namespace: str) -> set[str]:
    """Return the ids of all upstream copies of generated files that exist."""
    rows = queries.files_that_mention(db, namespace, f'"{BODY_KEY}"')
    return {copy for row in rows if not row["deleted"] for copy in upstream_copies(row).values()}


def owner_of_copy(db: Connection, namespace: str, copy: str) -> Row | None:
    """Return the row of the generated file, which may be deleted, of which an upstream file is a copy; else None."""
    rows = queries.files_that_mention(db, namespace, f'"{copy}"')
    return next((row for row in rows if copy in upstream_copies(row).values()), None)


def forget_copy(db: Connection, namespace: str, copy: str) -> None:
    """Forget a copy that no longer exists upstream, if it is one, so that the file is uploaded again."""
    owner = owner_of_copy(db, namespace, copy)
    # Read again under a lock: another copy may be added at the same time.
    row = None if owner is None else queries.get(db, "files", namespace, owner["id"], lock=True)
    if row is not None:
        copies = {purpose: other for purpose, other in upstream_copies(row).items() if other != copy}
        queries.update_row(db, "files", namespace, row["id"], body={**row["body"], BODY_KEY: copies})


def mark_file_deleted(db: Connection, row: Row) -> None:
    """Delete a generated file's row but for its place in lists and the ids of its copies, which go with it."""
    copies = upstream_copies(row)
    queries.mark_deleted(db, "files", row["namespace"], row["id"], kept={BODY_KEY: copies} if copies else None)
