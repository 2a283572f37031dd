"""Recorded file searches of the Responses API are served as the recorded legacy search was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from recorded_streams import events_of

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import get_raw, make_assistant, make_thread
from kit.streams import read_rest

Json = dict[str, Any]

LEGACY = "openai__openai-dotnet/FileSearchStreamingWorks.json#3"
PAIRED = "openai__openai-dotnet/FileSearch.json#2"
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
# All recorded searches (a test compares); a number is that of the exchange within its file.
NAMES = (
    PAIRED,
    "openai__openai-dotnet/FileSearchCallStreaming.json#2",
    "pydantic__logfire/test_file_search.yaml#0",
    "pydantic__pydantic-ai/test_openai_responses_model_file_search_tool.yaml#3",
    "pydantic__pydantic-ai/test_openai_responses_model_file_search_tool.yaml#4",
    "pydantic__pydantic-ai/test_openai_responses_model_file_search_tool_stream.yaml#3",
    "vercel__ai/openai-file-search-tool.1.chunks.txt#0",
    "vercel__ai/openai-file-search-tool.1.json#0",
)
CITATION_COUNT = 8
"""Counted by hand."""


def recorded_searches(recordings: ModuleType) -> dict[str, tuple[Json, list[Json]]]:
    """Return every recorded response that searched, with the events of its stream if it was one."""
    root = recordings.ROOT / "responses"
    searches = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        for number, exchange in enumerate(recordings.read(path)):
            for body, events in _responses(exchange):
                if any(item["type"] == "file_search_call" for item in body.get("output") or []):
                    searches[f"{path.relative_to(root)}#{number}"] = body, events
    return searches


def _responses(exchange: Any) -> Iterator[tuple[Json, list[Json]]]:
    if exchange.is_stream:
        events = [data for _, data in exchange.events() if isinstance(data, dict)]
        yield from ((event["response"], events) for event in events if event.get("type") == "response.completed")
        return
    try:
        body = json.loads(exchange.body)
    except ValueError:
        return
    if isinstance(body, dict) and isinstance(body.get("output"), list):
        yield body, []


def texts_of(body: Json) -> list[tuple[str, list[Json]]]:
    """Return the texts of the messages with their citations."""
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    return [(part["text"], part["annotations"]) for part in parts]


def insert_markers(text: str, notes: list[Json]) -> str:
    """Insert a marker at each citation's offset, from the end backwards."""
    for number, note in reversed(list(enumerate(notes))):
        text = f"{text[: note['index']]}【4:{number}†{note['filename']}】{text[note['index'] :]}"
    return text


def serve_search(
    door: Door, upstream: StandIn, settings: Settings, body: Json, events: list[Json]
) -> tuple[Json, list[Json]]:
    """Return the message and the steps, as served, of a run that this response answered."""
    client = door.client(upstream, settings)
    upstream.script(Turn(events=events) if events else Turn(response=body))
    store = door(client.post("/vector_stores", body={}, cast_to=object))["id"]
    resources = {"file_search": {"vector_store_ids": [store]}}
    assistant = make_assistant(door, client, tools=[{"type": "file_search"}], tool_resources=resources)
    thread, runs = make_thread(door, client), client.beta.threads.runs
    options = {"assistant_id": assistant.id}
    if events:
        read_rest(door, door(runs.create(thread.id, stream=True, **options)))
        run_id = get_raw(door, client, f"/threads/{thread.id}/runs")["data"][0]["id"]
    else:
        run_id = door(runs.create_and_poll(thread_id=thread.id, **options)).id
    steps = get_raw(door, client, f"/threads/{thread.id}/runs/{run_id}/steps?order=asc&include[]={CONTENT}")
    data: list[Json] = steps["data"]
    return get_raw(door, client, f"/threads/{thread.id}/messages")["data"][0], data


