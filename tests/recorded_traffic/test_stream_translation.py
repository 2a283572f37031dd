"""Every streamed recording of Responses becomes a stream that the recorded legacy streams allow."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from recorded_streams import BY_HAND, LEGACY, NOW, RESPONSES, counting, events_of, find_all, new_run, translated

from assistants_compat.translate.output import outcome_from_response
from assistants_compat.translate.run import usage_from_response
from assistants_compat.translate.sse import Decoder, encoded
from kit.stream_grammar import IllegalStreamError, check_keys, check_order, check_usage
from kit.stream_deltas import RECORDED, SHAPES, Sums, pieces_of, shapes

Json = dict[str, Any]
Stream = list[tuple[str, Any]]

# The spec requires both of a step (platform.md); no recording has them.
MORE: dict[str, tuple[str, ...]] = {"thread.run.step": ("expired_at", "metadata")}


def test_every_streamed_recording_is_in_the_lists(recordings: ModuleType) -> None:
    """A stream that is added to the recordings cannot be forgotten here."""
    assert find_all(recordings, "assistants") == LEGACY
    assert find_all(recordings, "responses") == RESPONSES


# --- the grammar, held against what the service sent


@pytest.fixture
def legacy(recordings: ModuleType, name: str) -> Stream:
    """The recorded legacy stream of this case."""
    return list(events_of(recordings, "assistants", name))


@pytest.mark.parametrize("name", LEGACY)
def test_the_grammar_allows_every_recorded_legacy_stream(legacy: Stream, name: str) -> None:
    """The rules are those of the service, not ours."""
    check_order(legacy)
    # The one of 2024 was recorded before runs had a reasoning effort.
    check_keys(legacy, without=("reasoning_effort",) if name == BY_HAND else ())
    check_usage(legacy, spent=0)
    Sums().all(legacy)


def test_each_shape_of_a_delta_that_is_called_recorded_was_recorded(recordings: ModuleType) -> None:
    """The list of shapes says truly which of them the service sent, and misses none."""
    found: set[str] = set()
    for name in LEGACY:
        for kind, data in events_of(recordings, "assistants", name):
            found.update(*map(shapes, pieces_of(kind, data)))
    assert found == {shape for shape, source in SHAPES.items() if source == RECORDED}


def _move(number: int, to: int) -> Callable[[Stream], Stream]:
    def moved(stream: Stream) -> Stream:
        rest = [event for place, event in enumerate(stream) if place != number]
        return [*rest[:to], stream[number], *rest[to:]]

    return moved


@pytest.mark.parametrize("name", LEGACY)
def test_the_grammar_refuses_a_recorded_stream_without_one_of_its_events(legacy: Stream, name: str) -> None:
    """Each event but a delta is needed; without it the rest is illegal."""
    for number, (kind, _) in enumerate(legacy):
        if kind in {"thread.created", "thread.message.delta", "thread.run.step.delta"}:
            continue
        with pytest.raises(IllegalStreamError):
            check_order(legacy[:number] + legacy[number + 1 :])


@pytest.mark.parametrize("name", LEGACY)
def test_the_grammar_refuses_a_recorded_stream_with_two_events_exchanged(legacy: Stream, name: str) -> None:
    """Neighbours that are not both deltas have one order."""
    for number, ((one, _), (other, _)) in enumerate(itertools.pairwise(legacy)):
        if one == other:
            continue
        with pytest.raises(IllegalStreamError):
            check_order(_move(number, number + 1)(legacy))


@pytest.mark.parametrize("name", LEGACY)
def test_sums_refuse_a_recorded_stream_that_lost_a_delta(legacy: Stream, name: str) -> None:
    """A delta that is missing is seen in the whole object, wherever that is in the stream."""
    for number, (kind, _) in enumerate(legacy):
        if kind != "thread.message.delta":
            continue
        with pytest.raises((AssertionError, KeyError)):
            Sums().all(legacy[:number] + legacy[number + 1 :])


# --- our streams


@pytest.fixture
def source(recordings: ModuleType, name: str) -> Any:
    """The recorded events of Responses of this case."""
    return events_of(recordings, "responses", name)


@pytest.mark.parametrize("name", RESPONSES)
def test_a_recorded_stream_becomes_a_legal_one(source: Any, name: str) -> None:
    """Order, keys, usage and deltas follow the rules of the recorded legacy streams."""
    translator, stream = translated(source, new_run())
    check_order(stream)
    check_keys(stream, with_more=MORE)
    if translator.run["status"] == "completed":
        check_usage(stream)
    Sums().all(stream)


@pytest.mark.parametrize("name", RESPONSES)
def test_what_is_streamed_is_what_is_stored(source: Any, name: str) -> None:
    """The sums of the deltas are the messages and calls that are kept; so are the whole objects in the stream."""
    translator, stream = translated(source, new_run())
    sums = Sums().all(stream)
    outcome = translator.reading.outcome
    assert {message["id"]: message["content"] for message in outcome.messages} == sums.contents
    assert [message for message in outcome.messages if sums.ended[message["id"]] != message] == []
    for step in outcome.steps:
        if step["type"] == "tool_calls" and step["status"] != "in_progress":
            assert sums.ended[step["id"]]["step_details"] == step["step_details"]
    action = translator.run["required_action"]
    if action is not None:
        told = [_awaited(call) for calls in sums.calls.values() for call in calls if call["type"] == "function"]
        assert action["submit_tool_outputs"]["tool_calls"] == told


def _awaited(call: Json) -> Json:
    function = {key: value for key, value in call["function"].items() if key != "output"}
    return {**call, "function": function}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_stream_leaves_what_its_response_would_have_left(source: Any, name: str) -> None:
    """Event by event or from the final response alone: the same messages, entries, steps and files."""
    translator, _ = translated(source, new_run())
    [response] = [data["response"] for kind, data in source if kind in ENDS]
    calls_are = "in_progress" if translator.run["status"] == "requires_action" else "failed"
    expected = outcome_from_response(
        new_run(), response, usage_from_response(response), counting(), NOW, calls_are=calls_are, streamed=True
    )
    assert translator.reading.outcome == expected
    assert translator.entries() == expected.entries


ENDS = {"response.completed", "response.incomplete", "response.failed"}


@pytest.mark.parametrize("name", RESPONSES)
def test_the_texts_are_those_that_were_recorded(source: Any, name: str) -> None:
    """Without its markers a message says what the recorded message says; code and arguments are passed through."""
    _, stream = translated(source, new_run())
    sums = Sums().all(stream)
    [output] = [data["response"]["output"] for kind, data in source if kind in ENDS]
    texts = [part["text"] for item in output if item["type"] == "message" for part in item["content"]]
    blocks = [block for content in sums.contents.values() for block in content if block["type"] == "text"]
    assert [_unmarked(block["text"]) for block in blocks] == texts
    said = [call for calls in sums.calls.values() for call in calls]
    code, function = ("code_interpreter_call", "input", "code"), ("function_call", "arguments", "arguments")
    for kind, (type_, legacy_key, key) in {"code_interpreter": code, "function": function}.items():
        wanted = [item[key] for item in output if item["type"] == type_]
        assert [call[kind][legacy_key] for call in said if call["type"] == kind] == wanted


def _unmarked(text: Json) -> str:
    value = str(text["value"])
    for note in reversed(text["annotations"]):
        if note["type"] == "file_citation":
            value = value[: note["start_index"]] + value[note["end_index"] :]
    return value


@pytest.mark.parametrize("name", RESPONSES)
def test_markers_stand_where_the_upstream_cited(source: Any, name: str) -> None:
    """A recorded file citation's index counts the text before it; the marker is there, moved by those before it."""
    _, stream = translated(source, new_run())
    [output] = [data["response"]["output"] for kind, data in source if kind in ENDS]
    cited = [
        note["index"]
        for item in output
        if item["type"] == "message"
        for part in item["content"]
        for note in part["annotations"]
        if note["type"] == "file_citation"
    ]
    found = []
    for block in itertools.chain(*Sums().all(stream).contents.values()):
        before = 0
        for note in block.get("text", {}).get("annotations", []):
            if note["type"] == "file_citation":
                found.append(note["start_index"] - before)
                before += len(note["text"])
    assert found == cited


