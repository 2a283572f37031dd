"""The same scenario, streamed by the service and by us: the same events in the same order, payloads of the same shape.

The pairs are those of recordings.md section 7.  Every difference stands in a table here, with its reason; an entry that
no longer applies fails.
"""

from __future__ import annotations

from collections import defaultdict
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from recorded_streams import events_of, folded, lines, translated

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
    # No stream of Responses after tool outputs is recorded; a plain text is what such a stream says.
    "function, answered": Pair(f"{_DOTNET}/StreamingToolCall()Async.json#2", f"{_DOTNET}/StreamingResponses.json#0"),
    "file search": Pair(f"{_DOTNET}/FileSearchStreamingWorks.json#3", f"{_DOTNET}/FileSearchCallStreaming.json#2"),
    "code interpreter": Pair(
        "traceloop__openllmetry/test_streaming_existing_assistant.yaml#3",
        f"{_DOTNET}/CodeInterpreterToolStreaming.json#0",
    ),
}

_MESSAGE = (
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
)
MORE_EVENTS = {
    # The model of the Responses recording said first what it was about to do.
    "code interpreter": (3, _MESSAGE),
}
"""Events that ours has and the service's has not, by scenario: after how many events, and which."""


class Difference(NamedTuple):
    """Lines of a payload's shape that only one side has, in these scenarios and these kinds of event."""

    scenarios: tuple[str, ...]
    kind: str  # the beginning of the event's name
    only: str  # "recorded" or "ours"
    line: str  # the beginning of the lines
    reason: str


_REQUIRED = "the spec requires it of a step, and the SDK's strict types with it; the service left it out"
_NOT_ASKED = "the request of the Responses recording did not ask for the results of the search"
_RESULTS = ".step_details.tool_calls[].file_search.results"
TABLE = (
    Difference(tuple(PAIRS), "thread.run.step.", "ours", ".expired_at", _REQUIRED),
    Difference(tuple(PAIRS), "thread.run.step.", "ours", ".metadata", _REQUIRED),
    Difference(("file search",), "thread.run.step.completed", "recorded", _RESULTS, _NOT_ASKED),
    Difference(("file search",), "thread.run.step.completed", "ours", f"{_RESULTS}: empty list", _NOT_ASKED),
)
"""Every difference in shape."""


def shapes(stream: Stream) -> dict[str, set[str]]:
    """All lines of each kind of event."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind, data in stream:
        found[kind].update(lines(data))
    return found


@pytest.fixture(scope="module")
def both(recordings: ModuleType) -> dict[str, tuple[Stream, Stream]]:
    """The recorded stream and ours, by scenario; our run begins as the recorded one did."""
    made = {}
    for scenario, pair in PAIRS.items():
        legacy = list(events_of(recordings, "assistants", pair.legacy))
        whole = dict(legacy)
        begin: Json = {"thread": whole.get("thread.created")}
        if legacy[0][0] == "thread.run.step.completed":
            begin = {"answered": {**legacy[0][1], "expired_at": None, "metadata": {}}}
        run = {**whole["thread.run.queued"], "tool_resources": {}}
        _, ours = translated(events_of(recordings, "responses", pair.responses), run, **begin)
        made[scenario] = legacy, ours
    return made


@pytest.mark.parametrize("scenario", PAIRS)
def test_the_events_come_in_the_recorded_order(both: dict[str, tuple[Stream, Stream]], scenario: str) -> None:
    """Repeated deltas folded, ours is the recorded sequence, but for what the table adds."""
    recorded, ours = map(folded, both[scenario])
    place, more = MORE_EVENTS.get(scenario, (0, ()))
    assert ours == [*recorded[:place], *more, *recorded[place:]]


def test_every_payload_has_the_recorded_shape(both: dict[str, tuple[Stream, Stream]]) -> None:
    """Keys, their order and all types are equal, but for the table; each entry of it is needed wherever it claims."""
    unknown = []
    used: set[tuple[Difference, str]] = set()
    for scenario, (legacy, stream) in both.items():
        recorded, ours = shapes(legacy), shapes(stream)
        for kind in sorted({*recorded, *ours}):
            for only, found in (("recorded", recorded[kind] - ours[kind]), ("ours", ours[kind] - recorded[kind])):
                for line in sorted(found):
                    entries = [entry for entry in TABLE if _fits(entry, scenario, kind, only, line)]
                    used.update((entry, scenario) for entry in entries)
                    if not entries:
                        unknown.append((scenario, kind, only, line))
    assert unknown == []
    stale = [(entry, scenario) for entry in TABLE for scenario in entry.scenarios if (entry, scenario) not in used]
    assert stale == []


def _fits(entry: Difference, scenario: str, kind: str, only: str, line: str) -> bool:
    return (
        scenario in entry.scenarios
        and kind.startswith(entry.kind)
        and only == entry.only
        and line.startswith(entry.line)
    )


def test_the_names_of_the_pairs_are_those_of_the_tables() -> None:
    """A table that names a scenario nobody compares says nothing."""
    assert set(MORE_EVENTS) <= set(PAIRS)
    assert {scenario for entry in TABLE for scenario in entry.scenarios} <= set(PAIRS)
    assert all(entry.reason for entry in TABLE)
