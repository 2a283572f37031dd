"""Runs work over OGX, a Responses server of another project, as they do over the stand-in.

The model behind it calls the first tool once, then repeats the last message. It counts a prompt's tokens in characters
and an answer's in words, so usage shows exactly which text it got.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import Settings
from kit.doors import Door
from kit.legacy_code import dump_store, make_assistant, make_thread
from kit.streams import read_rest

# The first test installs OGX.
pytestmark = [pytest.mark.ogx, pytest.mark.timeout(900)]

MODEL = "vllm/stub"
ARGUMENTS = '{"city": "Paris", "query": "hello"}'  # these arguments come from the model
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
INSTRUCTIONS = "Help."
LONG = "word " * 1000  # the model needs 10 ms a word


def create_run(door: Door, client: Any, text: str = "Hello.", *, tools: Any = (), **options: Any) -> Any:
    """Create a run on a new thread and return the answer."""
    assistant = make_assistant(door, client, model=MODEL, instructions=INSTRUCTIONS, tools=list(tools))
    thread = make_thread(door, client, text)
    return door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options))


def poll_run(door: Door, client: Any, run: Any) -> Any:
    """Return the run, polled until it has ended or waits."""
    return door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))


def message_texts(door: Door, client: Any, thread_id: str) -> list[str]:
    """Return the texts of a thread's messages, oldest first."""
    messages = door.all(client.beta.threads.messages.list(thread_id, order="asc"))
    return [message.content[0].text.value for message in messages]


def submit(door: Door, client: Any, run: Any, *outputs: str) -> Any:
    """Answer the calls that a run waits for, and poll it."""
    calls = run.required_action.submit_tool_outputs.tool_calls
    tool_outputs = [{"tool_call_id": call.id, "output": output} for call, output in zip(calls, outputs, strict=True)]
    return door(
        client.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id, thread_id=run.thread_id, tool_outputs=tool_outputs
        )
    )


def test_a_text_run_is_answered(door: Door, client: Any, mode: str) -> None:
    """A run without tools is queued in the background and completed inline, with the upstream's usage."""
    run = create_run(door, client)
    assert run.status == ("queued" if mode == "background" else "completed")
    completed = poll_run(door, client, run)
    assert (completed.id, completed.status, completed.last_error) == (run.id, "completed", None)
    usage = completed.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (len(INSTRUCTIONS + "Hello."), 3, 14)
    assert message_texts(door, client, run.thread_id) == ["Hello.", "You said: Hello."]
    [step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert (step.type, step.status, step.usage.total_tokens) == ("message_creation", "completed", 14)


def test_a_function_round_is_one_run(door: Door, client: Any) -> None:
    """The call, its output and the answer are one run with one id, and usage is the sum of both responses."""
    run = create_run(door, client, tools=[TOOL])
    waiting = poll_run(door, client, run)
    assert waiting.status == "requires_action"
    [call] = waiting.required_action.submit_tool_outputs.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", ARGUMENTS)
    completed = submit(door, client, waiting, "18 degrees")
    assert (completed.id, completed.status, completed.required_action) == (run.id, "completed", None)
    assert message_texts(door, client, run.thread_id) == ["Hello.", "You said: 18 degrees"]
    first, second = len(INSTRUCTIONS + "Hello."), len(INSTRUCTIONS + "Hello." + "18 degrees")
    assert (completed.usage.prompt_tokens, completed.usage.completion_tokens) == (first + second, 1 + 4)
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))
    assert [(step.type, step.status) for step in steps] == [
        ("tool_calls", "completed"),
        ("message_creation", "completed"),
    ]
    assert steps[0].step_details.tool_calls[0].function.output == "18 degrees"


def test_wrong_outputs_are_refused_and_the_right_ones_accepted(door: Door, client: Any) -> None:
    """Outputs for unknown call ids are refused by the library, and the upstream still accepts the right ones."""
    waiting = poll_run(door, client, create_run(door, client, tools=[TOOL]))
    with pytest.raises(openai.BadRequestError, match="Expected tool outputs for call_ids"):
        door(
            client.beta.threads.runs.submit_tool_outputs(
                waiting.id, thread_id=waiting.thread_id, tool_outputs=[{"tool_call_id": "call_0", "output": "x"}]
            )
        )
    assert submit(door, client, waiting, "sunny").status == "completed"


def test_a_second_run_sends_the_whole_first_run(door: Door, client: Any) -> None:
    """A second run sends the first one's messages, call and output, and the upstream counts them."""
    first = submit(door, client, poll_run(door, client, create_run(door, client, tools=[TOOL])), "sunny")
    door(client.beta.threads.messages.create(first.thread_id, role="user", content="And then?"))
    run = door(client.beta.threads.runs.create(first.thread_id, assistant_id=first.assistant_id, tools=[]))
    completed = poll_run(door, client, run)
    expected = ["Hello.", "You said: sunny", "And then?", "You said: And then?"]
    assert message_texts(door, client, run.thread_id) == expected
    assert completed.usage.prompt_tokens == len(INSTRUCTIONS + "sunny" + "".join(expected[:3]))


