"""Any response stream becomes a legal run stream, and what is streamed equals what is stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistants_compat.translate.output import outcome_from_response
from assistants_compat.translate.run import run_from_request, sum_usage, usage_from_response
from assistants_compat.translate.run_events import RunEvents
from kit.response_streams import PNG, Script, counting_ids, ordered_scripts, unordered_scripts
from kit.stream_deltas import DeltaSums, without_results
from kit.stream_grammar import check_order, check_usage

Json = dict[str, Any]
Stream = list[tuple[str, Any]]

IMAGE = {"type": "image", "url": PNG}
TOOLS = [{"type": "code_interpreter"}, {"type": "file_search"}]
SPENT: Any = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "total_tokens": 110,
    "prompt_token_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def new_run(**changes: Any) -> Any:
    """Return a queued run."""
    params = {"assistant_id": "asst_1", "tools": TOOLS}
    return {**run_from_request("run_1", "thread_1", 100, params, {"model": "gpt-4o"}, ttl=600), **changes}


def run_stream(translator: RunEvents, events: list[Json]) -> tuple[Stream, DeltaSums]:
    """Feed events and return the run's stream and sums; check after each event that the entries equal the sums."""
    stream, sums = translator.begin(), DeltaSums()
    for event in events:
        new = translator.feed(event, 200)
        stream += new
        sums.add_all(new)
        check_entries(translator, sums)
    return stream, sums


def check_entries(translator: RunEvents, sums: DeltaSums) -> None:
    """Check that what would be stored now equals what was streamed so far."""
    entries = translator.entries()
    messages = [entry for entry in entries if entry.get("object") == "thread.message"]
    assert [message["id"] for message in messages] == [stored["id"] for stored in translator.reader.outcome.messages]
    for message in messages:
        assert message["content"] == sums.contents.get(message["id"], [])
        finished = sums.ended.get(message["id"])
        assert finished == message if finished else message["status"] == "in_progress"


def check_stored(translator: RunEvents, sums: DeltaSums) -> None:
    """Check that messages and steps are stored as they were streamed, with unique ids."""
    check_entries(translator, sums)
    outcome = translator.reader.outcome
    waits = translator.run["status"] == "requires_action"
    for step in outcome.steps:
        if step["type"] == "tool_calls":
            calls = step["step_details"]["tool_calls"]
            assert list(map(without_results, calls)) == sums.calls[step["id"]]
        if waits and step is translator.reader.function_step:
            assert step["status"] == "in_progress"
            continue
        finished = sums.ended[step["id"]]
        assert (finished["status"], finished["step_details"]) == (step["status"], step["step_details"])
        assert step["status"] != "in_progress"
    ids = [stored["id"] for stored in (*outcome.entries, *outcome.steps)] + list(outcome.files)
    assert len(ids) == len(set(ids))


def check_all(translator: RunEvents, stream: Stream, sums: DeltaSums, *, one_at_a_time: bool) -> None:
    """Check everything that holds for a finished stream."""
    check_order(stream, one_at_a_time=one_at_a_time)
    check_stored(translator, sums)
    assert stream[-2][1]["id"] == "run_1"
    assert stream[-2][1] == {**translator.run, "tool_resources": {"code_interpreter": {"file_ids": []}}}


# --- events in the service's order


@given(ordered_scripts(), st.integers(0, 60))
def test_a_stream_that_stops_anywhere_has_the_outcome_of_its_response(script: Script, cut: int) -> None:
    """A stream whose events stop anywhere before the last has the outcome of its whole response."""
    translator, last = RunEvents(new_run(), counting_ids()), script.final_event()
    stream, sums = run_stream(translator, [*script.events[:cut], last])
    check_all(translator, stream, sums, one_at_a_time=True)
    waits = translator.run["status"] == "requires_action"
    assert waits == any(item["type"] == "function_call" for item in script.items)
    usage = usage_from_response(last["response"])
    assert translator.reader.outcome == outcome_from_response(
        new_run(), last["response"], usage, counting_ids(), 200, streamed=True
    )


@given(ordered_scripts())
def test_the_usage_of_a_stream_adds_up(script: Script) -> None:
    """A streamed run's usage is the sum of its steps' and of earlier rounds."""
    translator, last = RunEvents(new_run(), counting_ids(), earlier_usage=SPENT), script.final_event()
    stream, _ = run_stream(translator, [*script.events, last])
    steps = translator.reader.outcome.steps
    if translator.run["status"] != "requires_action":
        usage = usage_from_response(last["response"])
        assert translator.run["usage"] == sum_usage(SPENT, usage)
        assert sum(step["usage"]["total_tokens"] for step in steps if step["usage"]) == (11 if steps else 0)
        if steps and steps[-1]["type"] == "message_creation":
            check_usage(stream, spent=SPENT["total_tokens"])
    assert translator.usage == usage_from_response(last["response"])


