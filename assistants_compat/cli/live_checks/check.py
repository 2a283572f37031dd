"""What a live check is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ...service.model_families import ModelFamily, family_of
from .answers import Answers
from .bench import Bench
from .verdicts import LiveVerdict, Point, combine, undecidable


@dataclass(frozen=True)
class Target:
    """What is checked: a model, and whether the upstream is Azure."""

    model: str
    is_azure: bool = False

    @property
    def family(self) -> ModelFamily | None:
        """What is known of the model by its name."""
        return family_of(self.model)

    @property
    def reasons(self) -> bool:
        """Whether the model is known to reason."""
        return self.family is not None and self.family.reasons


@dataclass(frozen=True)
class LiveCheck:
    """A question to the upstream.

    `number` is that in the list of checks, which never changes. `sends` and `tells` describe it in the documentation.
    `ask` sends the requests and returns the answers by name; it may stop early. `judge` is pure. `per_model` checks are
    asked for each model, the others once. `cents` is an estimate of the most that it costs, without the container that
    those `in_container` share. `asks_about_scopes`: a missing scope is an answer to this check.
    """

    number: int
    name: str
    sends: str
    tells: str
    ask: Callable[[Bench], Awaitable[Answers]]
    judge: Callable[[Answers, Target], Sequence[Point]]
    per_model: bool = False
    cents: float = 0.1
    in_container: bool = False
    asks_about_scopes: bool = False

    def decide(self, answers: Answers, target: Target) -> LiveVerdict:
        """Return what the answers prove."""
        verdict = undecidable(answers, asks_about_scopes=self.asks_about_scopes)
        return combine(self.judge(answers, target)) if verdict is None else verdict
