"""What the library promises, in tests that hold for the real service too: `make live` runs them with your key.

They assert only what any model does that follows its instructions. Each deletes its thread, and with it what its runs
made upstream; the whole folder costs a few cents.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat.testing import Turn
from kit.doors import Door

pytestmark = pytest.mark.timeout(300)

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Returns the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = Turn(function_calls=[{"name": "weather", "arguments": {"city": "Oslo"}}])
CSV = b"region,sales\nnorth,10\n"
Play = Callable[..., None]


@pytest.fixture
def start(door: Door, client: Any, model: str) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a thread and an assistant and returns both; the threads are deleted afterwards."""
    threads: list[str] = []

    def make(text: str, *, instructions: str = "Answer in one short sentence.", **options: Any) -> tuple[Any, Any]:
        assistant = door(client.beta.assistants.create(model=model, instructions=instructions, **options))
        thread = door(client.beta.threads.create(messages=[{"role": "user", "content": text}]))
        threads.append(thread.id)
        return thread, assistant

    yield make
    for thread_id in threads:
        door(client.beta.threads.delete(thread_id))


def finish(door: Door, client: Any, thread: Any, assistant: Any, **options: Any) -> Any:
    """Run to the end."""
    return door(client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **options))


def answer(door: Door, client: Any, thread: Any) -> str:
    """Return the text of the newest message."""
    newest = door.all(client.beta.threads.messages.list(thread.id))[0]
    assert newest.role == "assistant"
    return "".join(part.text.value for part in newest.content if part.type == "text")


def test_a_polled_run_answers(door: Door, client: Any, start: Any, play: Play) -> None:
    """A run completes, its answer is in the thread, and its usage is counted."""
    play(Turn(text="Oslo."))
    thread, assistant = start("What is the capital of Norway?")
    run = finish(door, client, thread, assistant)
    assert (run.status, run.last_error) == ("completed", None)
    assert "Oslo" in answer(door, client, thread)
    assert run.usage.total_tokens > 0


def test_a_streamed_run_tells_its_answer(door: Door, client: Any, start: Any, play: Play) -> None:
    """The pieces of a streamed answer make up the stored message."""
    play(Turn(text="Oslo."))
    thread, assistant = start("What is the capital of Norway?")
    stream = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))
    events = door.all(stream)
    pieces = [
        part.text.value
        for event in events
        if event.event == "thread.message.delta"
        for part in event.data.delta.content
        if part.type == "text" and part.text.value
    ]
    assert "".join(pieces) == answer(door, client, thread)
    assert [event.event for event in events if event.event.startswith("thread.run.c")][-1] == "thread.run.completed"


def test_a_function_round_is_one_run(door: Door, client: Any, start: Any, play: Play) -> None:
    """The model calls a function, gets its output and answers with it, all in one run."""
    play(CALL, Turn(text="It is snowing in Oslo."))
    thread, assistant = start("What is the weather in Oslo?", instructions="Call weather first.", tools=[WEATHER])
    run = finish(door, client, thread, assistant)
    assert run.status == "requires_action"
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert json.loads(calls[0].function.arguments)["city"].startswith("Oslo")
    outputs = [{"tool_call_id": call.id, "output": "snowing, minus 7 degrees"} for call in calls]
    done = door(
        client.beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread.id, tool_outputs=outputs)
    )
    assert (done.id, done.status) == (run.id, "completed")
    assert "snow" in answer(door, client, thread).lower()


def test_a_second_run_knows_the_first(door: Door, client: Any, start: Any, play: Play) -> None:
    """A later run of a thread knows what was said, and the call of an earlier run."""
    play(CALL, Turn(text="It is snowing."), Turn(text="You asked about Oslo."))
    thread, assistant = start("What is the weather in Oslo?", instructions="Call weather first.", tools=[WEATHER])
    run = finish(door, client, thread, assistant)
    outputs = [{"tool_call_id": c.id, "output": "snowing"} for c in run.required_action.submit_tool_outputs.tool_calls]
    door(
        client.beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread.id, tool_outputs=outputs)
    )
    door(client.beta.threads.messages.create(thread.id, role="user", content="Which city did I ask about?"))
    second = finish(door, client, thread, assistant, tools=[])
    assert second.status == "completed"
    assert "Oslo" in answer(door, client, thread)


