"""Everything that the library sends for a mapped model passes the strict stand-in, for every family of models."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.service.model_families import EFFORTS, FAMILIES, ModelFamily
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.upstream_requests import request_bodies

OLD_MODEL = "gpt-4o"
FUNCTION = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False},
}
CODE, SEARCH = {"type": "code_interpreter"}, {"type": "file_search"}
SCHEMA = {"name": "n", "schema": {"type": "object", "properties": {}, "additionalProperties": False}, "strict": True}
# What an assistant for gpt-4o or o3-mini may have; every one was taken by the old service.
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampling": {"temperature": 0.2, "top_p": 0.5},
    "default sampling": {"temperature": 1.0, "top_p": 1.0},
    "json": {"response_format": {"type": "json_object"}, "instructions": "Answer in JSON."},
    "schema": {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    "function": {"tools": [FUNCTION], "temperature": 0.2},
    "code": {"tools": [CODE], "temperature": 0.2},
    "search": {"tools": [SEARCH], "top_p": 1.0},
    "every tool": {"tools": [CODE, SEARCH, FUNCTION], "temperature": 2.0, "top_p": 0.1},
    **{f"effort {effort}": {"reasoning_effort": effort, "temperature": 0.2} for effort in EFFORTS},
}
RUN_SHAPES: dict[str, dict[str, Any]] = {
    "serial calls": {"parallel_tool_calls": False},
    "forced": {"tool_choice": "required"},
    "short": {"max_completion_tokens": 1},
}
CASES: list[tuple[str, dict[str, Any]]] = [(shape, {}) for shape in SHAPES] + [
    (shape, run_shape) for shape in ("function", "every tool") for run_shape in RUN_SHAPES.values()
]
STREAMED = ("sampling", "json", "every tool")


def _behaviour(family: ModelFamily) -> tuple[object, ...]:
    return tuple(value for key, value in asdict(family).items() if key not in {"prefix", "sources"})


# One family for each behaviour: half of them differ in the name only.
DISTINCT = list({_behaviour(family): family for family in FAMILIES}.values())


def lacks_a_tool(family: ModelFamily, shape: dict[str, Any]) -> bool:
    """Whether the family has no such tool, about which nothing can be done."""
    return not {tool["type"] for tool in shape.get("tools", ())} - {"function"} <= set(family.hosted_tools)


@pytest.mark.parametrize("effort", [None, "none"])
@pytest.mark.parametrize("family", DISTINCT, ids=lambda family: family.prefix)
def test_an_assistant_of_a_mapped_model_is_taken(
    family: ModelFamily, effort: str | None, sync: Door, sqlite_settings: Settings, upstream: StandIn
) -> None:
    """Every assistant runs on every family, stored or not, polled and streamed, with one request for each run."""
    target = family.prefix if effort is None else f"{family.prefix} effort {effort}"
    for stored in (True, False):
        settings = replace(sqlite_settings, models={OLD_MODEL: target}, store_responses=stored)
        client = sync.client(upstream, settings)
        runs, store_id = client.beta.threads.runs, client.post("/vector_stores", body={}, cast_to=object)["id"]
        for name, run_shape in CASES:
            assistant = client.beta.assistants.create(model=OLD_MODEL, **_body_of(SHAPES[name], store_id))
            thread = client.beta.threads.create(messages=[{"role": "user", "content": "2+2?"}])
            params = {"thread_id": thread.id, "assistant_id": assistant.id, **run_shape}
            if lacks_a_tool(family, SHAPES[name]):
                with pytest.raises(openai.BadRequestError, match="is not supported with"):
                    runs.create_and_poll(**params)
                continue
            before = len(request_bodies(upstream))
            assert runs.create_and_poll(**params).status == "completed"
            if name in STREAMED:
                with runs.stream(**params) as stream:
                    stream.until_done()
            assert len(request_bodies(upstream)) - before == (2 if name in STREAMED else 1)


def _body_of(shape: dict[str, Any], store_id: str) -> dict[str, Any]:
    body = {key: value for key, value in shape.items() if key != "reasoning_effort"}
    if SEARCH in shape.get("tools", ()):
        body["tool_resources"] = {"file_search": {"vector_store_ids": [store_id]}}
    # `reasoning_effort` is newer than some of the SDKs under which the tests run.
    effort = shape.get("reasoning_effort")
    return body if effort is None else {**body, "extra_body": {"reasoning_effort": effort}}


@pytest.mark.parametrize("family", DISTINCT, ids=lambda family: family.prefix)
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
def test_later_rounds_of_a_mapped_model_are_taken(
    family: ModelFamily, *, stored: bool, sync: Door, sqlite_settings: Settings, upstream: StandIn
) -> None:
    """A run with functions finishes in its second round, and a later run of its thread is taken too."""
    settings = replace(sqlite_settings, models={OLD_MODEL: family.prefix}, store_responses=stored)
    client = sync.client(upstream, settings)
    params = {"temperature": 0.2, "top_p": 1.0, "response_format": {"type": "json_object"}}
    assistant = client.beta.assistants.create(model=OLD_MODEL, instructions="JSON", tools=[FUNCTION], **params)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "2+2?"}])
    reasoning = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAsecret"}
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"}
    upstream.script(Turn(output=[*([reasoning] if family.reasons else []), call]), Turn("{}"), Turn("{}"))
    runs = client.beta.threads.runs
    run = runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, parallel_tool_calls=False)
    assert run.status == "requires_action"
    outputs = [{"tool_call_id": "call_1", "output": "4"}]
    run = runs.submit_tool_outputs_and_poll(thread_id=thread.id, run_id=run.id, tool_outputs=outputs)
    assert run.status == "completed", run.last_error
    client.beta.threads.messages.create(thread.id, role="user", content="And 3+3?")
    assert runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id).status == "completed"
    assert len(request_bodies(upstream)) == 3


def test_a_model_that_the_caller_named_is_refused_as_it_was(
    sync: Door, sqlite_settings: Settings, upstream: StandIn
) -> None:
    """Without a mapping nothing is left out: the refusal is the caller's to see."""
    client = sync.client(upstream, sqlite_settings)
    assistant = client.beta.assistants.create(model="gpt-5.6-luna", temperature=0.2)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "2+2?"}])
    with pytest.raises(openai.BadRequestError, match="Unsupported parameter"):
        client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
