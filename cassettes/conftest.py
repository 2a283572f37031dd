"""Fixtures that record this folder: `make record` uses the stand-in, or the service with RECORD_LIVE=1."""

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
    """The stand-in to record from; None while a recording plays, or when the real service is recorded."""
    if record_mode == "none" or IS_LIVE:
        yield None
        return
    with StandIn(seed=0) as stand_in:
        stand_in.clock = lambda: 1_790_000_000.0  # so that every recording has the same bytes
        yield stand_in


@pytest.fixture
def client(upstream: StandIn | None) -> Iterator[openai.OpenAI]:
    """A client of the server that is recorded, or of the service's address while a recording plays."""
    base_url = upstream.base_url if upstream else SERVICE
    key = os.environ["OPENAI_API_KEY"] if IS_LIVE else "no-key-is-needed"
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def vcr_cassette_dir() -> str:
    """Keep recordings beside this file, each named as its test."""
    return str(HERE)


@pytest.fixture
def vcr_config(upstream: StandIn | None) -> dict[str, Any]:
    """Replace the stand-in's address by the service's, and label what did not come from the service."""

    def use_service_address(request: Any) -> Any:
        if upstream is not None:
            request.uri = request.uri.replace(upstream.base_url, SERVICE)
        return request

    def add_label(response: Any) -> Any:
        label = {} if upstream is None else {"x-recorded-against": ["stand-in"]}
        return {**response, "headers": {**response["headers"], **label}}

    return {"before_record_request": use_service_address, "before_record_response": add_label}
