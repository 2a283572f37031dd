"""A recorded run as responses: one a round, whose output is what its steps and messages show."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from ...translate.citations import is_shown_image
from ...translate.run import TERMINAL
from ...wire.objects import Json, as_object, objects
from .evidence import Evidence, Shown, calls_of

Plan = dict[str, list[str | None]]
"""The ids, by their kind, that the shim is to give in this order; None for one that nobody sees."""

_REASONS = {"max_completion_tokens": "max_output_tokens"}
_ENDS = {"requires_action": "completed", "expired": "in_progress", "cancelling": "in_progress"}
_NOTHING = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}


def counted(kind: str, *names: object) -> str:
    """An id of the upstream's, always the same one for the same things."""
    return f"{kind}_{hashlib.sha256(' '.join(map(str, names)).encode()).hexdigest()[:48]}"


@dataclass
class Round:
    """What a run did between two times that somebody gave it outputs; `begin` and `end` are the calls that bound it."""

    begin: int
    end: int
    calls: list[Json] = field(default_factory=list)  # functions that it waits for, as `required_action` has them
    steps: list[Json] = field(default_factory=list)
    messages: list[Json] = field(default_factory=list)  # which no step speaks of


class RecordedRun:
    """A run, as all calls of the recording show it."""

    def __init__(self, evidence: Evidence, run_id: str) -> None:
        """Put together what belongs to it; `troubles` says what is not known."""
        self.id, self.evidence = run_id, evidence
        self.shown = [each for each in evidence.shown.get(run_id, []) if each.object["object"] == "thread.run"]
        self.last = self.shown[-1].object if self.shown else {}
        self.troubles: list[str] = []
        self.container = counted("cntr", self.last.get("thread_id"))
        self.files: dict[str, str] = {}  # of the container, by their id there: the recorded id
        self.names: dict[str, str] = {}  # their paths
        self.messages = evidence.all("thread.message", run_id=run_id)
        self.steps = evidence.all("thread.run.step", run_id=run_id)

    # --- rounds

    @cached_property
    def rounds(self) -> list[Round]:
        """Its rounds, with what is known of each."""
        submits = [old for old in self.evidence.ours if old.submits_to == self.id]
        begin = next((old.number for id_, old in self.evidence.created.items() if id_ == self.id), 0)
        bounds = [begin, *(old.number for old in submits), len(self.evidence.olds) + 1]
        rounds = [Round(first, last) for first, last in pairwise(bounds)]
        for each in rounds:
            each.calls = self._calls(each)
        for submit, each in zip(submits, rounds, strict=False):
            if not each.calls:
                each.calls = self._called(submit.body)
        self._share_steps(rounds)
        self._share_messages(rounds)
        return rounds

    def _calls(self, of: Round) -> list[Json]:
        for each in reversed(self._within(of)):
            action = as_object(each.object.get("required_action"))
            if calls := objects(as_object(action.get("submit_tool_outputs")).get("tool_calls")):
                return calls
        return []

    def _within(self, of: Round) -> list[Shown]:
        return [each for each in self.shown if of.begin <= each.number < of.end]

    def _called(self, body: Json) -> list[Json]:
        """The calls that outputs were given for, where nobody looked at the run before: their steps may name them."""
        known = {call.get("id"): call for step in self.steps for call in calls_of(step)}
        found = []
        for output in objects(body.get("tool_outputs")):
            id_ = str(output.get("tool_call_id"))
            if id_ not in known:
                self.troubles.append(f"run {self.id}: the name and the arguments of call {id_} were never read")
            found.append(known.get(id_) or {"id": id_, "type": "function", "function": {"name": "", "arguments": ""}})
        return found

    def _share_steps(self, rounds: list[Round]) -> None:
        current = 0
        for step in self.steps:
            ids = {call.get("id") for call in calls_of(step) if call.get("type") == "function"}
            at = next((n for n, each in enumerate(rounds) if ids & {call["id"] for call in each.calls}), None)
            rounds[min(current if at is None else at, len(rounds) - 1)].steps.append(step)
            current = current if at is None else at + 1

    def _share_messages(self, rounds: list[Round]) -> None:
        spoken_of = {_message_of(step) for step in self.steps}
        for message in self.messages:
            if message["id"] in spoken_of:
                continue
            seen = self.evidence.shown[message["id"]][0].number
            at = next((each for each in rounds if each.begin <= seen < each.end), rounds[-1])
            at.messages.append(message)

    # --- how far it is

    def status_at(self, number: int, at: int) -> str:
        """The status of the round `at` when the call with this number was answered."""
        round_ = self.rounds[at]
        seen = [each for each in self._within(round_) if each.number <= number]
        status = seen[-1].object["status"] if seen else "queued"
        if status in TERMINAL or status == "requires_action":
            return str(status)
        if seen and seen[-1].number == number:
            return str(status)
        # Nobody looked at the run, but what it said was there.
        theirs = {each["id"] for each in [*round_.steps, *round_.messages]}
        shown = {each["id"] for each in self.evidence.old(number).objects}
        said = {_message_of(step) for step in round_.steps}
        return self.end_of(at) if shown & (theirs | said) else str(status)

    def end_of(self, at: int) -> str:
        """The status in which a round ended, as far as it is known."""
        within = self._within(self.rounds[at])
        status = str(within[-1].object["status"]) if within else "queued"
        if at < len(self.rounds) - 1:
            return "requires_action"
        if status in TERMINAL or status in {"requires_action", "cancelling"}:
            return status
        return "completed" if self.messages or self.steps else status

    # --- responses

    def response_id(self, at: int) -> str:
        """The upstream's id of a round's response."""
        return counted("resp", self.id, at)

    def response(self, at: int, status: str, request: Mapping[str, Any]) -> tuple[Json, Plan]:
        """The response of a round in this status of its run, and the ids of what it holds."""
        ended = status in TERMINAL - {"expired", "cancelled"} or status == "requires_action"
        items, plan = self.output(at) if ended else ([], {})
        shown = self._within(self.rounds[at])
        run = shown[-1].object if shown else self.last
        said = _ENDS.get(status, status)
        error = as_object(run.get("last_error")) if status == "failed" else None
        reason = as_object(run.get("incomplete_details")).get("reason")
        created = int(self.last.get("created_at") or 0)
        response: Json = {
            "id": self.response_id(at),
            "object": "response",
            "created_at": created,
            "status": said,
            "background": bool(request.get("background")),
            "completed_at": (run.get("completed_at") or created) if said == "completed" else None,
            "error": error and {"code": error.get("code"), "message": error.get("message")},
            "incomplete_details": {"reason": _REASONS.get(str(reason), reason)} if status == "incomplete" else None,
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
            "usage": self._usage(at) if ended else None,
            "user": None,
            "metadata": {},
        }
        return response, plan

    def _usage(self, at: int) -> Json | None:
        """What a round used: its steps' tokens, and for the last round what is left of the run's."""
        total = _tokens(self.last.get("usage"))
        of_rounds = [[_tokens(step.get("usage")) for step in each.steps] for each in self.rounds]
        used = [_sum(each) if each and all(each) else None for each in of_rounds]
        if at < len(self.rounds) - 1 or total is None:
            mine = used[at]
        else:
            mine = {key: value - sum((each or _NOTHING)[key] for each in used[:-1]) for key, value in total.items()}
        if mine is None:
            return None
        return {
            "input_tokens": mine["input_tokens"],
            "input_tokens_details": {"cached_tokens": mine["cached_tokens"]},
            "output_tokens": mine["output_tokens"],
            "output_tokens_details": {"reasoning_tokens": mine["reasoning_tokens"]},
            "total_tokens": mine["total_tokens"],
        }

    def output(self, at: int) -> tuple[list[Json], Plan]:
        """The items of a round's response, and the ids that the shim is to give what it makes of them."""
        writing = _Writing(self, at)
        round_ = self.rounds[at]
        known = {each["id"]: each for each in self.messages}
        parts: list[tuple[int, Json]] = [(step.get("created_at") or 0, step) for step in round_.steps]
        parts += [(message.get("created_at") or 0, message) for message in round_.messages]
        for _, part in sorted(parts, key=lambda each: each[0]):
            if part["object"] == "thread.message":
                writing.message(part["id"], part)
            elif part["type"] == "message_creation":
                id_ = _message_of(part)
                writing.message(id_, known.get(id_), part["id"])
            else:
                writing.calls(part, round_.calls)
        writing.functions(round_.calls)
        return writing.items, writing.plan

    @property
    def cited(self) -> list[Json]:
        """The files of the container that messages link, as its list shows them."""
        sizes = {file: len(self.evidence.contents.get(recorded, b"")) for file, recorded in self.files.items()}
        return [
            {
                "id": file,
                "object": "container.file",
                "created_at": int(self.last.get("created_at") or 0),
                "bytes": sizes[file],
                "container_id": self.container,
                "path": path,
                "source": "assistant",
            }
            for file, path in self.names.items()
        ]


