"""A model that `Settings(models=...)` replaces gets requests that it takes, in every round, polled and streamed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings, responses_request
from assistants_compat.service.model_families import FAMILIES, ModelFamily
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import FUNCTION, finish_run, run_again, submit_outputs, upstream_calls, waiting_run
from kit.streams import read_rest, start_stream

POST = "POST /responses"
# What assistants of the old models have, and the new ones refuse.
OLD_VALUES: dict[str, Any] = {"temperature": 0.2, "top_p": 1.0, "tools": [FUNCTION]}
OLD_OPTIONS: dict[str, Any] = {"extra_body": {"reasoning_effort": "minimal", "parallel_tool_calls": False}}
REFUSED_KEYS = ("temperature", "top_p", "reasoning", "parallel_tool_calls")


@pytest.fixture
def settings(sqlite_settings: Settings) -> Settings:
    """SQLite, because the database plays no part."""
    return sqlite_settings


def bodies(upstream: StandIn) -> list[Any]:
    """Return the bodies of the requests for a response."""
    return [request.json for request in upstream.requests if (request.method, request.path) == ("POST", "/responses")]


def sent_values(upstream: StandIn) -> list[dict[str, Any]]:
    """Return what each request had of the parameters that models may refuse."""
    return [{key: body[key] for key in REFUSED_KEYS if key in body} for body in bodies(upstream)]


@pytest.mark.refusal("sampling_unsupported", "effort_value_unsupported", "parallel_tool_calls_unsupported")
@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("gpt-5.6-luna", {"reasoning": {"effort": "low"}, "parallel_tool_calls": False}),
        ("o3", {"reasoning": {"effort": "low"}}),
        ("gpt-4.1", {"temperature": 0.2, "top_p": 1.0, "parallel_tool_calls": False}),
        (
            "gpt-5.6-luna effort none",
            {"temperature": 0.2, "top_p": 1.0, "reasoning": {"effort": "none"}, "parallel_tool_calls": False},
        ),
        (
            {"model": "gpt-6-luna", "reasoning_effort": "none"},
            {"temperature": 0.2, "top_p": 1.0, "reasoning": {"effort": "none"}, "parallel_tool_calls": False},
        ),
    ],
)
def test_a_replaced_model_is_not_sent_what_it_refuses(
    door: Door, upstream: StandIn, settings: Settings, target: Any, sent: dict[str, Any]
) -> None:
    """A run with the old values completes in two rounds, each one request, and still shows the old values."""
    client = door.client(upstream, replace(settings, models={"gpt-4o": target}))
    run = waiting_run(door, client, upstream, assistant=OLD_VALUES, **OLD_OPTIONS)
    submit_outputs(door, client, run)
    assert door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"
    assert sent_values(upstream) == [sent, sent]
    assert (run.model, run.temperature, run.top_p) == ("gpt-4o", 0.2, 1.0)
    run_again(door, client, run, "Again.", **OLD_OPTIONS)
    assert sent_values(upstream)[2] == sent


@pytest.mark.refusal("sampling_unsupported", "effort_value_unsupported", "parallel_tool_calls_unsupported")
def test_a_stream_is_not_sent_what_it_refuses_either(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A streamed run of a replaced model completes with one request."""
    client = door.client(upstream, replace(settings, models={"gpt-4o": "gpt-5.6-luna"}))
    events = read_rest(door, start_stream(door, client, assistant=OLD_VALUES, **OLD_OPTIONS))
    assert "thread.run.completed" in [event.event for event in events]
    assert upstream_calls(upstream) == [POST]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.prefix)
def test_every_family_takes_the_requests_of_an_old_assistant(
    sync: Door, upstream: StandIn, settings: Settings, family: ModelFamily
) -> None:
    """Whatever known model replaces an old one, a run with all of the old values costs one request and completes."""
    client = sync.client(upstream, replace(settings, models={"gpt-4o": family.prefix}))
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    run = finish_run(sync, client, assistant={**OLD_VALUES, "response_format": schema}, **OLD_OPTIONS)
    assert run.status == "completed"
    assert upstream_calls(upstream, POST) == [POST]


