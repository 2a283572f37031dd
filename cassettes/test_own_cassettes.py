"""The conversations of the recordings in this folder: they play with `make test`, and `make record` makes them anew."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import openai
import pytest

from assistants_compat.testing import StandIn, Turn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import data_analyst

pytestmark = [pytest.mark.vcr, pytest.mark.assistants_compat]

COUNT = {
    "type": "function",
    "function": {
        "name": "count",
        "description": "Counts what is in the basket.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    },
}

SALES = {"north": 120, "south": 80, "east": 150, "west": 95}
CSV = "region,sales\n" + "".join(f"{region},{sales}\n" for region, sales in SALES.items())
CODE = """import pandas as pd
import matplotlib.pyplot as plt

sales = pd.DataFrame({"region": ["north", "south", "east", "west"], "sales": [120, 80, 150, 95]})
sales.to_csv("/mnt/data/sales_by_region.csv", index=False)
sales.plot.bar(x="region", y="sales")
plt.savefig("/mnt/data/sales_by_region.png")
plt.show()
print(sales["sales"].sum())"""
ANSWER = (
    "The four regions sold 445 in all; east leads with 150.\n\n"
    "- [The table](sandbox:/mnt/data/sales_by_region.csv)\n"
    "- [The chart](sandbox:/mnt/data/sales_by_region.png)"
)


def bar_chart(values: list[int], width: int = 360, height: int = 240) -> bytes:
    """Draw a PNG of bars: white ground, one blue bar for each value."""
    ground, bar = b"\xff\xff\xff", b"\x1f\x77\xb4"
    slot = width // len(values)
    rows = []
    for y in range(height, 0, -1):
        row = b"".join(
            (bar if value * (height - 20) >= y * max(values) else ground) * (slot * 3 // 5) + ground * (slot * 2 // 5)
            for value in values
        )
        rows.append(b"\x00" + row.ljust(width * 3, b"\xff"))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.default_cassette("data_analyst.yaml")
def test_data_analyst(client: openai.OpenAI, upstream: StandIn | None, tmp_path: Path) -> None:
    """The example asks for a table and a chart, and downloads them."""
    if upstream is not None:
        chart = bar_chart(list(SALES.values()))
        files = {"sales_by_region.csv": CSV.encode(), "sales_by_region.png": chart}
        upstream.script(Turn(text=ANSWER, code=CODE, logs="445\n", files=files, images=[chart]))
    saved = data_analyst.analyse(client, tmp_path)
    assert {path.suffix for path in saved} == {".csv", ".png"}
    assert all(path.stat().st_size for path in saved)


@pytest.mark.default_cassette("streamed_answer.yaml")
def test_streamed_answer(client: openai.OpenAI, upstream: StandIn | None) -> None:
    """A streamed run tells its text in pieces, and ends completed."""
    if upstream is not None:
        upstream.script(Turn(text="Red, green and blue."))
    assistant = client.beta.assistants.create(model="gpt-4.1", instructions="Answer in one sentence.")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Name three colours."}])
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        told = "".join(stream.text_deltas)
        run = stream.current_run
    assert run is not None
    assert (run.status, bool(told)) == ("completed", True)


@pytest.mark.default_cassette("function_round.yaml")
def test_function_round(client: openai.OpenAI, upstream: StandIn | None) -> None:
    """A run asks for a function's output, and answers with it."""
    if upstream is not None:
        call = {"name": "count", "arguments": '{"what":"apples"}'}
        upstream.script(Turn(function_calls=[call]), Turn(text="There are 3 apples."))
    assistant = client.beta.assistants.create(model="gpt-4.1", tools=[COUNT])  # type: ignore[list-item]
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
