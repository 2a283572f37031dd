"""Download every file that Code Interpreter generates on Azure OpenAI: Responses API, as plain REST with requests.

    pip install requests azure-identity             # azure-identity only without a key or a token
    export AZURE_OPENAI_ENDPOINT=https://YOUR-RESOURCE.openai.azure.com      (or edit ENDPOINT)
    export AZURE_OPENAI_API_KEY=...                 # or AZURE_OPENAI_AD_TOKEN=..., or sign in: az login
    python rest-codeinterpreter-file-download.py

The script saves the files in downloads/ next to itself. Its exit code is 0 if all files were saved, 1 if there were no
files or a download failed, and 2 for wrong usage.

Every request has `?api-version=preview`, the download as well as POST /responses (below a project, none). With a dated
version (`2024-05-01-preview`) or a path without /v1, the service answers 404 or 400.
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
BASE = f"{ENDPOINT}/openai/v1"
DOWNLOADS = Path(__file__).resolve().parent / "downloads"
SECONDS = 600  # a response that runs code can take minutes

NO_FILES = """\
No files were made. Check:
  - the status above: what is not completed may have stopped before it wrote a file;
  - the code in the code_interpreter_call above: it has to save under /mnt/data;
  - the prompt: it has to ask for a file;
  - docs/azure.md, Troubleshooting."""


def main() -> int:
    """Ask for a file, save every file that was generated, and return the exit code."""
    with requests.Session() as session:
        session.headers.update(credentials())
        session.params = {} if IS_PROJECT else {"api-version": "preview"}
        # Retries GET and DELETE only: a repeated POST would create a second response.
        again = Retry(total=3, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504], raise_on_status=False)
        session.mount(ENDPOINT, HTTPAdapter(max_retries=again))
        # An explicit container has a known id, so the script can list its files and delete it at the end.
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
                "tool_choice": "required",  # otherwise the model may answer without running code
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
    """Return the header with the credentials: a key, a given token, or a token from azure-identity."""
    if key := os.environ.get("AZURE_OPENAI_API_KEY"):
        return {"api-key": key}
    token = os.environ.get("AZURE_OPENAI_AD_TOKEN")
    if not token:
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - not needed with a key
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - as above

        try:
            with DefaultAzureCredential() as credential:
                token = credential.get_token(SCOPE).token  # valid for about an hour, which is enough here
        except ClientAuthenticationError as error:
            stop(f"Nobody is signed in: az login, or set AZURE_OPENAI_API_KEY.\n{error.message}")
    return {"Authorization": f"Bearer {token}"}


def call(session: requests.Session, method: str, path: str, body: Any = None) -> requests.Response:
    """Send a request to the v1 API; raise `requests.HTTPError` for a status of 400 or more."""
    # Follow no redirects: requests would send the header api-key to another host.
    response = session.request(method, f"{BASE}{path}", json=body, timeout=SECONDS, allow_redirects=False)
    response.raise_for_status()
    if response.is_redirect:
        stop(f"{BASE}{path} is redirected to {response.headers['location']}: set AZURE_OPENAI_ENDPOINT to that host.")
    return response


def find_files(session: requests.Session, response: Any, container_id: str) -> dict[str, tuple[str, str]]:
    """Return the name and the container of every file by its id: the cited files first, then the others.

    Models often generate files that they do not cite, so list the container too.
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
                if file["source"] == "assistant":  # others are input files
                    found.setdefault(file["id"], (file["path"], file.get("container_id") or container_id))
            if not (page.get("has_more") and page.get("last_id")):
                return found
            after = f"&after={page['last_id']}"
    except requests.HTTPError as error:
        print(f"The container could not be listed ({error.response.status_code}); only cited files were found.")
    return found


def save_all(session: requests.Session, found: dict[str, tuple[str, str]]) -> int:
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
            content = call(session, "GET", f"/containers/{container_id}/files/{file_id}/content").content
        except requests.HTTPError as error:  # 429 and 5xx have already been retried
            print(f"Not saved: {in_words(error)}\n{why_not(session, container_id)}")
            failed = 1
        else:
            print(f"Saved: {save(path, content)}")
    return failed


def why_not(session: requests.Session, container_id: str) -> str:
    """Return what to do about a file that could not be downloaded."""
    try:
        status = call(session, "GET", f"/containers/{container_id}").json()["status"]
    except requests.HTTPError as error:
        status = f"unknown ({error.response.status_code})"
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


def delete(session: requests.Session, container_id: str) -> None:
    """Delete the container, which is billed until it is gone."""
    try:
        call(session, "DELETE", f"/containers/{container_id}")
    except requests.RequestException as error:  # it expires after 20 idle minutes anyway
        print(f"Not deleted: {container_id} ({type(error).__name__})")
    else:
        print(f"Deleted: {container_id}")


def in_words(error: requests.HTTPError) -> str:
    """Return the status and the text of an error response."""
    return f"{error.response.status_code} {error.response.text[:500]}"


def stop(said: str, code: int = 2) -> NoReturn:
    """Print an error and exit."""
    print(said, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    if "YOUR-RESOURCE" in ENDPOINT:  # never send the key to a placeholder host
        stop("Set AZURE_OPENAI_ENDPOINT, or edit ENDPOINT in this script.")
    try:
        sys.exit(main())
    except requests.HTTPError as error:
        stop(f"{ENDPOINT} answered {in_words(error)}\nSee docs/azure.md, Troubleshooting.", 1)
    except requests.RequestException as error:
        stop(f"{ENDPOINT} could not be reached: {error}", 1)
