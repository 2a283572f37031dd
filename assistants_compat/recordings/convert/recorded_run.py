"""Rebuilds a recorded run as responses: one for each round, whose output is what its steps and messages show."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from ...translate.citations import is_named_by_id, is_shown_image
from ...translate.run import TERMINAL
from ...wire.objects import Json, as_object, as_object_list
from .evidence import Evidence, Observation, tool_calls_of

IdPlan = dict[str, list[str | None]]
"""The ids, by kind, that the library is to assign in this order; None where the recording does not show the id."""

_INCOMPLETE_REASONS = {"max_completion_tokens": "max_output_tokens"}
_RESPONSE_STATUSES = {"requires_action": "completed", "expired": "in_progress", "cancelling": "in_progress"}
_NO_TOKENS = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}


def upstream_id(kind: str, *names: object) -> str:
    """Return an id as the upstream would assign it; always the same one for the same names."""
    return f"{kind}_{hashlib.sha256(' '.join(map(str, names)).encode()).hexdigest()[:48]}"


@dataclass
class Round:
    """What a run did before, between or after submissions of tool outputs; from call `begin` to before call `end`."""

    begin: int
    end: int
    function_calls: list[Json] = field(default_factory=list)  # that the run waits for, as in `required_action`
    steps: list[Json] = field(default_factory=list)
    messages: list[Json] = field(default_factory=list)  # those that no step mentions


class RecordedRun:
    """A run, as all calls of the recording show it."""

    def __init__(self, evidence: Evidence, run_id: str) -> None:
        """Collect what belongs to the run; `warnings` lists what the recording does not show."""
        self.id, self.evidence = run_id, evidence
        observations = evidence.observations.get(run_id, [])
        self.observations = [entry for entry in observations if entry.object["object"] == "thread.run"]
        self.latest = self.observations[-1].object if self.observations else {}
        self.warnings: list[str] = []
        self.container_id = upstream_id("cntr", self.latest.get("thread_id"))
        self.recorded_file_ids: dict[str, str] = {}  # by the id of the container's file
        self.container_paths: dict[str, str] = {}  # likewise
        self.messages = evidence.find("thread.message", run_id=run_id)
        self.steps = evidence.find("thread.run.step", run_id=run_id)

    # --- rounds

    @cached_property
    def rounds(self) -> list[Round]:
        """Its rounds, with what is known of each."""
        submissions = [call for call in self.evidence.answered_calls if call.submitted_run_id == self.id]
        begin = next((call.number for id_, call in self.evidence.creating_calls.items() if id_ == self.id), 0)
        bounds = [begin, *(call.number for call in submissions), len(self.evidence.calls) + 1]
        rounds = [Round(first, last) for first, last in pairwise(bounds)]
        for round_ in rounds:
            round_.function_calls = self._required_calls(round_)
        for submission, round_ in zip(submissions, rounds, strict=False):
            if not round_.function_calls:
                round_.function_calls = self._calls_of_outputs(submission.request_json)
        self._assign_steps(rounds)
        self._assign_messages(rounds)
        return rounds

    def _required_calls(self, round_: Round) -> list[Json]:
        for observation in reversed(self._observations_in(round_)):
            action = as_object(observation.object.get("required_action"))
            if calls := as_object_list(as_object(action.get("submit_tool_outputs")).get("tool_calls")):
                return calls
        return []

    def _observations_in(self, round_: Round) -> list[Observation]:
        return [entry for entry in self.observations if round_.begin <= entry.call_number < round_.end]

    def _calls_of_outputs(self, submission: Json) -> list[Json]:
        """Return the calls that outputs were submitted for, if no poll showed them: steps may have their names."""
        in_steps = {call.get("id"): call for step in self.steps for call in tool_calls_of(step)}
        calls = []
        for output in as_object_list(submission.get("tool_outputs")):
            id_ = str(output.get("tool_call_id"))
            if id_ not in in_steps:
                self.warnings.append(
                    f"run {self.id}: the recording never shows tool call {id_}, so its name and arguments are empty"
                )
            calls.append(
                in_steps.get(id_) or {"id": id_, "type": "function", "function": {"name": "", "arguments": ""}}
            )
        return calls

    def _assign_steps(self, rounds: list[Round]) -> None:
        current = 0
        for step in self.steps:
            ids = {call.get("id") for call in tool_calls_of(step) if call.get("type") == "function"}
            # A step with function calls is the last of its round, so the steps after it belong to the next round.
            matches = (n for n, round_ in enumerate(rounds) if ids & {call["id"] for call in round_.function_calls})
            index = next(matches, None)
            rounds[min(current if index is None else index, len(rounds) - 1)].steps.append(step)
            current = current if index is None else index + 1

    def _assign_messages(self, rounds: list[Round]) -> None:
        in_steps = {_message_id(step) for step in self.steps}
        for message in self.messages:
            if message["id"] in in_steps:
                continue
            first_seen = self.evidence.observations[message["id"]][0].call_number
            matches = (round_ for round_ in rounds if round_.begin <= first_seen < round_.end)
            next(matches, rounds[-1]).messages.append(message)

    # --- progress

    def status_at(self, call_number: int, index: int) -> str:
        """Return the run's status in the round with this index when the call with this number was answered."""
        round_ = self.rounds[index]
        seen = [observation for observation in self._observations_in(round_) if observation.call_number <= call_number]
        status = seen[-1].object["status"] if seen else "queued"
        if status in TERMINAL or status == "requires_action":
            return str(status)
        if seen and seen[-1].call_number == call_number:
            return str(status)
        # No call polled the run, but this one shows its output, so the round had ended.
        outputs = {part["id"] for part in [*round_.steps, *round_.messages]}
        shown = {object_["id"] for object_ in self.evidence.call(call_number).objects}
        in_steps = {_message_id(step) for step in round_.steps}
        return self.final_status(index) if shown & (outputs | in_steps) else str(status)

    def final_status(self, index: int) -> str:
        """Return the status in which a round ended, as far as the recording shows it."""
        observations = self._observations_in(self.rounds[index])
        status = str(observations[-1].object["status"]) if observations else "queued"
        if index < len(self.rounds) - 1:
            return "requires_action"
        if status in TERMINAL or status in {"requires_action", "cancelling"}:
            return status
        return "completed" if self.messages or self.steps else status

    # --- responses

    def response_id(self, index: int) -> str:
        """Return the upstream's id of a round's response."""
        return upstream_id("resp", self.id, index)

    def response(self, index: int, run_status: str, request: Mapping[str, Any]) -> tuple[Json, IdPlan]:
        """Return a round's response while the run has this status, and the ids of its output."""
        ended = run_status in TERMINAL - {"expired", "cancelled"} or run_status == "requires_action"
        items, plan = self.output(index) if ended else ([], {})
        observations = self._observations_in(self.rounds[index])
        run = observations[-1].object if observations else self.latest
        status = _RESPONSE_STATUSES.get(run_status, run_status)
        error = as_object(run.get("last_error")) if run_status == "failed" else None
        reason = as_object(run.get("incomplete_details")).get("reason")
        incomplete = {"reason": _INCOMPLETE_REASONS.get(str(reason), reason)} if run_status == "incomplete" else None
        created = int(self.latest.get("created_at") or 0)
        response: Json = {
            "id": self.response_id(index),
            "object": "response",
            "created_at": created,
            "status": status,
            "background": bool(request.get("background")),
            "completed_at": (run.get("completed_at") or created) if status == "completed" else None,
            "error": error and {"code": error.get("code"), "message": error.get("message")},
            "incomplete_details": incomplete,
            "instructions": request.get("instructions"),
            "max_output_tokens": request.get("max_output_tokens"),
            "model": request.get("model"),
            "output": items,
            "parallel_tool_calls": request.get("parallel_tool_calls", True),
            "previous_response_id": request.get("previous_response_id"),
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default" if ended else "auto",
            "store": request.get("store", True),
            "temperature": request.get("temperature", 1.0),
            "text": request.get("text", {"format": {"type": "text"}}),
            "tool_choice": request.get("tool_choice", "auto"),
            "tools": request.get("tools", []),
            "top_p": request.get("top_p", 1.0),
            "truncation": "disabled",
            "usage": self._usage(index) if ended else None,
            "user": None,
            "metadata": {},
        }
        return response, plan

    def _usage(self, index: int) -> Json | None:
        """Return a round's usage: the tokens of its steps, and for the last round the rest of the run's tokens."""
        total = _token_counts(self.latest.get("usage"))
        step_tokens = [[_token_counts(step.get("usage")) for step in round_.steps] for round_ in self.rounds]
        by_round = [_sum_tokens(counts) if counts and all(counts) else None for counts in step_tokens]
        if index < len(self.rounds) - 1 or total is None:
            usage = by_round[index]
        else:
            usage = {
                key: value - sum((counts or _NO_TOKENS)[key] for counts in by_round[:-1])
                for key, value in total.items()
            }
        if usage is None:
            return None
        return {
            "input_tokens": usage["input_tokens"],
            "input_tokens_details": {"cached_tokens": usage["cached_tokens"]},
            "output_tokens": usage["output_tokens"],
            "output_tokens_details": {"reasoning_tokens": usage["reasoning_tokens"]},
            "total_tokens": usage["total_tokens"],
        }

    def output(self, index: int) -> tuple[list[Json], IdPlan]:
        """Return the items of a round's response, and the ids for the objects that the library makes of them."""
        writer = _OutputWriter(self, index)
        round_ = self.rounds[index]
        messages = {message["id"]: message for message in self.messages}
        parts: list[tuple[int, Json]] = [(step.get("created_at") or 0, step) for step in round_.steps]
        parts += [(message.get("created_at") or 0, message) for message in round_.messages]
        for _, part in sorted(parts, key=lambda dated_part: dated_part[0]):
            if part["object"] == "thread.message":
                writer.add_message(part["id"], part)
            elif part["type"] == "message_creation":
                id_ = _message_id(part)
                writer.add_message(id_, messages.get(id_), part["id"])
            else:
                writer.add_tool_calls(part, round_.function_calls)
        writer.add_functions_without_step(round_.function_calls)
        return writer.items, writer.plan

    @property
    def container_files(self) -> list[Json]:
        """The files of the container that messages link, as the container's list shows them."""
        contents = self.evidence.file_contents
        sizes = {file: len(contents.get(recorded_id, b"")) for file, recorded_id in self.recorded_file_ids.items()}
        return [
            {
                "id": file,
                "object": "container.file",
                "created_at": int(self.latest.get("created_at") or 0),
                "bytes": sizes[file],
                "container_id": self.container_id,
                "path": path,
                "source": "assistant",
            }
            for file, path in self.container_paths.items()
        ]