@given(ordered_scripts())
def test_the_last_event_repeats_nothing(script: Script) -> None:
    """The last event of a complete stream adds only the ends of steps and run, and repeats nothing."""
    translator = RunEvents(new_run(), counting_ids())
    run_stream(translator, script.events)
    names = {name for name, _ in translator.feed(script.final_event(), 200)}
    assert names <= {"thread.run.step.completed", "thread.run.completed", "thread.run.requires_action", "done"}


# --- events in any order, with gaps, cut anywhere

ENDINGS = [
    ("completed", {}),
    ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}),
    ("failed", {"error": {"code": "server_error", "message": "Sorry."}}),
    ("cancelled", {}),
    ("failed", {"output": []}),
    ("completed", {"output": []}),
]


@given(unordered_scripts(), st.integers(0, 60), st.sampled_from(ENDINGS))
def test_any_stream_that_its_response_ends_is_legal(script: Script, cut: int, ending: tuple[str, Json]) -> None:
    """Any stream that its response ends is legal, whatever is interleaved or missing, and its sums are stored."""
    translator = RunEvents(new_run(), counting_ids())
    status, more = ending
    stream, sums = run_stream(translator, [*script.events[:cut], script.final_event(status, **more)])
    check_all(translator, stream, sums, one_at_a_time=False)
    assert translator.run["status"] in {status, "requires_action"}
    assert translator.response is not None
    assert translator.feed(script.final_event(), 200) == []


@given(unordered_scripts(), st.integers(0, 60), st.sampled_from(["failed", "cancelled", "expired"]))
def test_any_stream_that_is_stopped_is_legal(script: Script, cut: int, status: str) -> None:
    """A stream that is stopped anywhere ends legally, with incomplete messages that keep their text."""
    translator = RunEvents(new_run(), counting_ids(), earlier_usage=SPENT)
    stream, sums = run_stream(translator, script.events[:cut])
    finished_ids = set(sums.ended)
    last = translator.stop(status, 200, error={"code": "server_error", "message": "Sorry."})
    check_all(translator, [*stream, *last], sums.add_all(last), one_at_a_time=False)
    assert translator.run["usage"] == SPENT
    for message in translator.reader.outcome.messages:
        if message["id"] not in finished_ids:
            assert message["status"] == "incomplete"
            assert message["content"] != []


def test_a_message_without_parts_has_an_empty_text() -> None:
    """A message without parts ends with an empty text, because the SDK's event handlers need a block."""
    item = {"type": "message", "status": "completed", "content": []}
    translator = RunEvents(new_run(), counting_ids())
    stream, sums = run_stream(translator, [Script([item], []).final_event()])
    check_all(translator, stream, sums, one_at_a_time=True)
    [message] = translator.reader.outcome.messages
    assert message["content"] == [{"type": "text", "text": {"value": "", "annotations": []}}]


@given(ordered_scripts())
def test_unknown_events_change_nothing(script: Script) -> None:
    """Unknown events between the others change nothing."""
    noise = {"type": "response.next_year.delta", "output_index": 0, "delta": "?", "item": {"type": "message"}}
    quiet, noisy = RunEvents(new_run(), counting_ids()), RunEvents(new_run(), counting_ids())
    plain, _ = run_stream(quiet, [*script.events, script.final_event()])
    mixed, _ = run_stream(
        noisy, [fed for event in script.events for fed in (noise, event, noise)] + [script.final_event()]
    )
    assert plain == mixed


# --- regressions


def item_added(place: int, item: Json) -> Json:
    """Return the event of a new item."""
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def text_delta(place: int, piece: str, kind: str = "output_text", part: int = 0) -> Json:
    """Return the event of a piece of text, code or arguments."""
    return {"type": f"response.{kind}.delta", "output_index": place, "content_index": part, "delta": piece}


def citation_and_event(place: int, number: int, name: str, index: int, part: int = 0) -> tuple[Json, Json]:
    """Return a citation of a searched file, and its event."""
    note = {"type": "file_citation", "file_id": "file-1", "filename": name, "index": index}
    where = {"output_index": place, "content_index": part, "annotation_index": number, "annotation": note}
    return note, {"type": "response.output_text.annotation.added", **where}


def text(value: str, *notes: Json) -> Json:
    """Return a text part of a message."""
    return {"type": "output_text", "text": value, "annotations": list(notes)}


def message(*content: Json) -> Json:
    """Return a completed message."""
    return {"type": "message", "status": "completed", "content": list(content)}


