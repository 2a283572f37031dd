"""What later versions bring says so: a 400 with the code `not_supported`, and nothing happens."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from doors import Door
from legacy import dump, make_assistant, make_thread, start_run

FUNCTION = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def stream(door: Door, client: Any, assistant_id: str, thread_id: str) -> Any:
    """The SDK's stream helper, entered."""
    manager = client.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant_id)

    async def suspending() -> None:
        async with manager:
            pass

    if door.kind == "async":
        return door(suspending())
    with manager:
        return None


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ("stream", "streaming"),
        ("stream helper", "streaming"),
        ("stream of create_and_run", "streaming"),
        ("function tools", "function tools"),
        ("function tools of the assistant", "function tools"),
        ("file_search", "file_search"),
        ("last_messages", "last_messages"),
    ],
)
def test_a_run_with_a_later_feature_is_refused(
    door: Door, client: Any, upstream: StandIn, settings: Settings, feature: str, words: str
) -> None:
    """The refusal names the feature and leaves the store and the upstream as they were."""
    tools = [FUNCTION] if feature == "function tools of the assistant" else []
    assistant, thread = make_assistant(door, client, tools=tools), make_thread(door, client)
    runs = client.beta.threads.runs
    calls = {
        "stream": lambda: runs.create(thread.id, assistant_id=assistant.id, stream=True),
        "stream helper": lambda: stream(door, client, assistant.id, thread.id),
        "stream of create_and_run": lambda: client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True),
        "function tools": lambda: runs.create(thread.id, assistant_id=assistant.id, tools=[FUNCTION]),
        "function tools of the assistant": lambda: runs.create(thread.id, assistant_id=assistant.id),
        "file_search": lambda: runs.create(thread.id, assistant_id=assistant.id, tools=[{"type": "file_search"}]),
        "last_messages": lambda: runs.create(
            thread.id,
            assistant_id=assistant.id,
            truncation_strategy={"type": "last_messages", "last_messages": 1},
        ),
    }
    before = dump(settings)
    with pytest.raises(openai.BadRequestError) as caught:
        door(calls[feature]())
    body: Any = caught.value.body
    assert (body["code"], body["type"], body["param"]) == ("not_supported", "invalid_request_error", None)
    assert words in body["message"]
    assert dump(settings) == before
    assert upstream.requests == []


def test_cancel_and_tool_outputs_are_refused(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """Cancelling a run and submitting outputs to it change nothing and say so; an unknown run is still 404."""
    upstream.script(Turn(text="Slow.", polls=9))
    run = start_run(door, client)
    runs = client.beta.threads.runs
    before, requests = dump(settings), len(upstream.requests)
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    calls = [
        lambda run_id: runs.cancel(run_id, thread_id=run.thread_id),
        lambda run_id: runs.submit_tool_outputs(run_id, thread_id=run.thread_id, tool_outputs=outputs),
    ]
    for call in calls:
        with pytest.raises(openai.BadRequestError) as caught:
            door(call(run.id))
        assert caught.value.code == "not_supported"
        with pytest.raises(openai.NotFoundError, match=r"No run found with id 'run_x'\."):
            door(call("run_x"))
    assert dump(settings) == before
    assert len(upstream.requests) == requests


def test_the_plain_truncation_strategy_is_no_later_feature(door: Door, client: Any) -> None:
    """`auto`, the default that was always echoed, may be given back."""
    run = start_run(door, client, truncation_strategy={"type": "auto"})
    assert run.truncation_strategy.to_dict() == {"type": "auto", "last_messages": None}
