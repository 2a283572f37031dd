"""What saved objects and the columns of their rows must be, as checks.

Only what the store and later runs rely on is asked for: the old API's objects changed over the years, and keys that
nobody knows are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...errors import ApiError
from ...translate.run import MOVES
from ...wire.checks import Check, array, boolean, choice, mapping, metadata, nullable, number, string, wrong_type

Noun = Literal["assistants", "threads", "messages", "runs", "steps", "files", "containers"]

_TOP = 2**53  # of whole numbers: more is no time, and a database has no room for it


def plain(value: Any, place: str) -> None:
    """An id as a database takes it."""
    string(least=1, most=256)(value, place)
    if not (value.isascii() and value.isprintable()):
        message = f"Invalid '{place}': an id has printable ASCII characters only."
        raise ApiError(400, message)


def _words(value: Any, place: str) -> None:
    string()(value, place)
    try:
        kept = value.encode()
    except UnicodeEncodeError:  # half a surrogate
        kept = b"\0"
    if b"\0" in kept:  # which no column of PostgreSQL takes
        message = f"Invalid '{place}': it holds what is no text."
        raise ApiError(400, message)


def having(keys: Mapping[str, Check], *required: str) -> Check:
    """An object with these keys at least, known ones checked."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(place, "an object", value)
        for key in required:
            if key not in value:
                where = f"{place}.{key}" if place else key
                message = f"Missing: '{where}'."
                raise ApiError(400, message)
        for key, entry in value.items():
            if key in keys:
                keys[key](entry, f"{place}.{key}" if place else key)

    return check


def _by_type(kinds: Mapping[str, Check]) -> Check:
    tag = having({"type": choice(*kinds)}, "type")

    def check(value: Any, place: str) -> None:
        tag(value, place)
        kinds[value["type"]](value, place)

    return check


TIME = number(least=0, most=_TOP, whole=True)
_times = {key: nullable(TIME) for key in ("started_at", "expires_at", "cancelled_at", "failed_at", "completed_at")}
NAMED = {"id": plain, "created_at": TIME, "metadata": nullable(metadata)}
_objects = array(mapping)
_id = string(least=1)

_offset = number(whole=True)
_note = having({"start_index": _offset, "end_index": _offset, "type": string()}, "type")
_citation = having({}, "start_index", "end_index")


def _annotation(value: Any, place: str) -> None:
    _note(value, place)
    if value["type"] == "file_citation":  # its marker is cut out of what later runs are told
        _citation(value, place)


_text = having({"value": string(), "annotations": array(_annotation)}, "value", "annotations")
_block = _by_type(
    {
        "text": having({"text": _text}, "text"),
        "refusal": having({"refusal": string()}, "refusal"),
        "image_file": having({"image_file": having({"file_id": _id, "detail": string()}, "file_id")}, "image_file"),
        "image_url": having({"image_url": having({"url": _id, "detail": string()}, "url")}, "image_url"),
    }
)
_tool = having({"type": string()}, "type")
_attachment = having({"file_id": _id, "tools": nullable(array(_tool))})
_IN_THREAD = {**NAMED, "thread_id": plain, "assistant_id": nullable(string()), "run_id": nullable(plain)}
MESSAGE = having(
    {
        **_IN_THREAD,
        "role": choice("user", "assistant"),
        "status": choice("in_progress", "completed", "incomplete"),
        "content": array(_block),
        "attachments": nullable(array(_attachment)),
        "file_ids": array(_id),
    },
    *("id", "created_at", "thread_id", "role", "content"),
)
RUN = having(
    {
        **_IN_THREAD,
        **_times,
        "assistant_id": plain,
        "status": choice(*MOVES),
        "model": string(),
        "tools": array(_tool),
        "required_action": nullable(mapping),
        "usage": nullable(mapping),
    },
    *("id", "created_at", "thread_id", "assistant_id", "status", "model"),
)
_call = having({"type": string(), "file_search": mapping}, "type")
STEP = having(
    {
        **_IN_THREAD,
        **_times,
        "run_id": plain,
        "type": choice("message_creation", "tool_calls"),
        "status": choice("in_progress", "cancelled", "failed", "completed", "expired"),
        "step_details": having({"type": string(), "tool_calls": array(_call)}, "type"),
        "usage": nullable(mapping),
    },
    *("id", "created_at", "thread_id", "run_id", "type", "status", "step_details"),
)
FILE = having(
    {"id": plain, "created_at": TIME, "bytes": TIME, "filename": string(), "status_details": nullable(_words)},
    *("id", "created_at", "bytes", "filename"),
)
ITEM = having({**_IN_THREAD, "items": _objects, "until": nullable(TIME)}, "id", "created_at", "thread_id", "items")
CONTAINER = having(
    {**_IN_THREAD, "used_at": TIME, "wanted": mapping}, "id", "created_at", "thread_id", "used_at", "wanted"
)

_string_or_null = nullable(plain)
# The columns of each table, in which order they are written, and what they must be.
_REFERENCE = {"thread_id": plain, "run_id": _string_or_null}
_EVERY: Mapping[str, Check] = {"created_at": TIME, "deleted": boolean, "body": mapping}
COLUMNS: Mapping[Noun, Mapping[str, Check]] = {
    "assistants": _EVERY,
    "threads": _EVERY,
    "messages": {**_EVERY, **_REFERENCE, "kind": choice("message", "item")},
    "runs": {
        **_EVERY,
        "thread_id": plain,
        "assistant_id": plain,
        "status": choice(*MOVES),
        "expires_at": TIME,
        "response_id": _string_or_null,
        "request": mapping,
        "state": having({}, "usage", "sent", "cuts", "plain"),
    },
    "steps": {**_EVERY, "thread_id": plain, "run_id": plain},
    "containers": {**_EVERY, "thread_id": plain, "used_at": TIME},
    "files": {
        **_EVERY,
        "thread_id": _string_or_null,
        "run_id": _string_or_null,
        "container_id": _string_or_null,
        "container_file_id": _string_or_null,
        "stored": boolean,
        "sha256": _string_or_null,
        "trouble": nullable(_words),
    },
}
