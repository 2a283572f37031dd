"""Code Interpreter containers and their files, with their twenty idle minutes."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from . import files
from .exchange import Answer, Refusal
from .multipart import parts
from .pagination import page
from .state import Container, ContainerFile

if TYPE_CHECKING:
    from .exchange import Request
    from .state import Json, State

_IDLE = {"anchor": "last_active_at", "minutes": 20}
_TYPES = {".txt": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".png": "image/png"}


def add(state: State, name: str, body: dict[str, Any] | None = None, container_id: str | None = None) -> Container:
    """A running container; memory and network keys only where they were asked for, as recorded.

    Source: CanCreateContainer.json (all keys), CodeInterpreterToolWithContainerIdFromContainerApi.json (without).
    """
    asked = body or {}
    now = state.now()
    wire: Json = {
        "id": container_id or state.mint.new("cntr_"),
        "object": "container",
        "created_at": now,
        "status": "running",
        "expires_after": asked.get("expires_after") or dict(_IDLE),
        "last_active_at": now,
    }
    wire.update({"memory_limit": asked["memory_limit"]} if "memory_limit" in asked else {})
    wire["name"] = name
    wire.update({"network_policy": asked["network_policy"]} if "network_policy" in asked else {})
    container = Container(wire)
    for file_id in asked.get("file_ids") or []:
        copy_in(state, container, file_id)
    state.containers[wire["id"]] = container
    return container


def add_upload(state: State, container: Container, path: str, content: bytes) -> ContainerFile:
    """A file that the user brought (Source: CanUploadGetAndDeleteContainerFile.json, key order included)."""
    stored = add_made(state, container, path, content)
    stored.wire["source"] = "user"
    return stored


def add_made(
    state: State, container: Container, path: str, content: bytes, file_id: str | None = None
) -> ContainerFile:
    """A file that the model made, under a given id where a recording names it (Source: spec, `source`)."""
    wire = {
        "id": file_id or state.mint.new("cfile_"),
        "object": "container.file",
        "created_at": state.now(),
        "bytes": len(content),
        "container_id": container.wire["id"],
        "path": path,
        "source": "assistant",
    }
    stored = ContainerFile(wire, content)
    container.files[wire["id"]] = stored
    return stored


def copy_in(state: State, container: Container, file_id: str) -> ContainerFile:
    """A file of the Files API: it appears as `/mnt/data/<id>-<name>` (Source: recordings.md section 2)."""
    stored = files.find(state, file_id)
    path = f"/mnt/data/{file_id}-{stored.wire['filename']}"
    return add_upload(state, container, path, stored.content)


def is_expired(state: State, container: Container) -> bool:
    """Idle for too long; noted in its status and never undone (Source: platform.md section 6)."""
    wire = container.wire
    if state.now() - wire["last_active_at"] > wire["expires_after"]["minutes"] * 60:
        wire["status"] = "expired"
        container.files.clear()
    return bool(wire["status"] == "expired")


def find(state: State, container_id: str) -> Container:
    """The container, alive or not. The text of this 404 is recorded nowhere; it follows the one for responses."""
    if container_id not in state.containers:
        raise Refusal(404, f"Container with id '{container_id}' not found.")
    container = state.containers[container_id]
    is_expired(state, container)
    return container


def use(state: State, container_id: str) -> Container:
    """The container, refreshed; an expired one is refused.

    Source: platform.md section 4 (`Container is expired.`, a report on POST /responses). That its file endpoints say
    the same is an assumption: section 14 lists it as unknown.
    """
    container = find(state, container_id)
    if is_expired(state, container):
        raise Refusal(400, "Container is expired.")
    container.wire["last_active_at"] = state.now()
    return container


def create(state: State, request: Request) -> Answer:
    """`name` is required, `file_ids` are copied in."""
    body = request.json_object()
    return Answer.of_json(add(state, body["name"], body).wire)


def list_containers(state: State, request: Request) -> Answer:
    """Newest first, also by `name`; expired ones stay listed (Source: CanEnumerateContainers.json)."""
    name = request.value("name")
    for container in state.containers.values():
        is_expired(state, container)
    return page(request, (each.wire for each in state.containers.values() if name in {None, each.wire["name"]}))


def retrieve(state: State, _request: Request, container_id: str) -> Answer:
    """Metadata, readable after expiry too; looking at a living one refreshes it (Source: platform.md section 6)."""
    container = find(state, container_id)
    if container.wire["status"] == "running":
        container.wire["last_active_at"] = state.now()
    return Answer.of_json(container.wire)


def delete(state: State, _request: Request, container_id: str) -> Answer:
    """`{id, object, deleted}` (Source: CanCreateContainer.json)."""
    find(state, container_id)
    del state.containers[container_id]
    return Answer.of_json({"id": container_id, "object": "container.deleted", "deleted": True})


def create_file(state: State, request: Request, container_id: str) -> Answer:
    """Multipart `file`, whose name gains a hash in front (recorded), or `file_id` in either form (spec).

    The SDK sends `file_id` as JSON or, up to 1.x, as a form field.
    """
    container = use(state, container_id)
    if request.headers.get("content-type", "").startswith("multipart/"):
        form = parts(request)
        if "file_id" in form:
            return Answer.of_json(copy_in(state, container, form["file_id"].content.decode()).wire)
        if "file" not in form:
            raise Refusal(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
        name = posixpath.basename(form["file"].filename or "upload")
        path = f"/mnt/data/{state.mint.random_hex(32)}-{name}"
        return Answer.of_json(add_upload(state, container, path, form["file"].content).wire)
    return Answer.of_json(copy_in(state, container, request.json_object()["file_id"]).wire)


def list_files(state: State, request: Request, container_id: str) -> Answer:
    """Source: ContainerFileCollectionOptionsCanBeConfigured.json."""
    return page(request, (file.wire for file in use(state, container_id).files.values()))


def _file(state: State, container_id: str, file_id: str) -> ContainerFile:
    container = use(state, container_id)
    if file_id not in container.files:
        # Source: a report, sbslee/streamlit-openai#18, and openai/openai-python#2466.
        raise Refusal(404, f"File {file_id} not found on container {container_id}.")
    return container.files[file_id]


def retrieve_file(state: State, _request: Request, container_id: str, file_id: str) -> Answer:
    """The file object: no name and no purpose, only a path."""
    return Answer.of_json(_file(state, container_id, file_id).wire)


def delete_file(state: State, _request: Request, container_id: str, file_id: str) -> Answer:
    """`{id, object, deleted}` (Source: CanUploadGetAndDeleteContainerFile.json)."""
    _file(state, container_id, file_id)
    del state.containers[container_id].files[file_id]
    return Answer.of_json({"id": file_id, "object": "container.file.deleted", "deleted": True})


def file_content(state: State, _request: Request, container_id: str, file_id: str) -> Answer:
    """The bytes; `filename` is a generic word and the name stands only in `filename*` (recordings.md section 8).

    Only `file.txt` and text/plain are recorded; other endings follow the same pattern.
    """
    stored = _file(state, container_id, file_id)
    name = posixpath.basename(stored.wire["path"])
    ending = posixpath.splitext(name)[1].lower()
    disposition = f"attachment; filename=\"file{ending}\"; filename*=UTF-8''{quote(name)}"
    kind = _TYPES.get(ending, "application/octet-stream")
    return Answer(200, stored.content, {"content-type": kind, "content-disposition": disposition})