class _OutputWriter:
    """Writes the output items of one round."""

    def __init__(self, run: RecordedRun, index: int) -> None:
        self.run, self.index = run, index
        self.items: list[Json] = []
        self.plan: IdPlan = {"msg": [], "step": [], "call": [], "file": []}
        self._new_images: deque[str] = deque()  # that tool calls showed since the last message
        self._call_images: set[str] = set()  # all images that tool calls showed
        self._has_functions = False

    def _item_id(self, kind: str) -> str:
        return upstream_id(kind, self.run.id, self.index, len(self.items))

    # --- messages

    def add_message(self, id_: str, message: Json | None, step_id: str | None = None) -> None:
        """Add a message; one that the recording never shows has no content."""
        self.plan["msg"].append(id_)
        self.plan["step"].append(step_id)
        if message is None:
            self.run.warnings.append(f"message {id_}: the recording never shows its text, so it has none")
        call_images, self._new_images = self._new_images, deque()
        citations = [self._image_citation(file_id) for file_id in call_images]
        blocks = as_object_list((message or {}).get("content"))
        images = [
            str(as_object(block["image_file"]).get("file_id")) for block in blocks if block.get("type") == "image_file"
        ]
        citations += [self._file_citation(file_id, "", 0, 0) for file_id in images if file_id not in call_images]
        parts = [self._content_part(block) for block in blocks if block.get("type") in {"text", "refusal"}]
        if citations and not parts:
            parts = [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]
        if citations:
            parts[0]["annotations"][:0] = citations
        self._add_attachments((message or {}).get("attachments"))
        status = "incomplete" if (message or {}).get("status") == "incomplete" else "completed"
        self.items.append(
            {"id": self._item_id("msg"), "type": "message", "status": status, "role": "assistant", "content": parts}
        )

    def _add_attachments(self, attachments: Any) -> None:
        """Add the attached files that no text links: the container lists them, and nothing cites them."""
        for attachment in as_object_list(attachments):
            file_id = str(attachment.get("file_id"))
            file = upstream_id("cfile", file_id)
            is_generated = file_id in self.run.evidence.generated_file_ids
            if is_generated and file not in self.run.recorded_file_ids and file_id not in self._call_images:
                name = str(self.run.evidence.file_objects.get(file_id, {}).get("filename") or file_id)
                self._add_file(file_id, file)
                self.run.container_paths[file] = f"/mnt/data/{name.removeprefix('/mnt/data/')}"

    def _add_file(self, file_id: str, file: str) -> None:
        self.run.recorded_file_ids[file] = file_id
        self.plan["file"].append(file_id)
        if file_id not in self.run.evidence.file_contents:
            self.run.warnings.append(f"file {file_id}: the recording never downloads it, so it is empty")

    def _content_part(self, block: Json) -> Json:
        if block["type"] == "refusal":
            return {"type": "refusal", "refusal": str(block.get("refusal") or "")}
        block_text = as_object(block.get("text"))
        value, notes = str(block_text.get("value") or ""), as_object_list(block_text.get("annotations"))
        # The service wrote a marker into the text for each search citation. The Responses API has only its position, so
        # markers are cut out, and links behind them move to the left.
        text, position, annotations = "", 0, []
        cuts: list[tuple[int, int]] = []
        for note in sorted(notes, key=lambda note: note.get("start_index") or 0):
            start, end = note.get("start_index"), note.get("end_index")
            if note.get("type") == "file_citation" and isinstance(start, int) and isinstance(end, int):
                text += value[position:start]
                if end > position:
                    cuts.append((start, end - max(start, position)))
                position = max(end, position)
                annotations.append(self._search_citation(note, len(text)))
        text += value[position:]
        for note in notes:
            if note.get("type") == "file_path":
                shift = sum(length for start, length in cuts if start < (note.get("start_index") or 0))
                annotations.append(self._link_citation(note, shift))
        return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}

    @staticmethod
    def _search_citation(note: Json, index: int) -> Json:
        name = str(note.get("text")).partition("†")[2].removesuffix("】")
        file_id = as_object(note.get("file_citation")).get("file_id")
        return {"type": "file_citation", "file_id": file_id, "filename": name, "index": index}

    def _link_citation(self, note: Json, shift: int) -> Json:
        file_id = str(as_object(note.get("file_path")).get("file_id"))
        link = str(note.get("text") or "")
        return self._file_citation(
            file_id, link, int(note.get("start_index") or 0) - shift, int(note.get("end_index") or 0) - shift
        )

    def _file_citation(self, file_id: str, link: str, start: int, end: int) -> Json:
        """Return the citation of a container's file that stands for a recorded one; an image has no link."""
        file = upstream_id("cfile", file_id)
        # The file's own name is better than the link's, which may be percent-encoded.
        recorded_name = str(self.run.evidence.file_objects.get(file_id, {}).get("filename") or "")
        path = recorded_name if recorded_name.startswith("/mnt/data/") else link.removeprefix("sandbox:")
        name = path.removeprefix("/mnt/data/") if link else self._image_name(file_id)
        if file not in self.run.recorded_file_ids:
            self._add_file(file_id, file)
            if link:
                self.run.container_paths[file] = path
        return {
            "type": "container_file_citation",
            "container_id": self.run.container_id,
            "file_id": file,
            "filename": name,
            "start_index": start,
            "end_index": end,
        }

    def _image_citation(self, file_id: str) -> Json:
        """Return the citation of an image whose bytes, and planned id, came with its tool call."""
        citation = self._planned_image_citation(file_id)
        assert is_shown_image(citation)  # noqa: S101 - by its span of 0/0
        return citation

    def _planned_image_citation(self, file_id: str) -> Json:
        return {
            "type": "container_file_citation",
            "container_id": self.run.container_id,
            "file_id": upstream_id("cfile", file_id),
            "filename": self._image_name(file_id),
            "start_index": 0,
            "end_index": 0,
        }

    def _image_name(self, file_id: str) -> str:
        """Return the name of a shown image: the recorded one if it is made from an id, as the service makes it."""
        file_object = self.run.evidence.file_objects.get(file_id, {})
        name = str(file_object.get("filename") or "").rpartition("/")[2]
        return name if is_named_by_id(name) else f"{file_id}.png"

    # --- tool calls

    def add_tool_calls(self, step: Json, functions: list[Json]) -> None:
        """Add the calls of a step: one item for each hosted tool call, or the functions that the run waits for."""
        hosted = [call for call in tool_calls_of(step) if call.get("type") != "function"]
        for number, call in enumerate(hosted):
            self.plan["call"].append(str(call.get("id")))
            self.plan["step"].append(step["id"] if number == 0 else None)
            self.items.append(
                self._code_item(call, step) if call["type"] == "code_interpreter" else self._search_item(call, step)
            )
        if len(hosted) > 1:
            self.run.warnings.append(f"step {step['id']} has {len(hosted)} tool calls: each becomes its own step")
        if not hosted:
            self.plan["step"].append(step["id"])
            self._add_functions(functions or tool_calls_of(step))

    def add_functions_without_step(self, calls: list[Json]) -> None:
        """Add the functions that the run waits for, unless a recorded step has them."""
        if calls and not self._has_functions:
            self.plan["step"].append(None)
            self._add_functions(calls)

    def _add_functions(self, calls: Iterable[Json]) -> None:
        self._has_functions = True
        for call in calls:
            function = as_object(call.get("function"))
            self.items.append(
                {
                    "id": self._item_id("fc"),
                    "type": "function_call",
                    "status": "completed",
                    "call_id": call.get("id"),
                    "name": function.get("name"),
                    "arguments": function.get("arguments") or "",
                }
            )

    def _code_item(self, call: Json, step: Json) -> Json:
        code = as_object(call.get("code_interpreter"))
        outputs: list[Json] = []
        for output in as_object_list(code.get("outputs")):
            if output.get("type") == "logs":
                outputs.append({"type": "logs", "logs": str(output.get("logs") or "")})
            elif output.get("type") == "image":
                outputs.append(self._image_output(str(as_object(output.get("image")).get("file_id"))))
        self.plan["msg"].append(None)  # for the note of this call that the transcript keeps for later runs
        return {
            "id": self._item_id("ci"),
            "type": "code_interpreter_call",
            "status": _item_status(step),
            "code": str(code.get("input") or ""),
            "container_id": self.run.container_id,
            "outputs": outputs,
        }

    def _image_output(self, file_id: str) -> Json:
        self.plan["file"].append(file_id)
        self._new_images.append(file_id)
        self._call_images.add(file_id)
        data = self.run.evidence.file_contents.get(file_id)
        if data is None:
            self.run.warnings.append(f"image {file_id}: the recording never downloads it, so it is empty")
        return {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(data or b'').decode()}"}

    def _search_item(self, call: Json, step: Json) -> Json:
        recorded = as_object(call.get("file_search")).get("results")
        results = [
            {
                "file_id": result.get("file_id"),
                "filename": result.get("file_name"),
                "score": result.get("score"),
                "attributes": result.get("attributes") or {},
                "text": "".join(str(part.get("text") or "") for part in as_object_list(result.get("content"))),
            }
            for result in as_object_list(recorded)
        ]
        search = {"queries": [], "results": results if isinstance(recorded, list) else None}
        return {"id": self._item_id("fs"), "type": "file_search_call", "status": _item_status(step), **search}


def _item_status(step: Json) -> str:
    return "failed" if step.get("status") == "failed" else "completed"


def _message_id(step: Json) -> str:
    details = as_object(step.get("step_details"))
    return str(as_object(details.get("message_creation")).get("message_id"))


def _token_counts(usage: Any) -> dict[str, int] | None:
    """Return a usage with the names of the Responses API, each count as a number."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = as_object(usage.get("prompt_token_details")), as_object(usage.get("completion_tokens_details"))
    return {
        "input_tokens": int(usage.get("prompt_tokens") or 0),
        "output_tokens": int(usage.get("completion_tokens") or 0),
        "total_tokens": int(usage.get("total_tokens") or 0),
        "cached_tokens": int(prompt.get("cached_tokens") or 0),
        "reasoning_tokens": int(completion.get("reasoning_tokens") or 0),
    }


def _sum_tokens(counts: list[dict[str, int] | None]) -> dict[str, int]:
    return {key: sum((tokens or _NO_TOKENS)[key] for tokens in counts) for key in _NO_TOKENS}
