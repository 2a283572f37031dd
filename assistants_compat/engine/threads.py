"""Threads and messages that a caller gives, into the store: for threads, messages and runs alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..store import queries
from ..store.database import Connection
from ..store.queries import Found
from ..translate.assistant import file_ids, store_ids
from ..translate.thread import attached_files, fields_with_files, fields_with_store, message_from_request
from ..wire.checks import too_long
from ..wire.ids import may_be_thread
from ..wire.objects import Json
from .io import IO
from .vector_stores import Made, attach, making, searched_files, with_made_stores

T = TypeVar("T")

_MOST_FILES = 20  # of the code interpreter, a thread (spec)
_TRIES = 3


class StoreMovedError(Exception):
    """The thread has another vector store than the one that was made or extended for what a message attaches."""


async def furnished(io: IO, given: Json, made: Made) -> Json:
    """The fields of a new thread, its vector stores made: those that it wants, and that of what its messages attach."""
    fields = await with_made_stores(io, given, made, of_thread=True)
    return fields_with_store(fields, await attach(io, fields, given.get("messages") or [], made))


async def attaching(
    io: IO, given: list[Json], find: Callable[[Connection], Found], work: Callable[[Connection, Found], T]
) -> T:
    """Let what messages attach join the thread's vector store, and then do what is to be done in the store.

    `find` gives the thread, locked, and raises where the messages are refused, before anything is made upstream and
    once more afterwards; `work` gets the thread with its vector store.  A refusal takes back what was made.
    """
    left = _TRIES
    while True:
        left -= 1
        try:
            return await _attaching(io, given, find, work)
        except StoreMovedError:  # another message has made one meanwhile
            if not left:
                raise


async def _attaching(
    io: IO, given: list[Json], find: Callable[[Connection], Found], work: Callable[[Connection, Found], T]
) -> T:
    if not searched_files(given):
        return await io.write(lambda db: work(db, find(db)))
    async with making(io) as made:
        seen = await io.read(find)
        store = await attach(io, seen["body"], given, made)

        def checked(db: Connection) -> T:
            thread = find(db)
            join_store(db, thread, store_ids(seen["body"].get("tool_resources")), store)
            return work(db, thread)

        return await io.write(checked)


def join_store(db: Connection, thread: Found, seen: list[str], store: str | None) -> None:
    """Give a thread the vector store that was made for it, if it has the one that it was `seen` to have.

    Raises `StoreMovedError` if it has not.
    """
    if store_ids(thread["body"].get("tool_resources")) != seen:
        raise StoreMovedError(store)
    if store is not None:
        thread["body"] = fields_with_store(thread["body"], store)
        queries.change(db, "threads", thread["namespace"], thread["id"], body=thread["body"])


def add_thread(io: IO, db: Connection, thread_id: str, given: Json, now: int) -> Found:
    """Insert a thread with its first messages."""
    fields = {key: value for key, value in given.items() if key != "messages"}
    row = {"namespace": io.settings.namespace, "id": thread_id, "created_at": now, "body": fields}
    queries.add(db, "threads", [row])
    add_messages(io, db, row, given.get("messages") or [], now)
    return row


async def welcome(io: IO, thread_id: str) -> None:
    """Make an empty thread of an id that was never here, where the settings want that; a deleted one stays unknown."""
    if io.settings.unknown_threads != "create" or not may_be_thread(thread_id):
        return
    namespace = io.settings.namespace
    if not await io.read(lambda db: queries.has_place(db, "threads", namespace, thread_id)):
        row = {"namespace": namespace, "id": thread_id, "created_at": io.now(), "body": {}}
        await io.write(lambda db: queries.add_new(db, "threads", row))


def add_messages(io: IO, db: Connection, thread: Found, given: list[Json], now: int) -> list[str]:
    """Insert messages that a caller gave; files attached for the code interpreter join the thread's."""
    ids = insert_messages(io, db, thread, given, now)
    join_files(db, thread, [file_id for entry in given for file_id in attached_files(entry)])
    return ids


def join_files(db: Connection, thread: Found, files: list[str]) -> None:
    """Let files join the code interpreter's files of a thread."""
    if files:
        thread["body"] = with_files(thread["body"], files)
        queries.change(db, "threads", thread["namespace"], thread["id"], body=thread["body"])


def with_files(fields: Json, added: list[str]) -> Json:
    """A thread's fields after files joined its code interpreter; raises `ApiError` when they are too many."""
    joined = fields_with_files(fields, added)
    number = len(file_ids(joined.get("tool_resources")))
    if added and number > _MOST_FILES:
        raise too_long("tool_resources.code_interpreter.file_ids", _MOST_FILES, number)
    return joined


def insert_messages(io: IO, db: Connection, thread: Found, given: list[Json], now: int) -> list[str]:
    """Insert messages that a caller gave, without what they attach; their ids."""
    rows = []
    for entry in given:
        message = message_from_request(io.mint("msg"), thread["id"], now, entry)
        rows.append(
            {
                "namespace": thread["namespace"],
                "id": message["id"],
                "created_at": now,
                "thread_id": thread["id"],
                "body": message,
            }
        )
    queries.add(db, "messages", rows)
    return [row["id"] for row in rows]
