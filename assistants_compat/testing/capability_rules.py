"""What a model, an organization or a tool cannot do: checked after the types and after what the service has stored.

Each refusal is a row of `service/refusal_table.py`, and what a model takes is in `service/model_families.py`. Both have
the sources. A model that the families do not name is refused nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..service.model_families import ModelFamily, family_of
from .options import ENCRYPTED_REASONING
from .sdk_schema import quoted_list
from .table_refusals import table_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .options import Options
    from .state import Json

_MAX_VECTOR_STORES = 2
_MAX_AZURE_IMAGES = 50
_SAMPLING = ("temperature", "top_p")
_DEFAULT_TEMPERATURE = 1  # taken by every model (measured), unlike a `top_p` of 1


def check_capabilities(options: Options, params: Json, *, is_azure: bool) -> None:
    """Refuse a request for a response that the service cannot serve, in the order that was measured."""
    family = family_of(params.get("model") or "")
    if options.models is not None and params.get("model") not in options.models:
        raise table_refusal("model_unknown", model=params.get("model"))
    if options.zero_retention and any(tool["type"] == "code_interpreter" for tool in params.get("tools") or []):
        raise table_refusal("zero_retention_code")
    if params.get("stream") and family is not None and family.needs_verification and not options.verified:
        raise table_refusal("stream_unverified")
    if not options.strict:
        return
    # Measured: an empty input loses to an unknown previous response, and comes before what the model cannot do.
    _check_input(params)
    if family is not None:
        _check_family(family, params, is_azure=is_azure)
    _check_tools(params)
    _check_json_word(params)
    if is_azure and sum(part.get("type") == "input_image" for part in message_parts(params)) > _MAX_AZURE_IMAGES:
        raise table_refusal("images_too_many", max=_MAX_AZURE_IMAGES)


def _check_input(params: Json) -> None:
    others = (params.get(key) for key in ("previous_response_id", "prompt", "conversation"))
    if not params.get("input") and all(other is None for other in others):
        raise table_refusal("input_empty")


def _check_family(family: ModelFamily, params: Json, *, is_azure: bool) -> None:
    reasoning = params.get("reasoning") or {}
    effort = reasoning.get("effort")
    for name in _SAMPLING:
        value = params.get(name)
        is_default = value is None or (name == "temperature" and value == _DEFAULT_TEMPERATURE)
        if not is_default and not family.takes_sampling(effort):
            code = "unsupported_parameter" if is_azure else None
            raise table_refusal("sampling_unsupported", code=code, param=name)
    if effort is not None and not family.efforts:
        raise table_refusal("effort_unsupported")
    if effort is not None and effort not in family.efforts:
        raise table_refusal(
            "effort_value_unsupported", value=effort, model=params["model"], values=quoted_list(family.efforts)
        )
    if params.get("parallel_tool_calls") is not None and not family.takes_parallel_tool_calls:
        raise table_refusal("parallel_tool_calls_unsupported")
    if ENCRYPTED_REASONING in (params.get("include") or []) and not family.reasons:
        raise table_refusal("encrypted_unsupported")
    if _text_format(params) == "json_schema" and not family.takes_json_schema:
        raise table_refusal("json_schema_unsupported", model=params["model"])
    for tool in params.get("tools") or []:
        if tool["type"] in {"code_interpreter", "file_search"} and tool["type"] not in family.hosted_tools:
            raise table_refusal("hosted_tool_unsupported", tool=tool["type"], model=params["model"])


def _check_tools(params: Json) -> None:
    tools = params.get("tools") or []
    if not tools and params.get("parallel_tool_calls") is not None:
        raise table_refusal("parallel_tool_calls_without_tools")
    choice = params.get("tool_choice")
    if choice == "required" and not tools:
        raise table_refusal("tool_choice_without_tools", choice=choice)
    if isinstance(choice, dict) and choice.get("type") != "allowed_tools":
        name = choice.get("name") or choice.get("type")
        if not any(tool["type"] == choice.get("type") and tool.get("name") == choice.get("name") for tool in tools):
            raise table_refusal("tool_choice_unknown", choice=name)
    for tool in tools:
        if len(tool.get("vector_store_ids") or []) > _MAX_VECTOR_STORES:
            raise table_refusal("vector_stores_too_many")


def _check_json_word(params: Json) -> None:
    """Refuse JSON mode without the word in the messages of this request.

    Instructions do not count (reported). That messages of earlier rounds and outputs of functions do not count either
    is an assumption: nobody has measured it.
    """
    if _text_format(params) != "json_object":
        return
    request_input = params.get("input")
    texts = [request_input] if isinstance(request_input, str) else [part.get("text") for part in message_parts(params)]
    if not any(re.search("json", text, re.IGNORECASE) for text in texts if isinstance(text, str)):
        raise table_refusal("json_word_missing")


def _text_format(params: Json) -> Any:
    return ((params.get("text") or {}).get("format") or {}).get("type")


def message_parts(params: Json) -> Iterator[Json]:
    """Yield every part of the messages in a request's input; a plain text is one part."""
    items = params.get("input")
    for item in items if isinstance(items, list) else []:
        content = item.get("content") if "role" in item else None
        yield from [{"type": "input_text", "text": content}] if isinstance(content, str) else content or []
