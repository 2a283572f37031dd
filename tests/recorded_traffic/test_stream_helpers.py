"""The SDK's stream helpers read the translated streams: its types, event handlers and snapshots."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import json
from collections import Counter
from types import ModuleType
from typing import Any

import openai
import pytest
from openai import AssistantEventHandler, AsyncAssistantEventHandler
from recorded_streams import NOW, RESPONSES, events_of, new_run, translate_stream

from assistants_compat.translate.sse import encode_events
from kit.stream_deltas import DeltaSums, without_results

Json = dict[str, Any]
Stream = list[tuple[str, Any]]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*deprecated.*:DeprecationWarning"
)  # the SDK deprecates the whole old API

# httpx or httpx2, whichever this SDK is built on.
HTTP: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
CALLBACKS = [
    "on_end", "on_event", "on_exception", "on_image_file_done", "on_message_created", "on_message_delta",
    "on_message_done", "on_run_step_created", "on_run_step_delta", "on_run_step_done", "on_text_created",
    "on_text_delta", "on_text_done", "on_timeout", "on_tool_call_created", "on_tool_call_delta", "on_tool_call_done",
]  # fmt: skip


class CallbackRecorder:
    """Records each callback of a handler with its arguments as JSON, and snapshots beside the complete objects."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Json]]] = []
        self.status_at_done: list[tuple[str, str]] = []  # each tool call's id with the run's status at that moment
        self.snapshots: list[tuple[Json, Json]] = []

    def handler(self, base: type) -> Any:
        """Return a handler of this class that records every callback, with sync or async methods as the class has."""

        def method(name: str) -> Any:
            def record(handler: Any, *arguments: Any) -> None:
                self._record(handler, name, arguments)

            async def record_async(handler: Any, *arguments: Any) -> None:
                record(handler, *arguments)

            return record_async if inspect.iscoroutinefunction(getattr(base, name)) else record

        return type("Handler", (base,), {name: method(name) for name in CALLBACKS})()

    def _record(self, handler: Any, name: str, arguments: tuple[Any, ...]) -> None:
        self.calls.append((name, [to_json(argument) for argument in arguments if hasattr(argument, "to_dict")]))
        if name == "on_tool_call_done":
            self.status_at_done.append((arguments[0].id, handler.current_run.status))
        if name != "on_event":
            return
        event, data = arguments[0].event, arguments[0].data
        if event in {"thread.message.completed", "thread.message.incomplete"}:
            self.snapshots.append((to_json(handler.current_message_snapshot), to_json(data)))
        elif event == "thread.run.step.completed" and handler.current_run_step_snapshot is not None:
            self.snapshots.append((to_json(handler.current_run_step_snapshot), to_json(data)))

    def arguments_of(self, name: str) -> list[list[Json]]:
        """Return the arguments of every call of this callback."""
        return [arguments for call, arguments in self.calls if call == name]


def to_json(value: Any) -> Json:
    """Return a model of the SDK as the JSON that it was made from."""
    return dict(value.to_dict(mode="json"))


def stream_transport(raw: bytes) -> Any:
    """Return a transport that answers the creation of a run with this stream."""

    def answer(request: Any) -> Any:
        assert (request.method, request.url.path) == ("POST", "/v1/threads/thread_1/runs")
        assert json.loads(request.content)["stream"] is True
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=raw)

    return HTTP.MockTransport(answer)


_CLIENT: Json = {"api_key": "sk-test", "base_url": "https://openai.test/v1", "_strict_response_validation": True}
_RUN = {"thread_id": "thread_1", "assistant_id": "asst_1"}


SdkReading = tuple[CallbackRecorder, Json, list[Json], list[Json]]


def read_with_sdk(kind: str, stream: Stream) -> SdkReading:
    """Read a stream with the SDK's helper of this kind; return the recorder, the run, its messages and its steps."""
    recorder, raw = CallbackRecorder(), encode_events(stream)

    async def asynchronous() -> tuple[Any, Any, Any]:
        client: Any = openai.AsyncOpenAI(http_client=HTTP.AsyncClient(transport=stream_transport(raw)), **_CLIENT)
        async with client:
            manager = client.beta.threads.runs.stream(
                event_handler=recorder.handler(AsyncAssistantEventHandler), **_RUN
            )
            async with manager as run:
                final = await run.get_final_run()
                return (
                    final,
                    await run.get_final_messages() if has_event(stream, "thread.message.created") else [],
                    await run.get_final_run_steps() if has_event(stream, "thread.run.step.created") else [],
                )

    def synchronous() -> tuple[Any, Any, Any]:
        client: Any = openai.OpenAI(http_client=HTTP.Client(transport=stream_transport(raw)), **_CLIENT)
        with client:
            manager = client.beta.threads.runs.stream(event_handler=recorder.handler(AssistantEventHandler), **_RUN)
            with manager as run:
                final = run.get_final_run()
                return (
                    final,
                    run.get_final_messages() if has_event(stream, "thread.message.created") else [],
                    run.get_final_run_steps() if has_event(stream, "thread.run.step.created") else [],
                )

    run, messages, steps = asyncio.run(asynchronous()) if kind == "async" else synchronous()
    return recorder, to_json(run), list(map(to_json, messages)), list(map(to_json, steps))


