"""The families of models take what the service was seen to take; its answers are the cases here."""

from __future__ import annotations

import re

import pytest

from assistants_compat.service.model_families import EFFORTS, FAMILIES, ModelFamily, family_of

# What api.openai.com answered to effort `none` (None: taken), and whether it took `temperature` without an effort.
# Recorded in July 2026 (pydantic-ai); the GPT-6 rows are from a public test report of 2026-09-24 and quoted refusals.
MEASURED: list[tuple[str, str | None, bool]] = [
    ("gpt-4.1", "Unsupported parameter", True),
    ("gpt-4o-2024-08-06", "Unsupported parameter", True),
    ("gpt-5", "'minimal', 'low', 'medium', and 'high'", False),
    ("gpt-5-mini", "'minimal', 'low', 'medium', and 'high'", False),
    ("gpt-5-nano", "'minimal', 'low', 'medium', and 'high'", False),
    ("gpt-5-pro", "'high'", False),
    ("o1", "'low', 'medium', and 'high'", False),
    ("o1-pro", "'low', 'medium', and 'high'", False),
    ("o3", "'low', 'medium', and 'high'", False),
    ("o3-mini", "'low', 'medium', and 'high'", False),
    ("o4-mini", "'low', 'medium', and 'high'", False),
    ("gpt-5.1", None, True),
    ("gpt-5.2", None, True),
    ("gpt-5.3-codex", None, True),
    ("gpt-5.2-chat-latest", "'medium'", False),
    ("gpt-5.3-chat-latest", "'medium'", False),
    ("gpt-5.2-pro", "'medium', 'high', and 'xhigh'", False),
    ("gpt-5.4", None, True),
    ("gpt-5.4-mini", None, True),
    ("gpt-5.4-nano", None, True),
    ("gpt-5.4-pro", "'medium', 'high', and 'xhigh'", False),
    ("gpt-5.5", None, False),
    ("gpt-5.5-pro", "'medium', 'high', and 'xhigh'", False),
    ("gpt-5.6-sol", None, False),
    ("gpt-5.6-terra", None, False),
    ("gpt-5.6-luna", None, False),
    ("gpt-6-sol", None, False),
    ("gpt-6-luna", None, False),
    ("gpt-6-astra", "'low', 'medium', 'high', 'xhigh', and 'max'", False),
    ("gpt-6.1-sol", "'low', 'medium', 'high', 'xhigh', and 'max'", False),
]

# The values that a refusal of another effort listed, quoted in public.
QUOTED = [
    ("gpt-5.1", "'none', 'low', 'medium', and 'high'"),
    ("gpt-5.4", "'none', 'low', 'medium', 'high', and 'xhigh'"),
    ("gpt-5.5", "'none', 'low', 'medium', 'high', and 'xhigh'"),
    ("gpt-5.6-luna", "'none', 'low', 'medium', 'high', 'xhigh', and 'max'"),
    ("gpt-6-luna", "'none', 'low', 'medium', 'high', 'xhigh', and 'max'"),
    ("gpt-5-codex", "'low', 'medium', and 'high'"),
]


def family(model: str) -> ModelFamily:
    """Return the family of a model that the table knows."""
    found = family_of(model)
    assert found is not None, model
    return found


@pytest.mark.parametrize(("model", "refusal", "took_temperature"), MEASURED)
def test_a_family_takes_what_the_service_took(model: str, refusal: str | None, *, took_temperature: bool) -> None:
    """A family has effort `none` and takes `temperature` exactly where the service did (refusals.md 2, 16, 17)."""
    of_model = family(model)
    assert ("none" in of_model.efforts) == (refusal is None)
    assert of_model.takes_sampling(None) == took_temperature
    if refusal is not None and "Unsupported" not in refusal:
        assert list(of_model.efforts) == re.findall(r"'(\w+)'", refusal)


@pytest.mark.parametrize(("model", "listed"), QUOTED)
def test_a_family_has_the_efforts_that_a_refusal_listed(model: str, listed: str) -> None:
    """The efforts of a family are those that the service listed when it refused another one (refusals.md 17)."""
    assert list(family(model).efforts) == re.findall(r"'(\w+)'", listed)