def test_a_chain_of_replacements_is_followed(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A run requests the last model of a chain, with the effort that the chain sets."""
    models = {"gpt-4-turbo": "gpt-4o", "gpt-4o": "gpt-5.6-luna effort none", "gpt-5.6-luna": "gpt-6-luna"}
    client = door.client(upstream, replace(settings, models=models))
    assert finish_run(door, client, assistant={"model": "gpt-4-turbo"}).status == "completed"
    assert (bodies(upstream)[0]["model"], bodies(upstream)[0]["reasoning"]) == ("gpt-6-luna", {"effort": "none"})


def test_what_is_left_out_is_logged_once_a_model(
    door: Door, upstream: StandIn, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Each parameter that a replaced model does not get as it was set is logged once, with the way to keep it."""
    client = door.client(upstream, replace(settings, models={"gpt-4o": "gpt-5.6-luna"}))
    with caplog.at_level(logging.INFO, "assistants_compat"):
        run = finish_run(door, client, assistant={"temperature": 0.2}, extra_body={"reasoning_effort": "minimal"})
        run_again(door, client, run, "Again.")
    lines = [record.getMessage() for record in caplog.records if record.name == "assistants_compat"]
    assert lines == [
        "model gpt-4o is sent upstream as gpt-5.6-luna (Settings.models)",
        "reasoning_effort='minimal' is sent as 'low', the nearest one that gpt-5.6-luna takes",
        (
            "temperature=0.2 is not sent, because gpt-5.6-luna takes it only at effort none "
            "(Settings.models: 'gpt-5.6-luna effort none')"
        ),
        "model gpt-4o is sent upstream as gpt-5.6-luna (Settings.models)",
    ]


def test_the_preview_shows_what_is_left_out(door: Door, upstream: StandIn, settings: Settings) -> None:
    """`responses_request` returns the request as it is sent, with a note for each parameter that is left out."""
    client = door.client(upstream, replace(settings, models={"gpt-4o": "o3"}))
    assistant = door(client.beta.assistants.create(model="gpt-4o", **OLD_VALUES))
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": "Hello."}]))
    request = door(responses_request(client, assistant.id, thread.id, parallel_tool_calls=False))
    assert not request.keys() & set(REFUSED_KEYS)
    assert [note.partition(" is not sent, because o3 refuses it")[0] for note in request.notes] == [
        "temperature=0.2",
        "top_p=1.0",
        "parallel_tool_calls=False",
    ]
    assistant = door(client.beta.assistants.create(model="gpt-4.1", temperature=0.2))
    assert door(responses_request(client, assistant.id, thread.id)).notes == ()


@pytest.mark.refusal("sampling_unsupported")
def test_a_model_that_the_caller_named_is_sent_everything(door: Door, client: Any, upstream: StandIn) -> None:
    """Without a replacement the upstream's refusal is the caller's to see, as before."""
    with pytest.raises(openai.BadRequestError, match="'temperature' is not supported with this model"):
        finish_run(door, client, assistant={"model": "gpt-5.6-luna", "temperature": 0.2})
    assert bodies(upstream)[0]["temperature"] == 0.2
    assert len(bodies(upstream)) == 1


@pytest.mark.refusal("json_schema_unsupported")
def test_an_old_model_answers_a_schema_in_json_mode(door: Door, upstream: StandIn, settings: Settings) -> None:
    """A model that takes no JSON schema is asked for JSON, with the schema as a message that it reads."""
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    client = door.client(upstream, replace(settings, models={"gpt-4o": "gpt-4-turbo"}))
    run = finish_run(door, client, response_format=schema)
    assert run.status == "completed"
    [body] = bodies(upstream)
    assert body["text"] == {"format": {"type": "json_object"}}
    assert body["input"][0]["role"] == "developer"


@pytest.mark.refusal("encrypted_unsupported")
def test_encrypted_reasoning_is_requested_only_where_it_exists(
    door: Door, upstream: StandIn, settings: Settings
) -> None:
    """With `store_responses=False`, a model that does not reason is not asked for encrypted reasoning."""
    client = door.client(upstream, replace(settings, store_responses=False))
    upstream.script(Turn(text="Done."), Turn(text="Done."))
    assert finish_run(door, client, assistant={"model": "gpt-4o"}).status == "completed"
    assert finish_run(door, client, assistant={"model": "gpt-5.6-luna"}).status == "completed"
    assert [body.get("include") for body in bodies(upstream)] == [None, ["reasoning.encrypted_content"]]
