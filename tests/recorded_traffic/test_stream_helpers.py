"""The translated streams through the SDK's own helpers: its types, its event handlers, its snapshots."""

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
from recorded_streams import NOW, RESPONSES, events_of, new_run, translated

from assistants_compat.translate.sse import encoded
from kit.stream_deltas import Sums, without_results

Json = dict[str, Any]
Stream = list[tuple[str, Any]]

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")  # the SDK's, of the whole old API

# httpx or httpx2, whichever this SDK is built on.
HTTP: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
CALLBACKS = [
    "on_end", "on_event", "on_exception", "on_image_file_done", "on_message_created", "on_message_delta",
    "on_message_done", "on_run_step_created", "on_run_step_delta", "on_run_step_done", "on_text_created",
    "on_text_delta", "on_text_done", "on_timeout", "on_tool_call_created", "on_tool_call_delta", "on_tool_call_done",
]  # fmt: skip


class Heard:
    """What a handler was told: each callback with its arguments as JSON, and the snapshots beside the whole objects."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Json]]] = []
        self.status_at_done: list[tuple[str, str]] = []  # the id of each tool call, and the run's status then
        self.snapshots: list[tuple[Json, Json]] = []

    def handler(self, base: type) -> Any:
        """A handler of this class that tells everything; its methods are as the class wants them."""

        def method(name: str) -> Any:
            def tell(handler: Any, *arguments: Any) -> None:
                self._tell(handler, name, arguments)

            async def tell_later(handler: Any, *arguments: Any) -> None:
                tell(handler, *arguments)

            return tell_later if inspect.iscoroutinefunction(getattr(base, name)) else tell

        return type("Handler", (base,), {name: method(name) for name in CALLBACKS})()

    def _tell(self, handler: Any, name: str, arguments: tuple[Any, ...]) -> None:
        self.calls.append((name, [plain(argument) for argument in arguments if hasattr(argument, "to_dict")]))
        if name == "on_tool_call_done":
            self.status_at_done.append((arguments[0].id, handler.current_run.status))
        if name != "on_event":
            return
        event, data = arguments[0].event, arguments[0].data
        if event in {"thread.message.completed", "thread.message.incomplete"}:
            self.snapshots.append((plain(handler.current_message_snapshot), plain(data)))
        elif event == "thread.run.step.completed" and handler.current_run_step_snapshot is not None:
            self.snapshots.append((plain(handler.current_run_step_snapshot), plain(data)))

    def named(self, name: str) -> list[list[Json]]:
        """The arguments of every call of this callback."""
        return [arguments for call, arguments in self.calls if call == name]


def plain(value: Any) -> Json:
    """A model of the SDK as the JSON that it was made from."""
    return dict(value.to_dict(mode="json"))


def answers(raw: bytes) -> Any:
    """A transport that answers the creation of a run with this stream."""

    def answer(request: Any) -> Any:
        assert (request.method, request.url.path) == ("POST", "/v1/threads/thread_1/runs")
        assert json.loads(request.content)["stream"] is True
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=raw)

    return HTTP.MockTransport(answer)


_CLIENT: Json = {"api_key": "sk-test", "base_url": "https://openai.test/v1", "_strict_response_validation": True}
_RUN = {"thread_id": "thread_1", "assistant_id": "asst_1"}


Listened = tuple[Heard, Json, list[Json], list[Json]]


def listen(kind: str, stream: Stream) -> Listened:
    """A whole stream through the SDK's helper of this kind: what was heard, the run, its messages and its steps."""
    heard, raw = Heard(), encoded(stream)

    async def asynchronous() -> tuple[Any, Any, Any]:
        client: Any = openai.AsyncOpenAI(http_client=HTTP.AsyncClient(transport=answers(raw)), **_CLIENT)
        async with client:
            manager = client.beta.threads.runs.stream(event_handler=heard.handler(AsyncAssistantEventHandler), **_RUN)
            async with manager as run:
                final = await run.get_final_run()
                return (
                    final,
                    await run.get_final_messages() if has(stream, "thread.message.created") else [],
                    await run.get_final_run_steps() if has(stream, "thread.run.step.created") else [],
                )

    def synchronous() -> tuple[Any, Any, Any]:
        client: Any = openai.OpenAI(http_client=HTTP.Client(transport=answers(raw)), **_CLIENT)
        with client:
            manager = client.beta.threads.runs.stream(event_handler=heard.handler(AssistantEventHandler), **_RUN)
            with manager as run:
                final = run.get_final_run()
                return (
                    final,
                    run.get_final_messages() if has(stream, "thread.message.created") else [],
                    run.get_final_run_steps() if has(stream, "thread.run.step.created") else [],
                )

    run, messages, steps = asyncio.run(asynchronous()) if kind == "async" else synchronous()
    return heard, plain(run), list(map(plain, messages)), list(map(plain, steps))


