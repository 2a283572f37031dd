"""Runs over a Responses server that nobody here wrote: what the stand-in claims, asked once more.

The model behind it calls the first tool once, then repeats the last message; it counts a prompt's tokens in characters
and an answer's in words, so that usage shows exactly what it was told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import Settings
from kit.doors import Door
from kit.legacy_code import dump, make_assistant, make_thread
from kit.streams import rest

# The first test waits for the installation.
pytestmark = [pytest.mark.ogx, pytest.mark.timeout(900)]

MODEL = "vllm/stub"
ARGUMENTS = '{"city": "Paris", "query": "hello"}'  # the model's own
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
INSTRUCTIONS = "Help."
LONG = "word " * 1000  # the model needs 10 ms a word


def begin(door: Door, client: Any, text: str = "Hello.", *, tools: Any = (), **options: Any) -> Any:
    """A run on a new thread, as its creation answers."""
    assistant = make_assistant(door, client, model=MODEL, instructions=INSTRUCTIONS, tools=list(tools))
    thread = make_thread(door, client, text)
    return door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options))


def ended(door: Door, client: Any, run: Any) -> Any:
    """The run, polled until it has ended or waits."""
    return door(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id))


def texts(door: Door, client: Any, thread_id: str) -> list[str]:
    """What was said on a thread, oldest first."""
    messages = door.all(client.beta.threads.messages.list(thread_id, order="asc"))
    return [message.content[0].text.value for message in messages]


def submit(door: Door, client: Any, run: Any, *outputs: str) -> Any:
    """Answer the calls that a run waits for, and poll it."""
    calls = run.required_action.submit_tool_outputs.tool_calls
    given = [{"tool_call_id": call.id, "output": output} for call, output in zip(calls, outputs, strict=True)]
    return door(
        client.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id, thread_id=run.thread_id, tool_outputs=given
        )
    )


def test_a_text_run_is_answered(door: Door, client: Any, mode: str) -> None:
    """A run that only talks is queued in the background and ended inline, and its usage is the upstream's."""
    run = begin(door, client)
    assert run.status == ("queued" if mode == "background" else "completed")
    done = ended(door, client, run)
    assert (done.id, done.status, done.last_error) == (run.id, "completed", None)
    usage = done.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (len(INSTRUCTIONS + "Hello."), 3, 14)
    assert texts(door, client, run.thread_id) == ["Hello.", "You said: Hello."]
    [step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert (step.type, step.status, step.usage.total_tokens) == ("message_creation", "completed", 14)


def test_a_function_round_is_one_run(door: Door, client: Any) -> None:
    """The call, its output and the answer are one run with one id; usage is the sum of both responses."""
    run = begin(door, client, tools=[TOOL])
    waiting = ended(door, client, run)
    assert waiting.status == "requires_action"
    [call] = waiting.required_action.submit_tool_outputs.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", ARGUMENTS)
    done = submit(door, client, waiting, "18 degrees")
    assert (done.id, done.status, done.required_action) == (run.id, "completed", None)
    assert texts(door, client, run.thread_id) == ["Hello.", "You said: 18 degrees"]
    first, second = len(INSTRUCTIONS + "Hello."), len(INSTRUCTIONS + "Hello." + "18 degrees")
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (first + second, 1 + 4)
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))
    assert [(step.type, step.status) for step in steps] == [
        ("tool_calls", "completed"),
        ("message_creation", "completed"),
    ]
    assert steps[0].step_details.tool_calls[0].function.output == "18 degrees"


def test_wrong_outputs_are_refused_and_the_right_ones_taken(door: Door, client: Any) -> None:
    """Outputs of calls that nobody made are refused here, and the upstream still takes the right ones."""
    waiting = ended(door, client, begin(door, client, tools=[TOOL]))
    with pytest.raises(openai.BadRequestError, match="Expected tool outputs for call_ids"):
        door(
            client.beta.threads.runs.submit_tool_outputs(
                waiting.id, thread_id=waiting.thread_id, tool_outputs=[{"tool_call_id": "call_0", "output": "x"}]
            )
        )
    assert submit(door, client, waiting, "sunny").status == "completed"


def test_a_second_run_is_told_all_of_the_first(door: Door, client: Any) -> None:
    """The transcript goes over two runs, with the first one's call and output, which the upstream takes and counts."""
    first = submit(door, client, ended(door, client, begin(door, client, tools=[TOOL])), "sunny")
    door(client.beta.threads.messages.create(first.thread_id, role="user", content="And then?"))
    run = door(client.beta.threads.runs.create(first.thread_id, assistant_id=first.assistant_id, tools=[]))
    done = ended(door, client, run)
    said = ["Hello.", "You said: sunny", "And then?", "You said: And then?"]
    assert texts(door, client, run.thread_id) == said
    assert done.usage.prompt_tokens == len(INSTRUCTIONS + "sunny" + "".join(said[:3]))


