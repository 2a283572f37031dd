"""The Vector Stores API: stores, their files and batches, and a search by shared words.

Source: CanCreateGetAndDeleteVectorStores.json (store objects), test_openai_responses_model_file_search_tool.yaml (file
objects, `in_progress` in the answer that adds them), the spec for batches, search and contents. A file is indexed when
the next request reads its store. No recording has the text of the 404.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..service.file_types import SEARCHABLE_EXTENSIONS, extension_of
from . import files
from .exchange import Answer, Refusal
from .pagination import page
from .state import VectorStore
from .table_refusals import table_refusal

if TYPE_CHECKING:
    from .exchange import Request
    from .state import Json, State

_DAY = 86_400
# The lowest numbers that were reported: the spec has 500 and 2,000.
_MAX_NEW_STORE_FILES, _MAX_BATCH_FILES = 100, 500
# The keys of `file_counts`, in their order.
_STATUSES = ("in_progress", "completed", "failed", "cancelled")
# Source: test_openai_responses_model_file_search_tool.yaml; spec: `auto` means these sizes.
_CHUNKING = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}


def find_indexed(state: State, store_id: str) -> VectorStore:
    """Return a store after all its new files are indexed."""
    store = _find_store(state, store_id)
    for file in store.files.values():
        if file["status"] == "in_progress":
            file["status"] = "completed"
            file["usage_bytes"] = len(state.files[file["id"]].content) if file["id"] in state.files else 0
    _update_counts(state, store)
    return store


def _find_store(state: State, store_id: str) -> VectorStore:
    if store_id not in state.vector_stores:
        raise Refusal(404, f"Vector store with id '{store_id}' not found.")
    return state.vector_stores[store_id]


def _update_counts(state: State, store: VectorStore) -> None:
    wire = store.wire
    wire["file_counts"] = _file_counts(list(store.files.values()))
    wire["usage_bytes"] = sum(file["usage_bytes"] for file in store.files.values())
    is_expired = wire["expires_at"] is not None and state.now() > wire["expires_at"]
    indexing_status = "in_progress" if wire["file_counts"]["in_progress"] else "completed"
    wire["status"] = "expired" if is_expired else indexing_status


def _file_counts(store_files: list[Json]) -> Json:
    counts: Json = {status: sum(file["status"] == status for file in store_files) for status in _STATUSES}
    return {**counts, "total": len(store_files)}


def create(state: State, request: Request) -> Answer:
    """Create a store; with files it is `in_progress` in this answer."""
    body = request.json_object()
    _check_files(state, body.get("file_ids") or [], _MAX_NEW_STORE_FILES)
    now = state.now()
    wire: Json = {
        "id": state.ids.new("vs_"),
        "object": "vector_store",
        "created_at": now,
        "name": body.get("name"),
        "description": body.get("description"),
        "usage_bytes": 0,
        "file_counts": _file_counts([]),
        "status": "completed",
        "expires_after": body.get("expires_after"),
        "expires_at": _expires_at(now, body.get("expires_after")),
        "last_active_at": now,
        "metadata": body.get("metadata") or {},
    }
    store = VectorStore(wire)
    for file_id in body.get("file_ids") or []:
        _add_file(state, store, {**body, "file_id": file_id})
    _update_counts(state, store)
    state.vector_stores[wire["id"]] = store
    return Answer.with_json(wire)


def _check_files(state: State, file_ids: list[str], limit: int) -> None:
    """Refuse too many files at once, files that do not exist, and those that cannot be searched."""
    if not state.options.strict:
        return
    if len(file_ids) > limit:
        raise table_refusal("file_ids_too_many", max=limit, length=len(file_ids))
    missing = [file_id for file_id in file_ids if file_id not in state.files]
    if missing:
        raise table_refusal("files_not_found", files=", ".join(missing))
    extensions = (extension_of(state.files[file_id].wire["filename"]) for file_id in file_ids)
    wrong = sorted({f".{extension}" for extension in extensions if extension.lower() not in SEARCHABLE_EXTENSIONS})
    if wrong:
        raise table_refusal("file_not_searchable", extension=", ".join(wrong))


def _expires_at(now: int, expires_after: Json | None) -> int | None:
    return None if expires_after is None else now + int(expires_after["days"]) * _DAY


def _add_file(state: State, store: VectorStore, body: Json) -> Json:
    files.find(state, body["file_id"])
    chunking = body.get("chunking_strategy")
    wire: Json = {
        "id": body["file_id"],
        "object": "vector_store.file",
        "usage_bytes": 0,
        "created_at": state.now(),
        "vector_store_id": store.wire["id"],
        "status": "in_progress",
        "last_error": None,
        "chunking_strategy": chunking if chunking and chunking["type"] == "static" else _CHUNKING,
        "attributes": body.get("attributes") or {},
    }
    store.files[wire["id"]] = wire
    store.wire["last_active_at"] = state.now()
    return wire


def list_stores(state: State, request: Request) -> Answer:
    """List stores, newest first."""
    return page(request, [find_indexed(state, store_id).wire for store_id in state.vector_stores])


def retrieve(state: State, _request: Request, store_id: str) -> Answer:
    """Return a store."""
    return Answer.with_json(find_indexed(state, store_id).wire)


def update(state: State, request: Request, store_id: str) -> Answer:
    """Update `name`, `metadata` and `expires_after`; keys that the request lacks do not change."""
    wire = find_indexed(state, store_id).wire
    wire.update({key: value for key, value in request.json_object().items() if key in wire})
    # The anchor is the last use, not the update (`last_active_at`, the only anchor in the spec).
    wire["expires_at"] = _expires_at(wire["last_active_at"], wire["expires_after"])
    return Answer.with_json(wire)


def delete(state: State, _request: Request, store_id: str) -> Answer:
    """Delete a store: `{id, object, deleted}`; its files remain in the Files API."""
    _find_store(state, store_id)
    del state.vector_stores[store_id]
    return Answer.with_json({"id": store_id, "object": "vector_store.deleted", "deleted": True})


def create_file(state: State, request: Request, store_id: str) -> Answer:
    """Add one file to a store."""
    # Not `find_indexed`: adding a file must not finish the indexing of those that were added before.
    return Answer.with_json(_add_file(state, _find_store(state, store_id), request.json_object()))


def list_files(state: State, request: Request, store_id: str) -> Answer:
    """List the files of a store, newest first, optionally by status (`filter`)."""
    return page(request, _with_status(request, list(find_indexed(state, store_id).files.values())))


def _with_status(request: Request, store_files: list[Json]) -> list[Json]:
    status = request.value("filter")
    return [file for file in store_files if status in {None, file["status"]}]


def _find_file(state: State, store_id: str, file_id: str) -> Json:
    store_files = find_indexed(state, store_id).files
    if file_id not in store_files:
        raise Refusal(404, f"No file found with id '{file_id}' in vector store '{store_id}'.")
    return store_files[file_id]


def retrieve_file(state: State, _request: Request, store_id: str, file_id: str) -> Answer:
    """Return a file of a store."""
    return Answer.with_json(_find_file(state, store_id, file_id))


def update_file(state: State, request: Request, store_id: str, file_id: str) -> Answer:
    """Replace the attributes of a file."""
    wire = _find_file(state, store_id, file_id)
    wire["attributes"] = request.json_object().get("attributes") or {}
    return Answer.with_json(wire)


def delete_file(state: State, _request: Request, store_id: str, file_id: str) -> Answer:
    """Remove a file from a store; it remains in the Files API."""
    _find_file(state, store_id, file_id)
    del state.vector_stores[store_id].files[file_id]
    return Answer.with_json({"id": file_id, "object": "vector_store.file.deleted", "deleted": True})


def file_content(state: State, _request: Request, store_id: str, file_id: str) -> Answer:
    """Return the text of a file as one chunk (Source: spec, VectorStoreFileContentResponse)."""
    _find_file(state, store_id, file_id)
    return Answer.with_json(
        {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": _file_text(state, file_id)}],
            "has_more": False,
            "next_page": None,
        },
    )


def create_batch(state: State, request: Request, store_id: str) -> Answer:
    """Add several files from `file_ids`, or from `files` with attributes of their own."""
    store, body = _find_store(state, store_id), request.json_object()
    shared_keys = {key: value for key, value in body.items() if key not in {"file_ids", "files"}}
    entries = body.get("files") or [{**shared_keys, "file_id": file_id} for file_id in body.get("file_ids") or []]
    _check_files(state, [entry["file_id"] for entry in entries], _MAX_BATCH_FILES)
    added = [_add_file(state, store, entry) for entry in entries]
    batch: Json = {
        "id": state.ids.new("vsfb_"),
        "object": "vector_store.files_batch",
        "created_at": state.now(),
        "vector_store_id": store_id,
        "status": "in_progress",
        "file_counts": _file_counts(added),
    }
    # `ids` is ours and is removed again before the batch is served.
    store.batches[batch["id"]] = {**batch, "ids": [file["id"] for file in added]}
    return Answer.with_json(batch)


def _find_batch(store: VectorStore, batch_id: str) -> Json:
    if batch_id not in store.batches:
        raise Refusal(404, f"No batch found with id '{batch_id}'.")
    return store.batches[batch_id]


def _batch_files(store: VectorStore, batch: Json) -> list[Json]:
    # A file may have been removed from the store since.
    return [store.files[file_id] for file_id in batch["ids"] if file_id in store.files]


def _updated_batch(store: VectorStore, batch: Json) -> Json:
    counts = _file_counts(_batch_files(store, batch))
    status = "completed" if batch["status"] == "in_progress" and not counts["in_progress"] else batch["status"]
    batch.update(status=status, file_counts=counts)
    return {key: value for key, value in batch.items() if key != "ids"}


def retrieve_batch(state: State, _request: Request, store_id: str, batch_id: str) -> Answer:
    """Return a batch."""
    store = find_indexed(state, store_id)
    return Answer.with_json(_updated_batch(store, _find_batch(store, batch_id)))


def cancel_batch(state: State, _request: Request, store_id: str, batch_id: str) -> Answer:
    """Cancel the files of a batch that are not indexed yet."""
    store = _find_store(state, store_id)
    batch = _find_batch(store, batch_id)
    # The store was not read by `find_indexed`, which would have completed the files that are to be cancelled.
    for file in _batch_files(store, batch):
        if file["status"] == "in_progress":
            file["status"] = batch["status"] = "cancelled"
    return Answer.with_json(_updated_batch(store, batch))


def list_batch_files(state: State, request: Request, store_id: str, batch_id: str) -> Answer:
    """List the files of a batch."""
    store = find_indexed(state, store_id)
    return page(request, _with_status(request, _batch_files(store, _find_batch(store, batch_id))))


def search(state: State, request: Request, store_id: str) -> Answer:
    """Return the files that share words with the query, best first; the score is the share of words found."""
    body = request.json_object()
    queries = [body["query"]] if isinstance(body["query"], str) else body["query"]
    words = set(re.findall(r"\w+", " ".join(queries).lower()))
    scored = [_search_hit(state, file, words) for file in find_indexed(state, store_id).files.values()]
    hits = sorted((hit for hit in scored if hit["score"] > 0), key=lambda hit: -hit["score"])
    return Answer.with_json(
        {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": hits[: body.get("max_num_results") or 10],  # the default in the spec
            "has_more": False,
            "next_page": None,
        },
    )


def _search_hit(state: State, file: Json, words: set[str]) -> Json:
    text = _file_text(state, file["id"])
    score = len(words & set(re.findall(r"\w+", text.lower()))) / max(1, len(words))
    return {
        "file_id": file["id"],
        "filename": state.files[file["id"]].wire["filename"] if file["id"] in state.files else "",
        "score": score,
        "attributes": file["attributes"],
        "content": [{"type": "text", "text": text}],
    }


def _file_text(state: State, file_id: str) -> str:
    # A file may have been deleted from the Files API since; its entry in the store stays.
    return state.files[file_id].content.decode("utf-8", "replace") if file_id in state.files else ""
