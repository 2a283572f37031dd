"""A run streams although the organization is not verified to stream its model (refusals.md row 10).

The upstream refuses the stream, so the response is polled, and the events are told from it once it has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine.io import IO, Request
from assistants_compat.engine.runs import event_sources
from assistants_compat.testing import Fault, StandIn, Turn
from kit.container_runs import advance_library_clock
from kit.doors import Door
from kit.legacy_code import (
    CODE,
    CSV,
    FUNCTION,
    LINK,
    dump_store,
    function_call_turn,
    make_assistant,
    make_thread,
    retrieve_run,
    submit_outputs,
    upstream_calls,
)
from kit.streams import (
    PLAIN_EVENT_NAMES,
    event_names,
    finish_helper,
    read_rest,
    read_until,
    start_stream,
    stored_messages,
    text_of,
    wait_until_ended,
)

pytestmark = pytest.mark.refusal("stream_unverified")

POST, GET = "POST /responses", "GET /responses/*"
MODEL = {"model": "gpt-5"}
TEXT = "One two three."


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_sources, "_FIRST_POLL_SECONDS", 0.01)
    monkeypatch.setattr(event_sources, "_POLL_SECONDS", 0.01)


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """An upstream whose organization is not verified."""
    with StandIn(verified=False) as standin:
        yield standin


def modes(upstream: StandIn) -> list[tuple[bool, bool]]:
    """Return whether each POST of a response asked for background mode and for a stream."""
    bodies = [request.json for request in upstream.requests if f"{request.method} {request.path}".endswith(POST[5:])]
    return [(bool(body.get("background")), bool(body.get("stream"))) for body in bodies if body]


def test_a_refused_stream_is_polled_and_told_in_the_recorded_order(
    door: Door, client: Any, upstream: StandIn, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The run streams its recorded events, with one refused request more, and the log has one line about it."""
    caplog.set_level(logging.INFO, "assistants_compat")
    upstream.script(Turn(text=TEXT, polls=2))
    seen = read_rest(door, start_stream(door, client, assistant=MODEL))
    assert event_names(seen) == PLAIN_EVENT_NAMES
    assert text_of(seen) == TEXT
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert upstream_calls(upstream) == [POST, POST, GET, GET, GET]
    assert modes(upstream) == [(False, True), (True, False)]
    assert [record.getMessage() for record in caplog.records if "stream" in record.getMessage()] == [
        "the upstream does not stream this model; runs of this model are streamed from finished responses (gpt-5)"
    ]


def test_the_next_stream_of_the_model_is_not_asked_for_in_vain(door: Door, client: Any, upstream: StandIn) -> None:
    """Later streams of the model are polled at once; other models are streamed as before."""
    upstream.script(*[Turn(text=TEXT, polls=0)] * 3)
    for _ in range(2):
        assert event_names(read_rest(door, start_stream(door, client, assistant=MODEL))) == PLAIN_EVENT_NAMES
    read_rest(door, start_stream(door, client, assistant={"model": "gpt-4o"}))
    assert modes(upstream) == [(False, True), (True, False), (True, False), (False, True)]
    assert upstream_calls(upstream) == [POST, POST, GET, POST, GET, POST]


def test_later_rounds_stream_too(door: Door, client: Any, upstream: StandIn, settings: Settings) -> None:
    """Tool outputs that are submitted with a stream are polled and told, beginning with the completed step."""
    upstream.script(function_call_turn("call_1"), Turn(text=TEXT, polls=0))
    seen = read_rest(door, start_stream(door, client, assistant=MODEL, tools=[FUNCTION]))
    assert event_names(seen) == [
        *["run.created", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"],
        *["run.step.delta", "run.step.delta", "run.requires_action"],
    ]
    run = seen[-1].data
    seen = read_rest(door, submit_outputs(door, client, run, stream=True))
    assert event_names(seen) == ["run.step.completed", *PLAIN_EVENT_NAMES[1:]]
    assert stored_messages(settings, run.id) == [("completed", TEXT)]
    assert modes(upstream) == [(False, True), (True, False), (True, False)]
    assert upstream.requests[-2].json["previous_response_id"]


def test_a_refusal_in_a_later_round_is_recovered(door: Door, client: Any, upstream: StandIn) -> None:
    """If the first stream that is refused is that of tool outputs, it is polled as well."""
    upstream.script(function_call_turn("call_1"), Turn(text=TEXT, polls=0))
    assistant, thread = make_assistant(door, client, tools=[FUNCTION], **MODEL), make_thread(door, client)
    runs = client.beta.threads.runs
    run = door(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id))
    seen = read_rest(door, submit_outputs(door, client, run, stream=True))
    assert event_names(seen) == ["run.step.completed", *PLAIN_EVENT_NAMES[1:]]
    assert modes(upstream) == [(True, False), (False, True), (True, False)]


