"""The table of statuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.run import (
    MOVES,
    TERMINAL,
    IllegalMoveError,
    added,
    last_error,
    moved,
    outcome_of_response,
    run_from_request,
    usage_from_response,
)


def new_run(**given_: Any) -> Any:
    """A queued run, created at 100."""
    return run_from_request("run_1", "thread_1", 100, {"assistant_id": "asst_1", **given_}, {"model": "m"}, ttl=600)


@given(st.lists(st.sampled_from(sorted(MOVES)), max_size=8))
def test_a_run_walks_the_table_and_nothing_else(statuses: list[str]) -> None:
    """Any walk: legal moves set their timestamps, illegal ones raise and change nothing."""
    run = new_run()
    now = 100
    for status in statuses:
        now += 1
        if status not in MOVES[run["status"]]:
            with pytest.raises(IllegalMoveError):
                moved(run, status, now)
            continue
        run = moved(run, status, now)
        assert run["status"] == status
        ended = status in TERMINAL
        assert (run["expires_at"] is None) == ended
        if status == "completed":
            assert run["completed_at"] == now
        if status == "failed":
            assert run["failed_at"] == now
        if status == "in_progress":
            assert run["started_at"] == now


def test_the_keys_of_a_run_are_the_29_recorded_ones_in_their_order() -> None:
    """Recordings.md section 5 gives the keys in order."""
    recorded = (
        "id, object, created_at, assistant_id, thread_id, status, started_at, expires_at, cancelled_at, failed_at, "
        "completed_at, required_action, last_error, model, instructions, tools, tool_resources, metadata, temperature, "
        "top_p, reasoning_effort, max_completion_tokens, max_prompt_tokens, truncation_strategy, incomplete_details, "
        "usage, response_format, tool_choice, parallel_tool_calls"
    )
    assert list(new_run()) == recorded.split(", ")
    assert new_run()["expires_at"] == 700


def test_a_prompt_budget_that_was_passed_ends_the_run_incomplete() -> None:
    """`max_prompt_tokens` has an effect: the run ends incomplete once the input was larger."""
    body = {"status": "completed", "usage": {"input_tokens": 300, "output_tokens": 1, "total_tokens": 301}}
    usage = usage_from_response(body)
    status, changes = outcome_of_response(new_run(max_prompt_tokens=256), body, usage)
    assert (status, changes["incomplete_details"]) == ("incomplete", {"reason": "max_prompt_tokens"})
    assert outcome_of_response(new_run(max_prompt_tokens=300), body, usage)[0] == "completed"
    # The budget is for all rounds together.
    assert outcome_of_response(new_run(max_prompt_tokens=300), body, added(usage, usage))[0] == "incomplete"


CALLING = {
    "status": "completed",
    "output": [{"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}],
    "usage": {"input_tokens": 5, "output_tokens": 20, "total_tokens": 25},
}


def test_a_response_that_calls_functions_leaves_the_run_waiting() -> None:
    """The calls are shown by the upstream's `call_id`, and there is no usage yet."""
    status, changes = outcome_of_response(new_run(), CALLING, usage_from_response(CALLING))
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    assert (status, changes) == ("requires_action", {"required_action": action})


@pytest.mark.parametrize(("budget", "status"), [(20, "incomplete"), (21, "requires_action")])
def test_a_spent_completion_budget_ends_a_run_that_has_more_to_say(budget: int, status: str) -> None:
    """Nothing is left for an answer to the outputs, so they are not asked for."""
    found, changes = outcome_of_response(new_run(max_completion_tokens=budget), CALLING, usage_from_response(CALLING))
    assert found == status
    if status == "incomplete":
        assert changes["incomplete_details"] == {"reason": "max_completion_tokens"}


def test_a_run_that_is_being_cancelled_does_not_wait_for_outputs() -> None:
    """It is cancelled, with what it used."""
    run = moved(moved(new_run(), "in_progress", 101), "cancelling", 102)
    usage = usage_from_response(CALLING)
    assert outcome_of_response(run, CALLING, usage) == ("cancelled", {"usage": usage})


@pytest.mark.parametrize(
    ("upstream", "code"),
    [("rate_limit_exceeded", "rate_limit_exceeded"), ("vector_store_timeout", "server_error"), (None, "server_error")],
)
def test_an_error_keeps_its_message_and_gets_a_legacy_code(upstream: str | None, code: str) -> None:
    """Twenty codes become three; the words stay."""
    assert last_error({"code": upstream, "message": "Why."}) == {"code": code, "message": "Why."}
