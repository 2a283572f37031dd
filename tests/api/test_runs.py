"""Runs are created, advance and end as in the service, and lock their thread while active."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    finish_run,
    get_raw,
    make_assistant,
    make_thread,
    retrieve_run,
    start_run,
    upstream_calls,
)

KEYS = [
    "id",
    "object",
    "created_at",
    "assistant_id",
    "thread_id",
    "status",
    "started_at",
    "expires_at",
    "cancelled_at",
    "failed_at",
    "completed_at",
    "required_action",
    "last_error",
    "model",
    "instructions",
    "tools",
    "tool_resources",
    "metadata",
    "temperature",
    "top_p",
    "reasoning_effort",
    "max_completion_tokens",
    "max_prompt_tokens",
    "truncation_strategy",
    "incomplete_details",
    "usage",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
]


def test_a_new_run_is_served_as_recorded(door: Door, client: Any) -> None:
    """A new run is queued, has the 29 recorded keys with their defaults, and expires in ten minutes."""
    assistant = make_assistant(door, client)
    thread = make_thread(door, client)
    run = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)).to_dict()
    assert sorted(run) == sorted(KEYS)
    assert list(get_raw(door, client, f"/threads/{thread.id}/runs/{run['id']}")) == KEYS
    assert run == {
        **dict.fromkeys(KEYS),
        "id": run["id"],
        "object": "thread.run",
        "created_at": run["created_at"],
        "assistant_id": assistant.id,
        "thread_id": thread.id,
        "status": "queued",
        "expires_at": run["created_at"] + 600,
        "model": "gpt-4o",
        "instructions": "Help.",
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "response_format": "auto",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }


def test_each_poll_advances_a_run(door: Door, client: Any, upstream: StandIn) -> None:
    """Each poll advances a run from queued through in progress to completed, with the recorded timestamps."""
    upstream.script(Turn(text="Done.", polls=1))
    run = start_run(door, client)
    assert (run.status, run.started_at) == ("queued", None)
    working = door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert (working.status, working.usage, working.expires_at) == ("in_progress", None, run.created_at + 600)
    assert working.started_at >= run.created_at
    ended = door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert (ended.status, ended.expires_at, ended.started_at) == ("completed", None, working.started_at)
    assert ended.completed_at >= ended.started_at
    assert (ended.failed_at, ended.cancelled_at, ended.last_error) == (None, None, None)


def test_a_run_overrides_its_assistant(door: Door, client: Any, upstream: StandIn) -> None:
    """Fields of the run replace the assistant's, in the run and upstream, and the others are inherited."""
    run = start_run(
        door,
        client,
        assistant={"temperature": 0.1, "top_p": 0.2, "tools": CODE, "metadata": {"of": "assistant"}},
        model="gpt-4o-mini",
        instructions="Shout.",
        additional_instructions="Loudly.",
        temperature=0.9,
        metadata={"of": "run"},
        max_completion_tokens=500,
        response_format={"type": "text"},  # JSON mode would move the instructions into the input
        tools=[],
    )
    served = run.to_dict()
    expected = {
        "model": "gpt-4o-mini",
        "instructions": "Shout.\nLoudly.",
        "temperature": 0.9,
        "top_p": 0.2,
        "metadata": {"of": "run"},
        "max_completion_tokens": 500,
        "response_format": {"type": "text"},
        "tools": [],
    }
    assert {key: served[key] for key in expected} == expected
    sent = upstream.requests[0].json
    assert sent["model"] == "gpt-4o-mini"
    assert sent["instructions"] == "Shout.\nLoudly."
    assert (sent["temperature"], sent["top_p"], sent["max_output_tokens"]) == (0.9, 0.2, 500)
    assert sent["text"] == {"format": {"type": "text"}}
    assert "tools" not in sent


def test_a_default_is_echoed_but_never_sent(door: Door, client: Any, upstream: StandIn) -> None:
    """Defaults such as temperature 1.0 are served but not sent upstream, where some models refuse them."""
    start_run(door, client)
    assert set(upstream.requests[0].json) == {"model", "instructions", "input", "store", "background"}
    assert upstream.requests[0].json["store"] is True


