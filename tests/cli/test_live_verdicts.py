"""Properties of the verdicts of live checks, which are pure functions of the answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.cli.live_checks.answers import Answer, missing_scopes
from assistants_compat.cli.live_checks.catalogue import CHECKS
from assistants_compat.cli.live_checks.check import Target
from assistants_compat.cli.live_checks.runner import price_in_cents, select_checks
from assistants_compat.cli.live_checks.verdicts import (
    Point,
    combine,
    either,
    expect_accepted,
    expect_refused,
    undecidable,
)
from assistants_compat.service.refusal_table import TABLE

ROWS = [refusal.name for refusal in TABLE]
TARGETS = st.builds(Target, st.sampled_from(["gpt-4o", "o3", "gpt-5.6-luna", "my-deployment"]), st.booleans())


def refusal_body(name: str) -> dict[str, Any]:
    """Return the body of a row's refusal."""
    refusal = next(row for row in TABLE if row.name == name)
    return {"error": {"message": refusal.message, "param": refusal.param, "code": refusal.code}}


REFUSALS = st.sampled_from(TABLE).map(lambda row: Answer(row.status, refusal_body(row.name)))
ACCEPTED = st.just(Answer(200, {"id": "resp_1", "object": "response", "status": "completed", "output": []}))
PASSING = st.one_of(
    st.builds(
        Answer, st.sampled_from([401, 403, 408, 409, 429, 500, 502, 503, 504]), st.just({"error": {"message": "x"}})
    ),
    st.just(Answer(None, trouble="APIConnectionError")),
    st.just(Answer(404, {})),  # a page of a proxy
    st.just(Answer(200, {"object": "response", "status": "failed", "error": {"code": "server_error", "message": "x"}})),
)
OTHERS = st.one_of(ACCEPTED, REFUSALS, st.just(Answer(400, {"error": {"message": "Something new."}})))


@given(
    check=st.sampled_from(list(CHECKS.values())),
    target=TARGETS,
    before=st.lists(OTHERS, max_size=3),
    passing=PASSING,
    after=st.lists(OTHERS, max_size=3),
)
def test_an_answer_that_proves_nothing_makes_no_verdict(
    check: Any, target: Target, before: list[Answer], passing: Answer, after: list[Answer]
) -> None:
    """Among any other answers, one 429, 5xx, 401 or lost connection leaves a check undecided, and nothing is saved."""
    answers = {str(number): answer for number, answer in enumerate([*before, passing, *after])}
    verdict = check.decide(answers, target)
    assert (verdict.outcome, dict(verdict.known)) == ("undecided", {})


@given(answer=OTHERS, rows=st.lists(st.sampled_from(ROWS), min_size=1, max_size=3), key=st.none() | st.just("m"))
def test_opposite_expectations_give_opposite_verdicts(answer: Answer, rows: list[str], key: str | None) -> None:
    """What is as assumed where it must be accepted is the other way where it must be refused, and both save alike."""
    accepted = expect_accepted(answer, "x", rows, key=key)
    refused = expect_refused(answer, "x", rows, key=key)
    outcomes = {accepted.outcome, refused.outcome}
    assert outcomes in ({"undecided"}, {"as assumed", "the other way"})
    assert accepted.known == refused.known
    assert set(accepted.known.values()) <= {not answer.accepted}
    assert either(answer, "x", rows).outcome == ("undecided" if outcomes == {"undecided"} else "as assumed")


@given(answer=OTHERS, rows=st.lists(st.sampled_from(ROWS), min_size=1, max_size=3))
def test_only_a_known_refusal_is_a_verdict(answer: Answer, rows: list[str]) -> None:
    """A refusal that is none of the expected rows proves nothing."""
    if not answer.accepted and answer.refusal not in rows:
        assert expect_accepted(answer, "x", rows).outcome == "undecided"
        assert expect_refused(answer, "x", rows).outcome == "undecided"


POINTS = st.builds(
    Point,
    st.sampled_from(["as assumed", "the other way", "undecided"]),
    st.text(min_size=1),
    st.sampled_from(["", "do this"]),
    st.dictionaries(st.tuples(st.sampled_from(ROWS), st.just("")), st.booleans(), max_size=2),
)


@given(st.lists(POINTS))
def test_one_point_the_other_way_decides(points: list[Point]) -> None:
    """A check is the other way if one of its points is, else undecided if one is, else as assumed."""
    outcomes = {point.outcome for point in points}
    expected = next((o for o in ("the other way", "undecided", "as assumed") if o in outcomes), "undecided")
    verdict = combine(points)
    assert verdict.outcome == expected
    saved = {key for point in points if point.outcome != "undecided" for key in point.known}
    assert set(verdict.known) == saved
    if outcomes == {"as assumed"}:
        assert verdict.do == ""


@given(st.lists(st.from_regex(r"api\.[a-z]{1,9}\.(read|write)", fullmatch=True), min_size=1, max_size=4))
def test_scopes_are_read_from_the_message(scopes: list[str]) -> None:
    """Every scope that a message lists is found, and the verdict names it."""
    message = f"You have insufficient permissions for this operation. Missing scopes: {', '.join(scopes)}. Check it."
    answer = Answer(401, {"error": {"message": message}})
    assert missing_scopes(answer.error) == tuple(scopes)
    verdict = undecidable({"x": answer})
    assert verdict is not None
    assert verdict.outcome == "undecided"
    assert all(scope in verdict.do for scope in scopes)


@pytest.mark.parametrize("models", [1, 2, 5, 20])
def test_all_checks_cost_less_than_half_a_dollar(models: int) -> None:
    """All checks together stay below fifty cents, also with twenty models."""
    assert 0 < price_in_cents(select_checks(), models) < 50
    assert price_in_cents(select_checks([16, 17]), models) == 0


def test_each_check_describes_itself() -> None:
    """Each check has a name, says what it sends and what the answer tells."""
    for number, check in CHECKS.items():
        assert check.number == number
        assert all((check.name, check.sends, check.tells))
        assert not check.tells.endswith(".")
