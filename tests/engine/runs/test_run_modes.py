"""A run is carried in background or inline mode, with as few upstream requests as each mode needs."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai.resources.beta.threads.runs import runs as sdk_runs

from assistants_compat import Settings
from assistants_compat.engine.io import IO
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import finish_run, make_assistant, make_thread, retrieve_run, start_run, upstream_calls

POST, GET = "POST /responses", "GET /responses/*"


@pytest.fixture
def refusing_upstream() -> Iterator[StandIn]:
    """An upstream that refuses background mode."""
    with StandIn(background_refused=True) as standin:
        yield standin


def test_a_background_run_is_one_post_and_one_get_a_poll(door: Door, client: Any, upstream: StandIn) -> None:
    """A background run is one POST, each poll of a working run one GET, and a finished run is not retrieved again."""
    upstream.script(Turn(text="Done.", polls=2))
    run = start_run(door, client)
    assert upstream_calls(upstream) == [POST]
    assert upstream.requests[0].json["background"] is True
    statuses = []
    for polls in (1, 2, 3):
        statuses.append(door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status)
        assert upstream_calls(upstream) == [POST] + [GET] * polls
    assert statuses == ["in_progress", "in_progress", "completed"]
    door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    door.all(client.beta.threads.messages.list(run.thread_id))
    door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert upstream_calls(upstream) == [POST] + [GET] * 3


def test_create_and_poll_sends_one_get_a_poll(door: Door, client: Any, upstream: StandIn) -> None:
    """`create_and_poll` of a background run sends one POST, and one GET for each poll."""
    upstream.script(Turn(text="Done.", polls=3))
    assert finish_run(door, client).status == "completed"
    assert upstream_calls(upstream) == [POST] + [GET] * 4


def test_an_inline_run_is_exactly_one_request(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `mode="inline"` a run is one upstream request and has ended when it is returned."""
    client = door.client(upstream, replace(settings, mode="inline"))
    run = start_run(door, client)
    assert run.status == "completed"
    assert run.started_at == run.created_at
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "You said: Hello."
    assert upstream_calls(upstream) == [POST]
    assert "background" not in upstream.requests[0].json
    assert upstream.requests[0].json["store"] is True


@pytest.mark.refusal("background_refused")
def test_a_refused_background_mode_falls_back_to_inline(
    door: Door, refusing_upstream: StandIn, settings: Settings
) -> None:
    """The first run of a client costs one refusal; later runs of the client and its copies go inline directly."""
    client = door.client(refusing_upstream, settings)
    run = start_run(door, client)
    assert run.status == "completed"
    assert [request.json.get("background") for request in refusing_upstream.requests] == [True, None]
    later_run = finish_run(door, client.with_options(timeout=30))
    assert later_run.status == "completed"
    assert upstream_calls(refusing_upstream) == [POST] * 3
    assert "background" not in refusing_upstream.requests[2].json


def test_a_forced_background_does_not_fall_back(door: Door, refusing_upstream: StandIn, settings: Settings) -> None:
    """With `mode="background"` the upstream's refusal reaches the caller, and no run is left."""
    client = door.client(refusing_upstream, replace(settings, mode="background"))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    with pytest.raises(openai.BadRequestError, match="background"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert upstream_calls(refusing_upstream) == [POST]
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


def test_another_refusal_is_not_taken_for_that_of_background(door: Door, client: Any, upstream: StandIn) -> None:
    """A 400 about something else reaches the caller unchanged and is not retried inline."""
    error = {"message": "Unsupported model.", "type": "invalid_request_error", "param": "model", "code": "unsupported"}
    upstream.fault(Fault(POST, status=400, body={"error": error}))
    with pytest.raises(openai.BadRequestError) as caught:
        start_run(door, client)
    assert caught.value.body == error
    assert upstream_calls(upstream) == [POST]


def test_every_pollable_answer_says_how_long_to_sleep(door: Door, upstream: StandIn, settings: Settings) -> None:
    """Every answer that is a run has `openai-poll-after-ms`, and no other answer has it."""
    client = door.client(upstream, replace(settings, poll_after_ms=123))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    runs = client.beta.threads.runs.with_raw_response
    created = door(runs.create(thread.id, assistant_id=assistant.id))
    run = created.parse()
    door(client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=1))
    answers = [
        created,
        door(runs.retrieve(run.id, thread_id=thread.id)),
        door(runs.update(run.id, thread_id=thread.id, metadata={})),
        door(client.beta.threads.with_raw_response.create_and_run(assistant_id=assistant.id)),
    ]
    assert [answer.headers["openai-poll-after-ms"] for answer in answers] == ["123"] * 4
    other = door(client.beta.threads.with_raw_response.retrieve(thread.id))
    assert "openai-poll-after-ms" not in other.headers


