"""What a response becomes: messages, run steps and the files to keep.

One message and one `message_creation` step for each message item, one `tool_calls` step for each call of a hosted tool,
one for all functions that a response calls, in the order of the output (recordings.md sections 2 to 5).  Items of other
kinds (reasoning, and what comes next year) are passed over.

A `Reading` takes the items as they come: a stream begins and ends each of them, a finished response does both at once.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..wire.ids import Mint
from ..wire.objects import Json, Message, Run, RunStep, Usage, as_object, objects
from .citations import is_file_citation, is_shown_image, text_block
from .run import function_call
from .step import stamp
from .uncited_files import Place, citation_of, place_of, place_of_citation, unknown_files, with_links, with_rest

_CONTAINER_LIVES = 19 * 60  # seconds; a container dies after 20 idle minutes
_DATA_URL = re.compile(r"data:image/([a-z0-9.+-]+)(?:;[^,;]+)*;base64,(.*)\Z", re.DOTALL)
NOTHING: Usage = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "prompt_token_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


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
    size: int | None = None  # as the container lists it


@dataclass
class Outcome:
    """Everything that a response leaves on its thread, in order; `files` by our file id."""

    messages: list[Message] = field(default_factory=list)
    entries: list[Json] = field(default_factory=list)  # the messages, and between them what later runs are told
    steps: list[RunStep] = field(default_factory=list)
    files: dict[str, Generated] = field(default_factory=dict)


def outcome_from_response(  # noqa: PLR0913 - two objects, two sources of what is not in them, and two statuses
    run: Run,
    response: Mapping[str, Any],
    usage: Usage,
    mint: Mint,
    now: int,
    *,
    calls_are: str = "in_progress",
    streamed: bool = False,
    found: Sequence[Json] = (),
    earlier: Sequence[Json] = (),
) -> Outcome:
    """Translate a response that has ended.  Pure: `mint` makes ids, `now` is the time in seconds.

    `calls_are` is the status of a step whose functions were called: `in_progress` where their outputs are awaited.
    `streamed` as for `Reading`; `found` are the files of its containers, as they were listed, `earlier` those
    that the thread has already.
    """
    reading = Reading(run, mint, streamed=streamed)
    reading.found, reading.earlier = list(found), earlier
    reason = incomplete_reason(response)
    output = objects(response.get("output"))
    last = max((number for number, item in enumerate(output) if item.get("type") == "message"), default=-1)
    for number, item in enumerate(output):
        kind = item.get("type")
        if kind == "message":
            begun, whole = reading.begin_message(now), reading.with_found(item, rest=number == last)
            reading.end_message(begun, whole, reason, now)
        elif is_call(item):
            reading.end_call(reading.begin_call(item, now), item, now)
        elif kind == "function_call":
            reading.end_function(*reading.begin_function(item, now), item)
    reading.end(usage, calls_are, now)
    return reading.outcome


@dataclass
class Begun:
    """A message or a call that has begun, with its step; `images` counts the blocks that stand before its text."""

    step: RunStep
    message: Message | None = None
    call: Json | None = None
    images: int = 0


class Reading:
    """What the items of a response become, item by item.

    `streamed`: an image that is known only when its message ends stands after the text, because that was sent already.
    """

    def __init__(self, run: Run, mint: Mint, *, streamed: bool = False) -> None:
        """Begin with nothing; `run` gives the ids and the time of expiry, `mint` makes new ids."""
        self.run, self.mint, self.streamed = run, mint, streamed
        self.outcome = Outcome()
        self.function_step: RunStep | None = None
        self.found: list[Json] = []  # the files of the containers that calls ran in, as they were listed
        self.earlier: Sequence[Json] = ()  # the thread's own, which a text may link: never to be kept once more
        self._by_container: dict[Place, Generated] = {}
        self._shown: list[str] = []  # file ids of images that calls showed since the last message

    # --- hosted tools

    def begin_call(self, item: Mapping[str, Any], now: int) -> Begun:
        """A call of a hosted tool has begun: its step holds nothing yet (recorded)."""
        kind = _CALLS[item["type"]]
        call: Json = {"id": self.mint("call"), "type": kind, kind: self._empty(kind)}
        step = self._step("tool_calls", {"type": "tool_calls", "tool_calls": []}, now)
        return Begun(step, call=call)

    def _empty(self, kind: str) -> Json:
        if kind == "code_interpreter":
            return {"input": "", "outputs": []}
        search: Json = next((tool["file_search"] for tool in self.run["tools"] if tool["type"] == "file_search"), {})
        ranking = {key: value for key, value in search.get("ranking_options", {}).items() if key != "hybrid_search"}
        return {"ranking_options": ranking, "results": []}

    def end_call(self, begun: Begun, item: Mapping[str, Any], now: int) -> None:
        """It has ended: what it did, and what it gave."""
        step, call = begun.step, begun.call
        assert call is not None  # noqa: S101 - it was begun as a call
        if call["type"] == "code_interpreter":
            outputs = [self._output(output) for output in objects(item.get("outputs"))]
            done = {
                "input": str(item.get("code") or ""),
                "outputs": [output for output in outputs if output is not None],
            }
            if isinstance(item.get("id"), str) and isinstance(item.get("container_id"), str):
                self.outcome.entries.append({"id": self.mint("msg"), **_told(item, done, now)})
        else:
            done = {**call["file_search"], "results": [_result(each) for each in objects(item.get("results"))]}
        begun.call = {**call, call["type"]: done}
        step["step_details"] = {"type": "tool_calls", "tool_calls": [begun.call]}
        stamp(step, "completed" if item.get("status", "completed") == "completed" else "failed", now)

    def _output(self, output: Mapping[str, Any]) -> Json | None:
        if output.get("type") == "logs":
            return {"type": "logs", "logs": str(output.get("logs") or "")}
        image = _image_from_data_url(output.get("url")) if output.get("type") == "image" else None
        if image is None:
            return None
        extension, data = image
        id_ = self.mint("file")
        self.outcome.files[id_] = Generated(id_, f"{id_}.{extension}", data=data)
        self._shown.append(id_)
        return {"type": "image", "image": {"file_id": id_}}

    # --- functions

    def begin_function(self, item: Mapping[str, Any], now: int) -> tuple[RunStep, int]:
        """A function is called: the one step for all functions of the response, and the call's place in it."""
        if self.function_step is None:
            self.function_step = self._step("tool_calls", {"type": "tool_calls", "tool_calls": []}, now)
        calls = self.function_step["step_details"]["tool_calls"]
        calls.append(function_call({**item, "arguments": ""}, output=None))
        return self.function_step, len(calls) - 1

    @staticmethod
    def end_function(step: RunStep, place: int, item: Mapping[str, Any]) -> None:
        """Its arguments are complete; the step is in progress until the outputs come (recorded)."""
        step["step_details"]["tool_calls"][place] = function_call(item, output=None)

    # --- messages

    def begin_message(self, now: int) -> Begun:
        """A message has begun: empty but for the images that calls showed since the last one."""
        shown, self._shown = self._shown, []
        id_ = self.mint("msg")
        message: Message = {
            "id": id_,
            "object": "thread.message",
            "created_at": now,
            "assistant_id": self.run["assistant_id"],
            "thread_id": self.run["thread_id"],
            "run_id": self.run["id"],
            "status": "in_progress",
            "incomplete_details": None,
            "incomplete_at": None,
            "completed_at": None,
            "role": "assistant",
            "content": [_image_block(file_id) for file_id in shown],
            "attachments": [],
            "metadata": {},
        }
        details = {"type": "message_creation", "message_creation": {"message_id": id_}}
        step = self._step("message_creation", details, now)
        self.outcome.messages.append(message)
        self.outcome.entries.append(message)  # type: ignore[arg-type]  # a message is one kind of entry
        return Begun(step, message=message, images=len(shown))

    def with_found(self, item: Mapping[str, Any], *, rest: bool) -> Json:
        """The item of a message that ends, with the citations that it lacks; `rest` for files that nothing links."""
        files = [*self.found, *self.earlier]
        item = with_links(item, files) if files else dict(item)
        return with_rest(item, self.found, self._by_container, self._sizes()) if rest and self.found else item

    def _sizes(self) -> set[int]:
        return {len(file.data) for file in self.outcome.files.values() if file.data is not None}

    def end_message(
        self,
        begun: Begun,
        item: Mapping[str, Any],
        reason: str,
        now: int,
        *,
        offsets: Sequence[Mapping[int, tuple[int, int]]] | None = None,
    ) -> None:
        """It has ended: its blocks, their annotations, and the files that it links.

        `offsets` says of each part of a message that was streamed where its markers are (`citations.text_block`).
        """
        message = begun.message
        assert message is not None  # noqa: S101 - it was begun as a message
        parts = objects(item.get("content"))
        unused = [block["image_file"]["file_id"] for block in message["content"]]
        cited: dict[str, None] = {}
        late: list[Json] = []

        def file_id_of(annotation: Json) -> str | None:
            if not is_shown_image(annotation):
                id_ = str(annotation.get("ours") or self._file(annotation).id)
                cited[id_] = None
                return id_
            if unused:  # the k-th image that was shown is the k-th that is cited: its bytes came with the call
                self._name(unused.pop(0), annotation)
            else:
                late.append(_image_block(self._file(annotation).id))
            return None

        blocks: list[Json] = []
        markers = 0
        for number, part in enumerate(parts):
            if part.get("type") == "refusal":
                blocks.append({"type": "refusal", "refusal": str(part.get("refusal") or "")})
            elif part.get("type") == "output_text":
                annotations = objects(part.get("annotations"))
                text, sent = str(part.get("text") or ""), offsets[number] if offsets else None
                blocks.append(text_block(text, annotations, file_id_of, first=markers, offsets=sent))
                markers += sum(map(is_file_citation, annotations))
        images = message["content"]
        message["content"] = [*images, *blocks, *late] if self.streamed else [*images, *late, *blocks]
        # Late v2 listed linked files here, not images (recordings.md section 3, quoted dumps).
        message["attachments"] = [attachment(id_) for id_ in cited]
        end_message(message, None if item.get("status", "completed") == "completed" else reason, now)
        # A step knows no "incomplete": the recorded message step of a run that hit its limit was completed.
        stamp(begun.step, "completed", now)

    def _file(self, annotation: Mapping[str, Any]) -> Generated:
        key = place_of_citation(annotation)
        if key not in self._by_container:
            # A linked file's name is its full path, as the service's was (platform.md section 7); always data.
            name = str(annotation.get("filename") or key[1])
            path = name if is_shown_image(annotation) else f"/mnt/data/{name}"
            size = next((file.get("bytes") for file in self.found if place_of(file) == key), None)
            generated = Generated(self.mint("file"), path, *key, size=size if isinstance(size, int) else None)
            self._by_container[key] = self.outcome.files[generated.id] = generated
        return self._by_container[key]

    def _name(self, id_: str, annotation: Mapping[str, Any]) -> None:
        """Give an image that a call showed the name and the place under which its message cites it."""
        file = self.outcome.files[id_]
        key = place_of_citation(annotation)
        file.filename = str(annotation.get("filename") or file.filename)
        file.container_id, file.container_file_id = key
        self._by_container.setdefault(key, file)

    # --- steps

    def _step(self, type_: str, details: Json, now: int) -> RunStep:
        step: RunStep = {
            "id": self.mint("step"),
            "object": "thread.run.step",
            "created_at": now,
            "run_id": self.run["id"],
            "assistant_id": self.run["assistant_id"],
            "thread_id": self.run["thread_id"],
            "type": type_,
            "status": "in_progress",
            "cancelled_at": None,
            "completed_at": None,
            "expires_at": self.run["expires_at"],
            "failed_at": None,
            "last_error": None,
            "step_details": details,
            "usage": None,
            "expired_at": None,
            "metadata": {},
        }
        self.outcome.steps.append(step)
        return step

    def end(self, usage: Usage, calls_are: str, now: int) -> None:
        """The response has ended: its usage goes to its last step, zeros to the others (recorded: they add up).

        A step that waits for the outputs of functions gets it when they come.  The upstream counts a response as a
        whole, and nothing is estimated (docs/differences.md).
        """
        for file in unknown_files(self.found, self._by_container, self._sizes()):
            made = self._file(citation_of(file))
            if self.outcome.messages:
                message = self.outcome.messages[-1]
                message["attachments"] = [*message["attachments"], attachment(made.id)]
        if self.function_step is not None:
            stamp(self.function_step, calls_are, now)
        steps = self.outcome.steps
        for step in steps:
            step["usage"] = NOTHING
        if self.function_step is not None and calls_are == "in_progress":
            self.function_step["usage"] = None
        elif steps:
            steps[-1]["usage"] = usage


