"""Files that a container holds and no citation speaks of: linked or forgotten, none is lost.

The service cites what a model links, as far as was ever recorded; forums report links without a citation, and files
that were made and never mentioned.  A message item gets the citations that it lacks, and is then read like any other:
one whose link stands in the text becomes a `file_path` annotation, one without a link an attachment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..wire.objects import Json, objects
from .citations import LINK_ROOT, Span, is_container_citation, is_shown_image, link_of, span_of_citation

_ROOT = "/mnt/data/"

Place = tuple[str, str]
"""A container's id and the id of a file in it."""


def has_links(items: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the text of an output item links a file of a container."""
    parts = (part for item in items for part in objects(item.get("content")))
    return any(LINK_ROOT in str(part.get("text") or "") for part in parts)


def containers_of(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """The containers that the Code Interpreter calls among output items ran in."""
    calls = (item for item in items if item.get("type") == "code_interpreter_call")
    return list(dict.fromkeys(call["container_id"] for call in calls if isinstance(call.get("container_id"), str)))


def made_files(listed: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Of a container's files (`{"id", "container_id", "path", "bytes", "source"}`, spec) those that the model made."""
    return [dict(file) for file in listed if file.get("source") == "assistant" and isinstance(file.get("path"), str)]


def place_of(file: Mapping[str, Any]) -> Place:
    """Where a listed file is, as a citation of it says."""
    return str(file.get("container_id")), str(file.get("id"))


def place_of_citation(annotation: Mapping[str, Any]) -> Place:
    """Where a cited file is."""
    return str(annotation.get("container_id")), str(annotation.get("file_id"))


def _name_of(file: Mapping[str, Any]) -> str:
    return str(file["path"]).removeprefix(_ROOT)


def citation_of(file: Mapping[str, Any], span: Span | None = None) -> Json:
    """A citation as the service would have made it; without a span, of a file that is not linked.

    One of an earlier run keeps the id that it was given then, as `ours`.
    """
    container_id, file_id = place_of(file)
    start, end = span or (None, None)
    return {
        "type": "container_file_citation",
        "container_id": container_id,
        "file_id": file_id,
        "filename": _name_of(file),
        "start_index": start,
        "end_index": end,
        **({"ours": file["ours"]} if "ours" in file else {}),
    }


def with_links(item: Mapping[str, Any], files: list[Json]) -> Json:
    """The message item, with a citation for each link to one of these files that has none."""
    content = [
        _cited(part, files) if part.get("type") == "output_text" else part for part in objects(item.get("content"))
    ]
    return {**item, "content": content}


def _cited(part: Json, files: list[Json]) -> Json:
    text, annotations = str(part.get("text") or ""), objects(part.get("annotations"))
    taken: list[Span] = []
    for annotation in filter(is_container_citation, annotations):
        span = None if is_shown_image(annotation) else span_of_citation(text, annotation, taken)
        taken += [] if span is None else [span]
    added: list[Json] = []
    for file in files:
        while (span := link_of(text, _name_of(file), taken)) is not None:
            taken.append(span)
            added.append(citation_of(file, span))
    return {**part, "annotations": [*annotations, *sorted(added, key=lambda each: each["start_index"])]}


def with_rest(item: Mapping[str, Any], files: list[Json], known: Collection[Place], shown: Collection[int]) -> Json:
    """The message item, with a citation for each file that is neither `known` nor cited here.

    An image of just as many bytes as one that was `shown` is that one: the service keeps both.
    """
    content = list(item.get("content") or [])
    places = [n for n, part in enumerate(content) if isinstance(part, dict) and part.get("type") == "output_text"]
    if not places:
        return dict(item)
    cited = {
        place_of_citation(annotation)
        for place in places
        for annotation in filter(is_container_citation, objects(content[place].get("annotations")))
    }
    rest = [citation_of(file) for file in unknown_files(files, {*known, *cited}, shown)]
    last = content[places[-1]]
    content[places[-1]] = {**last, "annotations": [*objects(last.get("annotations")), *rest]}
    return {**item, "content": content}


def unknown_files(files: list[Json], known: Collection[Place], shown: Collection[int]) -> list[Json]:
    """Those that are neither known nor a picture that was shown."""
    return [
        file
        for file in files
        if place_of(file) not in known and not (_is_image(str(file["path"])) and file.get("bytes") in shown)
    ]


def _is_image(path: str) -> bool:
    return path.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"))
