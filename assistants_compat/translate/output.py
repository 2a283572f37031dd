"""Translates the output of a response into messages, run steps and the files to keep.

Each message item becomes a message and a `message_creation` step, each call of a hosted tool a `tool_calls` step, and
all function calls of a response one step (recordings.md sections 2 to 5). Items of other types, such as reasoning, are
skipped. `OutputReader` takes the items one by one: a stream begins and ends each of them, a finished response does both
at once. Nothing is fetched or copied here: `engine/generated_files.py` does that.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..wire.ids import IdFactory
from ..wire.objects import Json, Message, Run, RunStep, Usage, as_object, as_object_list
from .citations import (
    MarkerPosition,
    is_file_citation,
    is_named_by_id,
    is_shown_image,
    path_of_citation,
    text_block_with_citations,
)
from .outcome import GeneratedFile, Outcome
from .run import function_call_from_item
from .step import set_step_status
from .uncited_files import (
    FileLocation,
    citation_from_file,
    cite_linked_files,
    cite_remaining_files,
    code_interpreter_attachment,
    copies_of_shown_images,
    location_of_citation,
    location_of_file,
    name_of_copy,
    unknown_files,
    version_of_file,
)
from .unlisted_files import ListFailure, attach_found_files

_CONTAINER_LIFETIME = 19 * 60  # seconds: a container expires after 20 idle minutes, less a margin
# A data URL may have more parameters between its type and `base64`.
_DATA_URL = re.compile(r"data:image/([a-z0-9.+-]+)(?:;[^,;]+)*;base64,(.*)\Z", re.DOTALL)
ZERO_USAGE: Usage = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "prompt_token_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def outcome_from_response(  # noqa: PLR0913 - two objects, two lists of files, and two statuses
    run: Run,
    response: Mapping[str, Any],
    usage: Usage,
    new_id: IdFactory,
    now: int,
    *,
    function_status: str = "in_progress",
    streamed: bool = False,
    container_files: Sequence[Json] = (),
    thread_files: Sequence[Json] = (),
) -> Outcome:
    """Translate a response that has ended.

    `new_id` makes ids; `now` is the time in seconds. `function_status` is the status of the step of function calls:
    `in_progress` while the run waits for their outputs. `container_files` are the files of the response's containers,
    as listed, and `thread_files` those that the thread already has. For `streamed` see `OutputReader`.
    """
    reader = OutputReader(run, new_id, streamed=streamed)
    reader.container_files, reader.thread_files = list(container_files), thread_files
    reason = incomplete_reason(response)
    output = as_object_list(response.get("output"))
    last_message = max((index for index, item in enumerate(output) if item.get("type") == "message"), default=-1)
    for index, item in enumerate(output):
        kind = item.get("type")
        if kind == "message":
            draft = reader.begin_message(now)
            cited_item = reader.with_missing_citations(item, include_unlinked=index == last_message)
            reader.end_message(draft, cited_item, reason, now)
        elif is_hosted_tool_call(item):
            reader.end_call(reader.begin_call(item, now), item, now)
        elif kind == "function_call":
            reader.end_function(*reader.begin_function(item, now), item)
    reader.end(usage, function_status, now)
    return reader.outcome


@dataclass
class ItemDraft:
    """A message or call that has begun, with its step; `image_count` counts the images before a message's text."""

    step: RunStep
    message: Message | None = None
    call: Json | None = None
    image_count: int = 0


