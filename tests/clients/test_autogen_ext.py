"""The assistant agent of autogen-ext works over a wrapped asynchronous client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from audited import count_calls

from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.upstream_requests import function_outputs, input_messages, request_bodies

NOT_INSTALLED = "autogen-ext is not installed here: run `make clients`"
agents = pytest.importorskip("autogen_ext.agents.openai", reason=NOT_INSTALLED)
messages = pytest.importorskip("autogen_agentchat.messages", reason=NOT_INSTALLED)
core = pytest.importorskip("autogen_core", reason=NOT_INSTALLED)

CALLS = [
    {"name": "multiply", "arguments": '{"first": 6, "second": 7}', "call_id": "call_a"},
    {"name": "divide", "arguments": "{}", "call_id": "call_b"},
]


def multiply(first: int, second: int) -> int:
    """Multiply two numbers."""
    return first * second


class Chat:
    """An agent, with methods that wait for its answers."""

    def __init__(self, door: Door, client: Any, *tools: Any, **options: Any) -> None:
        self.door = door
        self.token = core.CancellationToken()
        self.agent = agents.OpenAIAssistantAgent(
            name="helper",
            description="Helps.",
            client=client,
            model="gpt-4o",
            instructions="Help.",
            tools=list(tools),
            **options,
        )

    def ask(self, text: str) -> Any:
        """Return the agent's response to a message."""
        message = messages.TextMessage(source="user", content=text)
        return self.door(self.agent.on_messages([message], self.token))

    @property
    def thread(self) -> str:
        """The id of the agent's thread."""
        return str(self.door(self.agent.save_state())["thread_id"])


def test_a_conversation_continues_in_its_thread(async_door: Door, async_client: Any, upstream: StandIn) -> None:
    """Two messages are two runs on one thread, and the agent polls a run in progress to its end."""
    upstream.script(Turn(text="Hello, Ada.", polls=2), Turn(text="Ada.", polls=0))
    chat = Chat(async_door, async_client, temperature=0.5)
    assert chat.ask("I am Ada.").chat_message.content == "Hello, Ada."
    assert chat.ask("Who am I?").chat_message.content == "Ada."
    first, second = request_bodies(upstream)
    assert (first["instructions"], first["temperature"], first["model"]) == ("Help.", 0.5, "gpt-4o")
    assert input_messages(second) == [("user", "I am Ada."), ("assistant", "Hello, Ada."), ("user", "Who am I?")]


@pytest.mark.usefixtures("installed")
def test_an_unwrapped_client_works_under_install(async_door: Door, upstream: StandIn) -> None:
    """Under `install` the agent works with a plain client, as in any program."""
    upstream.script(Turn(text="Hello, Ada.", polls=0))
    chat = Chat(async_door, async_door.raw_client(upstream))
    assert chat.ask("I am Ada.").chat_message.content == "Hello, Ada."


def test_functions_are_called_by_the_agent(async_door: Door, async_client: Any, upstream: StandIn) -> None:
    """The agent reports the request and the execution of both calls, and the outputs reach the model."""
    upstream.script(Turn(function_calls=CALLS, polls=0), Turn(text="42.", polls=0))
    response = Chat(async_door, async_client, multiply).ask("What is 6 times 7?")
    request, execution = response.inner_messages
    assert [call.name for call in request.content] == ["multiply", "divide"]
    assert [result.is_error for result in execution.content] == [False, True]
    assert response.chat_message.content == "42."
    assert function_outputs(request_bodies(upstream)[1]) == {
        "call_a": "42",
        "call_b": "Error: The tool 'divide' is not available.",
    }


def test_an_uploaded_file_joins_the_threads_resources(
    async_door: Door, async_client: Any, upstream: StandIn, tmp_path: Path
) -> None:
    """Two uploads each add a file to the thread's tool_resources, and the agent can delete its files."""
    chat = Chat(async_door, async_client, "code_interpreter")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(b"a,b\n")
        async_door(chat.agent.on_upload_for_code_interpreter(str(tmp_path / name), chat.token))
    upstream.script(Turn(text="Two columns.", code="print(2)", logs="2\n", polls=0))
    assert chat.ask("How many columns?").chat_message.content == "Two columns."
    thread = async_door(async_client.beta.threads.retrieve(chat.thread))
    file_ids = thread.tool_resources.code_interpreter.file_ids
    assert [upstream.files[file_id].wire["filename"] for file_id in file_ids] == ["a.csv", "b.csv"]
    assert request_bodies(upstream)[0]["tools"][0]["container"]["file_ids"] == file_ids
    async_door(chat.agent.delete_uploaded_files(chat.token))
    assert not upstream.files.keys() & set(file_ids)


