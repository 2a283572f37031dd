"""The upstream of this folder: the stand-in, or with RECORD_LIVE=1 (`make live`) the real service and your own key.

The client takes OPENAI_API_KEY and OPENAI_BASE_URL, or the variables of Azure. LIVE_MODEL names the model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import Settings
from assistants_compat.azure import API_VERSION
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door

IS_LIVE = os.environ.get("RECORD_LIVE") == "1"
_IS_AZURE = bool(os.environ.get("AZURE_OPENAI_ENDPOINT"))
_KEY = "AZURE_OPENAI_API_KEY" if _IS_AZURE else "OPENAI_API_KEY"


@pytest.fixture
def service() -> Iterator[StandIn | None]:
    """The stand-in; None where the real service is asked. Without a key the test is skipped."""
    if IS_LIVE:
        if not os.environ.get(_KEY):
            pytest.skip(f"RECORD_LIVE=1 asks the real service, and {_KEY} is not set")
        if _IS_AZURE and not os.environ.get("LIVE_MODEL"):
            pytest.skip("on Azure a model is a deployment: name one of yours in LIVE_MODEL")
        yield None
        return
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def model() -> str:
    """Return the model that the runs use."""
    return os.environ.get("LIVE_MODEL", "gpt-4.1-mini")


@pytest.fixture
def play(service: StandIn | None) -> Callable[..., None]:
    """Return a function that scripts the stand-in; the real service answers for itself."""

    def script(*turns: Turn) -> None:
        if service is not None:
            service.script(*turns)

    return script


@pytest.fixture
def client(door: Door, service: StandIn | None, sqlite_settings: Settings) -> Any:
    """A wrapped client of the stand-in or of the real service, of the door's kind."""
    if service is not None:
        return door.client(service, sqlite_settings)
    names = ("AzureOpenAI", "AsyncAzureOpenAI") if _IS_AZURE else ("OpenAI", "AsyncOpenAI")
    options: dict[str, Any] = {"api_version": os.environ.get("OPENAI_API_VERSION") or API_VERSION} if _IS_AZURE else {}
    real = getattr(openai, names[door.kind == "async"])(timeout=120, max_retries=2, **options)
    door.clients.append(real)
    return assistants_compat.wrap(real, replace(sqlite_settings, poll_after_ms=500))
