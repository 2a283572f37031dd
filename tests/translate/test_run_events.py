"""The stream of a run for any stream of a response: legal, and what is streamed is what is stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistants_compat.translate.output import outcome_from_response
from assistants_compat.translate.run import added, run_from_request, usage_from_response
from assistants_compat.translate.run_events import RunEvents
from kit.response_streams import PNG, Script, counting, in_any_order, in_order
from kit.stream_grammar import check_order, check_usage
from kit.stream_deltas import Sums, without_results

Json = dict[str, Any]
Stream = list[tuple[str, Any]]

SHOWN = {"type": "image", "url": PNG}
TOOLS = [{"type": "code_interpreter"}, {"type": "file_search"}]
SPENT: Any = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "total_tokens": 110,
    "prompt_token_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def new_run(**changes: Any) -> Any:
    """A queued run."""
    given = {"assistant_id": "asst_1", "tools": TOOLS}
    return {**run_from_request("run_1", "thread_1", 100, given, {"model": "gpt-4o"}, ttl=600), **changes}


def told(translator: RunEvents, events: list[Json]) -> tuple[Stream, Sums]:
    """The run's stream so far, and its sums; at every event the entries are what the deltas said."""
    stream, sums = translator.begin(), Sums()
    for event in events:
        new = translator.feed(event, 200)
        stream += new
        sums.all(new)
        check_entries(translator, sums)
    return stream, sums


def check_entries(translator: RunEvents, sums: Sums) -> None:
    """What would be stored now is what was streamed until now."""
    entries = translator.entries()
    messages = [entry for entry in entries if entry.get("object") == "thread.message"]
    assert [message["id"] for message in messages] == [each["id"] for each in translator.reading.outcome.messages]
    for message in messages:
        assert message["content"] == sums.contents.get(message["id"], [])
        whole = sums.ended.get(message["id"])
        assert whole == message if whole else message["status"] == "in_progress"


def check_stored(translator: RunEvents, sums: Sums) -> None:
    """Messages and steps are stored as they were streamed; every id is another."""
    check_entries(translator, sums)
    outcome = translator.reading.outcome
    waits = translator.run["status"] == "requires_action"
    for step in outcome.steps:
        if step["type"] == "tool_calls":
            calls = step["step_details"]["tool_calls"]
            assert list(map(without_results, calls)) == sums.calls[step["id"]]
        if waits and step is translator.reading.function_step:
            assert step["status"] == "in_progress"
            continue
        whole = sums.ended[step["id"]]
        assert (whole["status"], whole["step_details"]) == (step["status"], step["step_details"])
        assert step["status"] != "in_progress"
    ids = [each["id"] for each in (*outcome.entries, *outcome.steps)] + list(outcome.files)
    assert len(ids) == len(set(ids))


def check_all(translator: RunEvents, stream: Stream, sums: Sums, *, one_at_a_time: bool) -> None:
    """All that holds of a stream that is over."""
    check_order(stream, one_at_a_time=one_at_a_time)
    check_stored(translator, sums)
    assert stream[-2][1]["id"] == "run_1"
    assert stream[-2][1] == {**translator.run, "tool_resources": {"code_interpreter": {"file_ids": []}}}


# --- in the order of the service


@given(in_order(), st.integers(0, 60))
def test_a_stream_that_ends_anywhere_leaves_what_its_response_says(script: Script, cut: int) -> None:
    """Everything from some event on may be told by the last one only; the outcome is that of the whole response."""
    translator, last = RunEvents(new_run(), counting()), script.ended()
    stream, sums = told(translator, [*script.events[:cut], last])
    check_all(translator, stream, sums, one_at_a_time=True)
    waits = translator.run["status"] == "requires_action"
    assert waits == any(item["type"] == "function_call" for item in script.items)
    usage = usage_from_response(last["response"])
    assert translator.reading.outcome == outcome_from_response(
        new_run(), last["response"], usage, counting(), 200, streamed=True
    )


