"""The Containers API: Code Interpreter containers, which expire after twenty idle minutes, and their files."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from . import files
from .exchange import Answer, Refusal
from .multipart import read_form
from .pagination import page
from .state import Container, ContainerFile
from .table_refusals import table_refusal

if TYPE_CHECKING:
    from .exchange import Request
    from .state import Json, State

# Recorded (CanCreateContainer.json).
_DEFAULT_EXPIRY = {"anchor": "last_active_at", "minutes": 20}
_CONTENT_TYPES = {".txt": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".png": "image/png"}


def add_container(
    state: State, name: str, body: dict[str, Any] | None = None, container_id: str | None = None
) -> Container:
    """Add a running container; the keys for memory and network are there only if the request had them, as recorded.

    Source: CanCreateContainer.json (all keys), CodeInterpreterToolWithContainerIdFromContainerApi.json (without).
    """
    params = body or {}
    now = state.now()
    # The keys are added one after the other, because their order is the recorded one.
    wire: Json = {
        "id": container_id or state.ids.new("cntr_"),
        "object": "container",
        "created_at": now,
        "status": "running",
        "expires_after": params.get("expires_after") or dict(_DEFAULT_EXPIRY),
        "last_active_at": now,
    }
    wire.update({"memory_limit": params["memory_limit"]} if "memory_limit" in params else {})
    wire["name"] = name
    wire.update({"network_policy": params["network_policy"]} if "network_policy" in params else {})
    container = Container(wire)
    for file_id in params.get("file_ids") or []:
        copy_uploaded_file(state, container, file_id)
    state.containers[wire["id"]] = container
    return container


def add_user_file(state: State, container: Container, path: str, content: bytes) -> ContainerFile:
    """Add a file of the user (Source: CanUploadGetAndDeleteContainerFile.json, key order included)."""
    # Changed afterwards, so that `source` keeps its recorded place among the keys.
    stored = add_generated_file(state, container, path, content)
    stored.wire["source"] = "user"
    return stored


def add_generated_file(
    state: State, container: Container, path: str, content: bytes, file_id: str | None = None
) -> ContainerFile:
    """Add a file that the model generated; `file_id` is the id of a recorded file (Source: spec, `source`)."""
    wire = {
        "id": file_id or state.ids.new("cfile_"),
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


def copy_uploaded_file(state: State, container: Container, file_id: str) -> ContainerFile:
    """Copy a file of the Files API to `/mnt/data/<id>-<name>` (Source: recordings.md section 2)."""
    stored = files.find(state, file_id)
    path = f"/mnt/data/{file_id}-{stored.wire['filename']}"
    return add_user_file(state, container, path, stored.content)


def expire_if_idle(state: State, container: Container) -> bool:
    """Mark a container as expired if it was idle for too long, and return whether it is expired.

    Expiry is never undone (Source: platform.md section 6).
    """
    # No timer runs: each request checks the containers that it touches, so a test can move the clock forward.
    wire = container.wire
    if state.now() - wire["last_active_at"] > wire["expires_after"]["minutes"] * 60:
        wire["status"] = "expired"
        # The data is gone for good; only the container's own object stays readable (platform.md section 6).
        container.files.clear()
    return bool(wire["status"] == "expired")


def find(state: State, container_id: str) -> Container:
    """Return a container, expired or not. No recording has the text of this 404; it follows the one for responses."""
    if container_id not in state.containers:
        raise Refusal(404, f"Container with id '{container_id}' not found.")
    container = state.containers[container_id]
    expire_if_idle(state, container)
    return container


def use(state: State, container_id: str) -> Container:
    """Return a container and restart its idle time; refuse an expired one.

    Source: platform.md section 4 (`Container is expired.`, a report on POST /responses). The same text for the file
    endpoints is an assumption: section 14 lists it as unknown.
    """
    container = find(state, container_id)
    if expire_if_idle(state, container):
        raise table_refusal("container_gone")
    container.wire["last_active_at"] = state.now()
    return container


def use_in_response(state: State, container_id: str) -> Container:
    """Return a container for a response; the option `container_gone` is the text for one that is gone."""
    try:
        return use(state, container_id)
    except Refusal:
        text = state.options.container_gone
        if text is None:
            raise
        raise Refusal(404 if "not found" in text else 400, text) from None


def create(state: State, request: Request) -> Answer:
    """Create a container: `name` is required, and `file_ids` are copied into it."""
    body = request.json_object()
    return Answer.with_json(add_container(state, body["name"], body).wire)


def list_containers(state: State, request: Request) -> Answer:
    """List containers, newest first, optionally by `name`; expired ones stay listed.

    Source: CanEnumerateContainers.json.
    """
    name = request.value("name")
    # No request may have touched some of them since they expired.
    for container in state.containers.values():
        expire_if_idle(state, container)
    wires = [container.wire for container in state.containers.values()]
    return page(request, [wire for wire in wires if name in {None, wire["name"]}])


def retrieve(state: State, _request: Request, container_id: str) -> Answer:
    """Return a container, even an expired one; a retrieve restarts the idle time of a running one.

    Source: platform.md section 6.
    """
    container = find(state, container_id)
    if container.wire["status"] == "running":
        container.wire["last_active_at"] = state.now()
    return Answer.with_json(container.wire)


def delete(state: State, _request: Request, container_id: str) -> Answer:
    """Delete a container: `{id, object, deleted}` (Source: CanCreateContainer.json)."""
    find(state, container_id)
    # An expired container can be deleted too: it stays in the list until then (recorded).
    del state.containers[container_id]
    return Answer.with_json({"id": container_id, "object": "container.deleted", "deleted": True})


def create_file(state: State, request: Request, container_id: str) -> Answer:
    """Add a file from a multipart `file` or from a `file_id` in a form or in JSON (spec).

    The name of an uploaded file gets a hash in front (recorded). The SDK sends `file_id` as JSON or, up to 1.x, as a
    form field.
    """
    container = use(state, container_id)
    if request.headers.get("content-type", "").startswith("multipart/"):
        form = read_form(request)
        if "file_id" in form:  # the form of openai 1.x
            return Answer.with_json(copy_uploaded_file(state, container, form["file_id"].content.decode()).wire)
        if "file" not in form:
            raise Refusal(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
        name = posixpath.basename(form["file"].filename or "upload")
        path = f"/mnt/data/{state.ids.random_hex(32)}-{name}"
        return Answer.with_json(add_user_file(state, container, path, form["file"].content).wire)
    return Answer.with_json(copy_uploaded_file(state, container, request.json_object()["file_id"]).wire)


def list_files(state: State, request: Request, container_id: str) -> Answer:
    """List the files of a container (Source: ContainerFileCollectionOptionsCanBeConfigured.json)."""
    return page(request, (file.wire for file in use(state, container_id).files.values()))


def _find_file(state: State, container_id: str, file_id: str) -> ContainerFile:
    container = use(state, container_id)
    if file_id not in container.files:
        # Source of the text: reports, sbslee/streamlit-openai#18 and openai/openai-python#2466.
        raise Refusal(404, f"File {file_id} not found on container {container_id}.")
    return container.files[file_id]


def retrieve_file(state: State, _request: Request, container_id: str, file_id: str) -> Answer:
    """Return the file object, which has a path but no name and no purpose."""
    return Answer.with_json(_find_file(state, container_id, file_id).wire)


def delete_file(state: State, _request: Request, container_id: str, file_id: str) -> Answer:
    """Delete a file: `{id, object, deleted}` (Source: CanUploadGetAndDeleteContainerFile.json)."""
    _find_file(state, container_id, file_id)
    del state.containers[container_id].files[file_id]
    return Answer.with_json({"id": file_id, "object": "container.file.deleted", "deleted": True})


def file_content(state: State, _request: Request, container_id: str, file_id: str) -> Answer:
    """Return the bytes of a file.

    The header's `filename` is generic, and only `filename*` has the real name (recordings.md section 8). Only
    `file.txt` and text/plain are recorded; other extensions follow the same pattern.
    """
    stored = _find_file(state, container_id, file_id)
    name = posixpath.basename(stored.wire["path"])
    extension = posixpath.splitext(name)[1].lower()
    disposition = f"attachment; filename=\"file{extension}\"; filename*=UTF-8''{quote(name)}"
    content_type = _CONTENT_TYPES.get(extension, "application/octet-stream")
    return Answer(200, stored.content, {"content-type": content_type, "content-disposition": disposition})
