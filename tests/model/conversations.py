"""A hypothesis state machine that makes legacy calls and compares each with a small model of the Assistants API.

Its rules create threads, messages, runs and tool outputs, cancel, let time pass, and make the upstream refuse. Each
answer must equal that of `reference_model`. After each step the store must hold what the model holds.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import openai
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from reference_model import (
    ENDED,
    AnsweredCalls,
    ModelMessage,
    Plan,
    ReferenceService,
    RefusedError,
    Run,
    Thread,
    reachable,
)

import assistants_compat
from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import KEY
from kit.legacy_code import dump_store

TTL = 600
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
STOPPED_AT = {"completed": "completed_at", "failed": "failed_at", "cancelled": "cancelled_at"}

ANSWER_KINDS = st.sampled_from(["says", "says", "calls", "calls", "calls", "fails", "stops short"])
POLL_COUNTS = st.sampled_from([0, 0, 0, 1, 2, 50])
ROLES = st.sampled_from(["user", "user", "assistant"])
PLACE = st.integers(0, 7)
ANSWER_SHAPES = st.tuples(
    ANSWER_KINDS, POLL_COUNTS, st.integers(1, 2), st.booleans(), st.integers(0, 9), st.integers(1, 9)
)


@dataclass
class World:
    """State that is shared by all examples: the upstream, the settings, and the clock that `IO.now` reads."""

    upstream: StandIn
    settings: Settings
    now: int = 1_700_000_000


def pick(things: Sequence[Any], place: int) -> Any:
    """Return one of several things."""
    return things[place % len(things)]


def served_fields(message: Any) -> tuple[Any, ...]:
    """Return the fields of a served or stored message that the model has too."""
    [block] = message["content"]
    return message["role"], block["text"]["value"], message["run_id"], message["metadata"]


def model_fields(message: ModelMessage) -> tuple[Any, ...]:
    """Return the same fields of a model's message."""
    return message.role, message.text, message.run_id, message.metadata


