"""Object storage on loopback for tests and benchmarks: moto for S3, and Microsoft's azurite for Azure.

Each server is a process on a free port, which is ended by its own id.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

AZURITE = "azurite@3.35.0"  # the last that runs on a Node older than 21

# The built-in account of azurite, with the key from its documentation.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_OK = range(200, 300)


class ServerUnavailableError(Exception):
    """The server cannot run on this machine, for the reason in the message."""


@dataclass(frozen=True)
class ObjectServer:
    """A running server: its kind (`s3` or `az`), its port, and the variables that lead obstore to it."""

    kind: str
    port: int
    variables: Mapping[str, str]

    def make_bucket(self, name: str) -> str:
        """Make an empty bucket or container and return its URL."""
        if self.kind == "s3":
            self.request("PUT", f"/{name}")
        else:
            self._make_container(name)
        return f"{self.kind}://{name}"

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Send a plain HTTP request and return the body; moto demands no signature."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={"Content-Length": "0", **(headers or {})})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status not in _OK:
            message = f"{method} {path}: {answer.status} {body!r}"
            raise OSError(message)
        return body

    def _make_container(self, name: str) -> None:
        """Send Create Container, signed with the account's key (learn.microsoft.com, "Authorize with Shared Key")."""
        date, version = email.utils.formatdate(usegmt=True), "2021-12-02"
        headers_and_resource = [
            f"x-ms-date:{date}",
            f"x-ms-version:{version}",
            f"/{_ACCOUNT}/{_ACCOUNT}/{name}",
            "restype:container",
        ]
        text = "\n".join(["PUT", *[""] * 11, *headers_and_resource])
        signature = base64.b64encode(hmac.digest(base64.b64decode(_KEY), text.encode(), hashlib.sha256)).decode()
        headers = {
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {_ACCOUNT}:{signature}",
        }
        self.request("PUT", f"/{_ACCOUNT}/{name}?restype=container", headers)


def s3_variables(port: int) -> dict[str, str]:
    """Return the variables that lead obstore to an S3 server on loopback."""
    return {
        "AWS_ACCESS_KEY_ID": "invented",
        "AWS_SECRET_ACCESS_KEY": "invented-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "NO_PROXY": "127.0.0.1",
    }


def azure_variables(port: int) -> dict[str, str]:
    """Return the variables that lead obstore to azurite on loopback."""
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{_ACCOUNT}",
        "AZURE_ALLOW_HTTP": "true",
        "NO_PROXY": "127.0.0.1",
    }


@contextlib.contextmanager
def s3_server(directory: Path) -> Iterator[ObjectServer]:
    """Run moto's S3 server; its output goes into a file in `directory`."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with run_server(command, directory / "moto.log", port):
        yield ObjectServer("s3", port, s3_variables(port))


@contextlib.contextmanager
def azure_server(directory: Path, installed: Path) -> Iterator[ObjectServer]:
    """Run azurite's blob service over `directory`; npm installs it into `installed` once."""
    node, main = shutil.which("node"), _azurite(installed)
    port = free_port()
    command = [str(node), str(main), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(directory)]
    with run_server(command, directory / "azurite.log", port):
        yield ObjectServer("az", port, azure_variables(port))


def _azurite(installed: Path) -> Path:
    main = installed / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        message = "azurite, Azure's own storage server for tests, needs npm and node, and they are not on the PATH"
        raise ServerUnavailableError(message)
    with _locked(installed):
        if not (installed / "finished").exists():
            command = [npm, "install", "--prefix", str(installed), "--no-audit", "--no-fund", "--silent", AZURITE]
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                message = f"npm could not install {AZURITE}: {done.stderr.strip().splitlines()[-1:]}"
                raise ServerUnavailableError(message)
            (installed / "finished").touch()
    return main


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let one process in at a time, because test workers share the installation."""
    import fcntl  # noqa: PLC0415 - missing on Windows, where these tests are skipped

    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def run_server(command: list[str], log: Path, port: int) -> Iterator[None]:
    """Run a server on this port; the block starts when the server answers, and the server ends with the block."""
    hidden = ("PYTHONWARNINGS", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            _wait_for(process, port, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    message = f"{process.args!r} did not start: {log.read_text(errors='replace')[-2000:]}"
    raise OSError(message)
