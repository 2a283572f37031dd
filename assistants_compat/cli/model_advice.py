"""What `doctor` says about models: which replacement to set, and what a replacement does not get as it was set.

Every line that it prints can be pasted as it is, and keeps all replacements that are set already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..service.model_families import EFFORTS, family_of
from ..service.model_mapping import ModelTarget, target_of, variable_text
from ..translate.request import request_from_run
from ..translate.request_model import request_for_model
from ..translate.run import run_from_request
from ..wire.objects import Json

_VARIABLE = "ASSISTANTS_COMPAT_MODELS"
_SAMPLING = ("temperature", "top_p")


def requested_model(mapped: Mapping[str, object], name: str) -> str:
    """Return the model that a run of this model requests."""
    target = target_of(mapped, name)
    return name if target is None else target.model


def replacement_advice(mapped: Mapping[str, object], missing: list[str], listed: Iterable[str]) -> str:
    """Return how to replace all of the missing models at once, by models that the upstream lists."""
    line = _line({**mapped, **dict.fromkeys(missing, "NEW")})
    advice = f"set {line}, where NEW is a listed model"
    example = next((model for model in listed if _can_stop_reasoning(model)), None)
    if example is None or all(_can_stop_reasoning(model) for model in missing):
        return advice
    return f"{advice}; with an effort, such as '{example} effort none', it keeps temperature and top_p"


def mapped_value_warnings(mapped: Mapping[str, object], assistants: Iterable[Json]) -> Iterator[tuple[str, str]]:
    """Yield what assistants have and the model that replaces theirs refuses, and what to do; once per model each."""
    warned: set[tuple[str, str]] = set()
    for assistant in assistants:
        name: str = assistant["model"]
        target = target_of(mapped, name)
        if target is None:
            continue
        for key, says, do in (*_value_warnings(mapped, assistant, target), *_tool_warnings(assistant, target)):
            if (target.model, key) not in warned:
                warned.add((target.model, key))
                yield f"an assistant of {name}: {says}", do


def _value_warnings(
    mapped: Mapping[str, object], assistant: Json, target: ModelTarget
) -> Iterator[tuple[str, str, str]]:
    run = run_from_request("run", "thread", 0, {"assistant_id": "asst"}, assistant, ttl=1)
    _, notes = request_for_model(request_from_run(run, assistant, []), target)
    for key, note in notes.items():
        do = "nothing, if its runs can do without"
        if key in _SAMPLING and _can_stop_reasoning(target.model):
            at_none = str(ModelTarget(target.model, EFFORTS[0]))
            do = f"set {_line({**mapped, assistant['model']: at_none})} to keep it"
        yield key, note, do


def _tool_warnings(assistant: Json, target: ModelTarget) -> Iterator[tuple[str, str, str]]:
    family = family_of(target.model)
    types: list[Any] = [tool["type"] for tool in assistant.get("tools") or ()]
    for tool_type in types:
        if family is not None and tool_type not in ("function", *family.hosted_tools):
            yield tool_type, f"{target.model} refuses its tool {tool_type}", "choose another model for it"


def _line(mapped: Mapping[str, object]) -> str:
    text = variable_text(mapped)
    return f'{_VARIABLE}="{text}"' if " " in text else f"{_VARIABLE}={text}"


def _can_stop_reasoning(model: str) -> bool:
    """Whether a model reasons by default, and does not at effort `none`."""
    family = family_of(model)
    return family is not None and family.reasons_by_default and "none" in family.efforts
