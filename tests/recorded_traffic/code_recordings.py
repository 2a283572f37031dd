"""The Code Interpreter recordings, and one legacy conversation over each of them.

Expected values are read from the raw recording in the plainest way, never with code of the package.
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

# All responses with a Code Interpreter call (a test compares); a number is that of the exchange within its file.
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
FILE_COUNT = 8
"""How many files the ten recordings hold, counted by hand."""


def find_all(recordings: ModuleType) -> dict[str, Json]:
    """Return every recorded response that called Code Interpreter by its name, plain or from the end of its stream."""
    root = recordings.ROOT / "responses"
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        f"{path.relative_to(root)}#{number}": body for path in paths for number, body in _responses(recordings, path)
    }


@cache
def find(recordings: ModuleType, name: str) -> Json:
    """Return one recorded response by its name; the object is cached, so do not change it."""
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
    """Return the message items, oldest first."""
    return [item for item in body["output"] if item["type"] == "message"]


def citations_of(message: Json) -> list[Json]:
    """Return the file citations of one message item."""
    annotations = [annotation for part in message["content"] for annotation in part["annotations"]]
    return [annotation for annotation in annotations if annotation["type"] == "container_file_citation"]


def shown_images(message: Json) -> list[Json]:
    """Return the citations whose span is 0/0: images that were shown."""
    return [
        citation for citation in citations_of(message) if (citation["start_index"], citation["end_index"]) == (0, 0)
    ]


def linked_files(message: Json) -> list[Json]:
    """Return the citations whose span is a link in the text."""
    return [citation for citation in citations_of(message) if citation["end_index"] > 0]


def output_images(body: Json) -> list[bytes]:
    """Return the bytes of every image in the outputs of the calls."""
    outputs = [output for item in body["output"] for output in item.get("outputs") or []]
    return [image_bytes(output) for output in outputs if output["type"] == "image"]


def image_bytes(output: Json) -> bytes:
    """Return the bytes of one image output."""
    return base64.b64decode(output["url"].partition(";base64,")[2])


def number_of_files(body: Json) -> int:
    """Count the files that a legacy caller finds: the cited ones, and images that no message cites."""
    cited = {citation["file_id"] for message in messages_of(body) for citation in citations_of(message)}
    cited_images = {citation["file_id"] for message in messages_of(body) for citation in shown_images(message)}
    return len(cited) + max(0, len(output_images(body)) - len(cited_images))


@dataclass
class Conversation:
    """A legacy conversation through the SDK's own resources; every answer is kept as it came over the wire."""

    door: Door
    client: Any
    answers: list[tuple[str, Json]] = field(default_factory=list)
    run: Any = None
    messages: list[Any] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)

    def call(self, schema: str, raw: Any) -> Any:
        """Return the parsed answer to a call made `with_raw_response`; keep the raw one with its schema's name."""
        response = self.door(raw)
        self.answers.append((schema, json.loads(response.http_response.text)))
        return response.parse()

    def hold_conversation(self) -> Conversation:
        """Run once with Code Interpreter, poll the run to its end, and read everything that it wrote."""
        beta, threads = self.client.beta, self.client.beta.threads
        assistant = self.call(
            "AssistantObject",
            beta.assistants.with_raw_response.create(
                # Instructions, because a run without any serves null (recorded), which the strict types refuse.
                model="gpt-4o",
                instructions="Write and run code.",
                tools=[{"type": "code_interpreter"}],
            ),
        )
        thread = self.call("ThreadObject", threads.with_raw_response.create())
        self.call("MessageObject", threads.messages.with_raw_response.create(thread.id, role="user", content="Please."))
        self.run = self.call(
            "RunObject", threads.runs.with_raw_response.create(thread_id=thread.id, assistant_id=assistant.id)
        )
        for _ in range(9):
            if self.run.status == "completed":
                break
            poll = threads.runs.with_raw_response.retrieve(run_id=self.run.id, thread_id=thread.id)
            self.run = self.call("RunObject", poll)
        self._read(thread.id, assistant.id)
        return self

    def _read(self, thread_id: str, assistant_id: str) -> None:
        beta, threads, run_id = self.client.beta, self.client.beta.threads, self.run.id
        self.call("AssistantObject", beta.assistants.with_raw_response.retrieve(assistant_id))
        self.call("ListAssistantsResponse", beta.assistants.with_raw_response.list())
        self.call("ThreadObject", threads.with_raw_response.retrieve(thread_id))
        self.call("ListRunsResponse", threads.runs.with_raw_response.list(thread_id))
        self.call("ListMessagesResponse", threads.messages.with_raw_response.list(thread_id))
        run_messages = threads.messages.with_raw_response.list(thread_id, run_id=run_id, order="asc")
        self.messages = self.call("ListMessagesResponse", run_messages).data
        steps = threads.runs.steps.with_raw_response.list(run_id=run_id, thread_id=thread_id, order="asc")
        self.steps = self.call("ListRunStepsResponse", steps).data
        for message in self.messages:
            self.call("MessageObject", threads.messages.with_raw_response.retrieve(message.id, thread_id=thread_id))
        for step in self.steps:
            retrieved = threads.runs.steps.with_raw_response.retrieve(step.id, thread_id=thread_id, run_id=run_id)
            self.call("RunStepObject", retrieved)

    def file(self, file_id: str) -> tuple[Any, bytes]:
        """Return the object and the bytes of a generated file."""
        file_object = self.call("OpenAIFile", self.client.files.with_raw_response.retrieve(file_id))
        return file_object, self.door(self.client.files.content(file_id)).read()

    def file_ids(self) -> set[str]:
        """Return every file id in the answers, wherever it stands."""
        ids: set[str] = set()
        for _, body in self.answers:
            ids.update(_file_ids(body))
        return ids


def _file_ids(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for entry in node:
            yield from _file_ids(entry)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "file_id":
                yield value
            elif key == "file_ids":
                yield from value
            else:
                yield from _file_ids(value)