@pytest.mark.parametrize("how", ["create_and_run", "helper", "create_and_run helper"])
def test_every_way_to_stream_works(door: Door, client: Any, upstream: StandIn, how: str) -> None:
    """`create_and_run(stream=True)` and the stream helpers of the SDK read such a run."""
    upstream.script(Turn(text=TEXT))
    assistant, threads = make_assistant(door, client, **MODEL), client.beta.threads
    thread = {"messages": [{"role": "user", "content": "Hello."}]}
    if how == "create_and_run":
        stream = door(threads.create_and_run(assistant_id=assistant.id, thread=thread, stream=True))
        assert event_names(read_rest(door, stream)) == ["created", *PLAIN_EVENT_NAMES]
        return
    manager = (
        threads.runs.stream(thread_id=make_thread(door, client).id, assistant_id=assistant.id)
        if how == "helper"
        else threads.create_and_run_stream(assistant_id=assistant.id, thread=thread)
    )
    stream = finish_helper(door, manager)
    [message] = door(stream.get_final_messages()) if door.kind == "async" else stream.get_final_messages()
    assert message.content[0].text.value == TEXT


@pytest.mark.parametrize("why", ["mode", "refused", "unstored"])
def test_without_background_mode_the_run_is_inline(door: Door, upstream: StandIn, settings: Settings, why: str) -> None:
    """Where background mode is not allowed, the response is one request that ends with the response."""
    upstream.configure(background_refused=why == "refused")
    mode: Any = "inline" if why == "mode" else "auto"
    client = door.client(upstream, replace(settings, mode=mode, store_responses=why != "unstored"))
    upstream.script(Turn(text=TEXT))
    seen = read_rest(door, start_stream(door, client, assistant=MODEL))
    assert event_names(seen) == PLAIN_EVENT_NAMES
    refused_background = [(True, False)] if why == "refused" else []
    assert modes(upstream) == [(False, True), *refused_background, (False, False)]
    assert upstream_calls(upstream) == [POST] * (3 if refused_background else 2)


def test_a_run_can_be_cancelled_while_it_is_polled(door: Door, client: Any, upstream: StandIn) -> None:
    """Cancelling ends the stream with `thread.run.cancelled`, and the upstream's response is cancelled."""
    upstream.script(Turn(text=TEXT, polls=1000))
    stream = start_stream(door, client, assistant=MODEL)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    assert door(client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)).status == "cancelling"
    assert event_names(read_rest(door, stream)) == ["run.cancelled"]
    assert retrieve_run(door, client, run).status == "cancelled"
    assert upstream_calls(upstream).count("POST /responses/*/cancel") == 1
    assert upstream_calls(upstream, POST) == [POST] * 2


def test_a_run_whose_reader_leaves_is_polled_to_its_end(
    door: Door, client: Any, upstream: StandIn, settings: Settings
) -> None:
    """A reader that closes the stream early leaves a run that completes without being polled by anyone."""
    upstream.script(Turn(text=TEXT, polls=20))
    stream = start_stream(door, client, assistant=MODEL)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    door(stream.close())
    wait_until_ended(settings, run.id, door)
    assert stored_messages(settings, run.id) == [("completed", TEXT)]


@pytest.mark.parametrize("fault", [Fault(match="GET /responses/*", status=500), Fault("GET /responses/*", drop=True)])
def test_a_failed_poll_is_repeated(door: Door, client: Any, upstream: StandIn, fault: Fault) -> None:
    """A poll that fails is repeated after a pause, and the run completes."""
    upstream.script(Turn(text=TEXT, polls=2))
    upstream.fault(fault)
    seen = read_rest(door, start_stream(door, client, assistant=MODEL))
    assert event_names(seen) == PLAIN_EVENT_NAMES
    assert upstream_calls(upstream) == [POST, POST, GET, GET, GET, GET]


def test_a_run_with_code_keeps_its_files(door: Door, client: Any, upstream: StandIn) -> None:
    """The call is told before the message, and the files that it made can be downloaded."""
    upstream.script(Turn(text=LINK, code="save()", files={"sales.csv": CSV, "more.csv": b"1\n"}))
    seen = read_rest(door, start_stream(door, client, assistant={**MODEL, "tools": CODE}))
    assert [name for name in event_names(seen) if not name.endswith("delta")] == [
        *["run.created", "run.queued", "run.in_progress"],
        *["run.step.created", "run.step.in_progress", "run.step.completed"],
        *["run.step.created", "run.step.in_progress", "message.created", "message.in_progress"],
        *["message.completed", "run.step.completed", "run.completed"],
    ]
    [message] = [event.data for event in seen if event.event == "thread.message.completed"]
    ids = [attachment.file_id for attachment in message.attachments]
    assert [door(client.files.content(id_)).content for id_ in ids] == [CSV, b"1\n"]
    assert upstream_calls(upstream, "GET /containers/*/files") == ["GET /containers/*/files"]


