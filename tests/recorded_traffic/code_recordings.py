"""The Code Interpreter recordings, and one legacy conversation over each of them.

What is expected is read from the raw recording here, in the plainest way, never with code of the package.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from kit.doors import Door

Json = dict[str, Any]

# Found by content in `recordings/responses` (a test compares); a number is that of the exchange within its file.
NAMES = (
    "openai__openai-dotnet/CodeInterpreterToolStreaming.json#0",
    "openai__openai-dotnet/CodeInterpreterToolStreamingWithFiles.json#1",
    "openai__openai-dotnet/CodeInterpreterToolWithContainerIdFromContainerApi.json#1",
    "openai__openai-dotnet/CodeInterpreterToolWithEmptyFileIdsAsync.json#0",
    "openai__openai-dotnet/CodeInterpreterToolWithUploadedFileIds.json#2",
    "pydantic__pydantic-ai/test_openai_responses_code_execution_return_image.yaml#0",
    "pydantic__pydantic-ai/test_openai_responses_code_execution_return_image.yaml#1",
    "pydantic__pydantic-ai/test_openai_responses_thinking_with_code_execution_tool.yaml#0",
    "pydantic__pydantic-ai/test_openai_responses_thinking_with_code_execution_tool_stream.yaml#0",
    "vercel__ai/azure-code-interpreter-tool.1.json#0",
)
FILES_IN_ALL = 8
"""How many files the ten recordings hold, counted by hand."""


def find_all(recordings: ModuleType) -> dict[str, Json]:
    """Every recorded response that called Code Interpreter, plain or taken from the end of its stream, by its name."""
    root = recordings.ROOT / "responses"
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        f"{path.relative_to(root)}#{number}": body for path in paths for number, body in _responses(recordings, path)
    }


@cache
def find(recordings: ModuleType, name: str) -> Json:
    """One recorded response by its name; the same object each time, so not to be changed."""
    path, number = name.split("#")
    return dict(_responses(recordings, recordings.ROOT / "responses" / path))[int(number)]


def _responses(recordings: ModuleType, path: Path) -> Iterator[tuple[int, Json]]:
    for number, exchange in enumerate(recordings.read(path)):
        for body in _bodies(exchange):
            output = body.get("output")
            if isinstance(output, list) and any(item["type"] == "code_interpreter_call" for item in output):
                yield number, body


def _bodies(exchange: Any) -> list[Json]:
    if exchange.is_stream:
        data = [data for _, data in exchange.events() if isinstance(data, dict)]
        return [event["response"] for event in data if event.get("type") == "response.completed"]
    try:
        body = json.loads(exchange.body)
    except ValueError:  # a download or an empty answer
        return []
    return [body] if isinstance(body, dict) else []


def messages_of(body: Json) -> list[Json]:
    """The message items, oldest first."""
    return [item for item in body["output"] if item["type"] == "message"]


def citations_of(message: Json) -> list[Json]:
    """The file citations of one message item."""
    found = [annotation for part in message["content"] for annotation in part["annotations"]]
    return [annotation for annotation in found if annotation["type"] == "container_file_citation"]


def shown_of(message: Json) -> list[Json]:
    """Those whose span is 0/0: images that were shown."""
    return [each for each in citations_of(message) if (each["start_index"], each["end_index"]) == (0, 0)]


def linked_of(message: Json) -> list[Json]:
    """Those whose span is a link in the text."""
    return [each for each in citations_of(message) if each["end_index"] > 0]


def images_of(body: Json) -> list[bytes]:
    """The bytes of every image that came inside a call's outputs."""
    outputs = [output for item in body["output"] for output in item.get("outputs") or []]
    return [image_bytes(output) for output in outputs if output["type"] == "image"]


def image_bytes(output: Json) -> bytes:
    """The bytes of one image output."""
    return base64.b64decode(output["url"].partition(";base64,")[2])


