"""Reads messages that applications saved in a form of their own: rows with a role, a text, and mostly a time.

The names of the keys differ between programs (`thread_id`, `threadId`, "Thread ID"), and content may have the shape of
the old API, of a request to create a message, or of an input item of the Responses API, as the migration guide's
backfill makes them. Everything here is pure.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...errors import ApiError
from ...wire.checks import metadata as check_metadata
from ...wire.objects import Json
from .sdk_dumps import object_from_dump, seconds_from_time

# For each part of a message: the names that its key may have, the likeliest first, as `_plain_name` makes them.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "thread_id": ("threadid", "openaithreadid", "thread", "conversationid", "conversation"),
    "id": ("messageid", "openaimessageid", "msgid", "id"),
    "role": ("role", "sender", "author", "from"),
    "content": ("content", "text", "message", "body"),
    "created_at": ("createdat", "timestamp", "created", "sentat", "datetime", "time", "date"),
    "run_id": ("runid", "openairunid"),
    "assistant_id": ("assistantid", "openaiassistantid"),
    "metadata": ("metadata",),
}
_PART_AND_RANK = {name: (part, rank) for part, names in _NAMES.items() for rank, name in enumerate(names)}

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "bot": "assistant"}

# Keys that hold no data of the message, or that the message's own keys repeat.
_PLAIN_KEYS = frozenset({"object", "type", "status", "incomplete_details", "incomplete_at", "completed_at"})
_KEPT_KEYS = ("attachments", "file_ids", "incomplete_details", "incomplete_at", "completed_at")
_STATUSES = ("in_progress", "completed", "incomplete")


@dataclass(frozen=True)
class AppRow:
    """A message read from a row.

    `message` has the keys of a served message, without those that the row does not tell: `id`, `thread_id` and
    `created_at` (seconds, perhaps with a fraction). `own_id` is an id of the program that is none of a message.
    `unknown_keys` are the keys with data that a message has no place for.
    """

    message: Json
    own_id: str | None
    unknown_keys: list[str]


@lru_cache(maxsize=4096)
def _plain_name(key: str) -> str:
    return re.sub(r"[^a-z]", "", key.lower())


def _parts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the row's key for each part of a message: the one with the likeliest name whose value is not empty."""
    ranked: dict[str, tuple[int, str]] = {}
    for key, value in row.items():
        part, rank = _PART_AND_RANK.get(_plain_name(key), (None, 0))
        if part is not None and value not in (None, "") and (part not in ranked or rank < ranked[part][0]):
            ranked[part] = (rank, key)
    return {part: key for part, (_, key) in ranked.items()}


def is_app_row(value: object) -> bool:
    """Whether a value is a row: an object with a role, which is a text, and a key for content, which may be empty."""
    if not isinstance(value, dict):
        return False
    key = _parts(value).get("role")
    return key is not None and isinstance(value[key], str) and has_row_keys(value)


def has_row_keys(keys: Mapping[str, Any] | list[str]) -> bool:
    """Whether these keys, or the columns of a table, include one for a role and one for content."""
    found = {_PART_AND_RANK.get(_plain_name(key), ("", 0))[0] for key in keys}
    return {"role", "content"} <= found


def row_time(value: object) -> float | None:
    """The time of a row in seconds since the epoch, or None if it has none."""
    if not isinstance(value, dict):
        return None
    key = _parts(value).get("created_at")
    return None if key is None else seconds_from_time(value[key])


