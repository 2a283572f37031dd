"""Converts objects as the Assistants API served them to rows of the store, and rows to such objects.

A row has the columns of its table except `namespace` and `seq`. An exported object has an extra key
`assistants_compat` with what the API has no field for: `place`, the row's number in the order of its table, and the
columns that cannot be derived from the object. These columns apply only if the object still equals what the row would
be served as. Otherwise the object was edited, and it is imported as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...errors import ApiError
from ...translate.assistant import assistant_from_fields, vector_stores_to_create
from ...translate.file import file_from_row
from ...translate.legacy_objects import assistant_fields_from_served, row_from_served
from ...translate.run import TERMINAL, run_with_status
from ...translate.thread import thread_from_fields
from ...translate.v1_requests import v2_request_from_v1
from ...wire import request_schemas
from ...wire.ids import looks_like_generated_file_id
from ...wire.objects import Json
from . import checks
from .checks import COLUMNS, COMMON_KEYS, WHOLE_NUMBER, TableName, check_id, object_with
from .sdk_dumps import object_from_dump, seconds_from_time

EXTENSION_KEY = "assistants_compat"
ITEM_OBJECT, CONTAINER_OBJECT = f"{EXTENSION_KEY}.item", f"{EXTENSION_KEY}.container"


_NO_SPAN = {"start_index": 0, "end_index": 0}  # as the service marks a citation that is not in the text


class RejectedObjectError(Exception):
    """The object cannot be imported; the message gives the reason."""


class UpstreamFileError(Exception):
    """The object is a file that was uploaded: the upstream still has it, so there is nothing to import."""


@dataclass(frozen=True)
class SavedRow:
    """A row of the store, read from a saved object."""

    table: TableName
    row: Json
    position: int | None = None  # the row's number in an export
    previous_status: str | None = None  # of a run that was unfinished when saved, and has ended by now
    moment: float | None = None  # when it was created, if that was saved more exactly than in whole seconds


# --- from objects to rows


def _assistant_row(saved: Json, _now: int) -> Json:
    object_with(COMMON_KEYS, "id", "created_at", "model")(saved, "")
    return {"body": assistant_fields(saved)}


def assistant_fields(saved: Mapping[str, Any]) -> Json:
    """Return the request fields that create this saved assistant.

    Raises `ApiError` for fields of another form than `POST /assistants` takes, and `RejectedObjectError` for a request
    to create a vector store: only `POST /assistants` itself can do that.
    """
    fields = assistant_fields_from_served(saved)
    request_schemas.ASSISTANT_SAVED(fields, "")
    fields = v2_request_from_v1(fields)
    if vector_stores_to_create(fields.get("tool_resources")):
        message = "it requests a new vector store: create the store first and name its id in `vector_store_ids`"
        raise RejectedObjectError(message)
    return fields


def _thread_row(saved: Json, _now: int) -> Json:
    object_with(COMMON_KEYS, "id", "created_at")(saved, "")
    row = row_from_served("thread", saved)
    request_schemas.THREAD_UPDATE(row["body"], "")
    return row


def _message_row(saved: Json, _now: int) -> Json:
    checks.MESSAGE(saved, "")
    row = row_from_served("thread.message", saved)
    if "file_ids" in saved:  # a message of Assistants v1
        row["body"] = v2_request_from_v1(row["body"])
        del row["body"]["file_ids"]
    for block in row["body"]["content"]:
        if block["type"] == "text":
            _add_missing_offsets(block["text"])
    if row["body"]["status"] == "in_progress":
        row["body"].update(status="incomplete", incomplete_details={"reason": "run_expired"})
    return row


def _add_missing_offsets(text: Json) -> None:
    """Give annotations that were saved without offsets those of their text, as every served annotation has them."""
    searched_to: dict[str, int] = {}
    for annotation in text["annotations"]:
        if "start_index" not in annotation or "end_index" not in annotation:
            cited = str(annotation.get("text") or "")
            start = text["value"].find(cited, searched_to.get(cited, 0)) if cited else -1
            end = start + len(cited)
            annotation.update({"start_index": start, "end_index": end} if start >= 0 else _NO_SPAN)
            searched_to[cited] = max(end, 0)


def _run_row(saved: Json, now: int) -> Json:
    checks.RUN(saved, "")
    row = row_from_served("thread.run", saved)
    if row["status"] not in TERMINAL:
        run = _end_run(row["body"], now)
        row.update(status=run["status"], body=run)
    return row


def _end_run(run: Json, now: int) -> Json:
    """Return an unfinished run as the old API would serve it after its expiry time (documented: expired)."""
    if run["expires_at"] is None or run["expires_at"] > now:
        message = f"it is {run['status']} and has not expired: a run of the old service cannot be continued here"
        raise RejectedObjectError(message)
    status = "cancelled" if run["status"] == "cancelling" else "expired"
    return dict(run_with_status(run, status, run["expires_at"]))  # type: ignore[arg-type]  # checked by checks.RUN


def _step_row(saved: Json, _now: int) -> Json:
    checks.STEP(saved, "")
    row = row_from_served("thread.run.step", saved)
    body = row["body"]
    if body["status"] == "in_progress":
        body.update(status="expired", expired_at=body["expires_at"], expires_at=None)
    return row


def _file_row(saved: Json, _now: int) -> Json:
    checks.FILE(saved, "")
    if not looks_like_generated_file_id(saved["id"]):
        raise UpstreamFileError
    return {
        **dict.fromkeys(("thread_id", "run_id", "container_id", "container_file_id", "sha256")),
        "stored": saved.get("status") == "processed",
        "trouble": saved.get("status_details"),
        "body": {"filename": saved["filename"], "bytes": saved["bytes"]},
    }


def _item_row(saved: Json, _now: int) -> Json:
    checks.ITEM(saved, "")
    body = {"id": saved["id"], "items": saved["items"], "until": saved.get("until")}
    return {"thread_id": saved["thread_id"], "run_id": saved.get("run_id"), "kind": "item", "body": body}


def _container_row(saved: Json, _now: int) -> Json:
    checks.CONTAINER(saved, "")
    return {"thread_id": saved["thread_id"], "used_at": saved["used_at"], "body": saved["wanted"]}


def _deleted_row(saved: Json, _now: int) -> Json:
    object_with({"id": check_id}, "id")(saved, "")
    message = "it only confirms a deletion, so there is nothing to import"
    raise RejectedObjectError(message)


_READERS: Mapping[str, tuple[TableName, Callable[[Json, int], Json]]] = {
    "assistant": ("assistants", _assistant_row),
    "assistant.deleted": ("assistants", _deleted_row),
    "thread": ("threads", _thread_row),
    "thread.deleted": ("threads", _deleted_row),
    "thread.message": ("messages", _message_row),
    "thread.message.deleted": ("messages", _deleted_row),
    "thread.run": ("runs", _run_row),
    "thread.run.step": ("steps", _step_row),
    "file": ("files", _file_row),
    ITEM_OBJECT: ("messages", _item_row),
    CONTAINER_OBJECT: ("containers", _container_row),
}


SAVED_KINDS = _READERS.keys()
"""The values of the key `object` that are read."""


def saved_row_from_object(saved: object, now: int) -> SavedRow:
    """Return the row of a saved object.

    What the SDK or a program changed when it saved the object is undone first (`sdk_dumps`), except in an export of
    this library. An unfinished run of the old API is imported as expired (or cancelled) at its `expires_at`, as the API
    would have served it: it cannot have produced a result since. Raises `RejectedObjectError` with the reason, also for
    a run that has not expired at `now`, and `UpstreamFileError` for an uploaded file.
    """
    if not isinstance(saved, dict):
        message = "it is not a JSON object"
        raise RejectedObjectError(message)
    kind = saved.get("object")
    if not isinstance(kind, str) or kind not in _READERS:
        message = f"its `object` is {kind!r}" if "object" in saved else "it has no key `object`"
        raise RejectedObjectError(message[:200])
    try:
        if EXTENSION_KEY in saved:
            served = {key: value for key, value in saved.items() if key != EXTENSION_KEY}
            return _row_with_columns(served, saved[EXTENSION_KEY], now)
        row = _row_from_served(object_from_dump(saved), now)
    except ApiError as error:
        raise RejectedObjectError(error.message) from None
    created_at = saved["created_at"]
    return row if type(created_at) is int else replace(row, moment=seconds_from_time(created_at))


def _row_from_served(served: Json, now: int) -> SavedRow:
    table, read_row = _READERS[served["object"]]
    row = read_row(served, now)
    full_row = {"id": served["id"], "created_at": served["created_at"], "deleted": False, **row}
    previous_status = served["status"] if table == "runs" and served["status"] != full_row["status"] else None
    return SavedRow(table, full_row, previous_status=previous_status)


def _row_with_columns(served: Json, extension: object, now: int) -> SavedRow:
    table = _READERS[served["object"]][0]
    object_with({"place": WHOLE_NUMBER}, "place")(extension, EXTENSION_KEY)
    assert isinstance(extension, dict)  # noqa: S101 - just checked
    columns = COLUMNS[table]
    extra_columns = {key: value for key, value in extension.items() if key in columns}
    object_with(columns)(extra_columns, EXTENSION_KEY)
    try:
        derived = _row_from_served(served, now).row
    except (RejectedObjectError, ApiError, UpstreamFileError):
        # An object that does not pass the checks (a deleted one, say) needs all columns in its extension.
        if set(extra_columns) < set(columns):
            raise
        derived = {}
    check_id(served.get("id"), "id")
    row = {**derived, "id": served["id"], **extra_columns}
    try:
        is_unedited = _served_object(table, row) == served
    except (KeyError, TypeError, AttributeError):
        is_unedited = False
    if not is_unedited:
        return replace(_row_from_served(served, now), position=extension["place"])
    return SavedRow(table, row, extension["place"])


# --- from rows to objects


def object_from_saved_row(table: TableName, row: Mapping[str, Any], position: int) -> Json:
    """Return a row as the old API would serve it, with the columns that cannot be derived from that.

    They are under `assistants_compat`, next to `place`, the row's number in the export.
    """
    served = _served_object(table, row)
    try:
        derived = _row_from_served(served, 0).row
    except (RejectedObjectError, ApiError, UpstreamFileError):
        derived = {}
    missing = object()  # differs from every value, None included
    extra_columns = {key: row[key] for key in COLUMNS[table] if derived.get(key, missing) != row[key]}
    return {**served, EXTENSION_KEY: {"place": position, **extra_columns}}


def _served_object(table: TableName, row: Mapping[str, Any]) -> Json:
    if row["deleted"]:
        return {"id": row["id"], "object": _DELETED_OBJECTS[table], "deleted": True}
    return _SERIALIZERS[table](row)


_DELETED_OBJECTS: Mapping[TableName, str] = {
    "assistants": "assistant.deleted",
    "threads": "thread.deleted",
    "messages": "thread.message.deleted",
    "files": "file",
}


def _served_message(row: Mapping[str, Any]) -> Json:
    body: Json = row["body"]
    if row["kind"] == "message":
        return body
    common = {"id": row["id"], "object": ITEM_OBJECT, "created_at": row["created_at"], "thread_id": row["thread_id"]}
    return {**common, "run_id": row["run_id"], "items": body["items"], "until": body["until"]}


def _served_container(row: Mapping[str, Any]) -> Json:
    common = {
        "id": row["id"],
        "object": CONTAINER_OBJECT,
        "created_at": row["created_at"],
        "thread_id": row["thread_id"],
    }
    return {**common, "used_at": row["used_at"], "wanted": row["body"]}


def _stored_object(row: Mapping[str, Any]) -> Json:
    body: Json = row["body"]
    return body


_SERIALIZERS: Mapping[TableName, Callable[[Mapping[str, Any]], Json]] = {
    "assistants": lambda row: dict(assistant_from_fields(row["id"], row["created_at"], row["body"])),
    "threads": lambda row: dict(thread_from_fields(row["id"], row["created_at"], row["body"], answers_post=False)),
    "messages": _served_message,
    "runs": _stored_object,
    "steps": _stored_object,
    "files": lambda row: dict(file_from_row(row)),
    "containers": _served_container,
}
