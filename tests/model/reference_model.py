"""The Assistants API in a page: threads, messages, runs, steps and locks, in memory and without a clock of its own.

Written from the service's semantics (platform.md section 12), not from this library's code, which it knows nothing of.
The model behind it is a `Plan`: what it will say, and for how many looks it is still at work.  Ids of threads, messages
and runs are the service's to make, so they are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]

MOVES = {
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
"""The diagram of the documentation; a queued run may have been in progress when nobody looked."""

ENDED = frozenset(status for status, moves in MOVES.items() if not moves)


def reachable(status: str) -> set[str]:
    """Every status that may be seen after this one, itself included."""
    seen, new = {status}, {status}
    while new:
        new = {after for each in new for after in MOVES[each]} - seen
        seen |= new
    return seen


class RefusedError(Exception):
    """What the service answers instead: a status and its exact words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Plan:
    """One answer of the model."""

    kind: Literal["says", "calls", "fails", "stops short"]
    text: str | None
    calls: tuple[str, ...]  # ids
    looks: int  # that still find it at work
    tokens: tuple[int, int]


@dataclass
class Said:
    """A message; `run_id` of the run that wrote it.  One that was deleted keeps its place, and nothing else."""

    role: str
    text: str
    run_id: str | None = None
    metadata: Json = field(default_factory=dict)
    deleted: bool = False

    def sent(self) -> list[Json]:
        """As the next run's model reads it."""
        if self.role == "assistant":
            return [{"role": "assistant", "content": self.text}]
        return [{"role": "user", "content": [{"type": "input_text", "text": self.text}]}]


@dataclass
class Called:
    """Functions that a run called and what they gave; no message, but later runs are told of it."""

    run_id: str
    outputs: dict[str, str]

    def sent(self) -> list[Json]:
        """Each call with its output."""
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
    """One run; `seen` is the status that a caller saw last."""

    id: str
    thread: Thread
    expires_at: int
    plan: Plan
    looks_left: int
    status: str = "queued"
    waits_for: tuple[str, ...] = ()
    tokens: tuple[int, int] | None = None
    steps: list[Step] = field(default_factory=list)
    metadata: Json = field(default_factory=dict)
    seen: str = "queued"


@dataclass
class Thread:
    """A thread with its messages, and between them what its runs called."""

    id: str
    entries: list[Said | Called] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    deleted: bool = False

    @property
    def messages(self) -> list[Said]:
        """What a list of its messages shows, oldest first."""
        return [entry for entry in self.entries if isinstance(entry, Said) and not entry.deleted]

    @property
    def told(self) -> list[Said | Called]:
        """What later runs are told: calls as long as a message of their run is there, or the one before them."""
        return [entry for place, entry in enumerate(self.entries) if self._is_told(place, entry)]

    def _is_told(self, place: int, entry: Said | Called) -> bool:
        if isinstance(entry, Said):
            return not entry.deleted
        said = [other for other in self.entries if isinstance(other, Said)]
        before = [other for other in self.entries[:place] if isinstance(other, Said)]
        own = [other for other in said if other.run_id == entry.run_id] or before[-1:]
        return not own or not all(other.deleted for other in own)

    @property
    def active(self) -> Run | None:
        """The run that holds it."""
        return next((run for run in self.runs if run.status not in ENDED), None)


