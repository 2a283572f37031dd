"""Everything that the stand-in remembers, as plain values. `wire` is always the object as it is served."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ids import Mint
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
    """A response: its last form, what it read and said, and how far it is.

    `context` is the whole conversation up to and including its output; `input_items` the same without its output.
    """

    final: Json
    input_items: list[Json]
    context: list[Json]
    events: list[Json]
    include: frozenset[str]
    polls_left: int
    reachable: bool
    finished: bool


@dataclass(slots=True)
class Conversation:
    """A conversation and its items, oldest first."""

    wire: Json
    items: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """The whole memory; `lock` is held while a request is carried out."""

    mint: Mint
    clock: Callable[[], float] = time.time
    offset: float = 0.0
    lock: threading.RLock = field(default_factory=threading.RLock)
    turns: deque[Turn] = field(default_factory=deque)
    files: dict[str, StoredFile] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    vector_stores: dict[str, VectorStore] = field(default_factory=dict)
    responses: dict[str, StoredResponse] = field(default_factory=dict)
    conversations: dict[str, Conversation] = field(default_factory=dict)

    def now(self) -> int:
        """The time in whole seconds, as every `created_at` is."""
        return int(self.clock() + self.offset)
