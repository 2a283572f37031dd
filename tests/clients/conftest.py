"""What the tests of frameworks share: one wrapped client of each kind, over one store and one upstream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import Settings
from assistants_compat.testing import StandIn
from doors import KEY, Door


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """No framework reaches the network, also where a developer's settings turn its tracing on."""
    connect = socket.socket.connect

    def connect_to_loopback(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0] in {"127.0.0.1", "::1"}, f"a connection to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_to_loopback)
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sync_door() -> Iterator[Door]:
    """The door of the synchronous client."""
    opened = Door("sync")
    yield opened
    opened.close()


@pytest.fixture
def async_door() -> Iterator[Door]:
    """The door of the asynchronous client, which also awaits what a framework gives."""
    opened = Door("async", asyncio.new_event_loop())
    yield opened
    opened.close()


@pytest.fixture
def client(sync_door: Door, upstream: StandIn, sqlite_settings: Settings) -> Any:
    """A wrapped synchronous client."""
    return sync_door.client(upstream, sqlite_settings)


@pytest.fixture
def async_client(async_door: Door, upstream: StandIn, sqlite_settings: Settings) -> Any:
    """A wrapped asynchronous client over the same store."""
    return async_door.client(upstream, sqlite_settings)


@pytest.fixture
def wrapping_class(upstream: StandIn, sqlite_settings: Settings) -> Iterator[type[openai.OpenAI]]:
    """A class of clients that are wrapped when they are made, for a framework that makes its client itself."""
    made: list[openai.OpenAI] = []

    class Wrapped(openai.OpenAI):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{"base_url": upstream.base_url, "max_retries": 0, **options, "api_key": KEY})
            made.append(assistants_compat.wrap(self, sqlite_settings))

    yield Wrapped
    for client in made:
        client.close()
