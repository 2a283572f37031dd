"""Translates threads, and the messages that callers add to them, from requests and rows to served objects.

Messages that runs create are in `output.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.objects import Json, Message, Thread
from .assistant import file_ids, vector_store_ids


def thread_from_fields(id_: str, created_at: int, fields: Mapping[str, Any], *, answers_post: bool) -> Thread:
    """Return a thread as served.

    An answer to POST has only the tool resources of the request; an answer to GET always has the code interpreter's
    file ids. Source: BasicThreadOperationsWork.json.
    """
    tool_resources = fields.get("tool_resources") or {}
    served_resources: Json = {}
    if tool_resources.get("code_interpreter") or not answers_post:
        served_resources["code_interpreter"] = {"file_ids": file_ids(tool_resources)}
    if tool_resources.get("file_search"):
        served_resources["file_search"] = {"vector_store_ids": vector_store_ids(tool_resources)}
    return {
        "id": id_,
        "object": "thread",
        "created_at": created_at,
        "metadata": fields.get("metadata") or {},
        "tool_resources": served_resources,
    }


def message_from_request(id_: str, thread_id: str, created_at: int, params: Mapping[str, Any]) -> Message:
    """Return a message that a caller adds, as served.

    Source: BasicMessageOperationsWork.json, ThreadWithInitialMessagesWorks.json.
    """
    return {
        "id": id_,
        "object": "thread.message",
        "created_at": created_at,
        "assistant_id": None,
        "thread_id": thread_id,
        "run_id": None,
        "status": "completed",
        "incomplete_details": None,
        "incomplete_at": None,
        "completed_at": None,
        "role": params["role"],
        "content": _content_blocks(params["content"]),
        # Not merged: one file for two tools stays two entries (FileOnMessageWorksAsync.json).
        "attachments": list(params.get("attachments") or []),
        "metadata": params.get("metadata") or {},
    }


def _content_blocks(content: str | list[Json]) -> list[Json]:
    if isinstance(content, str):
        return [text_block(content)]
    return [_BLOCK_CONVERTERS[part["type"]](part) for part in content]


def text_block(value: str) -> Json:
    """Return a text block without annotations."""
    return {"type": "text", "text": {"value": value, "annotations": []}}


def _image_block(part: Json) -> Json:
    kind = part["type"]
    # `detail` is served as "auto" if the request had none (ThreadWithInitialMessagesWorks.json).
    return {"type": kind, kind: {**part[kind], "detail": part[kind].get("detail", "auto")}}


_BLOCK_CONVERTERS = {
    "text": lambda part: text_block(part["text"]),
    "image_url": _image_block,
    "image_file": _image_block,
}


def attached_file_ids(params: Mapping[str, Any], tool: str = "code_interpreter") -> list[str]:
    """Return the ids of the files that a message attaches for a tool; they join the thread's files (documented)."""
    return [
        attachment["file_id"]
        for attachment in params.get("attachments") or []
        if "file_id" in attachment
        and any(attachment_tool["type"] == tool for attachment_tool in attachment.get("tools") or [])
    ]


# The name must stay: rows of existing stores have it.
CREATED_STORES_KEY = "made_stores"
"""The key of a thread's fields under which the ids of the vector stores created for it are kept; never served."""


def fields_with_vector_store(fields: Mapping[str, Any], store_id: str | None) -> Json:
    """Return a thread's fields with the vector store that was created for its messages' attachments."""
    if store_id is None:
        return dict(fields)
    resources = {**(fields.get("tool_resources") or {}), "file_search": {"vector_store_ids": [store_id]}}
    return {**fields, "tool_resources": resources, CREATED_STORES_KEY: [*fields.get(CREATED_STORES_KEY, ()), store_id]}


def fields_with_files(fields: Mapping[str, Any], new_file_ids: list[str]) -> Json:
    """Return a thread's fields after files joined its code interpreter's; each file appears once."""
    if not new_file_ids:
        return dict(fields)
    resources = fields.get("tool_resources") or {}
    ids = list(dict.fromkeys([*file_ids(resources), *new_file_ids]))
    return {**fields, "tool_resources": {**resources, "code_interpreter": {"file_ids": ids}}}