def test_additional_messages_join_the_thread_first(door: Door, client: Any, upstream: StandIn) -> None:
    """Additional messages of a run join the thread in order, and the model reads them."""
    more = [{"role": "user", "content": "two"}, {"role": "assistant", "content": "three"}]
    run = finish_run(door, client, additional_messages=more)
    messages = door.all(client.beta.threads.messages.list(run.thread_id, order="asc"))
    texts = [message.content[0].text.value for message in messages]
    assert texts == ["Hello.", "two", "three", "You said: two"]
    assert [item["role"] for item in upstream.requests[0].json["input"]] == ["user", "user", "assistant"]


def test_a_second_run_sends_the_answer_of_the_first(door: Door, client: Any, upstream: StandIn) -> None:
    """A second run sends the whole transcript, with earlier answers as plain text and without upstream ids."""
    upstream.script(Turn(text="Blue."), Turn(text="Because."))
    run = finish_run(door, client)
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="Why?"))
    door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    [_, second] = [request.json for request in upstream.requests if request.method == "POST"]
    assert second["input"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello."}]},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": [{"type": "input_text", "text": "Why?"}]},
    ]


def test_code_interpreter_gets_the_files_and_includes_its_outputs(door: Door, client: Any, upstream: StandIn) -> None:
    """Code Interpreter gets the files of assistant and thread, and every request and poll asks for its outputs."""
    first, second = (upstream.put_file(name, b"x", "assistants") for name in ("a.csv", "b.csv"))
    assistant = make_assistant(door, client, tools=CODE, tool_resources={"code_interpreter": {"file_ids": [first]}})
    attachment = {"file_id": second, "tools": CODE}
    thread = door(
        client.beta.threads.create(messages=[{"role": "user", "content": "Read", "attachments": [attachment]}])
    )
    upstream.script(Turn(text="Read."))
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    sent = upstream.requests[0].json
    assert sent["tools"] == [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [first, second]}}]
    assert sent["include"] == ["code_interpreter_call.outputs"]
    queries = [request.query for request in upstream.requests[1:]]
    assert queries
    assert set(queries) == {(("include[]", "code_interpreter_call.outputs"),)}


def test_runs_are_listed_newest_first(door: Door, client: Any) -> None:
    """The runs of a thread are listed newest first, with limit, order and cursors."""
    first = finish_run(door, client)
    ids = [first.id]
    for _ in range(2):
        run = door(client.beta.threads.runs.create_and_poll(thread_id=first.thread_id, assistant_id=first.assistant_id))
        ids.append(run.id)
    runs = client.beta.threads.runs
    assert [run.id for run in door.all(runs.list(first.thread_id))] == ids[::-1]
    assert [run.id for run in door.all(runs.list(first.thread_id, limit=1, order="asc"))] == ids
    assert [run.id for run in door(runs.list(first.thread_id, after=ids[2])).data] == [ids[1], ids[0]]
    assert [run.id for run in door(runs.list(first.thread_id, before=ids[0])).data] == [ids[2], ids[1]]


def test_listing_advances_the_active_run(door: Door, client: Any, upstream: StandIn) -> None:
    """Listing runs or messages advances the active run, so that a script which only lists sees its run end."""
    upstream.script(Turn(text="One.", polls=0), Turn(text="Two.", polls=0))
    run = start_run(door, client)
    assert [listed.status for listed in door.all(client.beta.threads.runs.list(run.thread_id))] == ["completed"]
    run = start_run(door, client)
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Two."


