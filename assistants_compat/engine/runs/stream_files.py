"""The generated files of a streamed run: which containers to list before a message ends, and when to report a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...translate.outcome import GeneratedFile
from ...translate.run_events import END_EVENTS, RunEvents
from ...translate.unlisted_files import NOT_LISTED, ListFailure
from ...wire.objects import Json, as_object, as_object_list
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
        try:
            found = await generated_files.list_new_files(
                io, run["id"], container_ids, assigned_ids, events.response_created_at
            )
        except BaseException:  # the stream ends here, and nobody has seen these containers
            for id_ in container_ids:
                reader.outcome.unlisted.setdefault(id_, NOT_LISTED)
            raise
        reader.set_listed(*found, container_ids)
    items = [as_object(event.get("item")), *as_object_list(as_object(event.get("response")).get("output"))]
    if thread_files := await generated_files.earlier_files(io, run, items):
        reader.thread_files = thread_files


def unlisted_containers(events: RunEvents) -> dict[str, ListFailure]:
    """Return the containers of a run that ends without its response, and that may hold files nobody has seen."""
    return {**dict.fromkeys(events.containers_to_list(_MESSAGE_END), NOT_LISTED), **events.reader.outcome.unlisted}


class FileReports:
    """Calls `on_file` once for each file that a stream has stored, and for a shown image only when it has its name.

    Its message, or the end of the response, names it; if the run ends before, the image keeps the name that it has.
    """

    def __init__(self, io: IO) -> None:
        """Nothing has been stored yet."""
        self._io = io
        self._held_rows: dict[str, Json] = {}

    async def report(self, files: Mapping[str, GeneratedFile], new_rows: Sequence[Json]) -> None:
        """Report the rows that have just been committed, and earlier ones, as far as they have their names."""
        self._held_rows.update({row["id"]: row for row in new_rows})
        waiting = {file.id for file in files.values() if file.data is not None and file.container_file_id is None}
        await self._report(files, [id_ for id_ in self._held_rows if id_ not in waiting])

    async def end(self, files: Mapping[str, GeneratedFile]) -> None:
        """Report what is left: the run has ended, or goes on without this stream."""
        await self._report(files, list(self._held_rows))

    async def _report(self, files: Mapping[str, GeneratedFile], ids: Sequence[str]) -> None:
        for id_ in ids:
            row = self._held_rows.pop(id_)
            name = files[id_].filename if id_ in files else row["body"]["filename"]
            await generated_files.report_stored(self._io, [{**row, "body": {**row["body"], "filename": name}}])
