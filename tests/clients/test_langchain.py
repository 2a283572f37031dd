"""LangChain's two assistant runnables work over a wrapped client, as chains and as agents."""

from __future__ import annotations

from typing import Any

import pytest
from audited import count_calls

from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.upstream_requests import function_outputs, input_messages, request_bodies

NOT_INSTALLED = "LangChain is not installed here: run `make clients`"
first = pytest.importorskip("langchain.agents.openai_assistant", reason=NOT_INSTALLED)
second = pytest.importorskip("langchain_community.agents.openai_assistant", reason=NOT_INSTALLED)
agents = pytest.importorskip("langchain.agents", reason=NOT_INSTALLED)
tools = pytest.importorskip("langchain_core.tools", reason=NOT_INSTALLED)

V1 = first.OpenAIAssistantRunnable
V2 = second.OpenAIAssistantV2Runnable
CODE = {"type": "code_interpreter"}
CALLS = [
    {"name": "multiply", "arguments": '{"first": 6, "second": 7}', "call_id": "call_a"},
    {"name": "multiply", "arguments": '{"first": 2, "second": 3}', "call_id": "call_b"},
]


@pytest.fixture(params=[V1, V2], ids=["v1", "v2"])
def runnable(request: pytest.FixtureRequest) -> Any:
    """The runnable of version 1 or 2."""
    return request.param


@pytest.fixture
def multiply() -> Any:
    """A LangChain tool."""

    def multiply(first: int, second: int) -> int:
        """Multiply two numbers."""
        return first * second

    return tools.tool(multiply)


def make_assistant(runnable: Any, client: Any, *functions: Any, **options: Any) -> Any:
    """Return an assistant made by LangChain, which polls every millisecond."""
    return runnable.create_assistant(
        name="helper", instructions="Help.", tools=functions, model="gpt-4o", client=client, check_every_ms=1, **options
    )


def test_a_conversation_continues_in_its_thread(runnable: Any, client: Any, upstream: StandIn) -> None:
    """The first invoke creates thread and run, the second continues, and each returns only its own run's messages."""
    upstream.script(Turn(text="Hello, Ada.", polls=2), Turn(text="Ada.", polls=2))
    assistant = make_assistant(runnable, client)
    [greeting] = assistant.invoke({"content": "I am Ada.", "thread_metadata": {"who": "Ada"}})
    assert [block.text.value for block in greeting.content] == ["Hello, Ada."]
    [answer] = assistant.invoke({"content": "Who am I?", "thread_id": greeting.thread_id})
    assert [block.text.value for block in answer.content] == ["Ada."]
    assert (answer.thread_id, answer.run_id != greeting.run_id) == (greeting.thread_id, True)
    assert input_messages(request_bodies(upstream)[1]) == [
        ("user", "I am Ada."),
        ("assistant", "Hello, Ada."),
        ("user", "Who am I?"),
    ]
    assert client.beta.threads.retrieve(greeting.thread_id).metadata == {"who": "Ada"}


def test_an_agent_executor_calls_the_functions(runnable: Any, client: Any, upstream: StandIn, multiply: Any) -> None:
    """The executor runs both parallel calls, submits their outputs to the same run and returns the answer."""
    upstream.script(Turn(function_calls=CALLS), Turn(text="42 and 6."))
    assistant = make_assistant(runnable, client, multiply, as_agent=True)
    executor = agents.AgentExecutor(agent=assistant, tools=[multiply])
    answer = executor.invoke({"content": "What is 6 times 7, and 2 times 3?"})
    assert (answer["output"], answer["attachments"]) == ("42 and 6.", [])
    first_body, second_body = request_bodies(upstream)
    [sent] = first_body["tools"]
    assert (sent["type"], sent["name"], sent["strict"]) == ("function", "multiply", False)
    assert function_outputs(second_body) == {"call_a": "42", "call_b": "6"}
    [run] = client.beta.threads.runs.list(answer["thread_id"])
    assert (run.id, run.status) == (answer["run_id"], "completed")


@pytest.mark.usefixtures("installed")
def test_a_runnable_makes_its_own_client(runnable: Any, upstream: StandIn) -> None:
    """A runnable without a client makes one for the assistant and one for its runs; both work under `install`."""
    upstream.script(Turn(text="Hello, Ada."))
    created = runnable.create_assistant(name="helper", instructions="Help.", tools=[], model="gpt-4o")
    assistant = runnable(assistant_id=created.assistant_id, check_every_ms=1)
    [message] = assistant.invoke({"content": "I am Ada."})
    assert message.content[0].text.value == "Hello, Ada."


