"""`demo`: a whole run with its downloads, over the stand-in that comes with the package."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Annotated

import openai
import typer

from ..doors.wrap import wrap
from ..runtime.switch import SWITCH
from ..settings import Settings, variables
from ..testing import StandIn, Turn
from ..tools.downloads import download_files
from .terminal import AsJson, examples, say, show, troubles_said

commands = typer.Typer(rich_markup_mode=None)

_SALES = {"north": 120, "south": 80, "east": 150, "west": 95}
_QUESTION = "Write the sales by region to sales_by_region.csv, and draw them in sales_by_region.png."
_ANSWER = (
    "Done: the [table](sandbox:/mnt/data/sales_by_region.csv) and the [chart](sandbox:/mnt/data/sales_by_region.png)."
)
_WHITE, _BAR = b"\xff\xff\xff\xff", b"\xf0\x00\x00\x0f"  # 32 pixels of a line


@commands.command(epilog=examples("demo", "demo --to /tmp/demo --json"))
def demo(
    *,
    to: Annotated[Path, typer.Option("--to", help="The directory; it is made if it is not there.")] = Path("downloads"),
    as_json: AsJson = False,
) -> None:
    """Run an assistant that makes a table and a chart, and download both: no key, no network, nothing kept.

    What answers is a stand-in for the Responses API on this machine; the legacy code in between is the real thing.
    """
    for variable in (SWITCH, *variables().values()):  # of a program that this is not
        os.environ.pop(variable, None)
    files = {"sales_by_region.csv": _table(), "sales_by_region.png": _chart()}
    with troubles_said(), StandIn() as upstream:
        upstream.script(Turn(text=_ANSWER, files=files, code="draw(sales)", polls=1))
        say("over a stand-in for the Responses API: no key is used, and nothing leaves this machine")
        settings = Settings(store="sqlite://", poll_after_ms=10)
        # A proxy of the environment would be asked for what is on this machine.
        http = openai.DefaultHttpxClient(trust_env=False)
        with openai.OpenAI(base_url=upstream.base_url, api_key="none-is-needed", http_client=http) as plain:
            client = wrap(plain, settings)
            assistant = client.beta.assistants.create(model="gpt-4.1", tools=[{"type": "code_interpreter"}])
            thread = client.beta.threads.create(messages=[{"role": "user", "content": _QUESTION}])
            run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
            paths = [str(path) for path in download_files(client, run, to)]
    lines = [f"assistant  {assistant.id}", f"thread     {thread.id}", f"run        {run.id} is {run.status}"]
    told = {"assistant": assistant.id, "thread": thread.id, "run": run.id, "status": run.status, "files": paths}
    show([*lines, *(f"saved      {path}" for path in paths)], told if as_json else None)


def _table() -> bytes:
    rows = "".join(f"{region},{sales}\n" for region, sales in _SALES.items())
    return f"region,sales\n{rows}".encode()


def _chart() -> bytes:
    """Bars as a PNG of one bit a pixel (Source: the PNG specification, chunks IHDR, IDAT, IEND)."""
    height = max(_SALES.values())
    rows = (
        b"\0" + b"".join(_WHITE if sales <= level else _BAR for sales in _SALES.values())
        for level in reversed(range(height))
    )
    header = struct.pack(">IIBBBBB", 32 * len(_SALES), height, 1, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
