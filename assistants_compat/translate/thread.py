"""Threads and the messages that callers put into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.objects import Json, Message, Thread
from .assistant import file_ids, store_ids


def thread_from_fields(id_: str, created_at: int, fields: Mapping[str, Any], *, fresh: bool) -> Thread:
    """A thread as served.

    Source: BasicThreadOperationsWork.json: an answer to POST (`fresh`) shows only the tool resources that were given,
    one to GET always the code interpreter's file ids.
    """
    given = fields.get("tool_resources") or {}
    resources: Json = {}
    if given.get("code_interpreter") or not fresh:
        resources["code_interpreter"] = {"file_ids": file_ids(given)}
    if given.get("file_search"):
        resources["file_search"] = {"vector_store_ids": store_ids(given)}
    return {
        "id": id_,
        "object": "thread",
        "created_at": created_at,
        "metadata": fields.get("metadata") or {},
        "tool_resources": resources,
    }


def message_from_request(id_: str, thread_id: str, created_at: int, given: Mapping[str, Any]) -> Message:
    """A message that a caller adds, as served.

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
        "role": given["role"],
        "content": _content(given["content"]),
        "attachments": list(given.get("attachments") or []),
        "metadata": given.get("metadata") or {},
    }


def _content(content: str | list[Json]) -> list[Json]:
    if isinstance(content, str):
        return [text_block(content)]
    return [_PARTS[part["type"]](part) for part in content]


def text_block(value: str) -> Json:
    """A text block without annotations."""
    return {"type": "text", "text": {"value": value, "annotations": []}}


def _image(part: Json) -> Json:
    kind = part["type"]
    # `detail` is served as "auto" where it was not given (ThreadWithInitialMessagesWorks.json).
    return {"type": kind, kind: {**part[kind], "detail": part[kind].get("detail", "auto")}}


_PARTS = {"text": lambda part: text_block(part["text"]), "image_url": _image, "image_file": _image}


def attached_files(given: Mapping[str, Any], tool: str = "code_interpreter") -> list[str]:
    """The files that a message attaches for a tool: they join the thread's (documented)."""
    return [
        attachment["file_id"]
        for attachment in given.get("attachments") or []
        if "file_id" in attachment and any(each["type"] == tool for each in attachment.get("tools") or [])
    ]


MADE = "made_stores"
"""The key of a thread's fields that names the vector stores made for it; never served."""


def fields_with_store(fields: Mapping[str, Any], store_id: str | None) -> Json:
    """A thread's fields with the vector store that was made for what its messages attach."""
    if store_id is None:
        return dict(fields)
    resources = {**(fields.get("tool_resources") or {}), "file_search": {"vector_store_ids": [store_id]}}
    return {**fields, "tool_resources": resources, MADE: [*fields.get(MADE, ()), store_id]}


def fields_with_files(fields: Mapping[str, Any], added: list[str]) -> Json:
    """A thread's fields after files joined its code interpreter, each once."""
    if not added:
        return dict(fields)
    resources = fields.get("tool_resources") or {}
    ids = list(dict.fromkeys([*file_ids(resources), *added]))
    return {**fields, "tool_resources": {**resources, "code_interpreter": {"file_ids": ids}}}