def test_a_chain_submits_outputs_by_itself(runnable: Any, client: Any, upstream: StandIn, multiply: Any) -> None:
    """Without an executor the tool calls are the result, and an invoke with their outputs continues the run."""
    upstream.script(Turn(function_calls=CALLS[:1]), Turn(function_calls=CALLS[1:]), Turn(text="Done."))
    assistant = make_assistant(runnable, client, multiply, as_agent=True)
    response = assistant.invoke({"content": "Multiply twice."})
    rounds = 0
    while isinstance(response, list):
        rounds += 1
        outputs = [
            {"output": str(multiply.invoke(action.tool_input)), "tool_call_id": action.tool_call_id}
            for action in response
        ]
        first_action = response[0]
        response = assistant.invoke(
            {"tool_outputs": outputs, "run_id": first_action.run_id, "thread_id": first_action.thread_id}
        )
    assert (rounds, response.return_values["output"]) == (2, "Done.")
    assert [function_outputs(body) for body in request_bodies(upstream)] == [{}, {"call_a": "42"}, {"call_b": "6"}]


def test_the_calls_are_served_in_the_legacy_shape(runnable: Any, client: Any, upstream: StandIn, multiply: Any) -> None:
    """A runnable that is no agent returns the SDK's own tool calls."""
    upstream.script(Turn(function_calls=CALLS[:1]))
    [call] = make_assistant(runnable, client, multiply).invoke({"content": "Multiply."})
    assert (call.id, call.type, call.function.name) == ("call_a", "function", "multiply")
    assert call.function.arguments == CALLS[0]["arguments"]


def test_version_1_passes_a_runs_parameters(client: Any, upstream: StandIn) -> None:
    """The run parameters that V1 reads from its input reach the model."""
    assistant = make_assistant(V1, client)
    [message] = assistant.invoke({"content": "One.", "instructions": "Be terse.", "temperature": 0.5})
    params = {"additional_instructions": "Count.", "max_completion_tokens": 500, "model": "gpt-4o-mini", "top_p": 0.5}
    assistant.invoke({"content": "Two.", "thread_id": message.thread_id, **params})
    first_body, second_body = request_bodies(upstream)
    assert (first_body["instructions"], first_body["temperature"], first_body["model"]) == ("Be terse.", 0.5, "gpt-4o")
    assert (second_body["max_output_tokens"], second_body["top_p"], second_body["model"]) == (500, 0.5, "gpt-4o-mini")
    assert second_body["instructions"].split() == ["Help.", "Count."]


def test_version_2_passes_a_runs_parameters(client: Any, upstream: StandIn) -> None:
    """V2's model options reach the model, and its truncation strategy applies to a run on an existing thread."""
    assistant = make_assistant(V2, client, model_kwargs={"temperature": 0.25})
    [message] = assistant.invoke({"content": "One."})
    last = {"type": "last_messages", "last_messages": 1}
    assistant.invoke({"content": "Two.", "thread_id": message.thread_id, "truncation_strategy": last})
    first_body, second_body = request_bodies(upstream)
    assert (first_body["temperature"], input_messages(first_body), input_messages(second_body)) == (
        0.25,
        [("user", "One.")],
        [("user", "Two.")],
    )


def test_version_2_brings_files_to_code_interpreter(client: Any, upstream: StandIn) -> None:
    """The files of an assistant, of a thread and of a message's attachment are all in the run's container."""
    assistant_file, thread_file, attached_file = (
        upstream.put_file(f"{name}.csv", b"a,b", "assistants") for name in "abc"
    )
    upstream.script(Turn(text="[Here](sandbox:/mnt/data/out.csv)", files={"out.csv": b"1,2"}))
    assistant = make_assistant(V2, client, CODE, tool_resources={"code_interpreter": {"file_ids": [assistant_file]}})
    [message] = assistant.invoke(
        {"content": "Add them.", "tool_resources": {"code_interpreter": {"file_ids": [thread_file]}}},
        attachments=[{"file_id": attached_file, "tools": [CODE]}],
    )
    [tool] = request_bodies(upstream)[0]["tools"]
    assert tool["container"]["file_ids"] == [assistant_file, thread_file, attached_file]
    [annotation] = message.content[0].text.annotations
    assert client.files.content(annotation.file_path.file_id).read() == b"1,2"


