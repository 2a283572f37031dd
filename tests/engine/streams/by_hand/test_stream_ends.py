"""However the upstream ends a stream, the caller and the store get the same, correct end of the run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.doors.sdk_internals import http_library
from assistants_compat.engine import io
from assistants_compat.engine.runs import ask_upstream, refresh
from assistants_compat.errors import StoreBusyError
from assistants_compat.store import queries
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import FUNCTION, dump_store, make_assistant, make_thread, retrieve_run
from kit.streams import (
    CUT,
    DROP,
    END,
    EVENTS,
    TEXT,
    Json,
    ManualUpstream,
    event_names,
    events,
    eventually,
    frame,
    function,
    message,
    next_event,
    read_rest,
    read_until,
    start_stream,
    step_statuses,
    stored_messages,
    stored_run,
    text_of,
    wait_until_ended,
)

PART_ADDED = 4  # after created, in_progress, item added and part added
TEXT_DONE = [event["type"] for event in EVENTS].index("response.output_text.done")
POST = "POST /responses"
GET = "GET /responses/resp_1"
TOO_LONG = {"code": "context_length_exceeded", "message": "Too long.", "type": "invalid_request_error"}


def check_thread_is_usable(door: Door, client: Any, hand: ManualUpstream, run: Any) -> None:
    """Check that the thread of an ended run takes a message and another run."""
    hand.plan(*EVENTS, END)
    threads = client.beta.threads
    door(threads.messages.create(run.thread_id, role="user", content="More."))
    create = threads.runs.create(run.thread_id, assistant_id=run.assistant_id, stream=True)
    assert read_rest(door, door(create))[-1].event == "thread.run.completed"


# --- the connection


@pytest.mark.parametrize("ending", [DROP, END], ids=["dropped", "ended"])
@pytest.mark.parametrize("after", [0, 1, 2, PART_ADDED, CUT, TEXT_DONE, len(EVENTS) - 1])
def test_a_stream_that_stops_before_its_end_fails_the_run(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, after: int, ending: object
) -> None:
    """A stream that is dropped or closed at any event fails the run, keeps its text and frees the thread."""
    hand.plan(*EVENTS[:after], ending)
    seen = read_rest(door, start_stream(door, client))
    run = seen[-1].data
    assert (seen[-1].event, run.status) == ("thread.run.failed", "failed")
    assert run.last_error.code == "server_error"
    has_message = after > 2
    is_done = after == len(EVENTS) - 1
    assert stored_messages(settings, run.id) == (
        [("completed" if is_done else "incomplete", text_of(seen))] if has_message else []
    )
    assert text_of(seen) == ("" if after <= PART_ADDED else "One two" if after == CUT else TEXT)
    assert step_statuses(settings, run.id) == (["completed" if is_done else "failed"] if has_message else [])
    if has_message:
        ended_message = next(
            event.data for event in seen if event_names([event])[0] in {"message.incomplete", "message.completed"}
        )
        assert ended_message == door(client.beta.threads.messages.retrieve(ended_message.id, thread_id=run.thread_id))
        assert is_done or ended_message.incomplete_details.reason == "run_failed"
    assert retrieve_run(door, client, run).last_error == run.last_error
    wait_until_ended(settings, run.id, door, "failed")
    assert hand.calls() == [POST, GET][: 1 if after == 0 else 2]
    eventually(hand.stream().over.is_set, door)
    check_thread_is_usable(door, client, hand, run)


@pytest.mark.parametrize("after", [1, CUT, len(EVENTS) - 1])
@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_lost_end_is_retrieved(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, after: int, status: str
) -> None:
    """If the last events of a finished response are lost, one GET retrieves them and the stream sends the rest."""
    hand.plan(*EVENTS[:after], DROP)
    more: Json = {"incomplete": {"incomplete_details": {"reason": "max_output_tokens"}}}.get(status, {})
    hand.known["resp_1"] = EVENTS[-1]["response"] | {"status": status} | more
    seen = read_rest(door, start_stream(door, client))
    run = seen[-1].data
    assert seen[-1].event == f"thread.run.{status}"
    assert text_of(seen) == TEXT
    assert stored_messages(settings, run.id) == [("completed", TEXT)]
    assert hand.calls() == [POST, GET]
    assert retrieve_run(door, client, run).usage.total_tokens == 7
    assert len([event for event in seen if event.event == "thread.message.created"]) == 1
    hand.known.clear()
    check_thread_is_usable(door, client, hand, run)


def test_a_lost_stream_of_a_working_response_fails_the_run(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A lost direct stream fails its run if the GET shows a working response or is refused."""
    for response in ({"id": "resp_1", "status": "in_progress", "output": []}, None):
        hand.plan(*EVENTS[:CUT], DROP)
        if response is not None:
            hand.known["resp_1"] = response
        seen = read_rest(door, start_stream(door, client))
        assert seen[-1].event == "thread.run.failed"
        assert stored_messages(settings, seen[-1].data.id) == [("incomplete", "One two")]
        hand.known.clear()


