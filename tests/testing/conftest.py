"""Proves that the stand-in answers as the service does, by the recordings, the spec and the SDK."""

from __future__ import annotations

import http.client
import importlib.util
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from assistants_compat.testing import StandIn
from kit.paths import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


@dataclass(frozen=True)
class Reply:
    """A plain HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The data of every event of a stream."""
        lines = self.body.decode().split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


class Caller:
    """Sends plain HTTP to a stand-in, so that no SDK touches what it receives."""

    def __init__(self, upstream: StandIn) -> None:
        self.upstream = upstream
        self.connection = http.client.HTTPConnection(upstream.azure_endpoint.removeprefix("http://"), timeout=10)

    def __call__(
        self,
        call: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send `call`, which is "METHOD /path"; a body that is not bytes is sent as JSON."""
        method, path = call.split(" ", 1)
        sent = {"authorization": "Bearer sk-test", **({} if headers is None else headers)}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("content-type", "application/json")
        path = path if path.startswith("/openai/") else "/v1" + path
        self.connection.request(method, path, data, sent)
        answer = self.connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def upload(self, call: str, name: str, content: bytes, **fields: str) -> Reply:
        """Upload one file and some fields as multipart."""
        parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}' for key, value in fields.items()]
        parts.append(f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n')
        body = "\r\n".join(parts).encode() + content + b"\r\n--x--\r\n"
        return self(call, body, headers={"content-type": "multipart/form-data; boundary=x"})


class Recordings:
    """The recorded exchanges under ../shared."""

    def __init__(self) -> None:
        self.reader = _reader()

    def read(self, name: str) -> list[Any]:
        """Return every exchange of `recordings/responses/<name>`."""
        exchanges: list[Any] = self.reader.read(SHARED / "recordings" / "responses" / name)
        return exchanges

    def body(self, name: str, number: int = 0) -> Any:
        """Return the JSON answer of one exchange."""
        return json.loads(self.read(name)[number].body)

    def events(self, name: str, number: int = 0) -> list[dict[str, Any]]:
        """Return the event data of one streamed exchange."""
        return [data for _, data in self.read(name)[number].events() if isinstance(data, dict)]


def _reader() -> ModuleType:
    pytest.importorskip("yaml", reason="reading the recordings needs PyYAML")
    path = SHARED / "tools" / "recordings.py"
    if not path.exists():
        pytest.skip("the recordings (../shared) are not there")
    spec = importlib.util.spec_from_file_location("shared_recordings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def recordings() -> Recordings:
    """The recordings, or a skip with the reason."""
    return Recordings()


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """A running stand-in with repeatable ids."""
    with StandIn(seed=0) as running:
        yield running


@pytest.fixture
def caller() -> Iterator[Callable[[StandIn], Caller]]:
    """Return a function that makes plain HTTP clients, and close them afterwards."""
    callers = []

    def make(upstream: StandIn) -> Caller:
        callers.append(Caller(upstream))
        return callers[-1]

    yield make
    for opened in callers:
        opened.connection.close()


@pytest.fixture
def call(upstream: StandIn, caller: Callable[[StandIn], Caller]) -> Caller:
    """A plain HTTP client of the running stand-in."""
    return caller(upstream)
