"""Any sequence of legacy calls, compared step by step with a small model of the Assistants API.

Hypothesis makes up conversations: threads, messages, runs, tool outputs, cancels, waiting, an upstream that refuses.
Each answer has to be the one that `reference_model` gives; after each step the store has to hold what it holds.
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
from hypothesis import HealthCheck, Phase
from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reference_model import ENDED, Called, Plan, Reference, RefusedError, Run, Said, Thread, reachable

import assistants_compat
from assistants_compat import Settings
from assistants_compat.engine.io import IO
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import KEY, Door
from kit.legacy_code import dump, start_run

TTL = 600
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
STOPPED_AT = {"completed": "completed_at", "failed": "failed_at", "cancelled": "cancelled_at"}

KINDS = st.sampled_from(["says", "says", "calls", "calls", "calls", "fails", "stops short"])
LOOKS = st.sampled_from([0, 0, 0, 1, 2, 50])
ROLES = st.sampled_from(["user", "user", "assistant"])
PLACE = st.integers(0, 7)
SHAPES = st.tuples(KINDS, LOOKS, st.integers(1, 2), st.booleans(), st.integers(0, 9), st.integers(1, 9))


@dataclass
class World:
    """What outlives an example: the upstream, the settings and the clock that `IO.now` reads."""

    upstream: StandIn
    settings: Settings
    now: int = 1_700_000_000


def pick(things: Sequence[Any], place: int) -> Any:
    """One of several."""
    return things[place % len(things)]


def words(message: Any) -> tuple[Any, ...]:
    """What a served or stored message has in common with one of the model's."""
    [block] = message["content"]
    return message["role"], block["text"]["value"], message["run_id"], message["metadata"]


def modelled(message: Said) -> tuple[Any, ...]:
    """The same of a message of the model."""
    return message.role, message.text, message.run_id, message.metadata