def has_event(stream: Stream, name: str) -> bool:
    """Return whether the stream has an event of this name."""
    return any(kind == name for kind, _ in stream)


def handmade_events() -> list[Json]:
    """Return events in which code shows an image, and a message links a file and is then refused."""
    png = "data:image/png;base64,iVBORw0KGgo="
    image_citation = {
        "container_id": "cntr_1",
        "file_id": "cfile_1",
        "filename": "cfile_1.png",
        "start_index": 0,
        "end_index": 0,
    }
    link_citation = {**image_citation, "file_id": "cfile_2", "filename": "a.csv", "start_index": 4, "end_index": 27}
    citations = [{"type": "container_file_citation", **note} for note in (image_citation, link_citation)]
    code = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "status": "completed", "code": "1"}
    call = {**code, "outputs": [{"type": "image", "url": png}, {"type": "logs", "logs": "1\n"}]}
    text = {"type": "output_text", "text": "[a](sandbox:/mnt/data/a.csv)", "annotations": citations}
    content = [text, {"type": "refusal", "refusal": "No more."}]
    message = {"type": "message", "role": "assistant", "status": "completed", "content": content}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return [
        {"type": "response.in_progress"},
        {"type": "response.output_item.added", "output_index": 0, "item": {**code, "code": "", "outputs": []}},
        {"type": "response.code_interpreter_call_code.delta", "output_index": 0, "delta": "1"},
        {"type": "response.output_item.done", "output_index": 0, "item": call},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message, "content": []}},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "[a](sandbox:/mnt"},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "/data/a.csv)"},
        {"type": "response.output_item.done", "output_index": 1, "item": message},
        {"type": "response.completed", "response": {"status": "completed", "output": [call, message], "usage": usage}},
    ]


HANDMADE = "made by hand: an image, a link, a refusal"


def stream_of(recordings: ModuleType, name: str) -> Stream:
    """Return the translated stream of this case; no recording streams images or links (recordings.md, section 9)."""
    if name == HANDMADE:
        return translate_stream(tuple((event["type"], event) for event in handmade_events()), new_run())[1]
    return translate_stream(events_of(recordings, "responses", name), new_run())[1]


@pytest.fixture(scope="module", params=[*RESPONSES, HANDMADE])
def stream(request: pytest.FixtureRequest, recordings: ModuleType) -> Stream:
    """Each translated stream."""
    return stream_of(recordings, request.param)


@pytest.fixture(scope="module", params=["sync", "async"])
def sdk_reading(request: pytest.FixtureRequest, stream: Stream) -> SdkReading:
    """The result of reading the stream with each of the SDK's two helpers."""
    return read_with_sdk(request.param, stream)


def test_the_sdk_reads_every_event_as_its_own_strict_type(stream: Stream, sdk_reading: SdkReading) -> None:
    """Under strict validation each event arrives once, in order, with the payload that was sent."""
    recorder, run, _, _ = sdk_reading
    events = [(event["event"], event["data"]) for [event] in recorder.arguments_of("on_event")]
    assert events == [(event, data) for event, data in stream if event != "done"]
    assert run == events[-1][1]
    assert (
        len(recorder.arguments_of("on_end")),
        recorder.arguments_of("on_exception"),
        recorder.arguments_of("on_timeout"),
    ) == (1, [], [])


def test_the_snapshots_of_the_sdk_equal_the_completed_objects(stream: Stream, sdk_reading: SdkReading) -> None:
    """The SDK's sums of a message or step equal the completed object that follows them."""
    recorder, _, messages, steps = sdk_reading
    for snapshot, completed in recorder.snapshots:
        if completed["object"] == "thread.message":
            assert _without_delta_fields(snapshot["content"]) == completed["content"]
        elif completed["type"] == "tool_calls":
            calls = completed["step_details"]["tool_calls"]
            assert _without_delta_fields(snapshot["step_details"]["tool_calls"]) == list(map(without_results, calls))
    sums = DeltaSums().add_all(stream)
    assert {message["id"]: message for message in messages} == {id_: sums.ended[id_] for id_ in sums.contents}
    assert [step["id"] for step in steps] == [
        data["id"] for event, data in stream if event == "thread.run.step.created"
    ]
    ended = Counter(
        data["id"] for event, data in stream if event.startswith(("thread.run.step.comp", "thread.message.comp"))
    )
    assert len(recorder.snapshots) == len(ended)


