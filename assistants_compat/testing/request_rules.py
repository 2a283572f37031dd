"""Checks request bodies: against their types, then against rules that no type states, then the OpenAPI file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exchange import Refusal
from .limit_rules import check_limits
from .message_parts import checked_messages
from .openapi_spec import Spec
from .sdk_schema import find_problem
from .table_refusals import table_refusal

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from .exchange import Request
    from .options import Options
    from .state import Json

# By route: the body's type in `request_types.json`, its component in the spec, and the keys that it must have.
_BODIES: dict[str, tuple[str | None, str, tuple[str, ...]]] = {
    "POST /responses": ("ResponseCreateParamsNonStreaming", "CreateResponse", ()),
    "POST /conversations": ("ConversationCreateParams", "CreateConversationBody", ()),
    "POST /conversations/{}": ("ConversationUpdateParams", "UpdateConversationBody", ()),
    # The spec has no component for this body; its items are the same as those of a new conversation.
    "POST /conversations/{}/items": ("ItemCreateParams", "CreateConversationBody", ("items",)),
    "POST /containers": ("ContainerCreateParams", "CreateContainerBody", ("name",)),
    "POST /containers/{}/files": (None, "CreateContainerFileBody", ("file_id",)),
    "POST /vector_stores": ("VectorStoreCreateParams", "CreateVectorStoreRequest", ()),
    "POST /vector_stores/{}": ("VectorStoreUpdateParams", "UpdateVectorStoreRequest", ()),
    "POST /vector_stores/{}/files": ("FileCreateParams", "CreateVectorStoreFileRequest", ("file_id",)),
    "POST /vector_stores/{}/files/{}": (None, "UpdateVectorStoreFileAttributesRequest", ("attributes",)),
    "POST /vector_stores/{}/file_batches": ("FileBatchCreateParams", "CreateVectorStoreFileBatchRequest", ()),
    "POST /vector_stores/{}/search": ("VectorStoreSearchParams", "VectorStoreSearchRequest", ("query",)),
}
# Source: platform.md section 3 (metadata, max_output_tokens); the spec's minima and maxima for the other two.
_MAX_METADATA_PAIRS, _MAX_METADATA_KEY, _MAX_METADATA_VALUE = 16, 64, 512
_MAX_CONVERSATION_ITEMS = 20  # in one request
_RANGES = {"max_output_tokens": (16, None), "temperature": (0, 2), "top_p": (0, 1)}
# Types of items that may follow a reasoning item.
_FOLLOWS_REASONING = {"function_call", "code_interpreter_call", "file_search_call", "reasoning", "custom_tool_call"}


class RequestRules:
    """Checks JSON bodies by route."""

    def __init__(self, spec: str | Path | None, options: Options) -> None:
        """Take the options of the stand-in; `options` may be replaced later."""
        self._spec = None if spec is None else Spec(spec)
        self.options = options

    def check(self, name: str, request: Request) -> None:
        """Refuse a body that the route does not allow (400)."""
        if name not in _BODIES or request.headers.get("content-type", "").startswith("multipart/"):
            return
        body = _with_checked_messages(request.json_object())
        if name == "POST /vector_stores":
            # LiteLLM's proxy sends `chunking_strategy: null` with every store; null is taken as absent (assumed: it was
            # measured for the fields of a response).
            body = {key: value for key, value in body.items() if value is not None}
        body_type, component, required = _BODIES[name]
        if body_type == "ResponseCreateParamsNonStreaming" and body.get("stream"):
            body_type = "ResponseCreateParamsStreaming"
        problem = None if body_type is None else find_problem(body, body_type)
        if problem is not None:
            raise problem.refusal()
        for key in required:
            _require(body, key)
        _check_metadata(body.get("metadata"))
        _check_items(body.get("items"))
        if name == "POST /responses":
            self._check_response(body)
        # Last, because its texts come from jsonschema and not from the service.
        if self._spec is not None:
            self._spec.check(component, body)

    def _check_response(self, body: Json) -> None:
        if self.options.background_refused and body.get("background"):
            raise table_refusal("background_refused")
        if body.get("prompt") is None:
            _require(body, "model")
        if not any(body.get(key) is not None for key in ("input", "previous_response_id", "prompt", "conversation")):
            _require(body, "input")
        if body.get("conversation") is not None:
            _check_conversation(body)
        for key, bounds in _RANGES.items():
            _check_range(body.get(key), key, *bounds)
        if self.options.strict:
            check_limits(body)


def _with_checked_messages(body: Json) -> Json:
    return {**body, **{key: checked_messages(body[key], key) for key in ("input", "items") if key in body}}


def _require(body: Json, key: str) -> None:
    if body.get(key) is None:
        raise Refusal(400, f"Missing required parameter: '{key}'.", param=key, code="missing_required_parameter")


def _check_conversation(body: Json) -> None:
    """Refuse a body with both `conversation` and `previous_response_id` (platform.md section 3)."""
    if body.get("previous_response_id") is not None:
        raise table_refusal("mutually_exclusive")


def _check_items(items: Any) -> None:
    """Refuse more than twenty items (spec); the text is assumed and follows the pattern of the others."""
    if isinstance(items, list) and len(items) > _MAX_CONVERSATION_ITEMS:
        message = (
            f"Invalid 'items': array too long. Expected an array with maximum length {_MAX_CONVERSATION_ITEMS}, "
            f"but got an array with length {len(items)} instead."
        )
        raise Refusal(400, message, param="items", code="array_above_max_length")


def _check_range(value: float | None, key: str, minimum: float, maximum: float | None) -> None:
    """Refuse a number outside its range.

    Source of the text: test_openai_responses_model_http_error.yaml; its other forms follow the same pattern.
    """
    if value is None or not isinstance(value, (int, float)):
        return
    kind = "integer" if key == "max_output_tokens" else "decimal"
    if value < minimum:
        message = (
            f"Invalid '{key}': {kind} below minimum value. Expected a value >= {minimum}, but got {value} instead."
        )
        raise Refusal(400, message, param=key, code=f"{kind}_below_min_value")
    if maximum is not None and value > maximum:
        message = (
            f"Invalid '{key}': {kind} above maximum value. Expected a value <= {maximum}, but got {value} instead."
        )
        raise Refusal(400, message, param=key, code=f"{kind}_above_max_value")


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict):
        return
    if len(metadata) > _MAX_METADATA_PAIRS:
        message = (
            "Invalid 'metadata': too many properties. "
            f"Expected an object with at most {_MAX_METADATA_PAIRS} properties, "
            f"but got an object with {len(metadata)} properties instead."
        )
        raise Refusal(400, message, param="metadata", code="object_above_max_properties")
    for key, value in metadata.items():
        if not isinstance(value, str):
            problem = find_problem(value, "string", ("metadata", key))
            raise problem.refusal() if problem else AssertionError  # `find_problem` always finds one here
        _check_length(key, _MAX_METADATA_KEY, "metadata")
        _check_length(value, _MAX_METADATA_VALUE, f"metadata.{key}")


def _check_length(text: str, max_length: int, name: str) -> None:
    if len(text) > max_length:
        message = (
            f"Invalid '{name}': string too long. Expected a string with maximum length {max_length}, "
            f"but got a string with length {len(text)} instead."
        )
        raise Refusal(400, message, param=name, code="string_above_max_length")


def check_item_pairs(history: list[Json], input_items: list[Json]) -> None:
    """Refuse a function call without output, an output without call, and reasoning without its following item.

    `input_items` are the items of this request alone, `history` those of the chain before it. Source: platform.md
    section 4 (first and third text); the second text is the well-known counterpart of the first.
    """
    items = history + input_items
    called = _call_ids(items, "function_call")
    answered = _call_ids(items, "function_call_output")
    for call_id in called - answered:
        raise table_refusal("function_output_missing", call=call_id)
    for call_id in answered - called:
        message = f"No tool call found for function call output with call_id {call_id}."
        raise Refusal(400, message, param="input")
    for item, next_item in zip(input_items, [*input_items, {}][1:], strict=True):
        if item.get("type") == "reasoning" and not _follows_reasoning(next_item):
            item_id = item.get("id")
            message = f"Item '{item_id}' of type 'reasoning' was provided without its required following item."
            raise Refusal(400, message, param="input")


def _call_ids(items: Collection[Json], kind: str) -> set[str]:
    return {item["call_id"] for item in items if item.get("type") == kind}


def _follows_reasoning(item: Json) -> bool:
    # A message without its id is not the one that followed (Source: ..._thinking_with_modified_history.yaml).
    return item.get("type") in _FOLLOWS_REASONING or (item.get("role") == "assistant" and "id" in item)
