"""Starts LiteLLM's proxy and nginx on loopback, in front of a given upstream, and ends each by its own process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pytest

from kit.doors import KEY
from kit.paths import ROOT

HERE = Path(__file__).parent
LITELLM = ROOT / ".venv" / "litellm"
NGINX = ROOT / ".venv" / "nginx"
GATEWAY_KEY = "sk-gateway"  # clients have this key, only LiteLLM has the upstream's
NGINX_WAYS = ("plain", "gzip", "prefix", "impatient")
START_SECONDS = 120  # LiteLLM imports for ten seconds, longer the first time


@dataclass(frozen=True)
class Gateway:
    """A running gateway, as an upstream for clients."""

    base_url: str
    key: str = KEY
    model: str = "gpt-4o"


@contextlib.contextmanager
def litellm_proxy(upstream: str, chat: str, directory: Path) -> Iterator[Gateway]:
    """Run LiteLLM's proxy over a Responses server and a chat-completions server, both named by their base URL."""
    program = LITELLM / "bin" / "litellm"
    if not program.is_file():
        pytest.skip(f"LiteLLM is not installed: {_reason(LITELLM)}")
    [port] = _free_ports(1)
    values = {"upstream": upstream, "chat": chat, "key": GATEWAY_KEY}
    config = _fill("litellm.yaml", directory, values)
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environment = {
        # Its routes of files, containers and vector stores have no model: they use these.
        "OPENAI_API_BASE": upstream,
        "OPENAI_API_KEY": "sk-upstream",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # What it would request from the internet fails at once.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    root = f"http://127.0.0.1:{port}"
    with _running(command, directory, environment, f"{root}/health/liveliness"):
        yield Gateway(f"{root}/v1", GATEWAY_KEY)


@contextlib.contextmanager
def nginx_proxy(upstream: str, directory: Path) -> Iterator[dict[str, Gateway]]:
    """Run nginx before a server named by its base URL, and yield its ways by name."""
    places = [shutil.which("nginx"), shutil.which("nginx", path="/usr/sbin"), NGINX / "usr" / "sbin" / "nginx"]
    program = next((place for place in places if place and Path(place).is_file()), None)
    if program is None:
        pytest.skip(f"nginx is not installed: {_reason(NGINX)}")
    ports = dict(zip(NGINX_WAYS, _free_ports(len(NGINX_WAYS)), strict=True))
    values = {**ports, "directory": directory, "root": upstream.removesuffix("/v1")}
    config = _fill("nginx.conf", directory, values)
    command = [str(program), "-p", str(directory), "-c", str(config), "-e", "stderr"]
    with _running(command, directory, {}, f"http://127.0.0.1:{ports['plain']}/v1/models"):
        paths = {way: "/llm/openai/v1" if way == "prefix" else "/v1" for way in NGINX_WAYS}
        yield {way: Gateway(f"http://127.0.0.1:{ports[way]}{paths[way]}") for way in NGINX_WAYS}


def _reason(place: Path) -> str:
    """Return why `make gateways` could not install what belongs there."""
    log = place.with_name(f"{place.name}.log")
    lines = log.read_text(encoding="utf-8").strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else "`make gateways` does that"


def _fill(name: str, directory: Path, values: Mapping[str, object]) -> Path:
    """Copy a configuration into a directory with its $names replaced."""
    path = directory / name
    path.write_text(Template((HERE / name).read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
    return path


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [server.getsockname()[1] for server in sockets]


@contextlib.contextmanager
def _running(command: Sequence[str], directory: Path, environment: dict[str, str], url: str) -> Iterator[None]:
    """Run a server in a process group of its own until the block ends; the block begins once it answers at `url`."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONWARNINGS", "OPENAI_BASE_URL")
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(url, process, log)
            yield
        finally:
            _end(process)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _answers(url):
            return
        time.sleep(0.1)
    pytest.fail(f"{process.args!r} does not answer:\n{log.read_text(errors='replace')[-3000:]}")


def _answers(url: str) -> bool:
    """Whether a server answers at a URL, with any status."""
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and its workers, which share a process group."""
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
