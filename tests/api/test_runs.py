"""Runs: what they are when they are made, how they end, and what the thread refuses meanwhile."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import CODE, asked, finish_run, make_assistant, make_thread, raw, start_run

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
    """A run is queued with the 29 recorded keys, their defaults, and ten minutes to live."""
    assistant = make_assistant(door, client)
    thread = make_thread(door, client)
    run = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)).to_dict()
    assert sorted(run) == sorted(KEYS)
    assert list(raw(door, client, f"/threads/{thread.id}/runs/{run['id']}")) == KEYS
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


def test_a_run_moves_when_it_is_looked_at(door: Door, client: Any, upstream: StandIn) -> None:
    """Queued, in progress with a start, completed with an end and without an expiry: the recorded life of a run."""
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
    """What the run's creation gives replaces the assistant's, in the run and upstream; the rest is inherited."""
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
        response_format={"type": "json_object"},
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
        "response_format": {"type": "json_object"},
        "tools": [],
    }
    assert {key: served[key] for key in expected} == expected
    sent = upstream.requests[0].json
    assert sent["model"] == "gpt-4o-mini"
    assert sent["instructions"] == "Shout.\nLoudly."
    assert (sent["temperature"], sent["top_p"], sent["max_output_tokens"]) == (0.9, 0.2, 500)
    assert sent["text"] == {"format": {"type": "json_object"}}
    assert "tools" not in sent


def test_a_default_is_echoed_but_never_sent(door: Door, client: Any, upstream: StandIn) -> None:
    """Temperature 1.0 and its like are served although nobody gave them; upstream some models refuse them."""
    start_run(door, client)
    assert set(upstream.requests[0].json) == {"model", "instructions", "input", "store", "background"}
    assert upstream.requests[0].json["store"] is True


def test_additional_messages_join_the_thread_first(door: Door, client: Any, upstream: StandIn) -> None:
    """Messages given with the run are on the thread, in order, and part of what the model reads."""
    more = [{"role": "user", "content": "two"}, {"role": "assistant", "content": "three"}]
    run = finish_run(door, client, additional_messages=more)
    messages = door.all(client.beta.threads.messages.list(run.thread_id, order="asc"))
    texts = [message.content[0].text.value for message in messages]
    assert texts == ["Hello.", "two", "three", "You said: two"]
    assert [item["role"] for item in upstream.requests[0].json["input"]] == ["user", "user", "assistant"]


def test_a_second_run_reads_what_the_first_one_said(door: Door, client: Any, upstream: StandIn) -> None:
    """Each run sends the whole transcript; an answer goes back as plain text, without the upstream's ids."""
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


def test_code_interpreter_gets_the_files_and_is_asked_for_its_outputs(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """The assistant's and the thread's files go into the container, and every request includes the outputs."""
    one, two = (upstream.put_file(name, b"x", "assistants") for name in ("a.csv", "b.csv"))
    assistant = make_assistant(door, client, tools=CODE, tool_resources={"code_interpreter": {"file_ids": [one]}})
    attachment = {"file_id": two, "tools": CODE}
    thread = door(
        client.beta.threads.create(messages=[{"role": "user", "content": "Read", "attachments": [attachment]}])
    )
    upstream.script(Turn(text="Read."))
    door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    sent = upstream.requests[0].json
    assert sent["tools"] == [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [one, two]}}]
    assert sent["include"] == ["code_interpreter_call.outputs"]
    looks = [request.query for request in upstream.requests[1:]]
    assert looks
    assert set(looks) == {(("include[]", "code_interpreter_call.outputs"),)}


def test_runs_are_listed_newest_first(door: Door, client: Any) -> None:
    """The runs of a thread are listed by their creation, with limit, order and cursors."""
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


def test_listing_moves_the_active_run_too(door: Door, client: Any, upstream: StandIn) -> None:
    """A script that only lists runs, or only messages, sees its run end."""
    upstream.script(Turn(text="One.", polls=0), Turn(text="Two.", polls=0))
    run = start_run(door, client)
    assert [each.status for each in door.all(client.beta.threads.runs.list(run.thread_id))] == ["completed"]
    run = start_run(door, client)
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Two."


