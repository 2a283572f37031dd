"""A response that was not streamed is told as the recorded stream of the same response would be."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from recorded_streams import (
    NOW,
    RESPONSES,
    Event,
    counting_ids,
    events_of,
    fold_deltas,
    new_run,
    translate_stream,
)

from assistants_compat.translate.response_events import events_from_response, has_ended
from assistants_compat.translate.run_events import END_EVENTS, RunEvents
from kit.stream_deltas import DeltaSums
from kit.stream_grammar import check_order


def told_from(*responses: Any) -> tuple[RunEvents, list[Event]]:
    """Return the translator and the run's events after a response was polled in these states."""
    translator = RunEvents(new_run(), counting_ids())
    stream = translator.begin()
    for response in responses:
        for event in events_from_response(response):
            stream += translator.feed(event, NOW)
    return translator, stream


def without_deltas(stream: list[Event]) -> list[Event]:
    """Return the events that have a whole object."""
    return [(name, data) for name, data in stream if not name.endswith(".delta")]


@pytest.mark.parametrize("name", RESPONSES)
def test_a_finished_response_is_told_as_its_recorded_stream(recordings: ModuleType, name: str) -> None:
    """The events of the finished response equal those of its stream, with the deltas of each object joined."""
    source = events_of(recordings, "responses", name)
    [response] = [data["response"] for kind, data in source if kind in END_EVENTS]
    streamed_translator, streamed = translate_stream(source, new_run())
    waiting = {**response, "status": "in_progress", "output": [], "error": None}
    translator, told = told_from({**waiting, "status": "queued"}, waiting, waiting, response)
    check_order(told)
    assert fold_deltas(told) == fold_deltas(streamed)
    assert without_deltas(told) == without_deltas(streamed)
    sums, streamed_sums = DeltaSums().add_all(told), DeltaSums().add_all(streamed)
    assert (sums.contents, sums.calls, sums.ended) == (
        streamed_sums.contents,
        streamed_sums.calls,
        streamed_sums.ended,
    )
    assert translator.reader.outcome == streamed_translator.reader.outcome
    assert translator.run == streamed_translator.run
    assert translator.response_id == response["id"]


def test_a_recorded_response_shows_no_output_before_its_end(recordings: ModuleType) -> None:
    """No recorded response in progress has output, so a polled run has no steps to show before its end."""
    paths = sorted((recordings.ROOT / "responses").rglob("*ackground*"))
    bodies = [json.loads(text) for path in paths for text in _json_bodies(recordings, path)]
    unfinished = [body for body in bodies if not has_ended(body)]
    assert {body["status"] for body in unfinished} == {"queued", "in_progress"}
    assert all(body["output"] == [] for body in unfinished)


def _json_bodies(recordings: ModuleType, path: Path) -> list[str]:
    """Return the responses that a recording has as whole bodies, not as streams."""
    bodies = [str(exchange.body) for exchange in recordings.read(path) if not exchange.is_stream]
    return [body for body in bodies if '"object": "response"' in body]
