"""Vector stores that `tool_resources.file_search.vector_stores` asks for: made upstream, served back as ids."""

from __future__ import annotations

from .io import IO, Request
from .translate.assistant import wanted_stores, with_stores
from .wire import Json


async def with_made_stores(io: IO, fields: Json) -> Json:
    """The fields of an assistant or thread, their wanted vector stores made (one POST each)."""
    wanted = wanted_stores(fields.get("tool_resources"))
    if not wanted:
        return fields
    made = [(await io.ask(Request("POST", "/vector_stores", store)))["id"] for store in wanted]
    return {**fields, "tool_resources": with_stores(fields["tool_resources"], made)}
