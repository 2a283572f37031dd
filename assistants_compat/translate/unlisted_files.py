"""Files of runs whose container could not be listed in time: whose they are, and where they go once they are found.

"Could not look" is not "nothing there". So the container's row keeps a mark for each run that made files there unseen,
until a list of the container is had; `engine/runs/second_looks.py` asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..wire.objects import Json, Message, as_object, as_object_list
from .citations import file_path_annotation
from .links import links_to_paths, path_from_name
from .uncited_files import code_interpreter_attachment, version_of_file

_KEY = "unlisted"  # of a container's body: its marks, in the order of their runs
_MARK_SECONDS = 3600  # after its run a mark is looked at for this long: each look keeps a paid container alive
# Seconds to wait after the first, second, ... failed look, so that an upstream that never lists slows down no reader.
_PAUSES = (0, 0, 5, 15, 30)


@dataclass(frozen=True)
class ListFailure:
    """Why a container could not be listed, in words that continue a sentence; `is_final` if it never will be."""

    reason: str
    is_final: bool = False


NOT_LISTED = ListFailure("the run ended before it was listed")


def marks_of_container(body: Mapping[str, Any]) -> list[Json]:
    """Return the marks in a container's body: `{"run_id", "since", "at", "failures", "next_at", "reason", "final"}`.

    `since` is when the upstream began the run's response, by the clock of the upstream, if it says so. `at` and
    `next_at` are by our own clock: when the mark was made, and when the container may be looked at again.
    """
    return [dict(mark) for mark in as_object_list(body.get(_KEY))]


def open_marks(body: Mapping[str, Any], now: int) -> list[Json]:
    """Return the marks of the runs whose files may still be found."""
    return [mark for mark in marks_of_container(body) if not mark["final"] and now < mark["at"] + _MARK_SECONDS]


def describe_mark(mark: Mapping[str, Any]) -> str:
    """Return what a mark says of its run's files, in a line."""
    return f"its container could not be listed: {mark['reason']}"


def marked_body(body: Mapping[str, Any], run_id: str, failure: ListFailure, since: object, now: int) -> Json:
    """Return a container's body with a mark for this run; a mark that the run already has keeps its place."""
    marks = marks_of_container(body)
    mark = next((mark for mark in marks if mark["run_id"] == run_id), None)
    if mark is None:
        mark = {"run_id": run_id, "since": since, "at": now, "failures": 0}
        marks.append(mark)
    mark |= {"next_at": now, "reason": failure.reason, "final": failure.is_final}
    return {**body, _KEY: marks}


def body_after_failure(body: Mapping[str, Any], failure: ListFailure, now: int) -> Json:
    """Return a container's body after another look at it has failed."""
    marks = marks_of_container(body)
    for mark in marks:
        pause = _PAUSES[min(mark["failures"], len(_PAUSES) - 1)]
        mark |= {
            "failures": mark["failures"] + 1,
            "next_at": now + pause,
            "reason": failure.reason,
            "final": failure.is_final,
        }
    return {**body, _KEY: marks}


def body_without_mark(body: Mapping[str, Any], run_id: str) -> Json:
    """Return a container's body without the mark of a run whose files have been found."""
    marks = [mark for mark in marks_of_container(body) if mark["run_id"] != run_id]
    other_keys = {key: value for key, value in body.items() if key != _KEY}
    return {**other_keys, _KEY: marks} if marks else other_keys


def may_be_looked_at(body: Mapping[str, Any], now: int) -> bool:
    """Whether a container has a mark that is due."""
    return any(mark["next_at"] <= now for mark in open_marks(body, now))


def is_of_earlier_run(file: Mapping[str, Any], marks: Iterable[Mapping[str, Any]], run_id: str, since: object) -> bool:
    """Whether a listed file belongs to an earlier run with a mark, and not to the run that lists the container.

    `since` is when the response of the listing run began. Both times are by the clock of the upstream.
    """
    has_earlier_run = any(mark["run_id"] != run_id for mark in marks)
    return has_earlier_run and _is_before(file, since)


def run_of_file(file: Mapping[str, Any], marks: Sequence[Mapping[str, Any]]) -> str:
    """Return the id of the run that made a listed file: the last one that had begun when the file was created."""
    begun = [mark for mark in marks if not _is_before(file, mark["since"])]
    return str((begun or marks)[-1 if begun else 0]["run_id"])


def _is_before(file: Mapping[str, Any], since: object) -> bool:
    created_at = file.get("created_at")
    return isinstance(created_at, (int, float)) and isinstance(since, (int, float)) and created_at < since


def attach_found_files(messages: Sequence[Message], files: Iterable[tuple[Mapping[str, Any], str]]) -> None:
    """Put files that were found after the messages of their run had ended into these messages.

    Each file is a listed file and its id in this library. A message that links a file gets the annotation and the
    attachment; a file that no message links is attached to the last one. Of several files of one path, the newest has
    the link.
    """
    oldest_first = sorted(files, key=lambda pair: version_of_file(pair[0])[1] or 0)
    linking = {
        id_: [message for message in messages if _add_links(message, path_from_name(str(file["path"])), id_)]
        for file, id_ in reversed(oldest_first)
    }
    for _, id_ in oldest_first:
        for message in linking[id_] or messages[-1:]:
            message["attachments"] = [*message["attachments"], code_interpreter_attachment(id_)]


def _add_links(message: Message, path: str, file_id: str) -> bool:
    """Add an annotation for each link to a file that has none, and return whether there was one."""
    has_link = False
    for block in as_object_list(message["content"]):
        text = as_object(block.get("text"))
        annotations, value = as_object_list(text.get("annotations")), str(text.get("value") or "")
        used_starts = {annotation["start_index"] for annotation in annotations}
        new_links = [link for link in links_to_paths(value, {path}) if link.span[0] not in used_starts]
        for link in new_links:
            annotations.append(file_path_annotation(value, *link.span, file_id))
            text["annotations"], has_link = annotations, True
    return has_link
