"""Download every file that Code Interpreter generates on Azure OpenAI: Responses API, with the openai SDK only.

    pip install "openai>=1.81" azure-identity       # azure-identity only without a key
    export AZURE_OPENAI_ENDPOINT=https://YOUR-RESOURCE.openai.azure.com      (or edit ENDPOINT)
    export AZURE_OPENAI_API_KEY=...                 # or sign in: az login
    python sdk-codeinterpreter-file-download.py

The script saves the files in downloads/ next to itself. Its exit code is 0 if all files were saved, 1 if there were no
files or a download failed, and 2 for wrong usage.

`client.containers.files.content.retrieve` returns the bytes. `client.containers.files.retrieve` returns only metadata,
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
  - the status above: what is not completed may have stopped before it wrote a file;
  - the code in the code_interpreter_call above: it has to save under /mnt/data;
  - the prompt: it has to ask for a file;
  - docs/azure.md, Troubleshooting."""


def main() -> int:
    """Ask for a file, save every file that was generated, and return the exit code."""
    client = make_client()
    # An explicit container has a known id, so the script can list its files and delete it at the end.
    container = client.containers.create(
        name="code-interpreter-download", expires_after={"anchor": "last_active_at", "minutes": 20}
    )
    try:
        print("Creating response...")
        response = client.responses.create(
            model=DEPLOYMENT,
            input=PROMPT,
            tools=[{"type": "code_interpreter", "container": container.id}],
            tool_choice="required",  # otherwise the model may answer without running code
        )
        print("Full response.output:")
        print(json.dumps([item.to_dict() for item in response.output], indent=2))
        if response.status != "completed":
            print(f"The response is {response.status}: {response.error or response.incomplete_details}")
        return save_all(client, find_files(client, response, container.id))
    finally:
        delete(client, container.id)


def make_client() -> openai.AzureOpenAI:
    """Return a client for the v1 routes, with a key or with tokens that azure-identity renews."""
    # AzureOpenAI renews tokens in every SDK version. It always sends an api-version; the v1 routes accept this one.
    base: dict[str, Any] = {"base_url": f"{ENDPOINT}/openai/v1/", "api_version": "preview"}
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
    """Return the name and the container of every file by its id: the cited files first, then the others.

    Models often generate files that they do not cite, so list the container too.
    """
    found: dict[str, tuple[str, str]] = {}
    for item in response.output:
        for content in (item.content or []) if item.type == "message" else []:
            for annotation in getattr(content, "annotations", None) or []:
                if annotation.type == "container_file_citation":
                    found[annotation.file_id] = (annotation.filename, annotation.container_id)
    try:
        for file in client.containers.files.list(container_id, limit=100):
            if file.source == "assistant":  # others are input files
                found.setdefault(file.id, (file.path, file.container_id or container_id))
    except openai.APIStatusError as error:
        print(f"The container could not be listed ({error.status_code}); only cited files were found.")
    return found


def save_all(client: openai.AzureOpenAI, found: dict[str, tuple[str, str]]) -> int:
    """Download and save the files; return the exit code."""
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
        except openai.APIStatusError as error:  # the SDK has already retried 429 and 5xx
            print(f"Not saved: {error.status_code} {error.message}\n{why_not(client, container_id)}")
            failed = 1
        else:
            print(f"Saved: {save(path, content)}")
    return failed


def why_not(client: openai.AzureOpenAI, container_id: str) -> str:
    """Return what to do about a file that could not be downloaded."""
    try:
        status = client.containers.retrieve(container_id).status
    except openai.APIStatusError as error:
        status = f"unknown ({error.status_code})"
    if status == "expired":
        return "Its container has expired, and its files with it: run this again, and download within 20 minutes."
    return f"Its container is {status}: run this again; see docs/azure.md for resources that refuse such downloads."


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


def delete(client: openai.AzureOpenAI, container_id: str) -> None:
    """Delete the container, which is billed until it is gone."""
    try:
        client.containers.delete(container_id)
    except openai.APIError as error:  # it expires after 20 idle minutes anyway
        print(f"Not deleted: {container_id} ({type(error).__name__})")
    else:
        print(f"Deleted: {container_id}")


def stop(said: str, code: int = 2) -> NoReturn:
    """Print an error and exit."""
    print(said, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    if "YOUR-RESOURCE" in ENDPOINT:  # never send the key to a placeholder host
        stop("Set AZURE_OPENAI_ENDPOINT, or edit ENDPOINT in this script.")
    try:
        sys.exit(main())
    except openai.APIConnectionError as error:
        stop(f"{ENDPOINT} could not be reached: {error.__cause__ or error}", 1)
    except openai.APIStatusError as error:
        stop(f"{ENDPOINT} answered {error.status_code}: {error.message}\nSee docs/azure.md, Troubleshooting.", 1)
