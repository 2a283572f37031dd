"""What the answers to a check prove: as the library assumes, the other way, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...service.refusal_table import row
from .answers import UNAUTHORIZED, Answer, Answers

Outcome = Literal["as assumed", "the other way", "undecided"]
_OUTCOMES: tuple[Outcome, ...] = ("the other way", "undecided", "as assumed")  # the first one decides

SETUP = "setup"
"""The name of an answer to a request that only prepares a check."""

STORE_NOTHING = "ASSISTANTS_COMPAT_STORE_RESPONSES=false"
RUN_INLINE = "ASSISTANTS_COMPAT_MODE=inline"
SAVE = "run doctor --live --save, and the library remembers it"
REPORT = "attach live-report.json to a report: the library expects something else"

_ZERO_RETENTION = ("zero_retention_previous_response", "zero_retention_code")
_NOT_ACCEPTABLE = (400, 404, 413, 415, 422)  # statuses with which a service refuses a request itself

Known = tuple[str, str]
"""The name of a row of the table of refusals, and for whom it holds (a model's name, or empty)."""


@dataclass(frozen=True)
class Point:
    """What one answer of a check shows. `known` goes into the store."""

    outcome: Outcome
    says: str
    do: str = ""
    known: Mapping[Known, bool] = field(default_factory=dict)


def assumed(says: str, known: Mapping[Known, bool] | None = None) -> Point:
    """Return a point that is as the library assumes."""
    return Point("as assumed", says, known=known or {})


def other_way(says: str, do: str = "", known: Mapping[Known, bool] | None = None) -> Point:
    """Return a point that is not as the library assumes, with what to do about it, if anything."""
    return Point("the other way", says, do, known or {})


def nothing_shown(says: str, do: str = "") -> Point:
    """Return a point of an answer that shows nothing."""
    return Point("undecided", says, do)


@dataclass(frozen=True)
class LiveVerdict:
    """The result of a check: its outcome, what was seen, the setting that follows, and what `--save` keeps.

    `known` maps a row of the table of refusals, and for whom, to whether the upstream refuses it.
    """

    outcome: Outcome
    says: str
    do: str = ""
    known: Mapping[Known, bool] = field(default_factory=dict)


def combine(points: Sequence[Point]) -> LiveVerdict:
    """Return the verdict of several points: one that is the other way decides, then one that shows nothing."""
    outcomes = {point.outcome for point in points} or {"undecided"}
    outcome: Outcome = next(o for o in _OUTCOMES if o in outcomes)
    do = dict.fromkeys(p.do for p in points if p.do and p.outcome == outcome != "as assumed")
    known = {key: value for point in points if point.outcome != "undecided" for key, value in point.known.items()}
    says = "; ".join(point.says for point in points) or "nothing was answered"
    return LiveVerdict(outcome, says, "; ".join(do), known)


def undecidable(answers: Answers, *, asks_about_scopes: bool = False) -> LiveVerdict | None:
    """Return the verdict of answers that do not come from the request itself; None if they can be judged.

    A rejected key, a 429, a failure of the server or of the connection is never a verdict. A missing scope of a
    restricted key and zero data retention are recognized, whichever check meets them.
    """
    scopes = dict.fromkeys(scope for answer in answers.values() for scope in answer.missing_scopes)
    if scopes and not asks_about_scopes:
        says = f"the key lacks {_scopes_text(scopes)}"
        return LiveVerdict("undecided", says, add_scopes(scopes))
    for name, answer in answers.items():
        reason = answer.why_undecidable
        if reason is not None and not (asks_about_scopes and answer.missing_scopes):
            do = "check the key" if answer.status == UNAUTHORIZED else "try again later"
            return LiveVerdict("undecided", f"{name}: {reason}", do)
    for answer in answers.values():
        if answer.refusal in _ZERO_RETENTION:
            return zero_retention(answer)
    if SETUP in answers and not answers[SETUP].accepted:
        return LiveVerdict("undecided", f"the check could not be prepared: {answers[SETUP].message}")
    return None


def zero_retention(answer: Answer) -> LiveVerdict:
    """Return the verdict of an organization with zero data retention."""
    name = str(answer.refusal)
    says = f"the organization has zero data retention ({answer.message})"
    do = STORE_NOTHING
    if name == "zero_retention_code":
        do += "; Code Interpreter is not available to this organization, whichever setting is chosen"
    return LiveVerdict("the other way", says, do, {(name, ""): True})


def add_scopes(scopes: Iterable[str]) -> str:
    """Return the advice for a restricted key that lacks scopes."""
    return f"give the key {_scopes_text(scopes)}, on the page of the project's API keys"


def _scopes_text(scopes: Iterable[str]) -> str:
    names = list(scopes)
    return f"the scope{'s' if len(names) > 1 else ''} {', '.join(names)}"


def expect_accepted(
    answer: Answer, what: str, rows: Sequence[str], do: str = REPORT, *, key: str | None = None
) -> Point:
    """Judge a request that the library sends: it has to be accepted.

    `rows` are the refusals that prove the opposite; any other one proves nothing. With `key`, `--save` keeps the first
    row for this key.
    """
    known = None if key is None else (rows[0], key)
    if answer.accepted:
        return assumed(f"{what} is accepted", _refused(known, refused=False))
    if _is_one_of(answer, rows):
        return other_way(f"{what} is refused ({answer.message})", do, _refused(known, refused=True))
    return _unknown(answer, what)


def expect_refused(answer: Answer, what: str, rows: Sequence[str], do: str = "", *, key: str | None = None) -> Point:
    """Judge a request that the library avoids, because it is refused; `rows` and `key` are as above."""
    known = None if key is None else (rows[0], key)
    if answer.accepted:
        return other_way(f"{what} is accepted", do, _refused(known, refused=False))
    if _is_one_of(answer, rows):
        return assumed(f"{what} is refused ({answer.message})", _refused(known, refused=True))
    return _unknown(answer, what)


def either(answer: Answer, what: str, rows: Sequence[str] | None = None) -> Point:
    """Judge a request of which the library covers both ways; with `rows`, only these refusals are known."""
    if answer.accepted:
        return assumed(f"{what} is accepted")
    if is_refused_itself(answer) if rows is None else _is_one_of(answer, rows):
        return assumed(f"{what} is refused ({answer.message})")
    return _unknown(answer, what)


def is_refused_itself(answer: Answer) -> bool:
    """Whether a request was refused for what it asks, in whatever words."""
    return not answer.accepted and answer.status in _NOT_ACCEPTABLE and answer.refusal != "model_unknown"


def _refused(known: Known | None, *, refused: bool) -> Mapping[Known, bool]:
    return {} if known is None else {known: refused}


def _unknown(answer: Answer, what: str) -> Point:
    if answer.refusal is not None:
        do = "name a model of yours with --model" if answer.refusal == "model_unknown" else ""
        return nothing_shown(f"{what} cannot be judged: {answer.message}", do)
    says = f"{what} is refused in words that the library does not know ({answer.message})"
    return nothing_shown(says, REPORT)


def _is_one_of(answer: Answer, rows: Sequence[str]) -> bool:
    """Whether an answer is one of these refusals; raises `KeyError` for a name that the table does not have."""
    return answer.refusal in [row(name).name for name in rows]
