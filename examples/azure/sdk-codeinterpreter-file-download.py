"""Download every file that Code Interpreter makes on Azure OpenAI: the Responses API, with the openai SDK alone.

    pip install "openai>=1.81" azure-identity       # azure-identity only without a key
    export AZURE_OPENAI_ENDPOINT=https://YOUR-RESOURCE.openai.azure.com      (or edit ENDPOINT)
    export AZURE_OPENAI_API_KEY=...                 # or sign in: az login
    python sdk-codeinterpreter-file-download.py

The files go into downloads/ beside this script. Exit codes: 0 when all were saved, 1 when there were none or one could
not be had, 2 for wrong use.

The bytes come from `client.containers.files.content.retrieve`. `client.containers.files.retrieve` gives metadata only,
and `client.files.content` does not know these ids (`cfile_...`).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import openai

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
  - the status above: what is not completed may have stopped before it wrote a file;
  - the code in the code_interpreter_call above: it has to save under /mnt/data;
  - the prompt: it has to ask for a file;
  - docs/azure.md, Troubleshooting."""


def main() -> int:
    """Ask for a file, find every file that was made, and save them; the exit code."""
    client = make_client()
    # An explicit container: its id is known, it can be listed, and it can be deleted when we are done.
    container = client.containers.create(
        name="code-interpreter-download", expires_after={"anchor": "last_active_at", "minutes": 20}
    )
    try:
        print("Creating response...")
        response = client.responses.create(
            model=DEPLOYMENT,
            input=PROMPT,
            tools=[{"type": "code_interpreter", "container": container.id}],
            tool_choice="required",  # else the model may answer without running any code
        )
        print("Full response.output:")
        print(json.dumps([item.to_dict() for item in response.output], indent=2))
        if response.status != "completed":
            print(f"The response is {response.status}: {response.error or response.incomplete_details}")
        return save_all(client, find_files(client, response, container.id))
    finally:
        delete(client, container.id)


def make_client() -> openai.AzureOpenAI:
    """A client of the v1 routes, with a key, or with tokens that azure-identity keeps fresh."""
    # AzureOpenAI refreshes tokens in every version; it always sends an api-version, and v1 routes take this one.
    base: dict[str, Any] = {"base_url": f"{ENDPOINT.rstrip('/')}/openai/v1/", "api_version": "preview"}
    if key := os.environ.get("AZURE_OPENAI_API_KEY"):
        client = openai.AzureOpenAI(**base, api_key=key)
    else:
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - not needed with a key
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider  # noqa: PLC0415 - as above

        token = get_bearer_token_provider(DefaultAzureCredential(), SCOPE)
        try:
            token()
        except ClientAuthenticationError as error:
            stop(f"Nobody is signed in: az login, or set AZURE_OPENAI_API_KEY.\n{error.message}")
        client = openai.AzureOpenAI(**base, azure_ad_token_provider=token)
    if not hasattr(client, "containers"):
        stop(f"openai {openai.__version__} has no client.containers: pip install 'openai>=1.81'")
    return client


def find_files(client: openai.AzureOpenAI, response: Any, container_id: str) -> dict[str, tuple[str, str]]:
    """The name and the container of every file by its id: those that the answer cites, then the others.

    A model often makes files that it does not cite, so the container is listed too.
    """
    found: dict[str, tuple[str, str]] = {}
    for item in response.output:
        for content in (item.content or []) if item.type == "message" else []:
            for annotation in getattr(content, "annotations", None) or []:
                if annotation.type == "container_file_citation":
                    found[annotation.file_id] = (annotation.filename, annotation.container_id)
    try:
        for file in client.containers.files.list(container_id, limit=100):
            if file.source == "assistant":  # what a user brought is not what the model made
                found.setdefault(file.id, (file.path, file.container_id or container_id))
    except openai.APIStatusError as error:
        print(f"The container could not be listed ({error.status_code}); only cited files were found.")
    return found


def save_all(client: openai.AzureOpenAI, found: dict[str, tuple[str, str]]) -> int:
    """Download the files and save them; the exit code."""
    if not found:
        print(NO_FILES)
        return 1
    for file_id, (path, container_id) in found.items():
        print(f"Found file: filename={base_name(path)!r}, file_id={file_id!r}, container_id={container_id!r}")
    failed = 0
    for file_id, (path, container_id) in found.items():
        print(f"Downloading file_id={file_id} from container_id={container_id}")
        try:
            content = client.containers.files.content.retrieve(file_id, container_id=container_id).read()
        except openai.APIStatusError as error:  # the SDK has tried 429 and 5xx again by then
            print(f"Not saved: {error.status_code} {error.message}\n{why_not(client, container_id)}")
            failed = 1
        else:
            print(f"Saved: {save(path, content)}")
    return failed


def why_not(client: openai.AzureOpenAI, container_id: str) -> str:
    """What to do about a file that could not be had."""
    try:
        status = client.containers.retrieve(container_id).status
    except openai.APIStatusError as error:
        status = f"unknown ({error.status_code})"
    if status == "expired":
        return "Its container has expired, and its files with it: run this again, and download within 20 minutes."
    return f"Its container is {status}: run this again; see docs/azure.md for resources that refuse such downloads."


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


def delete(client: openai.AzureOpenAI, container_id: str) -> None:
    """Delete the container, which is billed while it lives."""
    try:
        client.containers.delete(container_id)
    except openai.APIError as error:  # it dies by itself after 20 idle minutes
        print(f"Not deleted: {container_id} ({type(error).__name__})")
    else:
        print(f"Deleted: {container_id}")


def stop(said: str, code: int = 2) -> NoReturn:
    """Say what is wrong, and leave."""
    print(said, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    if "YOUR-RESOURCE" in ENDPOINT:  # a key is for nobody whose resource has that name
        stop("Set AZURE_OPENAI_ENDPOINT, or edit ENDPOINT in this script.")
    try:
        sys.exit(main())
    except openai.APIConnectionError as error:
        stop(f"{ENDPOINT} could not be reached: {error.__cause__ or error}", 1)
    except openai.APIStatusError as error:
        stop(f"{ENDPOINT} answered {error.status_code}: {error.message}\nSee docs/azure.md, Troubleshooting.", 1)
