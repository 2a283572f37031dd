"""`Settings(models=...)` takes names, efforts and chains of replacements; a circle is refused."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat import Settings, SettingsError
from assistants_compat.service.model_mapping import ModelTarget, read_target, target_of, variable_text


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("gpt-4.1", ModelTarget("gpt-4.1")),
        (" gpt-4.1 ", ModelTarget("gpt-4.1")),
        ("gpt-5.6-luna effort none", ModelTarget("gpt-5.6-luna", "none")),
        ({"model": "gpt-5.6-luna", "reasoning_effort": "low"}, ModelTarget("gpt-5.6-luna", "low")),
        ({"model": "gpt-5.6-luna", "reasoning_effort": None}, ModelTarget("gpt-5.6-luna")),
        ("my deployment", ModelTarget("my deployment")),
    ],
)
def test_a_value_is_a_name_or_a_name_with_an_effort(value: Any, target: ModelTarget) -> None:
    """A replacement is a name, a name with an effort as text, or both as a mapping; its text form says the same."""
    assert read_target(value) == target
    assert read_target(str(target)) == target


@pytest.mark.parametrize(
    "value",
    ["", "gpt-5.6-luna effort some", {"model": ""}, {"reasoning_effort": "none"}, {"model": "a", "temperature": 1}, 1],
)
def test_other_values_are_refused(value: Any) -> None:
    """A replacement without a name, with an unknown effort or with another field is refused, with the valid forms."""
    with pytest.raises(SettingsError, match=r"NAME effort EFFORT.*none, minimal, low"):
        Settings(models={"gpt-4o": value})


def test_a_chain_of_replacements_is_followed() -> None:
    """A replacement that is replaced itself leads to the last model, with the last effort that the chain sets."""
    models = {"gpt-4": "gpt-4o", "gpt-4o": "gpt-5.6-luna effort none", "gpt-5.6-luna": "gpt-6-luna"}
    assert target_of(models, "gpt-4") == ModelTarget("gpt-6-luna", "none")
    assert target_of(models, "gpt-5.6-luna") == ModelTarget("gpt-6-luna")
    assert target_of(models, "gpt-4.1") is None


def test_a_model_may_be_mapped_to_itself() -> None:
    """A model that is mapped to itself ends its chain, and gets the effort."""
    models = {"gpt-4o": "gpt-5.6-luna", "gpt-5.6-luna": "gpt-5.6-luna effort none"}
    assert target_of(Settings(models=models).models, "gpt-4o") == ModelTarget("gpt-5.6-luna", "none")


@pytest.mark.parametrize(
    ("models", "circle"),
    [
        ({"a": "b", "b": "a"}, "a -> b -> a"),
        ({"x": "a", "a": "b effort low", "b": "c", "c": "a"}, "a -> b -> c -> a"),
    ],
)
def test_a_circle_is_refused(models: dict[str, str], circle: str) -> None:
    """Replacements that lead back to an earlier model are refused, and the message shows the circle."""
    with pytest.raises(SettingsError, match=circle):
        Settings(models=models)


def test_the_variable_has_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable takes the text form, and writing the values as its text gives the same replacements."""
    text = "gpt-4=gpt-4o,gpt-4o=gpt-5.6-luna effort none"
    monkeypatch.setenv("ASSISTANTS_COMPAT_MODELS", text)
    models = Settings().models
    assert target_of(models, "gpt-4") == ModelTarget("gpt-5.6-luna", "none")
    assert variable_text({**models, "x": {"model": "y", "reasoning_effort": "low"}}) == f"{text},x=y effort low"
    monkeypatch.setenv("ASSISTANTS_COMPAT_MODELS", "gpt-4o=gpt-5.6-luna effort much")
    with pytest.raises(SettingsError, match="old=new effort EFFORT"):
        Settings()