def has(stream: Stream, name: str) -> bool:
    """Whether an event of this name is in the stream."""
    return any(kind == name for kind, _ in stream)


def drawn() -> list[Json]:
    """Events in which code shows an image, a message has two parts, and one of them links a file and is refused."""
    png = "data:image/png;base64,iVBORw0KGgo="
    shown = {
        "container_id": "cntr_1",
        "file_id": "cfile_1",
        "filename": "cfile_1.png",
        "start_index": 0,
        "end_index": 0,
    }
    linked = {**shown, "file_id": "cfile_2", "filename": "a.csv", "start_index": 4, "end_index": 27}
    notes = [{"type": "container_file_citation", **note} for note in (shown, linked)]
    code = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "status": "completed", "code": "1"}
    call = {**code, "outputs": [{"type": "image", "url": png}, {"type": "logs", "logs": "1\n"}]}
    text = {"type": "output_text", "text": "[a](sandbox:/mnt/data/a.csv)", "annotations": notes}
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


DRAWN = "made by hand: an image, a link, a refusal"


def stream_of(recordings: ModuleType, name: str) -> Stream:
    """The translated stream of this case.  Images and links were streamed in no recording (section 9)."""
    if name == DRAWN:
        return translated(tuple((event["type"], event) for event in drawn()), new_run())[1]
    return translated(events_of(recordings, "responses", name), new_run())[1]


@pytest.fixture(scope="module", params=[*RESPONSES, DRAWN])
def stream(request: pytest.FixtureRequest, recordings: ModuleType) -> Stream:
    """Each translated stream."""
    return stream_of(recordings, request.param)


@pytest.fixture(scope="module", params=["sync", "async"])
def listened(request: pytest.FixtureRequest, stream: Stream) -> Listened:
    """What each of the SDK's two helpers made of it."""
    return listen(request.param, stream)


def test_the_sdk_reads_every_event_as_its_own_strict_type(stream: Stream, listened: Listened) -> None:
    """Under strict validation each event arrives once, in order, with the payload that was sent."""
    heard, run, _, _ = listened
    told = [(event["event"], event["data"]) for [event] in heard.named("on_event")]
    assert told == [(event, data) for event, data in stream if event != "done"]
    assert run == told[-1][1]
    assert (len(heard.named("on_end")), heard.named("on_exception"), heard.named("on_timeout")) == (1, [], [])


def test_the_snapshots_of_the_sdk_equal_the_whole_objects(stream: Stream, listened: Listened) -> None:
    """What the SDK has added up when a message or step is completed is what it then gets."""
    heard, _, messages, steps = listened
    for snapshot, whole in heard.snapshots:
        if whole["object"] == "thread.message":
            assert _stripped(snapshot["content"]) == whole["content"]
        elif whole["type"] == "tool_calls":
            calls = whole["step_details"]["tool_calls"]
            assert _stripped(snapshot["step_details"]["tool_calls"]) == list(map(without_results, calls))
    sums = Sums().all(stream)
    assert {message["id"]: message for message in messages} == {id_: sums.ended[id_] for id_ in sums.contents}
    assert [step["id"] for step in steps] == [
        data["id"] for event, data in stream if event == "thread.run.step.created"
    ]
    ended = Counter(
        data["id"] for event, data in stream if event.startswith(("thread.run.step.comp", "thread.message.comp"))
    )
    assert len(heard.snapshots) == len(ended)


