"""How a run is carried: in the background or inline, counted in upstream requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.io import IO
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import Door
from kit.legacy_code import asked, finish_run, look_at, make_assistant, make_thread, start_run

POST, GET = "POST /responses", "GET /responses/*"


@pytest.fixture
def refusing() -> Iterator[StandIn]:
    """An upstream that knows no background mode."""
    with StandIn(background_refused=True) as standin:
        yield standin


def test_a_background_run_is_one_post_and_one_get_a_poll(door: Door, client: Any, upstream: StandIn) -> None:
    """Creating asks once, each look at a working run asks once, and a finished run is never asked for again."""
    upstream.script(Turn(text="Done.", polls=2))
    run = start_run(door, client)
    assert asked(upstream) == [POST]
    assert upstream.requests[0].json["background"] is True
    statuses = []
    for looks in (1, 2, 3):
        statuses.append(door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status)
        assert asked(upstream) == [POST] + [GET] * looks
    assert statuses == ["in_progress", "in_progress", "completed"]
    door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    door.all(client.beta.threads.messages.list(run.thread_id))
    door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert asked(upstream) == [POST] + [GET] * 3


def test_create_and_poll_asks_no_more_than_it_has_to(door: Door, client: Any, upstream: StandIn) -> None:
    """The SDK's poller over a background run is one POST and a GET for each of its looks."""
    upstream.script(Turn(text="Done.", polls=3))
    assert finish_run(door, client).status == "completed"
    assert asked(upstream) == [POST] + [GET] * 4


def test_an_inline_run_is_exactly_one_request(door: Door, upstream: StandIn, settings: Settings) -> None:
    """With `mode="inline"` a text turn is one upstream request, and the run has ended when it was created."""
    client = door.client(upstream, replace(settings, mode="inline"))
    run = start_run(door, client)
    assert run.status == "completed"
    assert run.started_at == run.created_at
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "You said: Hello."
    assert asked(upstream) == [POST]
    assert "background" not in upstream.requests[0].json
    assert upstream.requests[0].json["store"] is True


def test_a_refused_background_falls_back_and_is_remembered(door: Door, refusing: StandIn, settings: Settings) -> None:
    """The first run costs one refusal, every later one of this client and its copies none."""
    client = door.client(refusing, settings)
    run = start_run(door, client)
    assert run.status == "completed"
    assert [request.json.get("background") for request in refusing.requests] == [True, None]
    again = finish_run(door, client.with_options(timeout=30))
    assert again.status == "completed"
    assert asked(refusing) == [POST] * 3
    assert "background" not in refusing.requests[2].json


def test_a_forced_background_does_not_fall_back(door: Door, refusing: StandIn, settings: Settings) -> None:
    """With `mode="background"` the upstream's refusal is the caller's, and no run is left."""
    client = door.client(refusing, replace(settings, mode="background"))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    with pytest.raises(openai.BadRequestError, match="background"):
        door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert asked(refusing) == [POST]
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


def test_another_refusal_is_not_taken_for_that_of_background(door: Door, client: Any, upstream: StandIn) -> None:
    """A 400 about something else is the caller's at once, with the upstream's own words."""
    error = {"message": "Unsupported model.", "type": "invalid_request_error", "param": "model", "code": "unsupported"}
    upstream.fault(Fault(POST, status=400, body={"error": error}))
    with pytest.raises(openai.BadRequestError) as caught:
        start_run(door, client)
    assert caught.value.body == error
    assert asked(upstream) == [POST]


def test_every_pollable_answer_says_how_long_to_sleep(door: Door, upstream: StandIn, settings: Settings) -> None:
    """`openai-poll-after-ms` stands on each answer that is a run, and on no other."""
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


def test_the_sdk_sleeps_as_it_is_told(
    door: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's pollers sleep the header's milliseconds, not their own second."""
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
    """An answer that cost an upstream request carries its `x-request-id`, any other one of our own."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    given: list[str] = []
    sign = upstream.signed

    def remember(answer: Any, *rest: Any) -> Any:
        signed = sign(answer, *rest)
        given.append(signed.headers["x-request-id"])
        return signed

    monkeypatch.setattr(upstream, "signed", remember)
    created = door(client.beta.threads.runs.with_raw_response.create(thread.id, assistant_id=assistant.id))
    assert [created.headers["x-request-id"]] == given
    local = door(client.beta.threads.with_raw_response.retrieve(thread.id))
    assert local.headers["x-request-id"].startswith("req_")
    assert local.headers["x-request-id"] not in given
    assert len(given) == 1


@pytest.mark.parametrize(("polls", "status"), [(5, "expired"), (0, "completed")])
def test_a_late_run_expires_only_after_the_upstream_was_asked(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, polls: int, status: str
) -> None:
    """Ten minutes on, an unfinished run is expired; one that the upstream had finished in time is completed."""
    upstream.script(Turn(text="Done.", polls=polls))
    run = start_run(door, client)
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601)
    late = door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id))
    assert late.status == status
    assert late.expires_at is None
    assert late.started_at is not None
    assert late.started_at <= run.expires_at
    # What is given up is stopped, so that nobody pays for it.
    assert asked(upstream) == [POST, GET, *(["POST /responses/*/cancel"] if status == "expired" else [])]
    door(client.beta.threads.messages.create(run.thread_id, role="user", content="The thread is free."))


LOOK = "GET /responses/*"
TROUBLES = [
    (Fault(LOOK, status=401, body={}), openai.AuthenticationError),
    (Fault(LOOK, status=403, body={}), openai.PermissionDeniedError),
    (Fault(LOOK, status=503, body={}), openai.InternalServerError),
    (Fault(LOOK, status=200, html=True), openai.InternalServerError),
    (Fault(LOOK, drop=True), openai.APIConnectionError),
]


@pytest.mark.parametrize(("fault", "error"), TROUBLES)
def test_a_late_run_of_an_upstream_that_does_not_say_waits_for_a_day(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[Exception]
) -> None:
    """A wrong key or a bad hour does not lose what was finished in time; after a day the thread is free."""
    upstream.script(Turn(text="Done.", polls=0), Turn(text="Slow.", polls=9))
    run, other = start_run(door, client), start_run(door, client)
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 3600)
    upstream.fault(fault)
    with pytest.raises(error):
        look_at(door, client, run)
    assert look_at(door, client, run).status == "completed"
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601 + 86_400)
    upstream.fault(fault)
    door(client.beta.threads.messages.create(other.thread_id, role="user", content="The thread is free."))
    assert look_at(door, client, other).status == "expired"


def test_a_late_run_whose_response_is_gone_is_expired(
    door: Door, client: Any, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream was asked, and has nothing that could still come."""
    run = start_run(door, client)
    upstream.responses.clear()
    monkeypatch.setattr(IO, "now", lambda _self: int(time.time()) + 601)
    assert look_at(door, client, run).status == "expired"
