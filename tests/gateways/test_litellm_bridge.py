"""Runs over LiteLLM's bridge, which turns Responses requests into chat completions and keeps nothing of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest
from chat_stub import ChatStub
from gateway_servers import Gateway
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.settings import variables
from kit.container_runs import polled_or_streamed, run_to_end
from kit.doors import Door
from kit.legacy_code import CODE, make_assistant, make_thread, run_again
from kit.streams import read_rest, text_of

# The first test starts LiteLLM, which takes ten seconds, and a minute on a busy machine.
pytestmark = [pytest.mark.gateways, pytest.mark.timeout(300)]

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def client(door: Door, litellm: Gateway, sqlite_settings: Settings) -> Any:
    """A wrapped client of LiteLLM with the settings that a user begins with."""
    return door.client(litellm, sqlite_settings, api_key=litellm.key)


@pytest.fixture
def unstored_client(door: Door, litellm: Gateway, sqlite_settings: Settings) -> Any:
    """A wrapped client of LiteLLM with the setting that its bridge needs."""
    return door.client(litellm, replace(sqlite_settings, store_responses=False), api_key=litellm.key)


def make_ids(door: Door, client: Any, **options: Any) -> tuple[str, str]:
    """Make a thread that says hello and an assistant of the bridged model; return both ids."""
    return make_thread(door, client).id, make_assistant(door, client, model="bridged", **options).id


def last_text(door: Door, client: Any, thread_id: str) -> str:
    """Return the text of the newest message."""
    return str(door.all(client.beta.threads.messages.list(thread_id))[0].content[0].text.value)


def answer_calls(door: Door, client: Any, waiting: Any, *, stream: bool) -> Any:
    """Submit an output for each call, and return the run when it waits again or has ended."""
    calls = waiting.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "18 degrees"} for call in calls]
    runs = client.beta.threads.runs
    if stream:
        submitted = runs.submit_tool_outputs(waiting.id, thread_id=waiting.thread_id, tool_outputs=outputs, stream=True)
        return read_rest(door, door(submitted))[-1].data
    return door(runs.submit_tool_outputs_and_poll(run_id=waiting.id, thread_id=waiting.thread_id, tool_outputs=outputs))


@polled_or_streamed
def test_a_run_completes(door: Door, client: Any, chat: ChatStub, *, stream: bool) -> None:
    """A run over the bridge completes, and a later one sends what was said before."""
    run = run_to_end(door, client, *make_ids(door, client), stream=stream)
    assert (run.status, last_text(door, client, run.thread_id)) == ("completed", "You said: Hello.")
    again = run_again(door, client, run, "And now?")
    assert (again.status, last_text(door, client, run.thread_id)) == ("completed", "You said: And now?")
    said = [message["role"] for message in chat.requests[-1]["messages"]]
    assert said == ["system", "user", "assistant", "user"]


def test_a_streamed_text_is_told_once(door: Door, client: Any) -> None:
    """The deltas add up to the one message that is stored."""
    thread_id, assistant_id = make_ids(door, client)
    runs = client.beta.threads.runs
    seen = read_rest(door, door(runs.create(thread_id, assistant_id=assistant_id, stream=True)))
    assert text_of(seen) == "You said: Hello."
    messages = door.all(client.beta.threads.messages.list(thread_id))
    assert [message.role for message in messages] == ["assistant", "user"]


@polled_or_streamed
def test_functions_work_without_stored_responses(
    door: Door, unstored_client: Any, chat: ChatStub, *, stream: bool
) -> None:
    """With `store_responses=False` the second round sends the question again, and the run ends."""
    client = unstored_client
    waiting = run_to_end(door, client, *make_ids(door, client, tools=[WEATHER]), stream=stream)
    assert waiting.status == "requires_action"
    run = answer_calls(door, client, waiting, stream=stream)
    assert (run.status, last_text(door, client, run.thread_id)) == ("completed", "You said: Hello., 18 degrees")
    assert len(chat.requests) == 2


@pytest.mark.refusal("conversation_forgotten")
@polled_or_streamed
def test_functions_work_with_the_settings_as_they_are(door: Door, client: Any, *, stream: bool) -> None:
    """The bridge forgets the question in the second round; that is noticed, and the run ends after all."""
    waiting = run_to_end(door, client, *make_ids(door, client, tools=[WEATHER]), stream=stream)
    for _ in range(3):
        assert waiting.status == "requires_action"
        waiting = answer_calls(door, client, waiting, stream=stream)
        if waiting.status == "completed":
            break
    assert waiting.status == "completed"
    assert last_text(door, client, waiting.thread_id).startswith("You said: Hello., 18 degrees")


def test_an_image_and_json_are_passed_on(door: Door, client: Any, chat: ChatStub) -> None:
    """An image reaches the chat completion, and a JSON format shapes its answer."""
    assistant = make_assistant(door, client, model="bridged", response_format={"type": "json_object"})
    content = [{"type": "text", "text": "As json?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    thread = door(client.beta.threads.create(messages=[{"role": "user", "content": content}]))
    run = run_to_end(door, client, thread.id, assistant.id)
    assert run.status == "completed"
    assert json.loads(last_text(door, client, thread.id)) == {"said": ["As json? <image_url>"]}


def test_code_is_refused(door: Door, client: Any) -> None:
    """Chat Completions has no Code Interpreter: its 400 is the answer, in LiteLLM's words, and no run is left."""
    thread_id, assistant_id = make_ids(door, client, tools=CODE)
    with pytest.raises(openai.BadRequestError, match="code_interpreter"):
        door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id))
    assert door.all(client.beta.threads.runs.list(thread_id)) == []


def test_doctor_names_the_setting(
    sync: Door, litellm: Gateway, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`doctor --ask` finds out that the bridge forgets what was said, and names the setting that it needs."""
    client = sync.client(litellm, sqlite_settings, api_key=litellm.key)
    make_assistant(sync, client, model="bridged")
    names = variables()
    monkeypatch.setenv("OPENAI_BASE_URL", litellm.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", litellm.key)
    monkeypatch.setenv(names["store"], str(sqlite_settings.store))
    monkeypatch.setenv(names["files"], str(sqlite_settings.files))
    result = CliRunner().invoke(app, ["doctor", "--ask", "--json", "--timeout", "60"], catch_exceptions=False)
    [finding] = [check for check in json.loads(result.stdout)["checks"] if check["check"] == "conversation"]
    assert (finding["state"], f"{names['store_responses']}=false" in finding["do"]) == ("failed", True)
