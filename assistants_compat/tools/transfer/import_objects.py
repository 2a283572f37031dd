"""Imports saved objects of the old API into the store: `python -m assistants_compat import`.

All input is first collected in a staging file and put in order, then written in batches, one transaction each. Objects
that the store already has stay unchanged, so running an interrupted import again completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...engine.saved import assistants_file
from ...engine.saved.assistants_file import ApplyReport
from ...engine.saved.objects import RejectedObjectError, SavedRow, UpstreamFileError, saved_row_from_object
from ...errors import StoreError
from ...runtime import clock
from ...settings import Settings
from ...store import bulk, locations, queries
from ...store.content import ContentStore, LocalFiles, copy_bytes
from ...store.database import Connection, transact
from ...store.import_staging import ImportStaging, StagedRow
from ...store.queries import Row, TableName
from ...store.tables import ACTIVE
from ...translate.thread import attached_file_ids, fields_with_files
from ...wire.headers import content_disposition
from ...wire.objects import Json
from ..progress import progress
from . import input_files, shapes

_BATCH_SIZE = 500  # rows in one transaction
# Parents come before their children, which are refused if their parent is not in the store.
_WRITE_ORDER: tuple[TableName, ...] = ("assistants", "threads", "runs", "steps", "messages", "containers", "files")
# For each kind of child: its parent's table, the column with the parent's id, and the parent's name in messages.
_PARENTS: dict[TableName, tuple[TableName, str, str]] = {
    "runs": ("threads", "thread_id", "thread"),
    "messages": ("threads", "thread_id", "thread"),
    "containers": ("threads", "thread_id", "thread"),
    "steps": ("runs", "run_id", "run"),
}
_DISPLAY_NAMES = {"steps": "run steps"}

OnRefused = Callable[[str, str], None]
"""Called for each object that cannot be imported, with its location (`file:line`) and the reason."""


@dataclass
class ImportResult:
    """What an import did or, with `dry_run`, would do. The names of the fields are the keys of `--json`.

    - `taken`: the number of objects written, by kind.
    - `there`: the number of objects that the store already has unchanged.
    - `kept`: ids of objects that differ in the store; the store's version was kept.
    - `made`: ids of threads that were created because the input has only their messages or runs.
    - `ended`: ids of runs that were unfinished and have now expired (or were cancelled).
    - `upstream`: the number of uploaded files, which the upstream keeps and which need no import.
    - `refused`: the number of objects that could not be imported.
    - `new_threads`: ids of threads that got new ids because the input has none, with the locations of their rows.
    - `unknown_keys`: keys with data that the store has no place for, and how many objects have them.
    """

    taken: dict[str, int] = field(default_factory=dict)
    there: int = 0
    kept: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    upstream: int = 0
    refused: int = 0
    new_threads: dict[str, str] = field(default_factory=dict)
    unknown_keys: dict[str, int] = field(default_factory=dict)


def import_objects(
    settings: Settings,
    paths: Iterable[Path],
    on_refused: OnRefused,
    *,
    dry_run: bool = False,
    oldest_first: bool = False,
) -> ImportResult:
    """Import saved objects into the namespace of the settings; with `dry_run`, write nothing.

    `paths` are files and directories; the path `-` is stdin.
    `on_refused` is called for each object that cannot be imported. The times in a list usually show its direction; if
    they do not, it is read newest first, as the old API served it. `oldest_first` reverses that default. Raises
    `StoreError` if the store cannot be used: batches written until then stay, and the same call continues from there.
    """
    with ImportStaging() as staging:
        importer = _Importer(settings, staging, on_refused, dry_run=dry_run)
        importer.read(paths)
        staging.assign_order(oldest_first=oldest_first)
        importer.write()
    return importer.result


def import_assistants(settings: Settings, path: Path, *, dry_run: bool = False) -> ApplyReport:
    """Apply a file of assistants, overwriting changes made in the store since; with `dry_run`, only report them.

    Raises `SettingsError` for an invalid file, and `StoreError` if the store cannot be used.
    """
    assistants, now = assistants_file.read_assistants_file(path), clock.current().now()
    apply_file = partial(
        assistants_file.apply_assistants,
        namespace=settings.namespace,
        assistants=assistants,
        now=now,
        overwrite=True,
        dry_run=dry_run,
    )
    return transact(locations.database_url(settings.store), apply_file, write=not dry_run)


class _Importer:
    """One import: `read` stages the input, `write` writes it to the store."""

    def __init__(self, settings: Settings, staging: ImportStaging, on_refused: OnRefused, *, dry_run: bool) -> None:
        self._namespace, self._staging, self._dry_run = settings.namespace, staging, dry_run
        self._on_refused = on_refused
        self._url = locations.database_url(settings.store)
        self._content = locations.content_store(settings.files, self._url)
        self._finder = shapes.ObjectFinder()
        self._ended_run_ids: set[str] = set()
        self._ids_with_guessed_time: set[str] = set()
        # By thread id: the highest ordinal of its staged entries in the store, and the latest time of its other ones.
        self._last_stored: dict[str, tuple[int, int]] = {}
        self.result = ImportResult()

    def _refuse(self, location: str, reason: str) -> None:
        self.result.refused += 1
        self._on_refused(location, reason)

    # --- reading

    def read(self, paths: Iterable[Path]) -> None:
        """Stage all objects of these files and directories."""
        now = clock.current().now()
        files = input_files.list_input_files(paths, self._refuse)
        with progress() as start_bar:
            advance = start_bar("reading", sum(map(_file_size, files)))
            for path in files:
                name = input_files.display_name(path)
                self._finder.start_file(shapes.InputFile(name, path.parent, _changed_at(path, now)))
                for location, value in input_files.read_values(path, self._refuse, advance):
                    for input_object in self._finder.objects_in(location, value):
                        self._stage(input_object, now)
        self.result.new_threads = self._finder.new_threads
        self.result.unknown_keys = dict(self._finder.unknown_keys)

    def _stage(self, input_object: shapes.InputObject, now: int) -> None:
        try:
            saved = saved_row_from_object(input_object.value, now)
        except UpstreamFileError:
            self.result.upstream += 1
            return
        except RejectedObjectError as error:
            self._refuse(_location_with_id(input_object), str(error))
            return
        parent = saved.row.get(_PARENTS[saved.table][1]) if saved.table in _PARENTS else None
        try:
            duplicate = self._staging.add(
                saved.table,
                saved.row,
                input_object.location,
                input_object.directory,
                parent=parent or "",
                position=saved.position,
                moment=saved.moment,
                oldest_first=input_object.oldest_first,
            )
        except ValueError:
            self._refuse(_location_with_id(input_object), "it is nested too deeply")
            return
        if duplicate is None:
            self._note_staged(saved)
            if input_object.has_guessed_time:
                self._ids_with_guessed_time.add(saved.row["id"])
        elif not duplicate.same:
            reason = f"a different object with this id is at {duplicate.origin}, which is used instead"
            self._refuse(_location_with_id(input_object), reason)

    def _note_staged(self, saved: SavedRow) -> None:
        if saved.previous_status:
            self._ended_run_ids.add(saved.row["id"])
        if saved.table == "messages" and saved.row["kind"] == "message":
            self._staging.add_attachments(saved.row["thread_id"], attached_file_ids(saved.row["body"]))

    # --- writing

    def write(self) -> None:
        """Write the staged objects to the store, parents first."""
        with progress(counts=True) as start_bar:
            advance = start_bar("writing", self._staging.count())
            for table in _WRITE_ORDER:
                for batch in self._staging.batches(table, _BATCH_SIZE):
                    self._write_batch(table, batch)
                    advance(len(batch))
                if table == "threads":
                    # After the threads of the input and before the runs and messages that need them.
                    self._create_missing_threads()

    def _create_missing_threads(self) -> None:
        """Create the threads of which the input has only messages or runs, with the files that messages attach."""
        missing = list(self._staging.missing_threads())
        for start in range(0, len(missing), _BATCH_SIZE):
            batch = [
                StagedRow(origin, "", 0, self._thread_row(id_, created_at))
                for id_, created_at, origin in missing[start : start + _BATCH_SIZE]
            ]
            created = self._insert("threads", batch, count_existing=False)
            self.result.made += [staged.row["id"] for staged in created]

    def _thread_row(self, id_: str, created_at: int) -> Json:
        body = fields_with_files({}, self._staging.attached_file_ids(id_))
        return {"id": id_, "created_at": created_at, "deleted": False, "body": body}

    def _write_batch(self, table: TableName, batch: Sequence[StagedRow]) -> None:
        if table == "files":
            # The bytes go first: a row must never claim bytes that the content store does not have.
            batch = [staged for staged in batch if self._copy_bytes(staged)]
        for staged in self._insert(table, batch):
            kind = _display_name(table, staged.row)
            self.result.taken[kind] = self.result.taken.get(kind, 0) + 1
            if staged.row["id"] in self._ended_run_ids:
                self.result.ended.append(staged.row["id"])

    def _insert(self, table: TableName, batch: Sequence[StagedRow], *, count_existing: bool = True) -> list[StagedRow]:
        """Write one batch in one transaction, report its refusals, and return the rows that are new."""
        sorted_batch = transact(
            self._url, partial(self._sort_and_insert, table=table, batch=batch), write=not self._dry_run
        )
        # Counted only now that the batch is committed.
        for staged, reason in sorted_batch.refused:
            self._refuse(f"{staged.origin}: {staged.row['id']}", reason)
        if count_existing:
            self.result.there += sorted_batch.unchanged
            self.result.kept += sorted_batch.differing_ids
        return sorted_batch.new

    def _sort_and_insert(self, db: Connection, *, table: TableName, batch: Sequence[StagedRow]) -> _SortedBatch:
        """Sort a batch into new, existing and refused rows, and insert the new ones."""
        sorted_batch = _SortedBatch()
        stored_rows = bulk.rows_by_id(db, table, self._namespace, [staged.row["id"] for staged in batch])
        parent_ids = self._existing_parent_ids(db, table, batch)
        if table == "messages":
            self._load_last_stored(db, batch)
        busy_thread_ids: set[str] = set()
        for staged in batch:
            stored_row = stored_rows.get(staged.row["id"])
            if stored_row is not None:
                sorted_batch.add_existing(
                    staged, stored_row, has_guessed_time=staged.row["id"] in self._ids_with_guessed_time
                )
                continue
            reason = self._refusal_reason(db, table, staged, parent_ids, busy_thread_ids)
            if reason is None:
                sorted_batch.new.append(staged)
            else:
                sorted_batch.refused.append((staged, reason))
        if not self._dry_run:
            rows = [{**staged.row, "namespace": self._namespace} for staged in sorted_batch.new]
            bulk.insert_many(db, table, rows)
        return sorted_batch

    def _existing_parent_ids(self, db: Connection, table: TableName, batch: Sequence[StagedRow]) -> set[str]:
        """Return which threads or runs of a batch the store has or, in a dry run, would have."""
        if table not in _PARENTS:
            return set()
        parent_table, column, _ = _PARENTS[table]
        ids = sorted({staged.row[column] for staged in batch})
        rows = bulk.rows_by_id(db, parent_table, self._namespace, ids)
        existing = {id_ for id_, row in rows.items() if not row["deleted"]}
        if self._dry_run:  # then the parents in the input have not been written
            staged_ids = {id_ for id_ in ids if self._staging.ordinal(parent_table, id_) is not None}
            existing |= (staged_ids | {*self.result.made}) - rows.keys()
        return existing

    def _refusal_reason(
        self, db: Connection, table: TableName, staged: StagedRow, parent_ids: set[str], busy_thread_ids: set[str]
    ) -> str | None:
        """Return why a row cannot be inserted, or None; note the thread of an active run as busy."""
        if table in _PARENTS:
            _, column, parent_name = _PARENTS[table]
            if staged.row[column] not in parent_ids:
                return (
                    f"its {parent_name} {staged.row[column]} is neither in the input nor in the store, or was deleted"
                )
        if table == "messages" and self._is_late(staged):
            return (
                "the store has later messages of its thread; import a thread's messages together, "
                "before the thread continues"
            )
        if table == "runs" and staged.row["status"] in ACTIVE:
            thread_id = staged.row["thread_id"]
            if thread_id in busy_thread_ids or queries.active_run(db, self._namespace, thread_id) is not None:
                return f"it is {staged.row['status']}, and its thread has another active run"
            busy_thread_ids.add(thread_id)
        return None

    def _load_last_stored(self, db: Connection, batch: Sequence[StagedRow]) -> None:
        """Note where each thread of the batch ends in the store, once a thread.

        Entries that an earlier import wrote are staged again; they count by their ordinal, all others by their time.
        """
        ids = sorted({staged.row["thread_id"] for staged in batch} - self._last_stored.keys())
        self._last_stored.update((id_, (0, 0)) for id_ in ids)
        for thread_id, id_, created_at in bulk.iter_thread_entries(db, self._namespace, ids) if ids else ():
            ordinal = self._staging.ordinal("messages", id_)
            last_ordinal, last_time = self._last_stored[thread_id]
            if ordinal is None:
                self._last_stored[thread_id] = (last_ordinal, max(last_time, created_at))
            else:
                self._last_stored[thread_id] = (max(last_ordinal, ordinal), last_time)

    def _is_late(self, staged: StagedRow) -> bool:
        """Return whether the store already has entries of the thread that belong after this one."""
        last_ordinal, last_time = self._last_stored[staged.row["thread_id"]]
        return staged.ordinal < last_ordinal or staged.row["created_at"] < last_time

    # --- the bytes of files

    def _copy_bytes(self, staged: StagedRow) -> bool:
        """Copy a file's bytes from the export that it came from; return whether its row may be written."""
        row = staged.row
        if row["deleted"] or not row["stored"]:
            return True  # the row claims no bytes
        size = row["body"]["bytes"]
        exported: ContentStore = LocalFiles(Path(staged.directory, "files"))
        if self._content.size(row["id"]) == size:
            return True
        if exported.size(row["id"]) != size:
            self._refuse(f"{staged.origin}: {row['id']}", "its bytes are missing from the directory files/ beside it")
            return False
        try:
            if not self._dry_run:
                copy_bytes(exported, self._content, row, content_disposition(row["body"]["filename"]))
        except StoreError as error:
            self._refuse(f"{staged.origin}: {row['id']}", str(error))
            return False
        return True


