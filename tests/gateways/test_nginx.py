"""An nginx that waits half a second for an answer: what a slow model makes of runs behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest
from gateway_servers import Gateway

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import make_thread_and_assistant, run_to_end
from kit.doors import Door

pytestmark = [pytest.mark.gateways, pytest.mark.timeout(300)]

SLOW = Turn(text="At last, after many words that each take their time.", polls=3, pace=0.3)


@pytest.fixture
def client(door: Door, nginx: dict[str, Gateway], sqlite_settings: Settings, request: pytest.FixtureRequest) -> Any:
    """A wrapped client of the nginx that waits half a second; a test may parametrize its settings."""
    return door.client(nginx["impatient"], replace(sqlite_settings, **getattr(request, "param", {})))


def test_a_background_run_outlives_the_gateways_patience(door: Door, client: Any, upstream: StandIn) -> None:
    """A background run is polled, so no answer takes long."""
    upstream.script(SLOW)
    assert run_to_end(door, client, *make_thread_and_assistant(door, client, tools=[])).status == "completed"


@pytest.mark.parametrize("client", [{"mode": "inline"}], indirect=True)
def test_an_inline_run_that_takes_too_long_is_the_gateways_504(door: Door, client: Any, upstream: StandIn) -> None:
    """An inline run that takes longer is nginx's 504, and no run is left behind."""
    upstream.fault(Fault("POST /responses", stall=1.0))
    thread_id, assistant_id = make_thread_and_assistant(door, client, tools=[])
    with pytest.raises(openai.InternalServerError) as caught:
        door(client.beta.threads.runs.create(thread_id, assistant_id=assistant_id))
    assert caught.value.status_code == 504
    assert door.all(client.beta.threads.runs.list(thread_id)) == []


@pytest.mark.parametrize("client", [{"stream": "background"}], indirect=True)
def test_a_background_stream_is_resumed(door: Door, client: Any, upstream: StandIn) -> None:
    """A stream that nginx cuts at a pause is resumed, and nothing of it is lost."""
    upstream.script(replace(SLOW, pace=0.7, text="At last"))
    run = run_to_end(door, client, *make_thread_and_assistant(door, client, tools=[]), stream=True)
    assert run.status == "completed"
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "At last"
