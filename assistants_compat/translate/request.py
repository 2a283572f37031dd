"""Translates a run into the body of `POST /responses`, without its input.

The input comes from `transcript.py`; `engine/runs/ask_upstream.py` puts both together and sends them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..wire.objects import Json, Run

INCLUDE_CODE_OUTPUTS = "code_interpreter_call.outputs"
"""Without this `include` the outputs of a code call are null (recorded). Every request with the tool sends it."""

INCLUDE_SEARCH_RESULTS = "file_search_call.results"
"""Without this `include` the results of a file search are null (recorded). Every request with the tool sends it."""

INCLUDE_REASONING = "reasoning.encrypted_content"
"""Every request with `store: false` sends it: only encrypted reasoning can continue a chain of thought then."""

_NON_FORCING_CHOICES = ("none", "auto")
_MIN_OUTPUT_TOKENS = 16  # the Responses API refuses less (spec)
_MAX_STORES = 2  # vector stores of one request


def request_from_run(  # noqa: PLR0913 - a run, its parameters, and four parts of the request that neither holds
    run: Run,
    params: Mapping[str, Any],
    file_ids: list[str],
    *,
    store_ids: Sequence[str] = (),
    store: bool = True,
    container_limits: Mapping[str, Any] | None = None,
) -> Json:
    """Return the body of `POST /responses` without `input`, `background` and `stream`.

    `params` holds what the caller set on the run or the assistant. A default that is only echoed (temperature 1.0) is
    not sent, because reasoning models refuse it. `store` is always explicit: without it a background response may not
    outlive ten minutes (platform.md section 5).

    `store_ids` are the vector stores to search, those of the assistant and of the thread. Without any, the file search
    tool is not sent. `container_limits` are the configured `memory_limit` and `network_policy` of a container; limits
    that are not configured are not sent and stay as narrow as the upstream's defaults.
    """
    body: Json = {"model": run["model"], "store": store}
    if run["instructions"]:
        body["instructions"] = run["instructions"]
    for key, convert in _PARAM_CONVERTERS.items():
        if params.get(key) is not None:
            body.update(convert(params[key]))
    if run["tools"]:
        container = {"type": "auto", **({"file_ids": file_ids} if file_ids else {}), **(container_limits or {})}
        tools = [_TOOL_CONVERTERS[tool["type"]](tool, container) for tool in run["tools"]]
        if tools := _with_vector_stores(tools, store_ids, run["model"]):
            body["tools"] = tools
    if "tools" not in body:
        body.pop("parallel_tool_calls", None)  # servers that call Chat Completions refuse it then
    choice = params.get("tool_choice")
    # Without tools, `none` and `auto` have no effect. A choice that forces a call is sent, for the upstream to refuse.
    if (
        choice is not None
        and (body.get("tools") or choice not in _NON_FORCING_CHOICES)
        and not _forces_omitted_search(choice, run, body)
    ):
        body["tool_choice"] = _tool_choice(choice)
    tool_types = {tool["type"] for tool in body.get("tools", ())}
    include = [include_value for tool_type, include_value in _INCLUDE_BY_TOOL.items() if tool_type in tool_types]
    if not store:
        include.append(INCLUDE_REASONING)
    if include:
        body["include"] = include
    return body


def _code_interpreter_tool(_tool: Json, container: Json) -> Json:
    return {"type": "code_interpreter", "container": container}


def _function_tool(tool: Json, _container: Json) -> Json:
    # `strict` is always sent. Without it, Responses makes every argument mandatory (platform.md section 10).
    return {"type": "function", **tool["function"]}


def _file_search_tool(tool: Json, _container: Json) -> Json:
    options = tool.get("file_search") or {}
    ranking = options.get("ranking_options") or {}
    # The Responses API does not know the name of the legacy ranker, and its default ranker is the same one.
    used_ranking = {key: ranking[key] for key in ("score_threshold", "hybrid_search") if ranking.get(key)}
    limit = {"max_num_results": options["max_num_results"]} if options.get("max_num_results") else {}
    return {
        "type": "file_search",
        "vector_store_ids": [],
        **limit,
        **({"ranking_options": used_ranking} if used_ranking else {}),
    }


_TOOL_CONVERTERS = {
    "code_interpreter": _code_interpreter_tool,
    "file_search": _file_search_tool,
    "function": _function_tool,
}
_INCLUDE_BY_TOOL = {"code_interpreter": INCLUDE_CODE_OUTPUTS, "file_search": INCLUDE_SEARCH_RESULTS}


def _with_vector_stores(tools: list[Json], store_ids: Sequence[str], model: str) -> list[Json]:
    # The spec requires at least one vector store.
    if not store_ids:
        return [tool for tool in tools if tool["type"] != "file_search"]
    # The legacy service's default for models with a short context (spec). For other models the upstream's applies.
    default_limit = {"max_num_results": 5} if model.startswith("gpt-3.5") else {}
    searched = {"vector_store_ids": list(store_ids)}
    return [{**default_limit, **tool, **searched} if tool["type"] == "file_search" else tool for tool in tools]


def _forces_omitted_search(choice: Any, run: Run, body: Json) -> bool:
    """Return whether a tool choice forces a call of file search, which was omitted because there is no vector store."""
    omitted_types = {tool["type"] for tool in run["tools"]} - {tool["type"] for tool in body.get("tools", ())}
    return "file_search" in omitted_types and (choice == {"type": "file_search"} or not body.get("tools"))


def searched_store_ids(assistant_ids: Sequence[str], thread_ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the vector stores that a run searches, and those that it leaves out.

    The service takes two (measured on 2026-08-18). If there are more, the newest of the assistant and the newest of the
    thread are searched, which are the last ones: created stores are added at the end.
    """
    store_ids = list(dict.fromkeys([*assistant_ids, *thread_ids]))
    if len(store_ids) <= _MAX_STORES:
        return store_ids, []
    newest = list(dict.fromkeys([*assistant_ids[-1:], *thread_ids[-1:]]))
    searched = newest if len(newest) == _MAX_STORES else store_ids[-_MAX_STORES:]
    return searched, [id_ for id_ in store_ids if id_ not in searched]