@dataclass
class _SortedBatch:
    """The rows of one batch: new, in the store already (unchanged or different), or refused with the reason."""

    new: list[StagedRow] = field(default_factory=list)
    unchanged: int = 0
    differing_ids: list[str] = field(default_factory=list)
    refused: list[tuple[StagedRow, str]] = field(default_factory=list)

    def add_existing(self, staged: StagedRow, stored_row: Row, *, has_guessed_time: bool) -> None:
        """Count a row that the store already has, and which stays as it is; a guessed time is no difference."""
        body = staged.row["body"]
        if has_guessed_time:
            body = {**body, "created_at": stored_row["created_at"]}
        if (stored_row["deleted"], stored_row["body"]) == (staged.row["deleted"], body):
            self.unchanged += 1
        else:
            self.differing_ids.append(staged.row["id"])


def _display_name(table: TableName, row: Json) -> str:
    if row["deleted"] or table == "containers" or row.get("kind") == "item":
        return "other"  # the API does not show these
    return _DISPLAY_NAMES.get(table, table)


def _location_with_id(input_object: shapes.InputObject) -> str:
    """Return the location of an object followed by its id, if the id is safe to print."""
    value: Any = input_object.value
    id_ = value.get("id") if isinstance(value, dict) else None
    is_printable = isinstance(id_, str) and id_.isascii() and id_.isprintable() and len(id_) <= 256  # noqa: PLR2004
    return f"{input_object.location}: {id_}" if is_printable else input_object.location


def _file_size(path: Path) -> int:
    try:
        return 0 if path == input_files.STDIN else path.stat().st_size
    except OSError:
        return 0


def _changed_at(path: Path, now: int) -> float:
    """Return when a file was changed; it stands in for the times of rows that have none."""
    try:
        return now if path == input_files.STDIN else path.stat().st_mtime
    except OSError:
        return now