_CALLS = {"code_interpreter_call": "code_interpreter", "file_search_call": "file_search"}


def is_call(item: Mapping[str, Any]) -> bool:
    """Whether an item is a call of a hosted tool that has a legacy counterpart."""
    return str(item.get("type")) in _CALLS


def end_message(message: Message, reason: str | None, now: int) -> None:
    """Complete a message, or with a reason leave it incomplete."""
    message["status"] = "completed" if reason is None else "incomplete"
    message["incomplete_details"] = None if reason is None else {"reason": reason}
    message["incomplete_at"] = None if reason is None else now
    message["completed_at"] = now if reason is None else None


def attachment(file_id: str) -> Json:
    """A file of a message that its text does not link."""
    return {"file_id": file_id, "tools": [{"type": "code_interpreter"}]}


def _image_block(file_id: str) -> Json:
    return {"type": "image_file", "image_file": {"file_id": file_id}}


def _result(result: Mapping[str, Any]) -> Json:
    """What a search found, in legacy shape (FileSearchStreamingWorks.json)."""
    return {
        "file_id": str(result.get("file_id")),
        "file_name": str(result.get("filename")),
        "score": result.get("score") or 0.0,
        "attributes": result.get("attributes") or {},
        "content": [{"type": "text", "text": str(result.get("text") or "")}],
    }


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


def _image_from_data_url(url: object) -> tuple[str, bytes] | None:
    """The kind and the bytes of a `data:image/png;base64,...`; None when it is something else."""
    match = _DATA_URL.match(url) if isinstance(url, str) else None
    if match is None:
        return None
    try:
        return match[1], base64.b64decode(match[2], validate=True)
    except binascii.Error:
        return None


INCOMPLETE_REASONS = {"cancelled": "run_cancelled", "expired": "run_expired", "failed": "run_failed"}
"""Why a message is incomplete, by what became of its run."""

_REASONS = {"max_output_tokens": "max_tokens", "content_filter": "content_filter"}


def incomplete_reason(response: Mapping[str, Any]) -> str:
    """Why a message of this response would be incomplete, in the words of the legacy enum (spec)."""
    if response.get("status") == "cancelled":
        return "run_cancelled"
    reason = as_object(response.get("incomplete_details")).get("reason")
    return _REASONS.get(str(reason), "run_failed")
