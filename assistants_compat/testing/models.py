"""The Models API: the list, as the key may use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchange import Answer
from .response_objects import SNAPSHOTS

if TYPE_CHECKING:
    from .exchange import Request
    from .state import State

_CREATED = 1_686_935_002  # of the description's example; the real values differ


def list_models(_state: State, _request: Request) -> Answer:
    """`{object, data}`, not paged (spec): the names that the recordings ask for, and their snapshots."""
    names = [name for pair in SNAPSHOTS.items() for name in pair]
    data = [{"id": name, "object": "model", "created": _CREATED, "owned_by": "openai"} for name in names]
    return Answer.of_json({"object": "list", "data": data})
