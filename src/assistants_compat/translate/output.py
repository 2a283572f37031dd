"""What a finished response becomes: messages, run steps and the files to keep.

One message and one `message_creation` step for each message item, one `tool_calls` step for each Code Interpreter call,
in the order of the output (recordings.md sections 2 to 5).  Items of other kinds (reasoning, and what comes next year)
are passed over.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..ids import Mint
from ..wire import Json, Message, Run, RunStep, Usage
from .citations import Span, is_container_citation, is_shown_image, span_of_citation
from .run import function_calls

_CONTAINER_LIVES = 19 * 60  # seconds; a container dies after 20 idle minutes
_DATA_URL = re.compile(r"data:image/([a-z0-9.+-]+);base64,(.*)\Z", re.DOTALL)


@dataclass
class Generated:
    """A file that Code Interpreter made: our id for it, and where its bytes are.

    `data` holds the bytes of an image that came inside the output; otherwise they are fetched from the container.
    """

    id: str
    filename: str
    container_id: str | None = None
    container_file_id: str | None = None
    data: bytes | None = None


@dataclass
class Outcome:
    """Everything that a response leaves on its thread, in order; `files` by our file id."""

    messages: list[Message] = field(default_factory=list)
    entries: list[Json] = field(default_factory=list)  # the messages, and between them what later runs are told
    steps: list[RunStep] = field(default_factory=list)
    files: dict[str, Generated] = field(default_factory=dict)


def outcome_from_response(  # noqa: PLR0913 - two objects, two sources of what is not in them, and two statuses
    run: Run, response: Mapping[str, Any], usage: Usage, mint: Mint, now: int, *, calls_are: str = "in_progress"
) -> Outcome:
    """Translate a response that has ended.  Pure: `mint` makes ids, `now` is the time in seconds.

    `calls_are` is the status of a step whose functions were called: `in_progress` where their outputs are awaited.
    """
    reading = _Reading(run, mint, now, reason=_incomplete_reason(response), calls_are=calls_are)
    for item in objects(response.get("output")):
        if item.get("type") == "code_interpreter_call":
            reading.code_interpreter_call(item)
        elif item.get("type") == "message":
            reading.message(item)
    reading.function_calls(function_calls(response))
    share_usage(reading.outcome.steps, usage)
    return reading.outcome


def objects(value: object) -> list[Json]:
    """The objects of a list; what the upstream may send besides is passed over, and never breaks a run."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def share_usage(steps: list[RunStep], usage: Usage) -> None:
    """Give the response's usage to its last step and zeros to the others: their sum is the run's (recorded rule).

    A step that waits for the outputs of functions gets it when they come.  The upstream counts a response as a whole,
    and nothing is estimated (docs/differences.md).
    """
    nothing: Usage = {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        "prompt_token_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    for step in steps:
        step["usage"] = nothing
    if steps:
        steps[-1]["usage"] = None if steps[-1]["status"] == "in_progress" else usage


class _Reading:
    """One walk over the output items; images that a call showed wait for the message that cites them."""

    def __init__(self, run: Run, mint: Mint, now: int, *, reason: str, calls_are: str) -> None:
        self.run, self.mint, self.now, self.reason, self.calls_are = run, mint, now, reason, calls_are
        self.outcome = Outcome()
        self.by_container: dict[tuple[str, str], Generated] = {}
        self.shown: list[Json] = []  # image outputs of calls, since a message cited images

    # --- calls

    def code_interpreter_call(self, item: Mapping[str, Any]) -> None:
        outputs = [self._output(output) for output in objects(item.get("outputs"))]
        done: Json = {
            "input": str(item.get("code") or ""),
            "outputs": [output for output in outputs if output is not None],
        }
        call = {"id": self.mint("call"), "type": "code_interpreter", "code_interpreter": done}
        self._step("tool_calls", {"type": "tool_calls", "tool_calls": [call]}, _state_of(item))
        if isinstance(item.get("id"), str) and isinstance(item.get("container_id"), str):
            self.outcome.entries.append(_told(item, done, self.now))

    def function_calls(self, calls: list[Json]) -> None:
        """One step for all functions of a response; it is in progress until their outputs come (recorded)."""
        if calls:
            waiting = [{**call, "function": {**call["function"], "output": None}} for call in calls]
            self._step("tool_calls", {"type": "tool_calls", "tool_calls": waiting}, self.calls_are)

    def _output(self, output: Mapping[str, Any]) -> Json | None:
        if output.get("type") == "logs":
            return {"type": "logs", "logs": str(output.get("logs") or "")}
        image = _image_from_data_url(output.get("url")) if output.get("type") == "image" else None
        if image is None:
            return None
        extension, data = image
        id_ = self.mint("file")
        generated = Generated(id_, f"{id_}.{extension}", data=data)
        self.outcome.files[id_] = generated
        served: Json = {"type": "image", "image": {"file_id": id_}}
        self.shown.append(served)
        return served

    # --- messages

    def message(self, item: Mapping[str, Any]) -> None:
        cited: list[Generated] = []
        images: list[Generated] = []
        blocks = [self._block(part, cited, images) for part in objects(item.get("content"))]
        self._join_shown(images)
        content: list[Json] = [{"type": "image_file", "image_file": {"file_id": file.id}} for file in images]
        content.extend(block for block in blocks if block is not None)
        id_ = self.mint("msg")
        done = item.get("status", "completed") == "completed"
        message: Message = {
            "id": id_,
            "object": "thread.message",
            "created_at": self.now,
            "assistant_id": self.run["assistant_id"],
            "thread_id": self.run["thread_id"],
            "run_id": self.run["id"],
            "status": "completed" if done else "incomplete",
            "incomplete_details": None if done else {"reason": self.reason},
            "incomplete_at": None if done else self.now,
            "completed_at": self.now if done else None,
            "role": "assistant",
            "content": content,
            # Late v2 listed linked files here, not images (recordings.md section 3, quoted dumps).
            "attachments": [
                {"file_id": id_, "tools": [{"type": "code_interpreter"}]}
                for id_ in dict.fromkeys(file.id for file in cited)
            ],
            "metadata": {},
        }
        self.outcome.messages.append(message)
        self.outcome.entries.append(dict(message))
        details = {"type": "message_creation", "message_creation": {"message_id": id_}}
        # A step knows no "incomplete": the recorded message step of a run that hit its limit was completed.
        self._step("message_creation", details, "completed")

    def _block(self, part: Mapping[str, Any], cited: list[Generated], images: list[Generated]) -> Json | None:
        if part.get("type") == "refusal":
            return {"type": "refusal", "refusal": str(part.get("refusal") or "")}
        if part.get("type") != "output_text":
            return None
        text = str(part.get("text") or "")
        annotations: list[Json] = []
        taken: list[Span] = []
        for annotation in filter(is_container_citation, objects(part.get("annotations"))):
            file = self._file(annotation)
            if is_shown_image(annotation):
                images.append(file)
                continue
            cited.append(file)
            span = span_of_citation(text, annotation, taken)
            if span is not None:
                taken.append(span)
                annotations.append(_file_path(text, span, file.id))
        return {"type": "text", "text": {"value": text, "annotations": annotations}}

    def _file(self, annotation: Mapping[str, Any]) -> Generated:
        key = (str(annotation.get("container_id")), str(annotation.get("file_id")))
        if key not in self.by_container:
            # A linked file's name is its full path, as the service's was (platform.md section 7); always data.
            name = str(annotation.get("filename") or key[1])
            path = name if is_shown_image(annotation) else f"/mnt/data/{name}"
            generated = Generated(self.mint("file"), path, *key)
            self.by_container[key] = self.outcome.files[generated.id] = generated
        return self.by_container[key]

    def _join_shown(self, images: list[Generated]) -> None:
        """An image that a call showed and the message cites is one file: the citation's name, the output's bytes.

        Nothing links the two but their order, so they are joined only where their numbers agree; images that nobody
        cited stay files of their own.
        """
        if len(images) == len(self.shown):
            for served, file in zip(self.shown, images, strict=True):
                alone = self.outcome.files.pop(served["image"]["file_id"])
                file.data = alone.data
                served["image"]["file_id"] = file.id
        if images:
            self.shown = []

    # --- steps

    def _step(self, type_: str, details: Json, status: str) -> None:
        self.outcome.steps.append(
            {
                "id": self.mint("step"),
                "object": "thread.run.step",
                "created_at": self.now,
                "run_id": self.run["id"],
                "assistant_id": self.run["assistant_id"],
                "thread_id": self.run["thread_id"],
                "type": type_,
                "status": status,
                "cancelled_at": self.now if status == "cancelled" else None,
                "completed_at": self.now if status == "completed" else None,
                "expires_at": self.run["expires_at"] if status == "in_progress" else None,
                "failed_at": self.now if status == "failed" else None,
                "last_error": None,
                "step_details": details,
                "usage": None,
                "expired_at": None,
                "metadata": {},
            }
        )


def _state_of(item: Mapping[str, Any]) -> str:
    return "completed" if item.get("status", "completed") == "completed" else "failed"


def _told(item: Mapping[str, Any], call: Json, now: int) -> Json:
    """A Code Interpreter call as later runs are told of it, while its container lives (its schema wants all keys)."""
    logs = [output for output in call["outputs"] if output["type"] == "logs"]
    told = {
        "type": "code_interpreter_call",
        "id": item["id"],
        "status": "completed",
        "container_id": item["container_id"],
        "code": call["input"],
        "outputs": logs,
    }
    return {"items": [told], "until": now + _CONTAINER_LIVES}


def _file_path(text: str, span: Span, file_id: str) -> Json:
    start, end = span
    return {
        "type": "file_path",
        "text": text[start:end],
        "start_index": start,
        "end_index": end,
        "file_path": {"file_id": file_id},
    }


def _image_from_data_url(url: object) -> tuple[str, bytes] | None:
    """The kind and the bytes of a `data:image/png;base64,...`; None when it is something else."""
    match = _DATA_URL.match(url) if isinstance(url, str) else None
    if match is None:
        return None
    try:
        return match[1], base64.b64decode(match[2], validate=True)
    except binascii.Error:
        return None


_REASONS = {"max_output_tokens": "max_tokens", "content_filter": "content_filter"}


def _incomplete_reason(response: Mapping[str, Any]) -> str:
    """Why a message of this response would be incomplete, in the words of the legacy enum (spec)."""
    if response.get("status") == "cancelled":
        return "run_cancelled"
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return _REASONS.get(str(reason), "run_failed")
