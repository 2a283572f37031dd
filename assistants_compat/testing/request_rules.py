"""What a request body must be: the schema first, then the rules that no schema says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exchange import Refusal
from .openapi_spec import Spec
from .sdk_schema import problem, sdk_type

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from .exchange import Request
    from .state import Json

_RESPONSES = "openai.types.responses.response_create_params:ResponseCreateParams"
# Route, where the SDK keeps its parameters (newest first), the component schema, the keys that must be there.
_BODIES: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "POST /responses": ((f"{_RESPONSES}NonStreaming",), "CreateResponse", ()),
    "POST /conversations": (
        ("openai.types.conversations.conversation_create_params:ConversationCreateParams",),
        "CreateConversationBody",
        (),
    ),
    "POST /conversations/{}": (
        ("openai.types.conversations.conversation_update_params:ConversationUpdateParams",),
        "UpdateConversationBody",
        (),
    ),
    # The spec has no component for this one; the items are the same.
    "POST /conversations/{}/items": (
        ("openai.types.conversations.item_create_params:ItemCreateParams",),
        "CreateConversationBody",
        ("items",),
    ),
    "POST /containers": (
        ("openai.types.container_create_params:ContainerCreateParams",),
        "CreateContainerBody",
        ("name",),
    ),
    "POST /containers/{}/files": ((), "CreateContainerFileBody", ("file_id",)),
    "POST /vector_stores": (
        (
            "openai.types.vector_store_create_params:VectorStoreCreateParams",
            "openai.types.beta.vector_store_create_params:VectorStoreCreateParams",
        ),
        "CreateVectorStoreRequest",
        (),
    ),
    "POST /vector_stores/{}": (
        (
            "openai.types.vector_store_update_params:VectorStoreUpdateParams",
            "openai.types.beta.vector_store_update_params:VectorStoreUpdateParams",
        ),
        "UpdateVectorStoreRequest",
        (),
    ),
    "POST /vector_stores/{}/files": (
        (
            "openai.types.vector_stores.file_create_params:FileCreateParams",
            "openai.types.beta.vector_stores.file_create_params:FileCreateParams",
        ),
        "CreateVectorStoreFileRequest",
        ("file_id",),
    ),
    "POST /vector_stores/{}/files/{}": ((), "UpdateVectorStoreFileAttributesRequest", ("attributes",)),
    "POST /vector_stores/{}/file_batches": (
        (
            "openai.types.vector_stores.file_batch_create_params:FileBatchCreateParams",
            "openai.types.beta.vector_stores.file_batch_create_params:FileBatchCreateParams",
        ),
        "CreateVectorStoreFileBatchRequest",
        (),
    ),
    "POST /vector_stores/{}/search": (
        ("openai.types.vector_store_search_params:VectorStoreSearchParams",),
        "VectorStoreSearchRequest",
        ("query",),
    ),
}
# Source: platform.md section 3 (metadata, max_output_tokens); the spec's minima and maxima for the other two.
_MOST_PAIRS, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512
_MOST_ITEMS = 20  # of a conversation, in one request
_RANGES = {"max_output_tokens": (16, None), "temperature": (0, 2), "top_p": (0, 1)}
# Items that a model writes after it has reasoned.
_FOLLOWS_REASONING = {"function_call", "code_interpreter_call", "file_search_call", "reasoning", "custom_tool_call"}


class Rules:
    """Checks JSON bodies route by route."""

    def __init__(self, spec: str | Path | None, *, background_refused: bool) -> None:
        """Take the options of the stand-in that bear on bodies."""
        self._spec = None if spec is None else Spec(spec)
        self._background_refused = background_refused

    def check(self, name: str, request: Request) -> None:
        """Refuse with 400 what the route does not allow."""
        if name not in _BODIES or request.headers.get("content-type", "").startswith("multipart/"):
            return
        body = request.json_object()
        places, component, required = _BODIES[name]
        if name == "POST /responses" and body.get("stream"):
            places = (f"{_RESPONSES}Streaming",)
        typed = sdk_type(*places)
        found = None if typed is None else problem(body, typed)
        if found is not None:
            raise found.refusal()
        for key in required:
            _require(body, key)
        _check_metadata(body.get("metadata"))
        _check_items(body.get("items"))
        if name == "POST /responses":
            self._check_response(body)
        # Last, because its texts are jsonschema's, not the service's.
        if self._spec is not None:
            self._spec.check(component, body)

    def _check_response(self, body: Json) -> None:
        if self._background_refused and body.get("background"):
            message = "Unsupported parameter: 'background' is not supported by this server."
            raise Refusal(400, message, param="background", code="unsupported_parameter")
        if body.get("prompt") is None:
            _require(body, "model")
        if not any(body.get(key) is not None for key in ("input", "previous_response_id", "prompt", "conversation")):
            _require(body, "input")
        if body.get("conversation") is not None:
            _check_conversation(body)
        for key, bounds in _RANGES.items():
            _check_range(body.get(key), key, *bounds)


def _require(body: Json, key: str) -> None:
    if body.get(key) is None:
        raise Refusal(400, f"Missing required parameter: '{key}'.", param=key, code="missing_required_parameter")


def _check_conversation(body: Json) -> None:
    """One of the two (platform.md section 3)."""
    if body.get("previous_response_id") is not None:
        message = (
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. "
            "Ensure you are only providing one of: 'previous_response_id' or 'conversation'."
        )
        raise Refusal(400, message, code="mutually_exclusive_parameters")


def _check_items(items: Any) -> None:
    """At most twenty at a time (spec); the text is assumed on the pattern of the others."""
    if isinstance(items, list) and len(items) > _MOST_ITEMS:
        message = (
            f"Invalid 'items': array too long. Expected an array with maximum length {_MOST_ITEMS}, "
            f"but got an array with length {len(items)} instead."
        )
        raise Refusal(400, message, param="items", code="array_above_max_length")


def _check_range(value: float | None, key: str, least: float, most: float | None) -> None:
    """Source: test_openai_responses_model_http_error.yaml for the text; its other forms follow the same pattern."""
    if value is None or not isinstance(value, (int, float)):
        return
    kind = "integer" if key == "max_output_tokens" else "decimal"
    if value < least:
        message = f"Invalid '{key}': {kind} below minimum value. Expected a value >= {least}, but got {value} instead."
        raise Refusal(400, message, param=key, code=f"{kind}_below_min_value")
    if most is not None and value > most:
        message = f"Invalid '{key}': {kind} above maximum value. Expected a value <= {most}, but got {value} instead."
        raise Refusal(400, message, param=key, code=f"{kind}_above_max_value")


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict):
        return
    if len(metadata) > _MOST_PAIRS:
        message = (
            f"Invalid 'metadata': too many properties. Expected an object with at most {_MOST_PAIRS} properties, "
            f"but got an object with {len(metadata)} properties instead."
        )
        raise Refusal(400, message, param="metadata", code="object_above_max_properties")
    for key, value in metadata.items():
        if not isinstance(value, str):
            found = problem(value, str, ("metadata", key))
            raise found.refusal() if found else AssertionError
        _check_length(key, _LONGEST_KEY, "metadata")
        _check_length(value, _LONGEST_VALUE, f"metadata.{key}")


def _check_length(text: str, longest: int, name: str) -> None:
    if len(text) > longest:
        message = (
            f"Invalid '{name}': string too long. Expected a string with maximum length {longest}, "
            f"but got a string with length {len(text)} instead."
        )
        raise Refusal(400, message, param=name, code="string_above_max_length")


def check_pairs(history: list[Json], given: list[Json]) -> None:
    """Every function call is answered, every answer has its call, reasoning is followed by what it led to.

    Source: platform.md section 4 (first and third text); the second text is its well-known counterpart. `given` are the
    items of this request alone, `history` those of the chain before it.
    """
    items = history + given
    called = _call_ids(items, "function_call")
    answered = _call_ids(items, "function_call_output")
    for call_id in called - answered:
        raise Refusal(400, f"No tool output found for function call {call_id}.", param="input")
    for call_id in answered - called:
        message = f"No tool call found for function call output with call_id {call_id}."
        raise Refusal(400, message, param="input")
    for item, follower in zip(given, [*given, {}][1:], strict=True):
        if item.get("type") == "reasoning" and not _follows_reasoning(follower):
            identity = item.get("id")
            message = f"Item '{identity}' of type 'reasoning' was provided without its required following item."
            raise Refusal(400, message, param="input")


def _call_ids(items: Collection[Json], kind: str) -> set[str]:
    return {item["call_id"] for item in items if item.get("type") == kind}


def _follows_reasoning(item: Json) -> bool:
    return item.get("type") in _FOLLOWS_REASONING or item.get("role") == "assistant"
