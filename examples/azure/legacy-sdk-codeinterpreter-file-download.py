"""Download every file that Code Interpreter makes on Azure OpenAI: legacy Assistants code, over assistants_compat.

    pip install "assistants-compat[azure]"          # the extra only without a key
    export AZURE_OPENAI_ENDPOINT=https://YOUR-RESOURCE.openai.azure.com      (or edit ENDPOINT)
    export AZURE_OPENAI_API_KEY=...                 # or sign in: az login
    python legacy-sdk-codeinterpreter-file-download.py

The files go into downloads/ beside this script. Exit codes: 0 when all were saved, 1 when there were none or one could
not be had, 2 for wrong use.

`make_client` is new; the rest was written for the Assistants API. Containers are the library's business here: it copies
every file out before the run is reported as ended, so these ids can still be read when the container is long gone.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import openai

import assistants_compat

ENDPOINT = os.environ.get("AZURE_OPENAI_ENDPOINT") or "https://YOUR-RESOURCE.openai.azure.com"
DEPLOYMENT = os.environ.get("AZURE_OPENAI_DEPLOYMENT") or "gpt-4.1"
PROMPT = os.environ.get("PROMPT") or (
    "Use Python to write the ten first primes to /mnt/data/test.txt, one a line, and link the file in your answer."
)
# Microsoft's pages disagree: others of them have https://ai.azure.com/.default.
SCOPE = os.environ.get("AZURE_OPENAI_SCOPE") or "https://cognitiveservices.azure.com/.default"
DOWNLOADS = Path(__file__).resolve().parent / "downloads"

NO_FILES = """\
No files were made. Check:
  - the status above: a run that is not completed may have stopped before it wrote a file;
  - the code in the run's steps: it has to save under /mnt/data;
  - the prompt: it has to ask for a file;
  - docs/azure.md, Troubleshooting."""


def make_client() -> openai.AzureOpenAI:
    """A wrapped client, with a key, or with tokens that azure-identity keeps fresh."""
    if key := os.environ.get("AZURE_OPENAI_API_KEY"):
        return assistants_compat.wrap(
            openai.AzureOpenAI(azure_endpoint=ENDPOINT, api_key=key, api_version="2024-05-01-preview")
        )
    return assistants_compat.azure.client(ENDPOINT, scope=SCOPE)


def main() -> int:
    """Ask for a file, find every file that was made, and save them; the exit code."""
    client = make_client()
    assistant = client.beta.assistants.create(model=DEPLOYMENT, tools=[{"type": "code_interpreter"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": PROMPT}])
    try:
        print("Creating run...")
        run = client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, tool_choice="required"
        )
        print(f"The run is {run.status}: {run.last_error or run.incomplete_details or 'it ended as it should'}")
        return save_all(client, find_files(client, run))
    finally:
        client.beta.threads.delete(thread.id)
        client.beta.assistants.delete(assistant.id)


def find_files(client: openai.AzureOpenAI, run: Any) -> dict[str, None]:
    """The id of every file of a run once: shown, linked, or attached because nobody linked it."""
    found: dict[str, None] = {}
    for message in client.beta.threads.messages.list(run.thread_id, run_id=run.id, order="asc"):
        for block in message.content:
            if block.type == "image_file":
                found[block.image_file.file_id] = None
            for annotation in block.text.annotations if block.type == "text" else []:
                if annotation.type == "file_path":
                    found[annotation.file_path.file_id] = None
        for attachment in message.attachments or []:
            if attachment.file_id:
                found[attachment.file_id] = None
    return found


def save_all(client: openai.AzureOpenAI, found: dict[str, None]) -> int:
    """Download the files, save them, and delete the library's copies; the exit code."""
    if not found:
        print(NO_FILES)
        return 1
    files = [client.files.retrieve(file_id) for file_id in found]
    for file in files:
        print(f"Found file: filename={base_name(file.filename)!r}, file_id={file.id!r}")
    failed = 0
    for file in files:
        print(f"Downloading file_id={file.id}")
        try:
            content = client.files.content(file.id).read()
        except openai.APIStatusError as error:  # its message says why, an expired container for example
            print(f"Not saved: {error.status_code} {error.message}")
            failed = 1
        else:
            print(f"Saved: {save(file.filename, content)}")
            client.files.delete(file.id)
    return failed


def base_name(path: str) -> str:
    """The last part of a name that a model chose, with what is safe in it: it is data, never a path."""
    name = re.sub(r"[^\w. -]", "_", path.replace("\\", "/").rpartition("/")[2])
    name = name.encode()[-100:].decode(errors="ignore")  # file systems count bytes
    return name.strip(" .") or "file"


def save(path: str, content: bytes) -> Path:
    """Save a file in downloads/ under its base name, and overwrite nothing there: `x.txt`, then `x (1).txt`."""
    DOWNLOADS.mkdir(exist_ok=True)
    name = Path(base_name(path))
    for number in itertools.count():
        target = DOWNLOADS / (f"{name.stem} ({number}){name.suffix}" if number else name.name)
        try:
            with target.open("xb") as file:
                file.write(content)
        except FileExistsError:
            continue
        return target
    raise AssertionError  # there is always a next number


def stop(said: str, code: int = 1) -> NoReturn:
    """Say what is wrong, and leave."""
    print(said, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    if "YOUR-RESOURCE" in ENDPOINT:  # a key is for nobody whose resource has that name
        stop("Set AZURE_OPENAI_ENDPOINT, or edit ENDPOINT in this script.", 2)
    try:
        sys.exit(main())
    except assistants_compat.CompatError as error:
        stop(str(error), 2)
    except openai.APIConnectionError as error:
        stop(f"{ENDPOINT} could not be reached: {error.__cause__ or error}")
    except openai.APIStatusError as error:
        stop(f"{ENDPOINT} answered {error.status_code}: {error.message}\nSee docs/azure.md, Troubleshooting.")
