"""The Models API: the list of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchange import Answer
from .response_objects import SNAPSHOTS

if TYPE_CHECKING:
    from .exchange import Request
    from .state import State

_CREATED = 1_686_935_002  # from the example in the OpenAPI description; real values differ


def list_models(state: State, _request: Request) -> Answer:
    """List the recorded model names and their snapshots, or the option `models`: `{object, data}`, no pages (spec)."""
    models = state.options.models
    names = [name for pair in SNAPSHOTS.items() for name in pair] if models is None else sorted(models)
    data = [{"id": name, "object": "model", "created": _CREATED, "owned_by": "openai"} for name in names]
    return Answer.with_json({"object": "list", "data": data})
