"""The generated files of a streamed run: which containers to list, before a message that may cite their files ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...translate.run_events import END_EVENTS, RunEvents
from ...translate.unlisted_files import NOT_LISTED, ListFailure
from ...wire.objects import as_object, as_object_list
from .. import generated_files
from ..io import IO

# The event before which the containers of all calls so far are listed.
_MESSAGE_END = {"type": "response.output_item.done", "item": {"type": "message"}}


async def list_files(
    io: IO, events: RunEvents, assigned_ids: Mapping[str, list[str]], event: Mapping[str, Any]
) -> None:
    """List the files that a message may cite, before it ends: those in its containers and the thread's own.

    A container that could not be listed is asked for again at the end of the response.
    """
    reader, run = events.reader, events.run
    container_ids = events.containers_to_list(event)
    if event["type"] in END_EVENTS:
        not_had = [id_ for id_, failure in reader.outcome.unlisted.items() if not failure.is_final]
        container_ids = list(dict.fromkeys([*container_ids, *not_had]))
    if container_ids:
        found = await generated_files.list_new_files(
            io, run["id"], container_ids, assigned_ids, events.response_created_at
        )
        reader.set_listed(*found, container_ids)
    items = [as_object(event.get("item")), *as_object_list(as_object(event.get("response")).get("output"))]
    if thread_files := await generated_files.earlier_files(io, run, items):
        reader.thread_files = thread_files


def unlisted_containers(events: RunEvents) -> dict[str, ListFailure]:
    """Return the containers of a run that ends without its response, and that may hold files nobody has seen."""
    return {**dict.fromkeys(events.containers_to_list(_MESSAGE_END), NOT_LISTED), **events.reader.outcome.unlisted}
