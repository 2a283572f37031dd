"""The Files API: uploaded files and their content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..service.file_types import ASSISTANTS_EXTENSIONS, extension_of
from .exchange import Answer, Refusal
from .multipart import read_form
from .pagination import page
from .state import StoredFile
from .table_refusals import table_refusal

if TYPE_CHECKING:
    from .exchange import Request
    from .state import Json, State

# In the order in which the recorded refusal lists them (UploadFileCanParseServiceError.json).
_UPLOAD_PURPOSES = ["fine-tune", "assistants", "batch", "user_data", "vision", "evals"]
_NOT_DOWNLOADABLE = {"assistants", "user_data"}  # platform.md section 7
_PAGE_LIMIT = 10_000


def add(state: State, filename: str, content: bytes, purpose: str, expires_at: int | None = None) -> StoredFile:
    """Add a file; the keys have the order of FileSearch.json, and it is `processed` at once, as recorded."""
    wire: Json = {
        "object": "file",
        "id": state.ids.new("file-"),
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
    """Return a file, or refuse an unknown id (Source: DownloadFileCanParseServiceError.json)."""
    if file_id not in state.files:
        message = f"No such File object: {file_id}"
        raise Refusal(404, message, param="id", extra={"detail": {"message": message, "code": None}})
    return state.files[file_id]


def create(state: State, request: Request) -> Answer:
    """Upload a file, or refuse an unknown purpose (Source: UploadFileCanParseServiceError.json)."""
    form = read_form(request)
    for name in ("file", "purpose"):
        if name not in form:
            raise Refusal(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    purpose = form["purpose"].content.decode()
    if purpose not in _UPLOAD_PURPOSES:
        message = f"'{purpose}' is not one of {_UPLOAD_PURPOSES} - 'purpose'"
        raise Refusal(400, message, param="purpose", extra={"detail": {"message": message, "code": None}})
    # A form has no nested values: the SDK puts the inner key in brackets.
    seconds = form.get("expires_after[seconds]")
    expires_at = None if seconds is None else state.now() + int(seconds.content)
    upload = form["file"]
    filename = upload.filename or "upload"
    if state.options.strict:
        _check_upload(filename, upload.content, purpose, is_azure=request.is_azure)
    return Answer.with_json(add(state, filename, upload.content, purpose, expires_at).wire)


def _check_upload(filename: str, content: bytes, purpose: str, *, is_azure: bool) -> None:
    """Refuse what the Files API does not take; that other purposes than `assistants` take any extension is assumed."""
    if is_azure and purpose == "vision":
        raise table_refusal("vision_purpose")
    if not content:
        raise table_refusal("file_empty")
    extension = extension_of(filename)
    if purpose == "assistants" and extension not in ASSISTANTS_EXTENSIONS:  # in lower case only
        raise table_refusal("file_extension", extension=extension)


def list_files(state: State, request: Request) -> Answer:
    """List files, newest first, by default 10,000 a page (Source: spec, listFiles)."""
    purpose = request.value("purpose")
    matching = (file.wire for file in state.files.values() if purpose in {None, file.wire["purpose"]})
    return page(request, matching, default_limit=_PAGE_LIMIT, max_limit=_PAGE_LIMIT)


def retrieve(state: State, _request: Request, file_id: str) -> Answer:
    """Return the file object."""
    return Answer.with_json(find(state, file_id).wire)


def delete(state: State, _request: Request, file_id: str) -> Answer:
    """Delete a file: `{object, deleted, id}` (Source: platform.md section 7)."""
    find(state, file_id)
    del state.files[file_id]
    deleted: dict[str, Any] = {"object": "file", "deleted": True, "id": file_id}
    return Answer.with_json(deleted)


def content(state: State, _request: Request, file_id: str) -> Answer:
    """Return the bytes of a file; the purposes `assistants` and `user_data` are refused.

    Source: platform.md section 7, a report.
    """
    stored = find(state, file_id)
    purpose = stored.wire["purpose"]
    if purpose in _NOT_DOWNLOADABLE:
        raise Refusal(400, f"Not allowed to download files of purpose: {purpose}")
    # Source: recordings.md section 3 (octet-stream, and the name in quotes). A header can hold only ASCII.
    name = stored.wire["filename"].encode("ascii", "replace").decode().replace('"', "'")
    headers = {
        "content-type": "application/octet-stream",
        "content-disposition": f'attachment; filename="{name}"',
    }
    return Answer(200, stored.content, headers)