def test_several_messages_are_read_in_order(door: Door, client: Any) -> None:
    """Messages of the thread and of the run are all told; a deleted one is not."""
    assistant = make_assistant(door, client, model=MODEL, instructions=INSTRUCTIONS)
    thread = make_thread(door, client, "one", "to be deleted", "two")
    [_, deleted, _] = door.all(client.beta.threads.messages.list(thread.id))
    door(client.beta.threads.messages.delete(deleted.id, thread_id=thread.id))
    more = [{"role": "assistant", "content": "three"}, {"role": "user", "content": "four"}]
    run = door(
        client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, additional_messages=more
        )
    )
    assert texts(door, client, thread.id) == ["one", "two", "three", "four", "You said: four"]
    assert run.usage.prompt_tokens == len(INSTRUCTIONS + "onetwothreefour")


def test_a_runs_parameters_are_taken(door: Door, client: Any) -> None:
    """What a run may say besides its messages is taken by the upstream, in its own form."""
    run = begin(
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
    done = ended(door, client, run)
    assert done.status == "requires_action"
    assert (done.temperature, done.metadata, done.tools[0].function.name) == (0.5, {"of": "run"}, "weather")


def test_a_thread_is_usable_after_a_cancel(door: Door, client: Any, mode: str) -> None:
    """In the background the upstream stops; an inline run has ended when it was created; the thread goes on."""
    run = begin(door, client, LONG if mode == "background" else "Hello.")
    cancel = client.beta.threads.runs.cancel
    if mode == "background":
        assert door(cancel(run.id, thread_id=run.thread_id)).status == "cancelling"
        done = ended(door, client, run)
        assert (done.status, done.cancelled_at is None) == ("cancelled", False)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status"):
        door(cancel(run.id, thread_id=run.thread_id))
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="Again."))
    again = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert again.status == "completed"
    assert texts(door, client, run.thread_id)[-1] == "You said: Again."


def test_a_thread_is_usable_after_a_call_that_nobody_answered(door: Door, client: Any) -> None:
    """A run that is cancelled while it waits leaves nothing that the next run's upstream could refuse."""
    waiting = ended(door, client, begin(door, client, tools=[TOOL]))
    assert door(client.beta.threads.runs.cancel(waiting.id, thread_id=waiting.thread_id)).status == "cancelling"
    assert ended(door, client, waiting).status == "cancelled"
    door(client.beta.threads.messages.create(waiting.thread_id, role="user", content="Again."))
    options = {"thread_id": waiting.thread_id, "assistant_id": waiting.assistant_id}
    again = door(client.beta.threads.runs.create_and_poll(**options))
    assert submit(door, client, again, "rain").status == "completed"
    assert texts(door, client, waiting.thread_id) == ["Hello.", "Again.", "You said: rain"]


def test_a_second_run_and_a_message_wait_for_the_first(door: Door, client: Any, mode: str) -> None:
    """While a run is active its thread is locked, in the service's words."""
    tools = [TOOL] if mode == "inline" else []
    run = begin(door, client, LONG, tools=tools)
    thread = run.thread_id
    with pytest.raises(openai.BadRequestError) as caught:
        door(client.beta.threads.runs.create(thread, assistant_id=run.assistant_id))
    assert caught.value.body["message"] == f"Thread {thread} already has an active run {run.id}."  # type: ignore[index]
    with pytest.raises(openai.BadRequestError) as caught:
        door(client.beta.threads.messages.create(thread, role="user", content="x"))
    assert caught.value.body["message"] == f"Can't add messages to {thread} while a run {run.id} is active."  # type: ignore[index]
    door(client.beta.threads.runs.cancel(run.id, thread_id=thread))


def test_an_unknown_model_is_told_in_the_upstreams_words(door: Door, client: Any, mode: str) -> None:
    """Inline the refusal is the answer and leaves no run; OGX's background accepts first and fails the response."""
    if mode == "background":
        run = ended(door, client, begin(door, client, model="nothing"))
        assert (run.status, run.last_error.code) == ("failed", "server_error")
        assert "Model 'nothing' not found" in run.last_error.message
        return
    assistant, thread = make_assistant(door, client, model="nothing"), make_thread(door, client)
    with pytest.raises(openai.NotFoundError) as caught:
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert "Model 'nothing' not found" in caught.value.response.text  # `detail`, not `error`: the SDK shows nothing
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


def test_a_tool_that_it_does_not_have_is_refused_at_once(door: Door, client: Any) -> None:
    """OGX has no code interpreter: its 400 is the answer, nothing is left, and the thread can run without."""
    assistant = make_assistant(door, client, model=MODEL, instructions=INSTRUCTIONS)
    thread, runs = make_thread(door, client), client.beta.threads.runs
    with pytest.raises(openai.BadRequestError, match="code_interpreter"):
        door(runs.create(thread.id, assistant_id=assistant.id, tools=[{"type": "code_interpreter"}]))
    assert door.all(runs.list(thread.id)) == []
    assert door(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)).status == "completed"


