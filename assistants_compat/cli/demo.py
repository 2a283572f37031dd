"""`demo`: a complete run with downloads, over the stand-in that comes with the package."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Annotated

import openai
import typer

from ..doors.wrap import wrap
from ..runtime.switch import SWITCH_VARIABLE
from ..settings import Settings, variables
from ..testing import StandIn, Turn
from ..tools.downloads import download_files
from .terminal import JsonOption, examples, print_result, print_to_stderr, report_errors

commands = typer.Typer(rich_markup_mode=None)

_QUESTION = "Write the sales by region to sales_by_region.csv, and draw them in sales_by_region.png."
_ANSWER = (
    "Done: the [table](sandbox:/mnt/data/sales_by_region.csv) and the [chart](sandbox:/mnt/data/sales_by_region.png)."
)
# Made by the code of a recorded run (cassettes/sales_by_region.py): a real chart, without a plotting library here.
_FILES = ("sales_by_region.csv", "sales_by_region.png")


@commands.command(epilog=examples("demo", "demo --to /tmp/demo --json"))
def demo(
    *,
    to: Annotated[Path, typer.Option("--to", help="Directory for the files; created if missing.")] = Path("downloads"),
    as_json: JsonOption = False,
) -> None:
    """Run an assistant that generates a table and a chart, and download both; no key and no network needed.

    A stand-in for the Responses API on this machine gives the answers; everything else is the real library. Only the
    downloaded files are kept.
    """
    for variable in (SWITCH_VARIABLE, *variables().values()):  # settings of the user's program, not of the demo
        os.environ.pop(variable, None)
    directory = resources.files(__package__) / "demo_files"
    files = {name: (directory / name).read_bytes() for name in _FILES}
    with report_errors(), StandIn() as upstream:
        upstream.script(Turn(text=_ANSWER, files=files, code="draw(sales)", polls=1))
        print_to_stderr("using a stand-in for the Responses API: no key is needed, and no data leaves this machine")
        settings = Settings(store="sqlite://", poll_after_ms=10)
        # A proxy from the environment could not reach a server on this machine.
        http = openai.DefaultHttpxClient(trust_env=False)
        with openai.OpenAI(base_url=upstream.base_url, api_key="none-is-needed", http_client=http) as plain:
            client = wrap(plain, settings)
            assistant = client.beta.assistants.create(model="gpt-4.1", tools=[{"type": "code_interpreter"}])
            thread = client.beta.threads.create(messages=[{"role": "user", "content": _QUESTION}])
            run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
            paths = [str(path) for path in download_files(client, run, to)]
    lines = [f"assistant  {assistant.id}", f"thread     {thread.id}", f"run        {run.id} is {run.status}"]
    json_object = {"assistant": assistant.id, "thread": thread.id, "run": run.id, "status": run.status, "files": paths}
    print_result([*lines, *(f"saved      {path}" for path in paths)], json_object if as_json else None)