class Conversations(RuleBasedStateMachine):
    """Legacy calls against the wrapped client and against the model."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.upstream = world, world.upstream
        self.settings = replace(world.settings, namespace=f"test-{uuid.uuid4().hex}")
        raw = openai.OpenAI(api_key=KEY, base_url=world.upstream.base_url, max_retries=0)
        self.client: Any = assistants_compat.wrap(raw, self.settings)
        self.beta: Any = self.client.beta
        self.reference = Reference(world.now, TTL)
        self.threads: list[Thread] = []
        self.numbers = itertools.count(1)
        self.upstream.requests.clear()

    def teardown(self) -> None:
        """Leave nothing open, and no turn to the next example."""
        self.client.close()
        self.upstream._state.turns.clear()

    @property
    def runs(self) -> list[Run]:
        """All runs, those of deleted threads too."""
        return [run for thread in self.threads for run in thread.runs]

    # --- how both are asked

    @contextmanager
    def same(self, expectation: Callable[[], None]) -> Iterator[bool]:
        """Do what the block does only if the model allows it; if not, the block must be refused in the same words."""
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
        """Do the block while the upstream answers this request with an error, which has to be its own."""
        if not when:
            yield
            return
        self.upstream.fault(Fault(request, status=503))
        with pytest.raises(openai.InternalServerError):
            yield

    def plan(self, shape: tuple[Any, ...]) -> Plan:
        """What the upstream will answer next, told to both."""
        kind, looks, calls, speaks, prompt, completion = shape
        says = kind in ("says", "stops short") or (kind == "calls" and speaks)
        plan = Plan(
            kind=kind,
            text=f"answer {next(self.numbers)}" if says else None,
            calls=tuple(f"call_{next(self.numbers)}" for _ in range(calls)) if kind == "calls" else (),
            looks=looks,
            tokens=(prompt, completion),
        )
        turn = Turn(
            text=plan.text,
            function_calls=[{"name": "look_up", "arguments": "{}", "call_id": call} for call in plan.calls],
            polls=plan.looks,
            status={"fails": "failed", "stops short": "incomplete"}.get(kind, "completed"),  # type: ignore[arg-type]
            usage={"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion},
        )
        self.upstream.script(turn)
        return plan

    def sent(self) -> dict[str, Any]:
        """The last request for a response."""
        return next(
            request.json
            for request in reversed(self.upstream.requests)
            if (request.method, request.path) == ("POST", "/responses")
        )

    def agree(self, served: Any, run: Run) -> None:
        """A served run is the model's: its status, by a legal way, and all that belongs to the status."""
        assert (served.id, served.thread_id, served.metadata) == (run.id, run.thread.id, run.metadata)
        assert served.status == run.status
        assert served.status in reachable(run.seen)
        run.seen = served.status
        assert served.expires_at == (None if run.status in ENDED else run.expires_at)
        action = served.required_action
        waits_for = [] if action is None else [call.id for call in action.submit_tool_outputs.tool_calls]
        assert waits_for == list(run.waits_for)
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
        """Two assistants, one without instructions, and a thread to begin with."""
        self.mute = self.beta.assistants.create(model="gpt-4o", tools=[TOOL]).id
        self.told = self.beta.assistants.create(model="gpt-4o", tools=[TOOL], instructions="Help.").id
        self.create_thread(["user"])

    @precondition(lambda self: len(self.threads) < 4)
    @rule(roles=st.lists(ROLES, max_size=3))
    def create_thread(self, roles: list[str]) -> None:
        """A thread begins with the messages that it was given."""
        messages = [Said(role, f"said {next(self.numbers)}") for role in roles]
        given = [{"role": message.role, "content": message.text} for message in messages]
        self.threads.append(Thread(self.beta.threads.create(messages=given).id, [*messages]))

    @precondition(lambda self: len(self.threads) > 2)
    @rule(place=PLACE)
    def delete_thread(self, place: int) -> None:
        """A deleted thread is gone with all that it held."""
        thread = pick(self.threads, place)
        with self.same(lambda: self.reference.exists(thread)):
            assert self.beta.threads.delete(thread.id).deleted
        thread.deleted = True

    # --- messages

    @rule(place=PLACE, role=ROLES)
    def create_message(self, place: int, role: str) -> None:
        """A message joins its thread, unless a run is active."""
        thread, message = pick(self.threads, place), Said(role, f"said {next(self.numbers)}")
        with self.same(lambda: self.reference.create_message(thread, message)):
            self.beta.threads.messages.create(thread.id, role=role, content=message.text)

    def message_at(self, thread: Thread, place: int) -> tuple[Said, str]:
        """A message of the model, and its id in the store."""
        ids = [row["id"] for row in self.stored("messages") if row["thread_id"] == thread.id and "role" in row["body"]]
        place %= len(ids)
        return thread.messages[place], ids[place]

    @rule(place=PLACE, which=PLACE)
    def update_message(self, place: int, which: int) -> None:
        """A message's metadata can change at any time."""
        thread = pick(self.threads, place)
        if thread.messages and not thread.deleted:
            message, id_ = self.message_at(thread, which)
            message.metadata = {"number": str(next(self.numbers))}
            updated = self.beta.threads.messages.update(id_, thread_id=thread.id, metadata=message.metadata)
            assert words(updated.to_dict()) == modelled(message)

    @rule(place=PLACE, which=PLACE)
    def delete_message(self, place: int, which: int) -> None:
        """A deleted message is not listed and not sent again."""
        thread = pick(self.threads, place)
        if thread.messages and not thread.deleted:
            message, id_ = self.message_at(thread, which)
            assert self.beta.threads.messages.delete(id_, thread_id=thread.id).deleted
            message.deleted = True
            with pytest.raises(openai.NotFoundError):
                self.beta.threads.messages.retrieve(id_, thread_id=thread.id)

    @rule(place=PLACE, order=st.sampled_from(["asc", "desc"]), limit=st.sampled_from([1, 2, 100]))
    def list_messages(self, place: int, order: Any, limit: int) -> None:
        """A thread's messages, in either order and over any number of pages."""
        thread = pick(self.threads, place)
        with self.same(lambda: self.reference.exists(thread)) as there:
            if there:
                self.reference.look_at(thread)
            page = self.beta.threads.messages.list(thread.id, order=order, limit=limit)
            at_first, listed = [*thread.messages], list(page.data)
            while page.has_next_page():
                self.reference.look_at(thread)
                page = page.get_next_page()
                listed += page.data
            # What a run says between two pages comes before the first one, or at the end.
            expected = at_first[::-1] if order == "desc" else thread.messages
            assert [words(message.to_dict()) for message in listed] == [modelled(message) for message in expected]

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def list_messages_of_a_run(self, place: int) -> None:
        """With `run_id` only what this run wrote."""
        run = pick(self.runs, place)
        with self.same(lambda: self.reference.exists(run.thread)) as there:
            if there:
                self.reference.look_at(run.thread)
            listed = self.beta.threads.messages.list(run.thread.id, run_id=run.id, order="asc")
            wrote = [modelled(message) for message in run.thread.messages if message.run_id == run.id]
            assert [words(message.to_dict()) for message in listed.data] == wrote

    # --- runs

    @rule(
        place=PLACE,
        told=st.booleans(),
        more=st.lists(ROLES, max_size=2),
        last=st.sampled_from([None, None, None, 1, 3]),
        shape=SHAPES,
    )
    def create_run(self, place: int, *, told: bool, more: list[str], last: int | None, shape: tuple[Any, ...]) -> None:
        """A run starts with the whole transcript, unless its thread is held or has nothing to answer."""
        thread = pick(self.threads, place)
        told = told or thread.active is not None  # which of two refusals comes first is not known
        plan, messages = self.plan(shape), [Said(role, f"said {next(self.numbers)}") for role in more]
        options: dict[str, Any] = {}
        if last is not None:
            options["truncation_strategy"] = {"type": "last_messages", "last_messages": last}
        with self.same(lambda: self.reference.may_run(thread, messages, instructions=told)) as allowed:
            served = self.beta.threads.runs.create(
                thread.id,
                assistant_id=self.told if told else self.mute,
                additional_messages=[{"role": message.role, "content": message.text} for message in messages],
                **options,
            )
            assert allowed
            self.agree(served, self.reference.create_run(thread, messages, served.id, plan))
            assert served.status == "queued"
            assert self.sent()["input"] == self.reference.transcript(thread, last=last)

    @rule(place=PLACE, more=st.lists(ROLES, max_size=2))
    def create_run_while_the_upstream_refuses(self, place: int, more: list[str]) -> None:
        """A run that the upstream refuses leaves nothing, not even the messages that came with it."""
        thread = pick(self.threads, place)
        given = [{"role": role, "content": "lost"} for role in more]
        expectation = partial(self.reference.may_run, thread, [], instructions=True)
        with self.same(expectation) as allowed, self.refused_upstream("POST /responses", when=allowed):
            self.beta.threads.runs.create(thread.id, assistant_id=self.told, additional_messages=given)

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def look(self, place: int) -> None:
        """A run is what the model says, whenever somebody looks."""
        run = pick(self.runs, place)
        with self.same(lambda: self.reference.exists(run.thread)) as there:
            if there:
                self.reference.look(run)
            self.agree(self.beta.threads.runs.retrieve(run.id, thread_id=run.thread.id), run)

    @precondition(lambda self: any(run.status in ("queued", "in_progress") for run in self.runs))
    @rule(place=PLACE)
    def look_while_the_upstream_fails(self, place: int) -> None:
        """A look that the upstream does not answer is refused, and changes nothing."""
        run = pick([run for run in self.runs if run.status in ("queued", "in_progress")], place)
        if not run.thread.deleted:
            with self.refused_upstream("GET /responses/*"):
                self.beta.threads.runs.retrieve(run.id, thread_id=run.thread.id)

    @rule(place=PLACE)
    def list_runs(self, place: int) -> None:
        """A thread's runs, newest first, each with the id that it was created with."""
        thread = pick(self.threads, place)
        with self.same(lambda: self.reference.exists(thread)) as there:
            if there:
                self.reference.look_at(thread)
            served = self.beta.threads.runs.list(thread.id, limit=100).data
            assert len(served) == len(thread.runs)
            for each, run in zip(served, reversed(thread.runs), strict=True):
                self.agree(each, run)

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def list_steps(self, place: int) -> None:
        """A run's steps: a message or calls each, ended when the run has, and their usage is the run's."""
        run = pick(self.runs, place)
        with self.same(lambda: self.reference.exists(run.thread)) as there:
            if there:
                self.reference.look_at(run.thread)
            steps = self.beta.threads.runs.steps.list(run.id, thread_id=run.thread.id, order="asc").data
            assert [(step.type, step.status) for step in steps] == [(step.type, step.status) for step in run.steps]
            if run.status in ("completed", "cancelled", "expired") and run.tokens is not None:
                usages = [step.usage for step in steps]
                spent = sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages)
                assert spent == run.tokens

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def update_run(self, place: int) -> None:
        """A run's metadata can change while it does not work."""
        run, metadata = pick(self.runs, place), {"number": str(next(self.numbers))}
        with self.same(lambda: self.reference.update_run(run, metadata)):
            self.agree(self.beta.threads.runs.update(run.id, thread_id=run.thread.id, metadata=metadata), run)

    @precondition(lambda self: self.runs)
    @rule(place=PLACE)
    def cancel(self, place: int) -> None:
        """A run that has not ended can be cancelled, whatever it does."""
        run = pick(self.runs, place)
        with self.same(lambda: self.reference.cancel(run)):
            self.agree(self.beta.threads.runs.cancel(run.id, thread_id=run.thread.id), run)

    # --- tool outputs

    def submit(self, run: Run, call_ids: Sequence[str]) -> Any:
        """Give a run these outputs."""
        outputs: Any = [{"tool_call_id": call, "output": f"of {call}"} for call in call_ids]
        return self.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread.id, tool_outputs=outputs)

    @precondition(lambda self: any(run.waits_for for run in self.runs))
    @rule(place=PLACE, shape=SHAPES, backwards=st.booleans())
    def submit_outputs(self, place: int, shape: tuple[Any, ...], *, backwards: bool) -> None:
        """With all outputs the run goes on, in any order; the model is told them and nothing else."""
        run = pick([run for run in self.runs if run.waits_for], place)
        plan, calls = self.plan(shape), run.waits_for[::-1] if backwards else run.waits_for
        with self.same(lambda: self.reference.may_submit(run, calls)):
            served = self.submit(run, calls)
            self.reference.submit(run, {call: f"of {call}" for call in calls}, plan)
            self.agree(served, run)
            outputs = [{"type": "function_call_output", "call_id": call, "output": f"of {call}"} for call in calls]
            assert self.sent()["input"] == outputs

    @precondition(lambda self: self.runs)
    @rule(place=PLACE, wrong=st.sampled_from(["missing", "surplus", "twice", "none"]))
    def submit_wrong_outputs(self, place: int, wrong: str) -> None:
        """Too few or too many outputs are refused, and outputs for a run that waits for none."""
        run = pick([run for run in self.runs if run.waits_for] or self.runs, place)
        calls = list(run.waits_for) or ["call_0"]
        calls = {
            "missing": calls[1:] or ["call_0"],
            "surplus": [*calls, "call_0"],
            "twice": calls * 2,
            "none": ["call_0"],
        }[wrong]
        with self.same(lambda: self.reference.may_submit(run, calls)):
            self.submit(run, calls)

    @precondition(lambda self: any(run.waits_for for run in self.runs))
    @rule(place=PLACE)
    def submit_while_the_upstream_refuses(self, place: int) -> None:
        """Outputs that the upstream did not take can be given again."""
        run = pick([run for run in self.runs if run.waits_for], place)
        calls = run.waits_for
        expectation = partial(self.reference.may_submit, run, calls)
        with self.same(expectation) as allowed, self.refused_upstream("POST /responses", when=allowed):
            self.submit(run, calls)

    # --- time

    @rule(seconds=st.sampled_from([1, 30, 299, TTL, TTL]))
    def wait(self, seconds: int) -> None:
        """Time passes; nothing moves before somebody looks."""
        self.world.now += seconds
        self.reference.now = self.world.now

    # --- what always holds

    def stored(self, table: str) -> list[dict[str, Any]]:
        """The rows of this example that were not deleted."""
        return [row for row in dump(self.settings)[table] if not row["deleted"]]

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        """Threads, messages in order, runs with their ids and statuses; at most one active run a thread."""
        rows = {table: [row for row in found if not row.get("deleted")] for table, found in dump(self.settings).items()}
        there = [thread for thread in self.threads if not thread.deleted]
        assert [row["id"] for row in rows["threads"]] == [thread.id for thread in there]
        for thread in there:
            messages = [row["body"] for row in rows["messages"] if row["thread_id"] == thread.id]
            assert [words(message) for message in messages if "role" in message] == [
                modelled(message) for message in thread.messages
            ]
            told = [message["items"] for message in messages if "role" not in message]
            assert told == [entry.sent() for entry in thread.entries if isinstance(entry, Called)]
            runs = [row for row in rows["runs"] if row["thread_id"] == thread.id]
            assert [(row["id"], row["status"]) for row in runs] == [(run.id, run.status) for run in thread.runs]
            assert all(row["status"] == row["body"]["status"] for row in runs)
            assert sum(row["status"] not in ENDED for row in runs) <= 1

    @invariant()
    def no_call_goes_upstream_without_its_output(self) -> None:
        """The upstream would refuse a transcript that holds a function call which nobody answered."""
        for request in self.upstream.requests:
            if (request.method, request.path) == ("POST", "/responses"):
                items = request.json["input"]
                called = [item["call_id"] for item in items if item.get("type") == "function_call"]
                answered = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
                assert called == ([] if "previous_response_id" in request.json else answered)