@given(in_order())
def test_the_usage_of_a_stream_adds_up(script: Script) -> None:
    """A run's usage is its steps' and that of earlier rounds; streamed steps say it where the last is a message's."""
    translator, last = RunEvents(new_run(), counting(), spent=SPENT), script.ended()
    stream, _ = told(translator, [*script.events, last])
    steps = translator.reading.outcome.steps
    if translator.run["status"] != "requires_action":
        usage = usage_from_response(last["response"])
        assert translator.run["usage"] == added(SPENT, usage)
        assert sum(step["usage"]["total_tokens"] for step in steps if step["usage"]) == (11 if steps else 0)
        if steps and steps[-1]["type"] == "message_creation":
            check_usage(stream, spent=SPENT["total_tokens"])
    assert translator.usage == usage_from_response(last["response"])


@given(in_order())
def test_a_call_says_nothing_twice(script: Script) -> None:
    """A stream that tells everything leaves nothing for the last event but the ends."""
    translator = RunEvents(new_run(), counting())
    told(translator, script.events)
    names = {name for name, _ in translator.feed(script.ended(), 200)}
    assert names <= {"thread.run.step.completed", "thread.run.completed", "thread.run.requires_action", "done"}


# --- in any order, with holes, cut anywhere

ENDINGS = [
    ("completed", {}),
    ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}),
    ("failed", {"error": {"code": "server_error", "message": "Sorry."}}),
    ("cancelled", {}),
    ("failed", {"output": []}),
    ("completed", {"output": []}),
]


@given(in_any_order(), st.integers(0, 60), st.sampled_from(ENDINGS))
def test_any_stream_that_its_response_ends_is_legal(script: Script, cut: int, ending: tuple[str, Json]) -> None:
    """Whatever is interleaved or missing, the stream is legal and the sums are what is stored."""
    translator = RunEvents(new_run(), counting())
    status, more = ending
    stream, sums = told(translator, [*script.events[:cut], script.ended(status, **more)])
    check_all(translator, stream, sums, one_at_a_time=False)
    assert translator.run["status"] in {status, "requires_action"}
    assert translator.response is not None
    assert translator.feed(script.ended(), 200) == []


@given(in_any_order(), st.integers(0, 60), st.sampled_from(["failed", "cancelled", "expired"]))
def test_any_stream_that_is_stopped_is_legal(script: Script, cut: int, status: str) -> None:
    """A run that ends otherwise ends its messages as incomplete and its steps with itself, and what was said stays."""
    translator = RunEvents(new_run(), counting(), spent=SPENT)
    stream, sums = told(translator, script.events[:cut])
    done = set(sums.ended)
    last = translator.stop(status, 200, error={"code": "server_error", "message": "Sorry."})
    check_all(translator, [*stream, *last], sums.all(last), one_at_a_time=False)
    assert translator.run["usage"] == SPENT
    for message in translator.reading.outcome.messages:
        if message["id"] not in done:
            assert message["status"] == "incomplete"
            assert message["content"] != []


def test_a_message_without_parts_has_an_empty_text() -> None:
    """The SDK's event handlers want a block when a message ends; a completed message without any is not recorded."""
    item = {"type": "message", "status": "completed", "content": []}
    translator = RunEvents(new_run(), counting())
    stream, sums = told(translator, [Script([item], []).ended()])
    check_all(translator, stream, sums, one_at_a_time=True)
    [message] = translator.reading.outcome.messages
    assert message["content"] == [{"type": "text", "text": {"value": "", "annotations": []}}]


@given(in_order())
def test_events_that_nobody_knows_change_nothing(script: Script) -> None:
    """Events of next year between the others are passed over."""
    noise = {"type": "response.next_year.delta", "output_index": 0, "delta": "?", "item": {"type": "message"}}
    one, other = RunEvents(new_run(), counting()), RunEvents(new_run(), counting())
    plain, _ = told(one, [*script.events, script.ended()])
    mixed, _ = told(other, [each for event in script.events for each in (noise, event, noise)] + [script.ended()])
    assert plain == mixed