def _without_delta_fields(value: Any) -> Any:
    """Remove what only deltas have: `index`, and the empty quote of a citation."""
    if isinstance(value, list):
        return [_without_delta_fields(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _without_delta_fields(entry) for key, entry in value.items() if key not in {"index", "quote"}}
    return value


def test_the_callbacks_report_every_text_image_call_and_message(stream: Stream, sdk_reading: SdkReading) -> None:
    """The callbacks report every item, and repeat only what the SDK itself repeats."""
    recorder, _, messages, _ = sdk_reading
    count = Counter(event for event, _ in stream)
    assert len(recorder.arguments_of("on_message_created")) == count["thread.message.created"]
    assert len(recorder.arguments_of("on_message_delta")) == count["thread.message.delta"]
    assert len(recorder.arguments_of("on_run_step_created")) == count["thread.run.step.created"]
    assert len(recorder.arguments_of("on_run_step_delta")) == count["thread.run.step.delta"]
    assert [message for [message] in recorder.arguments_of("on_message_done")] == messages
    blocks = [block for message in messages for block in message["content"]]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    assert len(recorder.arguments_of("on_text_created")) == len(texts)
    assert _distinct(_without_delta_fields(text) for [text] in recorder.arguments_of("on_text_done")) == _distinct(
        texts
    )
    images = [block["image_file"] for block in blocks if block["type"] == "image_file"]
    assert _distinct(image for [image] in recorder.arguments_of("on_image_file_done")) == _distinct(images)
    if len(messages) == 1:  # with a second message the SDK repeats the last block of the first
        assert len(recorder.arguments_of("on_text_done")) == len(texts)
        assert len(recorder.arguments_of("on_image_file_done")) == len(images)
    calls = itertools.chain(*DeltaSums().add_all(stream).calls.values())
    assert _distinct(_without_delta_fields(call) for [call] in recorder.arguments_of("on_tool_call_done")) == _distinct(
        calls
    )


def _distinct(values: Any) -> set[str]:
    return {json.dumps(value, sort_keys=True) for value in values}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_function_is_done_only_when_the_run_waits_for_it(recordings: ModuleType, kind: str) -> None:
    """The run requires action when `on_tool_call_done` is called, because applications submit outputs from there."""
    stream = stream_of(recordings, "openai__openai-dotnet/FunctionCallStreamingWorks.json#0")
    recorder, run, _, _ = read_with_sdk(kind, stream)
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert recorder.status_at_done == [(call["id"], "requires_action")]


@pytest.mark.parametrize("name", ["openai__openai-dotnet/FileSearchCallStreaming.json#2", HANDMADE])
def test_text_deltas_add_up_to_the_texts(recordings: ModuleType, name: str) -> None:
    """`text_deltas` joined give the complete texts, markers included."""
    stream = stream_of(recordings, name)
    client: Any = openai.OpenAI(http_client=HTTP.Client(transport=stream_transport(encode_events(stream))), **_CLIENT)
    with client, client.beta.threads.runs.stream(**_RUN) as run:
        joined = "".join(run.text_deltas)
    blocks = itertools.chain(*DeltaSums().add_all(stream).contents.values())
    assert joined == "".join(block["text"]["value"] for block in blocks if block["type"] == "text")


def test_an_image_comes_before_its_text_and_a_link_after_it() -> None:
    """In the handmade stream an image comes before its text, and a link's annotation with the text's last piece."""
    translator, stream = translate_stream(tuple((event["type"], event) for event in handmade_events()), new_run())
    [message] = translator.reader.outcome.messages
    assert [block["type"] for block in message["content"]] == ["image_file", "text", "refusal"]
    pieces = [piece for event, data in stream if event == "thread.message.delta" for piece in data["delta"]["content"]]
    assert [piece["index"] for piece in pieces] == [0, 1, 1, 2]
    assert [note["type"] for note in pieces[2]["text"]["annotations"]] == ["file_path"]
    assert pieces[2]["text"]["value"] == "/data/a.csv)"
    assert message["completed_at"] == NOW