def converse(upstream: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, examples: int) -> None:
    """Play so many made-up conversations."""
    world = World(upstream, replace(settings, run_ttl=TTL))
    monkeypatch.setattr(IO, "now", lambda _io: world.now)
    factory: Any = partial(Conversations, world)
    run_state_machine_as_test(
        factory,
        settings=bounds(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[phase for phase in Phase if phase is not Phase.explain],  # it traces every line, for minutes
        ),
    )


@pytest.mark.timeout(600)  # a failure takes minutes to be made small
def test_any_conversation_is_the_models(
    upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever legacy code does in whatever order, threads, messages and runs are what the Assistants API had."""
    converse(upstream, sqlite_settings, monkeypatch, examples=40)


@pytest.mark.timeout(600)
def test_any_conversation_is_the_models_on_postgresql(
    upstream: StandIn, sqlite_settings: Settings, postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same over the other database, where rows are locked one by one."""
    converse(upstream, replace(sqlite_settings, store=postgresql_server), monkeypatch, examples=4)


def test_calls_that_are_found_too_late_are_not_awaited(
    door: Door, upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose calls are seen only after its time is expired at that look, and its thread is free (found above)."""
    client = door.client(upstream, sqlite_settings)
    upstream.script(Turn(function_calls=[{"name": "look_up", "arguments": "{}"}], polls=0), Turn(text="Yes."))
    run = start_run(door, client, assistant={"tools": [TOOL]})
    monkeypatch.setattr(IO, "now", lambda _io: run.created_at + TTL)
    again = door(client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id))
    assert again.status == "completed"
    assert door(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)).status == "expired"
    [step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    assert step.status == "expired"
