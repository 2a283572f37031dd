"""A run moves between statuses as the table `TRANSITIONS` allows, and responses give the right status."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.translate.run import (
    TERMINAL,
    TRANSITIONS,
    IllegalTransitionError,
    last_error_from_upstream,
    run_from_request,
    run_with_status,
    sum_usage,
    transition_from_response,
    usage_from_response,
)


def new_run(**params: Any) -> Any:
    """Return a queued run, created at 100."""
    return run_from_request("run_1", "thread_1", 100, {"assistant_id": "asst_1", **params}, {"model": "m"}, ttl=600)


@given(st.lists(st.sampled_from(sorted(TRANSITIONS)), max_size=8))
def test_a_run_moves_only_as_the_table_allows(statuses: list[str]) -> None:
    """A legal transition sets the status and its timestamp; an illegal one raises an error."""
    run = new_run()
    now = 100
    for status in statuses:
        now += 1
        if status not in TRANSITIONS[run["status"]]:
            with pytest.raises(IllegalTransitionError):
                run_with_status(run, status, now)
            continue
        run = run_with_status(run, status, now)
        assert run["status"] == status
        ended = status in TERMINAL
        assert (run["expires_at"] is None) == ended
        if status == "completed":
            assert run["completed_at"] == now
        if status == "failed":
            assert run["failed_at"] == now
        if status == "in_progress":
            assert run["started_at"] == now


def test_a_run_has_the_29_recorded_keys_in_order() -> None:
    """A run has the 29 recorded keys in their recorded order (recordings.md section 5)."""
    recorded = (
        "id, object, created_at, assistant_id, thread_id, status, started_at, expires_at, cancelled_at, failed_at, "
        "completed_at, required_action, last_error, model, instructions, tools, tool_resources, metadata, temperature, "
        "top_p, reasoning_effort, max_completion_tokens, max_prompt_tokens, truncation_strategy, incomplete_details, "
        "usage, response_format, tool_choice, parallel_tool_calls"
    )
    assert list(new_run()) == recorded.split(", ")
    assert new_run()["expires_at"] == 700


def test_an_exceeded_prompt_budget_ends_the_run_incomplete() -> None:
    """A run whose input exceeded `max_prompt_tokens` ends incomplete."""
    body = {"status": "completed", "usage": {"input_tokens": 300, "output_tokens": 1, "total_tokens": 301}}
    usage = usage_from_response(body)
    status, changes = transition_from_response(new_run(max_prompt_tokens=256), body, usage)
    assert (status, changes["incomplete_details"]) == ("incomplete", {"reason": "max_prompt_tokens"})
    assert transition_from_response(new_run(max_prompt_tokens=300), body, usage)[0] == "completed"
    # The budget holds for all rounds together.
    assert transition_from_response(new_run(max_prompt_tokens=300), body, sum_usage(usage, usage))[0] == "incomplete"


CALLING = {
    "status": "completed",
    "output": [{"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}],
    "usage": {"input_tokens": 5, "output_tokens": 20, "total_tokens": 25},
}


def test_a_response_that_calls_functions_leaves_the_run_waiting() -> None:
    """A response that calls functions leaves the run in `requires_action`, with the calls' ids and no usage."""
    status, changes = transition_from_response(new_run(), CALLING, usage_from_response(CALLING))
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    assert (status, changes) == ("requires_action", {"required_action": action})


@pytest.mark.parametrize(("budget", "status"), [(20, "incomplete"), (21, "requires_action")])
def test_a_spent_completion_budget_ends_a_run_that_calls_functions(budget: int, status: str) -> None:
    """A run that has spent its completion budget on calls ends incomplete instead of asking for their outputs."""
    new_status, changes = transition_from_response(
        new_run(max_completion_tokens=budget), CALLING, usage_from_response(CALLING)
    )
    assert new_status == status
    if status == "incomplete":
        assert changes["incomplete_details"] == {"reason": "max_completion_tokens"}


def test_a_cancelling_run_does_not_wait_for_outputs() -> None:
    """A cancelling run whose response calls functions is cancelled, with its usage."""
    run = run_with_status(run_with_status(new_run(), "in_progress", 101), "cancelling", 102)
    usage = usage_from_response(CALLING)
    assert transition_from_response(run, CALLING, usage) == ("cancelled", {"usage": usage})


@pytest.mark.parametrize(
    ("upstream", "code"),
    [
        ("rate_limit_exceeded", "rate_limit_exceeded"),
        ("insufficient_quota", "rate_limit_exceeded"),  # a printed run of the old service shows it
        ("429", "rate_limit_exceeded"),
        ("vector_store_timeout", "server_error"),
        (None, "server_error"),
    ],
)
def test_an_error_keeps_its_message_and_gets_a_legacy_code(upstream: str | None, code: str) -> None:
    """An upstream error keeps its message and gets one of the legacy codes."""
    assert last_error_from_upstream({"code": upstream, "message": "Why."}) == {"code": code, "message": "Why."}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"type": "insufficient_quota", "code": None}, "rate_limit_exceeded"),
        ({"type": "insufficient_quota", "code": "insufficient_quota", "param": None}, "rate_limit_exceeded"),
        ({"type": "tokens", "code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        ({"type": "rate_limit_exceeded", "code": "server_error"}, "server_error"),
        ({"type": "invalid_request_error", "code": None}, "server_error"),
        ({"type": ["a"], "code": {}}, "server_error"),
    ],
)
def test_an_error_without_a_code_is_known_by_its_type(error: dict[str, Any], code: str) -> None:
    """The code of an error counts first, then its type, as in the recorded error of a used-up quota."""
    assert last_error_from_upstream({**error, "message": "Why."})["code"] == code
