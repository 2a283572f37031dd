"""AutoGen 0.2's assistant agent; it makes its client from a config, so it runs under `install`."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from audited import calls_in

from assistants_compat.testing import StandIn, Turn
from kit.upstream_requests import bodies, outputs, said

NOT_HERE = "AutoGen 0.2 has an environment of its own: make clients"
autogen = pytest.importorskip("autogen", reason=NOT_HERE)
contrib = pytest.importorskip("autogen.agentchat.contrib.gpt_assistant_agent", reason=NOT_HERE)

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
    """AutoGen makes its clients itself, which are covered."""


def make(upstream: StandIn, **options: Any) -> Any:
    """An agent, which makes its client."""
    config = {"config_list": [{"model": "gpt-4o", "api_key": "sk-test", "base_url": upstream.base_url}]}
    return contrib.GPTAssistantAgent(name="helper", llm_config=config, **{"instructions": "Help.", **options})


@pytest.fixture
def user() -> Any:
    """Somebody who talks to the agent and answers nothing by himself."""
    return autogen.UserProxyAgent("user", human_input_mode="NEVER", code_execution_config=False)


def ask(user: Any, agent: Any, text: str) -> str:
    """The agent's answer to one message of a chat that goes on."""
    return str(user.initiate_chat(agent, message=text, max_turns=1, clear_history=False, silent=True).summary).strip()


def test_a_chat_goes_on_in_its_thread(upstream: StandIn, user: Any) -> None:
    """Two turns of a chat are two runs on one thread, with the system message as the run's instructions."""
    upstream.script(Turn(text="Hello, Ada.", polls=0), Turn(text="Ada."))
    agent = make(upstream)
    assert ask(user, agent, "I am Ada.") == "Hello, Ada."
    agent.update_system_message("Be terse.")
    assert ask(user, agent, "Who am I?") == "Ada."
    one, two = bodies(upstream)
    assert (one["instructions"], two["instructions"]) == ("Help.", "Be terse.")
    assert said(two) == [("user", "I am Ada."), ("assistant", "Hello, Ada."), ("user", "Who am I?")]


def test_functions_are_called_by_the_agent(upstream: StandIn, user: Any) -> None:
    """Both parallel calls are answered, the one of an unknown function with AutoGen's error."""
    upstream.script(Turn(function_calls=CALLS, polls=0), Turn(text="42.", polls=0))
    agent = make(upstream, assistant_config={"tools": [MULTIPLY]})
    agent.register_function({"multiply": lambda first, second: first * second})
    assert ask(user, agent, "What is 6 times 7?") == "42."
    asked, answered = bodies(upstream)
    [tool] = asked["tools"]
    assert (tool["name"], tool["strict"]) == ("multiply", False)
    assert outputs(answered) == {"call_a": "42", "call_b": "Error: Function divide not found."}


def test_a_link_becomes_a_footnote_with_the_files_name(upstream: StandIn, user: Any) -> None:
    """AutoGen replaces the annotation's text by a number, looks the file up and names it below; an image is its id."""
    text = "Done: [the table](sandbox:/mnt/data/sales.csv)."
    upstream.script(Turn(text=text, files={"sales.csv": b"a,b"}, images=[b"png"], polls=0))
    agent = make(upstream, assistant_config={"tools": [CODE]})
    answer = ask(user, agent, "A table and a chart.")
    assert "sandbox:" not in answer
    assert "[0] Click <here> to download /mnt/data/sales.csv" in answer
    _, _, rest = answer.partition("Received file id=")
    assert agent.openai_client.files.content(rest.split()[0]).read() == b"png"


def test_messages_are_paged_until_a_page_is_empty(upstream: StandIn, user: Any) -> None:
    """The answer is on the third page of its thread, and the SDK of 1.59 stops at an empty page only."""
    agent = make(upstream)
    thread = agent.openai_client.beta.threads.create()
    for number in range(40):
        agent.openai_client.beta.threads.messages.create(thread.id, role="user", content=f"Message {number}.")
    agent.oai_threads[user] = thread
    upstream.script(Turn(text="Forty-one.", polls=0))
    assert ask(user, agent, "How many?") == "Forty-one."
    assert len(list(agent.openai_client.beta.threads.messages.list(thread.id))) == 42


