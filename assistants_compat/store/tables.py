"""The tables, as SQLAlchemy Core for SQLite and PostgreSQL alike.

Every object keeps its JSON in `body`; a column stands beside it only where a query needs it.  `seq` is the order of all
lists: never an id, never a timestamp in seconds.  A deleted assistant or message leaves its `seq` behind (without its
body), so that a page cursor that names it still has a place.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = 1

ACTIVE = ("queued", "in_progress", "requires_action", "cancelling")
"""The statuses in which a run holds its thread (platform.md section 12)."""

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))


def _object(name: str, *columns: Any) -> Table:
    """A table of objects: their order, tenant, id and JSON, and the columns that its queries need."""
    return Table(
        name,
        metadata,
        Column("seq", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
        Column("namespace", String, nullable=False),
        Column("id", String, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("deleted", Boolean, nullable=False, default=False, server_default=text("false")),
        Column("body", JSON, nullable=False),
        UniqueConstraint("namespace", "id", name=f"{name}_id"),
        *columns,
        sqlite_autoincrement=True,  # a seq is never used twice
    )


def _child_of(parent: str, column: str) -> tuple[Any, ...]:
    return (
        Column(column, String, nullable=False),
        ForeignKeyConstraint(["namespace", column], [f"{parent}.namespace", f"{parent}.id"], ondelete="CASCADE"),
    )


assistants = _object("assistants")
threads = _object("threads")
messages = _object(
    "messages",
    *_child_of("threads", "thread_id"),
    Column("run_id", String),
    # "message", or "item": what a run did between its messages, told to later runs and never listed.
    Column("kind", String, nullable=False, default="message", server_default="message"),
    Index("messages_of_thread", "namespace", "thread_id", "seq"),
)
runs = _object(
    "runs",
    *_child_of("threads", "thread_id"),
    Column("assistant_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # the body's own expires_at is null once the run has ended
    Column("response_id", String),  # of the upstream's latest response; never shown to a caller
    Column("request", JSON, nullable=False),  # what was sent upstream, without its input
    Column("state", JSON, nullable=False, default=dict),  # what one round of the run leaves for the next; never served
    Column("lease_until", BigInteger, nullable=False, default=0),  # while somebody copies its files or streams it
    Index("runs_of_thread", "namespace", "thread_id", "seq"),
    # One active run a thread: the constraint is the lock, in both databases.
    Index(
        "one_active_run",
        "namespace",
        "thread_id",
        unique=True,
        sqlite_where=text(f"status IN {ACTIVE}"),
        postgresql_where=text(f"status IN {ACTIVE}"),
    ),
)
steps = _object(
    "steps",
    *_child_of("runs", "run_id"),
    Column("thread_id", String, nullable=False),
    Index("steps_of_run", "namespace", "run_id", "seq"),
)
# The containers that ran a thread's code: the id is the upstream's, the body what was asked for when it was made.
containers = _object(
    "containers",
    *_child_of("threads", "thread_id"),
    Column("used_at", BigInteger, nullable=False),  # it dies twenty minutes after its last use
    Index("containers_of_thread", "namespace", "thread_id", "seq"),
)
# Generated files outlive their thread and their container: no foreign key.
files = _object(
    "files",
    Column("thread_id", String),
    Column("run_id", String),
    Column("container_id", String),  # where the bytes came from, for another try while the container lives
    Column("container_file_id", String),
    Column("stored", Boolean, nullable=False, default=False),
    Column("sha256", String),
    Column("trouble", String),  # why the bytes are not here
    Index("files_of_thread", "namespace", "thread_id", "seq"),
)