class Reference:
    """The service."""

    def __init__(self, now: int, ttl: int) -> None:
        self.now, self.ttl = now, ttl

    # --- time and looks

    def look(self, run: Run) -> None:
        """A run moves when it is looked at: the model's answer arrives, or its time is over."""
        late = self.now >= run.expires_at
        if run.status == "requires_action":
            self._stop(run, "expired", when=late)
        elif run.status == "cancelling":
            self._stop(run, "cancelled")
        elif run.status not in ENDED and run.looks_left:
            run.looks_left -= 1
            run.status = "in_progress"
            self._stop(run, "expired", when=late)
        elif run.status not in ENDED:
            self._answered(run)
            self._stop(run, "expired", when=late and run.status == "requires_action")

    def look_at(self, thread: Thread) -> None:
        """The same for the run that holds a thread."""
        if thread.active is not None:
            self.look(thread.active)

    def _stop(self, run: Run, status: str, *, when: bool = True) -> None:
        if when:
            run.status, run.waits_for = status, ()
            for step in run.steps:
                step.status = status if step.status == "in_progress" else step.status

    def _answered(self, run: Run) -> None:
        plan = run.plan
        before = run.tokens or (0, 0)
        run.tokens = (before[0] + plan.tokens[0], before[1] + plan.tokens[1])
        if plan.text is not None:
            run.thread.entries.append(Said("assistant", plan.text, run.id))
            run.steps.append(Step("message_creation", "completed"))
        if plan.kind == "calls":
            run.steps.append(Step("tool_calls", "in_progress"))
            run.waits_for = plan.calls
        run.status = {
            "says": "completed",
            "calls": "requires_action",
            "fails": "failed",
            "stops short": "incomplete",
        }[plan.kind]

    # --- what callers do

    def exists(self, thread: Thread) -> None:
        """A thread that was deleted is unknown."""
        if thread.deleted:
            raise RefusedError(404, f"No thread found with id '{thread.id}'.")

    def create_message(self, thread: Thread, message: Said) -> None:
        """Locked while a run is active."""
        self.exists(thread)
        self.look_at(thread)
        if thread.active is not None:
            text = f"Can't add messages to {thread.id} while a run {thread.active.id} is active."
            raise RefusedError(400, text)
        thread.entries.append(message)

    def may_run(self, thread: Thread, more: Sequence[Said], *, instructions: bool) -> None:
        """Whether a run can be created now."""
        self.exists(thread)
        self.look_at(thread)
        if thread.active is not None:
            raise RefusedError(400, f"Thread {thread.id} already has an active run {thread.active.id}.")
        if not instructions and not any(message.role == "user" for message in [*thread.messages, *more]):
            text = "Run creation requires a Thread with a user message or an assistant with instructions."
            raise RefusedError(400, text)

    def create_run(self, thread: Thread, more: Sequence[Said], id_: str, plan: Plan) -> Run:
        """A new run, after `may_run`."""
        thread.entries.extend(more)
        run = Run(id_, thread, self.now + self.ttl, plan, plan.looks)
        thread.runs.append(run)
        return run

    def transcript(self, thread: Thread, more: Sequence[Said] = (), last: int | None = None) -> list[Json]:
        """What a run of this thread tells the model; with `last` only so many messages and what follows them."""
        entries = [*thread.told, *more]
        places = [place for place, entry in enumerate(entries) if isinstance(entry, Said)]
        if last is not None and len(places) >= last:
            entries = entries[places[-last] :]
        return [item for entry in entries for item in entry.sent()]

    def may_submit(self, run: Run, call_ids: Sequence[str]) -> None:
        """Exactly the outputs that are waited for."""
        self.exists(run.thread)
        self.look(run)
        if run.status != "requires_action":
            raise RefusedError(400, f'Runs in status "{run.status}" do not accept tool outputs.')
        if sorted(call_ids) != sorted(run.waits_for):
            text = f"Expected tool outputs for call_ids {list(run.waits_for)}, got {list(call_ids)}"
            raise RefusedError(400, text)

    def submit(self, run: Run, outputs: dict[str, str], plan: Plan) -> None:
        """The next round, after `may_submit`."""
        run.thread.entries.append(Called(run.id, {call: outputs[call] for call in run.waits_for}))
        for step in run.steps:
            step.status = "completed"
        run.status, run.waits_for, run.plan, run.looks_left = "queued", (), plan, plan.looks

    def cancel(self, run: Run) -> None:
        """`cancelling`, unless it has ended."""
        self.exists(run.thread)
        self.look(run)
        if run.status in ENDED or run.status == "cancelling":
            raise RefusedError(400, f"Cannot cancel run with status '{run.status}'.")
        run.status, run.waits_for = "cancelling", ()

    def update_run(self, run: Run, metadata: Json) -> None:
        """Refused while it works."""
        self.exists(run.thread)
        self.look(run)
        if run.status in ("in_progress", "cancelling"):
            raise RefusedError(400, f"Cannot update run with status '{run.status}'.")
        run.metadata = metadata
