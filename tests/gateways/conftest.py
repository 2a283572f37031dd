"""Proves that runs work through gateways: LiteLLM's proxy, native and bridged to chat completions, and nginx."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from chat_stub import ChatStub, chat_stub
from gateway_servers import Gateway, litellm_proxy, nginx_proxy

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import Door


@pytest.fixture(scope="session")
def _standing() -> Iterator[StandIn]:
    """The stand-in behind every gateway: a gateway knows one address for its whole life."""
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture(scope="session")
def _chat() -> Iterator[ChatStub]:
    with chat_stub() as server:
        yield server


@pytest.fixture
def upstream(_standing: StandIn) -> StandIn:
    """The stand-in, without what an earlier test has scripted and requested."""
    _standing.requests.clear()
    _standing._state.turns.clear()
    _standing._faults.clear()
    return _standing


@pytest.fixture
def chat(_chat: ChatStub) -> ChatStub:
    """The chat-completions server behind the bridge, without earlier requests."""
    _chat.requests.clear()
    return _chat


@pytest.fixture(scope="session")
def litellm(_standing: StandIn, _chat: ChatStub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """LiteLLM's proxy; it starts once, because that takes ten seconds."""
    with litellm_proxy(_standing.base_url, _chat.base_url, tmp_path_factory.mktemp("litellm")) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def nginx(_standing: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """The ways of nginx by name."""
    with nginx_proxy(_standing.base_url, tmp_path_factory.mktemp("nginx")) as gateways:
        yield gateways


@pytest.fixture(params=["litellm", "nginx-plain", "nginx-gzip", "nginx-prefix"])
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Each gateway that passes Responses requests on."""
    name, _, way = str(request.param).partition("-")
    running = request.getfixturevalue(name)
    return running[way] if way else running


@pytest.fixture(params=["background", "inline"])
def mode(request: pytest.FixtureRequest) -> str:
    """The mode in which runs are carried out."""
    return str(request.param)


@pytest.fixture
def client(door: Door, gateway: Gateway, sqlite_settings: Settings, mode: Any) -> Any:
    """A wrapped client of the gateway."""
    return door.client(gateway, replace(sqlite_settings, mode=mode), api_key=gateway.key)
