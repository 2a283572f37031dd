"""Checks of saved objects and of the columns of their rows.

They require only what the store and later runs rely on, because the objects of the old API changed over the years.
Unknown keys are accepted and kept. Converting objects to rows is the task of `objects.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...errors import ApiError
from ...translate.run import TRANSITIONS
from ...wire.checks import Check, array, boolean, choice, mapping, metadata, nullable, number, string, wrong_type

TableName = Literal["assistants", "threads", "messages", "runs", "steps", "files", "containers"]

_MAX_INTEGER = 2**53  # a larger number is no timestamp or size, and may not fit in a database column


def check_id(value: Any, path: str) -> None:
    """Check that a value is an id that every database stores: 1 to 256 printable ASCII characters."""
    string(min_length=1, max_length=256)(value, path)
    if not (value.isascii() and value.isprintable()):
        message = f"Invalid '{path}': an id may contain printable ASCII characters only."
        raise ApiError(400, message)


def _check_text(value: Any, path: str) -> None:
    string()(value, path)
    try:
        encoded = value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        encoded = b"\0"
    if b"\0" in encoded:  # PostgreSQL stores no NUL character in a text column
        message = f"Invalid '{path}': the text contains a NUL character or a lone surrogate."
        raise ApiError(400, message)


def object_with(keys: Mapping[str, Check], *required: str) -> Check:
    """Return a check for an object that has the required keys and whose known keys pass their checks."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        for key in required:
            if key not in value:
                key_path = f"{path}.{key}" if path else key
                message = f"Missing required key: '{key_path}'."
                raise ApiError(400, message)
        for key, item in value.items():
            if key in keys:
                keys[key](item, f"{path}.{key}" if path else key)

    return check


def _choice_by_type(checks: Mapping[str, Check]) -> Check:
    check_type = object_with({"type": choice(*checks)}, "type")

    def check(value: Any, path: str) -> None:
        check_type(value, path)
        checks[value["type"]](value, path)

    return check


WHOLE_NUMBER = number(minimum=0, maximum=_MAX_INTEGER, integer=True)
_timestamps = {
    key: nullable(WHOLE_NUMBER) for key in ("started_at", "expires_at", "cancelled_at", "failed_at", "completed_at")
}
COMMON_KEYS = {"id": check_id, "created_at": WHOLE_NUMBER, "metadata": nullable(metadata)}
_objects = array(mapping)
_id = string(min_length=1)

_text_offset = number(integer=True)
_annotation = object_with({"start_index": _text_offset, "end_index": _text_offset, "type": string()}, "type")
_text = object_with({"value": string(), "annotations": array(_annotation)}, "value", "annotations")
_block = _choice_by_type(
    {
        "text": object_with({"text": _text}, "text"),
        "refusal": object_with({"refusal": string()}, "refusal"),
        "image_file": object_with(
            {"image_file": object_with({"file_id": _id, "detail": string()}, "file_id")}, "image_file"
        ),
        "image_url": object_with({"image_url": object_with({"url": _id, "detail": string()}, "url")}, "image_url"),
    }
)
_tool = object_with({"type": string()}, "type")
_attachment = object_with({"file_id": _id, "tools": nullable(array(_tool))})
_THREAD_KEYS = {**COMMON_KEYS, "thread_id": check_id, "assistant_id": nullable(string()), "run_id": nullable(check_id)}
MESSAGE = object_with(
    {
        **_THREAD_KEYS,
        "role": choice("user", "assistant"),
        "status": choice("in_progress", "completed", "incomplete"),
        "content": array(_block),
        "attachments": nullable(array(_attachment)),
        "file_ids": array(_id),
    },
    *("id", "created_at", "thread_id", "role", "content"),
)
RUN = object_with(
    {
        **_THREAD_KEYS,
        **_timestamps,
        "assistant_id": check_id,
        "status": choice(*TRANSITIONS),
        "model": string(),
        "tools": array(_tool),
        "required_action": nullable(mapping),
        "usage": nullable(mapping),
    },
    *("id", "created_at", "thread_id", "assistant_id", "status", "model"),
)
_call = object_with({"type": string(), "file_search": mapping}, "type")
STEP = object_with(
    {
        **_THREAD_KEYS,
        **_timestamps,
        "run_id": check_id,
        "type": choice("message_creation", "tool_calls"),
        "status": choice("in_progress", "cancelled", "failed", "completed", "expired"),
        "step_details": object_with({"type": string(), "tool_calls": array(_call)}, "type"),
        "usage": nullable(mapping),
    },
    *("id", "created_at", "thread_id", "run_id", "type", "status", "step_details"),
)
FILE = object_with(
    {
        "id": check_id,
        "created_at": WHOLE_NUMBER,
        "bytes": WHOLE_NUMBER,
        "filename": string(),
        "status_details": nullable(_check_text),
    },
    *("id", "created_at", "bytes", "filename"),
)
ITEM = object_with(
    {**_THREAD_KEYS, "items": _objects, "until": nullable(WHOLE_NUMBER)}, "id", "created_at", "thread_id", "items"
)
CONTAINER = object_with(
    {**_THREAD_KEYS, "used_at": WHOLE_NUMBER, "wanted": mapping}, "id", "created_at", "thread_id", "used_at", "wanted"
)

_nullable_id = nullable(check_id)
_THREAD_AND_RUN = {"thread_id": check_id, "run_id": _nullable_id}
_COMMON_COLUMNS: Mapping[str, Check] = {"created_at": WHOLE_NUMBER, "deleted": boolean, "body": mapping}
# The columns of each table with their checks, in the order in which an export writes them.
COLUMNS: Mapping[TableName, Mapping[str, Check]] = {
    "assistants": _COMMON_COLUMNS,
    "threads": _COMMON_COLUMNS,
    "messages": {**_COMMON_COLUMNS, **_THREAD_AND_RUN, "kind": choice("message", "item")},
    "runs": {
        **_COMMON_COLUMNS,
        "thread_id": check_id,
        "assistant_id": check_id,
        "status": choice(*TRANSITIONS),
        "expires_at": WHOLE_NUMBER,
        "response_id": _nullable_id,
        "request": mapping,
        "state": object_with({}, "usage", "sent", "cuts", "plain"),
    },
    "steps": {**_COMMON_COLUMNS, "thread_id": check_id, "run_id": check_id},
    "containers": {**_COMMON_COLUMNS, "thread_id": check_id, "used_at": WHOLE_NUMBER},
    "files": {
        **_COMMON_COLUMNS,
        "thread_id": _nullable_id,
        "run_id": _nullable_id,
        "container_id": _nullable_id,
        "container_file_id": _nullable_id,
        "stored": boolean,
        "sha256": _nullable_id,
        "trouble": nullable(_check_text),
    },
}
