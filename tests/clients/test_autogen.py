"""AutoGen 0.2's assistant agent, which makes its own client, works under `install`."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from audited import count_calls

from assistants_compat.testing import StandIn, Turn
from kit.upstream_requests import function_outputs, input_messages, request_bodies

NOT_INSTALLED = "AutoGen 0.2 is not installed here: run `make clients`"
autogen = pytest.importorskip("autogen", reason=NOT_INSTALLED)
contrib = pytest.importorskip("autogen.agentchat.contrib.gpt_assistant_agent", reason=NOT_INSTALLED)

CODE = {"type": "code_interpreter"}
MULTIPLY = {
    "type": "function",
    "function": {
        "name": "multiply",
        "description": "Multiply two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"first": {"type": "integer"}, "second": {"type": "integer"}},
            "required": ["first", "second"],
        },
    },
}
CALLS = [
    {"name": "multiply", "arguments": '{"first": 6, "second": 7}', "call_id": "call_a"},
    {"name": "divide", "arguments": "{}", "call_id": "call_b"},
]


@pytest.fixture(autouse=True)
def _covered(installed: None) -> None:
    """Install the library, because AutoGen makes its clients itself."""


def make_agent(upstream: StandIn, **options: Any) -> Any:
    """Return an agent, which makes its own client."""
    config = {"config_list": [{"model": "gpt-4o", "api_key": "sk-test", "base_url": upstream.base_url}]}
    return contrib.GPTAssistantAgent(name="helper", llm_config=config, **{"instructions": "Help.", **options})


@pytest.fixture
def user() -> Any:
    """A user who talks to the agent and never answers by himself."""
    return autogen.UserProxyAgent("user", human_input_mode="NEVER", code_execution_config=False)


def ask(user: Any, agent: Any, text: str) -> str:
    """Return the agent's answer to one message of a continued chat."""
    return str(user.initiate_chat(agent, message=text, max_turns=1, clear_history=False, silent=True).summary).strip()


def test_a_chat_continues_in_its_thread(upstream: StandIn, user: Any) -> None:
    """Two turns of a chat are two runs on one thread, with the system message as the run's instructions."""
    upstream.script(Turn(text="Hello, Ada.", polls=0), Turn(text="Ada."))
    agent = make_agent(upstream)
    assert ask(user, agent, "I am Ada.") == "Hello, Ada."
    agent.update_system_message("Be terse.")
    assert ask(user, agent, "Who am I?") == "Ada."
    first, second = request_bodies(upstream)
    assert (first["instructions"], second["instructions"]) == ("Help.", "Be terse.")
    assert input_messages(second) == [("user", "I am Ada."), ("assistant", "Hello, Ada."), ("user", "Who am I?")]


def test_functions_are_called_by_the_agent(upstream: StandIn, user: Any) -> None:
    """The agent answers both parallel calls, the unknown function with AutoGen's error."""
    upstream.script(Turn(function_calls=CALLS, polls=0), Turn(text="42.", polls=0))
    agent = make_agent(upstream, assistant_config={"tools": [MULTIPLY]})
    agent.register_function({"multiply": lambda first, second: first * second})
    assert ask(user, agent, "What is 6 times 7?") == "42."
    first_body, second_body = request_bodies(upstream)
    [tool] = first_body["tools"]
    assert (tool["name"], tool["strict"]) == ("multiply", False)
    assert function_outputs(second_body) == {"call_a": "42", "call_b": "Error: Function divide not found."}


def test_a_link_becomes_a_footnote_with_the_files_name(upstream: StandIn, user: Any) -> None:
    """AutoGen replaces a link by a number and names the file below the text; an image is shown by its id."""
    text = "Done: [the table](sandbox:/mnt/data/sales.csv)."
    upstream.script(Turn(text=text, files={"sales.csv": b"a,b"}, images=[b"png"], polls=0))
    agent = make_agent(upstream, assistant_config={"tools": [CODE]})
    answer = ask(user, agent, "A table and a chart.")
    assert "sandbox:" not in answer
    assert "[0] Click <here> to download /mnt/data/sales.csv" in answer
    _, _, rest = answer.partition("Received file id=")
    assert agent.openai_client.files.content(rest.split()[0]).read() == b"png"


def test_messages_are_paged_until_a_page_is_empty(upstream: StandIn, user: Any) -> None:
    """The answer is found on the third page of its thread, where openai 1.59 stops only at an empty page."""
    agent = make_agent(upstream)
    thread = agent.openai_client.beta.threads.create()
    for number in range(40):
        agent.openai_client.beta.threads.messages.create(thread.id, role="user", content=f"Message {number}.")
    agent.oai_threads[user] = thread
    upstream.script(Turn(text="Forty-one.", polls=0))
    assert ask(user, agent, "How many?") == "Forty-one."
    assert len(list(agent.openai_client.beta.threads.messages.list(thread.id))) == 42


