"""Threads and messages that a caller gives, into the store: for threads, messages and runs alike."""

from __future__ import annotations

from .io import IO
from .store import queries
from .store.engine import Connection
from .store.queries import Found
from .translate.thread import attached_files, fields_with_files, message_from_request
from .wire import Json


def add_thread(io: IO, db: Connection, thread_id: str, given: Json, now: int) -> Found:
    """Insert a thread with its first messages."""
    fields = {key: value for key, value in given.items() if key != "messages"}
    row = {"namespace": io.settings.namespace, "id": thread_id, "created_at": now, "body": fields}
    queries.add(db, "threads", [row])
    add_messages(io, db, row, given.get("messages") or [], now)
    return row


def add_messages(io: IO, db: Connection, thread: Found, given: list[Json], now: int) -> list[str]:
    """Insert messages that a caller gave; files attached for the code interpreter join the thread's."""
    ids = insert_messages(io, db, thread, given, now)
    join_files(db, thread, [file_id for entry in given for file_id in attached_files(entry)])
    return ids


def join_files(db: Connection, thread: Found, files: list[str]) -> None:
    """Let files join the code interpreter's files of a thread."""
    if files:
        thread["body"] = fields_with_files(thread["body"], files)
        queries.change(db, "threads", thread["namespace"], thread["id"], body=thread["body"])


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
