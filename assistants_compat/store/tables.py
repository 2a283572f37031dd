"""The tables, as SQLAlchemy Core for both SQLite and PostgreSQL.

`body` holds an object's JSON; another column exists only if a query needs it. `seq` is the order of all lists, because
ids have no order and timestamps in seconds are too coarse. A deleted assistant or message keeps its row and `seq`
without its body, so that page cursors can still refer to it.
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
"""The statuses in which a run locks its thread (platform.md section 12)."""

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))


def _object(name: str, *columns: Any) -> Table:
    """A table of objects: order, tenant, id and JSON, plus the columns that its queries need."""
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
        sqlite_autoincrement=True,  # so that a seq is never reused
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
    # "message", or "item": what a run did between its messages, which later runs send upstream and no list shows.
    Column("kind", String, nullable=False, default="message", server_default="message"),
    Index("messages_of_thread", "namespace", "thread_id", "seq"),
)
runs = _object(
    "runs",
    *_child_of("threads", "thread_id"),
    Column("assistant_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # the body's own expires_at is null once the run has ended
    Column("response_id", String),  # of the latest upstream response; callers never see it
    Column("request", JSON, nullable=False),  # the upstream request without its input
    Column("state", JSON, nullable=False, default=dict),  # what a round passes to the next one; callers never see it
    Column("lease_until", BigInteger, nullable=False, default=0),  # while a process copies its files or streams it
    Index("runs_of_thread", "namespace", "thread_id", "seq"),
    # At most one active run per thread: this constraint is the lock, in both databases.
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
# The containers that ran a thread's code: `id` is the upstream's, `body` holds the options of the create request.
containers = _object(
    "containers",
    *_child_of("threads", "thread_id"),
    Column("used_at", BigInteger, nullable=False),  # it expires twenty minutes after its last use
    Index("containers_of_thread", "namespace", "thread_id", "seq"),
)
# Generated files outlive their thread and their container, so there is no foreign key.
files = _object(
    "files",
    Column("thread_id", String),
    Column("run_id", String),
    Column("container_id", String),  # the source of the bytes, for a retry while the container exists
    Column("container_file_id", String),
    Column("stored", Boolean, nullable=False, default=False),
    Column("sha256", String),
    Column("trouble", String),  # why the bytes are missing
    Index("files_of_thread", "namespace", "thread_id", "seq"),
)
