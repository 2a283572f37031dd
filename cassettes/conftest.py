"""What the recordings of this folder are made with: `make record`, against the stand-in, or live with RECORD_LIVE=1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat.testing import StandIn

HERE = Path(__file__).resolve().parent
SERVICE = "https://api.openai.com/v1"
IS_LIVE = os.environ.get("RECORD_LIVE") == "1"


@pytest.fixture
def upstream(record_mode: str) -> Iterator[StandIn | None]:
    """The stand-in that is recorded from; None where a recording plays, or the real service is recorded."""
    if record_mode == "none" or IS_LIVE:
        yield None
        return
    with StandIn(seed=0) as standin:
        standin.clock = lambda: 1_790_000_000.0  # the same bytes on every recording
        yield standin


@pytest.fixture
def client(upstream: StandIn | None) -> Iterator[openai.OpenAI]:
    """A client of what is recorded, or of the service's address where a recording plays."""
    base_url = upstream.base_url if upstream else SERVICE
    key = os.environ["OPENAI_API_KEY"] if IS_LIVE else "no-key-is-needed"
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def vcr_cassette_dir() -> str:
    """Recordings lie beside this file, each called as its test is."""
    return str(HERE)


@pytest.fixture
def vcr_config(upstream: StandIn | None) -> dict[str, Any]:
    """Write the service's address for the stand-in's, and label what did not come from the service."""

    def as_the_service(request: Any) -> Any:
        if upstream is not None:
            request.uri = request.uri.replace(upstream.base_url, SERVICE)
        return request

    def labelled(response: Any) -> Any:
        label = {} if upstream is None else {"x-recorded-against": ["stand-in"]}
        return {**response, "headers": {**response["headers"], **label}}

    return {"before_record_request": as_the_service, "before_record_response": labelled}
