"""Translates requests of the first version of the API, which old code and `extra_body` still send, into the second.

The tool `retrieval` became `file_search`. The `file_ids` of assistants became tool resources, those of messages became
attachments for both tools (platform.md section 12, the spec's second version). Answers are always the second version's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..wire.objects import Json

_BOTH_TOOLS = [{"type": "code_interpreter"}, {"type": "file_search"}]


def v2_request_from_v1(params: Mapping[str, Any], tools: Sequence[Json] = ()) -> Json:
    """Return a request body of the second version; a body that already is one stays as it is.

    `params` were checked before. `tools` are the stored tools of an assistant that the request updates. A message keeps
    its `file_ids` beside the attachments made of them, because it does not say which tool they are for.
    """
    body = dict(params)
    if isinstance(body.get("tools"), list):
        body["tools"] = [_v2_tool(tool) for tool in body["tools"]]
    if isinstance(body.get("tool_choice"), dict):
        body["tool_choice"] = _v2_tool(body["tool_choice"])
    for key in ("messages", "additional_messages"):
        if body.get(key):
            body[key] = [v2_request_from_v1(message) for message in body[key]]
    if body.get("thread"):
        body["thread"] = v2_request_from_v1(body["thread"])
    # Only a message has a role; its `file_ids` are attachments, those of an assistant tool resources.
    if "role" in body:
        return _message_with_attachments(body)
    file_ids = body.pop("file_ids", None)
    return body if file_ids is None else _with_tool_resources(body, file_ids, body.get("tools") or tools)


def _v2_tool(tool: Json) -> Json:
    return {"type": "file_search"} if tool["type"] == "retrieval" else tool


def _message_with_attachments(body: Json) -> Json:
    file_ids = body.get("file_ids") or []
    if file_ids:
        attachments = [{"file_id": file_id, "tools": _BOTH_TOOLS} for file_id in file_ids]
        body["attachments"] = [*(body.get("attachments") or []), *attachments]
    return body


def _with_tool_resources(body: Json, file_ids: list[str], tools: Sequence[Json]) -> Json:
    tool_types = {tool["type"] for tool in tools}
    resources: Json = {}
    if "code_interpreter" in tool_types or "file_search" not in tool_types:
        resources["code_interpreter"] = {"file_ids": file_ids}
    if "file_search" in tool_types:
        # An update with an empty list takes the files away; it needs no new store.
        resources["file_search"] = {"vector_stores": [{"file_ids": file_ids}]} if file_ids else {"vector_store_ids": []}
    return {**body, "tool_resources": {**resources, **(body.get("tool_resources") or {})}}