def _stripped(value: Any) -> Any:
    """Without what only deltas have: `index`, and the empty quote of a citation."""
    if isinstance(value, list):
        return [_stripped(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _stripped(entry) for key, entry in value.items() if key not in {"index", "quote"}}
    return value


def test_the_callbacks_tell_every_text_image_call_and_message(stream: Stream, listened: Listened) -> None:
    """Nothing is missed; what the SDK itself tells twice is not more than that."""
    heard, _, messages, _ = listened
    count = Counter(event for event, _ in stream)
    assert len(heard.named("on_message_created")) == count["thread.message.created"]
    assert len(heard.named("on_message_delta")) == count["thread.message.delta"]
    assert len(heard.named("on_run_step_created")) == count["thread.run.step.created"]
    assert len(heard.named("on_run_step_delta")) == count["thread.run.step.delta"]
    assert [message for [message] in heard.named("on_message_done")] == messages
    blocks = [block for message in messages for block in message["content"]]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    assert len(heard.named("on_text_created")) == len(texts)
    assert _unlike(_stripped(text) for [text] in heard.named("on_text_done")) == _unlike(texts)
    images = [block["image_file"] for block in blocks if block["type"] == "image_file"]
    assert _unlike(image for [image] in heard.named("on_image_file_done")) == _unlike(images)
    if len(messages) == 1:  # of a second message the SDK repeats the last block of the first
        assert len(heard.named("on_text_done")) == len(texts)
        assert len(heard.named("on_image_file_done")) == len(images)
    calls = itertools.chain(*Sums().all(stream).calls.values())
    assert _unlike(_stripped(call) for [call] in heard.named("on_tool_call_done")) == _unlike(calls)


def _unlike(values: Any) -> set[str]:
    return {json.dumps(value, sort_keys=True) for value in values}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_function_is_done_only_when_the_run_waits_for_it(recordings: ModuleType, kind: str) -> None:
    """Applications submit outputs from inside `on_tool_call_done`: the run requires action by then."""
    stream = stream_of(recordings, "openai__openai-dotnet/FunctionCallStreamingWorks.json#0")
    heard, run, _, _ = listen(kind, stream)
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert heard.status_at_done == [(call["id"], "requires_action")]


@pytest.mark.parametrize("name", ["openai__openai-dotnet/FileSearchCallStreaming.json#2", DRAWN])
def test_text_deltas_add_up_to_the_texts(recordings: ModuleType, name: str) -> None:
    """An application that joins `text_deltas` has the texts, markers included."""
    stream = stream_of(recordings, name)
    client: Any = openai.OpenAI(http_client=HTTP.Client(transport=answers(encoded(stream))), **_CLIENT)
    with client, client.beta.threads.runs.stream(**_RUN) as run:
        said = "".join(run.text_deltas)
    blocks = itertools.chain(*Sums().all(stream).contents.values())
    assert said == "".join(block["text"]["value"] for block in blocks if block["type"] == "text")


def test_an_image_comes_before_its_text_and_a_link_after_it() -> None:
    """The stream made by hand holds each kind of block and annotation that no recording has."""
    translator, stream = translated(tuple((event["type"], event) for event in drawn()), new_run())
    [message] = translator.reading.outcome.messages
    assert [block["type"] for block in message["content"]] == ["image_file", "text", "refusal"]
    pieces = [piece for event, data in stream if event == "thread.message.delta" for piece in data["delta"]["content"]]
    assert [piece["index"] for piece in pieces] == [0, 1, 1, 1, 2]
    assert [note["type"] for note in pieces[3]["text"]["annotations"]] == ["file_path"]
    assert pieces[3]["text"]["value"] == ""
    assert message["completed_at"] == NOW