@pytest.mark.skipif(
    "time.sleep(" in inspect.getsource(sdk_runs),
    reason="the pollers of this SDK call time.sleep, which a test cannot replace for them alone",
)
def test_the_sdk_sleeps_for_the_time_in_the_header(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's pollers sleep for the milliseconds in the header, not for their own second."""
    naps: list[float] = []

    async def nap(_self: object, seconds: float) -> None:
        naps.append(seconds)

    runs = "openai.resources.beta.threads.runs.runs"
    monkeypatch.setattr(f"{runs}.Runs._sleep", lambda _self, seconds: naps.append(seconds))
    monkeypatch.setattr(f"{runs}.AsyncRuns._sleep", nap)
    client = door.client(upstream, replace(settings, poll_after_ms=250))
    upstream.script(Turn(text="Done.", polls=2))
    finish_run(door, client)
    assert naps == [0.25, 0.25]


def test_the_request_id_is_the_upstreams_where_there_was_one(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that needed an upstream request carries its `x-request-id`; any other has one of our own."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    request_ids: list[str] = []
    with_service_headers = upstream.with_service_headers

    def with_remembered_headers(answer: Any, *rest: Any) -> Any:
        signed = with_service_headers(answer, *rest)
        request_ids.append(signed.headers["x-request-id"])
        return signed

    monkeypatch.setattr(upstream, "with_service_headers", with_remembered_headers)
    created = door(client.beta.threads.runs.with_raw_response.create(thread.id, assistant_id=assistant.id))
    assert [created.headers["x-request-id"]] == request_ids
    local = door(client.beta.threads.with_raw_response.retrieve(thread.id))
    assert local.headers["x-request-id"].startswith("req_")
    assert local.headers["x-request-id"] not in request_ids
    assert len(request_ids) == 1


@pytest.mark.parametrize(("polls", "status"), [(5, "expired"), (0, "completed")])
def test_a_late_run_expires_only_after_a_poll_upstream(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, polls: int, status: str
) -> None:
    """Past its time an unfinished run expires, and one that the upstream finished in time completes."""
    upstream.script(Turn(text="Done.", polls=polls))
    run = start_run(door, client)
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601)
    late = door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert late.status == status
    assert late.expires_at is None
    assert late.started_at is not None
    assert late.started_at <= run.expires_at
    # An expired run's response is cancelled, so that nobody pays for it.
    assert upstream_calls(upstream) == [POST, GET, *(["POST /responses/*/cancel"] if status == "expired" else [])]
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="The thread is free."))


POLL = "GET /responses/*"
POLL_FAULTS = [
    (Fault(POLL, status=401, body={}), openai.AuthenticationError),
    (Fault(POLL, status=403, body={}), openai.PermissionDeniedError),
    (Fault(POLL, status=503, body={}), openai.InternalServerError),
    (Fault(POLL, status=200, html=True), openai.InternalServerError),
    (Fault(POLL, drop=True), openai.APIConnectionError),
]


@pytest.mark.parametrize(("fault", "error"), POLL_FAULTS)
def test_a_late_run_waits_a_day_for_an_upstream_that_fails(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[Exception]
) -> None:
    """While polls fail, a late run keeps a finished result; after a day it expires and frees the thread."""
    upstream.script(Turn(text="Done.", polls=0), Turn(text="Slow.", polls=9))
    run, other = start_run(door, client), start_run(door, client)
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 3600)
    upstream.fault(fault)
    with pytest.raises(error):
        retrieve_run(door, client, run)
    assert retrieve_run(door, client, run).status == "completed"
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601 + 86_400)
    upstream.fault(fault)
    door(client.beta.threads.messages.create(other.thread_id, role="user", content="The thread is free."))
    assert retrieve_run(door, client, other).status == "expired"


def test_a_late_run_whose_response_is_gone_is_expired(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late run whose response no longer exists upstream expires."""
    run = start_run(door, client)
    upstream.responses.clear()
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601)
    assert retrieve_run(door, client, run).status == "expired"