class Conversations(RuleBasedStateMachine):
    """Makes legacy calls on a wrapped client and on the model."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.upstream = world, world.upstream
        self.settings = replace(world.settings, namespace=f"test-{uuid.uuid4().hex}")
        raw = openai.OpenAI(api_key=KEY, base_url=world.upstream.base_url, max_retries=0)
        self.client: Any = assistants_compat.wrap(raw, self.settings)
        self.beta: Any = self.client.beta
        self.reference = ReferenceService(world.now, TTL)
        self.threads: list[Thread] = []
        self.numbers = itertools.count(1)
        self.upstream.requests.clear()

    def teardown(self) -> None:
        """Close the client and drop the turns that were scripted but not used."""
        self.client.close()
        self.upstream._state.turns.clear()

    @property
    def runs(self) -> list[Run]:
        """Return all runs, including those of deleted threads."""
        return [run for thread in self.threads for run in thread.runs]

    # --- comparing client and model

    @contextmanager
    def same_outcome(self, expectation: Callable[[], None]) -> Iterator[bool]:
        """Expect the block to succeed if the model allows it, or else to fail with the model's status and text."""
        refused = None
        try:
            expectation()
        except RefusedError as error:
            refused = error
        if refused is None:
            yield True
            return
        with pytest.raises(openai.APIStatusError) as caught:
            yield False
        body: Any = caught.value.body
        assert (caught.value.status_code, body["message"]) == (refused.status, refused.message)
        self.upstream._state.turns.clear()

    @contextmanager
    def refused_upstream(self, request: str, *, when: bool = True) -> Iterator[None]:
        """Let the upstream refuse this request; the block must raise that error."""
        if not when:
            yield
            return
        self.upstream.fault(Fault(request, status=503))
        with pytest.raises(openai.InternalServerError):
            yield

    def script_answer(self, shape: tuple[Any, ...]) -> Plan:
        """Script the upstream's next answer and return it as the model's plan."""
        kind, polls, calls, speaks, prompt, completion = shape
        has_text = kind in ("says", "stops short") or (kind == "calls" and speaks)
        plan = Plan(
            kind=kind,
            text=f"answer {next(self.numbers)}" if has_text else None,
            calls=tuple(f"call_{next(self.numbers)}" for _ in range(calls)) if kind == "calls" else (),
            polls=polls,
            tokens=(prompt, completion),
        )
        turn = Turn(
            text=plan.text,
            function_calls=[{"name": "look_up", "arguments": "{}", "call_id": call} for call in plan.calls],
            polls=plan.polls,
            status={"fails": "failed", "stops short": "incomplete"}.get(kind, "completed"),  # type: ignore[arg-type]
            usage={"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion},
        )
        self.upstream.script(turn)
        return plan

    def last_response_request(self) -> dict[str, Any]:
        """Return the body of the last `POST /responses`."""
        return next(
            request.json
            for request in reversed(self.upstream.requests)
            if (request.method, request.path) == ("POST", "/responses")
        )

    def check_run(self, served: Any, run: Run) -> None:
        """Check that a served run is the model's: its status, reached legally, and the fields that follow from it."""
        assert (served.id, served.thread_id, served.metadata) == (run.id, run.thread.id, run.metadata)
        assert served.status == run.status
        assert served.status in reachable(run.last_seen)
        run.last_seen = served.status
        assert served.expires_at == (None if run.status in ENDED else run.expires_at)
        action = served.required_action
        pending_calls = [] if action is None else [call.id for call in action.submit_tool_outputs.tool_calls]
        assert pending_calls == list(run.pending_calls)
        assert (served.last_error is not None) == (run.status == "failed")
        assert (served.incomplete_details is not None) == (run.status == "incomplete")
        for status, stamp in STOPPED_AT.items():
            assert (getattr(served, stamp) is not None) == (
                status == run.status or (status, run.status) == ("completed", "incomplete")
            )
        if run.status not in ENDED:
            assert served.usage is None
        elif run.tokens is not None:
            assert (served.usage.prompt_tokens, served.usage.completion_tokens) == run.tokens

    # --- threads

    @initialize()
    def assistants(self) -> None:
        """Make two assistants, one of them without instructions, and a first thread."""
        self.silent_assistant = self.beta.assistants.create(model="gpt-4o", tools=[TOOL]).id
        self.instructed_assistant = self.beta.assistants.create(model="gpt-4o", tools=[TOOL], instructions="Help.").id
        self.create_thread(["user"])

    @precondition(lambda self: len(self.threads) < 4)
    @rule(roles=st.lists(ROLES, max_size=3))
    def create_thread(self, roles: list[str]) -> None:
        """A thread starts with the given messages."""
        messages = [ModelMessage(role, f"said {next(self.numbers)}") for role in roles]
        params = [{"role": message.role, "content": message.text} for message in messages]
        self.threads.append(Thread(self.beta.threads.create(messages=params).id, [*messages]))

    @precondition(lambda self: len(self.threads) > 2)
    @rule(place=PLACE)
    def delete_thread(self, place: int) -> None:
        """A deleted thread is gone, with everything in it."""
        thread = pick(self.threads, place)
        with self.same_outcome(lambda: self.reference.check_exists(thread)):
            assert self.beta.threads.delete(thread.id).deleted
        thread.deleted = True

    # --- messages

    @rule(place=PLACE, role=ROLES)
    def create_message(self, place: int, role: str) -> None:
        """A message joins its thread, unless a run is active."""
        thread, message = pick(self.threads, place), ModelMessage(role, f"said {next(self.numbers)}")
        with self.same_outcome(lambda: self.reference.create_message(thread, message)):
            self.beta.threads.messages.create(thread.id, role=role, content=message.text)

    def pick_message(self, thread: Thread, place: int) -> tuple[ModelMessage, str]:
        """Return one of a thread's messages and its id in the store."""
        ids = [
            row["id"] for row in self.stored_rows("messages") if row["thread_id"] == thread.id and "role" in row["body"]
        ]
        place %= len(ids)
        return thread.messages[place], ids[place]

    @rule(place=PLACE, which=PLACE)
    def update_message(self, place: int, which: int) -> None:
        """A message's metadata can change at any time."""
        thread = pick(self.threads, place)
        if thread.messages and not thread.deleted:
            message, id_ = self.pick_message(thread, which)
            message.metadata = {"number": str(next(self.numbers))}
            updated = self.beta.threads.messages.update(id_, thread_id=thread.id, metadata=message.metadata)
            assert served_fields(updated.to_dict()) == model_fields(message)

    @rule(place=PLACE, which=PLACE)
    def delete_message(self, place: int, which: int) -> None:
        """A deleted message is not listed and not sent again."""
        thread = pick(self.threads, place)
        if thread.messages and not thread.deleted:
            message, id_ = self.pick_message(thread, which)
            assert self.beta.threads.messages.delete(id_, thread_id=thread.id).deleted
            message.deleted = True
            with pytest.raises(openai.NotFoundError):
                self.beta.threads.messages.retrieve(id_, thread_id=thread.id)

    @rule(place=PLACE, order=st.sampled_from(["asc", "desc"]), limit=st.sampled_from([1, 2, 100]))
    def list_messages(self, place: int, order: Any, limit: int) -> None:
        """A thread's messages are listed in either order and over any number of pages."""
        thread = pick(self.threads, place)
        with self.same_outcome(lambda: self.reference.check_exists(thread)) as allowed:
            if allowed:
                self.reference.poll_active_run(thread)
            page = self.beta.threads.messages.list(thread.id, order=order, limit=limit)
            at_first, listed = [*thread.messages], list(page.data)
            while page.has_next_page():
                self.reference.poll_active_run(thread)
                page = page.get_next_page()
                listed += page.data
            # A message that a run writes between two pages comes before the first page, or at the end.
            expected = at_first[::-1] if order == "desc" else thread.messages
            assert [served_fields(message.to_dict()) for message in listed] == [
                model_fields(message) for message in expected
            ]

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def list_messages_of_a_run(self, place: int) -> None:
        """`run_id` lists only the messages of one run."""
        run = pick(self.runs, place)
        with self.same_outcome(lambda: self.reference.check_exists(run.thread)) as allowed:
            if allowed:
                self.reference.poll_active_run(run.thread)
            listed = self.beta.threads.messages.list(run.thread.id, run_id=run.id, order="asc")
            expected = [model_fields(message) for message in run.thread.messages if message.run_id == run.id]
            assert [served_fields(message.to_dict()) for message in listed.data] == expected

    # --- runs

    @rule(
        place=PLACE,
        instructions=st.booleans(),
        more=st.lists(ROLES, max_size=2),
        last=st.sampled_from([None, None, None, 1, 3]),
        shape=ANSWER_SHAPES,
    )
    def create_run(
        self, place: int, *, instructions: bool, more: list[str], last: int | None, shape: tuple[Any, ...]
    ) -> None:
        """A run sends the whole transcript, unless its thread is busy or has nothing to answer."""
        thread = pick(self.threads, place)
        instructions = instructions or thread.active is not None  # it is unknown which of two refusals comes first
        plan, messages = self.script_answer(shape), [ModelMessage(role, f"said {next(self.numbers)}") for role in more]
        options: dict[str, Any] = {}
        if last is not None:
            options["truncation_strategy"] = {"type": "last_messages", "last_messages": last}
        with self.same_outcome(
            lambda: self.reference.check_run_allowed(thread, messages, instructions=instructions)
        ) as allowed:
            served = self.beta.threads.runs.create(
                thread.id,
                assistant_id=self.instructed_assistant if instructions else self.silent_assistant,
                additional_messages=[{"role": message.role, "content": message.text} for message in messages],
                **options,
            )
            assert allowed
            self.check_run(served, self.reference.create_run(thread, messages, served.id, plan))
            assert served.status == "queued"
            # The service refuses an empty input, so that is one empty message.
            expected = self.reference.transcript(thread, last=last) or [{"role": "user", "content": ""}]
            assert self.last_response_request()["input"] == expected

    @rule(place=PLACE, more=st.lists(ROLES, max_size=2))
    def create_run_while_the_upstream_refuses(self, place: int, more: list[str]) -> None:
        """A run that the upstream refuses leaves nothing behind, not even its additional messages."""
        thread = pick(self.threads, place)
        messages = [{"role": role, "content": "lost"} for role in more]
        expectation = partial(self.reference.check_run_allowed, thread, [], instructions=True)
        with self.same_outcome(expectation) as allowed, self.refused_upstream("POST /responses", when=allowed):
            self.beta.threads.runs.create(
                thread.id, assistant_id=self.instructed_assistant, additional_messages=messages
            )

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def poll_run(self, place: int) -> None:
        """A polled run is the model's."""
        run = pick(self.runs, place)
        with self.same_outcome(lambda: self.reference.check_exists(run.thread)) as allowed:
            if allowed:
                self.reference.poll(run)
            self.check_run(self.beta.threads.runs.retrieve(run.id, thread_id=run.thread.id), run)

    @precondition(lambda self: any(run.status in ("queued", "in_progress") for run in self.runs))
    @rule(place=PLACE)
    def poll_run_while_the_upstream_fails(self, place: int) -> None:
        """A poll that the upstream refuses fails and changes nothing."""
        run = pick([run for run in self.runs if run.status in ("queued", "in_progress")], place)
        if not run.thread.deleted:
            with self.refused_upstream("GET /responses/*"):
                self.beta.threads.runs.retrieve(run.id, thread_id=run.thread.id)

    @rule(place=PLACE)
    def list_runs(self, place: int) -> None:
        """A thread's runs are listed newest first."""
        thread = pick(self.threads, place)
        with self.same_outcome(lambda: self.reference.check_exists(thread)) as allowed:
            if allowed:
                self.reference.poll_active_run(thread)
            served = self.beta.threads.runs.list(thread.id, limit=100).data
            assert len(served) == len(thread.runs)
            for served_run, run in zip(served, reversed(thread.runs), strict=True):
                self.check_run(served_run, run)

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def list_steps(self, place: int) -> None:
        """A run's steps have the model's types and statuses, and their usages add up to the run's."""
        run = pick(self.runs, place)
        with self.same_outcome(lambda: self.reference.check_exists(run.thread)) as allowed:
            if allowed:
                self.reference.poll_active_run(run.thread)
            steps = self.beta.threads.runs.steps.list(run.id, thread_id=run.thread.id, order="asc").data
            assert [(step.type, step.status) for step in steps] == [(step.type, step.status) for step in run.steps]
            if run.status in ("completed", "cancelled", "expired") and run.tokens is not None:
                usages = [step.usage for step in steps]
                spent = sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages)
                assert spent == run.tokens

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def update_run(self, place: int) -> None:
        """A run's metadata can change unless the run is in progress."""
        run, metadata = pick(self.runs, place), {"number": str(next(self.numbers))}
        with self.same_outcome(lambda: self.reference.update_run(run, metadata)):
            self.check_run(self.beta.threads.runs.update(run.id, thread_id=run.thread.id, metadata=metadata), run)

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def cancel(self, place: int) -> None:
        """A run that has not ended can be cancelled."""
        run = pick(self.runs, place)
        with self.same_outcome(lambda: self.reference.cancel(run)):
            self.check_run(self.beta.threads.runs.cancel(run.id, thread_id=run.thread.id), run)

    # --- tool outputs

    def submit(self, run: Run, call_ids: Sequence[str]) -> Any:
        """Submit outputs for these calls."""
        outputs: Any = [{"tool_call_id": call, "output": f"of {call}"} for call in call_ids]
        return self.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread.id, tool_outputs=outputs)

    @precondition(lambda self: any(run.pending_calls for run in self.runs))
    @rule(place=PLACE, shape=ANSWER_SHAPES, backwards=st.booleans())
    def submit_outputs(self, place: int, shape: tuple[Any, ...], *, backwards: bool) -> None:
        """A run with all its outputs, in any order, continues and sends only them."""
        run = pick([run for run in self.runs if run.pending_calls], place)
        plan, calls = self.script_answer(shape), run.pending_calls[::-1] if backwards else run.pending_calls
        with self.same_outcome(lambda: self.reference.check_submit_allowed(run, calls)):
            served = self.submit(run, calls)
            self.reference.submit(run, {call: f"of {call}" for call in calls}, plan)
            self.check_run(served, run)
            outputs = [{"type": "function_call_output", "call_id": call, "output": f"of {call}"} for call in calls]
            assert self.last_response_request()["input"] == outputs

    @precondition(lambda self: self.runs)
    @rule(place=PLACE, wrong=st.sampled_from(["missing", "surplus", "twice", "none"]))
    def submit_wrong_outputs(self, place: int, wrong: str) -> None:
        """Missing, surplus and repeated outputs are refused, and so are outputs for a run that waits for none."""
        run = pick([run for run in self.runs if run.pending_calls] or self.runs, place)
        calls = list(run.pending_calls) or ["call_0"]
        calls = {
            "missing": calls[1:] or ["call_0"],
            "surplus": [*calls, "call_0"],
            "twice": calls * 2,
            "none": ["call_0"],
        }[wrong]
        with self.same_outcome(lambda: self.reference.check_submit_allowed(run, calls)):
            self.submit(run, calls)

    @precondition(lambda self: any(run.pending_calls for run in self.runs))
    @rule(place=PLACE)
    def submit_while_the_upstream_refuses(self, place: int) -> None:
        """Outputs that the upstream refused can be submitted again."""
        run = pick([run for run in self.runs if run.pending_calls], place)
        calls = run.pending_calls
        expectation = partial(self.reference.check_submit_allowed, run, calls)
        with self.same_outcome(expectation) as allowed, self.refused_upstream("POST /responses", when=allowed):
            self.submit(run, calls)

    # --- time

    @rule(seconds=st.sampled_from([1, 30, 299, TTL, TTL]))
    def wait(self, seconds: int) -> None:
        """Time passes; a run advances only when it is polled."""
        self.world.now += seconds
        self.reference.now = self.world.now

    # --- invariants

    def stored_rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of this example that are not deleted."""
        return [row for row in dump_store(self.settings)[table] if not row["deleted"]]

    @invariant()
    def check_store_equals_model(self) -> None:
        """The store has the model's threads, messages, calls and runs, and each thread at most one active run."""
        rows = {
            table: [row for row in found if not row.get("deleted")]
            for table, found in dump_store(self.settings).items()
        }
        threads = [thread for thread in self.threads if not thread.deleted]
        assert [row["id"] for row in rows["threads"]] == [thread.id for thread in threads]
        for thread in threads:
            messages = [row["body"] for row in rows["messages"] if row["thread_id"] == thread.id]
            assert [served_fields(message) for message in messages if "role" in message] == [
                model_fields(message) for message in thread.messages
            ]
            calls = [message["items"] for message in messages if "role" not in message]
            assert calls == [entry.sent() for entry in thread.entries if isinstance(entry, AnsweredCalls)]
            runs = [row for row in rows["runs"] if row["thread_id"] == thread.id]
            assert [(row["id"], row["status"]) for row in runs] == [(run.id, run.status) for run in thread.runs]
            assert all(row["status"] == row["body"]["status"] for row in runs)
            assert sum(row["status"] not in ENDED for row in runs) <= 1

    @invariant()
    def check_every_call_is_sent_with_its_output(self) -> None:
        """Every function call in a request has its output, because the upstream refuses unanswered calls."""
        for request in self.upstream.requests:
            if (request.method, request.path) == ("POST", "/responses"):
                items = request.json["input"]
                called = [item["call_id"] for item in items if item.get("type") == "function_call"]
                answered = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
                assert called == ([] if "previous_response_id" in request.json else answered)