@pytest.mark.parametrize("name", RESPONSES)
def test_the_bytes_of_a_stream_are_read_back_as_its_events(source: Any, name: str) -> None:
    """What is written is compact ASCII, one event a frame; our own decoder gives the payloads back."""
    _, stream = translated(source, new_run())
    raw = encoded(stream)
    assert raw.isascii()
    assert raw.endswith(b"event: done\ndata: [DONE]\n\n")
    read = Decoder().feed(raw)
    assert read == [{**data, "type": data.get("type", kind)} for kind, data in stream if kind != "done"]


def test_a_run_that_goes_on_begins_with_its_answered_step(recordings: ModuleType) -> None:
    """The stream of a submit: the step of the functions is completed first; no recording streams this in Responses."""
    name = "openai__openai-dotnet/StreamingToolCall()Async.json#2"
    answered = events_of(recordings, "assistants", name)[0][1]
    source = events_of(recordings, "responses", "openai__openai-dotnet/StreamingResponses.json#0")
    _, stream = translated(source, {**new_run(), "id": answered["run_id"]}, answered=answered)
    check_order(stream)
    assert stream[0][1] == {**answered, "expires_at": new_run()["expires_at"]}


def test_a_thread_that_is_made_with_the_run_comes_first(recordings: ModuleType) -> None:
    """The stream of `create_and_run` begins with the thread."""
    source = events_of(recordings, "responses", "openai__openai-dotnet/StreamingResponses.json#0")
    thread: Any = {"id": "thread_1", "object": "thread", "created_at": NOW, "metadata": {}, "tool_resources": {}}
    _, stream = translated(source, new_run(), thread=thread)
    check_order(stream)
    check_keys(stream, with_more=MORE)
    assert stream[0] == ("thread.created", thread)