# --- streams that once went wrong


def begins(place: int, item: Json) -> Json:
    """An item has begun."""
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def said(place: int, piece: str, kind: str = "output_text", part: int = 0) -> Json:
    """A piece of a text, of code or of arguments."""
    return {"type": f"response.{kind}.delta", "output_index": place, "content_index": part, "delta": piece}


def noted(place: int, number: int, name: str, index: int, part: int = 0) -> tuple[Json, Json]:
    """A citation of a searched file, and the event that tells it."""
    note = {"type": "file_citation", "file_id": "file-1", "filename": name, "index": index}
    told_by = {"output_index": place, "content_index": part, "annotation_index": number, "annotation": note}
    return note, {"type": "response.output_text.annotation.added", **told_by}


def text(words: str, *notes: Json) -> Json:
    """A part of a message."""
    return {"type": "output_text", "text": words, "annotations": list(notes)}


def message(*content: Json) -> Json:
    """A message that is complete."""
    return {"type": "message", "status": "completed", "content": list(content)}


FUNCTION = {"type": "function_call", "call_id": "call_9", "name": "look", "arguments": ""}
CODE = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "status": "completed", "code": ""}
FIRST, TOLD_FIRST = noted(0, 0, "a.txt", 0)
SECOND, TOLD_SECOND = noted(0, 1, "b.txt", 0)
OF_THE_SECOND_PART, TOLD_OF_IT = noted(0, 0, "b.txt", 1, part=1)
ONCE_WRONG: dict[str, tuple[list[Json], list[Json]]] = {
    "two messages that both end with the response": (
        [said(0, "a"), said(1, "b")],
        [message(text("a")), message(text("b"))],
    ),
    "a function whose end is told by nobody": ([begins(0, FUNCTION), said(0, "{}", "function_call_arguments")], []),
    "a part that was not streamed, behind as many images": (
        [
            {"type": "response.output_item.done", "output_index": 0, "item": {**CODE, "outputs": [SHOWN] * 3}},
            said(1, "b", part=1),
        ],
        [{**CODE, "outputs": [SHOWN] * 3}, message(text("a"), text("b"))],
    ),
    "a second citation at one offset that came first": (
        [TOLD_SECOND],
        [message(text("abc", FIRST, SECOND))],
    ),
    "a citation of an earlier part that came late": (
        [said(0, "a"), said(0, "b", part=1), TOLD_OF_IT],
        [message(text("a", FIRST), text("b", OF_THE_SECOND_PART))],
    ),
    "a citation that the whole message does not repeat": ([said(0, "a"), TOLD_FIRST], [message(text("a"))]),
    "another kind of item than began": ([begins(0, message())], [CODE]),
    "arguments of what is no function": ([begins(0, CODE), said(0, "{}", "function_call_arguments")], [CODE]),
    "more items than one digit counts, and no output": ([said(place, str(place)) for place in range(12)], []),
}


@pytest.mark.parametrize("name", ONCE_WRONG)
@pytest.mark.parametrize("end", ["completed", "failed", "stopped"])
def test_a_stream_that_once_went_wrong_is_right(name: str, end: str) -> None:
    """Each was found by the tests around this one, and stays here in its smallest form."""
    events, items = ONCE_WRONG[name]
    translator = RunEvents(new_run(), counting())
    stream, sums = told(translator, events if end == "stopped" else [*events, Script(items, []).ended(end)])
    if end == "stopped":
        last = translator.stop("expired", 200)
        stream, sums = [*stream, *last], sums.all(last)
    check_all(translator, stream, sums, one_at_a_time=False)