def test_an_update_of_a_run_changes_its_metadata(door: Door, client: Any, upstream: StandIn) -> None:
    """The metadata of a finished run is replaced; a working run refuses that with the recorded text."""
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
    done = door(runs.poll(run.id, thread_id=run.thread_id))
    assert done.metadata == {"a": "1"}
    updated = door(runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"}))
    assert updated.to_dict() == {**done.to_dict(), "metadata": {"b": "2"}}
    assert door(runs.retrieve(run.id, thread_id=run.thread_id)) == updated


def test_an_update_finds_that_the_run_has_ended(door: Door, client: Any, upstream: StandIn) -> None:
    """Before it refuses, an update looks; an upstream that does not answer is not its trouble."""
    upstream.script(Turn(text="Done.", polls=1))
    run, runs = start_run(door, client), client.beta.threads.runs
    assert door(runs.retrieve(run.id, thread_id=run.thread_id)).status == "in_progress"
    upstream.fault(Fault("GET /responses/*", status=500))
    with pytest.raises(openai.BadRequestError, match=r"Cannot update run with status 'in_progress'\."):
        door(runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"}))
    updated = door(runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"}))
    assert (updated.status, updated.metadata) == ("completed", {"b": "2"})


def test_create_and_run_makes_a_thread(door: Door, client: Any) -> None:
    """A thread and its run are made in one call; without a thread the assistant's instructions are enough."""
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
    alone = door(client.beta.threads.create_and_run(assistant_id=assistant.id))
    assert door.all(client.beta.threads.messages.list(alone.thread_id, run_id="run_none")) == []


def test_create_and_run_poll_returns_the_finished_run(door: Door, client: Any) -> None:
    """The helper that makes a thread, runs it and waits ends with the answer on the thread."""
    assistant = make_assistant(door, client)
    run = door(
        client.beta.threads.create_and_run_poll(
            assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}
        )
    )
    assert run.status == "completed"
    [answer, question] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert (answer.content[0].text.value, question.content[0].text.value) == ("You said: Hi", "Hi")


def test_usage_is_served_in_the_legacy_words(door: Door, client: Any, upstream: StandIn) -> None:
    """The run's usage is the response's under its legacy names, and it is the sum over the run's steps."""
    usage = {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 10},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 37,
    }
    upstream.script(Turn(text="Done.", code="1", logs="1", usage=usage))
    run = finish_run(door, client, assistant={"tools": CODE})
    served = raw(door, client, f"/threads/{run.thread_id}/runs/{run.id}")["usage"]
    assert served == {
        "prompt_tokens": 30,
        "completion_tokens": 7,
        "total_tokens": 37,
        "prompt_token_details": {"cached_tokens": 10},  # really without the s of the other key (recorded)
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert len(steps) == 2
    assert sum(step.usage.total_tokens for step in steps) == 37
    assert sum(step.usage.prompt_tokens for step in steps) == 30


@pytest.mark.parametrize(
    ("code", "served"),
    [("rate_limit_exceeded", "rate_limit_exceeded"), ("server_error", "server_error"), ("bio_policy", "server_error")],
)
def test_a_failed_response_fails_the_run(door: Door, client: Any, upstream: StandIn, code: str, served: str) -> None:
    """The upstream's error becomes `last_error`: its message is kept, a code that the spec does not know is not."""
    upstream.script(Turn(status="failed", error={"code": code, "message": "The model fell over."}))
    run = finish_run(door, client)
    assert run.status == "failed"
    assert run.last_error.to_dict() == {"code": served, "message": "The model fell over."}
    assert run.failed_at >= run.created_at
    assert (run.completed_at, run.expires_at, run.cancelled_at) == (None, None, None)
    # The thread is free again.
    assert door(client.beta.threads.messages.create(run.thread_id, role="user", content="Again?")).role == "user"


def test_an_incomplete_response_makes_the_run_incomplete(door: Door, client: Any, upstream: StandIn) -> None:
    """A token limit ends the run `incomplete` with the legacy reason; what was said stays as an incomplete message."""
    upstream.script(Turn(text="Once upon a", status="incomplete"))
    run = finish_run(door, client, max_completion_tokens=16)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert run.expires_at is None
    [message] = raw(door, client, f"/threads/{run.thread_id}/messages?run_id={run.id}")["data"]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "max_tokens"})
    assert message["content"][0]["text"]["value"] == "Once upon a"
    assert message["incomplete_at"] is not None
    assert message["completed_at"] is None


def test_a_thread_with_an_active_run_refuses_messages_and_runs(door: Door, client: Any, upstream: StandIn) -> None:
    """Both refusals are 400s with the texts that client code matches, byte for byte, and upstream nothing is made."""
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
    assert asked(upstream, "POST /responses") == ["POST /responses"]
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 1


def test_a_run_needs_something_to_say(door: Door, client: Any, upstream: StandIn) -> None:
    """No user message and no instructions is the recorded 400, and nothing is asked upstream."""
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


def test_a_run_of_what_is_not_there_is_404(door: Door, client: Any, upstream: StandIn) -> None:
    """An unknown assistant, thread or run is named in the 404, and `create_and_run` leaves no thread behind."""
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
    for text, each in calls.items():
        for call in each:
            with pytest.raises(openai.NotFoundError) as caught:
                door(call())
            assert caught.value.response.json()["error"]["message"] == text
    assert upstream.requests == []