def test_a_stream_that_stalls_fails_the_run(door: Door, hand: ManualUpstream, settings: Settings) -> None:
    """The read timeout of a stalled stream is raised; the run fails and its connection is closed."""
    client = door.client(hand, settings, timeout=0.3)
    hand.plan(*EVENTS[:CUT])
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    with pytest.raises((openai.APITimeoutError, http_library().ReadTimeout)):  # the SDK's since openai 3
        read_rest(door, stream)
    assert retrieve_run(door, client, run).status == "failed"
    assert stored_messages(settings, run.id) == [("incomplete", "One two")]
    eventually(hand.stream().gone.is_set, door)
    check_thread_is_usable(door, client, hand, run)


# --- errors that the upstream reports

ERROR = {"type": "server_error", "code": "server_error", "message": "Overheated.", "param": None}
ERRORS: dict[str, Json] = {
    "nested": {"type": "error", "error": ERROR, "sequence_number": 9},
    "flat": {"type": "error", "code": "server_error", "message": "Overheated.", "param": None},
}


@pytest.mark.parametrize("shape", ERRORS)
@pytest.mark.parametrize("ending", ["failed", "nothing", "drop"])
def test_an_error_event_becomes_last_error(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, shape: str, ending: str
) -> None:
    """An `error` event, with or without `response.failed` after it, becomes the run's `last_error`."""
    failed = events(status="failed", output=[], error={"code": "server_error", "message": "Overheated."})[-1]
    rest = {"failed": [failed, END], "nothing": [END], "drop": [DROP]}[ending]
    hand.plan(*EVENTS[:CUT], ERRORS[shape], *rest)
    seen = read_rest(door, start_stream(door, client))
    run = seen[-1].data
    # A step has no status `incomplete`: if the response itself ended, the step of its message is completed.
    step = "run.step.completed" if ending == "failed" else "run.step.failed"
    assert event_names(seen)[-3:] == ["message.incomplete", step, "run.failed"]
    assert (run.last_error.code, run.last_error.message) == ("server_error", "Overheated.")
    assert stored_messages(settings, run.id) == [("incomplete", "One two")]
    assert retrieve_run(door, client, run).last_error == run.last_error
    check_thread_is_usable(door, client, hand, run)


