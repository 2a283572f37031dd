"""A small in-memory model of the Assistants API: threads, messages, runs, steps and locks.

It follows the service's semantics (platform.md section 12) and is independent of this library's code. The language
model behind it is a `Plan`: its next answer, and the number of polls until that arrives. Callers pass in the time and
the ids of threads and runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]

TRANSITIONS = {
    "queued": {"in_progress"},
    "in_progress": {"completed", "failed", "incomplete", "expired", "requires_action", "cancelling"},
    "requires_action": {"queued", "expired", "cancelling"},
    "cancelling": {"cancelled"},
    "completed": set(),
    "failed": set(),
    "incomplete": set(),
    "cancelled": set(),
    "expired": set(),
}
"""The diagram of the documentation; a queued run may have been in progress between two polls."""

ENDED = frozenset(status for status, moves in TRANSITIONS.items() if not moves)


def reachable(status: str) -> set[str]:
    """Return every status that may follow this one, itself included."""
    found, new = {status}, {status}
    while new:
        new = {after for before in new for after in TRANSITIONS[before]} - found
        found |= new
    return found


class RefusedError(Exception):
    """The service refuses a call with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Plan:
    """One answer of the language model."""

    kind: Literal["says", "calls", "fails", "stops short"]
    text: str | None
    calls: tuple[str, ...]  # their ids
    polls: int  # until the answer arrives
    tokens: tuple[int, int]


@dataclass
class ModelMessage:
    """A message; `run_id` is that of the run that wrote it. A deleted message only keeps its place."""

    role: str
    text: str
    run_id: str | None = None
    metadata: Json = field(default_factory=dict)
    deleted: bool = False

    def sent(self) -> list[Json]:
        """Return the message as sent to the upstream."""
        if self.role == "assistant":
            return [{"role": "assistant", "content": self.text}]
        return [{"role": "user", "content": [{"type": "input_text", "text": self.text}]}]


@dataclass
class AnsweredCalls:
    """The function calls of a run with their outputs. They are no message, but are sent in later runs."""

    run_id: str
    outputs: dict[str, str]

    def sent(self) -> list[Json]:
        """Return each call with its output as sent to the upstream."""
        return [
            item
            for call, output in self.outputs.items()
            for item in (
                {"type": "function_call", "call_id": call, "name": "look_up", "arguments": "{}"},
                {"type": "function_call_output", "call_id": call, "output": output},
            )
        ]


@dataclass
class Step:
    """A run's step."""

    type: str
    status: str


@dataclass
class Run:
    """One run; `last_seen` is the status that a caller got last."""

    id: str
    thread: Thread
    expires_at: int
    plan: Plan
    polls_left: int
    status: str = "queued"
    pending_calls: tuple[str, ...] = ()
    tokens: tuple[int, int] | None = None
    steps: list[Step] = field(default_factory=list)
    metadata: Json = field(default_factory=dict)
    last_seen: str = "queued"


@dataclass
class Thread:
    """A thread with its messages, and between them the calls of its runs."""

    id: str
    entries: list[ModelMessage | AnsweredCalls] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    deleted: bool = False

    @property
    def messages(self) -> list[ModelMessage]:
        """Return the messages that a list shows, oldest first."""
        return [entry for entry in self.entries if isinstance(entry, ModelMessage) and not entry.deleted]

    @property
    def sent_entries(self) -> list[ModelMessage | AnsweredCalls]:
        """Return what later runs send: calls only while a message of their run exists, or else the one before them."""
        return [entry for place, entry in enumerate(self.entries) if self._is_sent(place, entry)]

    def _is_sent(self, place: int, entry: ModelMessage | AnsweredCalls) -> bool:
        if isinstance(entry, ModelMessage):
            return not entry.deleted
        messages = [other for other in self.entries if isinstance(other, ModelMessage)]
        earlier = [other for other in self.entries[:place] if isinstance(other, ModelMessage)]
        deciding = [message for message in messages if message.run_id == entry.run_id] or earlier[-1:]
        return not deciding or not all(message.deleted for message in deciding)

    @property
    def active(self) -> Run | None:
        """Return the run that locks the thread."""
        return next((run for run in self.runs if run.status not in ENDED), None)


