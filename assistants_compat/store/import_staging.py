"""Where an import gathers what it was given before it writes: a SQLite file of its own, so that memory stays as it is.

Objects come in any order, newest first mostly; they leave it in the order in which the store is to have them.
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
CREATE TABLE given (
    number INTEGER PRIMARY KEY,  -- in the order of reading
    noun TEXT NOT NULL, id TEXT NOT NULL,
    parent TEXT NOT NULL,  -- of what is listed in a thread or run
    created_at INTEGER NOT NULL, place INTEGER, origin TEXT NOT NULL, directory TEXT NOT NULL, row BLOB NOT NULL,
    ordinal INTEGER,
    UNIQUE (noun, id)
);
CREATE TABLE ordered (number INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL);
CREATE TABLE attached (parent TEXT NOT NULL, file_id TEXT NOT NULL);
"""

# Lists of the service begin with the newest.  Which way one was saved, its times tell: those of the thread, or else
# those of all that was given, or else it is as the service served it by default.
_ORDER = """
INSERT INTO ordered (number, ordinal) WITH neighbours AS (
    SELECT noun, parent, created_at - LAG(created_at) OVER (PARTITION BY noun, parent ORDER BY number) AS later
    FROM given WHERE place IS NULL
), ways AS (
    SELECT noun, parent, SUM(later > 0) - SUM(later < 0) AS way FROM neighbours GROUP BY noun, parent
), all_ways AS (
    SELECT noun, SUM(SIGN_OF(way)) AS way FROM ways GROUP BY noun
)
SELECT given.number, ROW_NUMBER() OVER (
    ORDER BY place IS NULL, place, given.parent, created_at,
        given.number * SIGN_OF(COALESCE(NULLIF(ways.way, 0), NULLIF(all_ways.way, 0), :default))
)
FROM given
    LEFT JOIN ways ON ways.noun = given.noun AND ways.parent = given.parent
    LEFT JOIN all_ways ON all_ways.noun = given.noun
"""
_NUMBER = "UPDATE given SET ordinal = (SELECT ordinal FROM ordered WHERE ordered.number = given.number)"


class Staged(NamedTuple):
    """What was given: where it stood, the directory of its file, its place in the order, and its row."""

    origin: str
    directory: str
    ordinal: int
    row: dict[str, Any]


class Twice(NamedTuple):
    """An id that was given before: where, and whether with the same words."""

    origin: str
    same: bool


class Staging:
    """What an import was given; nothing of it outlives the context."""

    def __init__(self) -> None:
        """Make an empty file, readable by its owner only."""
        self._directory = tempfile.TemporaryDirectory(prefix="assistants_compat-import-")
        self._db = sqlite3.connect(Path(self._directory.name) / "given.db", isolation_level=None)
        self._db.create_function("SIGN_OF", 1, _sign, deterministic=True)
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", *_TABLES.split(";")):
            self._db.execute(statement)
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        """It is there already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the file."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._directory.cleanup()

    def add(  # noqa: PLR0913 - a row, its place in the input and its place in the store
        self, noun: str, row: Mapping[str, Any], origin: str, directory: Path, *, parent: str, place: int | None
    ) -> Twice | None:
        """Gather a row, if it is the first with its id; else what is there.

        Raises `ValueError` for one that is nested deeper than some 2000 times.
        """
        kept = marshal.dumps(dict(row))  # several times as fast as JSON, and read by this process only
        values = (noun, row["id"], parent, row["created_at"], place, origin, str(directory), kept)
        statement = (
            "INSERT OR IGNORE INTO given (noun, id, parent, created_at, place, origin, directory, row) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        if self._db.execute(statement, values).rowcount == 1:
            return None
        there = self._db.execute("SELECT origin, row FROM given WHERE noun = ? AND id = ?", (noun, row["id"]))
        first, its_row = there.fetchone()
        return Twice(str(first), same=marshal.loads(its_row) == row)  # noqa: S302 - written above

    def attach(self, thread_id: str, file_ids: Sequence[str]) -> None:
        """Note the files that messages attach for the code interpreter."""
        self._db.executemany("INSERT INTO attached VALUES (?, ?)", [(thread_id, file_id) for file_id in file_ids])

    def attached(self, thread_id: str) -> list[str]:
        """These files of a thread, each once."""
        rows = self._db.execute("SELECT DISTINCT file_id FROM attached WHERE parent = ?", (thread_id,))
        return [row[0] for row in rows]

    def put_in_order(self, *, oldest_first: bool) -> None:
        """Decide the order of all that was gathered; `oldest_first` counts where times do not tell."""
        self._db.execute("CREATE INDEX attached_to ON attached (parent)")
        self._db.execute(_ORDER, {"default": 1 if oldest_first else -1})
        self._db.execute(_NUMBER)
        self._db.execute("CREATE INDEX in_order ON given (noun, ordinal)")

    def missing_threads(self) -> Iterator[tuple[str, int, str]]:
        """The threads that something names and none is given of: their ids, times of their first, and where it stood.

        Items and containers alone make none.
        """
        query = """
            SELECT parent AS thread_id, MIN(created_at), origin FROM given
            WHERE noun IN ('messages', 'runs')
            GROUP BY thread_id
            HAVING thread_id NOT IN (SELECT id FROM given WHERE noun = 'threads')
            ORDER BY MIN(created_at), MIN(number)
        """
        return iter(self._db.execute(query).fetchall())

    def count(self) -> int:
        """How many were gathered."""
        return int(self._db.execute("SELECT COUNT(*) FROM given").fetchone()[0])

    def chunks(self, noun: str, size: int) -> Iterator[list[Staged]]:
        """The rows of a table in their order, so many at a time."""
        last = 0
        while True:
            query = (
                "SELECT origin, directory, ordinal, row FROM given WHERE noun = ? AND ordinal > ? "
                "ORDER BY ordinal LIMIT ?"
            )
            found = self._db.execute(query, (noun, last, size)).fetchall()
            if not found:
                return
            yield [
                Staged(origin, folder, ordinal, marshal.loads(row))  # noqa: S302 - as above
                for origin, folder, ordinal, row in found
            ]
            last = found[-1][2]

    def ordinal(self, noun: str, id_: str) -> int | None:
        """The place of a row in the order, or None when it was not given."""
        row = self._db.execute("SELECT ordinal FROM given WHERE noun = ? AND id = ?", (noun, id_)).fetchone()
        return None if row is None else int(row[0])


def _sign(number: int | None) -> int | None:
    return None if number is None else (number > 0) - (number < 0)