FUNCTION = {"type": "function_call", "call_id": "call_9", "name": "look", "arguments": ""}
CODE = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "status": "completed", "code": ""}
FIRST, FIRST_EVENT = citation_and_event(0, 0, "a.txt", 0)
SECOND, SECOND_EVENT = citation_and_event(0, 1, "b.txt", 0)
SECOND_PART_CITATION, SECOND_PART_EVENT = citation_and_event(0, 0, "b.txt", 1, part=1)
REGRESSIONS: dict[str, tuple[list[Json], list[Json]]] = {
    "two messages that both end with the response": (
        [text_delta(0, "a"), text_delta(1, "b")],
        [message(text("a")), message(text("b"))],
    ),
    "a function whose end is never sent": (
        [item_added(0, FUNCTION), text_delta(0, "{}", "function_call_arguments")],
        [],
    ),
    "a part that was not streamed, behind as many images": (
        [
            {"type": "response.output_item.done", "output_index": 0, "item": {**CODE, "outputs": [IMAGE] * 3}},
            text_delta(1, "b", part=1),
        ],
        [{**CODE, "outputs": [IMAGE] * 3}, message(text("a"), text("b"))],
    ),
    "a second citation at one offset that came first": (
        [SECOND_EVENT],
        [message(text("abc", FIRST, SECOND))],
    ),
    "a citation of an earlier part that came late": (
        [text_delta(0, "a"), text_delta(0, "b", part=1), SECOND_PART_EVENT],
        [message(text("a", FIRST), text("b", SECOND_PART_CITATION))],
    ),
    "a citation that the whole message does not repeat": ([text_delta(0, "a"), FIRST_EVENT], [message(text("a"))]),
    "another kind of item than began": ([item_added(0, message())], [CODE]),
    "arguments of what is no function": ([item_added(0, CODE), text_delta(0, "{}", "function_call_arguments")], [CODE]),
    "more items than one digit counts, and no output": ([text_delta(place, str(place)) for place in range(12)], []),
}


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize("end", ["completed", "failed", "stopped"])
def test_a_stream_that_once_failed_is_legal(name: str, end: str) -> None:
    """A stream that the properties above once found to fail is legal and stored as streamed."""
    events, items = REGRESSIONS[name]
    translator = RunEvents(new_run(), counting_ids())
    stream, sums = run_stream(translator, events if end == "stopped" else [*events, Script(items, []).final_event(end)])
    if end == "stopped":
        last = translator.stop("expired", 200)
        stream, sums = [*stream, *last], sums.add_all(last)
    check_all(translator, stream, sums, one_at_a_time=False)


@pytest.mark.parametrize("type_", [[], {}, None, 1])
def test_an_item_whose_type_is_no_string_is_skipped(type_: Any) -> None:
    """An item whose type is no string is skipped, in a stream and in a whole response."""
    translator = RunEvents(new_run(), counting_ids())
    item = {"type": type_, "content": [{"type": type_}]}
    stream, sums = run_stream(
        translator, [item_added(0, item), Script([item, message({"type": type_})], []).final_event()]
    )
    check_all(translator, stream, sums, one_at_a_time=True)
    assert outcome_from_response(new_run(), {"output": [item]}, SPENT, counting_ids(), 200).messages == []


def test_items_without_a_done_event_are_stored_in_their_order() -> None:
    """Items that were streamed are the output if the last event has none, in numerical order."""
    translator = RunEvents(new_run(), counting_ids())
    items = [{**message(text(str(place))), "id": str(place)} for place in range(12)]
    done = [{"type": "response.output_item.done", "output_index": n, "item": item} for n, item in enumerate(items)]
    run_stream(translator, [*done, Script([], []).final_event()])
    assert translator.response is not None
    assert [item["id"] for item in translator.response["output"]] == [str(place) for place in range(12)]


# --- invalid events

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
invalid_events = st.fixed_dictionaries(
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


@given(
    st.lists(invalid_events, max_size=8), st.sampled_from(["completed", "incomplete", "failed"]), responses | anything
)
def test_invalid_events_are_skipped(events: list[Json], status: str, response: Any) -> None:
    """Events with wrong types or missing keys are skipped, and the stream ends legally."""
    translator = RunEvents(new_run(), counting_ids())
    stream, sums = run_stream(translator, [*events, {"type": f"response.{status}", "response": response}])
    check_all(translator, stream, sums, one_at_a_time=False)


@SMALL
@given(st.lists(invalid_events, max_size=8), st.sampled_from(["failed", "cancelled", "expired"]))
def test_an_invalid_stream_can_be_stopped(events: list[Json], status: str) -> None:
    """A run can be stopped after any invalid events."""
    translator = RunEvents(new_run(), counting_ids())
    stream, sums = run_stream(translator, events)
    last = translator.stop(status, 200)
    check_all(translator, [*stream, *last], sums.add_all(last), one_at_a_time=False)
