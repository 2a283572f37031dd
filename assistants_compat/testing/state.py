"""Everything that the stand-in remembers, as plain values. `wire` is always the object as the API serves it."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ids import IdGenerator
    from .turns import Turn

Json = dict[str, Any]


@dataclass(slots=True)
class StoredFile:
    """A file of the Files API."""

    wire: Json
    content: bytes


@dataclass(slots=True)
class ContainerFile:
    """A file in a container."""

    wire: Json
    content: bytes


@dataclass(slots=True)
class Container:
    """A Code Interpreter container and its files by id."""

    wire: Json
    files: dict[str, ContainerFile] = field(default_factory=dict)


@dataclass(slots=True)
class VectorStore:
    """A vector store, its file objects and its batches by id."""

    wire: Json
    files: dict[str, Json] = field(default_factory=dict)
    batches: dict[str, Json] = field(default_factory=dict)


@dataclass(slots=True)
class StoredResponse:
    """A response: its `final` object, its input, its stream and its progress.

    - `input_items`: all items that the model read, including those of earlier turns; `context` adds its output.
    - `polls_left`: how many more polls of a background response return `in_progress`.
    - `reachable`: whether the response can be retrieved by its id, and `expires_at` until when, or None.
    """

    final: Json
    input_items: list[Json]
    context: list[Json]
    events: list[Json]
    include: frozenset[str]
    polls_left: int
    reachable: bool
    finished: bool
    expires_at: int | None = None


@dataclass(slots=True)
class Conversation:
    """A conversation and its items, oldest first."""

    wire: Json
    items: list[Json] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class KnownItem:
    """An output item: its response, whether the service keeps it, and the id of the reasoning right before it."""

    response_id: str
    is_kept: bool
    reasoning: str | None


@dataclass(slots=True)
class State:
    """All state of a stand-in; a request holds `lock` until it is answered."""

    ids: IdGenerator
    clock: Callable[[], float] = time.time
    offset: float = 0.0
    lock: threading.RLock = field(default_factory=threading.RLock)
    turns: deque[Turn] = field(default_factory=deque)
    files: dict[str, StoredFile] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    vector_stores: dict[str, VectorStore] = field(default_factory=dict)
    responses: dict[str, StoredResponse] = field(default_factory=dict)
    conversations: dict[str, Conversation] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    items: dict[str, KnownItem] = field(default_factory=dict)
    encrypted: dict[str, str] = field(default_factory=dict)  # the model of each encrypted reasoning

    def now(self) -> int:
        """Return the time in whole seconds, like every `created_at`."""
        return int(self.clock() + self.offset)