def test_version_2_searches_files(client: Any, upstream: StandIn) -> None:
    """The stores of assistant and thread are searched, an attachment joins the latter, and the text has its marker."""
    cited_file, thread_file, attached_file = (
        upstream.put_file(f"{name}.txt", b"Cake.", "assistants") for name in "abc"
    )
    stores = [client.beta.vector_stores.create(file_ids=[file_id]).id for file_id in (cited_file, thread_file)]
    note = {"type": "file_citation", "file_id": cited_file, "filename": "a.txt", "index": 4}
    part = {"type": "output_text", "text": "Cake.", "annotations": [note], "logprobs": []}
    message = {"type": "message", "status": "completed", "role": "assistant", "content": [part]}
    upstream.script(Turn(output=[message]))
    assistant_resources, thread_resources = ({"file_search": {"vector_store_ids": [store]}} for store in stores)
    assistant = make_assistant(V2, client, {"type": "file_search"}, tool_resources=assistant_resources)
    search = [{"type": "file_search"}]
    [answer] = assistant.invoke(
        {"content": "What is it?", "tool_resources": thread_resources},
        attachments=[{"file_id": attached_file, "tools": search}],
    )
    [tool] = request_bodies(upstream)[0]["tools"]
    assert tool["vector_store_ids"] == stores
    assert set(upstream.vector_stores[stores[1]].files) == {thread_file, attached_file}
    text = answer.content[0].text
    assert (text.value, text.annotations[0].file_citation.file_id) == ("Cake【4:0†a.txt】.", cited_file)


def test_an_agents_answer_with_an_image_is_a_list_of_blocks(runnable: Any, client: Any, upstream: StandIn) -> None:
    """An agent whose run shows an image returns content blocks instead of a text."""
    upstream.script(Turn(text="A chart.", images=[b"png"]))
    answer = make_assistant(runnable, client, CODE, as_agent=True).invoke({"content": "Draw."})
    assert sorted(block.type for block in answer.return_values["output"]) == ["image_file", "text"]


def test_a_failed_run_is_langchains_error(runnable: Any, client: Any, upstream: StandIn) -> None:
    """LangChain raises an error with the run's status and the run, which holds the upstream's message."""
    upstream.script(Turn(status="failed", error={"code": "server_error", "message": "Something broke."}))
    with pytest.raises(ValueError, match="Unexpected run status: failed") as caught:
        make_assistant(runnable, client).invoke({"content": "Hello."})
    assert "Something broke." in str(caught.value)


def test_version_2_works_asynchronously(
    client: Any, async_client: Any, async_door: Door, upstream: StandIn, multiply: Any
) -> None:
    """V2's ainvoke completes an agent's function round, although it lists the messages synchronously at the end."""
    upstream.script(Turn(function_calls=CALLS), Turn(text="42 and 6."))
    assistant = async_door(
        V2.acreate_assistant(
            name="helper",
            instructions="Help.",
            tools=[multiply],
            model="gpt-4o",
            async_client=async_client,
            client=client,
            check_every_ms=1,
            as_agent=True,
        )
    )
    executor = agents.AgentExecutor(agent=assistant, tools=[multiply])
    answer = async_door(executor.ainvoke({"content": "What is 6 times 7, and 2 times 3?"}))
    assert answer["output"] == "42 and 6."
    assert function_outputs(request_bodies(upstream)[1]) == {"call_a": "42", "call_b": "6"}


def test_version_1_runs_asynchronously_until_langchains_own_error(
    client: Any, async_client: Any, async_door: Door, upstream: StandIn, multiply: Any
) -> None:
    """V1's ainvoke completes the run, then LangChain itself fails because it iterates an async page with `for`."""
    upstream.script(Turn(function_calls=CALLS[:1]), Turn(text="42."))
    assistant = make_assistant(V1, client, multiply, async_client=async_client, as_agent=True)
    [action] = async_door(assistant.ainvoke({"content": "Multiply."}))
    outputs = [{"output": "42", "tool_call_id": action.tool_call_id}]
    with pytest.raises(AttributeError, match="'tuple' object has no attribute 'run_id'"):
        async_door(assistant.ainvoke({"tool_outputs": outputs, "run_id": action.run_id, "thread_id": action.thread_id}))
    assert client.beta.threads.runs.retrieve(action.run_id, thread_id=action.thread_id).status == "completed"


AUDITED = {
    "langchain": {
        "beta.assistants.create": 2,
        "beta.threads.create_and_run": 2,
        "beta.threads.messages.create": 2,
        "beta.threads.messages.list": 2,
        "beta.threads.runs.create": 2,
        "beta.threads.runs.retrieve": 2,
        "beta.threads.runs.submit_tool_outputs": 4,
    },
    "langchain_community.agents": {
        "beta.assistants.create": 2,
        "beta.threads.create_and_run": 2,
        "beta.threads.messages.create": 2,
        "beta.threads.runs.create": 2,
        "beta.threads.runs.submit_tool_outputs": 4,
    },
}


@pytest.mark.parametrize("package", AUDITED)
def test_an_audit_finds_every_call_in_the_package(package: str) -> None:
    """An audit of the installed package finds exactly the listed calls and reads every file."""
    assert count_calls(package) == AUDITED[package]
