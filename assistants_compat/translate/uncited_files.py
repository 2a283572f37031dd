"""Adds citations to a message item for container files that it does not cite, so that no generated file is lost.

In every recording the service cites what the model links. Forums report links without a citation, and generated files
that are never mentioned. The added citations are then read like the service's own: a linked file becomes a `file_path`
annotation, an unlinked one an attachment. Listing the containers is I/O and happens in `engine/generated_files.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..wire.objects import Json, as_object_list
from .citations import is_container_citation, is_image, is_named_by_id, is_shown_image, span_of_citation
from .links import LINK_SCHEME, WORKING_DIRECTORY, Link, Span, links_to_paths, path_from_name

_LISTED = "listed"  # in the body of a file's row: its version

FileLocation = tuple[str, str]
"""The id of a container, and the id of a file in it."""

FileVersion = tuple[int | None, int | None]
"""The size in bytes and the time of creation, as a container lists them: one differs if a file was written again."""


def has_links(items: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the text of any output item links a container file."""
    parts = (part for item in items for part in as_object_list(item.get("content")))
    return any(LINK_SCHEME in str(part.get("text") or "") for part in parts)


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


def version_of_file(file: Mapping[str, Any]) -> FileVersion:
    """Return the version of a listed file."""
    size, created_at = file.get("bytes"), file.get("created_at")
    return size if isinstance(size, int) else None, created_at if isinstance(created_at, int) else None


def keys_of_version(version: FileVersion) -> Json:
    """Return what the body of a file's row says of its version, for `was_written_again`."""
    size, created_at = version
    return {} if version == (None, None) else {_LISTED: {"bytes": size, "created_at": created_at}}


def was_written_again(file: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Return whether a listed file is another version than the one that its row was made for.

    The row's body says how the container listed the file then. Older rows lack that; they have the size of
    what was copied, which for an image that a call showed may not be that of the file.
    """
    body, version = row["body"], version_of_file(file)
    if _LISTED in body:
        return version != version_of_file(body[_LISTED])
    is_copy = row["stored"] and str(body.get("filename")).startswith(WORKING_DIRECTORY)
    return bool(is_copy and version[0] not in {None, body["bytes"]})


def location_of_citation(annotation: Mapping[str, Any]) -> FileLocation:
    """Return the location of a cited file."""
    return str(annotation.get("container_id")), str(annotation.get("file_id"))


def _linked_name(file: Mapping[str, Any]) -> str:
    return str(file["path"]).removeprefix(WORKING_DIRECTORY)


def citation_from_file(file: Mapping[str, Any], span: Span | None = None) -> Json:
    """Return the citation that the service would have made; without a span, that of a file that is not linked.

    A file of an earlier run keeps the id that this library gave it then, under the key `generated_file_id`. The full
    path, which a citation of the service lacks, is under the key `path`.
    """
    container_id, file_id = location_of_file(file)
    # Not 0/0, which would mean an image that was shown (recordings.md section 1, case B).
    start, end = span or (None, None)
    return {
        "type": "container_file_citation",
        "container_id": container_id,
        "file_id": file_id,
        "filename": _linked_name(file),
        "path": str(file["path"]),
        "start_index": start,
        "end_index": end,
        **({"generated_file_id": file["generated_file_id"]} if "generated_file_id" in file else {}),
    }


def code_interpreter_attachment(file_id: str) -> Json:
    """Return the attachment of a generated file to a message."""
    return {"file_id": file_id, "tools": [{"type": "code_interpreter"}]}


def cite_linked_files(item: Mapping[str, Any], files: list[Json]) -> Json:
    """Return the message item with a citation added for each uncited link to one of these files, oldest first.

    Of several files of one path, the newest has the link. The citations that the service made get the `path` that the
    container lists: they name only its last part, which files in two folders may share.
    """
    paths = {location_of_file(file): str(file["path"]) for file in files if file.get("id") is not None}
    by_path: dict[str, list[Json]] = {}
    for file in files:
        by_path.setdefault(path_from_name(str(file["path"])), []).append(file)
    content = [
        _part_with_link_citations(part, paths, by_path) if part.get("type") == "output_text" else part
        for part in as_object_list(item.get("content"))
    ]
    return {**item, "content": content}


def _part_with_link_citations(part: Json, paths: Mapping[FileLocation, str], by_path: Mapping[str, list[Json]]) -> Json:
    text = str(part.get("text") or "")
    annotations = [_with_path(annotation, paths) for annotation in as_object_list(part.get("annotations"))]
    used_spans: list[Span] = []
    for annotation in filter(is_container_citation, annotations):
        span = None if is_shown_image(annotation) else span_of_citation(text, annotation, used_spans)
        used_spans += [] if span is None else [span]
    used_starts = {start for start, _ in used_spans}
    links = [link for link in links_to_paths(text, by_path) if link.span[0] not in used_starts]
    new_citations = [citation_from_file(_linked_file(text, link, by_path[link.path]), link.span) for link in links]
    # The service's own citations are in the order of the text, and so are the links.
    return {**part, "annotations": [*annotations, *new_citations]}


def _with_path(annotation: Json, paths: Mapping[FileLocation, str]) -> Json:
    path = paths.get(location_of_citation(annotation)) if is_container_citation(annotation) else None
    return annotation if path is None else {"path": path, **annotation}


def _linked_file(text: str, link: Link, files: list[Json]) -> Json:
    """Return the newest of the files whose path a link names, those of exactly its spelling first."""
    written = text[slice(*link.span)]
    return next((file for file in reversed(files) if written.endswith(str(file["path"]))), files[-1])


def cite_remaining_files(
    item: Mapping[str, Any], files: list[Json], known_locations: Collection[FileLocation], shown_sizes: Iterable[int]
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
    files: list[Json], known_locations: Collection[FileLocation], shown_sizes: Iterable[int]
) -> list[Json]:
    """Return the files that are neither at a known location nor a copy of an image that a call showed.

    The service also keeps a shown image in the container, under a name made from its id (recordings.md section 1). An
    image with such a name is taken for that copy if its size in bytes is one of `shown_sizes`, and each of those stands
    for one file. An image that the code saved under a name of its own is a file of its own.
    """
    sizes = Counter(shown_sizes)
    unknown = []
    for file in files:
        if location_of_file(file) in known_locations:
            continue
        if _may_be_copy(file) and sizes[file["bytes"]]:
            sizes[file["bytes"]] -= 1
        else:
            unknown.append(file)
    return unknown


def copies_of_shown_images(files: Iterable[Json], sizes: Mapping[str, int]) -> dict[str, Json]:
    """Return the container's copy of each image that a call showed, by the image's id; each copy is of one image.

    `files` are listed files that are not known yet, and `sizes` the images that no message cites, by id, in bytes.
    """
    copies: dict[str, Json] = {}
    for file in filter(_may_be_copy, files):
        shown = (id_ for id_, size in sizes.items() if id_ not in copies and file.get("bytes") == size)
        if (id_ := next(shown, None)) is not None:
            copies[id_] = file
    return copies


def name_of_copy(file: Mapping[str, Any]) -> str:
    """Return the name of a shown image, given the container's copy of it: as a citation has it, without a folder."""
    return str(file["path"]).rpartition("/")[2]


def _may_be_copy(file: Mapping[str, Any]) -> bool:
    """Whether a listed file may be the container's copy of an image that a call showed.

    Which image is told by its size only, because one in the output of a call has no file id (recordings.md section 2).
    """
    path = str(file["path"])
    return is_image(path) and is_named_by_id(path) and isinstance(file.get("bytes"), int)
