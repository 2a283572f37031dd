"""A legacy Assistants script: ask for a table and a chart, and download the files that Code Interpreter made.

    python examples/data_analyst.py           replays cassettes/data_analyst.yaml; needs no network and no key
    python examples/data_analyst.py --live    calls the real service; needs OPENAI_API_KEY, or
                                              AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY

`analyse` was written for the Assistants API and is unchanged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path, PurePosixPath

import openai

import assistants_compat

CASSETTE = Path(__file__).resolve().parent.parent / "cassettes" / "data_analyst.yaml"
QUESTION = (
    "Sales were: north 120, south 80, east 150, west 95. "
    "Write them to sales_by_region.csv, and draw them as a bar chart in sales_by_region.png."
)


# --- legacy code, unchanged


def analyse(client: openai.OpenAI, directory: Path) -> list[Path]:
    """Ask the question, download every file of the answer and return the paths."""
    assistant = client.beta.assistants.create(
        model=os.environ.get("OPENAI_MODEL", "gpt-4.1"),
        name="Data analyst",
        instructions="You are a data analyst. Use Code Interpreter, and link every file that you make.",
        tools=[{"type": "code_interpreter"}],
    )
    print(f"assistant  {assistant.id}")
    thread = client.beta.threads.create()
    print(f"thread     {thread.id}")
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=QUESTION)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    print(f"run        {run.id} is {run.status}")

    for step in client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id, order="asc"):
        print(f"step       {step.type} is {step.status}")

    saved = []
    for message in client.beta.threads.messages.list(thread_id=thread.id, run_id=run.id, order="asc"):
        for block in message.content:
            if block.type == "image_file":
                saved.append(download(client, block.image_file.file_id, directory, "shown.png"))
            elif block.type == "text":
                print(f"answer     {block.text.value}")
                for annotation in block.text.annotations:
                    if annotation.type == "file_path":
                        name = PurePosixPath(annotation.text).name
                        saved.append(download(client, annotation.file_path.file_id, directory, name))
    return saved


def download(client: openai.OpenAI, file_id: str, directory: Path, name: str) -> Path:
    """Save a generated file under the base name of the path that the model chose."""
    target = directory / PurePosixPath(name).name
    client.files.content(file_id).write_to_file(target)
    print(f"saved      {target} ({target.stat().st_size} bytes, from {file_id})")
    return target


# --- the change: import assistants_compat, and wrap the client


def main() -> None:
    """Run the script on the recording, or with --live against the service."""
    parser = argparse.ArgumentParser(description="Ask an assistant for a table and a chart, and download them.")
    parser.add_argument("--live", action="store_true", help="call the real service instead of the recording")
    parser.add_argument("--to", type=Path, default=Path("downloads"), help="where the files go (default: downloads)")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)

    if options.live:
        client = assistants_compat.wrap(client_from_environment())
        upstream: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    else:
        print(f"replaying {CASSETTE.name}, recorded from a stand-in; use --live to call the real service")
        # A store in memory, so that the demo leaves nothing in the user's own store.
        in_memory = assistants_compat.Settings(store="sqlite://")
        client = assistants_compat.wrap(openai.OpenAI(api_key="no-key-is-needed", max_retries=0), in_memory)
        upstream = recording()
    with upstream:
        saved = analyse(client, options.to)
    print(f"done       {len(saved)} files in {options.to}")


def client_from_environment() -> openai.OpenAI:
    """Return an Azure client if AZURE_OPENAI_ENDPOINT is set, else an OpenAI client; exit if there is no key."""
    try:
        if os.environ.get("AZURE_OPENAI_ENDPOINT"):
            return openai.AzureOpenAI(api_version="2024-05-01-preview")
        return openai.OpenAI()
    except openai.OpenAIError:
        sys.exit("--live needs OPENAI_API_KEY, or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY.")


def recording() -> contextlib.AbstractContextManager[object]:
    """Replay the cassette; every request must match the recorded one, body included."""
    import vcr  # noqa: PLC0415 - the live script does not need it

    return vcr.VCR(record_mode="none", match_on=["method", "uri", "body"]).use_cassette(str(CASSETTE))


if __name__ == "__main__":
    main()
