"""How a stream ends when the upstream does not end it well: what the caller hears, and what stays in the store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.engine import io
from assistants_compat.errors import StoreBusyError
from assistants_compat.store import queries
from kit.doors import Door
from kit.legacy_code import FUNCTION, dump, look_at, make_assistant, make_thread
from kit.streams import (
    CUT,
    DROP,
    END,
    EVENTS,
    TEXT,
    ByHand,
    Json,
    begin,
    ended,
    events,
    eventually,
    following,
    frame,
    function,
    message,
    names,
    rest,
    said,
    step_statuses,
    stored,
    text_of,
    until,
)

BEGUN = 4  # created, in_progress, item added, part added
LAST = [event["type"] for event in EVENTS].index("response.output_text.done")
POST = "POST /responses"
GET = "GET /responses/resp_1"
TOO_LONG = {"code": "context_length_exceeded", "message": "Too long.", "type": "invalid_request_error"}


def check_thread(door: Door, client: Any, hand: ByHand, run: Any) -> None:
    """The thread of a run that has ended takes a message and another run."""
    hand.plan(*EVENTS, END)
    threads = client.beta.threads
    door(threads.messages.create(run.thread_id, role="user", content="More."))
    create = threads.runs.create(run.thread_id, assistant_id=run.assistant_id, stream=True)
    assert rest(door, door(create))[-1].event == "thread.run.completed"


# --- the connection


@pytest.mark.parametrize("how", [DROP, END], ids=["dropped", "ended"])
@pytest.mark.parametrize("after", [0, 1, 2, BEGUN, CUT, LAST, len(EVENTS) - 1])
def test_a_stream_that_stops_before_its_end(
    door: Door, client: Any, hand: ByHand, settings: Settings, after: int, how: object
) -> None:
    """Lost or closed anywhere: the run has failed, what was said stays as it was told, and the thread is free."""
    hand.plan(*EVENTS[:after], how)
    seen = rest(door, begin(door, client))
    run = seen[-1].data
    assert (seen[-1].event, run.status) == ("thread.run.failed", "failed")
    assert run.last_error.code == "server_error"
    has_message = after > 2
    is_done = after == len(EVENTS) - 1
    assert said(settings, run.id) == (
        [("completed" if is_done else "incomplete", text_of(seen))] if has_message else []
    )
    assert text_of(seen) == ("" if after <= BEGUN else "One two" if after == CUT else TEXT)
    assert step_statuses(settings, run.id) == (["completed" if is_done else "failed"] if has_message else [])
    if has_message:
        told = next(event.data for event in seen if names([event])[0] in {"message.incomplete", "message.completed"})
        assert told == door(client.beta.threads.messages.retrieve(told.id, thread_id=run.thread_id))
        assert is_done or told.incomplete_details.reason == "run_failed"
    assert look_at(door, client, run).last_error == run.last_error
    ended(settings, run.id, door, "failed")
    assert hand.asked() == [POST, GET][: 1 if after == 0 else 2]
    eventually(hand.wire().over.is_set, door)
    check_thread(door, client, hand, run)


@pytest.mark.parametrize("after", [1, CUT, len(EVENTS) - 1])
@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_lost_end_is_asked_for(
    door: Door, client: Any, hand: ByHand, settings: Settings, after: int, status: str
) -> None:
    """The upstream finished although its last word was lost: one GET by id, and the stream tells the rest."""
    hand.plan(*EVENTS[:after], DROP)
    more: Json = {"incomplete": {"incomplete_details": {"reason": "max_output_tokens"}}}.get(status, {})
    hand.known["resp_1"] = EVENTS[-1]["response"] | {"status": status} | more
    seen = rest(door, begin(door, client))
    run = seen[-1].data
    assert seen[-1].event == f"thread.run.{status}"
    assert text_of(seen) == TEXT
    assert said(settings, run.id) == [("completed", TEXT)]
    assert hand.asked() == [POST, GET]
    assert look_at(door, client, run).usage.total_tokens == 7
    assert len([event for event in seen if event.event == "thread.message.created"]) == 1
    hand.known.clear()
    check_thread(door, client, hand, run)


def test_a_response_that_still_works_has_failed(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """A GET that says `in_progress`, or is refused, does not keep a direct stream alive."""
    for known in ({"id": "resp_1", "status": "in_progress", "output": []}, None):
        hand.plan(*EVENTS[:CUT], DROP)
        if known is not None:
            hand.known["resp_1"] = known
        seen = rest(door, begin(door, client))
        assert seen[-1].event == "thread.run.failed"
        assert said(settings, seen[-1].data.id) == [("incomplete", "One two")]
        hand.known.clear()


def test_a_stream_that_stalls(door: Door, hand: ByHand, settings: Settings) -> None:
    """The client's own read timeout ends the wait: the run has failed, and the upstream's connection is closed."""
    client = door.client(hand, settings, timeout=0.3)
    hand.plan(*EVENTS[:CUT])
    seen = rest(door, begin(door, client))
    assert names(seen)[-3:] == ["message.incomplete", "run.step.failed", "run.failed"]
    assert said(settings, seen[-1].data.id) == [("incomplete", "One two")]
    eventually(hand.wire().gone.is_set, door)
    check_thread(door, client, hand, seen[-1].data)


# --- the upstream's own words

ERROR = {"type": "server_error", "code": "server_error", "message": "Overheated.", "param": None}
ERRORS: dict[str, Json] = {
    "nested": {"type": "error", "error": ERROR, "sequence_number": 9},
    "flat": {"type": "error", "code": "server_error", "message": "Overheated.", "param": None},
}


@pytest.mark.parametrize("shape", ERRORS)
@pytest.mark.parametrize("then", ["failed", "nothing", "drop"])
def test_an_error_event(door: Door, client: Any, hand: ByHand, settings: Settings, shape: str, then: str) -> None:
    """An `error` event, with or without `response.failed` after it, is the run's `last_error`."""
    failed = events(status="failed", output=[], error={"code": "server_error", "message": "Overheated."})[-1]
    after = {"failed": [failed, END], "nothing": [END], "drop": [DROP]}[then]
    hand.plan(*EVENTS[:CUT], ERRORS[shape], *after)
    seen = rest(door, begin(door, client))
    run = seen[-1].data
    # A step knows no `incomplete`: where the response itself ended, the step of its message has ended well.
    step = "run.step.completed" if then == "failed" else "run.step.failed"
    assert names(seen)[-3:] == ["message.incomplete", step, "run.failed"]
    assert (run.last_error.code, run.last_error.message) == ("server_error", "Overheated.")
    assert said(settings, run.id) == [("incomplete", "One two")]
    assert look_at(door, client, run).last_error == run.last_error
    check_thread(door, client, hand, run)