def test_sampling_parameters_are_taken_at_effort_none_only() -> None:
    """A model that can stop reasoning takes `temperature` at effort `none` and at no other (refusals.md 2, 3)."""
    for model in ("gpt-5.1", "gpt-5.5", "gpt-5.6-luna", "gpt-6-luna"):
        assert [effort for effort in EFFORTS if family(model).takes_sampling(effort)] == ["none"]


def test_the_o_series_takes_no_parallel_tool_calls() -> None:
    """`parallel_tool_calls` is refused by the o-series and taken by the others (refusals.md 18)."""
    refusing = {model for model, *_ in MEASURED if not family(model).takes_parallel_tool_calls}
    assert refusing == {"o1", "o1-pro", "o3", "o3-mini", "o4-mini"}


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("gpt-3.5-turbo", False),
        ("gpt-35-turbo", False),
        ("gpt-4", False),
        ("gpt-4-turbo-2024-04-09", False),
        ("gpt-5-chat-latest", False),
        ("o3-deep-research", False),
        ("gpt-4o", True),
        ("gpt-4.1-mini", True),
        ("gpt-5", True),
        ("gpt-6-luna", True),
    ],
)
def test_old_models_take_no_json_schema(model: str, *, takes: bool) -> None:
    """A JSON schema as the answer's format is refused by the models that refusals.md names in row 28."""
    assert family(model).takes_json_schema == takes


def test_pro_models_have_no_code_interpreter() -> None:
    """The pro models of GPT-5 have no Code Interpreter (refusals.md 26)."""
    without = {model for model, *_ in MEASURED if "code_interpreter" not in family(model).hosted_tools}
    assert without == {"gpt-5-pro", "gpt-5.2-pro", "gpt-5.4-pro", "gpt-5.5-pro"}


def test_models_that_need_verification() -> None:
    """An organization must be verified to stream o3 and the first GPT-5 family (refusals.md 10)."""
    needing = {model for model, *_ in MEASURED if family(model).needs_verification}
    assert needing == {"o3", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5-pro"}


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("ft:gpt-4o-mini-2024-07-18:acme::abc", "gpt-4o"),
        ("openai/gpt-5.6-luna", "gpt-5.6"),
        ("gpt-5.1-codex-max", "gpt-5.1-codex-max"),
        ("o3-mini-2025-01-31", "o3-mini"),
    ],
)
def test_a_family_is_found_under_every_form_of_a_name(name: str, prefix: str) -> None:
    """Fine-tuned models, a gateway's names and dated names belong to the family of their model."""
    assert family(name).prefix == prefix


@pytest.mark.parametrize("name", ["", "gpt-5.7", "gpt-51", "my-deployment", "claude-opus-5", "gpt-oss-120b", "o", "o9"])
def test_an_unknown_model_has_no_family(name: str) -> None:
    """A model that no source names has no family, also if its name begins as that of another."""
    assert family_of(name) is None


@pytest.mark.parametrize(
    ("model", "effort", "nearest"),
    [
        ("gpt-5.6-luna", "minimal", "low"),
        ("gpt-5.6-luna", "high", "high"),
        ("gpt-5", "none", "minimal"),
        ("gpt-5-pro", "minimal", "high"),
        ("o3", "none", "low"),
        ("gpt-5.1", "xhigh", "high"),
        ("gpt-6-astra", "none", "low"),
        ("gpt-4.1", "none", None),
        ("gpt-5.2-chat-latest", "high", "medium"),
    ],
)
def test_the_nearest_effort(model: str, effort: str, nearest: str | None) -> None:
    """An effort outside a family's set becomes its nearest one, and none at all where the family takes none."""
    assert family(model).nearest_effort(effort) == nearest


def test_every_row_has_sources_and_can_be_found() -> None:
    """Each row names its sources, and its own prefix leads to it and to no row before it."""
    for row in FAMILIES:
        assert row.sources
        assert family_of(row.prefix) is row


def test_a_row_without_a_source_cannot_be_added() -> None:
    """A family without a source is refused, and so is one with an effort that does not exist."""
    with pytest.raises(ValueError, match="source"):
        ModelFamily("gpt-9", reasons_by_default=True, efforts=(), sources=())
    with pytest.raises(ValueError, match="effort"):
        ModelFamily("gpt-9", reasons_by_default=True, efforts=("enormous",), sources=("a page",))