class OutputReader:
    """Turns the items of a response into an `Outcome`, item by item.

    When `streamed`, an image that becomes known only at the end of its message is put after the text, because the text
    was already sent.
    """

    def __init__(self, run: Run, new_id: IdFactory, *, streamed: bool = False) -> None:
        """Begin with an empty outcome; `run` gives the ids and the time of expiry, `new_id` makes new ids."""
        self.run, self.new_id, self.streamed = run, new_id, streamed
        self.outcome = Outcome()
        self.function_step: RunStep | None = None
        self.container_files: list[Json] = []  # files of the containers that calls ran in, as listed
        # Files that the thread already has. A text may link them, but they must not be copied again.
        self.thread_files: Sequence[Json] = ()
        self._listed_late: set[str] = set()  # containers that could be listed only after their messages had ended
        self._files_by_location: dict[FileLocation, GeneratedFile] = {}
        self._unclaimed_image_ids: list[str] = []  # images that calls showed since the last message

    def set_listed(self, files: Sequence[Json], failures: Mapping[str, ListFailure], container_ids: list[str]) -> None:
        """Take the new files of these containers, which were listed except for the failures."""
        others = [file for file in self.container_files if file["container_id"] not in container_ids]
        self.container_files = [*others, *files]
        unlisted = self.outcome.unlisted
        had = [id_ for id_ in container_ids if id_ not in failures]
        self._listed_late.update(id_ for id_ in had if unlisted.pop(id_, None) is not None)
        unlisted.update(failures)

    # --- hosted tools

    def begin_call(self, item: Mapping[str, Any], now: int) -> ItemDraft:
        """Begin a call of a hosted tool; its step is still empty (recorded)."""
        kind = _TOOL_BY_CALL_TYPE[item["type"]]
        call: Json = {"id": self.new_id("call"), "type": kind, kind: self._empty_call(kind)}
        step = self._add_step("tool_calls", {"type": "tool_calls", "tool_calls": []}, now)
        return ItemDraft(step, call=call)

    def _empty_call(self, kind: str) -> Json:
        if kind == "code_interpreter":
            return {"input": "", "outputs": []}
        search: Json = next((tool["file_search"] for tool in self.run["tools"] if tool["type"] == "file_search"), {})
        ranking = {key: value for key, value in search.get("ranking_options", {}).items() if key != "hybrid_search"}
        # The ranking options of a step lack `hybrid_search`, which those of the tool have (recorded).
        return {"ranking_options": ranking, "results": []}

    def end_call(self, draft: ItemDraft, item: Mapping[str, Any], now: int) -> None:
        """End a call of a hosted tool: fill its step with its input and outputs."""
        step, call = draft.step, draft.call
        assert call is not None  # noqa: S101 - the draft was begun as a call
        if call["type"] == "code_interpreter":
            outputs = [self._convert_output(output) for output in as_object_list(item.get("outputs"))]
            details = {
                "input": str(item.get("code") or ""),
                "outputs": [output for output in outputs if output is not None],
            }
            # A call without both cannot be sent again: the schema of an input item requires them (spec).
            if isinstance(item.get("id"), str) and isinstance(item.get("container_id"), str):
                self.outcome.entries.append({"id": self.new_id("msg"), **_replay_entry(item, details, now)})
        else:
            details = {
                **call["file_search"],
                "results": [_search_result(result) for result in as_object_list(item.get("results"))],
            }
        draft.call = {**call, call["type"]: details}
        step["step_details"] = {"type": "tool_calls", "tool_calls": [draft.call]}
        set_step_status(step, "completed" if item.get("status", "completed") == "completed" else "failed", now)

    def _convert_output(self, output: Mapping[str, Any]) -> Json | None:
        if output.get("type") == "logs":
            # The last recordings have no logs at all, but the documentation promised them (recordings.md section 2).
            return {"type": "logs", "logs": str(output.get("logs") or "")}
        image = _image_from_data_url(output.get("url")) if output.get("type") == "image" else None
        if image is None:
            return None
        extension, data = image
        id_ = self.new_id("file")
        self.outcome.files[id_] = GeneratedFile(id_, f"{id_}.{extension}", data=data)
        self._unclaimed_image_ids.append(id_)
        return {"type": "image", "image": {"file_id": id_}}

    # --- functions

    def begin_function(self, item: Mapping[str, Any], now: int) -> tuple[RunStep, int]:
        """Begin a function call; return the response's one step for function calls, and the call's index in it."""
        if self.function_step is None:
            self.function_step = self._add_step("tool_calls", {"type": "tool_calls", "tool_calls": []}, now)
        calls = self.function_step["step_details"]["tool_calls"]
        # A call begins with empty arguments, also in its first delta (recorded).
        calls.append(function_call_from_item({**item, "arguments": ""}, output=None))
        return self.function_step, len(calls) - 1

    @staticmethod
    def end_function(step: RunStep, call_index: int, item: Mapping[str, Any]) -> None:
        """End a function call, whose arguments are now complete.

        The step stays in progress until the caller submits the outputs (recorded).
        """
        step["step_details"]["tool_calls"][call_index] = function_call_from_item(item, output=None)

    # --- messages

    def begin_message(self, now: int) -> ItemDraft:
        """Begin a message; its only content is the images that calls showed since the previous message."""
        shown, self._unclaimed_image_ids = self._unclaimed_image_ids, []
        id_ = self.new_id("msg")
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
        step = self._add_step("message_creation", details, now)
        self.outcome.messages.append(message)
        self.outcome.entries.append(message)  # type: ignore[arg-type]  # a message is one kind of entry
        return ItemDraft(step, message=message, image_count=len(shown))

    def with_missing_citations(self, item: Mapping[str, Any], *, include_unlinked: bool) -> Json:
        """Return the item of a message with citations added for the links in its text that have none.

        With `include_unlinked`, the container files that no text links get citations too.
        """
        # Oldest first: a container lists a file for each version of a path, and those of one second are in its order.
        new_files = sorted(self.container_files, key=lambda file: version_of_file(file)[1] or 0)
        files = [*reversed(self.thread_files), *new_files]
        item = cite_linked_files(item, files) if files else dict(item)
        if not (include_unlinked and self.container_files):
            return item
        shown_sizes = self._uncited_images().values()
        return cite_remaining_files(item, self.container_files, self._known_locations(), shown_sizes)

    def _known_locations(self) -> set[FileLocation]:
        """Return the locations of which this response has a file, as they are now."""
        return {location for location, file in self._files_by_location.items() if not self._was_written_again(file)}

    def _was_written_again(self, file: GeneratedFile) -> bool:
        """Whether a container lists another version of a file than an earlier message of this stream has."""
        listed = self._listed_file((str(file.container_id), str(file.container_file_id)))
        return file.version != (None, None) and bool(listed) and version_of_file(listed) != file.version

    def _listed_file(self, location: FileLocation) -> Json:
        return next((file for file in self.container_files if location_of_file(file) == location), {})

    def end_message(
        self,
        draft: ItemDraft,
        item: Mapping[str, Any],
        reason: str,
        now: int,
        *,
        positions: Sequence[Mapping[int, MarkerPosition]] | None = None,
    ) -> None:
        """End a message: set its blocks, their annotations, and attachments for the files that it links.

        `reason` is why the message is incomplete, if it is. `positions` are the marker positions of each part of a
        streamed message (`citations.text_block_with_citations`).
        """
        message = draft.message
        assert message is not None  # noqa: S101 - the draft was begun as a message
        parts = as_object_list(item.get("content"))
        uncited_image_ids = [block["image_file"]["file_id"] for block in message["content"]]
        linked_file_ids: dict[str, None] = {}
        late_images: list[Json] = []

        def file_id_of(annotation: Json, link: str | None) -> str | None:
            if not is_shown_image(annotation):
                id_ = str(annotation.get("generated_file_id") or self._file_for_citation(annotation, link).id)
                linked_file_ids[id_] = None
                return id_
            shown_id = self._shown_image_of_citation(annotation, uncited_image_ids)
            if shown_id is not None:
                uncited_image_ids.remove(shown_id)
                self._name_shown_image(shown_id, annotation)
            else:
                late_images.append(_image_block(self._file_for_citation(annotation).id))
            return None

        blocks: list[Json] = []
        marker_count = 0
        for index, part in enumerate(parts):
            if part.get("type") == "refusal":
                blocks.append({"type": "refusal", "refusal": str(part.get("refusal") or "")})
            elif part.get("type") == "output_text":
                annotations = as_object_list(part.get("annotations"))
                text, part_positions = str(part.get("text") or ""), positions[index] if positions else None
                blocks.append(
                    text_block_with_citations(
                        text, annotations, file_id_of, first_number=marker_count, positions=part_positions
                    )
                )
                marker_count += sum(map(is_file_citation, annotations))
        images = message["content"]
        message["content"] = [*images, *blocks, *late_images] if self.streamed else [*images, *late_images, *blocks]
        # Late v2 listed linked files here, not images (recordings.md section 3, quoted dumps).
        message["attachments"] = [code_interpreter_attachment(id_) for id_ in linked_file_ids]
        set_message_end(message, None if item.get("status", "completed") == "completed" else reason, now)
        # A step knows no "incomplete": the recorded message step of a run that hit its limit was completed.
        set_step_status(draft.step, "completed", now)

    def _shown_image_of_citation(self, annotation: Json, shown_ids: Sequence[str]) -> str | None:
        """Return which of the images that calls showed a citation means: its bytes came with the call, unlike its name.

        They are cited in the order in which calls showed them, and the size that the container lists tells if one was
        skipped. An image that the code saved under a name of its own is none of them.
        """
        name = str(annotation.get("filename") or "")
        if name and not is_named_by_id(name):
            return None
        size = self._listed_file(location_of_citation(annotation)).get("bytes")
        same_size = (id_ for id_ in shown_ids if len(self.outcome.files[id_].data or b"") == size)
        return next(same_size, next(iter(shown_ids), None))

    def _file_for_citation(self, annotation: Mapping[str, Any], link: str | None = None) -> GeneratedFile:
        location = location_of_citation(annotation)
        known = self._files_by_location.get(location)
        if known is not None and not self._was_written_again(known):
            return known
        size, listed_at = version_of_file(self._listed_file(location))
        path = path_of_citation(annotation, link)
        generated = GeneratedFile(self.new_id("file"), path, *location, size=size, listed_at=listed_at)
        self._files_by_location[location] = self.outcome.files[generated.id] = generated
        return generated

    def _name_shown_image(self, file_id: str, annotation: Mapping[str, Any]) -> None:
        """Give an image that a call showed the file name and the location from the citation in its message."""
        file = self.outcome.files[file_id]
        location = location_of_citation(annotation)
        name = str(annotation.get("filename") or file.filename)
        file.locate(name, location, version_of_file(self._listed_file(location)))
        self._files_by_location.setdefault(location, file)

    def _locate_uncited_images(self) -> None:
        """Give images that no message cites the location of their copy in a container.

        Otherwise a later run would take that copy for a new file.
        """
        unknown = unknown_files(self.container_files, self._known_locations(), ())
        for file_id, copy in copies_of_shown_images(unknown, self._uncited_images()).items():
            file = self.outcome.files[file_id]
            file.locate(name_of_copy(copy), location_of_file(copy), version_of_file(copy))
            self._files_by_location[location_of_file(copy)] = file

    def _uncited_images(self) -> dict[str, int]:
        """Return the sizes in bytes of the shown images without a location, by id."""
        images = (file for file in self.outcome.files.values() if file.container_file_id is None)
        return {file.id: len(file.data) for file in images if file.data is not None}

    # --- steps

    def _add_step(self, type_: str, details: Json, now: int) -> RunStep:
        step: RunStep = {
            "id": self.new_id("step"),
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

    def end(self, usage: Usage, function_status: str, now: int) -> None:
        """End the response: attach the remaining files to its last message, and set the usage of its steps.

        The last step gets the response's usage, the others zeros (recorded: steps add up to the run). A step that waits
        for tool outputs gets its usage when they arrive. The upstream counts a response as a whole, and this library
        estimates nothing (docs/differences.md).
        """
        self._locate_uncited_images()
        found_late: list[tuple[Json, str]] = []
        for file in unknown_files(self.container_files, self._known_locations(), self._uncited_images().values()):
            generated = self._file_for_citation(citation_from_file(file))
            if file["container_id"] in self._listed_late:
                found_late.append((file, generated.id))
            elif self.outcome.messages:
                message = self.outcome.messages[-1]
                message["attachments"] = [*message["attachments"], code_interpreter_attachment(generated.id)]
        attach_found_files(self.outcome.messages, found_late)
        if self.function_step is not None:
            set_step_status(self.function_step, function_status, now)
        steps = self.outcome.steps
        for step in steps:
            step["usage"] = ZERO_USAGE
        if self.function_step is not None and function_status == "in_progress":
            self.function_step["usage"] = None
        elif steps:
            steps[-1]["usage"] = usage


_TOOL_BY_CALL_TYPE = {"code_interpreter_call": "code_interpreter", "file_search_call": "file_search"}


def is_hosted_tool_call(item: Mapping[str, Any]) -> bool:
    """Return whether an item is a call of a hosted tool that the legacy API had."""
    return str(item.get("type")) in _TOOL_BY_CALL_TYPE


def set_message_end(message: Message, reason: str | None, now: int) -> None:
    """Mark a message completed, or incomplete if there is a reason."""
    message["status"] = "completed" if reason is None else "incomplete"
    message["incomplete_details"] = None if reason is None else {"reason": reason}
    message["incomplete_at"] = None if reason is None else now
    message["completed_at"] = now if reason is None else None


def _image_block(file_id: str) -> Json:
    return {"type": "image_file", "image_file": {"file_id": file_id}}


def _search_result(result: Mapping[str, Any]) -> Json:
    """Return a file search result in legacy shape (FileSearchStreamingWorks.json)."""
    return {
        "file_id": str(result.get("file_id")),
        "file_name": str(result.get("filename")),
        "score": result.get("score") or 0.0,
        "attributes": result.get("attributes") or {},
        "content": [{"type": "text", "text": str(result.get("text") or "")}],
    }


def _replay_entry(item: Mapping[str, Any], call: Json, now: int) -> Json:
    """Return a Code Interpreter call as later runs send it while its container lives.

    The upstream's schema requires all of these keys.
    """
    logs = [output for output in call["outputs"] if output["type"] == "logs"]
    replayed = {
        "type": "code_interpreter_call",
        "id": item["id"],
        "status": "completed",
        "container_id": item["container_id"],
        "code": call["input"],
        "outputs": logs,
    }
    return {"items": [replayed], "until": now + _CONTAINER_LIFETIME}


def _image_from_data_url(url: object) -> tuple[str, bytes] | None:
    """Return the image type and the bytes of a `data:image/png;base64,...` URL, or None for anything else."""
    match = _DATA_URL.match(url) if isinstance(url, str) else None
    if match is None:
        return None
    try:
        return match[1], base64.b64decode(match[2], validate=True)
    except binascii.Error:
        return None


INCOMPLETE_REASONS = {"cancelled": "run_cancelled", "expired": "run_expired", "failed": "run_failed"}
"""Why a message is incomplete, by the status in which its run ended."""

_MESSAGE_REASONS = {"max_output_tokens": "max_tokens", "content_filter": "content_filter"}


def incomplete_reason(response: Mapping[str, Any]) -> str:
    """Return why a message of this response would be incomplete, as a value of the legacy enum (spec)."""
    if response.get("status") == "cancelled":
        return "run_cancelled"
    reason = as_object(response.get("incomplete_details")).get("reason")
    return _MESSAGE_REASONS.get(str(reason), "run_failed")
