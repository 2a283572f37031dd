"""LlamaIndex's assistant agent works over a wrapped client, given to it or made by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from audited import count_calls

from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import upstream_calls
from kit.upstream_requests import function_outputs, input_messages, request_bodies

NOT_INSTALLED = "LlamaIndex is not installed here: run `make clients`"
agent_module = pytest.importorskip("llama_index.agent.openai", reason=NOT_INSTALLED)
tools = pytest.importorskip("llama_index.core.tools", reason=NOT_INSTALLED)

CODE = {"type": "code_interpreter"}
CALLS = [
    {"name": "multiply", "arguments": '{"first": 6, "second": 7}', "call_id": "call_a"},
    {"name": "divide", "arguments": "{}", "call_id": "call_b"},
]


@pytest.fixture
def multiply() -> Any:
    """A LlamaIndex tool."""

    def multiply(first: int, second: int) -> int:
        """Multiply two numbers."""
        return first * second

    return tools.FunctionTool.from_defaults(multiply)


def make_agent(client: Any, *functions: Any, hosted: Any = (), **options: Any) -> Any:
    """Return an agent over a wrapped client."""
    assistant = client.beta.assistants.create(
        model="gpt-4o",
        instructions="Help.",
        tools=[*hosted, *(function.metadata.to_openai_tool() for function in functions)],
    )
    return agent_module.OpenAIAssistantAgent(
        client, assistant, list(functions), run_retrieve_sleep_time=0.001, **options
    )


def test_a_conversation_has_a_history(client: Any, upstream: StandIn) -> None:
    """The agent answers twice on its thread, with the run's instructions, and reads its history back."""
    upstream.script(Turn(text="Hello, Ada.", polls=2), Turn(text="Ada."))
    agent = make_agent(client, instructions_prefix="Be terse.")
    assert agent.chat("I am Ada.").response == "Hello, Ada."
    assert agent.chat("Who am I?").response == "Ada."
    history = [("user", "I am Ada."), ("assistant", "Hello, Ada."), ("user", "Who am I?"), ("assistant", "Ada.")]
    assert [(message.role.value, message.content) for message in agent.chat_history] == history
    assert agent.latest_message.additional_kwargs["assistant_id"] == agent.assistant.id
    assert [body["instructions"] for body in request_bodies(upstream)] == ["Be terse.", "Be terse."]
    assert input_messages(request_bodies(upstream)[1]) == history[:3]


def test_a_history_is_read_over_its_pages(client: Any) -> None:
    """A history of more than one page is read completely and in order."""
    agent = make_agent(client)
    for number in range(45):
        agent.add_message(f"Message {number}.")
    assert [message.content for message in agent.chat_history] == [f"Message {number}." for number in range(45)]


def test_functions_are_called_in_the_agents_loop(client: Any, upstream: StandIn, multiply: Any) -> None:
    """The agent answers two parallel calls at once, the unknown function with LlamaIndex's error."""
    upstream.script(Turn(function_calls=CALLS), Turn(text="42."))
    response = make_agent(client, multiply).chat("What is 6 times 7?")
    assert (response.response, [source.content for source in response.sources][:1]) == ("42.", ["42"])
    assert function_outputs(request_bodies(upstream)[1])["call_a"] == "42"
    assert "divide" in function_outputs(request_bodies(upstream)[1])["call_b"]


def test_functions_are_called_asynchronously(client: Any, async_door: Door, upstream: StandIn, multiply: Any) -> None:
    """`achat` awaits the tools and takes several rounds in one run."""
    upstream.script(Turn(function_calls=CALLS[:1]), Turn(function_calls=CALLS[:1]), Turn(text="42."))
    agent = make_agent(client, multiply)
    response = async_door(agent.achat("What is 6 times 7?"))
    assert (response.response, [source.content for source in response.sources]) == ("42.", ["42", "42"])
    assert len(client.beta.threads.runs.list(agent.thread_id).data) == 1


def test_an_uploaded_file_is_attached(client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """A file that the agent attaches to a message is in the container, and a generated file can be downloaded."""
    table = tmp_path / "sales.csv"
    table.write_bytes(b"region,sales\n")
    upstream.script(Turn(text="[Here](sandbox:/mnt/data/out.csv)", files={"out.csv": b"1,2"}))
    agent = make_agent(client, hosted=[CODE])
    [file_id] = agent.upload_files([str(table)])
    message = agent.add_message("Sum it up.", file_ids=[file_id], tools=[CODE])
    assert [(attachment.file_id, len(attachment.tools)) for attachment in message.attachments] == [(file_id, 1)]
    run, _ = agent.run_assistant()
    assert (run.status, request_bodies(upstream)[0]["tools"][0]["container"]["file_ids"]) == ("completed", [file_id])
    [block] = agent.latest_message.additional_kwargs["thread_message"].content
    assert client.files.content(block.text.annotations[0].file_path.file_id).read() == b"1,2"


def test_a_reset_begins_a_new_thread(client: Any, upstream: StandIn) -> None:
    """A reset starts a new thread, and the model no longer gets the old messages."""
    agent = make_agent(client)
    agent.chat("I am Ada.")
    old = agent.thread_id
    agent.reset()
    agent.chat("Who am I?")
    assert (agent.thread_id != old, input_messages(request_bodies(upstream)[1])) == (True, [("user", "Who am I?")])


def test_a_failed_run_is_llamaindexs_error(client: Any, upstream: StandIn) -> None:
    """A failed run makes LlamaIndex raise an error with the upstream's message."""
    upstream.script(Turn(status="failed", error={"code": "server_error", "message": "Something broke."}))
    with pytest.raises(ValueError, match="Something broke"):
        make_agent(client).chat("Hello.")


@pytest.mark.usefixtures("installed")
def test_an_agent_makes_its_own_client(upstream: StandIn, multiply: Any) -> None:
    """Agents from `from_new` and `from_existing` work under `install`."""
    upstream.script(Turn(text="Hello."), Turn(function_calls=CALLS[:1]), Turn(text="42."))
    new = agent_module.OpenAIAssistantAgent.from_new("helper", "Help.", [multiply], model="gpt-4o", top_p=0.5)
    assert new.chat("Hello?").response == "Hello."
    existing = agent_module.OpenAIAssistantAgent.from_existing(
        new.assistant.id, [multiply], new.thread_id, run_retrieve_sleep_time=0.001
    )
    assert existing.chat("What is 6 times 7?").response == "42."
    assert upstream_calls(upstream) == ["POST /responses", "GET /responses/*", "GET /responses/*"] * 3
    assert ("temperature" in request_bodies(upstream)[0], request_bodies(upstream)[0]["top_p"]) == (False, 0.5)


AUDITED = {
    "llama_index.agent.openai": {
        "beta.assistants.create": 1,
        "beta.assistants.retrieve": 1,
        "beta.threads.create": 2,
        "beta.threads.delete": 1,
        "beta.threads.messages.create": 1,
        "beta.threads.messages.list": 2,
        "beta.threads.runs.create": 2,
        "beta.threads.runs.retrieve": 2,
        "beta.threads.runs.submit_tool_outputs": 2,
    }
}


@pytest.mark.parametrize("package", AUDITED)
def test_an_audit_finds_every_call_in_the_package(package: str) -> None:
    """An audit of the installed package finds exactly the listed calls and reads every file."""
    assert count_calls(package) == AUDITED[package]
