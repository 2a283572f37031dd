"""Objects as the old API served them into rows of the store, and rows into such objects.

A row has the columns of its table without `namespace` and `seq`.  An object that the store wrote has what the API had
no place for under the key `assistants_compat`: `place`, its number in the order of its table, and those columns that do
not follow from the object.  They count only while the object is what the row would be served as, so that an object that
was edited is taken as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...errors import ApiError
from ...translate.assistant import assistant_from_fields, wanted_stores
from ...translate.file import file_from_row
from ...translate.legacy_objects import assistant_fields_from_served, row_from_served
from ...translate.run import TERMINAL, moved
from ...translate.thread import thread_from_fields
from ...translate.v1_requests import understood
from ...wire import request_schemas
from ...wire.ids import may_be_ours
from ...wire.objects import Json
from . import checks
from .checks import COLUMNS, NAMED, TIME, Noun, having, plain

OURS = "assistants_compat"
ITEM, CONTAINER = f"{OURS}.item", f"{OURS}.container"


class NotTakenError(Exception):
    """The object cannot be taken; its words say why."""


class KeptUpstreamError(Exception):
    """The object is the upstream's own and still there: a file that was uploaded."""


@dataclass(frozen=True)
class Saved:
    """A row and its table; `place` is its number in the order of an export, `ended` the status that a run had lost."""

    noun: Noun
    row: Json
    place: int | None = None
    ended: str | None = None


# --- an object into a row


def _assistant_row(given: Json, _now: int) -> Json:
    having(NAMED, "id", "created_at", "model")(given, "")
    return {"body": assistant_fields(given)}


def assistant_fields(given: Mapping[str, Any]) -> Json:
    """What somebody gave who was served this assistant.

    Raises `ApiError` for what `POST /assistants` refuses, and `NotTakenError` for what only that can make.
    """
    fields = assistant_fields_from_served(given)
    request_schemas.ASSISTANT_CREATE(fields, "")
    fields = understood(fields)
    if wanted_stores(fields.get("tool_resources")):
        message = "it wants a vector store that has still to be made: make it, and name it by its id"
        raise NotTakenError(message)
    return fields


def _thread_row(given: Json, _now: int) -> Json:
    having(NAMED, "id", "created_at")(given, "")
    row = row_from_served("thread", given)
    request_schemas.THREAD_UPDATE(row["body"], "")
    return row


def _message_row(given: Json, _now: int) -> Json:
    checks.MESSAGE(given, "")
    row = row_from_served("thread.message", given)
    if "file_ids" in given:  # of the first version
        row["body"] = understood(row["body"])
        del row["body"]["file_ids"]
    if row["body"]["status"] == "in_progress":
        row["body"].update(status="incomplete", incomplete_details={"reason": "run_expired"})
    return row


def _run_row(given: Json, now: int) -> Json:
    checks.RUN(given, "")
    row = row_from_served("thread.run", given)
    if row["status"] not in TERMINAL:
        ended = _ended(row["body"], now)
        row.update(status=ended["status"], body=ended)
    return row


def _ended(run: Json, now: int) -> Json:
    """How the old API would have served an unfinished run after its time: it went on nowhere (documented: expired)."""
    if run["expires_at"] is None or run["expires_at"] > now:
        message = f"it is {run['status']}, and its time is not over: nothing here can finish it"
        raise NotTakenError(message)
    status = "cancelled" if run["status"] == "cancelling" else "expired"
    return dict(moved(run, status, run["expires_at"]))  # type: ignore[arg-type]  # a run, as far as that looks


def _step_row(given: Json, _now: int) -> Json:
    checks.STEP(given, "")
    row = row_from_served("thread.run.step", given)
    body = row["body"]
    if body["status"] == "in_progress":
        body.update(status="expired", expired_at=body["expires_at"], expires_at=None)
    return row


def _file_row(given: Json, _now: int) -> Json:
    checks.FILE(given, "")
    if not may_be_ours(given["id"]):
        raise KeptUpstreamError
    return {
        **dict.fromkeys(("thread_id", "run_id", "container_id", "container_file_id", "sha256")),
        "stored": given.get("status") == "processed",
        "trouble": given.get("status_details"),
        "body": {"filename": given["filename"], "bytes": given["bytes"]},
    }


def _item_row(given: Json, _now: int) -> Json:
    checks.ITEM(given, "")
    body = {"id": given["id"], "items": given["items"], "until": given.get("until")}
    return {"thread_id": given["thread_id"], "run_id": given.get("run_id"), "kind": "item", "body": body}


def _container_row(given: Json, _now: int) -> Json:
    checks.CONTAINER(given, "")
    return {"thread_id": given["thread_id"], "used_at": given["used_at"], "body": given["wanted"]}


def _deleted_row(given: Json, _now: int) -> Json:
    having({"id": plain}, "id")(given, "")
    message = "it says only that something was deleted"
    raise NotTakenError(message)


