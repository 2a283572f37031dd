"""Saved objects of the old API into the store: `python -m assistants_compat import`.

What was given is gathered first and then written in batches, each one transaction, in one order.  What is there already
is left as it is, so an import that was interrupted is finished by running it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...engine.saved import assistants_file
from ...engine.saved.assistants_file import Applied
from ...engine.saved.objects import KeptUpstreamError, NotTakenError, Saved, saved_from_object
from ...errors import StoreError
from ...runtime import clock
from ...settings import Settings
from ...store import bulk, locations, queries
from ...store.content import Files, LocalFiles, copy_bytes
from ...store.database import Connection, transact
from ...store.import_staging import Staged, Staging
from ...store.queries import Found, Noun
from ...store.tables import ACTIVE
from ...translate.thread import attached_files, fields_with_files
from ...wire.headers import disposition
from ...wire.objects import Json
from ..progress import progress
from . import input_files

_BATCH = 500
_ORDER: tuple[Noun, ...] = ("assistants", "threads", "runs", "steps", "messages", "containers", "files")
_PARENT: dict[Noun, tuple[Noun, str, str]] = {
    "runs": ("threads", "thread_id", "thread"),
    "messages": ("threads", "thread_id", "thread"),
    "containers": ("threads", "thread_id", "thread"),
    "steps": ("runs", "run_id", "run"),
}
_WORDS = {"steps": "run steps"}

Refuse = Callable[[str, str], None]
"""Is told what could not be taken: where it stands (`file:line`) and why."""


@dataclass
class Imported:
    """What an import did, or would do.

    - `taken`: how many objects were written, by what they are; `there`: how many were there already, as they are given.
    - `kept`: ids of objects that the store has otherwise; they were left as the store has them.
    - `made`: ids of threads that were given by their messages or runs only, and were made for them.
    - `ended`: ids of runs that were unfinished, and are expired (or cancelled) now.
    - `upstream`: how many files were given that the upstream itself keeps; there is nothing to take.
    - `refused`: how many could not be taken.
    """

    taken: dict[str, int] = field(default_factory=dict)
    there: int = 0
    kept: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    upstream: int = 0
    refused: int = 0


def import_objects(
    settings: Settings, paths: Iterable[Path], refuse: Refuse, *, dry_run: bool = False, oldest_first: bool = False
) -> Imported:
    """Take saved objects into the namespace of the settings; with `dry_run` nothing is written.

    Each one that could not be taken is told to `refuse`.  Lists that do not tell by their times which way they go are
    taken as the old API served them, the newest first, unless `oldest_first` says otherwise.  Raises `StoreError` when
    the store cannot be used; what was written by then stays, and the same call goes on from there.
    """
    with Staging() as staging:
        work = _Import(settings, staging, refuse, dry_run=dry_run)
        work.read(paths)
        staging.put_in_order(oldest_first=oldest_first)
        work.write()
    return work.done


def import_assistants(settings: Settings, path: Path, *, dry_run: bool = False) -> Applied:
    """Set the assistants of a file as it says, also where somebody changed them here since; `dry_run` only says where.

    Raises `SettingsError` for a file that is wrong, `StoreError` when the store cannot be used.
    """
    given, now = assistants_file.read(path), clock.current().now()
    work = partial(
        assistants_file.apply, namespace=settings.namespace, declared=given, now=now, anyway=True, dry_run=dry_run
    )
    return transact(locations.database_url(settings.store), work, write=not dry_run)


class _Import:
    def __init__(self, settings: Settings, staging: Staging, refuse: Refuse, *, dry_run: bool) -> None:
        self._namespace, self._staging, self._told, self._dry_run = settings.namespace, staging, refuse, dry_run
        self._url = locations.database_url(settings.store)
        self._content = locations.content_store(settings.files, self._url)
        self._ended: set[str] = set()
        self._latest: dict[str, tuple[int, int]] = {}
        self.done = Imported()

    def _refuse(self, place: str, why: str) -> None:
        self.done.refused += 1
        self._told(place, why)

    # --- reading

    def read(self, paths: Iterable[Path]) -> None:
        """Gather all objects of these files."""
        now = clock.current().now()
        found = input_files.sources(paths, self._refuse)
        with progress() as begin:
            advance = begin("reading", sum(map(_size, found)))
            for path in found:
                for each in input_files.objects_of(path, self._refuse, advance):
                    self._gather(each, now)

    def _gather(self, found: input_files.Found, now: int) -> None:
        try:
            saved = saved_from_object(found.value, now)
        except KeptUpstreamError:
            self.done.upstream += 1
            return
        except NotTakenError as error:
            self._refuse(_named(found.place, found.value), str(error))
            return
        parent = saved.row.get(_PARENT[saved.noun][1]) if saved.noun in _PARENT else None
        try:
            twice = self._staging.add(
                saved.noun, saved.row, found.place, found.directory, parent=parent or "", place=saved.place
            )
        except ValueError:
            self._refuse(_named(found.place, found.value), "it is nested too deeply")
            return
        if twice is None:
            self._note(saved)
        elif not twice.same:
            self._refuse(_named(found.place, found.value), f"it stands otherwise at {twice.origin}, which counts")

    def _note(self, saved: Saved) -> None:
        if saved.ended:
            self._ended.add(saved.row["id"])
        if saved.noun == "messages" and saved.row["kind"] == "message":
            self._staging.attach(saved.row["thread_id"], attached_files(saved.row["body"]))

    # --- writing

    def write(self) -> None:
        """Write what was gathered, parents first."""
        with progress(counts=True) as begin:
            advance = begin("writing", self._staging.count())
            for noun in _ORDER:
                for staged in self._staging.chunks(noun, _BATCH):
                    self._write(noun, staged)
                    advance(len(staged))
                if noun == "threads":
                    self._make_threads()

    def _make_threads(self) -> None:
        """Threads that are given by what is in them only; the files that their messages attach are theirs."""
        missing = list(self._staging.missing_threads())
        for start in range(0, len(missing), _BATCH):
            part = [
                Staged(origin, "", 0, self._thread(id_, created_at))
                for id_, created_at, origin in missing[start : start + _BATCH]
            ]
            made = self._insert("threads", part, check=False)
            self.done.made += [each.row["id"] for each in made]

    def _thread(self, id_: str, created_at: int) -> Json:
        body = fields_with_files({}, self._staging.attached(id_))
        return {"id": id_, "created_at": created_at, "deleted": False, "body": body}

    def _write(self, noun: Noun, staged: Sequence[Staged]) -> None:
        if noun == "files":
            staged = [each for each in staged if self._has_bytes(each)]
        for each in self._insert(noun, staged):
            word = _word(noun, each.row)
            self.done.taken[word] = self.done.taken.get(word, 0) + 1
            if each.row["id"] in self._ended:
                self.done.ended.append(each.row["id"])

    def _insert(self, noun: Noun, staged: Sequence[Staged], *, check: bool = True) -> list[Staged]:
        """Write a batch; those that are new."""
        done = transact(self._url, partial(self._sort, noun=noun, staged=staged), write=not self._dry_run)
        for each, why in done.refused:
            self._refuse(f"{each.origin}: {each.row['id']}", why)
        if check:
            self.done.there += done.there
            self.done.kept += done.kept
        return done.new

    def _sort(self, db: Connection, *, noun: Noun, staged: Sequence[Staged]) -> _Sorted:
        """In one transaction: what of a batch is there, what is to be refused, and the rest written."""
        done = _Sorted()
        there = bulk.there(db, noun, self._namespace, [each.row["id"] for each in staged])
        parents = self._parents(db, noun, staged)
        if noun == "messages":
            self._look_at_threads(db, staged)
        holding: set[str] = set()
        for each in staged:
            known = there.get(each.row["id"])
            if known is not None:
                done.compare(each, known)
                continue
            why = self._trouble(db, noun, each, parents, holding)
            if why is None:
                done.new.append(each)
            else:
                done.refused.append((each, why))
        if not self._dry_run:
            bulk.add_all(db, noun, [{**each.row, "namespace": self._namespace} for each in done.new])
        return done

    def _parents(self, db: Connection, noun: Noun, staged: Sequence[Staged]) -> set[str]:
        """The threads or runs of a batch that are there, or would be."""
        if noun not in _PARENT:
            return set()
        above, column, _ = _PARENT[noun]
        ids = sorted({each.row[column] for each in staged})
        rows = bulk.there(db, above, self._namespace, ids)
        known = {id_ for id_, row in rows.items() if not row["deleted"]}
        if self._dry_run:
            given = {id_ for id_ in ids if self._staging.ordinal(above, id_) is not None} | {*self.done.made}
            known |= given - rows.keys()
        return known

    def _trouble(self, db: Connection, noun: Noun, each: Staged, parents: set[str], holding: set[str]) -> str | None:
        if noun in _PARENT:
            _, column, word = _PARENT[noun]
            if each.row[column] not in parents:
                return f"its {word} {each.row[column]} is not given, and not in the store or deleted there"
        if noun == "messages" and self._is_late(each):
            return "the store has later ones of its thread: import a thread's messages together, before it goes on"
        if noun == "runs" and each.row["status"] in ACTIVE:
            thread_id = each.row["thread_id"]
            if thread_id in holding or queries.active_run(db, self._namespace, thread_id) is not None:
                return f"it is {each.row['status']}, and its thread has another active run"
            holding.add(thread_id)
        return None

    def _look_at_threads(self, db: Connection, staged: Sequence[Staged]) -> None:
        """Remember of each thread that is new here what its last entry in the store is: its place, and its time.

        The place is that in the order of what was given, the time that of what was not given.
        """
        ids = sorted({each.row["thread_id"] for each in staged} - self._latest.keys())
        self._latest.update((id_, (0, 0)) for id_ in ids)
        for thread_id, id_, created_at in bulk.entries_of(db, self._namespace, ids) if ids else ():
            ordinal, latest = self._staging.ordinal("messages", id_), self._latest[thread_id]
            if ordinal is None:
                self._latest[thread_id] = (latest[0], max(latest[1], created_at))
            else:
                self._latest[thread_id] = (max(latest[0], ordinal), latest[1])

    def _is_late(self, each: Staged) -> bool:
        ordinal, created_at = self._latest[each.row["thread_id"]]
        return each.ordinal < ordinal or each.row["created_at"] < created_at

    # --- the bytes of files

    def _has_bytes(self, each: Staged) -> bool:
        """Copy the bytes that lie beside an export, before the row says that they are here."""
        row = each.row
        if row["deleted"] or not row["stored"]:
            return True
        size = row["body"]["bytes"]
        beside: Files = LocalFiles(Path(each.directory, "files"))
        if self._content.size(row["id"]) == size:
            return True
        if beside.size(row["id"]) != size:
            self._refuse(f"{each.origin}: {row['id']}", "its bytes are not beside it, in files/")
            return False
        try:
            if not self._dry_run:
                copy_bytes(beside, self._content, row, disposition(row["body"]["filename"]))
        except StoreError as error:
            self._refuse(f"{each.origin}: {row['id']}", str(error))
            return False
        return True


@dataclass
class _Sorted:
    """A batch, sorted."""

    new: list[Staged] = field(default_factory=list)
    there: int = 0
    kept: list[str] = field(default_factory=list)
    refused: list[tuple[Staged, str]] = field(default_factory=list)

    def compare(self, each: Staged, known: Found) -> None:
        """Count one that is there: the same, or one that has changed since, which stays as it is."""
        if (known["deleted"], known["body"]) == (each.row["deleted"], each.row["body"]):
            self.there += 1
        else:
            self.kept.append(each.row["id"])


def _word(noun: Noun, row: Json) -> str:
    if row["deleted"] or noun == "containers" or row.get("kind") == "item":
        return "other"  # what the API shows nobody
    return _WORDS.get(noun, noun)


def _named(place: str, value: Any) -> str:
    """A place with the id that stands there, if it is one."""
    id_ = value.get("id") if isinstance(value, dict) else None
    is_plain = isinstance(id_, str) and id_.isascii() and id_.isprintable() and len(id_) <= 256  # noqa: PLR2004
    return f"{place}: {id_}" if is_plain else place


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
