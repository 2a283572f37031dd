"""`doctor` advises replacements of models that can be pasted as they are, and throws none away."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.cli.model_advice import mapped_value_warnings, replacement_advice, requested_model
from assistants_compat.service.model_mapping import target_of

LISTED = ["gpt-4.1", "gpt-5", "gpt-6-luna", "gpt-6-astra"]
CHAIN: dict[str, Any] = {"gpt-4": "gpt-4o", "gpt-4o": {"model": "gpt-5.6-luna", "reasoning_effort": "none"}}


def pasted(monkeypatch: pytest.MonkeyPatch, advice: str, new: str) -> dict[str, Any]:
    """Return the setting that the line in an advice gives, as a shell reads it, with a model in place of NEW."""
    line = shlex.split(advice.removeprefix("set ").partition(", where")[0].partition(" to keep")[0])[0]
    monkeypatch.setenv(*line.replace("NEW", new).split("=", 1))
    return dict(Settings().models)


def test_the_line_keeps_the_replacements_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The advised line has all replacements that are set, so a chain continues to the new model with its effort."""
    advice = replacement_advice(CHAIN, ["gpt-5.6-luna"], LISTED)
    models = pasted(monkeypatch, advice, "gpt-6-luna")
    for name in ("gpt-4", "gpt-4o"):
        assert str(target_of(models, name)) == "gpt-6-luna effort none"


def test_one_line_replaces_all_missing_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several missing models are in one line, because pasting a second one would throw the first one away."""
    models = pasted(monkeypatch, replacement_advice({}, ["gpt-3.5-turbo", "gpt-4"], LISTED), "gpt-4.1")
    assert models == {"gpt-3.5-turbo": "gpt-4.1", "gpt-4": "gpt-4.1"}


def test_effort_none_is_suggested_where_a_listed_model_has_it() -> None:
    """For a model that does not reason, the advice names a listed model at effort `none`, which keeps temperature."""
    assert "'gpt-6-luna effort none'" in replacement_advice({}, ["gpt-4o"], LISTED)
    assert "effort none" not in replacement_advice({}, ["gpt-4o"], ["gpt-5", "gpt-6-astra"])
    assert "effort none" not in replacement_advice({}, ["gpt-5.6-luna"], LISTED)


def test_the_requested_model_is_the_end_of_the_chain() -> None:
    """The model that is checked is the one that runs request."""
    assert [requested_model(CHAIN, name) for name in ("gpt-4", "gpt-4o", "gpt-4.1")] == [
        "gpt-5.6-luna",
        "gpt-5.6-luna",
        "gpt-4.1",
    ]


def test_a_value_that_is_left_out_is_a_warning_with_the_line_that_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A temperature that the new model refuses is a warning, once a model, and the advised line keeps the value."""
    mapped = {"gpt-4": "gpt-4o", "gpt-4o": "gpt-6-luna"}
    assistants = [{"model": name, "temperature": 0.2} for name in ("gpt-4", "gpt-4o", "gpt-4")]
    [(says, advice)] = mapped_value_warnings(mapped, assistants)
    assert says.startswith("an assistant of gpt-4: temperature=0.2 is not sent")
    models = pasted(monkeypatch, advice, "")
    assert list(mapped_value_warnings(models, assistants[:1])) == []
    assert models["gpt-4o"] == "gpt-6-luna"


@pytest.mark.refusal("hosted_tool_unsupported")
def test_a_tool_that_the_new_model_lacks_is_a_warning() -> None:
    """An assistant with Code Interpreter whose new model has none is a warning; one that is not replaced is not."""
    tools = [{"type": "code_interpreter"}]
    [(says, _)] = mapped_value_warnings({"gpt-4o": "gpt-5.5-pro"}, [{"model": "gpt-4o", "tools": tools}])
    assert "gpt-5.5-pro refuses its tool code_interpreter" in says
    assert list(mapped_value_warnings({}, [{"model": "gpt-5.5-pro", "tools": tools, "temperature": 1.5}])) == []