def message_from_row(row: Mapping[str, Any]) -> AppRow:
    """Return the message of a row; the checks of saved objects refuse what it cannot understand."""
    parts = _parts(row)
    unknown_keys = [
        key
        for key, value in row.items()
        if key not in parts.values() and key not in _PLAIN_KEYS and key not in _KEPT_KEYS and holds_data(value)
    ]
    message: Json = {"object": "thread.message", **{key: row[key] for key in _KEPT_KEYS if row.get(key)}}
    own_id = _text(row.get(parts.get("id", "")))
    # A column `id` is mostly the number of a row in the program's database; other names are for the message's own id.
    if own_id is not None and (own_id.startswith("msg_") or _plain_name(parts["id"]) != "id"):
        message["id"] = own_id
    for key in ("thread_id", "run_id", "assistant_id"):
        text = _text(row.get(parts.get(key, "")))
        if text is not None:
            message[key] = text
    if "created_at" in parts:
        time = seconds_from_time(row[parts["created_at"]])
        message["created_at"] = row[parts["created_at"]] if time is None else time
    if row.get("status") in _STATUSES:
        message["status"] = row["status"]
    role = row.get(parts.get("role", ""))
    message["role"] = _ROLES.get(role.strip().lower(), role) if isinstance(role, str) else role
    message["content"] = _blocks_from_content(row.get(parts.get("content", "")), unknown_keys)
    if "metadata" in parts:
        metadata = metadata_from_saved(row[parts["metadata"]])
        if metadata is None:
            unknown_keys.append(parts["metadata"])
        else:
            message["metadata"] = metadata
    return AppRow(message, own_id, unknown_keys)


def holds_data(value: object) -> bool:
    """Whether a value would be missed: anything but null, an empty text, list or object."""
    return value is not None and value not in ("", [], {})


def _text(value: object) -> str | None:
    """Return an id as a text; databases have numbers and UUIDs as ids."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def metadata_from_saved(value: object) -> Json | None:
    """Return metadata as the API takes it, or None if it cannot; numbers become texts."""
    parsed = _parsed(value)
    if not isinstance(parsed, dict):
        return None
    metadata = {key: item if isinstance(item, str) else json.dumps(item) for key, item in parsed.items()}
    try:
        check_metadata(metadata, "metadata")
    except ApiError:
        return None
    return metadata


def _parsed(value: object) -> object:
    """Return the value of a cell: a list or an object if its text is one in JSON or Python, else the cell itself."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        for parse in (json.loads, ast.literal_eval):  # `to_csv` of pandas writes Python
            with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                return parse(value)
    return value


def _blocks_from_content(content: object, unknown_keys: list[str]) -> Any:
    """Return the blocks of a message; append to `unknown_keys` the types of those that it cannot have."""
    if content is None or content == "":
        return []
    parsed = _parsed(content)
    # A text that happens to be JSON is a text: only a list of blocks is read as such.
    is_blocks = isinstance(parsed, list) and all(isinstance(part, dict) and "type" in part for part in parsed)
    if isinstance(content, str) and not is_blocks:
        return [_text_block(content)]
    parts = parsed if isinstance(parsed, list) else [parsed]
    blocks = []
    for part in parts:
        block = _block_from_part(part)
        if block is None:
            type_ = part.get("type") if isinstance(part, dict) else type(part).__name__
            unknown_keys.append(f"content of type {type_}")
        else:
            blocks.append(block)
    return blocks


def _text_block(value: str, annotations: object = None) -> Json:
    return {"type": "text", "text": {"value": value, "annotations": annotations or []}}


def _block_from_part(part: object) -> Json | None:
    if isinstance(part, str):
        return _text_block(part)
    if not isinstance(part, dict):
        return None
    part = object_from_dump(part)
    convert = _CONVERTERS.get(str(part.get("type", "text")))
    return None if convert is None else convert(part)


def _block_from_text(part: Json) -> Json | None:
    text = part.get("text", part.get("value"))
    if isinstance(text, dict):
        value = text.get("value")
        return _text_block(value, text.get("annotations")) if isinstance(value, str) else None
    return _text_block(text) if isinstance(text, str) else None


def _block_from_image(part: Json) -> Json | None:
    image = part.get("image_url")
    detail = {"detail": part["detail"]} if "detail" in part else {}
    if isinstance(image, str):
        return {"type": "image_url", "image_url": {"url": image, **detail}}
    if isinstance(image, dict):
        return {"type": "image_url", "image_url": image}
    file_id = part.get("file_id")
    return {"type": "image_file", "image_file": {"file_id": file_id, **detail}} if isinstance(file_id, str) else None


_CONVERTERS: Mapping[str, Callable[[Json], Json | None]] = {
    **dict.fromkeys(("text", "input_text", "output_text"), _block_from_text),
    **dict.fromkeys(("image_url", "input_image"), _block_from_image),
    "image_file": lambda part: part,
    "refusal": lambda part: part,
}