def test_several_messages_are_read_in_order(door: Door, client: Any) -> None:
    """The messages of thread and run are sent in order; a deleted message is not."""
    assistant = make_assistant(door, client, model=MODEL, instructions=INSTRUCTIONS)
    thread = make_thread(door, client, "one", "to be deleted", "two")
    [_, deleted, _] = door.all(client.beta.threads.messages.list(thread.id))
    door(client.beta.threads.messages.delete(deleted.id, thread_id=thread.id))
    additional = [{"role": "assistant", "content": "three"}, {"role": "user", "content": "four"}]
    run = door(
        client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, additional_messages=additional
        )
    )
    assert message_texts(door, client, thread.id) == ["one", "two", "three", "four", "You said: four"]
    assert run.usage.prompt_tokens == len(INSTRUCTIONS + "onetwothreefour")


def test_a_runs_parameters_are_accepted(door: Door, client: Any) -> None:
    """The upstream accepts every parameter of a run in its own form."""
    run = create_run(
        door,
        client,
        tools=[TOOL],
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=100,
        max_prompt_tokens=1000,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        truncation_strategy={"type": "last_messages", "last_messages": 1},
        metadata={"of": "run"},
    )
    waiting = poll_run(door, client, run)
    assert waiting.status == "requires_action"
    assert (waiting.temperature, waiting.metadata, waiting.tools[0].function.name) == (0.5, {"of": "run"}, "weather")


def test_a_thread_is_usable_after_a_cancel(door: Door, client: Any, mode: str) -> None:
    """A cancelled background run stops upstream, an inline run cannot be cancelled, and the thread can run again."""
    run = create_run(door, client, LONG if mode == "background" else "Hello.")
    cancel = client.beta.threads.runs.cancel
    if mode == "background":
        assert door(cancel(run.id, thread_id=run.thread_id)).status == "cancelling"
        cancelled = poll_run(door, client, run)
        assert (cancelled.status, cancelled.cancelled_at is None) == ("cancelled", False)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status"):
        door(cancel(run.id, thread_id=run.thread_id))
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="Again."))
    again = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert again.status == "completed"
    assert message_texts(door, client, run.thread_id)[-1] == "You said: Again."


def test_a_thread_is_usable_after_an_unanswered_call(door: Door, client: Any) -> None:
    """A run cancelled while it waits for outputs leaves nothing that makes the upstream refuse the next run."""
    waiting = poll_run(door, client, create_run(door, client, tools=[TOOL]))
    assert door(client.beta.threads.runs.cancel(waiting.id, thread_id=waiting.thread_id)).status == "cancelling"
    assert poll_run(door, client, waiting).status == "cancelled"
    door(client.beta.threads.messages.create(waiting.thread_id, role="user", content="Again."))
    options = {"thread_id": waiting.thread_id, "assistant_id": waiting.assistant_id}
    again = door(client.beta.threads.runs.create_and_poll(**options))
    assert submit(door, client, again, "rain").status == "completed"
    assert message_texts(door, client, waiting.thread_id) == ["Hello.", "Again.", "You said: rain"]


def test_an_active_run_locks_its_thread(door: Door, client: Any, mode: str) -> None:
    """While a run is active, a second run and a message are refused with the service's messages."""
    tools = [TOOL] if mode == "inline" else []
    run = create_run(door, client, LONG, tools=tools)
    thread = run.thread_id
    with pytest.raises(openai.BadRequestError) as caught:
        door(client.beta.threads.runs.create(thread, assistant_id=run.assistant_id))
    assert caught.value.body["message"] == f"Thread {thread} already has an active run {run.id}."  # type: ignore[index]
    with pytest.raises(openai.BadRequestError) as caught:
        door(client.beta.threads.messages.create(thread, role="user", content="x"))
    assert caught.value.body["message"] == f"Can't add messages to {thread} while a run {run.id} is active."  # type: ignore[index]
    door(client.beta.threads.runs.cancel(run.id, thread_id=thread))


def test_an_unknown_model_gives_the_upstreams_message(door: Door, client: Any, mode: str) -> None:
    """Inline the refusal is the answer and leaves no run; in the background OGX fails the response and so the run."""
    if mode == "background":
        run = poll_run(door, client, create_run(door, client, model="nothing"))
        assert (run.status, run.last_error.code) == ("failed", "server_error")
        assert "Model 'nothing' not found" in run.last_error.message
        return
    assistant, thread = make_assistant(door, client, model="nothing"), make_thread(door, client)
    with pytest.raises(openai.NotFoundError) as caught:
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert "Model 'nothing' not found" in caught.value.response.text  # `detail`, not `error`: the SDK shows nothing
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


def test_an_unsupported_tool_is_refused_at_creation(door: Door, client: Any) -> None:
    """OGX has no code interpreter: its 400 is the answer, no run is left, and the thread can run without the tool."""
    assistant = make_assistant(door, client, model=MODEL, instructions=INSTRUCTIONS)
    thread, runs = make_thread(door, client), client.beta.threads.runs
    with pytest.raises(openai.BadRequestError, match="code_interpreter"):
        door(runs.create(thread.id, assistant_id=assistant.id, tools=[{"type": "code_interpreter"}]))
    assert door.all(runs.list(thread.id)) == []
    assert door(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)).status == "completed"


