"""A replaced model's request has nothing that the model which replaces it is known to refuse."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat.service.model_families import EFFORTS, FAMILIES, family_of
from assistants_compat.service.model_mapping import ModelTarget, read_target
from assistants_compat.translate.request_model import request_for_model

SCHEMA = {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True}}
SAMPLING = {"temperature": 0.2, "top_p": 0.9}


def fitted(target: str, **fields: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields of a request of gpt-4o for the model that replaces it, and the notes."""
    request, notes = request_for_model({"model": "gpt-4o", "store": True, **fields}, read_target(target))
    assert request.pop("model") == read_target(target).model
    del request["store"]
    return request, notes


@pytest.mark.parametrize("target", ["gpt-5.6-luna", "gpt-5", "gpt-5.5", "o3", "gpt-6-astra", "gpt-5.2-chat-latest"])
def test_a_model_that_reasons_gets_no_sampling_parameters(target: str) -> None:
    """`temperature` and `top_p`, also 1, are left out for a model that reasons by default (refusals.md 2, 3)."""
    for values in (SAMPLING, {"temperature": 1.0, "top_p": 1.0}):
        request, notes = fitted(target, **values)
        assert (request, sorted(notes)) == ({}, ["temperature", "top_p"])


@pytest.mark.parametrize("target", ["gpt-5.6-luna effort none", "gpt-5.1", "gpt-4.1"])
def test_a_model_that_does_not_reason_keeps_sampling_parameters(target: str) -> None:
    """At effort `none`, and with a model that does not reason by default, both parameters stay (refusals.md 2)."""
    request, notes = fitted(target, **SAMPLING)
    assert {key: request[key] for key in SAMPLING} == SAMPLING
    assert notes == {}


def test_an_effort_switches_sampling_parameters_off() -> None:
    """A model that does not reason by default gets no `temperature` once it has an effort (refusals.md 2)."""
    assert fitted("gpt-5.4", temperature=0.2, reasoning={"effort": "low"})[0] == {"reasoning": {"effort": "low"}}


def test_a_note_says_how_to_keep_the_value() -> None:
    """The note on a dropped `temperature` names the value of the setting that keeps it, if there is one."""
    assert "'gpt-5.6-luna effort none'" in fitted("gpt-5.6-luna", temperature=0.2)[1]["temperature"]
    assert "effort" not in fitted("gpt-6-astra", temperature=0.2)[1]["temperature"]


@pytest.mark.refusal("effort_unsupported", "effort_value_unsupported")
@pytest.mark.parametrize(
    ("target", "effort", "sent"),
    [
        ("gpt-5.6-luna", "minimal", "low"),
        ("gpt-5.6-luna", "high", "high"),
        ("gpt-4.1", "high", None),
        ("gpt-5.6-luna effort none", "high", "none"),
        ("gpt-6-astra effort none", None, "low"),
        ("gpt-5.6-luna effort none", None, "none"),
        ("gpt-5.6-luna", None, None),
        ("my-deployment", "minimal", "minimal"),
    ],
)
def test_the_effort_is_one_that_the_model_takes(target: str, effort: str | None, sent: str | None) -> None:
    """An effort outside the model's set becomes its nearest one; the setting's effort wins (refusals.md 16, 17)."""
    request, notes = fitted(target, **({"reasoning": {"effort": effort}} if effort else {}))
    assert request == ({"reasoning": {"effort": sent}} if sent else {})
    changed = sent != effort and not (effort is None and target.endswith(f" {sent}"))
    assert ("reasoning_effort" in notes) == changed


def test_the_o_series_gets_no_parallel_tool_calls() -> None:
    """`parallel_tool_calls` is left out for the o-series and stays for others (refusals.md 18)."""
    assert fitted("o3", parallel_tool_calls=False)[0] == {}
    assert fitted("gpt-5.6-luna", parallel_tool_calls=False)[0] == {"parallel_tool_calls": False}


def test_an_old_model_gets_the_schema_in_words() -> None:
    """A model without JSON schemas gets JSON mode, with the schema in its instructions (refusals.md 28)."""
    request, notes = fitted("gpt-4-turbo", text=SCHEMA, instructions="Help.")
    assert request["text"] == {"format": {"type": "json_object"}}
    assert request["instructions"].startswith("Help.\n\n")
    assert request["instructions"].endswith('{"type": "object"}')
    assert "response_format" in notes
    assert fitted("gpt-6-luna", text=SCHEMA) == ({"text": SCHEMA}, {})


def test_a_model_without_a_family_loses_only_defaults() -> None:
    """Nothing is known of a deployment's name: it loses only a `temperature` and `top_p` of 1, which change nothing."""
    assert fitted("my-deployment", **SAMPLING) == (SAMPLING, {})
    assert fitted("my-deployment", temperature=1.0, top_p=1)[0] == {}


def test_a_model_that_the_caller_named_gets_everything() -> None:
    """The request of a model that is not replaced stays as it is: what it refuses, the caller is told."""
    request = {"model": "gpt-5", "store": True, **SAMPLING, "reasoning": {"effort": "none"}, "text": SCHEMA}
    assert request_for_model(request, None) == (request, {})


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.prefix)
def test_no_family_gets_what_it_refuses(family: Any) -> None:
    """Whatever an assistant has set, the request has only what the family of the new model takes."""
    for effort in (None, *EFFORTS):
        for target_effort in (None, "none", "high"):
            fields = {**SAMPLING, "parallel_tool_calls": True, "text": SCHEMA}
            fields |= {"reasoning": {"effort": effort}} if effort else {}
            request, _ = request_for_model({"model": "x", **fields}, ModelTarget(family.prefix, target_effort))
            sent_effort = request.get("reasoning", {}).get("effort")
            assert sent_effort is None or sent_effort in family.efforts
            assert family.takes_sampling(sent_effort) or not SAMPLING.keys() & request.keys()
            assert family.takes_parallel_tool_calls or "parallel_tool_calls" not in request
            assert family.takes_json_schema or request["text"]["format"]["type"] == "json_object"


@pytest.mark.parametrize(("model", "asks"), [("gpt-4o", False), ("gpt-5.4", True), ("o3", True), ("unknown", True)])
def test_only_a_model_that_may_reason_is_asked_for_its_reasoning(model: str, *, asks: bool) -> None:
    """Encrypted reasoning is requested unless the model is known not to reason (refusals.md 7)."""
    request = {"model": model, "store": False, "include": ["file_search_call.results", "reasoning.encrypted_content"]}
    fitted_request, _ = request_for_model(request, None)
    assert ("reasoning.encrypted_content" in fitted_request["include"]) == asks
    only = {"model": model, "include": ["reasoning.encrypted_content"]}
    assert ("include" in request_for_model(only, None)[0]) == asks
    assert family_of("unknown") is None