class _Writing:
    """Writes the items of one round."""

    def __init__(self, run: RecordedRun, at: int) -> None:
        self.run, self.at = run, at
        self.items: list[Json] = []
        self.plan: Plan = {"msg": [], "step": [], "call": [], "file": []}
        self._images: deque[str] = deque()  # that calls showed since the last message
        self._seen: set[str] = set()  # images that calls showed
        self._named = False  # whether the functions are written

    def _id(self, kind: str) -> str:
        return counted(kind, self.run.id, self.at, len(self.items))

    # --- messages

    def message(self, id_: str, message: Json | None, step_id: str | None = None) -> None:
        """A message; one that was never read has no content."""
        self.plan["msg"].append(id_)
        self.plan["step"].append(step_id)
        if message is None:
            self.run.troubles.append(f"message {id_} was never read: its text is not known, and left out")
        shown, self._images = self._images, deque()
        notes = [self._shown(file) for file in shown]
        blocks = objects((message or {}).get("content"))
        images = [
            str(as_object(block["image_file"]).get("file_id")) for block in blocks if block.get("type") == "image_file"
        ]
        notes += [self._cited(file, "", 0, 0) for file in images if file not in shown]
        parts = [self._part(block) for block in blocks if block.get("type") in {"text", "refusal"}]
        if notes and not parts:
            parts = [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]
        if notes:
            parts[0]["annotations"][:0] = notes
        self._attached((message or {}).get("attachments"))
        status = "incomplete" if (message or {}).get("status") == "incomplete" else "completed"
        self.items.append(
            {"id": self._id("msg"), "type": "message", "status": status, "role": "assistant", "content": parts}
        )

    def _attached(self, attachments: Any) -> None:
        """Files that a message has and does not link: the container lists them, and nothing cites them."""
        for each in objects(attachments):
            file_id = str(each.get("file_id"))
            place = counted("cfile", file_id)
            if file_id in self.run.evidence.generated and place not in self.run.files and file_id not in self._seen:
                name = str(self.run.evidence.files.get(file_id, {}).get("filename") or file_id)
                self._keep(file_id, place)
                self.run.names[place] = f"/mnt/data/{name.removeprefix('/mnt/data/')}"

    def _keep(self, file_id: str, place: str) -> None:
        self.run.files[place] = file_id
        self.plan["file"].append(file_id)
        if file_id not in self.run.evidence.contents:
            self.run.troubles.append(f"file {file_id} was never downloaded: its bytes are not known, and it is empty")

    def _part(self, block: Json) -> Json:
        if block["type"] == "refusal":
            return {"type": "refusal", "refusal": str(block.get("refusal") or "")}
        text = as_object(block.get("text"))
        value, notes = str(text.get("value") or ""), objects(text.get("annotations"))
        said, done, kept = "", 0, []
        shift: list[tuple[int, int]] = []
        for note in sorted(notes, key=lambda each: each.get("start_index") or 0):
            start, end = note.get("start_index"), note.get("end_index")
            if note.get("type") == "file_citation" and isinstance(start, int) and isinstance(end, int):
                said += value[done:start]
                if end > done:
                    shift.append((start, end - max(start, done)))
                done = max(end, done)
                kept.append(self._searched(note, len(said)))
        said += value[done:]
        for note in notes:
            if note.get("type") == "file_path":
                gone = sum(length for at, length in shift if at < (note.get("start_index") or 0))
                kept.append(self._linked(note, gone))
        return {"type": "output_text", "text": said, "annotations": kept, "logprobs": []}

    @staticmethod
    def _searched(note: Json, index: int) -> Json:
        name = str(note.get("text")).partition("†")[2].removesuffix("】")
        file_id = as_object(note.get("file_citation")).get("file_id")
        return {"type": "file_citation", "file_id": file_id, "filename": name, "index": index}

    def _linked(self, note: Json, gone: int) -> Json:
        file_id = str(as_object(note.get("file_path")).get("file_id"))
        link = str(note.get("text") or "")
        return self._cited(
            file_id, link, int(note.get("start_index") or 0) - gone, int(note.get("end_index") or 0) - gone
        )

    def _cited(self, file_id: str, link: str, start: int, end: int) -> Json:
        """A citation of a container's file that stands for a recorded one; without a link it was shown."""
        place = counted("cfile", file_id)
        path = link.removeprefix("sandbox:")
        name = path.removeprefix("/mnt/data/") if link else self._name(file_id)
        if place not in self.run.files:
            self._keep(file_id, place)
            if link:
                self.run.names[place] = path
        return {
            "type": "container_file_citation",
            "container_id": self.run.container,
            "file_id": place,
            "filename": name,
            "start_index": start,
            "end_index": end,
        }

    def _shown(self, file_id: str) -> Json:
        """The citation of an image whose bytes came with its call."""
        note = self._cited_without_plan(file_id)
        assert is_shown_image(note)  # noqa: S101 - 0/0 is what says so
        return note

    def _cited_without_plan(self, file_id: str) -> Json:
        return {
            "type": "container_file_citation",
            "container_id": self.run.container,
            "file_id": counted("cfile", file_id),
            "filename": self._name(file_id),
            "start_index": 0,
            "end_index": 0,
        }

    def _name(self, file_id: str) -> str:
        return str(self.run.evidence.files.get(file_id, {}).get("filename") or f"{file_id}.png").rpartition("/")[2]

    # --- calls

    def calls(self, step: Json, functions: list[Json]) -> None:
        """The calls of a step: one of a hosted tool each, or the functions that the run waits for."""
        hosted = [call for call in calls_of(step) if call.get("type") != "function"]
        for number, call in enumerate(hosted):
            self.plan["call"].append(str(call.get("id")))
            self.plan["step"].append(step["id"] if number == 0 else None)
            self.items.append(
                self._code(call, step) if call["type"] == "code_interpreter" else self._search(call, step)
            )
        if len(hosted) > 1:
            self.run.troubles.append(f"step {step['id']} has {len(hosted)} calls: each is a step of its own now")
        if not hosted:
            self.plan["step"].append(step["id"])
            self._functions(functions or calls_of(step))

    def functions(self, calls: list[Json]) -> None:
        """The functions that the run waits for, where no step was read that has them."""
        if calls and not self._named:
            self.plan["step"].append(None)
            self._functions(calls)

    def _functions(self, calls: Iterable[Json]) -> None:
        self._named = True
        for call in calls:
            function = as_object(call.get("function"))
            said = {"name": function.get("name"), "arguments": function.get("arguments") or ""}
            self.items.append(
                {
                    "id": self._id("fc"),
                    "type": "function_call",
                    "status": "completed",
                    "call_id": call.get("id"),
                    **said,
                }
            )

    def _code(self, call: Json, step: Json) -> Json:
        code = as_object(call.get("code_interpreter"))
        outputs: list[Json] = []
        for output in objects(code.get("outputs")):
            if output.get("type") == "logs":
                outputs.append({"type": "logs", "logs": str(output.get("logs") or "")})
            elif output.get("type") == "image":
                outputs.append(self._image(str(as_object(output.get("image")).get("file_id"))))
        self.plan["msg"].append(None)  # what later runs are told of the call
        return {
            "id": self._id("ci"),
            "type": "code_interpreter_call",
            "status": _status(step),
            "code": str(code.get("input") or ""),
            "container_id": self.run.container,
            "outputs": outputs,
        }

    def _image(self, file_id: str) -> Json:
        self.plan["file"].append(file_id)
        self._images.append(file_id)
        self._seen.add(file_id)
        data = self.run.evidence.contents.get(file_id)
        if data is None:
            self.run.troubles.append(f"image {file_id} was never downloaded: its bytes are not known, and it is empty")
        return {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(data or b'').decode()}"}

    def _search(self, call: Json, step: Json) -> Json:
        found = as_object(call.get("file_search")).get("results")
        results = [
            {
                "file_id": each.get("file_id"),
                "filename": each.get("file_name"),
                "score": each.get("score"),
                "attributes": each.get("attributes") or {},
                "text": "".join(str(part.get("text") or "") for part in objects(each.get("content"))),
            }
            for each in objects(found)
        ]
        said = {"queries": [], "results": results if isinstance(found, list) else None}
        return {"id": self._id("fs"), "type": "file_search_call", "status": _status(step), **said}


def _status(step: Json) -> str:
    return "failed" if step.get("status") == "failed" else "completed"


def _message_of(step: Json) -> str:
    details = as_object(step.get("step_details"))
    return str(as_object(details.get("message_creation")).get("message_id"))


def _tokens(usage: Any) -> dict[str, int] | None:
    """Tokens by the names of the Responses API, each a number."""
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


def _sum(each: list[dict[str, int] | None]) -> dict[str, int]:
    return {key: sum((one or _NOTHING)[key] for one in each) for key in _NOTHING}
