"""What a run sends upstream: `POST /responses` from an assistant, a thread and a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..wire.objects import Json, Run

OUTPUTS = "code_interpreter_call.outputs"
"""Without this `include` the outputs of a call are null (recorded); every request with the tool sends it."""

RESULTS = "file_search_call.results"
"""Without this `include` a search tells nothing of what it found (recorded); every request with the tool sends it."""

REASONING = "reasoning.encrypted_content"

_FREE_CHOICES = ("none", "auto")
_LEAST_OUTPUT_TOKENS = 16  # the Responses API refuses less (spec)


def request_from_run(  # noqa: PLR0913 - a run, what was given, and what the request names besides
    run: Run,
    given: Mapping[str, Any],
    file_ids: list[str],
    *,
    stores: Sequence[str] = (),
    store: bool = True,
    limits: Mapping[str, Any] | None = None,
) -> Json:
    """The body of `POST /responses` without its `input`, and without how it is to be answered.

    `given` holds what the caller set on the run or the assistant: a default that is only echoed (temperature 1.0) is
    not sent, because reasoning models refuse it.  `store` is always explicit: a background response may otherwise not
    outlive ten minutes (platform.md section 5).  `stores` are the vector stores to search, the assistant's and the
    thread's; without any the tool is not sent.  `limits` are the keys of a container that somebody set, its
    `memory_limit` and `network_policy`: what nobody set is not sent, and stays as narrow as the upstream has it.
    """
    body: Json = {"model": run["model"], "store": store}
    if run["instructions"]:
        body["instructions"] = run["instructions"]
    for key, put in _PARAMETERS.items():
        if given.get(key) is not None:
            body.update(put(given[key]))
    if run["tools"]:
        container = {"type": "auto", **({"file_ids": file_ids} if file_ids else {}), **(limits or {})}
        tools = [_TOOLS[tool["type"]](tool, container) for tool in run["tools"]]
        if tools := _with_stores(tools, stores, run["model"]):
            body["tools"] = tools
    choice = given.get("tool_choice")
    # Without tools `none` and `auto` say nothing; to force a call then is for the upstream to refuse.
    if choice is not None and (body.get("tools") or choice not in _FREE_CHOICES) and not _is_lost(choice, run, body):
        body["tool_choice"] = _tool_choice(choice)
    used = {tool["type"] for tool in body.get("tools", ())}
    include = [hidden for kind, hidden in _HIDDEN.items() if kind in used]
    if not store:
        include.append(REASONING)  # without a stored response, only this continues a chain of thought
    if include:
        body["include"] = include
    return body


def _code_interpreter(_tool: Json, container: Json) -> Json:
    return {"type": "code_interpreter", "container": container}


def _function(tool: Json, _container: Json) -> Json:
    # `strict` is always sent: where it is left out, Responses makes every argument mandatory (platform.md section 10).
    return {"type": "function", **tool["function"]}


def _file_search(tool: Json, _container: Json) -> Json:
    given = tool.get("file_search") or {}
    ranking = given.get("ranking_options") or {}
    # Only what bears on a search: the legacy ranker's name is not known to this API, and its default is the same.
    kept = {key: ranking[key] for key in ("score_threshold", "hybrid_search") if ranking.get(key)}
    limit = {"max_num_results": given["max_num_results"]} if given.get("max_num_results") else {}
    return {"type": "file_search", "vector_store_ids": [], **limit, **({"ranking_options": kept} if kept else {})}


_TOOLS = {"code_interpreter": _code_interpreter, "file_search": _file_search, "function": _function}
_HIDDEN = {"code_interpreter": OUTPUTS, "file_search": RESULTS}


def _with_stores(tools: list[Json], stores: Sequence[str], model: str) -> list[Json]:
    """The tools with the vector stores to search; without a store the tool is left out (the spec wants one)."""
    if not stores:
        return [tool for tool in tools if tool["type"] != "file_search"]
    # The service's own default for a model with a short context (spec); for all others it is the upstream's.
    few = {"max_num_results": 5} if model.startswith("gpt-3.5") else {}
    searching = {"vector_store_ids": list(stores)}
    return [{**few, **tool, **searching} if tool["type"] == "file_search" else tool for tool in tools]


def _is_lost(choice: Any, run: Run, body: Json) -> bool:
    """Whether a choice forces a call of the search that was left out for want of a store."""
    kinds = {tool["type"] for tool in run["tools"]} - {tool["type"] for tool in body.get("tools", ())}
    return "file_search" in kinds and (choice == {"type": "file_search"} or not body.get("tools"))


def stores_of(request: Mapping[str, Any]) -> list[str]:
    """The vector stores that a request searches."""
    return [id_ for tool in request.get("tools") or () for id_ in tool.get("vector_store_ids", ())]


def container_of(request: Mapping[str, Any]) -> Json | str | None:
    """Where a request's code is to work: a container's id, what a new one gets, or None without the tool."""
    tools = (tool for tool in request.get("tools") or () if tool["type"] == "code_interpreter")
    return next((tool["container"] for tool in tools), None)


def in_container(request: Mapping[str, Any], container: Json | str) -> Json:
    """The same request with its code in another container."""
    here = [
        {**tool, "container": container} if tool["type"] == "code_interpreter" else tool for tool in request["tools"]
    ]
    return {**request, "tools": here}


def _tool_choice(choice: Any) -> Any:
    """The same words; a function is named without its nesting."""
    if isinstance(choice, dict) and choice["type"] == "function":
        return {"type": "function", "name": choice["function"]["name"]}
    return choice


def continued(request: Json, response_id: str, spent: int, budget: int | None) -> Json:
    """The request of a run's next round: it continues the response, with what is left of the completion budget.

    A tool that had to be called has been: sent again, the choice would have it called for ever.  A response that the
    upstream did not store is continued by its items instead.
    """
    body = dict(request)
    if body["store"]:
        body["previous_response_id"] = response_id
    if body.get("tool_choice") not in _FREE_CHOICES:
        body.pop("tool_choice", None)
    if budget is not None:
        body["max_output_tokens"] = max(_LEAST_OUTPUT_TOKENS, budget - spent)
    return body


def _text_format(response_format: Any) -> Json:
    if response_format == "auto":
        return {}
    if response_format["type"] == "json_schema":
        # Null is as good as absent there; a description may not be null here.
        schema = {key: value for key, value in response_format["json_schema"].items() if value is not None}
        return {"text": {"format": {"type": "json_schema", **schema, "schema": schema.get("schema") or {}}}}
    return {"text": {"format": {"type": response_format["type"]}}}


# What becomes of each legacy parameter upstream, when the caller set it.
_PARAMETERS: dict[str, Callable[[Any], Json]] = {
    "temperature": lambda value: {"temperature": value},
    "top_p": lambda value: {"top_p": value},
    "parallel_tool_calls": lambda value: {"parallel_tool_calls": value},
    "reasoning_effort": lambda value: {"reasoning": {"effort": value}},
    "max_completion_tokens": lambda value: {"max_output_tokens": max(_LEAST_OUTPUT_TOKENS, value)},
    "response_format": _text_format,
}
