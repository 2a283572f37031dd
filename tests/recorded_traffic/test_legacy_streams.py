"""The comparison of legacy streams reports every way in which our stream differs from the recorded one."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from legacy_differences import Ids
from legacy_streams import ORDER, stream_differences
from recorded_streams import BY_HAND, LEGACY, events_of, fold_deltas, frames_of

Json = dict[str, Any]
Stream = list[list[Any]]

FUNCTION, ANSWERED = (f"openai__openai-dotnet/StreamingToolCall()Async.json#{number}" for number in (1, 2))


def _nth(stream: Stream, name: str, number: int) -> Json:
    """Return the data of an event by its number among those of its name."""
    data: Json = [data for kind, data in stream if kind == name][number]
    return data


def _text(stream: Stream, number: int) -> Json:
    text: Json = _nth(stream, "thread.message.delta", number)["delta"]["content"][0]["text"]
    return text


def _function(stream: Stream, number: int) -> Json:
    call = _nth(stream, "thread.run.step.delta", number)["delta"]["step_details"]["tool_calls"][0]
    function: Json = call["function"]
    return function


_CALL = "thread.run.step.delta.delta.step_details.tool_calls[].function"


@pytest.mark.parametrize(
    ("name", "change", "where"),
    [
        (ANSWERED, lambda stream: stream.pop(0), ORDER),
        (ANSWERED, lambda stream: stream.insert(2, stream[1]), ORDER),
        (ANSWERED, lambda stream: stream.insert(3, stream.pop(4)), ORDER),
        (ANSWERED, lambda stream: stream[-1].__setitem__(1, "over"), ORDER),
        (
            ANSWERED,
            lambda stream: _nth(stream, "thread.message.completed", 0).update(role="user"),
            "thread.message.role",
        ),
        (
            ANSWERED,
            lambda stream: _nth(stream, "thread.run.queued", 0).update(started_at=None),
            "thread.run.started_at",
        ),
        (ANSWERED, lambda stream: _nth(stream, "thread.message.delta", 0).update(id="msg_" + "x" * 24), "deltas"),
        (ANSWERED, lambda stream: _text(stream, 0).pop("annotations"), "thread.message.delta, first"),
        (ANSWERED, lambda stream: _text(stream, 5).update(annotations=[]), "thread.message.delta, later"),
        (FUNCTION, lambda stream: _function(stream, 0).update(name="other"), f"{_CALL}.name"),
        (FUNCTION, lambda stream: _function(stream, 1).update(output=None), "thread.run.step.delta, later"),
        (
            FUNCTION,
            lambda stream: _function(stream, 1).update(arguments="{ }"),
            "sums of step deltas[][][].function.arguments",
        ),
    ],
)
def test_the_comparison_reports_each_change_to_a_stream(
    recordings: ModuleType, name: str, change: Callable[[Stream], object], where: str
) -> None:
    """A changed event, order, field, id, shape or sum is reported as a difference where it occurs."""
    recorded = events_of(recordings, "assistants", name)
    changed = json.loads(json.dumps(recorded))
    change(changed)
    ours = [(kind, data) for kind, data in changed]
    assert next(stream_differences(recorded, ours, Ids())).where == where


@pytest.mark.parametrize("name", LEGACY)
def test_a_stream_does_not_differ_from_itself(recordings: ModuleType, name: str) -> None:
    """A recorded stream has no difference from itself."""
    recorded = events_of(recordings, "assistants", name)
    assert list(stream_differences(recorded, recorded, Ids())) == []


@pytest.mark.parametrize("name", [name for name in LEGACY if name != BY_HAND])
def test_recorded_streams_hold_only_names_and_compact_json(recordings: ModuleType, name: str) -> None:
    """Recorded streams hold only event names and compact JSON, so the replay demands the same of ours."""
    path, number = name.split("#")
    exchange = recordings.read(recordings.ROOT / "assistants" / path)[int(number)]
    assert frames_of(exchange.body) == events_of(recordings, "assistants", name)
    assert exchange.headers["content-type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(
    "text",
    [
        'event: a\ndata: {"b": 1}\n\n',
        'event: a\ndata:{"b":1}\n\n',
        'event: a\ndata: {"b":1}\n',
        'data: {"b":1}\n\n',
        ': ping\n\nevent: a\ndata: {"b":1}\n\n',
        'event: a\r\ndata: {"b":1}\r\n\r\n',
    ],
)
def test_a_frame_in_another_form_is_refused(text: str) -> None:
    """Spaces in the JSON, a missing name or end, comments and carriage returns are refused: no recording has them."""
    with pytest.raises(AssertionError):
        frames_of(text)


def test_only_deltas_are_folded() -> None:
    """Repeated events other than deltas are kept, and so are deltas that do not follow each other."""
    names = ["a", "a", "x.delta", "x.delta", "y.delta", "a", "x.delta"]
    assert fold_deltas((name, {}) for name in names) == ["a", "a", "x.delta", "y.delta", "a", "x.delta"]
