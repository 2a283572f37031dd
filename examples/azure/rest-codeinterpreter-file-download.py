"""Download every file that Code Interpreter makes on Azure OpenAI: the Responses API as plain REST, with requests.

    pip install requests azure-identity             # azure-identity only without a key or a token
    export AZURE_OPENAI_ENDPOINT=https://YOUR-RESOURCE.openai.azure.com      (or edit ENDPOINT)
    export AZURE_OPENAI_API_KEY=...                 # or AZURE_OPENAI_AD_TOKEN=..., or sign in: az login
    python rest-codeinterpreter-file-download.py

The files go into downloads/ beside this script. Exit codes: 0 when all were saved, 1 when there were none or one could
not be had, 2 for wrong use.

`?api-version=preview` is on every call: on POST /responses and on the download alike. A dated version
(`2024-05-01-preview`) or a path without /v1 answers 404 or 400.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

ENDPOINT = os.environ.get("AZURE_OPENAI_ENDPOINT") or "https://YOUR-RESOURCE.openai.azure.com"
DEPLOYMENT = os.environ.get("AZURE_OPENAI_DEPLOYMENT") or "gpt-4.1"
PROMPT = os.environ.get("PROMPT") or (
    "Use Python to write the ten first primes to /mnt/data/test.txt, one a line, and link the file in your answer."
)
# Microsoft's pages disagree: others of them have https://ai.azure.com/.default.
SCOPE = os.environ.get("AZURE_OPENAI_SCOPE") or "https://cognitiveservices.azure.com/.default"
BASE = f"{ENDPOINT.rstrip('/')}/openai/v1"
DOWNLOADS = Path(__file__).resolve().parent / "downloads"
SECONDS = 600  # a response that runs code takes its time

NO_FILES = """\
No files were made. Check:
  - the status above: what is not completed may have stopped before it wrote a file;
  - the code in the code_interpreter_call above: it has to save under /mnt/data;
  - the prompt: it has to ask for a file;
  - docs/azure.md, Troubleshooting."""


def main() -> int:
    """Ask for a file, find every file that was made, and save them; the exit code."""
    with requests.Session() as session:
        session.headers.update(credentials())
        session.params = {"api-version": "preview"}
        # GET and DELETE only: a POST that is sent twice is a second response.
        again = Retry(total=3, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504], raise_on_status=False)
        session.mount(ENDPOINT, HTTPAdapter(max_retries=again))
        # An explicit container: its id is known, it can be listed, and it can be deleted when we are done.
        expires_after = {"anchor": "last_active_at", "minutes": 20}
        container = call(
            session, "POST", "/containers", {"name": "code-interpreter-download", "expires_after": expires_after}
        ).json()
        try:
            print("Creating response...")
            body = {
                "model": DEPLOYMENT,
                "input": PROMPT,
                "tools": [{"type": "code_interpreter", "container": container["id"]}],
                "tool_choice": "required",  # else the model may answer without running any code
            }
            response = call(session, "POST", "/responses", body).json()
            print("Full response.output:")
            print(json.dumps(response["output"], indent=2))
            if response["status"] != "completed":
                print(f"The response is {response['status']}: {response['error'] or response['incomplete_details']}")
            return save_all(session, find_files(session, response, container["id"]))
        finally:
            delete(session, container["id"])


def credentials() -> dict[str, str]:
    """The header that proves who asks: a key, a given token, or one from azure-identity."""
    if key := os.environ.get("AZURE_OPENAI_API_KEY"):
        return {"api-key": key}
    token = os.environ.get("AZURE_OPENAI_AD_TOKEN")
    if not token:
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - not needed with a key
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - as above

        try:
            with DefaultAzureCredential() as credential:
                token = credential.get_token(SCOPE).token  # good for about an hour, which is enough here
        except ClientAuthenticationError as error:
            stop(f"Nobody is signed in: az login, or set AZURE_OPENAI_API_KEY.\n{error.message}")
    return {"Authorization": f"Bearer {token}"}


def call(session: requests.Session, method: str, path: str, body: Any = None) -> requests.Response:
    """A call of the v1 API; raises `requests.HTTPError` for an answer of 400 or more."""
    # No redirects: requests would send the header api-key along to another host.
    response = session.request(method, f"{BASE}{path}", json=body, timeout=SECONDS, allow_redirects=False)
    response.raise_for_status()
    if response.is_redirect:
        stop(f"{BASE}{path} is redirected to {response.headers['location']}: set AZURE_OPENAI_ENDPOINT to that host.")
    return response


def find_files(session: requests.Session, response: Any, container_id: str) -> dict[str, tuple[str, str]]:
    """The name and the container of every file by its id: those that the answer cites, then the others.

    A model often makes files that it does not cite, so the container is listed too.
    """
    found: dict[str, tuple[str, str]] = {}
    for item in response["output"]:
        for content in item.get("content") or [] if item["type"] == "message" else []:
            for annotation in content.get("annotations") or []:
                if annotation["type"] == "container_file_citation":
                    found[annotation["file_id"]] = (annotation["filename"], annotation["container_id"])
    after = ""
    try:
        while True:
            page = call(session, "GET", f"/containers/{container_id}/files?limit=100{after}").json()
            for file in page["data"]:
                if file["source"] == "assistant":  # what a user brought is not what the model made
                    found.setdefault(file["id"], (file["path"], file.get("container_id") or container_id))
            if not (page.get("has_more") and page.get("last_id")):
                return found
            after = f"&after={page['last_id']}"
    except requests.HTTPError as error:
        print(f"The container could not be listed ({error.response.status_code}); only cited files were found.")
    return found


def save_all(session: requests.Session, found: dict[str, tuple[str, str]]) -> int:
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
            content = call(session, "GET", f"/containers/{container_id}/files/{file_id}/content").content
        except requests.HTTPError as error:  # 429 and 5xx have been tried again by then
            print(f"Not saved: {in_words(error)}\n{why_not(session, container_id)}")
            failed = 1
        else:
            print(f"Saved: {save(path, content)}")
    return failed


def why_not(session: requests.Session, container_id: str) -> str:
    """What to do about a file that could not be had."""
    try:
        status = call(session, "GET", f"/containers/{container_id}").json()["status"]
    except requests.HTTPError as error:
        status = f"unknown ({error.response.status_code})"
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


def delete(session: requests.Session, container_id: str) -> None:
    """Delete the container, which is billed while it lives."""
    try:
        call(session, "DELETE", f"/containers/{container_id}")
    except requests.RequestException as error:  # it dies by itself after 20 idle minutes
        print(f"Not deleted: {container_id} ({type(error).__name__})")
    else:
        print(f"Deleted: {container_id}")


def in_words(error: requests.HTTPError) -> str:
    """The status and what the service said."""
    return f"{error.response.status_code} {error.response.text[:500]}"


def stop(said: str, code: int = 2) -> NoReturn:
    """Say what is wrong, and leave."""
    print(said, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    if "YOUR-RESOURCE" in ENDPOINT:  # a key is for nobody whose resource has that name
        stop("Set AZURE_OPENAI_ENDPOINT, or edit ENDPOINT in this script.")
    try:
        sys.exit(main())
    except requests.HTTPError as error:
        stop(f"{ENDPOINT} answered {in_words(error)}\nSee docs/azure.md, Troubleshooting.", 1)
    except requests.RequestException as error:
        stop(f"{ENDPOINT} could not be reached: {error}", 1)