def vector_store_ids_of_request(request: Mapping[str, Any]) -> list[str]:
    """Return the ids of the vector stores that a request searches."""
    return [id_ for tool in request.get("tools") or () for id_ in tool.get("vector_store_ids", ())]


def container_of_request(request: Mapping[str, Any]) -> Json | str | None:
    """Return the container of a request's code: an id, the settings of a new one, or None without the tool."""
    tools = (tool for tool in request.get("tools") or () if tool["type"] == "code_interpreter")
    return next((tool["container"] for tool in tools), None)


def request_in_container(request: Mapping[str, Any], container: Json | str) -> Json:
    """Return the request with another container for its code."""
    tools = [
        {**tool, "container": container} if tool["type"] == "code_interpreter" else tool for tool in request["tools"]
    ]
    return {**request, "tools": tools}


def _tool_choice(choice: Any) -> Any:
    """Return the same choice; Responses names a function without nesting."""
    if isinstance(choice, dict) and choice["type"] == "function":
        return {"type": "function", "name": choice["function"]["name"]}
    return choice


def continuation_request(request: Json, response_id: str, used_tokens: int, token_budget: int | None) -> Json:
    """Return the request of a run's next round, which continues the response with the rest of the token budget.

    A tool choice that forced a call is removed, because it would force one in every round. A response that the upstream
    did not store has no id to continue from, so the caller resends its items.
    """
    body = dict(request)
    if body["store"]:
        body["previous_response_id"] = response_id
    if body.get("tool_choice") not in _NON_FORCING_CHOICES:
        body.pop("tool_choice", None)
    if token_budget is not None:
        body["max_output_tokens"] = max(_MIN_OUTPUT_TOKENS, token_budget - used_tokens)
    return body


def _text_format(response_format: Any) -> Json:
    if response_format == "auto":
        return {}
    if response_format["type"] == "json_schema":
        # The legacy API took null for an absent value; in Responses a description must not be null.
        schema = {key: value for key, value in response_format["json_schema"].items() if value is not None}
        return {"text": {"format": {"type": "json_schema", **schema, "schema": schema.get("schema") or {}}}}
    return {"text": {"format": {"type": response_format["type"]}}}


# How to translate each legacy parameter that the caller set.
_PARAM_CONVERTERS: dict[str, Callable[[Any], Json]] = {
    "temperature": lambda value: {"temperature": value},
    "top_p": lambda value: {"top_p": value},
    "parallel_tool_calls": lambda value: {"parallel_tool_calls": value},
    "reasoning_effort": lambda value: {"reasoning": {"effort": value}},
    "max_completion_tokens": lambda value: {"max_output_tokens": max(_MIN_OUTPUT_TOKENS, value)},
    "response_format": _text_format,
}