def test_no_recorded_search_is_left_out(recordings: ModuleType) -> None:
    """The cases are all recorded searches, and they hold as many citations as were counted."""
    responses = recorded_searches(recordings)
    assert tuple(responses) == NAMES
    notes = [note for body, _ in responses.values() for _, notes in texts_of(body) for note in notes]
    assert len(notes) == CITATION_COUNT


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_search_is_marked_and_shown(
    door: Door, upstream: StandIn, sqlite_settings: Settings, recordings: ModuleType, name: str
) -> None:
    """Each citation has its marker at its offset, and the step has the search results."""
    body, events = recorded_searches(recordings)[name]
    message, steps = serve_search(door, upstream, sqlite_settings, body, events)
    [(text, notes)] = texts_of(body)
    [block] = message["content"]
    assert block["text"]["value"] == insert_markers(text, sorted(notes, key=lambda note: note["index"]))
    annotations = block["text"]["annotations"]
    assert sorted(annotation["file_citation"]["file_id"] for annotation in annotations) == sorted(
        note["file_id"] for note in notes
    )
    for note in annotations:
        assert block["text"]["value"][note["start_index"] : note["end_index"]] == note["text"]
    searches = [item for item in body["output"] if item["type"] == "file_search_call"]
    calls = [call for step in steps for call in step["step_details"].get("tool_calls", [])]
    assert len(calls) == len(searches)
    for call, item in zip(calls, searches, strict=True):
        results = call["file_search"]["results"]
        assert [result["content"][0]["text"] for result in results] == [
            result["text"] for result in item["results"] or []
        ]
        assert [result["score"] for result in results] == [result["score"] for result in item["results"] or []]


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_the_pair_is_served_as_the_old_service_served_it(
    door: Door, upstream: StandIn, sqlite_settings: Settings, recordings: ModuleType, *, streamed: bool
) -> None:
    """The same sentence about another person has the marker, indices and step of the recorded legacy search."""
    legacy = events_of(recordings, "assistants", LEGACY)
    [recorded] = [data for name, data in legacy if name == "thread.message.completed"]
    [step] = [data for name, data in legacy if name == "thread.run.step.completed" and data["type"] == "tool_calls"]
    responses = recorded_searches(recordings)
    body, events = responses[NAMES[1] if streamed else PAIRED]
    # That request did not include the results: add those of the legacy run.
    results = [
        {**{key: result[key] for key in ("file_id", "score", "attributes")}, "filename": result["file_name"]}
        | {"text": result["content"][0]["text"]}
        for result in step["step_details"]["tool_calls"][0]["file_search"]["results"]
    ]
    body, events = (_with_results(item, results) for item in (body, events))
    message, steps = serve_search(door, upstream, sqlite_settings, body, events)
    legacy_text, text = (served["content"][0]["text"] for served in (recorded, message))
    [legacy_note], [note] = legacy_text["annotations"], text["annotations"]
    assert list(legacy_note) == list(note)
    assert legacy_note["text"].replace("favorite_foods.txt", "test_favorite_foods.txt") == note["text"]
    expected = (
        legacy_text["value"]
        .replace("Filip", "Travis")
        .replace("cake", "pizza")
        .replace(legacy_note["text"], note["text"])
    )
    assert text["value"] == expected
    # "Travis" and "pizza" are one letter longer each.
    assert note["start_index"] - legacy_note["start_index"] == len("Travis") - len("Filip") + len("pizza") - len("cake")
    assert note["end_index"] - note["start_index"] == len(note["text"])
    our_call = steps[0]["step_details"]["tool_calls"][0]
    legacy_call = step["step_details"]["tool_calls"][0]
    assert list(our_call) == list(legacy_call)
    assert our_call["file_search"] == legacy_call["file_search"]


def _with_results(value: Any, results: list[Json]) -> Any:
    if isinstance(value, list):
        return [_with_results(entry, results) for entry in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_results(entry, results) for key, entry in value.items()}
    if value.get("type") == "file_search_call" and value.get("status") == "completed":
        changed["results"] = results
    return changed
