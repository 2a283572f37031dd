"""What the library has served, a program can send back: the SDK's objects have nulls for all that an answer lacks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistants_compat.testing import StandIn
from kit.container_runs import run_to_end
from kit.doors import Door
from kit.legacy_code import CODE, FUNCTION, make_assistant, make_thread, waiting_run
from kit.upstream_requests import request_bodies

SEARCH = {"type": "file_search"}
SCHEMA = {"name": "answer", "schema": {"type": "object", "properties": {"a": {"default": None}}}}
ASSISTANTS: list[dict[str, Any]] = [
    {"model": "gpt-4o"},
    {"model": "gpt-4o", "tools": [*CODE, SEARCH, FUNCTION]},
    {
        "model": "gpt-4o",
        "name": "A",
        "instructions": "Answer in JSON.",
        "tools": [{"type": "file_search", "file_search": {"max_num_results": 3}}, FUNCTION],
        "temperature": 0.5,
        "metadata": {"a": "b"},
        "response_format": {"type": "json_object"},
    },
    {"model": "gpt-4o", "response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    {
        "model": "gpt-4o",
        "tools": [{"type": "file_search", "file_search": {"ranking_options": {"score_threshold": 0.5}}}],
        "tool_resources": {"file_search": {"vector_store_ids": []}, "code_interpreter": {"file_ids": []}},
    },
]
DUMPS: dict[str, Callable[[Any], Any]] = {
    "model_dump": lambda served: served.model_dump(by_alias=True),
    "json": lambda served: served.model_dump(by_alias=True, mode="json"),
    "to_dict": lambda served: served.to_dict(exclude_unset=False) if hasattr(served, "to_dict") else dict(served),
}
SET_BY_THE_SERVICE = {"id", "object", "created_at"}
RUN_PARAMETERS = (
    "model",
    "instructions",
    "tools",
    "metadata",
    "temperature",
    "top_p",
    "max_prompt_tokens",
    "max_completion_tokens",
    "truncation_strategy",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
)
DEFAULTS = {"top_p": 1.0, "parallel_tool_calls": True}  # served, so the second run asks for them
dumped = pytest.mark.parametrize("dump", DUMPS.values(), ids=DUMPS)


def parameters_of(dump: Callable[[Any], Any], served: Any) -> dict[str, Any]:
    """Return a served object as parameters that create one like it."""
    return {key: value for key, value in dump(served).items() if key not in SET_BY_THE_SERVICE}


@dumped
@pytest.mark.parametrize("fields", ASSISTANTS)
def test_an_assistant_is_created_from_another_one(
    door: Door, client: Any, dump: Callable[[Any], Any], fields: dict[str, Any]
) -> None:
    """An assistant that is created or updated with what another one was served as is served the same way."""
    assistants = client.beta.assistants
    first = door(assistants.create(**fields))
    parameters = parameters_of(dump, first)
    known = {**parameters}
    if parameters.get("reasoning_effort") is None:  # some versions of the SDK have no such parameter
        known.pop("reasoning_effort", None)
    second = door(assistants.create(**known))
    third = door(assistants.update(door(assistants.create(model="gpt-4")).id, **known))
    raw = [door(client.get(f"/assistants/{id_}", cast_to=object)) for id_ in (first.id, second.id, third.id)]
    served = [{key: value for key, value in entry.items() if key not in SET_BY_THE_SERVICE} for entry in raw]
    assert served[1] == served[0]
    assert served[2] == served[0]


@dumped
def test_a_run_is_created_with_the_parameters_of_another_one(
    door: Door, client: Any, upstream: StandIn, dump: Callable[[Any], Any]
) -> None:
    """A run with what another run was served as sends the same request."""
    assistant = make_assistant(door, client, **ASSISTANTS[2]).id
    parameters: dict[str, Any] = {"tools": ASSISTANTS[1]["tools"], "tool_choice": {"type": "code_interpreter"}}
    for _ in range(2):
        thread = make_thread(door, client).id
        run = run_to_end(door, client, thread, assistant, **parameters)
        accepted = inspect.signature(client.beta.threads.runs.create).parameters  # early versions lack some
        parameters = {key: value for key, value in dump(run).items() if key in RUN_PARAMETERS and key in accepted}
    first, second = ({**DEFAULTS, **body, "metadata": None} for body in request_bodies(upstream))
    assert second == first


@dumped
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # early versions do not know a link to an image
def test_a_thread_is_created_from_another_one(
    door: Door, client: Any, upstream: StandIn, dump: Callable[[Any], Any]
) -> None:
    """The resources, attachments and metadata of a served thread and message make the same thread and message."""
    file_id = upstream.put_file("a.txt", b"x", "assistants")
    image = {"type": "image_file", "image_file": {"file_id": file_id}}
    link = {"type": "image_url", "image_url": {"url": "https://images.test/a.png", "detail": "low"}}
    message = {
        "role": "user",
        "content": [image, link],
        "attachments": [{"file_id": file_id, "tools": CODE}],
        "metadata": {"a": "b"},
    }
    threads = client.beta.threads
    first = door(threads.create(messages=[message], metadata={"c": "d"}))
    [served] = door.all(threads.messages.list(first.id))
    kept = {key: dump(served)[key] for key in ("role", "content", "attachments", "metadata")}
    second = door(threads.create(messages=[kept], **parameters_of(dump, door(threads.retrieve(first.id)))))
    [copied] = door.all(threads.messages.list(second.id))
    assert [copied.content, copied.attachments, copied.metadata] == [
        served.content,
        served.attachments,
        served.metadata,
    ]
    assert door(threads.retrieve(second.id)).tool_resources == door(threads.retrieve(first.id)).tool_resources


NULLS: list[tuple[str, dict[str, Any]]] = [
    ("/assistants", {"tools": [{"type": "file_search", "file_search": None}]}),
    ("/assistants", {"tools": [{"type": "file_search", "file_search": {"max_num_results": None}}]}),
    ("/assistants", {"tools": [{"type": "file_search", "file_search": {"ranking_options": None}}]}),
    (
        "/assistants",
        {
            "tools": [
                {"type": "file_search", "file_search": {"ranking_options": {"ranker": None, "score_threshold": 0}}}
            ]
        },
    ),
    ("/assistants", {"tools": [{"type": "function", "function": {"name": "f", "description": None, "strict": None}}]}),
    ("/assistants", {"tool_resources": {"file_search": {"vector_store_ids": None, "vector_stores": None}}}),
    ("/assistants", {"tool_resources": {"code_interpreter": {"file_ids": None}}}),
    (
        "/assistants",
        {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": None, "chunking_strategy": None}]}}},
    ),
    ("/assistants", {"file_ids": None}),
    ("/threads", {"tool_resources": {"code_interpreter": None, "file_search": {"vector_store_ids": None}}}),
    ("/threads", {"messages": [{"role": "user", "content": "?", "attachments": None, "file_ids": None}]}),
    (
        "/threads",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://a.test/", "detail": None}}],
                }
            ]
        },
    ),
]


def without_null_keys(value: Any) -> Any:
    """Return JSON without the keys that are null."""
    if isinstance(value, list):
        return [without_null_keys(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {key: without_null_keys(entry) for key, entry in value.items() if entry is not None}


def post(door: Door, client: Any, path: str, body: Any) -> Any:
    """Send a request that the SDK does not check, and return the answer."""
    return door(client.post(path, body=body, cast_to=object, options={"headers": {"OpenAI-Beta": "assistants=v2"}}))


@pytest.mark.parametrize(("path", "body"), NULLS)
def test_nulls_of_optional_keys_count_as_absent(door: Door, client: Any, path: str, body: dict[str, Any]) -> None:
    """A null of an optional key below the request's own keys is accepted and leaves no trace."""
    served = []
    for sent in (body, without_null_keys(body)):
        given = {"model": "gpt-4o", **sent} if path == "/assistants" else sent
        created = post(door, client, path, given)
        if path == "/threads":
            messages = door.all(client.beta.threads.messages.list(created["id"]))
            created["messages"] = [(message.content, message.attachments) for message in messages]
        kept = {key: value for key, value in created.items() if key not in SET_BY_THE_SERVICE}
        served.append(re.sub(r"vs_\w+", "vs_", str(kept)))
    assert served[0] == served[1]