@pytest.mark.parametrize(
    ("status", "more", "reason"),
    [
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, "max_tokens"),
        ("incomplete", {"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ("failed", {"error": {"code": "rate_limit_exceeded", "message": "Slower."}}, "run_failed"),
        ("cancelled", {}, "run_cancelled"),
    ],
)
def test_a_response_that_is_not_completed(
    door: Door, client: Any, hand: ByHand, settings: Settings, status: str, more: Json, reason: str
) -> None:
    """Partial text stays as an incomplete message whose reason says why, in the stream and in the store."""
    item = message("One two", status="incomplete")
    hand.plan(
        *EVENTS[:CUT],
        {
            "type": f"response.{status}",
            "response": EVENTS[-1]["response"] | {"status": status, "output": [item], **more},
        },
        END,
    )
    seen = rest(door, begin(door, client))
    run = seen[-1].data
    assert (seen[-1].event, run.status) == (f"thread.run.{status}", status)
    [told] = [event.data for event in seen if event.event == "thread.message.incomplete"]
    assert told.incomplete_details.reason == reason
    assert told == door(client.beta.threads.messages.retrieve(told.id, thread_id=run.thread_id))
    assert said(settings, run.id) == [("incomplete", "One two")]
    found = look_at(door, client, run)
    assert (found.last_error, found.incomplete_details) == (run.last_error, run.incomplete_details)
    if status == "failed":
        assert (run.last_error.code, run.last_error.message) == ("rate_limit_exceeded", "Slower.")
    assert hand.asked() == [POST]
    check_thread(door, client, hand, run)


@pytest.mark.parametrize("then", ["lost", "no output"])
def test_a_message_that_was_cut_before_its_response(
    door: Door, client: Any, hand: ByHand, settings: Settings, then: str
) -> None:
    """A message that ended incomplete waits for its reason; what its item held is kept when nothing more is told."""
    done = {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": message("One two three", status="incomplete"),
    }
    last = EVENTS[-1]["response"] | {"output": [], "incomplete_details": {"reason": "content_filter"}}
    end = (
        [DROP]
        if then == "lost"
        else [{"type": "response.incomplete", "response": last | {"status": "incomplete"}}, END]
    )
    hand.plan(*EVENTS[:CUT], done, *end)
    seen = rest(door, begin(door, client))
    [told] = [event.data for event in seen if event.event == "thread.message.incomplete"]
    assert told.incomplete_details.reason == ("run_failed" if then == "lost" else "content_filter")
    assert said(settings, seen[-1].data.id) == [("incomplete", "One two three")]
    assert text_of(seen) == "One two three"


def test_a_budget_that_is_spent(door: Door, client: Any, hand: ByHand) -> None:
    """`max_completion_tokens` reached in a stream is the run's `incomplete_details`, in the old word."""
    given = events(message(TEXT), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    hand.plan(*given, END)
    seen = rest(door, begin(door, client, max_completion_tokens=5))
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
    "JSON with 200": (200, "application/json", b'{"id": "resp_1", "status": "completed"}', openai.InternalServerError),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_stream_leaves_nothing(door: Door, client: Any, hand: ByHand, settings: Settings, name: str) -> None:
    """What is no stream is an HTTP error, as without a stream; thread, message and run are as they were."""
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    status, kind, body, exception = REFUSALS[name]
    before = dump(settings)
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
        assert dump(settings) == before
    assert hand.asked() == [POST] * 2


@pytest.mark.parametrize("name", ["400", "429", "a page with 200"])
def test_refused_outputs_leave_the_run_waiting(
    door: Door, client: Any, hand: ByHand, settings: Settings, name: str
) -> None:
    """`submit_tool_outputs(stream=True)` that is refused can be made again."""
    hand.plan(*events(function()), END)
    run = rest(door, begin(door, client, tools=[FUNCTION]))[-1].data
    before = dump(settings)
    outputs = [{"tool_call_id": "call_1", "output": "x"}]
    submit = client.beta.threads.runs.submit_tool_outputs
    status, kind, body, exception = REFUSALS[name]
    hand.answers.append((status, kind, body))
    with pytest.raises(exception):
        door(submit(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True))
    assert dump(settings) == before
    hand.plan(*EVENTS, END)
    seen = rest(door, door(submit(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=True)))
    assert seen[-1].event == "thread.run.completed"


def test_an_input_that_is_too_long_is_asked_again_in_the_stream(
    door: Door, client: Any, hand: ByHand, settings: Settings
) -> None:
    """`context_length_exceeded` as the response's failure: shorter, once more, in the same run and stream."""
    failed = events(status="failed", output=[], error=TOO_LONG)
    hand.plan(*failed, END)
    hand.plan(*events(message(TEXT), id="resp_2"), END)
    assistant, thread = make_assistant(door, client), make_thread(door, client, "a")
    for role in ("assistant", "user") * 3:
        door(client.beta.threads.messages.create(thread.id, role=role, content="b"))
    create = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)
    seen = rest(door, door(create))
    assert (seen[-1].event, text_of(seen)) == ("thread.run.completed", TEXT)
    assert len([event for event in seen if event.event == "thread.run.in_progress"]) == 1
    assert [len(each["json"]["input"]) for each in hand.requests] == sorted(
        {len(each["json"]["input"]) for each in hand.requests}, reverse=True
    )
    assert hand.asked() == [POST] * 2
    assert said(settings, seen[-1].data.id) == [("completed", TEXT)]
    assert stored(settings, seen[-1].data.id)["response_id"] == "resp_2"
    eventually(hand.wire(0).over.is_set, door)


# --- the store


def breaking(function: Callable[..., Any], trouble: Exception, when: Callable[[], bool]) -> Callable[..., Any]:
    """The function, which raises while `when` says so."""

    def work(*arguments: Any, **named: Any) -> Any:
        if when():
            raise trouble
        return function(*arguments, **named)

    return work


@pytest.mark.parametrize("trouble", [StoreBusyError("The store did not answer."), ZeroDivisionError()])
@pytest.mark.parametrize("place", ["middle", "end"])
def test_a_store_that_fails_in_the_middle(
    door: Door,
    client: Any,
    hand: ByHand,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception,
    place: str,
) -> None:
    """A failure of ours is an `error` event, an APIError there and no connection error; the next look ends the run."""
    hand.plan(*EVENTS[:CUT])
    stream = begin(door, client)
    run = until(door, stream, "thread.run.in_progress")[-1].data
    until(door, stream, "thread.message.delta")
    is_broken = threading.Event()
    is_broken.set()
    monkeypatch.setattr(queries, "put", breaking(queries.put, trouble, is_broken.is_set))
    if place == "end":
        hand.known["resp_1"] = EVENTS[-1]["response"]
    hand.wire().send(*(EVENTS[CUT:] if place == "end" else EVENTS[CUT : LAST + 3]))
    with pytest.raises(openai.APIError) as caught:
        rest(door, stream)
    assert type(caught.value) is openai.APIError
    assert caught.value.code == ("store_busy" if isinstance(trouble, StoreBusyError) else "compat_error")
    eventually(hand.wire().gone.is_set, door)
    is_broken.clear()
    found = look_at(door, client, run)
    assert found.status == ("completed" if place == "end" else "failed")
    [(status, text)] = said(settings, run.id)
    assert status == ("completed" if place == "end" else "incomplete")
    assert TEXT.startswith(text)
    check_thread(door, client, hand, run)


def test_a_keyboard_interrupt_in_the_middle_of_a_read(
    hand: ByHand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends the program ends the run at once: nobody has to wait for a lease."""
    door = Door("sync")
    client = door.client(hand, settings)
    hand.plan(*EVENTS[:CUT])
    stream = begin(door, client)
    run = until(door, stream, "thread.run.in_progress")[-1].data
    until(door, stream, "thread.message.delta")
    assert following(door, stream) is not None
    with monkeypatch.context() as patch:
        interrupts: list[BaseException] = [KeyboardInterrupt()]
        now = io.IO.now

        def interrupt(self: io.IO) -> int:
            if interrupts:
                raise interrupts.pop()
            return now(self)

        patch.setattr(io.IO, "now", interrupt)
        hand.wire().send(EVENTS[CUT])
        with pytest.raises(KeyboardInterrupt):
            following(door, stream)
    del stream
    eventually(hand.wire().gone.is_set)
    found = look_at(door, client, run)
    assert (found.status, stored(settings, run.id)["lease_until"]) == ("failed", 0)
    check_thread(door, client, hand, run)
    door.close()


def test_bytes_after_the_end_are_nothing(door: Door, client: Any, hand: ByHand, settings: Settings) -> None:
    """Events after the response's end, and a second end, change nothing."""
    hand.plan(b"".join(frame(each) for each in [*EVENTS, *EVENTS, events(status="failed", output=[])[-1]]), END)
    seen = rest(door, begin(door, client))
    assert names(seen).count("run.completed") == 1
    assert names(seen)[-1] == "run.completed"
    assert said(settings, seen[-1].data.id) == [("completed", TEXT)]