def test_a_failed_response_ends_the_stream_as_failed(door: Door, client: Any, upstream: StandIn) -> None:
    """A response that fails after some polls gives the run its error."""
    upstream.script(Turn(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow down."}, polls=1))
    seen = read_rest(door, start_stream(door, client, assistant=MODEL))
    assert seen[-1].event == "thread.run.failed"
    assert (seen[-1].data.last_error.code, seen[-1].data.last_error.message) == ("rate_limit_exceeded", "Slow down.")


def test_other_readers_leave_the_run_to_its_stream(sync: Door, upstream: StandIn, settings: Settings) -> None:
    """While the stream is open, a second client that polls the run sees it active and asks the upstream nothing."""
    client = sync.client(upstream, settings)
    upstream.script(Turn(text=TEXT, polls=5))
    stream = start_stream(sync, client, assistant=MODEL)
    run = read_until(sync, stream, "thread.run.in_progress")[-1].data
    requests = len(upstream.requests)
    assert retrieve_run(sync, sync.client(upstream, settings), run).status in {"queued", "in_progress"}
    assert len(upstream.requests) == requests
    assert event_names(read_rest(sync, stream)) == PLAIN_EVENT_NAMES[3:]
    assert retrieve_run(sync, client, run).status == "completed"


def act_before_unstreamed_request(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let `act` run before each request of a streamed run that asks for no stream."""
    ask = IO.ask

    async def slow_ask(io: IO, request: Request) -> Any:
        if request.path == "/responses" and "stream" not in (request.json or {}):
            act()
        return await ask(io, request)

    monkeypatch.setattr(IO, "ask", slow_ask)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_run_is_not_failed_while_its_response_is_made(
    sync: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    """Inline, the response comes when it has ended; polls leave the run alone as long as it may last, in any round."""
    settings = replace(settings, mode="inline", run_ttl=900)
    client, other = sync.client(upstream, settings), sync.client(upstream, settings)
    if is_known:
        upstream.script(Turn(text=TEXT))
        read_rest(sync, start_stream(sync, client, assistant=MODEL))
    statuses: list[str] = []

    def poll_late() -> None:
        advance_library_clock(monkeypatch, 400 * (len(statuses) + 1))
        run = dump_store(settings)["runs"][-1]
        statuses.append(other.beta.threads.runs.retrieve(run["id"], thread_id=run["thread_id"]).status)

    act_before_unstreamed_request(monkeypatch, poll_late)
    upstream.script(function_call_turn("call_1"), Turn(text=TEXT))
    seen = read_rest(sync, start_stream(sync, client, assistant=MODEL, tools=[FUNCTION]))
    assert seen[-1].event == "thread.run.requires_action"
    seen = read_rest(sync, submit_outputs(sync, client, seen[-1].data, stream=True))
    assert (seen[-1].event, statuses) == ("thread.run.completed", ["queued", "queued"])


def test_an_inline_round_after_a_streamed_one_is_not_failed(
    sync: Door, upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll does not take a run whose outputs were submitted without a stream for one whose reader died."""
    settings = replace(settings, mode="inline")
    client, other = sync.client(upstream, settings), sync.client(upstream, settings)
    upstream.script(function_call_turn("call_1"), Turn(text=TEXT))
    run = read_rest(sync, start_stream(sync, client, tools=[FUNCTION]))[-1].data
    statuses: list[str] = []
    act_before_unstreamed_request(monkeypatch, lambda: statuses.append(str(retrieve_run(sync, other, run).status)))
    assert submit_outputs(sync, client, run).status == "completed"
    assert statuses == ["queued"]


def test_a_refused_stream_is_remembered_only_if_the_model_answers_without(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """If the request without a stream is refused too, the next run asks for a stream again."""
    upstream.configure(verified=True)
    text = "Your organization must be verified to stream this model."
    for message in (text, "Something else."):
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        upstream.fault(Fault(POST, status=400, body={"error": error}))
    with pytest.raises(openai.BadRequestError, match="Something else"):
        start_stream(door, client, assistant=MODEL)
    assert event_names(read_rest(door, start_stream(door, client, assistant=MODEL)))[-1] == "run.completed"
    assert modes(upstream) == [(False, True), (True, False), (False, True)]