@pytest.mark.parametrize(
    ("status", "more", "reason"),
    [
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, "max_tokens"),
        ("incomplete", {"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ("failed", {"error": {"code": "rate_limit_exceeded", "message": "Slower."}}, "run_failed"),
        ("cancelled", {}, "run_cancelled"),
    ],
)
def test_partial_text_becomes_an_incomplete_message(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, status: str, more: Json, reason: str
) -> None:
    """Partial text stays as an incomplete message with its reason, in the stream and in the store."""
    item = message("One two", status="incomplete")
    hand.plan(
        *EVENTS[:CUT],
        {
            "type": f"response.{status}",
            "response": EVENTS[-1]["response"] | {"status": status, "output": [item], **more},
        },
        END,
    )
    seen = read_rest(door, start_stream(door, client))
    run = seen[-1].data
    assert (seen[-1].event, run.status) == (f"thread.run.{status}", status)
    [incomplete] = [event.data for event in seen if event.event == "thread.message.incomplete"]
    assert incomplete.incomplete_details.reason == reason
    assert incomplete == door(client.beta.threads.messages.retrieve(incomplete.id, thread_id=run.thread_id))
    assert stored_messages(settings, run.id) == [("incomplete", "One two")]
    served = retrieve_run(door, client, run)
    assert (served.last_error, served.incomplete_details) == (run.last_error, run.incomplete_details)
    if status == "failed":
        assert (run.last_error.code, run.last_error.message) == ("rate_limit_exceeded", "Slower.")
    assert hand.calls() == [POST]
    check_thread_is_usable(door, client, hand, run)


@pytest.mark.parametrize("ending", ["lost", "no output"])
def test_a_message_that_ends_incomplete_keeps_its_text(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, ending: str
) -> None:
    """A message that ended incomplete keeps its text if the rest is lost, and gets the response's reason."""
    done = {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": message("One two three", status="incomplete"),
    }
    last_response = EVENTS[-1]["response"] | {"output": [], "incomplete_details": {"reason": "content_filter"}}
    last_events = (
        [DROP]
        if ending == "lost"
        else [{"type": "response.incomplete", "response": last_response | {"status": "incomplete"}}, END]
    )
    hand.plan(*EVENTS[:CUT], done, *last_events)
    seen = read_rest(door, start_stream(door, client))
    [incomplete] = [event.data for event in seen if event.event == "thread.message.incomplete"]
    assert incomplete.incomplete_details.reason == ("run_failed" if ending == "lost" else "content_filter")
    assert stored_messages(settings, seen[-1].data.id) == [("incomplete", "One two three")]
    assert text_of(seen) == "One two three"


def test_a_spent_budget_is_named_as_the_old_service_did(door: Door, client: Any, hand: ManualUpstream) -> None:
    """A streamed run that reaches its budget has the old reason `max_completion_tokens`."""
    upstream_events = events(message(TEXT), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    hand.plan(*upstream_events, END)
    seen = read_rest(door, start_stream(door, client, max_completion_tokens=5))
    assert seen[-1].event == "thread.run.incomplete"
    assert seen[-1].data.incomplete_details.reason == "max_completion_tokens"


# --- before the stream

REFUSALS: dict[str, tuple[int, str, bytes, type[openai.OpenAIError]]] = {
    "400": (400, "application/json", b'{"error": {"message": "No.", "code": "some_code"}}', openai.BadRequestError),
    "401": (401, "application/json", b'{"error": {"message": "No.", "code": "some_code"}}', openai.AuthenticationError),
    "429": (429, "application/json", b'{"error": {"message": "No.", "code": "some_code"}}', openai.RateLimitError),
    "500": (500, "application/json", b'{"error": {"message": "No.", "code": "some_code"}}', openai.InternalServerError),
    "a gateway's page": (502, "text/html", b"<html>", openai.InternalServerError),
    "a page with 200": (200, "text/html", b"<html>", openai.InternalServerError),
    "JSON without an id": (200, "application/json", b'{"status": "completed"}', openai.InternalServerError),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_stream_leaves_nothing(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, name: str
) -> None:
    """An upstream answer that is no stream is an HTTP error and leaves the store unchanged."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    status, kind, body, exception = REFUSALS[name]
    before = dump_store(settings)
    runs = client.beta.threads.runs
    more = [{"role": "user", "content": "More."}]
    for call in (
        lambda: runs.create(thread.id, assistant_id=assistant.id, additional_messages=more, stream=True),
        lambda: client.beta.threads.create_and_run(assistant_id=assistant.id, stream=True),
    ):
        hand.answers.append((status, kind, body))
        with pytest.raises(openai.APIStatusError) as caught:
            door(call())
        assert type(caught.value) is exception
        assert (caught.value.status_code, caught.value.code) == (
            (502, "bad_upstream") if status == 200 else (status, None if kind == "text/html" else "some_code")
        )
        assert dump_store(settings) == before
    assert hand.calls() == [POST] * 2


@pytest.mark.parametrize("name", ["400", "429", "a page with 200"])
def test_refused_outputs_leave_the_run_waiting(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, name: str
) -> None:
    """After a refused `submit_tool_outputs(stream=True)` the run still waits, and the call can be repeated."""
    hand.plan(*events(function()), END)
    run = read_rest(door, start_stream(door, client, tools=[FUNCTION]))[-1].data
    before = dump_store(settings)
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    submit = client.beta.threads.runs.submit_tool_outputs
    status, kind, body, exception = REFUSALS[name]
    hand.answers.append((status, kind, body))
    with pytest.raises(exception):
        door(submit(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True))
    assert dump_store(settings) == before
    hand.plan(*EVENTS, END)
    seen = read_rest(door, door(submit(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True)))
    assert seen[-1].event == "thread.run.completed"


def test_an_input_that_is_too_long_is_retried_in_the_same_stream(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings
) -> None:
    """A response that fails with `context_length_exceeded` is retried with less input, in the same stream."""
    failed = events(status="failed", output=[], error=TOO_LONG)
    hand.plan(*failed, END)
    hand.plan(*events(message(TEXT), id="resp_2"), END)
    assistant, thread = make_assistant(door, client), make_thread(door, client, "a")
    for role in ("assistant", "user") * 3:
        door(client.beta.threads.messages.create(thread.id, role=role, content="b"))
    create = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)
    seen = read_rest(door, door(create))
    assert (seen[-1].event, text_of(seen)) == ("thread.run.completed", TEXT)
    assert len([event for event in seen if event.event == "thread.run.in_progress"]) == 1
    assert [len(request["json"]["input"]) for request in hand.requests] == sorted(
        {len(request["json"]["input"]) for request in hand.requests}, reverse=True
    )
    assert hand.calls() == [POST] * 2
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert stored_run(settings, seen[-1].data.id)["response_id"] == "resp_2"
    eventually(hand.stream(0).over.is_set, door)


def start_retried_stream(door: Door, client: Any, hand: ManualUpstream) -> Any:
    """Start a run whose first response fails as too long; its second one stays open."""
    hand.plan(*events(status="failed", output=[], error=TOO_LONG), END)
    hand.plan(*events(message(TEXT), id="resp_2")[:2])
    assistant, thread = make_assistant(door, client), make_thread(door, client, "a", "b", "c")
    return door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))


def test_a_retry_that_cannot_be_stored_is_closed(
    door: Door, client: Any, hand: ManualUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the store fails after the upstream has accepted the retry, the connection of the retry is closed."""
    monkeypatch.setattr(refresh, "accepted_columns", raising_while(dict, StoreBusyError("Busy."), lambda: True))
    with pytest.raises(openai.APIError, match=r"Busy\."):
        read_rest(door, start_retried_stream(door, client, hand))
    eventually(hand.stream(1).gone.is_set, door)


@pytest.mark.parametrize("deletes", [False, True])
def test_a_run_that_ends_during_a_retry_stays_as_it_is(
    sync: Door, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, deletes: bool
) -> None:
    """The retry is closed, and the stream ends as the run did."""
    retry, client, other = (
        ask_upstream.retry_with_less_input,
        sync.client(hand, settings),
        sync.client(hand, settings),
    )

    async def overtaken_retry(*arguments: Any) -> Any:
        upstream_request = await retry(*arguments)
        run = dump_store(settings)["runs"][-1]
        if deletes:
            other.beta.threads.delete(run["thread_id"])
        else:
            other.beta.threads.runs.cancel(run["id"], thread_id=run["thread_id"])
            assert other.beta.threads.runs.retrieve(run["id"], thread_id=run["thread_id"]).status == "cancelling"
        return upstream_request

    monkeypatch.setattr(ask_upstream, "retry_with_less_input", overtaken_retry)
    seen = read_rest(sync, start_retried_stream(sync, client, hand))
    eventually(hand.stream(1).gone.is_set, sync)
    assert event_names(seen)[3:] == ([] if deletes else ["run.cancelled"])
    if not deletes:
        assert stored_run(settings, seen[-1].data.id)["state"]["cuts"] == 0


def test_a_retry_locks_the_thread_before_the_run(
    sync: Door, hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch, upstream: StandIn
) -> None:
    """Every transaction locks in this order, so that two never wait for each other: streamed and polled retries too."""
    locks: list[str] = []
    seen: list[list[str]] = []
    get, lock_thread, accepted_columns = queries.get, queries.lock_thread, ask_upstream.accepted_columns

    def recording_get(db: Any, table: Any, *ids: str, lock: bool = False, **where: Any) -> Any:
        locks.extend([table] if lock and table == "runs" else [])
        return get(db, table, *ids, lock=lock, **where)

    def recording_lock_thread(*arguments: Any) -> None:
        locks.append("threads")
        lock_thread(*arguments)

    def recording_columns(*arguments: Any) -> Any:
        seen.append(locks[-2:])
        return accepted_columns(*arguments)

    monkeypatch.setattr(queries, "get", recording_get)
    monkeypatch.setattr(queries, "lock_thread", recording_lock_thread)
    monkeypatch.setattr(refresh, "accepted_columns", recording_columns)
    client = sync.client(hand, settings)
    hand.plan(*events(status="failed", output=[], error=TOO_LONG), END)
    hand.plan(*events(message(TEXT), id="resp_2"), END)
    thread = make_thread(sync, client, "a", "b", "c")
    create = client.beta.threads.runs.create(thread.id, assistant_id=make_assistant(sync, client).id, stream=True)
    assert read_rest(sync, create)[-1].event == "thread.run.completed"
    client = sync.client(upstream, settings)
    upstream.script(Turn(status="failed", error={"code": TOO_LONG["code"], "message": "Too long."}, polls=0))
    thread = make_thread(sync, client, "a", "b", "c")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=make_assistant(sync, client).id)
    assert run.status == "completed"
    assert seen == [["threads", "runs"]] * 2


# --- the store


def raising_while(function: Callable[..., Any], error: Exception, when: Callable[[], bool]) -> Callable[..., Any]:
    """Return the function, which raises while `when` returns true."""

    def call(*arguments: Any, **options: Any) -> Any:
        if when():
            raise error
        return function(*arguments, **options)

    return call


@pytest.mark.parametrize("error", [StoreBusyError("The store did not answer."), ZeroDivisionError()])
@pytest.mark.parametrize("moment", ["middle", "end"])
def test_a_store_error_during_a_stream_is_an_error_event(
    door: Door,
    client: Any,
    hand: ManualUpstream,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    moment: str,
) -> None:
    """A store error during a stream raises an APIError at the caller, and the next poll ends the run."""
    hand.plan(*EVENTS[:CUT])
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    read_until(door, stream, "thread.message.delta")
    is_broken = threading.Event()
    is_broken.set()
    monkeypatch.setattr(queries, "upsert", raising_while(queries.upsert, error, is_broken.is_set))
    if moment == "end":
        hand.known["resp_1"] = EVENTS[-1]["response"]
    hand.stream().send(*(EVENTS[CUT:] if moment == "end" else EVENTS[CUT : TEXT_DONE + 3]))
    with pytest.raises(openai.APIError) as caught:
        read_rest(door, stream)
    assert type(caught.value) is openai.APIError
    assert caught.value.code == ("store_busy" if isinstance(error, StoreBusyError) else "compat_error")
    eventually(hand.stream().gone.is_set, door)
    is_broken.clear()
    polled = retrieve_run(door, client, run)
    assert polled.status == ("completed" if moment == "end" else "failed")
    [(status, text)] = stored_messages(settings, run.id)
    assert status == ("completed" if moment == "end" else "incomplete")
    assert TEXT.startswith(text)
    check_thread_is_usable(door, client, hand, run)


def test_a_keyboard_interrupt_fails_the_run_at_once(
    hand: ManualUpstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyboard interrupt during a read fails the run at once and releases its lease."""
    door = Door("sync")
    client = door.client(hand, settings)
    hand.plan(*EVENTS[:CUT])
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    read_until(door, stream, "thread.message.delta")
    assert next_event(door, stream) is not None
    with monkeypatch.context() as patch:
        interrupts: list[BaseException] = [KeyboardInterrupt()]
        now = io.IO.now

        def interrupt(self: io.IO) -> int:
            if interrupts:
                raise interrupts.pop()
            return now(self)

        patch.setattr(io.IO, "now", interrupt)
        hand.stream().send(EVENTS[CUT])
        with pytest.raises(KeyboardInterrupt):
            next_event(door, stream)
    del stream
    eventually(hand.stream().gone.is_set)
    polled = retrieve_run(door, client, run)
    assert (polled.status, stored_run(settings, run.id)["lease_until"]) == ("failed", 0)
    check_thread_is_usable(door, client, hand, run)
    door.close()


def test_events_after_the_end_are_ignored(door: Door, client: Any, hand: ManualUpstream, settings: Settings) -> None:
    """Events after the response's end, and a second end, change nothing."""
    hand.plan(b"".join(frame(event) for event in [*EVENTS, *EVENTS, events(status="failed", output=[])[-1]]), END)
    seen = read_rest(door, start_stream(door, client))
    assert event_names(seen).count("run.completed") == 1
    assert event_names(seen)[-1] == "run.completed"
    assert stored_messages(settings, seen[-1].data.id) == [("completed", TEXT)]