@pytest.mark.parametrize("mode", ["background"])  # an inline run is never polled
def test_a_deleted_response_is_an_error_for_the_caller(door: Door, client: Any, ogx_settings: Settings) -> None:
    """A response that OGX no longer knows is a 404 without its id, and the run stays active."""
    run = create_run(door, client, LONG)
    [row] = dump_store(ogx_settings)["runs"]
    door(client.responses.cancel(row["response_id"]))
    door(client.responses.delete(row["response_id"]))
    with pytest.raises(openai.NotFoundError) as caught:
        door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert (caught.value.code, row["response_id"] in caught.value.response.text) == ("no_response", False)
    with pytest.raises(openai.BadRequestError, match="while a run"):
        door(client.beta.threads.messages.create(run.thread_id, role="user", content="x"))


def test_a_function_round_works_without_stored_responses(door: Door, ogx: Any, ogx_settings: Settings) -> None:
    """With `store_responses=False` OGX keeps nothing, and the second round sends everything again."""
    settings = replace(ogx_settings, store_responses=False)
    client = assistants_compat.wrap(door.raw_client(ogx), settings)
    waiting = create_run(door, client, tools=[TOOL])
    assert waiting.status == "requires_action"
    completed = submit(door, client, waiting, "snow")
    assert (completed.status, message_texts(door, client, completed.thread_id)[-1]) == ("completed", "You said: snow")
    assert completed.usage.prompt_tokens == len(INSTRUCTIONS + "Hello.") * 2 + len("snow")


SEARCH = [{"type": "file_search"}]
FOODS = b"Hello hello. The favorite food of Filip is cake."  # the model always searches for "hello"


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_an_attached_file_is_indexed_searched_and_cited(door: Door, client: Any, *, streamed: bool) -> None:
    """An attached file joins the thread's vector store in OGX's sqlite-vec, and a run finds and cites its text."""
    file = door(client.files.create(file=("foods.txt", FOODS), purpose="assistants"))
    assistant = make_assistant(door, client, model=MODEL, instructions=INSTRUCTIONS, tools=SEARCH)
    attached = [{"file_id": file.id, "tools": SEARCH}]
    message = {"role": "user", "content": "What does Filip like?", "attachments": attached}
    thread = door(client.beta.threads.create(messages=[message]))
    options = {"assistant_id": assistant.id}
    runs = client.beta.threads.runs
    if streamed:
        read_rest(door, door(runs.create(thread.id, stream=True, **options)))
        [run] = door.all(runs.list(thread.id))
    else:
        run = door(runs.create_and_poll(thread_id=thread.id, **options))
    assert (run.status, run.last_error) == ("completed", None)
    [store] = door(client.beta.threads.retrieve(thread.id)).tool_resources.file_search.vector_store_ids
    vector_store = door(client.beta.vector_stores.retrieve(store))
    assert (vector_store.file_counts.completed, vector_store.expires_after.days) == (1, 7)
    steps = door.all(runs.steps.list(run.id, thread_id=thread.id, order="asc"))
    assert [(step.type, step.status) for step in steps] == [
        ("tool_calls", "completed"),
        ("message_creation", "completed"),
    ]
    [result] = steps[0].step_details.tool_calls[0].file_search.results
    assert result.score > 0
    content = "step_details.tool_calls[*].file_search.results[*].content"
    options = {"run_id": run.id, "thread_id": thread.id, "extra_query": {"include[]": content}}
    [full_result] = door(runs.steps.retrieve(steps[0].id, **options)).step_details.tool_calls[0].file_search.results
    assert full_result.content[0].text == FOODS.decode()
    text = door.all(client.beta.threads.messages.list(thread.id))[0].content[0].text
    assert FOODS.decode() in text.value
    [note] = text.annotations
    assert note.text == "\u30104:0\u2020foods.txt\u3011"
    assert text.value[note.start_index : note.end_index] == note.text
    # OGX cites its own id of the document.
    assert note.file_citation.file_id == result.file_id
    door(client.beta.threads.delete(thread.id))
    assert store not in [listed.id for listed in door.all(client.beta.vector_stores.list())]


def test_a_batch_of_files_is_put_into_a_store(door: Door, client: Any) -> None:
    """`beta.vector_stores` uploads and indexes a batch on OGX, and an assistant searches the store."""
    store = door(client.beta.vector_stores.create(name="foods")).id
    batches = client.beta.vector_stores.file_batches
    batch = door(batches.upload_and_poll(store, files=[("foods.txt", FOODS)]))
    assert (batch.status, batch.file_counts.completed) == ("completed", 1)
    resources = {"file_search": {"vector_store_ids": [store]}}
    options = {"model": MODEL, "instructions": INSTRUCTIONS, "tools": SEARCH, "tool_resources": resources}
    assistant, thread = make_assistant(door, client, **options), make_thread(door, client)
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    assert "\u2020foods.txt" in message_texts(door, client, thread.id)[-1]
