"""Proves that frameworks run their own agents over wrapped clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import assistants_compat
from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import KEY, Door


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that is not to this machine, even if a developer's settings turn tracing on."""
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
    door = Door("sync")
    yield door
    door.close()


@pytest.fixture
def async_door() -> Iterator[Door]:
    """The door of the asynchronous client, which also awaits what a framework returns."""
    door = Door("async", asyncio.new_event_loop())
    yield door
    door.close()


@pytest.fixture
def client(sync_door: Door, upstream: StandIn, sqlite_settings: Settings) -> Any:
    """A wrapped synchronous client."""
    return sync_door.client(upstream, sqlite_settings)


@pytest.fixture
def async_client(async_door: Door, upstream: StandIn, sqlite_settings: Settings) -> Any:
    """A wrapped asynchronous client over the same store."""
    return async_door.client(upstream, sqlite_settings)


@pytest.fixture
def installed(upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the library, and lead clients that a framework makes itself to the stand-in by the SDK's variables."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    assistants_compat.install(sqlite_settings)
    yield
    assistants_compat.uninstall()
