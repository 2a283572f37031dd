"""Download every file that Code Interpreter generates on Azure OpenAI: legacy code, with assistants_compat.

    pip install ".[azure]"                          # in a clone of assistants_compat; "." is enough with a key
    export AZURE_OPENAI_ENDPOINT=https://YOUR-RESOURCE.openai.azure.com      (or edit ENDPOINT)
    export AZURE_OPENAI_API_KEY=...                 # or sign in: az login
    python legacy-sdk-codeinterpreter-file-download.py

The script saves the files in downloads/ next to itself. Its exit code is 0 if all files were saved, 1 if there were no
files or a download failed, and 2 for wrong usage.

Only `make_client` is new; the rest is code for the Assistants API. The library copies every file out of its container
before it reports the run as ended, so the files can still be read long after the container has expired.
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
# Pages also show what follows: /openai/v1/ or /openai; and /api/projects/PROJECT, the endpoint of a Foundry project.
ENDPOINT = re.sub(r"/(?:openai(?:/(?:v1|deployments|responses)[^?]*)?|models)?/*(?:\?.*)?$", "", ENDPOINT.strip())
IS_PROJECT = "/api/projects/" in ENDPOINT
DEPLOYMENT = os.environ.get("AZURE_OPENAI_DEPLOYMENT") or "gpt-4.1"
PROMPT = os.environ.get("PROMPT") or (
    "Use Python to write the ten first primes to /mnt/data/test.txt, one a line, and link the file in your answer."
)
# Microsoft's pages disagree about the scope: some name https://ai.azure.com/.default instead, which projects need.
SCOPE = os.environ.get("AZURE_OPENAI_SCOPE") or (
    "https://ai.azure.com/.default" if IS_PROJECT else "https://cognitiveservices.azure.com/.default"
)
DOWNLOADS = Path(__file__).resolve().parent / "downloads"

NO_FILES = """\
No files were made. Check:
  - the status above: a run that is not completed may have stopped before it wrote a file;
  - the code in the run's steps: it has to save under /mnt/data;
  - the prompt: it has to ask for a file;
  - docs/azure.md, Troubleshooting."""


def make_client() -> openai.AzureOpenAI:
    """Return a wrapped client, with a key or with tokens that azure-identity renews."""
    if key := os.environ.get("AZURE_OPENAI_API_KEY"):
        return assistants_compat.wrap(
            openai.AzureOpenAI(azure_endpoint=ENDPOINT, api_key=key, api_version="2024-05-01-preview")
        )
    return assistants_compat.azure.client(ENDPOINT, scope=SCOPE)


def main() -> int:
    """Ask for a file, save every file that was generated, and return the exit code."""
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
    """Return the id of every file of a run once: shown, linked, or attached because the text does not link it."""
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
    """Download and save the files, delete the library's copies, and return the exit code."""
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
        except openai.APIStatusError as error:  # the message says why, for example an expired container
            print(f"Not saved: {error.status_code} {error.message}")
            failed = 1
        else:
            print(f"Saved: {save(file.filename, content)}")
            client.files.delete(file.id)
    return failed


def base_name(path: str) -> str:
    """Reduce a name that the model chose to a safe base name; such a name is data, never a path."""
    name = re.sub(r"[^\w. -]", "_", path.replace("\\", "/").rpartition("/")[2])
    name = name.encode()[-100:].decode(errors="ignore")  # file systems limit the length in bytes
    return name.strip(" .") or "file"


def save(path: str, content: bytes) -> Path:
    """Save a file in downloads/ under its base name without overwriting another: `x.txt`, then `x (1).txt`."""
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
    raise AssertionError  # unreachable: the loop is endless


def stop(said: str, code: int = 1) -> NoReturn:
    """Print an error and exit."""
    print(said, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    if "YOUR-RESOURCE" in ENDPOINT:  # never send the key to a placeholder host
        stop("Set AZURE_OPENAI_ENDPOINT, or edit ENDPOINT in this script.", 2)
    try:
        sys.exit(main())
    except assistants_compat.CompatError as error:
        stop(str(error), 2)
    except openai.APIConnectionError as error:
        stop(f"{ENDPOINT} could not be reached: {error.__cause__ or error}")
    except openai.APIStatusError as error:
        stop(f"{ENDPOINT} answered {error.status_code}: {error.message}\nSee docs/azure.md, Troubleshooting.")