@pytest.mark.parametrize("type_", [[], {}, None, 1])
def test_a_type_that_is_no_word_is_passed_over(type_: Any) -> None:
    """In a stream and in a whole response."""
    translator = RunEvents(new_run(), counting())
    item = {"type": type_, "content": [{"type": type_}]}
    stream, sums = told(translator, [begins(0, item), Script([item, message({"type": type_})], []).ended()])
    check_all(translator, stream, sums, one_at_a_time=True)
    assert outcome_from_response(new_run(), {"output": [item]}, SPENT, counting(), 200).messages == []


def test_items_without_a_done_event_are_stored_in_their_order() -> None:
    """Where the last event says no output, what was streamed is the output: by number, not by spelling."""
    translator = RunEvents(new_run(), counting())
    items = [{**message(text(str(place))), "id": str(place)} for place in range(12)]
    done = [{"type": "response.output_item.done", "output_index": n, "item": item} for n, item in enumerate(items)]
    told(translator, [*done, Script([], []).ended()])
    assert translator.response is not None
    assert [item["id"] for item in translator.response["output"]] == [str(place) for place in range(12)]


# --- garbage

SMALL = settings(max_examples=60)
scalars = st.none() | st.booleans() | st.integers(-2, 3) | st.floats(allow_nan=False) | st.text(max_size=3)
kinds = st.sampled_from(
    ["message", "code_interpreter_call", "file_search_call", "function_call", "reasoning", "output_text", "refusal",
     "file_citation", "container_file_citation", "logs", "image"]
)  # fmt: skip
keys = st.sampled_from(
    ["type", "status", "content", "text", "refusal", "annotations", "index", "file_id", "filename", "start_index",
     "end_index", "outputs", "results", "code", "arguments", "call_id", "name", "url", "logs", "id", "container_id",
     "usage", "error", "output", "incomplete_details", "score", "attributes"]
)  # fmt: skip
anything = st.recursive(
    scalars | kinds,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
item_like = st.fixed_dictionaries({"type": kinds}, optional=dict.fromkeys(("content", "code", "outputs"), anything))
garbage = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["response.created", "response.in_progress", "response.output_item.added", "response.output_item.done",
             "response.output_text.delta", "response.output_text.annotation.added", "response.refusal.delta",
             "response.code_interpreter_call_code.delta", "response.function_call_arguments.delta", "error", ""]
        )
    },
    optional={
        "output_index": st.integers(0, 1) | anything,
        "content_index": st.integers(0, 1) | anything,
        "annotation_index": st.integers(0, 1) | anything,
        "sequence_number": anything,
        "delta": st.text(max_size=3) | anything,
        "item": item_like | anything,
        "annotation": item_like | anything,
        "response": anything,
        "error": anything,
    },
)  # fmt: skip
responses = st.fixed_dictionaries({}, optional=dict.fromkeys(("status", "usage", "error"), anything)).flatmap(
    lambda body: (st.lists(item_like | anything, max_size=3) | anything).map(lambda output: {**body, "output": output})
)


@given(st.lists(garbage, max_size=8), st.sampled_from(["completed", "incomplete", "failed"]), responses | anything)
def test_no_event_breaks_a_stream(events: list[Json], status: str, response: Any) -> None:
    """Wrong types and missing keys are passed over: the stream goes on, and its end is legal."""
    translator = RunEvents(new_run(), counting())
    stream, sums = told(translator, [*events, {"type": f"response.{status}", "response": response}])
    check_all(translator, stream, sums, one_at_a_time=False)


@SMALL
@given(st.lists(garbage, max_size=8), st.sampled_from(["failed", "cancelled", "expired"]))
def test_a_broken_stream_can_be_stopped(events: list[Json], status: str) -> None:
    """After any garbage a run can still end."""
    translator = RunEvents(new_run(), counting())
    stream, sums = told(translator, events)
    last = translator.stop(status, 200)
    check_all(translator, [*stream, *last], sums.all(last), one_at_a_time=False)
