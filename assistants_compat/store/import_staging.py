"""A temporary SQLite file that sorts imported objects before they are written, so that an import needs little memory.

Objects arrive in any order, mostly newest first. They leave in the order that they will have in the store.
"""

from __future__ import annotations

import contextlib
import marshal
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Self

_TABLES = """
CREATE TABLE staged (
    number INTEGER PRIMARY KEY,  -- the order of reading
    noun TEXT NOT NULL, id TEXT NOT NULL,
    parent TEXT NOT NULL,  -- the id of the thread or run that lists the object
    created_at INTEGER NOT NULL,  -- or a fraction, if the input has one
    oldest_first INTEGER NOT NULL, position INTEGER, origin TEXT NOT NULL, directory TEXT NOT NULL, row BLOB NOT NULL,
    ordinal INTEGER,
    UNIQUE (noun, id)
);
CREATE TABLE ordered (number INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL);
CREATE TABLE attached (parent TEXT NOT NULL, file_id TEXT NOT NULL);
"""

# A list may have been saved newest first, as the service lists by default, or oldest first. Its creation times show
# which: those of the thread's own list, else those of all lists of this table. If both are equal, the shape of the
# input decides, which may be known to be oldest first, else `:default`.
# `direction` is 1 for oldest first and -1 for newest first.
_ORDER = """
INSERT INTO ordered (number, ordinal) WITH neighbours AS (
    SELECT noun, parent, created_at - LAG(created_at) OVER (PARTITION BY noun, parent ORDER BY number) AS later
    FROM staged WHERE position IS NULL
), list_directions AS (
    SELECT noun, parent, SUM(later > 0) - SUM(later < 0) AS direction FROM neighbours GROUP BY noun, parent
), table_directions AS (
    SELECT noun, SUM(SIGN_OF(direction)) AS direction FROM list_directions GROUP BY noun
)
SELECT staged.number, ROW_NUMBER() OVER (
    ORDER BY position IS NULL, position, staged.parent, created_at,
        staged.number * SIGN_OF(
            COALESCE(
                NULLIF(list_directions.direction, 0), NULLIF(table_directions.direction, 0),
                NULLIF(staged.oldest_first, 0), :default
            )
        )
)
FROM staged
    LEFT JOIN list_directions ON list_directions.noun = staged.noun AND list_directions.parent = staged.parent
    LEFT JOIN table_directions ON table_directions.noun = staged.noun
"""
_ASSIGN_ORDINALS = "UPDATE staged SET ordinal = (SELECT ordinal FROM ordered WHERE ordered.number = staged.number)"


class StagedRow(NamedTuple):
    """An imported row: its location in the input, the directory of that file, its place in the order, and the row."""

    origin: str
    directory: str
    ordinal: int
    row: dict[str, Any]


class DuplicateId(NamedTuple):
    """An id that was imported before: its first location, and whether both rows are equal."""

    origin: str
    same: bool


