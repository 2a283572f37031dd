"""A schema that is called strict is strict, or refused as the service refused it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.errors import ApiError
from assistants_compat.wire import request_schemas
from assistants_compat.wire.checks import Check
from assistants_compat.wire.json_schemas import fault_of_strict_schema

STRICT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {
            "type": "array",
            "items": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        },
        "place": {"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]},
    },
    "required": ["city", "days", "place"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}},
}
OPEN: dict[str, Any] = {"type": "object", "properties": {}}


def error_of(check: Check, body: Any) -> dict[str, Any] | None:
    """Return the error that a body gets, or None if it is accepted."""
    try:
        check(body, "")
    except ApiError as error:
        fields: dict[str, Any] = error.body()["error"]
        return fields
    return None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (STRICT, None),
        ({}, None),
        ({"type": "string"}, None),
        (OPEN, "In context=(), 'additionalProperties' is required to be supplied and to be false."),
        (
            {**STRICT, "additionalProperties": True},
            "In context=(), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            {**STRICT, "required": ["city", "place"]},
            (
                "In context=(), 'required' is required to be supplied and to be an array including every key in "
                "properties. Missing 'days'."
            ),
        ),
        (
            {**STRICT, "properties": {**STRICT["properties"], "days": {"type": "array", "items": OPEN}}},
            (
                "In context=('properties', 'days', 'items'), 'additionalProperties' is required to be supplied and to "
                "be false."
            ),
        ),
        (
            {**STRICT, "properties": {**STRICT["properties"], "place": {"anyOf": [{"type": "null"}, OPEN]}}},
            (
                "In context=('properties', 'place', 'anyOf', '1'), 'additionalProperties' is required to be supplied "
                "and to be false."
            ),
        ),
        (
            {**STRICT, "$defs": {"place": {**OPEN, "type": ["object", "null"]}}},
            "In context=('$defs', 'place'), 'additionalProperties' is required to be supplied and to be false.",
        ),
    ],
)
def test_the_first_fault_of_a_strict_schema_is_named(schema: Any, fault: str | None) -> None:
    """Each object forbids other keys and requires its own, wherever in the schema it is."""
    assert fault_of_strict_schema(schema) == fault


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=3) | st.just("object"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "properties", "items", "anyOf", "$defs", "required", "additionalProperties"]),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_any_json_is_read_as_a_schema(schema: Any) -> None:
    """No JSON breaks the check."""
    fault = fault_of_strict_schema(schema)
    assert fault is None or fault.startswith("In context=(")


def test_a_deep_schema_is_read_to_its_end() -> None:
    """A schema may be nested as deeply as JSON may."""
    schema: Any = OPEN
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    assert "additionalProperties" in str(fault_of_strict_schema(schema))


def test_a_function_and_a_format_are_refused_as_reported() -> None:
    """A strict function and a strict answer are refused with the reported texts, and only if they are strict."""
    function = {"name": "look", "parameters": OPEN, "strict": True}
    body = {"model": "m", "tools": [{"type": "code_interpreter"}, {"type": "function", "function": function}]}
    fault = "In context=(), 'additionalProperties' is required to be supplied and to be false."
    assert error_of(request_schemas.ASSISTANT_CREATE, body) == {
        "message": f"Invalid schema for function 'look': {fault}",
        "type": "invalid_request_error",
        "param": "tools[1].function.parameters",
        "code": "invalid_function_parameters",
    }
    answer = {"type": "json_schema", "json_schema": {"name": "answer", "schema": OPEN, "strict": True}}
    run = {"assistant_id": "asst_1", "response_format": answer}
    assert error_of(request_schemas.RUN_CREATE, run) == {
        "message": f"Invalid schema for response_format 'answer': {fault}",
        "type": "invalid_request_error",
        "param": "response_format",
        "code": None,
    }
    function["strict"] = answer["json_schema"]["strict"] = None  # type: ignore[index]
    assert error_of(request_schemas.ASSISTANT_CREATE, body) is None
    assert error_of(request_schemas.RUN_CREATE, run) is None