def test_an_update_of_a_run_changes_its_metadata(door: Door, client: Any, upstream: StandIn) -> None:
    """An update adds to the metadata of a finished run; a run in progress refuses it with the recorded text."""
    upstream.script(Turn(text="Slow.", polls=2))
    run = start_run(door, client, metadata={"a": "1"})
    runs = client.beta.threads.runs
    assert door(runs.retrieve(run.id, thread_id=run.thread_id)).status == "in_progress"
    with pytest.raises(openai.BadRequestError) as caught:
        door(runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"}))
    assert caught.value.body == {
        "message": "Cannot update run with status 'in_progress'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    finished = door(runs.poll(run.id, thread_id=run.thread_id))
    assert finished.metadata == {"a": "1"}
    updated = door(runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"}))
    assert updated.to_dict() == {**finished.to_dict(), "metadata": {"a": "1", "b": "2"}}
    assert door(runs.retrieve(run.id, thread_id=run.thread_id)) == updated


def test_an_update_finds_that_the_run_has_ended(door: Door, client: Any, upstream: StandIn) -> None:
    """An update polls the run before it refuses, and ignores a failure of that poll."""
    upstream.script(Turn(text="Done.", polls=1))
    run, runs = start_run(door, client), client.beta.threads.runs
    assert door(runs.retrieve(run.id, thread_id=run.thread_id)).status == "in_progress"
    upstream.fault(Fault("GET /responses/*", status=500))
    with pytest.raises(openai.BadRequestError, match=r"Cannot update run with status 'in_progress'\."):
        door(runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"}))
    updated = door(runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"}))
    assert (updated.status, updated.metadata) == ("completed", {"b": "2"})


def test_create_and_run_makes_a_thread(door: Door, client: Any) -> None:
    """`create_and_run` creates a thread and a run; an assistant with instructions needs no messages."""
    assistant = make_assistant(door, client, tools=CODE)
    run = door(
        client.beta.threads.create_and_run(
            assistant_id=assistant.id,
            thread={"messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "1"}},
            tool_resources={"code_interpreter": {"file_ids": []}},
        )
    )
    assert run.status == "queued"
    thread = door(client.beta.threads.retrieve(run.thread_id))
    assert thread.metadata == {"a": "1"}
    without_thread = door(client.beta.threads.create_and_run(assistant_id=assistant.id))
    assert door.all(client.beta.threads.messages.list(without_thread.thread_id, run_id="run_none")) == []


def test_create_and_run_poll_returns_the_finished_run(door: Door, client: Any) -> None:
    """`create_and_run_poll` returns the completed run, with its answer on the new thread."""
    assistant = make_assistant(door, client)
    run = door(
        client.beta.threads.create_and_run_poll(
            assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}
        )
    )
    assert run.status == "completed"
    [answer, question] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert (answer.content[0].text.value, question.content[0].text.value) == ("You said: Hi", "Hi")


def test_usage_is_served_under_the_legacy_names(door: Door, client: Any, upstream: StandIn) -> None:
    """A run's usage is the response's under the legacy names, and the sum of its steps' usages."""
    usage = {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 10},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 37,
    }
    upstream.script(Turn(text="Done.", code="1", logs="1", usage=usage))
    run = finish_run(door, client, assistant={"tools": CODE})
    served = get_raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["usage"]
    assert served == {
        "prompt_tokens": 30,
        "completion_tokens": 7,
        "total_tokens": 37,
        "prompt_token_details": {"cached_tokens": 10},  # "prompt", unlike the other key (recorded)
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert len(steps) == 2
    assert sum(step.usage.total_tokens for step in steps) == 37
    assert sum(step.usage.prompt_tokens for step in steps) == 30


@pytest.mark.parametrize(
    ("code", "served"),
    [
        ("rate_limit_exceeded", "rate_limit_exceeded"),
        ("insufficient_quota", "rate_limit_exceeded"),
        ("server_error", "server_error"),
        ("bio_policy", "server_error"),
    ],
)
def test_a_failed_response_fails_the_run(door: Door, client: Any, upstream: StandIn, code: str, served: str) -> None:
    """A failed response fails the run; `last_error` keeps the message, and maps unknown codes to `server_error`."""
    upstream.script(Turn(status="failed", error={"code": code, "message": "The model fell over."}))
    run = finish_run(door, client)
    assert run.status == "failed"
    assert run.last_error.to_dict() == {"code": served, "message": "The model fell over."}
    assert run.failed_at >= run.created_at
    assert (run.completed_at, run.expires_at, run.cancelled_at) == (None, None, None)
    assert door(client.beta.threads.messages.create(run.thread_id, role="user", content="Again?")).role == "user"


def test_an_incomplete_response_makes_the_run_incomplete(door: Door, client: Any, upstream: StandIn) -> None:
    """A token limit makes the run incomplete with the legacy reason and keeps its text as an incomplete message."""
    upstream.script(Turn(text="Once upon a", status="incomplete", polls=0))
    run = retrieve_run(door, client, start_run(door, client, max_completion_tokens=16))
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert run.expires_at is None
    [message] = get_raw(door, client, f"/threads/{run.thread_id}/messages?run_id={run.id}")["data"]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "max_tokens"})
    assert message["content"][0]["text"]["value"] == "Once upon a"
    assert message["incomplete_at"] is not None
    assert message["completed_at"] is None


def test_a_thread_with_an_active_run_refuses_messages_and_runs(door: Door, client: Any, upstream: StandIn) -> None:
    """Messages and runs on a busy thread are refused with the recorded 400s, and nothing goes upstream."""
    upstream.script(Turn(text="Slow.", polls=10))
    run = start_run(door, client)
    with pytest.raises(openai.BadRequestError) as message:
        door(client.beta.threads.messages.create(run.thread_id, role="user", content="x"))
    with pytest.raises(openai.BadRequestError) as second:
        door(client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
    texts = [
        f"Can't add messages to {run.thread_id} while a run {run.id} is active.",
        f"Thread {run.thread_id} already has an active run {run.id}.",
    ]
    for caught, text in zip((message, second), texts, strict=True):
        assert caught.value.response.text == (
            "{\n"
            '  "error": {\n'
            f'    "message": "{text}",\n'
            '    "type": "invalid_request_error",\n'
            '    "param": null,\n'
            '    "code": null\n'
            "  }\n"
            "}"
        )
    assert upstream_calls(upstream, "POST /responses") == ["POST /responses"]
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 1


def test_a_run_needs_a_user_message_or_instructions(door: Door, client: Any, upstream: StandIn) -> None:
    """A run with neither a user message nor instructions gets the recorded 400 and makes no upstream request."""
    assistant = door(client.beta.assistants.create(model="gpt-4o"))
    thread = door(client.beta.threads.create())
    with pytest.raises(openai.BadRequestError) as caught:
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert caught.value.body == {
        "message": "Run creation requires a Thread with a user message or an assistant with instructions.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_thread",
    }
    assert door.all(client.beta.threads.runs.list(thread.id)) == []
    assert upstream.requests == []


def test_a_run_with_an_unknown_object_is_a_404(door: Door, client: Any, upstream: StandIn) -> None:
    """An unknown assistant, thread or run is a 404 that names it, also in `create_and_run`."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    threads = client.beta.threads
    calls = {
        "No assistant found with id 'asst_x'.": [
            lambda: threads.runs.create(thread.id, assistant_id="asst_x"),
            lambda: threads.create_and_run(assistant_id="asst_x"),
        ],
        "No thread found with id 'thread_x'.": [
            lambda: threads.runs.create("thread_x", assistant_id=assistant.id),
            lambda: threads.runs.retrieve("run_x", thread_id="thread_x"),
        ],
        "No run found with id 'run_x'.": [
            lambda: threads.runs.retrieve("run_x", thread_id=thread.id),
            lambda: threads.runs.update("run_x", thread_id=thread.id),
        ],
    }
    for text, calls_with_text in calls.items():
        for call in calls_with_text:
            with pytest.raises(openai.NotFoundError) as caught:
                door(call())
            assert caught.value.response.json()["error"]["message"] == text
    assert upstream.requests == []
