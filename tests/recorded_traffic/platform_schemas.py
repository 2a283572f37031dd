"""Checks answers and upstream requests against the component schemas of the platform's OpenAPI description.

The stand-in checks requests with its own reading of the description; this is another one, so that one mistake cannot
hide in both.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_NULL = {"type": "null"}
# Nulls that the service sent although its description forbids them; a recording outranks the description.
_RECORDED_NULLS = (
    ("OpenAIFile", "expires_at"),  # FileSearchStreamingWorks.json, the answer to POST /files
    ("OpenAIFile", "status_details"),  # the same
    ("RunObject", "instructions"),  # BasicRunOperationsWork.json: neither assistant nor run gave any
    ("ListAssistantsResponse", "first_id"),  # BasicRunOperationsWork.json: the ids of an empty list
    ("ListAssistantsResponse", "last_id"),
    ("ListMessagesResponse", "first_id"),
    ("ListMessagesResponse", "last_id"),
    ("ListRunsResponse", "first_id"),
    ("ListRunsResponse", "last_id"),
    ("ListRunStepsResponse", "first_id"),
    ("ListRunStepsResponse", "last_id"),
)
# `runs_create.yml`: the service accepted 16 where the description says at least 256.
_RECORDED_BELOW_MINIMUM = (("RunObject", "max_completion_tokens"), ("RunObject", "max_prompt_tokens"))

SCHEMA_OF_OBJECT = {
    "assistant": "AssistantObject",
    "assistant.deleted": "DeleteAssistantResponse",
    "file": "OpenAIFile",
    "thread": "ThreadObject",
    "thread.deleted": "DeleteThreadResponse",
    "thread.message": "MessageObject",
    "thread.message.deleted": "DeleteMessageResponse",
    "thread.run": "RunObject",
    "thread.run.step": "RunStepObject",
}


def check_body(spec: Path, name: str, body: object) -> None:
    """Fail unless a body fits the component schema `name`."""
    import jsonschema  # noqa: PLC0415 - a bare checkout's tests run without it

    error = jsonschema.exceptions.best_match(_validator(spec, name).iter_errors(body))
    assert error is None, f"{name} at {'.'.join(map(str, error.absolute_path))}: {error.message}"


@functools.cache
def _validator(spec: Path, name: str) -> Any:
    import jsonschema  # noqa: PLC0415 - as above

    schema = {"$ref": f"#/components/schemas/{name}", "components": _components(spec)}
    return jsonschema.Draft202012Validator(schema)


@functools.cache
def _components(spec: Path) -> Json:
    schemas = json.loads(spec.read_text("utf-8"))["components"]["schemas"]
    for name, key in _RECORDED_NULLS:
        schemas[name]["properties"][key] = {"anyOf": [schemas[name]["properties"][key], _NULL]}
    for name, key in _RECORDED_BELOW_MINIMUM:
        del schemas[name]["properties"][key]["minimum"]
    return {"schemas": _as_json_schema(schemas)}


def _as_json_schema(node: Any) -> Any:
    """Translate OpenAPI keywords to JSON Schema: `nullable` allows null, and overlapping alternatives may both hold.

    An easy message is an input message too, so exactly one of `oneOf` never holds in a transcript.
    """
    if isinstance(node, list):
        return [_as_json_schema(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    plain = {"anyOf" if key == "oneOf" else key: _as_json_schema(entry) for key, entry in node.items()}
    # `properties` may hold a property that is called "nullable"; only the keyword is a boolean.
    if isinstance(plain.get("nullable"), bool) and plain.pop("nullable"):
        return {"anyOf": [plain, _NULL]}
    return plain
