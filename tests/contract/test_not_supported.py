"""What later versions bring says so: a 400 with the code `not_supported`, and nothing happens."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from doors import Door
from legacy import FUNCTION, dump, finish_run, make_assistant, make_thread, start_run


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
        ("file_search", "file_search"),
        ("file_search of the assistant", "file_search"),
    ],
)
def test_a_run_with_a_later_feature_is_refused(
    door: Door, client: Any, upstream: StandIn, settings: Settings, feature: str, words: str
) -> None:
    """The refusal names the feature and leaves the store and the upstream as they were."""
    search = [{"type": "file_search"}]
    tools = search if feature == "file_search of the assistant" else []
    assistant, thread = make_assistant(door, client, tools=tools), make_thread(door, client)
    runs = client.beta.threads.runs
    calls = {
        "stream": lambda: runs.create(thread.id, assistant_id=assistant.id, stream=True),
        "stream helper": lambda: stream(door, client, assistant.id, thread.id),
        "stream of create_and_run": lambda: client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True),
        "file_search": lambda: runs.create(thread.id, assistant_id=assistant.id, tools=search),
        "file_search of the assistant": lambda: runs.create(thread.id, assistant_id=assistant.id),
    }
    before = dump(settings)
    with pytest.raises(openai.BadRequestError) as caught:
        door(calls[feature]())
    body: Any = caught.value.body
    assert (body["code"], body["type"], body["param"]) == ("not_supported", "invalid_request_error", None)
    assert words in body["message"]
    assert dump(settings) == before
    assert upstream.requests == []


def test_tool_outputs_are_not_streamed_yet(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """`submit_tool_outputs(stream=True)` changes nothing and says so; the run still waits."""
    upstream.script(Turn(function_calls=[{"name": "look", "call_id": "call_1"}], polls=0))
    run = finish_run(door, client, tools=[FUNCTION])
    before, requests = dump(settings), len(upstream.requests)
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    with pytest.raises(openai.BadRequestError, match="streaming") as caught:
        door(
            client.beta.threads.runs.submit_tool_outputs(
                run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True
            )
        )
    assert caught.value.code == "not_supported"
    assert dump(settings) == before
    assert len(upstream.requests) == requests


def test_the_plain_truncation_strategy_is_no_later_feature(door: Door, client: Any) -> None:
    """`auto`, the default that was always echoed, may be given back."""
    run = start_run(door, client, truncation_strategy={"type": "auto"})
    assert run.truncation_strategy.to_dict() == {"type": "auto", "last_messages": None}
