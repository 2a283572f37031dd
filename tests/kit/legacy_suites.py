"""A legacy test suite of ten tests with VCR.py recordings, written as if the service still existed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kit.old_recordings import Recording

LINE = 'pytest_plugins = ["assistants_compat.pytest_plugin.everywhere"]'
Run = Callable[..., pytest.RunResult]

CONFTEST = """
import openai
import pytest

@pytest.fixture
def client():
    return openai.OpenAI(max_retries=0)

@pytest.fixture
async def async_client():
    async with openai.AsyncOpenAI(max_retries=0) as client:
        yield client

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
def vcr_config():
    return {"filter_headers": ["authorization"]}
"""

PLAIN = """
import openai
import pytest

pytestmark = pytest.mark.vcr
QUESTION = "How many apples?"
COUNT = {"type": "function", "function": {"name": "count", "parameters": {"type": "object", "properties": {}}}}

def begun(client, **more):
    assistant = client.beta.assistants.create(model="gpt-4o", name="Counter", **more)
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=QUESTION)
    return assistant, thread

def answer(client, thread):
    first = client.beta.threads.messages.list(thread_id=thread.id).data[0]
    assert first.role == "assistant"
    return first.content[0].text.value

def test_polled(client):
    assistant, thread = begun(client)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    assert answer(client, thread) == "There are 3 apples."

def test_polled_by_hand(client):
    assistant, thread = begun(client)
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    while run.status in ("queued", "in_progress"):
        run = client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
    assert run.usage.total_tokens > 0
    assert answer(client, thread) == "There are 3 apples."

def test_function(client):
    assistant, thread = begun(client, tools=[COUNT])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "requires_action"
    call = run.required_action.submit_tool_outputs.tool_calls[0]
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": call.id, "output": "3"}]
    )
    assert run.status == "completed"
    assert answer(client, thread) == "There are 3 apples."

def test_streamed(client):
    assistant, thread = begun(client)
    events = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True)
    names = [event.event for event in events]
    assert names[0] == "thread.run.created"
    assert names[-1] == "thread.run.completed"

def test_streamed_with_a_helper(client):
    assistant, thread = begun(client)
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        assert "".join(stream.text_deltas) == "There are 3 apples."

def test_missing(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.beta.threads.retrieve("thread_gone")
    assert caught.value.body["message"] == "No thread found with id 'thread_gone'."
"""

ASYNC = """
import pytest

pytestmark = [pytest.mark.vcr, pytest.mark.anyio]

async def begun(client):
    assistant = await client.beta.assistants.create(model="gpt-4o", name="Counter")
    thread = await client.beta.threads.create()
    await client.beta.threads.messages.create(thread_id=thread.id, role="user", content="How many apples?")
    return assistant, thread

async def test_polled(async_client):
    assistant, thread = await begun(async_client)
    run = await async_client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    messages = await async_client.beta.threads.messages.list(thread_id=thread.id)
    assert messages.data[0].content[0].text.value == "There are 3 apples."

async def test_streamed(async_client):
    assistant, thread = await begun(async_client)
    events = await async_client.beta.threads.runs.create(
        thread_id=thread.id, assistant_id=assistant.id, stream=True
    )
    assert [event.event async for event in events][-1] == "thread.run.completed"
"""

UNITTEST = """
import os
import unittest

import openai
import vcr
from vcr.unittest import VCRTestCase

HERE = os.path.dirname(os.path.abspath(__file__))

def conversation(client):
    assistant = client.beta.assistants.create(model="gpt-4o", name="Counter")
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content="How many apples?")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    return run.status, client.beta.threads.messages.list(thread_id=thread.id).data[0].content[0].text.value

class TestCounting(VCRTestCase):
    def test_counts(self):
        self.assertEqual(conversation(openai.OpenAI(max_retries=0)), ("completed", "There are 3 apples."))

class TestPlayer(unittest.TestCase):
    @vcr.use_cassette(os.path.join(HERE, "cassettes", "by_hand.yaml"))
    def test_counts(self):
        self.assertEqual(conversation(openai.OpenAI(max_retries=0)), ("completed", "There are 3 apples."))
"""

COUNT = {"type": "function", "function": {"name": "count", "parameters": {"type": "object", "properties": {}}}}
SERVED_COUNT = {**COUNT, "function": {**COUNT["function"], "strict": False}}  # type: ignore[dict-item]
TESTS = 10


def write(directory: Path, line: str = "") -> None:
    """Write the suite and its old recordings into a folder; `line` is added to its conftest.py."""
    (directory / "conftest.py").write_text(f"{line}\n{CONFTEST}", encoding="utf-8")
    for name, source in (("plain", PLAIN), ("async", ASYNC), ("unittest", UNITTEST)):
        (directory / f"test_{name}.py").write_text(source, encoding="utf-8")
    for name, recording in recordings().items():
        recording.write(directory / "cassettes" / name)


def recordings() -> dict[str, Recording]:
    """Return the recordings of the suite by file name."""
    function = Recording("function")
    function.tools = [SERVED_COUNT]
    return {
        "test_plain/test_polled.yaml": Recording("polled").with_conversation().with_polled_run().with_message_list(),
        "test_plain/test_polled_by_hand.yaml": Recording("by hand")
        .with_conversation()
        .with_polled_run()
        .with_message_list(),
        "test_plain/test_function.yaml": function.with_conversation().with_function_run().with_message_list(),
        "test_plain/test_streamed.yaml": Recording("streamed").with_conversation().with_streamed_run(),
        "test_plain/test_streamed_with_a_helper.yaml": Recording("helper").with_conversation().with_streamed_run(),
        "test_plain/test_missing.yaml": Recording("missing").with_missing_thread(),
        "test_async/test_polled.yaml": Recording("async").with_conversation().with_polled_run().with_message_list(),
        "test_async/test_streamed.yaml": Recording("async streamed").with_conversation().with_streamed_run(),
        "TestCounting.test_counts.yaml": Recording("unittest")
        .with_conversation()
        .with_polled_run()
        .with_message_list(),
        "by_hand.yaml": Recording("player").with_conversation().with_polled_run().with_message_list(),
    }
