"""Runs live checks one after the other, and deletes what they made, however they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...engine.io import IO
from .answers import Answer, Answers
from .bench import POLL_SECONDS, Bench, Exchange, StopCheckError
from .catalogue import CHECKS, CONTAINER_CENTS
from .check import LiveCheck, Target
from .verdicts import Known, LiveVerdict


@dataclass(frozen=True)
class LiveResult:
    """A check with its verdict; `answers` are those of its requests, by name."""

    check: LiveCheck
    model: str
    verdict: LiveVerdict
    answers: Answers


@dataclass(frozen=True)
class LiveRun:
    """What a run of the checks has found; `not_deleted` has the paths of what is still upstream."""

    results: list[LiveResult]
    exchanges: list[Exchange]
    not_deleted: list[str]
    is_interrupted: bool = False

    def known(self) -> dict[Known, bool]:
        """Return what was found out: (row of the table of refusals, for whom) -> whether it is refused."""
        known: dict[Known, bool] = {}
        for result in self.results:
            for key, is_refused in result.verdict.known.items():
                known[key] = known.get(key, False) or is_refused
        return known


def select_checks(only: Sequence[int] = ()) -> list[LiveCheck]:
    """Return these checks in their order, or all; raises `KeyError` for a number that none has."""
    numbers = set(only) or set(CHECKS)
    for number in numbers:
        CHECKS[number]
    return [check for number, check in CHECKS.items() if number in numbers]


def price_in_cents(checks: Sequence[LiveCheck], models: int) -> float:
    """Return an estimate of the most that these checks cost with so many models."""
    container = CONTAINER_CENTS if any(check.in_container for check in checks) else 0
    return container + sum(check.cents * (models if check.per_model else 1) for check in checks)


async def run_checks(
    io: IO,
    checks: Sequence[LiveCheck],
    targets: Sequence[Target],
    tell: Callable[[str], None],
    *,
    poll_seconds: float = POLL_SECONDS,
) -> LiveRun:
    """Run checks for the first target, and those of a model for every target; tell the name of each as it begins.

    Whatever ends them, also Ctrl-C, everything that they made is deleted. After Ctrl-C the results so far are returned.
    """
    shared: dict[str, Any] = {}
    benches = {target: Bench(io, target.model, shared=shared, poll_seconds=poll_seconds) for target in targets}
    results: list[LiveResult] = []
    is_interrupted = False
    try:
        for check in checks:
            for target in targets if check.per_model else targets[:1]:
                tell(f"{check.number} {check.name} ({target.model})")
                results.append(await _run_check(check, target, benches[target]))
    except KeyboardInterrupt:
        tell("interrupted; deleting what was made")
        is_interrupted = True
    finally:
        for bench in benches.values():
            await _delete_all(bench)
    exchanges = [exchange for bench in benches.values() for exchange in bench.exchanges]
    not_deleted = [path for bench in benches.values() for path in bench.not_deleted()]
    return LiveRun(results, exchanges, not_deleted, is_interrupted)


async def _run_check(check: LiveCheck, target: Target, bench: Bench) -> LiveResult:
    answers: Answers
    try:
        answers = await check.ask(bench)
    except StopCheckError as stop:
        answers = stop.answers
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        # An upstream may answer anything; a check that cannot read it proves nothing, and the others still run.
        answers = {check.name: Answer(None, trouble=f"an answer could not be read, {type(error).__name__}")}
    return LiveResult(check, target.model, check.decide(answers, target), answers)


async def _delete_all(bench: Bench) -> None:
    """Delete what a bench made; a second Ctrl-C leaves the rest, which is then reported."""
    try:
        await bench.delete_all()
    except KeyboardInterrupt:
        return
