"""`max_prompt_tokens` shapes what a run sends, and only what then still exceeds it ends the run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import Door
from kit.legacy_code import (
    FUNCTION,
    finish_run,
    function_call_turn,
    make_assistant,
    make_thread,
    retrieve_run,
    run_again,
    submit_outputs,
)
from kit.upstream_requests import input_messages, request_bodies

LONG = "The region north sold ten pieces of it. " * 12
"""About 110 tokens."""


def numbered(*numbers: int) -> list[str]:
    """Return long user messages that begin with their numbers."""
    return [f"{number} {LONG}" for number in numbers]


def sent_numbers(upstream: StandIn) -> list[str]:
    """Return the numbers of the user messages in the newest request."""
    return [text.split()[0] for role, text in input_messages(request_bodies(upstream)[-1]) if role == "user"]


def counted(prompt: int) -> dict[str, Any]:
    """Return the usage of a response to a prompt of so many tokens."""
    return {"input_tokens": prompt, "output_tokens": 5, "total_tokens": prompt + 5}


def run_thread(door: Door, client: Any, texts: list[str], **options: Any) -> Any:
    """Run an assistant on a new thread with these messages."""
    assistant, thread = make_assistant(door, client), make_thread(door, client, *texts)
    runs = client.beta.threads.runs
    return door(runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **options))


def test_a_thread_longer_than_the_budget_is_shortened_and_completes(door: Door, client: Any, upstream: StandIn) -> None:
    """A run on a thread that is longer than its budget sends both ends of the thread and completes."""
    run = run_thread(door, client, numbered(*range(10)), max_prompt_tokens=500)
    assert (run.status, run.incomplete_details) == ("completed", None)
    numbers = sent_numbers(upstream)
    assert (numbers[0], numbers[-1]) == ("0", "9")
    assert 2 <= len(numbers) <= 5
    assert len(door.all(client.beta.threads.messages.list(run.thread_id))) == 11, "the thread keeps all"


def test_a_streamed_run_is_shortened_too(door: Door, client: Any, upstream: StandIn) -> None:
    """A streamed run is shortened as a polled one is."""
    assistant, thread = make_assistant(door, client), make_thread(door, client, *numbered(*range(10)))
    runs = client.beta.threads.runs
    options = {"assistant_id": assistant.id, "max_prompt_tokens": 500, "stream": True}
    events = door.all(door(runs.create(thread.id, **options)))
    assert events[-1].event == "thread.run.completed"
    assert 2 <= len(sent_numbers(upstream)) <= 5


def test_a_budget_that_is_wide_enough_changes_nothing(door: Door, client: Any, upstream: StandIn) -> None:
    """With a budget that the thread fits, and without one, the whole thread is sent."""
    run = run_thread(door, client, numbered(*range(10)), max_prompt_tokens=5000)
    assert len(sent_numbers(upstream)) == 10
    run_again(door, client, run, "10")
    assert len(sent_numbers(upstream)) == 11


def test_messages_that_the_caller_chose_are_all_sent(door: Door, client: Any, upstream: StandIn) -> None:
    """With `last_messages` the caller has chosen the messages, so the budget drops none of them."""
    strategy = {"type": "last_messages", "last_messages": 8}
    upstream.script(Turn(text="Done.", usage=counted(900), polls=0))
    run = run_thread(door, client, numbered(*range(10)), max_prompt_tokens=500, truncation_strategy=strategy)
    assert sent_numbers(upstream) == list("23456789")
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")


def test_what_the_upstream_still_counts_above_the_budget_is_incomplete(
    door: Door, client: Any, upstream: StandIn
) -> None:
    """A run whose last turn alone exceeds the budget is sent, and ends incomplete with its answer kept."""
    upstream.script(Turn(text="Done.", usage=counted(900), polls=0))
    run = run_thread(door, client, ["word " * 900], max_prompt_tokens=500)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    [answer, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    assert answer.content[0].text.value == "Done."


@pytest.mark.parametrize(("tokens", "fewest", "most"), [(300, 2, 3), (75, 9, 9)])
def test_the_usage_of_earlier_runs_corrects_the_estimate(
    door: Door, client: Any, upstream: StandIn, tokens: int, fewest: int, most: int
) -> None:
    """If the upstream counts more tokens than were estimated, later runs send less, and more if it counts fewer."""
    upstream.script(*(Turn(text="Done.", usage=counted(tokens), polls=0) for _ in range(2)))
    run = run_thread(door, client, numbered(0))
    for number in range(1, 8):
        door(client.beta.threads.messages.create(run.thread_id, role="user", content=numbered(number)[0]))
    assert run_again(door, client, run, numbered(8)[0], max_prompt_tokens=850).status == "completed"
    assert fewest <= len(sent_numbers(upstream)) <= most


@pytest.mark.parametrize("store_responses", [True, False])
def test_the_next_round_gets_what_is_left(
    door: Door,
    upstream: StandIn,
    settings: Settings,
    store_responses: bool,  # noqa: FBT001 - a value of the table
) -> None:
    """A round that continues the whole prompt would exceed the budget, so it sends less of the thread instead."""
    client = door.client(upstream, replace(settings, store_responses=store_responses))
    upstream.script(function_call_turn("call_1", usage=counted(700)), Turn(text="Done.", usage=counted(200), polls=0))
    run = run_thread(door, client, numbered(*range(5)), tools=[FUNCTION], max_prompt_tokens=1000)
    assert (run.status, len(sent_numbers(upstream))) == ("requires_action", 5)
    submit_outputs(door, client, run)
    run = retrieve_run(door, client, run)
    assert (run.status, run.usage.prompt_tokens) == ("completed", 900)
    sent = request_bodies(upstream)[-1]
    assert "previous_response_id" not in sent
    assert sent_numbers(upstream)[-1] == "4"
    assert len(sent_numbers(upstream)) <= 2
    assert [item["type"] for item in sent["input"][-2:]] == ["function_call", "function_call_output"]


def test_the_next_round_continues_while_it_fits(door: Door, client: Any, upstream: StandIn) -> None:
    """A round that fits what is left of the budget, or cannot be shortened to it, continues the response."""
    for limit in (2000, 720):
        upstream.script(function_call_turn("call_1", usage=counted(700)), Turn(text="Done.", polls=0))
        run = finish_run(door, client, tools=[FUNCTION], max_prompt_tokens=limit)
        submit_outputs(door, client, run)
        assert "previous_response_id" in request_bodies(upstream)[-1]
