"""A scenario that both APIs recorded streams the same events in the same order, with payloads of the same shape.

The pairs are those of recordings.md section 7. Every difference stands in a table here with its reason, and an entry
that no longer applies fails.
"""

from __future__ import annotations

from collections import defaultdict
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from recorded_streams import events_of, fold_deltas, shape_lines, translate_stream

Json = dict[str, Any]
Stream = list[tuple[str, Any]]


class Pair(NamedTuple):
    """The two recordings of a scenario."""

    legacy: str
    responses: str


_DOTNET = "openai__openai-dotnet"
PAIRS = {
    "plain text": Pair(f"{_DOTNET}/StreamingRunWorksAsync.json#2", f"{_DOTNET}/StreamingResponses.json#0"),
    "function": Pair(f"{_DOTNET}/StreamingToolCall()Async.json#1", f"{_DOTNET}/FunctionCallStreamingWorks.json#0"),
    # No Responses stream after tool outputs is recorded; such a stream has a plain text, as this one does.
    "function, answered": Pair(f"{_DOTNET}/StreamingToolCall()Async.json#2", f"{_DOTNET}/StreamingResponses.json#0"),
    "file search": Pair(f"{_DOTNET}/FileSearchStreamingWorks.json#3", f"{_DOTNET}/FileSearchCallStreaming.json#2"),
    "code interpreter": Pair(
        "traceloop__openllmetry/test_streaming_existing_assistant.yaml#3",
        f"{_DOTNET}/CodeInterpreterToolStreaming.json#0",
    ),
}

_MESSAGE_EVENTS = (
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
)
EXTRA_EVENTS = {
    # The model of the Responses recording announced first what it would do.
    "code interpreter": (3, _MESSAGE_EVENTS),
}
"""Events that only our stream has, by scenario: after how many events, and which."""


class Difference(NamedTuple):
    """Lines of a payload's shape that only one side has, in these scenarios and kinds of event."""

    scenarios: tuple[str, ...]
    kind: str  # the beginning of the event's name
    only: str  # "recorded" or "ours"
    line: str  # the beginning of the lines
    reason: str


_REQUIRED = "the spec requires it of a step, and the SDK's strict types with it; the service left it out"
_NOT_ASKED = "the request of the Responses recording did not ask for the results of the search"
_RESULTS = ".step_details.tool_calls[].file_search.results"
DIFFERENCES = (
    Difference(tuple(PAIRS), "thread.run.step.", "ours", ".expired_at", _REQUIRED),
    Difference(tuple(PAIRS), "thread.run.step.", "ours", ".metadata", _REQUIRED),
    Difference(("file search",), "thread.run.step.completed", "recorded", _RESULTS, _NOT_ASKED),
    Difference(("file search",), "thread.run.step.completed", "ours", f"{_RESULTS}: empty list", _NOT_ASKED),
)
"""Every difference in shape."""


def shapes(stream: Stream) -> dict[str, set[str]]:
    """Return all shape lines of each kind of event."""
    lines_by_kind: dict[str, set[str]] = defaultdict(set)
    for kind, data in stream:
        lines_by_kind[kind].update(shape_lines(data))
    return lines_by_kind


@pytest.fixture(scope="module")
def stream_pairs(recordings: ModuleType) -> dict[str, tuple[Stream, Stream]]:
    """The recorded stream and ours by scenario; our run begins as the recorded one did."""
    streams = {}
    for scenario, pair in PAIRS.items():
        legacy = list(events_of(recordings, "assistants", pair.legacy))
        recorded_events = dict(legacy)
        begin: Json = {"thread": recorded_events.get("thread.created")}
        if legacy[0][0] == "thread.run.step.completed":
            begin = {"completed_step": {**legacy[0][1], "expired_at": None, "metadata": {}}}
        run = {**recorded_events["thread.run.queued"], "tool_resources": {}}
        _, ours = translate_stream(events_of(recordings, "responses", pair.responses), run, **begin)
        streams[scenario] = legacy, ours
    return streams


@pytest.mark.parametrize("scenario", PAIRS)
def test_the_events_come_in_the_recorded_order(stream_pairs: dict[str, tuple[Stream, Stream]], scenario: str) -> None:
    """With repeated deltas folded, our events come in the recorded order, plus the listed extra ones."""
    recorded, ours = map(fold_deltas, stream_pairs[scenario])
    position, extra = EXTRA_EVENTS.get(scenario, (0, ()))
    assert ours == [*recorded[:position], *extra, *recorded[position:]]


def test_every_payload_has_the_recorded_shape(stream_pairs: dict[str, tuple[Stream, Stream]]) -> None:
    """Keys, their order and all types are as recorded, except for listed differences that must still occur."""
    unknown = []
    used: set[tuple[Difference, str]] = set()
    for scenario, (legacy, stream) in stream_pairs.items():
        recorded, ours = shapes(legacy), shapes(stream)
        for kind in sorted({*recorded, *ours}):
            for only, differing_lines in (
                ("recorded", recorded[kind] - ours[kind]),
                ("ours", ours[kind] - recorded[kind]),
            ):
                for line in sorted(differing_lines):
                    entries = [entry for entry in DIFFERENCES if _fits(entry, scenario, kind, only, line)]
                    used.update((entry, scenario) for entry in entries)
                    if not entries:
                        unknown.append((scenario, kind, only, line))
    assert unknown == []
    stale = [
        (entry, scenario) for entry in DIFFERENCES for scenario in entry.scenarios if (entry, scenario) not in used
    ]
    assert stale == []


def _fits(entry: Difference, scenario: str, kind: str, only: str, line: str) -> bool:
    return (
        scenario in entry.scenarios
        and kind.startswith(entry.kind)
        and only == entry.only
        and line.startswith(entry.line)
    )


def test_the_tables_name_only_known_scenarios() -> None:
    """Each table entry names compared scenarios and has a reason."""
    assert set(EXTRA_EVENTS) <= set(PAIRS)
    assert {scenario for entry in DIFFERENCES for scenario in entry.scenarios} <= set(PAIRS)
    assert all(entry.reason for entry in DIFFERENCES)
