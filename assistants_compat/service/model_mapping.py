"""Replacements of models (`Settings(models=...)`): the forms of their values, and where a chain of them ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model_families import EFFORTS


@dataclass(frozen=True)
class ModelTarget:
    """The model that is requested for another one, and the reasoning effort that is sent with it, if one is set."""

    model: str
    reasoning_effort: str | None = None

    def __str__(self) -> str:
        """Return the text form, `gpt-5.6-luna effort none`."""
        return self.model if self.reasoning_effort is None else f"{self.model} effort {self.reasoning_effort}"


_WITH_EFFORT = re.compile(r"(?P<model>.*\S)\s+effort\s+(?P<effort>\S+)")
_KEYS = frozenset({"model", "reasoning_effort"})


def read_target(value: object) -> ModelTarget:
    """Return the replacement that a value of `Settings(models=...)` describes; raise `ValueError` for any other value.

    The value is a model's name, `NAME effort EFFORT`, or `{"model": NAME, "reasoning_effort": EFFORT}`.
    """
    fields: Mapping[Any, Any]
    if isinstance(value, str):
        match = _WITH_EFFORT.fullmatch(value.strip())
        fields = {"model": value.strip()} if match is None else {"model": match[1], "reasoning_effort": match[2]}
    elif isinstance(value, Mapping) and value.keys() <= _KEYS:
        fields = value
    else:
        raise ValueError(value)
    model, effort = fields.get("model"), fields.get("reasoning_effort")
    if not isinstance(model, str) or not model or effort not in (None, *EFFORTS):
        raise ValueError(value)
    return ModelTarget(model, effort)


def chain_of(models: Mapping[str, object], name: str) -> list[ModelTarget]:
    """Return the replacements that lead from a model to the one that is requested, in their order.

    The list is empty for a model that is not replaced. A model may be mapped to itself, which ends its chain and can
    set its effort. Raises `ValueError` for a chain that comes back to an earlier model.
    """
    chain: list[ModelTarget] = []
    seen = {name}
    while name in models:
        target = read_target(models[name])
        chain.append(target)
        if target.model == name:
            break
        if target.model in seen:
            raise ValueError(" -> ".join([*_names(models, target.model), target.model]))
        seen.add(target.model)
        name = target.model
    return chain


def _names(models: Mapping[str, object], name: str) -> list[str]:
    """Return the names of a cycle, beginning with this one."""
    names = [name]
    while (following := read_target(models[names[-1]]).model) != name:
        names.append(following)
    return names


def target_of(models: Mapping[str, object], name: str) -> ModelTarget | None:
    """Return the model that is requested for this one, with the last effort that its chain sets; None if unmapped."""
    chain = chain_of(models, name)
    if not chain:
        return None
    efforts = [target.reasoning_effort for target in chain if target.reasoning_effort is not None]
    return ModelTarget(chain[-1].model, efforts[-1] if efforts else None)


def variable_text(models: Mapping[str, object]) -> str:
    """Return replacements as the text of the variable: `old=new,old=new effort none`."""
    return ",".join(f"{name}={read_target(target)}" for name, target in models.items())