class ImportStaging:
    """The imported rows. The file is deleted when the context ends."""

    def __init__(self) -> None:
        """Create an empty file that only its owner can read."""
        self._directory = tempfile.TemporaryDirectory(prefix="assistants_compat-import-")
        self._db = sqlite3.connect(Path(self._directory.name) / "staging.db", isolation_level=None)
        self._db.create_function("SIGN_OF", 1, _sign, deterministic=True)
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", *_TABLES.split(";")):
            self._db.execute(statement)
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        """Return self; the file exists already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the file."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._directory.cleanup()

    def add(  # noqa: PLR0913 - a row, its location in the input and its place in the order
        self,
        table_name: str,
        row: Mapping[str, Any],
        origin: str,
        directory: Path,
        *,
        parent: str,
        position: int | None,
        moment: float | None = None,
        oldest_first: bool = False,
    ) -> DuplicateId | None:
        """Stage a row, unless its id was staged before; then return the duplicate.

        Rows with a `position` come first, in that order. `moment` is its creation time if it is known more exactly than
        in the row. `oldest_first` decides for this row where times do not. Raises `ValueError` for a row that is nested
        about 2000 levels deep.
        """
        serialized = marshal.dumps(dict(row))  # several times as fast as JSON; only this process reads it
        created_at = row["created_at"] if moment is None else moment
        location = (origin, str(directory))
        values = (table_name, row["id"], parent, created_at, oldest_first, position, *location, serialized)
        statement = (
            "INSERT OR IGNORE INTO staged "
            "(noun, id, parent, created_at, oldest_first, position, origin, directory, row) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        if self._db.execute(statement, values).rowcount == 1:
            return None
        cursor = self._db.execute("SELECT origin, row FROM staged WHERE noun = ? AND id = ?", (table_name, row["id"]))
        first_origin, first_row = cursor.fetchone()
        return DuplicateId(str(first_origin), same=marshal.loads(first_row) == row)  # noqa: S302 - written above

    def add_attachments(self, thread_id: str, file_ids: Sequence[str]) -> None:
        """Record the files that the thread's messages attach for the code interpreter."""
        self._db.executemany("INSERT INTO attached VALUES (?, ?)", [(thread_id, file_id) for file_id in file_ids])

    def attached_file_ids(self, thread_id: str) -> list[str]:
        """The recorded files of a thread, without duplicates."""
        rows = self._db.execute("SELECT DISTINCT file_id FROM attached WHERE parent = ?", (thread_id,))
        return [row[0] for row in rows]

    def assign_order(self, *, oldest_first: bool) -> None:
        """Assign the order of all rows; `oldest_first` decides where creation times do not."""
        self._db.execute("CREATE INDEX attached_to ON attached (parent)")
        self._db.execute(_ORDER, {"default": 1 if oldest_first else -1})
        self._db.execute(_ASSIGN_ORDINALS)
        self._db.execute("CREATE INDEX in_order ON staged (noun, ordinal)")

    def missing_threads(self) -> Iterator[tuple[str, int, str]]:
        """The threads that imported messages or runs name but that were not imported.

        Yields the thread's id, and the creation time and location of its first object. Items and containers alone do
        not count.
        """
        query = """
            SELECT parent AS thread_id, CAST(MIN(created_at) AS INTEGER), origin FROM staged
            WHERE noun IN ('messages', 'runs')
            GROUP BY thread_id
            HAVING thread_id NOT IN (SELECT id FROM staged WHERE noun = 'threads')
            ORDER BY MIN(created_at), MIN(number)
        """
        return iter(self._db.execute(query).fetchall())

    def count(self) -> int:
        """The number of staged rows."""
        return int(self._db.execute("SELECT COUNT(*) FROM staged").fetchone()[0])

    def batches(self, table_name: str, size: int) -> Iterator[list[StagedRow]]:
        """Yield the rows of a table in their order, `size` at a time."""
        last_ordinal = 0
        while True:
            query = (
                "SELECT origin, directory, ordinal, row FROM staged WHERE noun = ? AND ordinal > ? "
                "ORDER BY ordinal LIMIT ?"
            )
            rows = self._db.execute(query, (table_name, last_ordinal, size)).fetchall()
            if not rows:
                return
            yield [
                StagedRow(origin, directory, ordinal, marshal.loads(row))  # noqa: S302 - as above
                for origin, directory, ordinal, row in rows
            ]
            last_ordinal = rows[-1][2]

    def ordinal(self, table_name: str, id_: str) -> int | None:
        """The place of a row in the order, or None if it is not staged."""
        row = self._db.execute("SELECT ordinal FROM staged WHERE noun = ? AND id = ?", (table_name, id_)).fetchone()
        return None if row is None else int(row[0])


def _sign(number: int | None) -> int | None:
    return None if number is None else (number > 0) - (number < 0)