def number_of_files(body: Json) -> int:
    """How many files a legacy caller is to find: the cited ones, and images that no message cites."""
    cited = {each["file_id"] for message in messages_of(body) for each in citations_of(message)}
    shown = {each["file_id"] for message in messages_of(body) for each in shown_of(message)}
    return len(cited) + max(0, len(images_of(body)) - len(shown))


@dataclass
class Conversation:
    """A legacy conversation, by the SDK's own resources; every answer is kept as it came over the wire."""

    door: Door
    client: Any
    answers: list[tuple[str, Json]] = field(default_factory=list)
    run: Any = None
    messages: list[Any] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)

    def ask(self, schema: str, raw: Any) -> Any:
        """The parsed answer to a call made `with_raw_response`; the raw one is kept under the name of its schema."""
        response = self.door(raw)
        self.answers.append((schema, json.loads(response.http_response.text)))
        return response.parse()

    def hold(self) -> Conversation:
        """Ask once with Code Interpreter, look at the run until it has ended, read all that it left."""
        beta, threads = self.client.beta, self.client.beta.threads
        assistant = self.ask(
            "AssistantObject",
            beta.assistants.with_raw_response.create(
                # Instructions, because a run without any serves null (recorded), which the strict types refuse.
                model="gpt-4o",
                instructions="Write and run code.",
                tools=[{"type": "code_interpreter"}],
            ),
        )
        thread = self.ask("ThreadObject", threads.with_raw_response.create())
        self.ask("MessageObject", threads.messages.with_raw_response.create(thread.id, role="user", content="Please."))
        self.run = self.ask(
            "RunObject", threads.runs.with_raw_response.create(thread_id=thread.id, assistant_id=assistant.id)
        )
        for _ in range(9):
            if self.run.status == "completed":
                break
            look = threads.runs.with_raw_response.retrieve(run_id=self.run.id, thread_id=thread.id)
            self.run = self.ask("RunObject", look)
        self._read(thread.id, assistant.id)
        return self

    def _read(self, thread_id: str, assistant_id: str) -> None:
        beta, threads, run_id = self.client.beta, self.client.beta.threads, self.run.id
        self.ask("AssistantObject", beta.assistants.with_raw_response.retrieve(assistant_id))
        self.ask("ListAssistantsResponse", beta.assistants.with_raw_response.list())
        self.ask("ThreadObject", threads.with_raw_response.retrieve(thread_id))
        self.ask("ListRunsResponse", threads.runs.with_raw_response.list(thread_id))
        self.ask("ListMessagesResponse", threads.messages.with_raw_response.list(thread_id))
        listed = threads.messages.with_raw_response.list(thread_id, run_id=run_id, order="asc")
        self.messages = self.ask("ListMessagesResponse", listed).data
        steps = threads.runs.steps.with_raw_response.list(run_id=run_id, thread_id=thread_id, order="asc")
        self.steps = self.ask("ListRunStepsResponse", steps).data
        for message in self.messages:
            self.ask("MessageObject", threads.messages.with_raw_response.retrieve(message.id, thread_id=thread_id))
        for step in self.steps:
            one = threads.runs.steps.with_raw_response.retrieve(step.id, thread_id=thread_id, run_id=run_id)
            self.ask("RunStepObject", one)

    def file(self, file_id: str) -> tuple[Any, bytes]:
        """A generated file: its object and its bytes."""
        described = self.ask("OpenAIFile", self.client.files.with_raw_response.retrieve(file_id))
        return described, self.door(self.client.files.content(file_id)).read()

    def file_ids(self) -> set[str]:
        """Every file that the answers name, wherever they name it."""
        found: set[str] = set()
        for _, body in self.answers:
            found.update(_file_ids(body))
        return found


def _file_ids(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _file_ids(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "file_id":
                yield value
            elif key == "file_ids":
                yield from value
            else:
                yield from _file_ids(value)
