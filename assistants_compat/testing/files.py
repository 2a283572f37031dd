"""The Files API: upload, list, retrieve, delete, content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exchange import Answer, Refusal
from .multipart import parts
from .pagination import page
from .state import StoredFile

if TYPE_CHECKING:
    from .exchange import Request
    from .state import Json, State

_PURPOSES = ["fine-tune", "assistants", "batch", "user_data", "vision", "evals"]
_NOT_DOWNLOADABLE = {"assistants", "user_data"}
_LIST_DEFAULT = 10_000


def add(state: State, filename: str, content: bytes, purpose: str, expires_at: int | None = None) -> StoredFile:
    """Put a file in; keys in the order of FileSearch.json, `processed` at once as recorded."""
    wire: Json = {
        "object": "file",
        "id": state.mint.new("file-"),
        "purpose": purpose,
        "filename": filename,
        "bytes": len(content),
        "created_at": state.now(),
        "expires_at": expires_at,
        "status": "processed",
        "status_details": None,
    }
    stored = StoredFile(wire, content)
    state.files[wire["id"]] = stored
    return stored


def find(state: State, file_id: str) -> StoredFile:
    """The file, or the recorded 404 (Source: DownloadFileCanParseServiceError.json)."""
    if file_id not in state.files:
        message = f"No such File object: {file_id}"
        raise Refusal(404, message, param="id", beside={"detail": {"message": message, "code": None}})
    return state.files[file_id]


def create(state: State, request: Request) -> Answer:
    """Upload; a purpose that cannot be uploaded is refused (Source: UploadFileCanParseServiceError.json)."""
    form = parts(request)
    for name in ("file", "purpose"):
        if name not in form:
            raise Refusal(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    purpose = form["purpose"].content.decode()
    if purpose not in _PURPOSES:
        message = f"'{purpose}' is not one of {_PURPOSES} - 'purpose'"
        raise Refusal(400, message, param="purpose", beside={"detail": {"message": message, "code": None}})
    seconds = form.get("expires_after[seconds]")
    expires_at = None if seconds is None else state.now() + int(seconds.content)
    upload = form["file"]
    return Answer.of_json(add(state, upload.filename or "upload", upload.content, purpose, expires_at).wire)


def list_files(state: State, request: Request) -> Answer:
    """Newest first, 10,000 a page by default (Source: spec, listFiles)."""
    purpose = request.value("purpose")
    chosen = (file.wire for file in state.files.values() if purpose in {None, file.wire["purpose"]})
    return page(request, chosen, default=_LIST_DEFAULT, most=_LIST_DEFAULT)


def retrieve(state: State, _request: Request, file_id: str) -> Answer:
    """The file object."""
    return Answer.of_json(find(state, file_id).wire)


def delete(state: State, _request: Request, file_id: str) -> Answer:
    """`{object, deleted, id}` (Source: platform.md section 7)."""
    find(state, file_id)
    del state.files[file_id]
    gone: dict[str, Any] = {"object": "file", "deleted": True, "id": file_id}
    return Answer.of_json(gone)


def content(state: State, _request: Request, file_id: str) -> Answer:
    """The bytes; files for assistants and user data cannot be downloaded (Source: platform.md section 7, a report)."""
    stored = find(state, file_id)
    purpose = stored.wire["purpose"]
    if purpose in _NOT_DOWNLOADABLE:
        raise Refusal(400, f"Not allowed to download files of purpose: {purpose}")
    # Source: recordings.md section 3: octet-stream and the name in quotes.
    name = stored.wire["filename"].encode("ascii", "replace").decode().replace('"', "'")
    headers = {
        "content-type": "application/octet-stream",
        "content-disposition": f'attachment; filename="{name}"',
    }
    return Answer(200, stored.content, headers)
