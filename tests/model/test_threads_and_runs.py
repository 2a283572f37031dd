"""Any sequence of legacy calls gives the answers of a small model of the Assistants API."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from conversations import TOOL, TTL, Conversations, World
from hypothesis import HealthCheck, Phase
from hypothesis import settings as bounds
from hypothesis.stateful import run_state_machine_as_test

from assistants_compat import Settings
from assistants_compat.engine.io import IO
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import start_run


def run_conversations(upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, examples: int) -> None:
    """Run this number of generated conversations."""
    world = World(upstream, replace(settings, run_ttl=TTL))
    monkeypatch.setattr(IO, "now", lambda _io: world.now)
    factory: Any = partial(Conversations, world)
    run_state_machine_as_test(
        factory,
        settings=bounds(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[
                phase for phase in Phase if phase is not Phase.explain
            ],  # which traces every line and takes minutes
        ),
    )


@pytest.mark.timeout(600)  # hypothesis takes minutes to shrink a failure
def test_any_conversation_equals_the_model(
    upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any sequence of legacy calls gives the threads, messages and runs of the model."""
    run_conversations(upstream, sqlite_settings, monkeypatch, examples=40)


@pytest.mark.timeout(600)
def test_any_conversation_equals_the_model_on_postgresql(
    upstream: StandIn, sqlite_settings: Settings, postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any sequence of legacy calls gives the model's results on PostgreSQL too, where rows are locked one by one."""
    run_conversations(upstream, replace(sqlite_settings, store=postgresql_server), monkeypatch, examples=4)


def test_calls_that_arrive_after_the_expiry_expire_the_run(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose function calls arrive after its expiry is expired by that poll, and its thread is free."""
    client = door.client(upstream, sqlite_settings)
    upstream.script(Turn(function_calls=[{"name": "look_up", "arguments": "{}"}], polls=0), Turn(text="Yes."))
    run = start_run(door, client, assistant={"tools": [TOOL]})
    monkeypatch.setattr(IO, "now", lambda _io: run.created_at + TTL)
    again = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert again.status == "completed"
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "expired"
    [step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert step.status == "expired"