def test_an_assistant_is_found_by_its_name(upstream: StandIn) -> None:
    """A second agent of the same name, instructions and tools is the same assistant, another one is not."""
    tools = {"tools": [CODE, MULTIPLY]}
    agent = make(upstream, assistant_config=tools)
    assert make(upstream, assistant_config=tools).assistant_id == agent.assistant_id
    assert make(upstream, instructions="Do not help.").assistant_id != agent.assistant_id


def test_an_assistant_is_changed_and_deleted(upstream: StandIn) -> None:
    """The overwrite flags change an assistant in place, and deleting it makes its id unknown."""
    made = make(upstream)
    config = {"assistant_id": made.assistant_id, "tools": [CODE]}
    agent = make(
        upstream,
        instructions="Analyse.",
        assistant_config=config,
        overwrite_instructions=True,
        overwrite_tools=True,
    )
    changed = agent.openai_client.beta.assistants.retrieve(made.assistant_id)
    assert (changed.instructions, [tool.type for tool in changed.tools]) == ("Analyse.", ["code_interpreter"])
    agent.delete_assistant()
    with pytest.raises(openai.NotFoundError):
        made.openai_client.beta.assistants.retrieve(made.assistant_id)


def test_files_of_the_first_version_become_the_interpreters(upstream: StandIn, user: Any) -> None:
    """`file_ids` as in the first version of the API lie in the container."""
    file_id = upstream.put_file("sales.csv", b"a,b", "assistants")
    upstream.script(Turn(text="Two columns.", polls=0))
    agent = make(upstream, assistant_config={"tools": [CODE], "file_ids": [file_id]})
    assert ask(user, agent, "How many columns?") == "Two columns."
    assert bodies(upstream)[0]["tools"][0]["container"]["file_ids"] == [file_id]


def test_a_retrieving_agent_searches_its_files(upstream: StandIn, user: Any) -> None:
    """The files become a vector store by `beta.vector_stores`; a citation's marker becomes a footnote."""
    file_id = upstream.put_file("foods.txt", b"Filip: cake.", "assistants")
    note = {"type": "file_citation", "file_id": file_id, "filename": "foods.txt", "index": 4}
    part = {"type": "output_text", "text": "Cake.", "annotations": [note], "logprobs": []}
    message = {"type": "message", "status": "completed", "role": "assistant", "content": [part]}
    upstream.script(Turn(output=[message], polls=0))
    agent = make(upstream, assistant_config={"tools": [{"type": "retrieval"}], "file_ids": [file_id]})
    # What a citation says besides its file, AutoGen asks of a `quote` that the second version does not serve.
    assert ask(user, agent, "What does Filip like?") == "Cake [0]."
    [tool] = bodies(upstream)[0]["tools"]
    assert (tool["type"], tool["vector_store_ids"]) == ("file_search", list(upstream.vector_stores))
    assert list(next(iter(upstream.vector_stores.values())).files) == [file_id]


def test_a_reset_forgets_the_thread(upstream: StandIn, user: Any) -> None:
    """After a reset the thread is deleted and the model hears nothing of it."""
    upstream.script(Turn(text="Hello, Ada.", polls=0), Turn(text="I do not know.", polls=0))
    agent = make(upstream)
    ask(user, agent, "I am Ada.")
    thread = agent.oai_threads[user]
    agent.reset()
    user.reset()
    assert ask(user, agent, "Who am I?") == "I do not know."
    assert said(bodies(upstream)[1]) == [("user", "Who am I?")]
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
    """The installed package has these calls, and no other; what is not read is nothing."""
    assert calls_in(package) == AUDITED[package]
