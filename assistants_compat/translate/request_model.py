"""Fits a request to the model that `Settings(models=...)` names for it: leaves out or changes what that model refuses.

The program named another model, and chose its parameters for that one. A model that the program named itself gets its
parameters as they are: what it refuses, the caller is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..service.model_families import ModelFamily, family_of
from ..service.model_mapping import ModelTarget
from ..wire.objects import Json
from .request import INCLUDE_REASONING

Notes = dict[str, str]
"""What a mapped model does not get as it was set: a sentence by the name of the legacy parameter."""

_SAMPLING_KEYS = ("temperature", "top_p")


def request_for_model(request: Mapping[str, Any], target: ModelTarget | None) -> tuple[Json, Notes]:
    """Return the request for its model, or for the model that replaces it, and what that changes.

    Encrypted reasoning is requested only from a model that may reason, because others refuse the request for it.
    """
    body, notes = dict(request), Notes()
    if target is not None:
        body["model"] = target.model
        family = family_of(target.model)
        _fit_effort(body, target, family, notes)
        _fit_sampling(body, family, notes)
        if family is not None:
            _fit_parallel_tool_calls(body, family, notes)
            _fit_json_schema(body, family, notes)
    return _without_useless_include(body), notes


def _fit_effort(body: Json, target: ModelTarget, family: ModelFamily | None, notes: Notes) -> None:
    set_effort = (body.get("reasoning") or {}).get("effort")
    wanted = target.reasoning_effort or set_effort
    if wanted is None:
        return
    effort = wanted if family is None else family.nearest_effort(wanted)
    if effort is None:
        body.pop("reasoning", None)
    else:
        body["reasoning"] = {**(body.get("reasoning") or {}), "effort": effort}
    if effort == wanted == set_effort or (set_effort is None and effort == wanted):
        return
    name, shown = "reasoning_effort", f"reasoning_effort={set_effort or wanted!r}"
    if effort is None:
        notes[name] = f"{shown} is not sent, because {target.model} takes no effort"
    elif effort == wanted:
        notes[name] = f"{shown} is sent as {effort!r}, as Settings.models says"
    else:
        notes[name] = f"{shown} is sent as {effort!r}, the nearest one that {target.model} takes"


def _fit_sampling(body: Json, family: ModelFamily | None, notes: Notes) -> None:
    effort = (body.get("reasoning") or {}).get("effort")
    if family is not None and family.takes_sampling(effort):
        return
    for key in _SAMPLING_KEYS:
        value = body.get(key)
        # Nothing is known of the model without a family. It misses nothing without the default.
        if value is None or (family is None and value != 1):
            continue
        del body[key]
        shown = f"{key}={value!r} is not sent"
        if family is None:
            notes[key] = f"{shown}, because it is the default, which models that reason refuse"
        elif "none" in family.efforts:
            notes[key] = (
                f"{shown}, because {body['model']} takes it only at effort none "
                f"(Settings.models: {str(ModelTarget(body['model'], 'none'))!r})"
            )
        else:
            notes[key] = f"{shown}, because {body['model']} refuses it"


def _fit_parallel_tool_calls(body: Json, family: ModelFamily, notes: Notes) -> None:
    if "parallel_tool_calls" in body and not family.takes_parallel_tool_calls:
        value = body.pop("parallel_tool_calls")
        notes["parallel_tool_calls"] = f"parallel_tool_calls={value!r} is not sent, because {body['model']} refuses it"


def _fit_json_schema(body: Json, family: ModelFamily, notes: Notes) -> None:
    text_format = (body.get("text") or {}).get("format") or {}
    if text_format.get("type") != "json_schema" or family.takes_json_schema:
        return
    schema = json.dumps(text_format.get("schema"), ensure_ascii=False)
    sentence = f"Answer with one JSON object that matches this JSON schema: {schema}"
    body["instructions"] = "\n\n".join(filter(None, (body.get("instructions"), sentence)))
    body["text"] = {**body["text"], "format": {"type": "json_object"}}
    notes["response_format"] = (
        f"response_format is sent as json_object with the schema in the instructions, because {body['model']} takes no "
        "json_schema"
    )


def _without_useless_include(body: Json) -> Json:
    family = family_of(str(body["model"]))
    if family is None or family.reasons or INCLUDE_REASONING not in body.get("include", ()):
        return body
    include = [value for value in body["include"] if value != INCLUDE_REASONING]
    return {key: include if key == "include" else value for key, value in body.items() if key != "include" or include}
