"""Adds citations to a message item for container files that it does not cite, so that no generated file is lost.

In every recording the service cites what the model links. Forums report links without a citation, and generated files
that are never mentioned. The added citations are then read like the service's own: a linked file becomes a `file_path`
annotation, an unlinked one an attachment. Listing the containers is I/O and happens in `engine/generated_files.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..wire.objects import Json, as_object_list
from .citations import LINK_PREFIX, Span, find_link, is_container_citation, is_shown_image, span_of_citation

_WORKING_DIRECTORY = "/mnt/data/"

FileLocation = tuple[str, str]
"""The id of a container, and the id of a file in it."""


def has_links(items: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the text of any output item links a container file."""
    parts = (part for item in items for part in as_object_list(item.get("content")))
    return any(LINK_PREFIX in str(part.get("text") or "") for part in parts)


def container_ids_from_output(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids of the containers in which the Code Interpreter calls among output items ran."""
    calls = (item for item in items if item.get("type") == "code_interpreter_call")
    return list(dict.fromkeys(call["container_id"] for call in calls if isinstance(call.get("container_id"), str)))


def files_made_by_model(files: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Return those files of a container that the model made.

    `files` is the container's list of `{"id", "container_id", "path", "bytes", "source"}` (spec).
    """
    # The user's files are in the container too, with the source `user` (recordings.md section 8).
    return [dict(file) for file in files if file.get("source") == "assistant" and isinstance(file.get("path"), str)]


def location_of_file(file: Mapping[str, Any]) -> FileLocation:
    """Return the location of a listed file."""
    return str(file.get("container_id")), str(file.get("id"))


def location_of_citation(annotation: Mapping[str, Any]) -> FileLocation:
    """Return the location of a cited file."""
    return str(annotation.get("container_id")), str(annotation.get("file_id"))


def _linked_name(file: Mapping[str, Any]) -> str:
    return str(file["path"]).removeprefix(_WORKING_DIRECTORY)


def citation_from_file(file: Mapping[str, Any], span: Span | None = None) -> Json:
    """Return the citation that the service would have made; without a span, that of a file that is not linked.

    A file of an earlier run keeps the id that this library gave it then, under the key `ours`.
    """
    container_id, file_id = location_of_file(file)
    # Not 0/0, which would mean an image that was shown (recordings.md section 1, case B).
    start, end = span or (None, None)
    return {
        "type": "container_file_citation",
        "container_id": container_id,
        "file_id": file_id,
        "filename": _linked_name(file),
        "start_index": start,
        "end_index": end,
        **({"generated_file_id": file["generated_file_id"]} if "generated_file_id" in file else {}),
    }


def cite_linked_files(item: Mapping[str, Any], files: list[Json]) -> Json:
    """Return the message item with a citation added for each uncited link to one of these files."""
    content = [
        _part_with_link_citations(part, files) if part.get("type") == "output_text" else part
        for part in as_object_list(item.get("content"))
    ]
    return {**item, "content": content}


def _part_with_link_citations(part: Json, files: list[Json]) -> Json:
    text, annotations = str(part.get("text") or ""), as_object_list(part.get("annotations"))
    used_spans: list[Span] = []
    for annotation in filter(is_container_citation, annotations):
        span = None if is_shown_image(annotation) else span_of_citation(text, annotation, used_spans)
        used_spans += [] if span is None else [span]
    new_citations: list[Json] = []
    for file in files:
        # A file may be linked more than once.
        while (span := find_link(text, _linked_name(file), used_spans)) is not None:
            used_spans.append(span)
            new_citations.append(citation_from_file(file, span))
    # The service's own citations are in the order of the text.
    return {**part, "annotations": [*annotations, *sorted(new_citations, key=lambda citation: citation["start_index"])]}


def cite_remaining_files(
    item: Mapping[str, Any], files: list[Json], known_locations: Collection[FileLocation], shown_sizes: Collection[int]
) -> Json:
    """Return the message item with a citation added for each file that is new and not cited in it.

    See `unknown_files` for which files are new. The citations go to the last text; an item without text gets none.
    """
    content = list(item.get("content") or [])
    parts = enumerate(content)
    text_indexes = [index for index, part in parts if isinstance(part, dict) and part.get("type") == "output_text"]
    if not text_indexes:
        return dict(item)
    cited_locations = {
        location_of_citation(annotation)
        for index in text_indexes
        for annotation in filter(is_container_citation, as_object_list(content[index].get("annotations")))
    }
    new_files = unknown_files(files, {*known_locations, *cited_locations}, shown_sizes)
    last_part = content[text_indexes[-1]]
    annotations = [*as_object_list(last_part.get("annotations")), *map(citation_from_file, new_files)]
    content[text_indexes[-1]] = {**last_part, "annotations": annotations}
    return {**item, "content": content}


def unknown_files(
    files: list[Json], known_locations: Collection[FileLocation], shown_sizes: Collection[int]
) -> list[Json]:
    """Return the files that are neither at a known location nor a copy of an image that a call showed.

    The service also keeps a shown image in the container. An image there is taken for that copy if its size in bytes is
    one of `shown_sizes`.
    """
    return [file for file in files if location_of_file(file) not in known_locations and not _is_copy(file, shown_sizes)]


def _is_copy(file: Json, shown_sizes: Collection[int]) -> bool:
    # By size, because an image in the output of a call has no file id (recordings.md section 2).
    return _is_image(str(file["path"])) and file.get("bytes") in shown_sizes


def _is_image(path: str) -> bool:
    return path.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"))