def test_a_generated_file_is_downloaded(door: Door, client: Any, start: Any, play: Play, tmp_path: Path) -> None:
    """A file that code writes is downloaded with its bytes, and the step shows the code and its output."""
    play(Turn(text="Done: [sales.csv](sandbox:/mnt/data/sales.csv)", files={"sales.csv": CSV}, code="x", logs="22\n"))
    text = (
        "With Python, write exactly 'region,sales\\nnorth,10\\n' to /mnt/data/sales.csv, print(22), and link the file."
    )
    thread, assistant = start(text, instructions="Use python.", tools=[{"type": "code_interpreter"}])
    run = finish(door, client, thread, assistant)
    assert run.status == "completed"
    paths = door(assistants_compat.download_files(client, run, tmp_path))
    assert [path.read_bytes().strip() for path in paths if path.name == "sales.csv"] == [CSV.strip()]
    steps = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=thread.id))
    calls = [call for step in steps if step.type == "tool_calls" for call in step.step_details.tool_calls]
    assert all(call.code_interpreter.input for call in calls)
    assert any(
        "22" in output.logs for call in calls for output in call.code_interpreter.outputs if output.type == "logs"
    )


def test_json_mode_with_the_word_in_the_instructions(door: Door, client: Any, start: Any, play: Play) -> None:
    """JSON mode works where only the instructions say JSON, as it did."""
    play(Turn(text='{"capital": "Oslo"}'))
    options = {"instructions": "Answer as JSON with the key capital.", "response_format": {"type": "json_object"}}
    thread, assistant = start("What is the capital of Norway?", **options)
    assert finish(door, client, thread, assistant).status == "completed"
    assert "Oslo" in json.loads(answer(door, client, thread))["capital"]


def test_values_that_an_assistant_has_always_had(door: Door, client: Any, start: Any, play: Play) -> None:
    """An assistant with the defaults that the playground shows runs on any model of the settings."""
    play(Turn(text="Oslo."))
    thread, assistant = start("What is the capital of Norway?", temperature=1.0, top_p=1.0)
    try:
        run = finish(door, client, thread, assistant)
    except openai.BadRequestError as error:  # a model that the caller named himself may refuse them
        pytest.skip(f"the model refuses them: {error}")
    assert run.status == "completed"


def test_a_thread_without_messages_runs_on_instructions(door: Door, client: Any, start: Any, play: Play) -> None:
    """A run needs no message where the assistant has instructions."""
    play(Turn(text="Oslo."))
    _, assistant = start("unused", instructions="Say the name of the capital of Norway.")
    thread = door(client.beta.threads.create())
    assert finish(door, client, thread, assistant).status == "completed"
    assert "Oslo" in answer(door, client, thread)
    door(client.beta.threads.delete(thread.id))


def test_a_model_that_does_not_exist_is_refused(door: Door, client: Any, start: Any, service: Any) -> None:
    """The refusal of a model that does not exist reaches the caller, and leaves no run behind."""
    thread, _ = start("Hello.")
    assistant = door(client.beta.assistants.create(model="gpt-does-not-exist"))
    if service is not None:
        service.configure(models=["gpt-4.1-mini"])
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
        finish(door, client, thread, assistant)
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


def test_a_run_can_be_cancelled(door: Door, client: Any, start: Any, play: Play) -> None:
    """A cancelled run ends as cancelled, or as completed if it was faster, and its thread takes another run."""
    play(Turn(text="word " * 50, polls=50), Turn(text="Oslo."))
    thread, assistant = start("Write a story of 500 words.", instructions="Write long answers.")
    run = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    try:
        door(client.beta.threads.runs.cancel(run.id, thread_id=thread.id))
    except openai.BadRequestError:  # it has completed already
        return
    ended = door(client.beta.threads.runs.poll(run.id, thread_id=thread.id))
    assert ended.status in ("cancelled", "completed")
    assert finish(door, client, thread, assistant, instructions="Say ok.").status == "completed"