def test_an_uploaded_file_is_searched(async_door: Door, async_client: Any, upstream: StandIn, tmp_path: Path) -> None:
    """The agent makes a vector store for its thread and fills it, and the next run searches it."""
    chat = Chat(async_door, async_client, "file_search")
    chat.ask("Hello.")
    (tmp_path / "foods.txt").write_bytes(b"Filip: cake.")
    async_door(chat.agent.on_upload_for_file_search(str(tmp_path / "foods.txt"), chat.token))
    [store] = upstream.vector_stores
    chat.ask("What does Filip like?")
    first, second = request_bodies(upstream)
    assert "tools" not in first
    assert [tool["vector_store_ids"] for tool in second["tools"]] == [[store]]
    assert [upstream.files[id_].content for id_ in upstream.vector_stores[store].files] == [b"Filip: cake."]
    async_door(chat.agent.delete_vector_store(chat.token))
    assert upstream.vector_stores == {}


def test_a_reset_deletes_the_new_messages(async_door: Door, async_client: Any, upstream: StandIn) -> None:
    """A reset deletes what the agent added to an existing thread, over several pages, and keeps the older messages."""
    thread = async_door(async_client.beta.threads.create(messages=[{"role": "user", "content": "I am Ada."}]))
    upstream.script(Turn(text="Hello.", polls=0), Turn(text="Ada.", polls=0))
    chat = Chat(async_door, async_client, thread_id=thread.id)
    chat.ask("I am Bob.")
    for number in range(120):
        async_door(async_client.beta.threads.messages.create(thread.id, role="user", content=f"Message {number}."))
    async_door(chat.agent.on_reset(chat.token))
    assert chat.ask("Who am I?").chat_message.content == "Ada."
    assert input_messages(request_bodies(upstream)[1]) == [("user", "I am Ada."), ("user", "Who am I?")]


def test_a_reset_forgets_the_calls_of_functions(async_door: Door, async_client: Any, upstream: StandIn) -> None:
    """After a reset that deletes every message of a function round, the model no longer gets its calls."""
    upstream.script(Turn(function_calls=CALLS[:1], polls=0), Turn(text="42.", polls=0), Turn(text="Yes?", polls=0))
    chat = Chat(async_door, async_client, multiply)
    chat.ask("What is 6 times 7?")
    async_door(chat.agent.on_reset(chat.token))
    assert chat.ask("Hello.").chat_message.content == "Yes?"
    assert request_bodies(upstream)[2]["input"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello."}]}
    ]


def test_a_saved_agent_keeps_its_assistant_and_thread(async_door: Door, async_client: Any, upstream: StandIn) -> None:
    """An agent loaded from saved state continues with its assistant and thread."""
    upstream.script(Turn(text="Hello, Ada.", polls=0), Turn(text="Ada.", polls=0))
    chat = Chat(async_door, async_client)
    chat.ask("I am Ada.")
    state = async_door(chat.agent.save_state())
    loaded = Chat(async_door, async_client)
    async_door(loaded.agent.load_state(state))
    assert loaded.ask("Who am I?").chat_message.content == "Ada."
    assert (loaded.thread, len(input_messages(request_bodies(upstream)[1]))) == (chat.thread, 3)


def test_a_failed_run_is_the_agents_error(async_door: Door, async_client: Any, upstream: StandIn) -> None:
    """A failed run makes the agent raise an error with the upstream's message."""
    error = {"code": "server_error", "message": "Something broke."}
    upstream.script(Turn(status="failed", error=error, polls=0))
    with pytest.raises(ValueError, match="Something broke"):
        Chat(async_door, async_client).ask("Hello.")


def test_an_agent_deletes_its_assistant(async_door: Door, async_client: Any) -> None:
    """An assistant that its agent deleted is not found."""
    chat = Chat(async_door, async_client)
    chat.ask("Hello.")
    id_ = async_door(chat.agent.save_state())["assistant_id"]
    async_door(chat.agent.delete_assistant(chat.token))
    with pytest.raises(openai.NotFoundError):
        async_door(async_client.beta.assistants.retrieve(id_))


AUDITED = {
    "autogen_ext": {
        "beta.assistants.create": 1,
        "beta.assistants.delete": 1,
        "beta.assistants.retrieve": 1,
        "beta.assistants.update": 1,
        "beta.threads.create": 1,
        "beta.threads.messages.create": 1,
        "beta.threads.messages.delete": 1,
        "beta.threads.messages.list": 3,
        "beta.threads.retrieve": 2,
        "beta.threads.runs.create": 1,
        "beta.threads.runs.retrieve": 1,
        "beta.threads.runs.submit_tool_outputs": 1,
        "beta.threads.update": 1,
    }
}


@pytest.mark.parametrize("package", AUDITED)
def test_an_audit_finds_every_call_in_the_package(package: str) -> None:
    """An audit of the installed package finds exactly the listed calls and reads every file."""
    assert count_calls(package) == AUDITED[package]