def test_the_tools_of_an_attachment_may_be_null_and_not_absent(door: Door, client: Any) -> None:
    """An attachment whose served `tools` are null is taken back; one without the key gets the reported 400."""
    body = {"messages": [{"role": "user", "content": "?", "attachments": [{"file_id": "file_1", "tools": None}]}]}
    assert post(door, client, "/threads", body)["object"] == "thread"
    with pytest.raises(openai.BadRequestError, match=r"'messages\[0\].attachments\[0\].tools'"):
        post(door, client, "/threads", without_null_keys(body))


def test_a_null_that_is_no_parameter_is_refused_as_before(door: Door, client: Any) -> None:
    """An unknown key is unknown with a null too, and so is a null where a value is required."""
    search = {"type": "file_search"}
    for tools, message in (
        ([{**search, "function": None}], r"Unknown parameter: 'tools\[0\].function'"),
        ([{"type": None}], r"Invalid type for 'tools\[0\].type'"),
        ([{"type": "function", "function": {"name": None}}], r"Invalid type for 'tools\[0\].function.name'"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            post(door, client, "/assistants", {"model": "gpt-4o", "tools": tools})
    choice = {"type": "file_search", "function": {"name": "f"}}
    thread, assistant = make_thread(door, client).id, make_assistant(door, client, tools=[search]).id
    with pytest.raises(openai.BadRequestError, match=r"Unknown parameter: 'tool_choice.function'"):
        post(door, client, f"/threads/{thread}/runs", {"assistant_id": assistant, "tool_choice": choice})


@dumped
def test_outputs_with_nulls_are_taken(door: Door, client: Any, upstream: StandIn, dump: Callable[[Any], Any]) -> None:
    """A tool output without an id and one without a text are taken as if their keys were absent."""
    run = waiting_run(door, client, upstream)
    outputs = [{"tool_call_id": None, "output": None}]
    done = door(client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs))
    assert dump(done)["status"] == "queued"
