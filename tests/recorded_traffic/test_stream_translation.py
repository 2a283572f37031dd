"""Every streamed Responses recording becomes a stream that follows the rules of the recorded legacy streams."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from recorded_streams import (
    BY_HAND,
    LEGACY,
    NOW,
    RESPONSES,
    counting_ids,
    events_of,
    find_all_streams,
    new_run,
    translate_stream,
)

from assistants_compat.translate.output import outcome_from_response
from assistants_compat.translate.run import usage_from_response
from assistants_compat.translate.sse import Decoder, encode_events
from kit.stream_deltas import RECORDED, SHAPES, DeltaSums, pieces_of, shapes
from kit.stream_grammar import IllegalStreamError, check_keys, check_order, check_usage

Json = dict[str, Any]
Stream = list[tuple[str, Any]]

# The spec requires both of a step (platform.md); no recording has them.
MORE: dict[str, tuple[str, ...]] = {"thread.run.step": ("expired_at", "metadata")}


def test_every_streamed_recording_is_in_the_lists(recordings: ModuleType) -> None:
    """The lists name every stream in the recordings, so a new one cannot be forgotten here."""
    assert find_all_streams(recordings, "assistants") == LEGACY
    assert find_all_streams(recordings, "responses") == RESPONSES


# --- the grammar, checked against the recorded streams


@pytest.fixture
def legacy(recordings: ModuleType, name: str) -> Stream:
    """The recorded legacy stream of this test case."""
    return list(events_of(recordings, "assistants", name))


@pytest.mark.parametrize("name", LEGACY)
def test_the_grammar_allows_every_recorded_legacy_stream(legacy: Stream, name: str) -> None:
    """Every recorded legacy stream passes the grammar, so its rules are those of the service."""
    check_order(legacy)
    # The one of 2024 was recorded before runs had a reasoning effort.
    check_keys(legacy, without=("reasoning_effort",) if name == BY_HAND else ())
    check_usage(legacy, spent=0)
    DeltaSums().add_all(legacy)


def test_the_shapes_listed_as_recorded_are_the_recorded_ones(recordings: ModuleType) -> None:
    """The list of delta shapes marks as recorded exactly those that the service sent."""
    recorded_shapes: set[str] = set()
    for name in LEGACY:
        for kind, data in events_of(recordings, "assistants", name):
            recorded_shapes.update(*map(shapes, pieces_of(kind, data)))
    assert recorded_shapes == {shape for shape, source in SHAPES.items() if source == RECORDED}


def _move(number: int, to: int) -> Callable[[Stream], Stream]:
    def move_event(stream: Stream) -> Stream:
        rest = [event for index, event in enumerate(stream) if index != number]
        return [*rest[:to], stream[number], *rest[to:]]

    return move_event


@pytest.mark.parametrize("name", LEGACY)
def test_the_grammar_refuses_a_recorded_stream_without_one_of_its_events(legacy: Stream, name: str) -> None:
    """A recorded stream that lacks any event except a delta is refused."""
    for number, (kind, _) in enumerate(legacy):
        if kind in {"thread.created", "thread.message.delta", "thread.run.step.delta"}:
            continue
        with pytest.raises(IllegalStreamError):
            check_order(legacy[:number] + legacy[number + 1 :])


@pytest.mark.parametrize("name", LEGACY)
def test_the_grammar_refuses_a_recorded_stream_with_two_events_exchanged(legacy: Stream, name: str) -> None:
    """A recorded stream with two neighbouring events exchanged is refused, unless their names are equal."""
    for number, ((first, _), (second, _)) in enumerate(itertools.pairwise(legacy)):
        if first == second:
            continue
        with pytest.raises(IllegalStreamError):
            check_order(_move(number, number + 1)(legacy))


@pytest.mark.parametrize("name", LEGACY)
def test_sums_refuse_a_recorded_stream_that_lost_a_delta(legacy: Stream, name: str) -> None:
    """A lost message delta is noticed in the complete object, wherever that stands in the stream."""
    for number, (kind, _) in enumerate(legacy):
        if kind != "thread.message.delta":
            continue
        with pytest.raises((AssertionError, KeyError)):
            DeltaSums().add_all(legacy[:number] + legacy[number + 1 :])


# --- our streams


@pytest.fixture
def source(recordings: ModuleType, name: str) -> Any:
    """The recorded Responses events of this test case."""
    return events_of(recordings, "responses", name)


@pytest.mark.parametrize("name", RESPONSES)
def test_a_recorded_stream_becomes_a_legal_one(source: Any, name: str) -> None:
    """Order, keys, usage and deltas of the translated stream follow the rules of recorded legacy streams."""
    translator, stream = translate_stream(source, new_run())
    check_order(stream)
    check_keys(stream, with_more=MORE)
    if translator.run["status"] == "completed":
        check_usage(stream)
    DeltaSums().add_all(stream)


@pytest.mark.parametrize("name", RESPONSES)
def test_streamed_deltas_add_up_to_the_stored_messages_and_calls(source: Any, name: str) -> None:
    """The sums of the deltas, and the complete objects in the stream, equal the stored messages and calls."""
    translator, stream = translate_stream(source, new_run())
    sums = DeltaSums().add_all(stream)
    outcome = translator.reader.outcome
    assert {message["id"]: message["content"] for message in outcome.messages} == sums.contents
    assert [message for message in outcome.messages if sums.ended[message["id"]] != message] == []
    for step in outcome.steps:
        if step["type"] == "tool_calls" and step["status"] != "in_progress":
            assert sums.ended[step["id"]]["step_details"] == step["step_details"]
    action = translator.run["required_action"]
    if action is not None:
        streamed_calls = [
            _without_output(call) for calls in sums.calls.values() for call in calls if call["type"] == "function"
        ]
        assert action["submit_tool_outputs"]["tool_calls"] == streamed_calls


def _without_output(call: Json) -> Json:
    function = {key: value for key, value in call["function"].items() if key != "output"}
    return {**call, "function": function}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_stream_has_the_outcome_of_its_final_response(source: Any, name: str) -> None:
    """Translating event by event or from the final response alone gives the same messages, entries, steps and files."""
    translator, _ = translate_stream(source, new_run())
    [response] = [data["response"] for kind, data in source if kind in FINAL_EVENTS]
    call_status = "in_progress" if translator.run["status"] == "requires_action" else "failed"
    expected = outcome_from_response(
        new_run(),
        response,
        usage_from_response(response),
        counting_ids(),
        NOW,
        function_status=call_status,
        streamed=True,
    )
    assert translator.reader.outcome == expected
    assert translator.entries() == expected.entries


FINAL_EVENTS = {"response.completed", "response.incomplete", "response.failed"}


@pytest.mark.parametrize("name", RESPONSES)
def test_texts_code_and_arguments_are_the_recorded_ones(source: Any, name: str) -> None:
    """A message without its markers has the recorded text; code and arguments are passed through unchanged."""
    _, stream = translate_stream(source, new_run())
    sums = DeltaSums().add_all(stream)
    [output] = [data["response"]["output"] for kind, data in source if kind in FINAL_EVENTS]
    texts = [part["text"] for item in output if item["type"] == "message" for part in item["content"]]
    blocks = [block for content in sums.contents.values() for block in content if block["type"] == "text"]
    assert [_without_markers(block["text"]) for block in blocks] == texts
    streamed_calls = [call for calls in sums.calls.values() for call in calls]
    code, function = ("code_interpreter_call", "input", "code"), ("function_call", "arguments", "arguments")
    for kind, (type_, legacy_key, key) in {"code_interpreter": code, "function": function}.items():
        recorded_values = [item[key] for item in output if item["type"] == type_]
        assert [call[kind][legacy_key] for call in streamed_calls if call["type"] == kind] == recorded_values


def _without_markers(text: Json) -> str:
    value = str(text["value"])
    for note in reversed(text["annotations"]):
        if note["type"] == "file_citation":
            value = value[: note["start_index"]] + value[note["end_index"] :]
    return value


@pytest.mark.parametrize("name", RESPONSES)
def test_markers_stand_where_the_upstream_cited(source: Any, name: str) -> None:
    """Each citation marker stands at the recorded index, moved by the markers before it."""
    _, stream = translate_stream(source, new_run())
    [output] = [data["response"]["output"] for kind, data in source if kind in FINAL_EVENTS]
    cited = [
        note["index"]
        for item in output
        if item["type"] == "message"
        for part in item["content"]
        for note in part["annotations"]
        if note["type"] == "file_citation"
    ]
    marked = []
    for block in itertools.chain(*DeltaSums().add_all(stream).contents.values()):
        shift = 0
        for note in block.get("text", {}).get("annotations", []):
            if note["type"] == "file_citation":
                marked.append(note["start_index"] - shift)
                shift += len(note["text"])
    assert marked == cited


@pytest.mark.parametrize("name", RESPONSES)
def test_an_encoded_stream_is_decoded_to_its_events(source: Any, name: str) -> None:
    """A stream is encoded as compact ASCII with one event a frame, and our decoder returns its payloads."""
    _, stream = translate_stream(source, new_run())
    raw = encode_events(stream)
    assert raw.isascii()
    assert raw.endswith(b"event: done\ndata: [DONE]\n\n")
    read = Decoder().feed(raw)
    assert read == [{**data, "type": data.get("type", kind)} for kind, data in stream if kind != "done"]


def test_a_stream_after_tool_outputs_begins_with_the_completed_step(recordings: ModuleType) -> None:
    """The stream of submitted tool outputs begins with the completed step of their calls; no recording has one."""
    name = "openai__openai-dotnet/StreamingToolCall()Async.json#2"
    answered = events_of(recordings, "assistants", name)[0][1]
    source = events_of(recordings, "responses", "openai__openai-dotnet/StreamingResponses.json#0")
    _, stream = translate_stream(source, {**new_run(), "id": answered["run_id"]}, completed_step=answered)
    check_order(stream)
    assert stream[0][1] == {**answered, "expires_at": new_run()["expires_at"]}


def test_a_thread_created_with_its_run_comes_first(recordings: ModuleType) -> None:
    """The stream of `create_and_run` begins with the created thread."""
    source = events_of(recordings, "responses", "openai__openai-dotnet/StreamingResponses.json#0")
    thread: Any = {"id": "thread_1", "object": "thread", "created_at": NOW, "metadata": {}, "tool_resources": {}}
    _, stream = translate_stream(source, new_run(), thread=thread)
    check_order(stream)
    check_keys(stream, with_more=MORE)
    assert stream[0] == ("thread.created", thread)
