"""Proves against real recordings of both APIs that answers, streams, files and requests are as recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from code_recordings import Conversation, find
from platform_schemas import check_body
from sent_requests import check_requests

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door


@pytest.fixture(scope="session")
def spec(shared: Path) -> Path:
    """The platform's OpenAPI description; skips without jsonschema."""
    pytest.importorskip("jsonschema")
    return shared / "spec" / "openapi.json"


@pytest.fixture
def check(spec: Path) -> Callable[[str, object], None]:
    """Return a function that checks an answer against a component schema of the description."""
    return lambda name, body: check_body(spec, name, body)


@pytest.fixture(autouse=True)
def _every_request_is_allowed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after every test that the upstream requests it caused are allowed by the description."""
    if "upstream" not in request.fixturenames:
        yield
        return
    spec, upstream = request.getfixturevalue("spec"), request.getfixturevalue("upstream")
    yield
    check_requests(upstream, spec)


@pytest.fixture
def body(recordings: ModuleType, name: str) -> Any:
    """The recorded response of this test case."""
    return find(recordings, name)


@pytest.fixture
def conversation(door: Door, upstream: StandIn, sqlite_settings: Settings, body: Any, mode: Any) -> Conversation:
    """A finished conversation in which the upstream sent the recorded response; the SDK validates strictly."""
    upstream.script(Turn(response=body))
    settings = dataclasses.replace(sqlite_settings, mode=mode)
    client = door.client(upstream, settings, _strict_response_validation=True)
    return Conversation(door, client).hold_conversation()