def test_an_assistant_is_found_by_its_name(upstream: StandIn) -> None:
    """A second agent with the same name, instructions and tools reuses the assistant; another one does not."""
    tools = {"tools": [CODE, MULTIPLY]}
    agent = make_agent(upstream, assistant_config=tools)
    assert make_agent(upstream, assistant_config=tools).assistant_id == agent.assistant_id
    assert make_agent(upstream, instructions="Do not help.").assistant_id != agent.assistant_id


def test_an_assistant_is_changed_and_deleted(upstream: StandIn) -> None:
    """The overwrite flags change an assistant in place, and a deleted assistant is not found."""
    original = make_agent(upstream)
    config = {"assistant_id": original.assistant_id, "tools": [CODE]}
    agent = make_agent(
        upstream,
        instructions="Analyse.",
        assistant_config=config,
        overwrite_instructions=True,
        overwrite_tools=True,
    )
    changed = agent.openai_client.beta.assistants.retrieve(original.assistant_id)
    assert (changed.instructions, [tool.type for tool in changed.tools]) == ("Analyse.", ["code_interpreter"])
    agent.delete_assistant()
    with pytest.raises(openai.NotFoundError):
        original.openai_client.beta.assistants.retrieve(original.assistant_id)


def test_file_ids_of_version_1_reach_the_container(upstream: StandIn, user: Any) -> None:
    """Files given as `file_ids`, as in version 1 of the API, are in the run's container."""
    file_id = upstream.put_file("sales.csv", b"a,b", "assistants")
    upstream.script(Turn(text="Two columns.", polls=0))
    agent = make_agent(upstream, assistant_config={"tools": [CODE], "file_ids": [file_id]})
    assert ask(user, agent, "How many columns?") == "Two columns."
    assert request_bodies(upstream)[0]["tools"][0]["container"]["file_ids"] == [file_id]


def test_a_retrieving_agent_searches_its_files(upstream: StandIn, user: Any) -> None:
    """The agent puts files into a store with `beta.vector_stores`, and a citation marker becomes a footnote."""
    file_id = upstream.put_file("foods.txt", b"Filip: cake.", "assistants")
    note = {"type": "file_citation", "file_id": file_id, "filename": "foods.txt", "index": 4}
    part = {"type": "output_text", "text": "Cake.", "annotations": [note], "logprobs": []}
    message = {"type": "message", "status": "completed", "role": "assistant", "content": [part]}
    upstream.script(Turn(output=[message], polls=0))
    agent = make_agent(upstream, assistant_config={"tools": [{"type": "retrieval"}], "file_ids": [file_id]})
    # AutoGen also reads a citation's `quote`, which version 2 of the API does not serve.
    assert ask(user, agent, "What does Filip like?") == "Cake [0]."
    [tool] = request_bodies(upstream)[0]["tools"]
    assert (tool["type"], tool["vector_store_ids"]) == ("file_search", list(upstream.vector_stores))
    assert list(next(iter(upstream.vector_stores.values())).files) == [file_id]


def test_a_reset_forgets_the_thread(upstream: StandIn, user: Any) -> None:
    """A reset deletes the thread, and the model no longer gets its messages."""
    upstream.script(Turn(text="Hello, Ada.", polls=0), Turn(text="I do not know.", polls=0))
    agent = make_agent(upstream)
    ask(user, agent, "I am Ada.")
    thread = agent.oai_threads[user]
    agent.reset()
    user.reset()
    assert ask(user, agent, "Who am I?") == "I do not know."
    assert input_messages(request_bodies(upstream)[1]) == [("user", "Who am I?")]
    with pytest.raises(openai.NotFoundError):
        agent.openai_client.beta.threads.retrieve(thread.id)


AUDITED = {
    "autogen": {
        "beta.assistants.create": 1,
        "beta.assistants.delete": 1,
        "beta.assistants.list": 1,
        "beta.assistants.retrieve": 1,
        "beta.assistants.update": 1,
        "beta.threads.create": 1,
        "beta.threads.delete": 2,
        "beta.threads.messages.create": 1,
        "beta.threads.messages.list": 2,
        "beta.threads.runs.create": 1,
        "beta.threads.runs.retrieve": 1,
        "beta.threads.runs.submit_tool_outputs": 1,
        "beta.vector_stores.create": 1,
        "beta.vector_stores.file_batches.create_and_poll": 1,
        "beta.vector_stores.file_batches.poll": 1,
    }
}


@pytest.mark.parametrize("package", AUDITED)
def test_an_audit_finds_every_call_in_the_package(package: str) -> None:
    """An audit of the installed package finds exactly the listed calls and reads every file."""
    assert count_calls(package) == AUDITED[package]
