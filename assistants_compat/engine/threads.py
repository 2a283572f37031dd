"""Writes new threads and messages to the store, for the routes of threads, messages and runs.

Files that messages attach join the thread: its Code Interpreter files here, its vector store through `vector_stores`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..store import queries
from ..store.database import Connection
from ..store.queries import Row
from ..translate.assistant import file_ids, vector_store_ids
from ..translate.thread import attached_file_ids, fields_with_files, fields_with_vector_store, message_from_request
from ..wire.checks import array_too_long
from ..wire.ids import looks_like_thread_id
from ..wire.objects import Json
from .io import IO
from .vector_stores import CreatedObjects, attach_files, delete_on_failure, files_to_search, with_created_stores

T = TypeVar("T")

_MAX_CODE_FILES = 20  # Code Interpreter files of a thread (spec)
_MAX_ATTEMPTS = 3  # at attaching files to a vector store that concurrent requests keep replacing


class VectorStoreChangedError(Exception):
    """The thread's vector store changed while files were attached to the one it had before."""


async def with_vector_store(io: IO, params: Json, created: CreatedObjects) -> Json:
    """Create the vector stores that a new thread requests or its messages need, and return the thread's fields."""
    fields = await with_created_stores(io, params, created, of_thread=True)
    return fields_with_vector_store(fields, await attach_files(io, fields, params.get("messages") or [], created))


async def attach_and_write(
    io: IO, messages: list[Json], find_thread: Callable[[Connection], Row], write: Callable[[Connection, Row], T]
) -> T:
    """Add the files that messages attach to the thread's vector store, then call `write` in a write transaction.

    `find_thread` returns the locked thread, or raises if the messages are refused. It runs before anything is created
    upstream and again before the write. `write` receives the thread with its vector store. If either raises, what was
    created upstream is deleted.
    """
    attempts_left = _MAX_ATTEMPTS
    while True:
        attempts_left -= 1
        try:
            return await _attach_once(io, messages, find_thread, write)
        except VectorStoreChangedError:  # a concurrent message created one
            if not attempts_left:
                raise


async def _attach_once(
    io: IO, messages: list[Json], find_thread: Callable[[Connection], Row], write: Callable[[Connection, Row], T]
) -> T:
    if not files_to_search(messages):
        return await io.write(lambda db: write(db, find_thread(db)))
    async with delete_on_failure(io) as created:
        before = await io.read(find_thread)
        store_id = await attach_files(io, before["body"], messages, created)

        # No lock is held while the upstream works, so a concurrent request may have set another store by now.
        def write_if_unchanged(db: Connection) -> T:
            thread = find_thread(db)
            set_vector_store(db, thread, vector_store_ids(before["body"].get("tool_resources")), store_id)
            return write(db, thread)

        return await io.write(write_if_unchanged)


def set_vector_store(db: Connection, thread: Row, expected: list[str], store_id: str | None) -> None:
    """Set the vector store that was created for a thread, if any.

    Raises `VectorStoreChangedError` if the thread no longer has the `expected` vector stores.
    """
    if vector_store_ids(thread["body"].get("tool_resources")) != expected:
        raise VectorStoreChangedError(store_id)
    if store_id is not None:
        thread["body"] = fields_with_vector_store(thread["body"], store_id)
        queries.update_row(db, "threads", thread["namespace"], thread["id"], body=thread["body"])


def add_thread(io: IO, db: Connection, thread_id: str, params: Json, now: int) -> Row:
    """Insert a thread with its first messages and return its row."""
    fields = {key: value for key, value in params.items() if key != "messages"}
    row = {"namespace": io.settings.namespace, "id": thread_id, "created_at": now, "body": fields}
    queries.insert_rows(db, "threads", [row])
    add_messages(io, db, row, params.get("messages") or [], now)
    return row


async def create_thread_if_unknown(io: IO, thread_id: str) -> None:
    """Create an empty thread for an id that the store never held, if `unknown_threads="create"`.

    A deleted thread stays unknown.
    """
    if io.settings.unknown_threads != "create" or not looks_like_thread_id(thread_id):
        return
    namespace = io.settings.namespace
    # Nearly every thread is known, and a read takes no write lock. Deleted threads count as known.
    if not await io.read(lambda db: queries.cursor_exists(db, "threads", namespace, thread_id)):
        row = {"namespace": namespace, "id": thread_id, "created_at": io.now(), "body": {}}
        await io.write(lambda db: queries.insert_if_absent(db, "threads", row))


def add_messages(io: IO, db: Connection, thread: Row, messages: list[Json], now: int) -> list[str]:
    """Insert messages, add the files they attach for the Code Interpreter to the thread, and return the message ids."""
    ids = insert_messages(io, db, thread, messages, now)
    add_code_files(db, thread, [file_id for message in messages for file_id in attached_file_ids(message)])
    return ids


def add_code_files(db: Connection, thread: Row, added: list[str]) -> None:
    """Add files to the Code Interpreter files of a thread."""
    if added:
        thread["body"] = with_code_files(thread["body"], added)
        queries.update_row(db, "threads", thread["namespace"], thread["id"], body=thread["body"])


def with_code_files(fields: Json, added: list[str]) -> Json:
    """Return a thread's fields with Code Interpreter files added; raises `ApiError` if there are too many."""
    joined = fields_with_files(fields, added)
    count = len(file_ids(joined.get("tool_resources")))
    if added and count > _MAX_CODE_FILES:
        raise array_too_long("tool_resources.code_interpreter.file_ids", _MAX_CODE_FILES, count)
    return joined


def insert_messages(io: IO, db: Connection, thread: Row, messages: list[Json], now: int) -> list[str]:
    """Insert messages without adding their files to the thread, and return the message ids."""
    rows = []
    for params in messages:
        message = message_from_request(io.new_id("msg"), thread["id"], now, params)
        rows.append(
            {
                "namespace": thread["namespace"],
                "id": message["id"],
                "created_at": now,
                "thread_id": thread["id"],
                "body": message,
            }
        )
    queries.insert_rows(db, "messages", rows)
    return [row["id"] for row in rows]
