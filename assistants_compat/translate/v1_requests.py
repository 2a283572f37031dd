"""Requests in the words of the first version of the API, as old code and `extra_body` still send them.

The tool `retrieval` became `file_search`; `file_ids` of assistants became tool resources, those of messages attachments
for both tools (platform.md section 12, the spec's second version).  What is served is the second version's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..wire.objects import Json

_BOTH = [{"type": "code_interpreter"}, {"type": "file_search"}]


def understood(given: Mapping[str, Any], tools: Sequence[Json] = ()) -> Json:
    """A checked request body in the words of the second version; `tools` are those of an assistant that is changed.

    A message keeps its `file_ids` beside the attachments that they become: which tool they are for is not known.
    """
    body = dict(given)
    if isinstance(body.get("tools"), list):
        body["tools"] = [_tool(tool) for tool in body["tools"]]
    if isinstance(body.get("tool_choice"), dict):
        body["tool_choice"] = _tool(body["tool_choice"])
    for key in ("messages", "additional_messages"):
        if body.get(key):
            body[key] = [understood(message) for message in body[key]]
    if body.get("thread"):
        body["thread"] = understood(body["thread"])
    if "role" in body:
        return _message(body)
    files = body.pop("file_ids", None)
    return body if files is None else _with_resources(body, files, body.get("tools") or tools)


def _tool(tool: Json) -> Json:
    return {"type": "file_search"} if tool["type"] == "retrieval" else tool


def _message(body: Json) -> Json:
    files = body.get("file_ids") or []
    if files:
        attached = [{"file_id": file_id, "tools": _BOTH} for file_id in files]
        body["attachments"] = [*(body.get("attachments") or []), *attached]
    return body


def _with_resources(body: Json, files: list[str], tools: Sequence[Json]) -> Json:
    kinds = {tool["type"] for tool in tools}
    resources: Json = {}
    if "code_interpreter" in kinds or "file_search" not in kinds:
        resources["code_interpreter"] = {"file_ids": files}
    if "file_search" in kinds:
        resources["file_search"] = {"vector_stores": [{"file_ids": files}]} if files else {"vector_store_ids": []}
    return {**body, "tool_resources": {**resources, **(body.get("tool_resources") or {})}}
