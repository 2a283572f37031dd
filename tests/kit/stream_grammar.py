"""The legal sequences of legacy stream events, as tables and one walk over them.

The tables come from the streamed recordings, which tests/recorded_traffic/test_stream_translation.py checks.
No recording ends as failed, cancelled, expired or incomplete; these ends follow the same pattern (recordings.md
section 9).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Event = tuple[str, Any]

_ENDS = {
    "thread.run.completed": "ended",
    "thread.run.requires_action": "ended",
    "thread.run.incomplete": "ended",
    "thread.run.failed": "ended",
    "thread.run.cancelled": "ended",
    "thread.run.expired": "ended",
}
_NOT_BEGUN = ("thread.run.failed", "thread.run.cancelled", "thread.run.expired")
STREAM = {
    "start": {
        "thread.created": "with a thread",
        "thread.run.created": "created",
        "thread.run.step.completed": "answered",
    },
    "with a thread": {"thread.run.created": "created"},
    "created": {"thread.run.queued": "queued"},
    "answered": {"thread.run.queued": "queued"},
    "queued": {"thread.run.in_progress": "going", **dict.fromkeys(_NOT_BEGUN, "ended")},
    "going": _ENDS,  # and the events of steps and messages, by the two tables below
    "ended": {"done": "over"},
    "over": {},
}
"""The events that lead from one phase of a stream to the next."""
STEP: dict[str | None, dict[str, str]] = {
    None: {"created": "created"},
    "created": {"in_progress": "open"},
    "open": {"delta": "open", **dict.fromkeys(("completed", "failed", "cancelled", "expired"), "ended")},
    "ended": {},
}
"""The phases of one step."""
MESSAGE: dict[str | None, dict[str, str]] = {
    None: {"created": "created"},
    "created": {"in_progress": "open"},
    "open": {"delta": "open", "completed": "ended", "incomplete": "ended"},
    "ended": {},
}
"""The phases of one message."""
DIRECTLY_AFTER = {
    "thread.run.step.in_progress": ("thread.run.step.created",),
    "thread.message.created": ("thread.run.step.in_progress",),
    "thread.message.in_progress": ("thread.message.created",),
    "thread.run.queued": ("thread.run.created", "thread.run.step.completed"),
    "thread.run.in_progress": ("thread.run.queued",),
    "done": tuple(_ENDS),
}
"""Events that must directly follow one of the given events."""

RUN_KEYS = (
    "id", "object", "created_at", "assistant_id", "thread_id", "status", "started_at", "expires_at", "cancelled_at",
    "failed_at", "completed_at", "required_action", "last_error", "model", "instructions", "tools", "tool_resources",
    "metadata", "temperature", "top_p", "reasoning_effort", "max_completion_tokens", "max_prompt_tokens",
    "truncation_strategy", "incomplete_details", "usage", "response_format", "tool_choice", "parallel_tool_calls",
)  # fmt: skip
STEP_KEYS = (
    "id", "object", "created_at", "run_id", "assistant_id", "thread_id", "type", "status", "cancelled_at",
    "completed_at", "expires_at", "failed_at", "last_error", "step_details", "usage",
)  # fmt: skip
MESSAGE_KEYS = (
    "id", "object", "created_at", "assistant_id", "thread_id", "run_id", "status", "incomplete_details",
    "incomplete_at", "completed_at", "role", "content", "attachments", "metadata",
)  # fmt: skip
DELTA_KEYS = ("id", "object", "delta")
KEYS = {
    "thread": ("id", "object", "created_at", "metadata", "tool_resources"),
    "thread.run": RUN_KEYS,
    "thread.run.step": STEP_KEYS,
    "thread.message": MESSAGE_KEYS,
    "thread.run.step.delta": DELTA_KEYS,
    "thread.message.delta": DELTA_KEYS,
}
"""The keys of every payload in order, by its `object`."""


class IllegalStreamError(AssertionError):
    """An event came where the grammar does not allow it."""


@dataclass
class GrammarWalk:
    """One walk over a stream; with `one_at_a_time`, no step begins while another is open that has no functions."""

    one_at_a_time: bool = True
    phase: str = "start"
    last: str = ""
    run_id: str = ""
    steps: dict[str, Any] = field(default_factory=dict)  # phase by id, and so on
    messages: dict[str, Any] = field(default_factory=dict)
    step_of: dict[str, str] = field(default_factory=dict)  # by message
    functions: dict[str, list[str]] = field(default_factory=dict)  # ids of the calls, by step

    def event(self, name: str, data: Any) -> None:
        """Take the next event; raise `IllegalStreamError` if it is not allowed here."""
        before = DIRECTLY_AFTER.get(name)
        self._must(before is None or self.last in before, f"{name} after {self.last}")
        moves = STREAM[self.phase]
        if name in moves:
            self._enter_phase(name, data, moves[name])
        elif self.phase == "going" and name.startswith("thread.run.step."):
            self._step(name.removeprefix("thread.run.step."), data)
        elif self.phase == "going" and name.startswith("thread.message."):
            self._message(name.removeprefix("thread.message."), data)
        else:
            self._must(ok=False, problem=f"{name} in a stream that is {self.phase}")
        self.last = name

    def _enter_phase(self, name: str, data: Any, phase: str) -> None:
        if name == "done":
            self._must(data == "[DONE]", "done without its word")
        elif name == "thread.run.step.completed":
            self._must(data["type"] == "tool_calls" and data["status"] == "completed", "an answered step")
            calls = data["step_details"]["tool_calls"]
            self._must(all(call["function"]["output"] is not None for call in calls), "answered without outputs")
            self.run_id = data["run_id"]
        elif name.startswith("thread.run."):
            self._run(name.removeprefix("thread.run."), data, ended=phase == "ended")
        self.phase = phase

    def _run(self, status: str, run: Json, *, ended: bool) -> None:
        self._must(run["status"] == ("queued" if status == "created" else status), f"status of {status}")
        self._must(self.run_id in {"", run["id"]}, "another run")
        self.run_id = run["id"]
        is_over = ended and status != "requires_action"
        self._must((run["expires_at"] is None) == is_over, f"expires_at of {status}")
        self._must((run["required_action"] is not None) == (status == "requires_action"), "required_action")
        if not ended:
            return
        self._must(set(self.messages.values()) <= {"ended"}, "a message that has not ended")
        open_ = [id_ for id_, phase in self.steps.items() if phase != "ended"]
        if status != "requires_action":
            self._must(not open_, f"steps that have not ended: {open_}")
            return
        self._must(len(open_) == 1 and open_[0] in self.functions, "requires_action is of one step with functions")
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        self._must(
            sorted(call["id"] for call in calls) == sorted(self.functions[open_[0]]), "other calls than streamed"
        )

    def _step(self, what: str, data: Json) -> None:
        id_ = data["id"]
        self._move(STEP, self.steps, id_, what)
        if what == "delta":
            self._must(id_ not in self.step_of.values(), "a delta of a message's step")
            for call in data["delta"]["step_details"]["tool_calls"]:
                if call["type"] == "function" and "id" in call:
                    self.functions.setdefault(id_, []).append(call["id"])
            return
        self._must(data["run_id"] == self.run_id, "a step of another run")
        self._must(data["status"] == ("in_progress" if what == "created" else what), f"status of a step {what}")
        self._must(data["expires_at"] is not None, "a streamed step keeps expires_at")
        if what == "created":
            busy = [
                step_id
                for step_id, phase in self.steps.items()
                if phase != "ended" and step_id not in {id_, *self.functions}
            ]
            self._must(not (self.one_at_a_time and busy), f"a step beside {busy}")
            details = data["step_details"]
            if data["type"] == "message_creation":
                self.step_of[details["message_creation"]["message_id"]] = id_
            else:
                self._must(details["tool_calls"] == [], "a step begins without calls")
        if self.steps[id_] == "ended":
            self._must(not (what == "completed" and id_ in self.functions), "functions are not answered in this stream")
            message_phases = [self.messages.get(message) for message, step in self.step_of.items() if step == id_]
            self._must(message_phases in ([], ["ended"]), "a step ended before its message")

    def _message(self, what: str, data: Json) -> None:
        id_ = data["id"]
        self._must(self.steps.get(self.step_of.get(id_, "")) == "open", "a message outside of its step")
        self._move(MESSAGE, self.messages, id_, what)
        if what == "delta":
            return
        self._must(data["run_id"] == self.run_id and data["role"] == "assistant", "whose message")
        self._must(data["status"] == ("in_progress" if what == "created" else what), f"status of a message {what}")
        self._must(
            self.messages[id_] == "ended" or (data["content"] == [] and data["attachments"] == []), "begins empty"
        )

    def _move(self, table: dict[str | None, dict[str, str]], phases: Json, id_: str, what: str) -> None:
        moves = table[phases.get(id_)]
        self._must(what in moves, f"{what} of {id_}, which is {phases.get(id_)}")
        phases[id_] = moves[what]

    @staticmethod
    def _must(ok: bool, problem: str) -> None:  # noqa: FBT001 - a condition and its message, as in `assert`
        if not ok:
            raise IllegalStreamError(problem)


def check_order(events: Iterable[Event], *, one_at_a_time: bool = True) -> GrammarWalk:
    """Check that a whole stream is legal and complete."""
    walk = GrammarWalk(one_at_a_time)
    for name, data in events:
        walk.event(name, data)
    if walk.phase != "over":
        raise IllegalStreamError(f"a stream that ends when it is {walk.phase}")
    return walk


def check_keys(
    events: Iterable[Event], *, without: tuple[str, ...] = (), with_more: dict[str, tuple[str, ...]] | None = None
) -> None:
    """Check the keys of every payload and their order, except for those in `without` and `with_more` (by `object`)."""
    for name, data in events:
        if name == "done":
            continue
        expected = tuple(key for key in KEYS[data["object"]] if key not in without)
        expected += (with_more or {}).get(data["object"], ())
        if tuple(data) != expected:
            raise IllegalStreamError(f"{name} has the keys {tuple(data)}")


def check_usage(events: Iterable[Event], spent: int = 0) -> None:
    """Check that a finished run's usage is the sum of its steps' (recorded) plus `spent`, that of other rounds."""
    total = spent
    for name, data in events:
        if name.startswith("thread.run.step.") and data.get("usage"):
            total += data["usage"]["total_tokens"]
        elif _ENDS.get(name) and data["usage"] is not None and data["usage"]["total_tokens"] != total:
            raise IllegalStreamError(f"steps used {total}, the run {data['usage']}")
