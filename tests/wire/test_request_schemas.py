"""What a request may carry: the spec's keys, and an error in the service's words for everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.errors import ApiError
from assistants_compat.wire.objects import request_schemas
from assistants_compat.wire.objects.checks import Check
from assistants_compat.wire.objects.exchange import Call

CHECKS = {
    "CreateAssistantRequest": request_schemas.ASSISTANT_CREATE,
    "ModifyAssistantRequest": request_schemas.ASSISTANT_UPDATE,
    "CreateThreadRequest": request_schemas.THREAD_CREATE,
    "ModifyThreadRequest": request_schemas.THREAD_UPDATE,
    "CreateMessageRequest": request_schemas.MESSAGE_CREATE,
    "ModifyMessageRequest": request_schemas.MESSAGE_UPDATE,
    "CreateRunRequest": request_schemas.RUN_CREATE,
    "ModifyRunRequest": request_schemas.RUN_UPDATE,
    "CreateThreadAndRunRequest": request_schemas.THREAD_AND_RUN_CREATE,
}
# Beyond the spec: the SDK sends reasoning_effort with create_and_run too.
MORE = {
    "CreateThreadAndRunRequest": {"reasoning_effort"},
    # Of the first version, which `extra_body` still sends.
    "CreateAssistantRequest": {"file_ids"},
    "ModifyAssistantRequest": {"file_ids"},
    "CreateMessageRequest": {"file_ids"},
}
REQUIRED = {"model": "m", "assistant_id": "asst_1", "role": "user", "content": "Hi"}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5)
keys = st.sampled_from(
    [*REQUIRED, "tools", "metadata", "messages", "type", "function", "name", "tool_resources", "code_interpreter"]
) | st.text(max_size=5)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def trouble(check: Check, body: Any) -> ApiError | None:
    """The error of a body, or None when it is accepted."""
    try:
        check(body, "")
    except ApiError as error:
        return error
    return None


@pytest.mark.parametrize("name", CHECKS)
def test_the_keys_of_the_spec_are_the_keys_that_are_known(name: str, shared: Path) -> None:
    """Every property of the spec's request schema is known, and no other key is."""
    spec = json.loads((shared / "spec" / "openapi.json").read_text(encoding="utf-8"))
    properties = set(spec["components"]["schemas"][name]["properties"])
    unknown = {
        key
        for key in {*properties, "file_ids", "reasoning_effort", "stream", "include"}
        if (error := trouble(CHECKS[name], {**REQUIRED_FOR[name], key: object()})) and error.code == "unknown_parameter"
    }
    known = {*properties, "file_ids", "reasoning_effort", "stream", "include"} - unknown
    assert known == properties | MORE.get(name, set())


REQUIRED_FOR: dict[str, dict[str, Any]] = {
    "CreateAssistantRequest": {"model": "m"},
    "CreateMessageRequest": {"role": "user", "content": "Hi"},
    "CreateRunRequest": {"assistant_id": "asst_1"},
    "CreateThreadAndRunRequest": {"assistant_id": "asst_1"},
    "ModifyAssistantRequest": {},
    "CreateThreadRequest": {},
    "ModifyThreadRequest": {},
    "ModifyMessageRequest": {},
    "ModifyRunRequest": {},
}


@given(st.sampled_from(sorted(CHECKS)), anything)
def test_any_json_is_accepted_or_refused_with_400(name: str, body: Any) -> None:
    """No value makes a check fail in any other way, and a refusal names its place."""
    error = trouble(CHECKS[name], body)
    if error is not None:
        assert error.status == 400
        assert error.param is not None
        assert error.code in error.body()["error"].values()


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"[1,", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe{"])
def test_what_is_not_json_is_refused_in_the_services_words(body: bytes) -> None:
    """A body that cannot be read is a 400, never an exception of ours."""
    with pytest.raises(ApiError) as caught:
        Call("POST", {}, body=body).json(request_schemas.THREAD_CREATE)
    assert caught.value.status == 400
    assert caught.value.message.startswith("We could not parse the JSON body of your request.")


@pytest.mark.parametrize(
    ("check", "body", "message", "param", "code"),
    [
        (
            request_schemas.MESSAGE_UPDATE,
            {"metadata": {"modified": True}},
            "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",  # recorded
            "metadata.modified",
            "invalid_type",
        ),
        (
            request_schemas.ASSISTANT_CREATE,
            {"model": "m", "temperature": -1},
            # recorded in the Responses API: test_openai_responses_model_http_error.yaml
            "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got -1 instead.",
            "temperature",
            "decimal_below_min_value",
        ),
        (
            request_schemas.THREAD_CREATE,
            {"metadata": {str(number): "" for number in range(17)}},
            # reported: BerriAI/litellm#4257
            (
                "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
                "but got an object with 17 properties instead."
            ),
            "metadata",
            "object_above_max_properties",
        ),
        (
            request_schemas.ASSISTANT_CREATE,
            {"model": "m", "tools": [{"type": "function", "function": {"name": "f" * 66}}]},
            # reported: home-assistant/core#124440
            (
                "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, "
                "but got a string with length 66 instead."
            ),
            "tools[0].function.name",
            "string_above_max_length",
        ),
        (
            request_schemas.THREAD_CREATE,
            {"role": "user", "content": "Hi"},
            "Unknown parameter: 'role'.",  # reported: openai/openai-node#902
            "role",
            "unknown_parameter",
        ),
    ],
)
def test_errors_have_the_texts_that_were_recorded_or_reported(
    check: Check, body: Any, message: str, param: str, code: str
) -> None:
    """Client code matches these texts."""
    error = trouble(check, body)
    assert error is not None
    assert error.body() == {
        "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    }
