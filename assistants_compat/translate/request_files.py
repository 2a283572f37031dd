"""What a request names that its caller may have deleted: files of the user in a container, and vector stores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ..wire.objects import Json
from .request import container_of_request, request_in_container, vector_store_ids_of_request

# No source has the texts for a file or vector store that was deleted (a live check asks for them). So an error counts
# if it names an id that was sent and says that there is no such object.
_NOT_FOUND = 404
_GONE_STATUSES = (400, _NOT_FOUND)
_FILE_STATUSES = (*_GONE_STATUSES, 422)
_GONE_WORDS = re.compile(r"no such|not found|not exist|could(?: not|n't) (?:find|be found)|deleted", re.IGNORECASE)


class MissingObject(NamedTuple):
    """An object that a request names and the upstream no longer has."""

    kind: Literal["file", "vector_store"]
    id: str


def missing_object_of(request: Mapping[str, Any], status: int | None, error: object) -> MissingObject | None:
    """Return the file in the request's new container, or the vector store, that an error says is gone; else None."""
    if (file_id := missing_file_of(container_file_ids(request), status, error)) is not None:
        return MissingObject("file", file_id)
    store_id = missing_file_of(vector_store_ids_of_request(request), status, error)
    return None if store_id is None else MissingObject("vector_store", store_id)


def may_concern_files(status: int | None, error: object) -> bool:
    """Whether an error may be about a file that no longer exists, whatever its words."""
    if not isinstance(error, Mapping) or status not in (None, *_FILE_STATUSES):
        return False
    return status == _NOT_FOUND or "file" in _words_of(error).lower()


def names_file_ids(error: Mapping[str, Any]) -> bool:
    """Whether an error is about the parameter `file_ids`, whatever else its words are like."""
    return "file_ids" in _words_of(error)


def _words_of(error: Mapping[str, Any]) -> str:
    return f"{error.get('param')} {error.get('message')}"


def container_file_ids(request: Mapping[str, Any]) -> list[str]:
    """Return the files of a request's new container, by their ids upstream."""
    container = container_of_request(request)
    return list(container.get("file_ids") or ()) if isinstance(container, dict) else []


def missing_file_of(ids: Iterable[str], status: int | None, error: object) -> str | None:
    """Return the one of these ids that an error says is gone; a failed response has no status.

    A 404 that names it needs no other words.
    """
    if not isinstance(error, Mapping) or status not in (None, *_GONE_STATUSES):
        return None
    message = str(error.get("message"))
    if status != _NOT_FOUND and not _GONE_WORDS.search(message):
        return None
    return next((id_ for id_ in ids if re.search(rf"(?<![\w-]){re.escape(id_)}(?![\w-])", message)), None)


def without_object(request: Mapping[str, Any], missing: MissingObject) -> Json:
    """Return the request without an object that is gone."""
    if missing.kind == "vector_store":
        return without_vector_store(request, missing.id)
    return without_container_file(request, missing.id)


def without_container_file(request: Mapping[str, Any], file_id: str) -> Json:
    """Return the request without a file of its new container; a request in an existing container stays as it is."""
    container = container_of_request(request)
    if not isinstance(container, dict):
        return dict(request)
    return request_in_container(request, without_file(container, file_id))


def without_file(container: Mapping[str, Any], file_id: str) -> Json:
    """Return the settings of a new container without one of its files."""
    file_ids = [id_ for id_ in container.get("file_ids") or () if id_ != file_id]
    other_settings = {key: value for key, value in container.items() if key != "file_ids"}
    # In the place where it was: users' cassettes may match request bodies as text.
    return {"type": "auto", **({"file_ids": file_ids} if file_ids else {}), **other_settings}


def without_vector_store(request: Mapping[str, Any], store_id: str) -> Json:
    """Return the request without a vector store, and without file search if that was its last one."""
    tools = [
        {**tool, "vector_store_ids": [id_ for id_ in tool["vector_store_ids"] if id_ != store_id]}
        if "vector_store_ids" in tool
        else tool
        for tool in request.get("tools") or ()
    ]
    tools = [tool for tool in tools if tool.get("vector_store_ids", True)]
    body = {**request, "tools": tools}
    if any(tool["type"] == "file_search" for tool in tools):
        return body
    include = [value for value in body.get("include", ()) if not value.startswith("file_search_call")]
    body.update({"include": include} if include else {})
    dropped = {"include"} if not include else set[str]()
    if body.get("tool_choice") == {"type": "file_search"}:
        dropped.add("tool_choice")
    # The upstream refuses both without tools.
    dropped |= set() if tools else {"tools", "tool_choice", "parallel_tool_calls"}
    return {key: value for key, value in body.items() if key not in dropped}