@pytest.mark.parametrize("mode", ["background"])  # an inline run is never asked for again
def test_a_response_that_is_gone_is_the_callers_to_hear(door: Door, client: Any, ogx_settings: Settings) -> None:
    """A response that OGX does not know (404 with a body of its own) is named by its run, which stays as it was."""
    run = begin(door, client, LONG)
    [row] = dump(ogx_settings)["runs"]
    door(client.responses.cancel(row["response_id"]))
    door(client.responses.delete(row["response_id"]))
    with pytest.raises(openai.NotFoundError) as caught:
        door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert (caught.value.code, row["response_id"] in caught.value.response.text) == ("no_response", False)
    with pytest.raises(openai.BadRequestError, match="while a run"):
        door(client.beta.threads.messages.create(run.thread_id, role="user", content="x"))


def test_a_function_round_without_stored_responses(door: Door, ogx: Any, ogx_settings: Settings) -> None:
    """With `store_responses=False` OGX keeps nothing, and the second round tells it everything again."""
    settings = replace(ogx_settings, store_responses=False)
    client = assistants_compat.wrap(door.raw_client(ogx), settings)
    waiting = begin(door, client, tools=[TOOL])
    assert waiting.status == "requires_action"
    done = submit(door, client, waiting, "snow")
    assert (done.status, texts(door, client, done.thread_id)[-1]) == ("completed", "You said: snow")
    assert done.usage.prompt_tokens == len(INSTRUCTIONS + "Hello.") * 2 + len("snow")


SEARCH = [{"type": "file_search"}]
FOODS = b"Hello hello. The favorite food of Filip is cake."  # the model asks for "hello", whatever it is asked


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_an_attached_file_is_indexed_searched_and_cited(door: Door, client: Any, *, streamed: bool) -> None:
    """An upload joins a store of the thread that OGX's sqlite-vec holds; its text is found and its citation marked."""
    file = door(client.files.create(file=("foods.txt", FOODS), purpose="assistants"))
    assistant = make_assistant(door, client, model=MODEL, instructions=INSTRUCTIONS, tools=SEARCH)
    attached = [{"file_id": file.id, "tools": SEARCH}]
    message = {"role": "user", "content": "What does Filip like?", "attachments": attached}
    thread = door(client.beta.threads.create(messages=[message]))
    options = {"assistant_id": assistant.id}
    runs = client.beta.threads.runs
    if streamed:
        rest(door, door(runs.create(thread.id, stream=True, **options)))
        [run] = door.all(runs.list(thread.id))
    else:
        run = door(runs.create_and_poll(thread_id=thread.id, **options))
    assert (run.status, run.last_error) == ("completed", None)
    [store] = door(client.beta.threads.retrieve(thread.id)).tool_resources.file_search.vector_store_ids
    kept = door(client.beta.vector_stores.retrieve(store))
    assert (kept.file_counts.completed, kept.expires_after.days) == (1, 7)
    steps = door.all(runs.steps.list(run.id, thread_id=thread.id, order="asc"))
    assert [(step.type, step.status) for step in steps] == [
        ("tool_calls", "completed"),
        ("message_creation", "completed"),
    ]
    [result] = steps[0].step_details.tool_calls[0].file_search.results
    assert result.score > 0
    content = "step_details.tool_calls[*].file_search.results[*].content"
    options = {"run_id": run.id, "thread_id": thread.id, "extra_query": {"include[]": content}}
    [whole] = door(runs.steps.retrieve(steps[0].id, **options)).step_details.tool_calls[0].file_search.results
    assert whole.content[0].text == FOODS.decode()
    text = door.all(client.beta.threads.messages.list(thread.id))[0].content[0].text
    assert FOODS.decode() in text.value
    [note] = text.annotations
    assert note.text == "\u30104:0\u2020foods.txt\u3011"
    assert text.value[note.start_index : note.end_index] == note.text
    # OGX cites its own id of the document.
    assert note.file_citation.file_id == result.file_id
    door(client.beta.threads.delete(thread.id))
    assert store not in [each.id for each in door.all(client.beta.vector_stores.list())]


def test_a_batch_of_files_is_put_into_a_store(door: Door, client: Any) -> None:
    """`beta.vector_stores` uploads and indexes on OGX, and an assistant searches the store."""
    store = door(client.beta.vector_stores.create(name="foods")).id
    batches = client.beta.vector_stores.file_batches
    batch = door(batches.upload_and_poll(store, files=[("foods.txt", FOODS)]))
    assert (batch.status, batch.file_counts.completed) == ("completed", 1)
    resources = {"file_search": {"vector_store_ids": [store]}}
    options = {"model": MODEL, "instructions": INSTRUCTIONS, "tools": SEARCH, "tool_resources": resources}
    assistant, thread = make_assistant(door, client, **options), make_thread(door, client)
    run = door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    assert "\u2020foods.txt" in texts(door, client, thread.id)[-1]
