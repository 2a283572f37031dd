"""The streamed recordings of both APIs, and a run to translate each of them into."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from assistants_compat.translate.run import run_from_request
from assistants_compat.translate.run_events import RunEvents

Json = dict[str, Any]
Event = tuple[str, Any]

NOW = 2_000_000_000
BY_HAND = "openai-php__client/ThreadRunStreamResponse.txt#0"
# All streams of each folder (a test compares); a number is that of the exchange within its file.
LEGACY = (
    BY_HAND,
    "openai__openai-dotnet/FileSearchStreamingWorks.json#3",
    "openai__openai-dotnet/StreamingRunWorksAsync.json#2",
    "openai__openai-dotnet/StreamingToolCall()Async.json#1",
    "openai__openai-dotnet/StreamingToolCall()Async.json#2",
    "traceloop__openllmetry/test_streaming_existing_assistant.yaml#3",
)
RESPONSES = (
    "DataDog__dd-trace-py/response_function_call_streamed.yaml#0",
    "Mirascope__mirascope/handles-refusal-for-stream.har#0",
    "openai__openai-dotnet/CanStreamBackgroundResponses.json#0",
    "openai__openai-dotnet/CanStreamBackgroundResponses.json#2",
    "openai__openai-dotnet/CodeInterpreterToolStreaming.json#0",
    "openai__openai-dotnet/CodeInterpreterToolStreamingWithFiles.json#1",
    "openai__openai-dotnet/FileSearchCallStreaming.json#2",
    "openai__openai-dotnet/FunctionCallStreamingWorks.json#0",
    "openai__openai-dotnet/StreamingResponses.json#0",
    "pydantic__pydantic-ai/test_background_mode_streaming_continuation_vcr.yaml#0",
    "pydantic__pydantic-ai/test_background_mode_streaming_starting_after_vcr.yaml#0",
    "pydantic__pydantic-ai/test_background_mode_streaming_starting_after_vcr.yaml#1",
    "pydantic__pydantic-ai/test_background_mode_streaming_vcr.yaml#0",
    "pydantic__pydantic-ai/test_openai_responses_model_file_search_tool_stream.yaml#3",
    "pydantic__pydantic-ai/test_openai_responses_thinking_with_code_execution_tool_stream.yaml#0",
    "vercel__ai/azure-tool-call.1.chunks.txt#0",
    "vercel__ai/openai-error.1.chunks.txt#0",
    "vercel__ai/openai-file-search-tool.1.chunks.txt#0",
)
# As the service fills them in (recordings.md section 5).
_RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}
TOOLS = [
    {"type": "code_interpreter"},
    {"type": "file_search", "file_search": {"ranking_options": _RANKING}},
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}},
]


def find_all_streams(recordings: ModuleType, folder: str) -> tuple[str, ...]:
    """Return the name of every streamed exchange in a folder of the recordings."""
    root = recordings.ROOT / folder
    paths = sorted((path for path in root.rglob("*") if path.is_file()), key=lambda path: str(path.relative_to(root)))
    return tuple(
        f"{path.relative_to(root)}#{number}"
        for path in paths
        for number, exchange in enumerate(recordings.read(path))
        if exchange.is_stream
    )


@cache
def _read(recordings: ModuleType, path: Path) -> list[Any]:
    return list(recordings.read(path))


def text_of(recordings: ModuleType, folder: str, name: str) -> str:
    """Return the body of one stream."""
    path, number = name.split("#")
    text = str(_read(recordings, recordings.ROOT / folder / path)[int(number)].body)
    if name == BY_HAND:  # retouched: no blank lines between events, no data of the last
        text = re.sub(r"\nevent: ", "\n\nevent: ", text).rstrip() + "\ndata: [DONE]\n\n"
    return text


@cache
def events_of(recordings: ModuleType, folder: str, name: str) -> tuple[Event, ...]:
    """Return the events of one stream as name and data; the objects are cached, so do not change them."""
    exchange = recordings.Exchange("", "", None, 200, body=text_of(recordings, folder, name))
    return tuple((event or (data["type"] if isinstance(data, dict) else ""), data) for event, data in exchange.events())


_FRAME = re.compile(r"event: ([^\n]+)\ndata: ([^\n]+)\n\n")


def frames_of(text: str) -> tuple[Event, ...]:
    """Return the events of a stream written as the service writes it: only names and compact JSON."""
    frames = _FRAME.findall(text)
    assert "".join(f"event: {name}\ndata: {data}\n\n" for name, data in frames) == text
    events = tuple((name, data if data == "[DONE]" else json.loads(data)) for name, data in frames)
    for (_, data), (_, raw) in zip(events, frames, strict=True):
        compact = {json.dumps(data, separators=(",", ":"), ensure_ascii=ascii_) for ascii_ in (True, False)}
        assert data == "[DONE]" or raw in compact
    return events


def fold_deltas(stream: Iterable[Event]) -> list[str]:
    """Return the names of the events, counting consecutive equal deltas once."""
    names = [name for name, _ in stream]
    return [name for before, name in zip(["", *names], names, strict=False) if name != before or "delta" not in name]


def shape_lines(value: Any, path: str = "") -> Iterator[str]:
    """Yield the shape of a payload: the keys of each object in their order, and the type of every value."""
    if isinstance(value, dict):
        yield f"{path}: object"
        before = ""
        for key, inner in value.items():
            yield f"{path}.{key} after {before or 'nothing'}"
            yield from shape_lines(inner, f"{path}.{key}")
            before = key
    elif isinstance(value, list):
        yield f"{path}: {'list' if value else 'empty list'}"
        for inner in value:
            yield from shape_lines(inner, f"{path}[]")
    else:
        yield f"{path}: {type(value).__name__}"


def counting_ids() -> Callable[[str], str]:
    """Return a function that counts ids up for each kind, so that two translations of one output get the same ids."""
    numbers: dict[str, Any] = defaultdict(itertools.count)
    return lambda kind: f"{kind}_{next(numbers[kind]):024d}"


def new_run(**params: Any) -> Any:
    """Return a queued run with every tool."""
    params = {"assistant_id": "asst_1", "instructions": "Help.", "tools": TOOLS, **params}
    return run_from_request("run_1", "thread_1", NOW - 1, params, {"model": "gpt-4o"}, ttl=600)


def translate_stream(events: tuple[Event, ...], run: Any, **begin: Any) -> tuple[RunEvents, list[Event]]:
    """Translate a recorded Responses stream into a run's; return the translator and its events."""
    translator = RunEvents(run, counting_ids())
    run_events = translator.begin(**begin)
    for _, data in events:
        if isinstance(data, dict):
            run_events += translator.feed(data, NOW)
    return translator, run_events
