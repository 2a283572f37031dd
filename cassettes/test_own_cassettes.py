"""The conversations recorded in this folder: `make test` replays them, and `make record` records them again."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import openai
import pytest

from assistants_compat.testing import StandIn, Turn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import data_analyst

pytestmark = [pytest.mark.vcr, pytest.mark.assistants_compat]

COUNT_TOOL = {
    "type": "function",
    "function": {
        "name": "count",
        "description": "Counts what is in the basket.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    },
}

# The code of the scripted Code Interpreter call, and the files that it wrote when `make chart` ran it.
CODE = (Path(__file__).parent / "sales_by_region.py").read_text(encoding="utf-8")
GENERATED_FILES = resources.files("assistants_compat.cli") / "demo_files"
ANSWER = (
    "The four regions sold 445 in all; east leads with 150.\n\n"
    "- [The table](sandbox:/mnt/data/sales_by_region.csv)\n"
    "- [The chart](sandbox:/mnt/data/sales_by_region.png)"
)


@pytest.mark.default_cassette("data_analyst.yaml")
def test_data_analyst(client: openai.OpenAI, upstream: StandIn | None, tmp_path: Path) -> None:
    """The example downloads a table and a chart."""
    if upstream is not None:
        files = {name: (GENERATED_FILES / name).read_bytes() for name in ("sales_by_region.csv", "sales_by_region.png")}
        images = [files["sales_by_region.png"]]
        upstream.script(Turn(text=ANSWER, code=CODE, logs="445\n", files=files, images=images))
    saved = data_analyst.analyse(client, tmp_path)
    assert {path.suffix for path in saved} == {".csv", ".png"}
    assert all(path.stat().st_size for path in saved)


@pytest.mark.default_cassette("streamed_answer.yaml")
def test_streamed_answer(client: openai.OpenAI, upstream: StandIn | None) -> None:
    """A streamed run sends its text in deltas and ends completed."""
    if upstream is not None:
        upstream.script(Turn(text="Red, green and blue."))
    assistant = client.beta.assistants.create(model="gpt-4.1", instructions="Answer in one sentence.")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Name three colours."}])
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        text = "".join(stream.text_deltas)
        run = stream.current_run
    assert run is not None
    assert (run.status, bool(text)) == ("completed", True)


@pytest.mark.default_cassette("function_round.yaml")
def test_function_round(client: openai.OpenAI, upstream: StandIn | None) -> None:
    """A run waits for a function's output, and completes with it."""
    if upstream is not None:
        call = {"name": "count", "arguments": '{"what":"apples"}'}
        upstream.script(Turn(function_calls=[call]), Turn(text="There are 3 apples."))
    assistant = client.beta.assistants.create(model="gpt-4.1", tools=[COUNT_TOOL])  # type: ignore[list-item]
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "How many apples are in the basket?"}]},
    )
    assert run.required_action is not None
    calls = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "3"} for call in calls]
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=run.thread_id,
        tool_outputs=outputs,  # type: ignore[arg-type]
    )
    assert run.status == "completed"
