"""The recorded file searches of the Responses API through the shim, against the recorded legacy one."""

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
from kit.legacy_code import make_assistant, make_thread, raw
from kit.streams import rest

Json = dict[str, Any]

LEGACY = "openai__openai-dotnet/FileSearchStreamingWorks.json#3"
PAIRED = "openai__openai-dotnet/FileSearch.json#2"
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
# Found by content (a test compares); a number is that of the exchange within its file.
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
CITATIONS_IN_ALL = 8
"""Counted by hand."""


def found(recordings: ModuleType) -> dict[str, tuple[Json, list[Json]]]:
    """Every recorded response that searched, with the events of its stream if it was one."""
    root = recordings.ROOT / "responses"
    made = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        for number, exchange in enumerate(recordings.read(path)):
            for body, events in _responses(exchange):
                if any(item["type"] == "file_search_call" for item in body.get("output") or []):
                    made[f"{path.relative_to(root)}#{number}"] = body, events
    return made


def _responses(exchange: Any) -> Iterator[tuple[Json, list[Json]]]:
    if exchange.is_stream:
        events = [data for _, data in exchange.events() if isinstance(data, dict)]
        yield from ((each["response"], events) for each in events if each.get("type") == "response.completed")
        return
    try:
        body = json.loads(exchange.body)
    except ValueError:
        return
    if isinstance(body, dict) and isinstance(body.get("output"), list):
        yield body, []


def texts_of(body: Json) -> list[tuple[str, list[Json]]]:
    """What was said, with its citations."""
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    return [(part["text"], part["annotations"]) for part in parts]


def marked(text: str, notes: list[Json]) -> str:
    """The text with a marker at each citation's offset, put in from the end backwards."""
    for number, note in reversed(list(enumerate(notes))):
        text = f"{text[: note['index']]}【4:{number}†{note['filename']}】{text[note['index'] :]}"
    return text


def played(
    door: Door, upstream: StandIn, settings: Settings, body: Json, events: list[Json]
) -> tuple[Json, list[Json]]:
    """The message and the steps of a run that was answered so, as they are served."""
    client = door.client(upstream, settings)
    upstream.script(Turn(events=events) if events else Turn(response=body))
    store = door(client.post("/vector_stores", body={}, cast_to=object))["id"]
    resources = {"file_search": {"vector_store_ids": [store]}}
    assistant = make_assistant(door, client, tools=[{"type": "file_search"}], tool_resources=resources)
    thread, runs = make_thread(door, client), client.beta.threads.runs
    options = {"assistant_id": assistant.id}
    if events:
        rest(door, door(runs.create(thread.id, stream=True, **options)))
        run_id = raw(door, client, f"/threads/{thread.id}/runs")["data"][0]["id"]
    else:
        run_id = door(runs.create_and_poll(thread_id=thread.id, **options)).id
    steps = raw(door, client, f"/threads/{thread.id}/runs/{run_id}/steps?order=asc&include[]={CONTENT}")
    listed: list[Json] = steps["data"]
    return raw(door, client, f"/threads/{thread.id}/messages")["data"][0], listed


def test_these_are_all(recordings: ModuleType) -> None:
    """No recorded search is left out, and their citations are as many as were counted."""
    responses = found(recordings)
    assert tuple(responses) == NAMES
    notes = [note for body, _ in responses.values() for _, notes in texts_of(body) for note in notes]
    assert len(notes) == CITATIONS_IN_ALL


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_search_is_marked_and_shown(
    door: Door, upstream: StandIn, sqlite_settings: Settings, recordings: ModuleType, name: str
) -> None:
    """Each citation's marker stands at its offset, what was found is in the step, and text without citations stays."""
    body, events = found(recordings)[name]
    message, steps = played(door, upstream, sqlite_settings, body, events)
    [(text, notes)] = texts_of(body)
    [block] = message["content"]
    assert block["text"]["value"] == marked(text, sorted(notes, key=lambda note: note["index"]))
    shown = block["text"]["annotations"]
    assert sorted(each["file_citation"]["file_id"] for each in shown) == sorted(note["file_id"] for note in notes)
    for each in shown:
        assert block["text"]["value"][each["start_index"] : each["end_index"]] == each["text"]
    searches = [item for item in body["output"] if item["type"] == "file_search_call"]
    calls = [call for step in steps for call in step["step_details"].get("tool_calls", [])]
    assert len(calls) == len(searches)
    for call, item in zip(calls, searches, strict=True):
        results = call["file_search"]["results"]
        assert [each["content"][0]["text"] for each in results] == [each["text"] for each in item["results"] or []]
        assert [each["score"] for each in results] == [each["score"] for each in item["results"] or []]


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_the_pair_is_served_as_the_old_service_served_it(
    door: Door, upstream: StandIn, sqlite_settings: Settings, recordings: ModuleType, *, streamed: bool
) -> None:
    """The same sentence about another person: marker, indices and step are the recorded legacy ones, word for word."""
    legacy = events_of(recordings, "assistants", LEGACY)
    [recorded] = [data for name, data in legacy if name == "thread.message.completed"]
    [step] = [data for name, data in legacy if name == "thread.run.step.completed" and data["type"] == "tool_calls"]
    responses = found(recordings)
    body, events = responses[NAMES[1] if streamed else PAIRED]
    # What that request did not ask for: the results, as the legacy run had them.
    results = [
        {**{key: each[key] for key in ("file_id", "score", "attributes")}, "filename": each["file_name"]}
        | {"text": each["content"][0]["text"]}
        for each in step["step_details"]["tool_calls"][0]["file_search"]["results"]
    ]
    body, events = (_with_results(each, results) for each in (body, events))
    message, steps = played(door, upstream, sqlite_settings, body, events)
    old, new = (each["content"][0]["text"] for each in (recorded, message))
    [was], [now] = old["annotations"], new["annotations"]
    assert list(was) == list(now)
    assert was["text"].replace("favorite_foods.txt", "test_favorite_foods.txt") == now["text"]
    said = old["value"].replace("Filip", "Travis").replace("cake", "pizza").replace(was["text"], now["text"])
    assert new["value"] == said
    # "Travis" and "pizza" are one letter longer each.
    assert now["start_index"] - was["start_index"] == len("Travis") - len("Filip") + len("pizza") - len("cake")
    assert now["end_index"] - now["start_index"] == len(now["text"])
    ours = steps[0]["step_details"]["tool_calls"][0]
    theirs = step["step_details"]["tool_calls"][0]
    assert list(ours) == list(theirs)
    assert ours["file_search"] == theirs["file_search"]


def _with_results(value: Any, results: list[Json]) -> Any:
    if isinstance(value, list):
        return [_with_results(each, results) for each in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_results(each, results) for key, each in value.items()}
    if value.get("type") == "file_search_call" and value.get("status") == "completed":
        changed["results"] = results
    return changed