_FROM: Mapping[str, tuple[Noun, Callable[[Json, int], Json]]] = {
    "assistant": ("assistants", _assistant_row),
    "assistant.deleted": ("assistants", _deleted_row),
    "thread": ("threads", _thread_row),
    "thread.deleted": ("threads", _deleted_row),
    "thread.message": ("messages", _message_row),
    "thread.message.deleted": ("messages", _deleted_row),
    "thread.run": ("runs", _run_row),
    "thread.run.step": ("steps", _step_row),
    "file": ("files", _file_row),
    ITEM: ("messages", _item_row),
    CONTAINER: ("containers", _container_row),
}


def saved_from_object(given: object, now: int) -> Saved:
    """The row of an object; raises `NotTakenError` with the reason, and `KeptUpstreamError`.

    An active run of the old API can only have ended without a result since: it has expired at its `expires_at`, as a
    look at it would have shown; one whose time is not over before `now` is not taken.
    """
    if not isinstance(given, dict):
        message = "it is no object"
        raise NotTakenError(message)
    kind = given.get("object")
    if not isinstance(kind, str) or kind not in _FROM:
        message = f"its `object` is {kind!r}" if "object" in given else "it has no `object`"
        raise NotTakenError(message[:200])
    shown = {key: value for key, value in given.items() if key != OURS}
    try:
        return _with_columns(shown, given.get(OURS), now) if OURS in given else _saved(shown, now)
    except ApiError as error:
        raise NotTakenError(error.message) from None


def _saved(shown: Json, now: int) -> Saved:
    noun, row_from = _FROM[shown["object"]]
    row = row_from(shown, now)
    whole = {"id": shown["id"], "created_at": shown["created_at"], "deleted": False, **row}
    ended = shown["status"] if noun == "runs" and shown["status"] != whole["status"] else None
    return Saved(noun, whole, ended=ended)


def _with_columns(shown: Json, ours: object, now: int) -> Saved:
    noun = _FROM[shown["object"]][0]
    having({"place": TIME}, "place")(ours, OURS)
    assert isinstance(ours, dict)  # noqa: S101 - just checked
    columns = COLUMNS[noun]
    known = {key: value for key, value in ours.items() if key in columns}
    having(columns)(known, OURS)
    try:
        derived = _saved(shown, now).row
    except (NotTakenError, ApiError, KeptUpstreamError):
        if set(known) < set(columns):
            raise
        derived = {}
    plain(shown.get("id"), "id")
    row = {**derived, "id": shown["id"], **known}
    try:
        as_it_was = _shown(noun, row) == shown
    except (KeyError, TypeError, AttributeError):
        as_it_was = False
    if not as_it_was:  # it was edited
        return replace(_saved(shown, now), place=ours["place"])
    return Saved(noun, row, ours["place"])


# --- a row into an object


def object_from_saved(noun: Noun, row: Mapping[str, Any], place: int) -> Json:
    """What the old API would serve for a row, and under `assistants_compat` what does not follow from that."""
    shown = _shown(noun, row)
    try:
        derived = _saved(shown, 0).row
    except (NotTakenError, ApiError, KeptUpstreamError):
        derived = {}
    missing = object()
    hidden = {key: row[key] for key in COLUMNS[noun] if derived.get(key, missing) != row[key]}
    return {**shown, OURS: {"place": place, **hidden}}


def _shown(noun: Noun, row: Mapping[str, Any]) -> Json:
    if row["deleted"]:
        return {"id": row["id"], "object": _DELETED[noun], "deleted": True}
    return _SHOWN[noun](row)


_DELETED: Mapping[Noun, str] = {
    "assistants": "assistant.deleted",
    "threads": "thread.deleted",
    "messages": "thread.message.deleted",
    "files": "file",
}


def _shown_message(row: Mapping[str, Any]) -> Json:
    body: Json = row["body"]
    if row["kind"] == "message":
        return body
    named = {"id": row["id"], "object": ITEM, "created_at": row["created_at"], "thread_id": row["thread_id"]}
    return {**named, "run_id": row["run_id"], "items": body["items"], "until": body["until"]}


def _shown_container(row: Mapping[str, Any]) -> Json:
    named = {"id": row["id"], "object": CONTAINER, "created_at": row["created_at"], "thread_id": row["thread_id"]}
    return {**named, "used_at": row["used_at"], "wanted": row["body"]}


def _body(row: Mapping[str, Any]) -> Json:
    body: Json = row["body"]
    return body


_SHOWN: Mapping[Noun, Callable[[Mapping[str, Any]], Json]] = {
    "assistants": lambda row: dict(assistant_from_fields(row["id"], row["created_at"], row["body"])),
    "threads": lambda row: dict(thread_from_fields(row["id"], row["created_at"], row["body"], fresh=False)),
    "messages": _shown_message,
    "runs": _body,
    "steps": _body,
    "files": lambda row: dict(file_from_row(row)),
    "containers": _shown_container,
}