class ReferenceService:
    """The service that the library imitates."""

    def __init__(self, now: int, ttl: int) -> None:
        self.now, self.ttl = now, ttl

    # --- time and polls

    def poll(self, run: Run) -> None:
        """Poll a run: the language model's answer arrives, or the run expires."""
        late = self.now >= run.expires_at
        if run.status == "requires_action":
            self._stop(run, "expired", when=late)
        elif run.status == "cancelling":
            self._stop(run, "cancelled")
        elif run.status not in ENDED and run.polls_left:
            run.polls_left -= 1
            run.status = "in_progress"
            self._stop(run, "expired", when=late)
        elif run.status not in ENDED:
            self._take_answer(run)
            self._stop(run, "expired", when=late and run.status == "requires_action")

    def poll_active_run(self, thread: Thread) -> None:
        """Poll the run that locks a thread, if there is one."""
        if thread.active is not None:
            self.poll(thread.active)

    def _stop(self, run: Run, status: str, *, when: bool = True) -> None:
        if when:
            run.status, run.pending_calls = status, ()
            for step in run.steps:
                step.status = status if step.status == "in_progress" else step.status

    def _take_answer(self, run: Run) -> None:
        plan = run.plan
        before = run.tokens or (0, 0)
        run.tokens = (before[0] + plan.tokens[0], before[1] + plan.tokens[1])
        if plan.text is not None:
            run.thread.entries.append(ModelMessage("assistant", plan.text, run.id))
            run.steps.append(Step("message_creation", "completed"))
        if plan.kind == "calls":
            run.steps.append(Step("tool_calls", "in_progress"))
            run.pending_calls = plan.calls
        run.status = {
            "says": "completed",
            "calls": "requires_action",
            "fails": "failed",
            "stops short": "incomplete",
        }[plan.kind]

    # --- what callers do

    def check_exists(self, thread: Thread) -> None:
        """Refuse a deleted thread."""
        if thread.deleted:
            raise RefusedError(404, f"No thread found with id '{thread.id}'.")

    def create_message(self, thread: Thread, message: ModelMessage) -> None:
        """Add a message, unless a run is active."""
        self.check_exists(thread)
        self.poll_active_run(thread)
        if thread.active is not None:
            text = f"Can't add messages to {thread.id} while a run {thread.active.id} is active."
            raise RefusedError(400, text)
        thread.entries.append(message)

    def check_run_allowed(self, thread: Thread, more: Sequence[ModelMessage], *, instructions: bool) -> None:
        """Refuse a run if one is active, or if there is nothing to answer."""
        self.check_exists(thread)
        self.poll_active_run(thread)
        if thread.active is not None:
            raise RefusedError(400, f"Thread {thread.id} already has an active run {thread.active.id}.")
        if not instructions and not any(message.role == "user" for message in [*thread.messages, *more]):
            text = "Run creation requires a Thread with a user message or an assistant with instructions."
            raise RefusedError(400, text)

    def create_run(self, thread: Thread, more: Sequence[ModelMessage], id_: str, plan: Plan) -> Run:
        """Create a run, after `check_run_allowed`."""
        thread.entries.extend(more)
        run = Run(id_, thread, self.now + self.ttl, plan, plan.polls)
        thread.runs.append(run)
        return run

    def transcript(self, thread: Thread, more: Sequence[ModelMessage] = (), last: int | None = None) -> list[Json]:
        """Return the input of a run on this thread; with `last`, only that many messages and what follows them."""
        entries = [*thread.sent_entries, *more]
        places = [place for place, entry in enumerate(entries) if isinstance(entry, ModelMessage)]
        if last is not None and len(places) >= last:
            entries = entries[places[-last] :]
        return [item for entry in entries for item in entry.sent()]

    def check_submit_allowed(self, run: Run, call_ids: Sequence[str]) -> None:
        """Refuse any outputs but those of the pending calls."""
        self.check_exists(run.thread)
        self.poll(run)
        if run.status != "requires_action":
            raise RefusedError(400, f'Runs in status "{run.status}" do not accept tool outputs.')
        if sorted(call_ids) != sorted(run.pending_calls):
            text = f"Expected tool outputs for call_ids {list(run.pending_calls)}, got {list(call_ids)}"
            raise RefusedError(400, text)

    def submit(self, run: Run, outputs: dict[str, str], plan: Plan) -> None:
        """Start the next round, after `check_submit_allowed`."""
        run.thread.entries.append(AnsweredCalls(run.id, {call: outputs[call] for call in run.pending_calls}))
        for step in run.steps:
            step.status = "completed"
        run.status, run.pending_calls, run.plan, run.polls_left = "queued", (), plan, plan.polls

    def cancel(self, run: Run) -> None:
        """Begin to cancel a run, unless it has ended."""
        self.check_exists(run.thread)
        self.poll(run)
        if run.status in ENDED or run.status == "cancelling":
            raise RefusedError(400, f"Cannot cancel run with status '{run.status}'.")
        run.status, run.pending_calls = "cancelling", ()

    def update_run(self, run: Run, metadata: Json) -> None:
        """Add to a run's metadata, unless it is in progress."""
        self.check_exists(run.thread)
        self.poll(run)
        if run.status in ("in_progress", "cancelling"):
            raise RefusedError(400, f"Cannot update run with status '{run.status}'.")
        run.metadata = {**run.metadata, **metadata}
