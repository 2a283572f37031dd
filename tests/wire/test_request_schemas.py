"""Request checks accept the spec's keys and refuse everything else with the service's errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.errors import ApiError
from assistants_compat.wire import request_schemas
from assistants_compat.wire.checks import Check
from assistants_compat.wire.exchange import Call

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
EXTRA_KEYS = {
    # The SDK sends it with create_and_run too.
    "CreateThreadAndRunRequest": {"reasoning_effort"},
    # Keys of the API's first version, which `extra_body` can still send.
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


def error_of(check: Check, body: Any) -> ApiError | None:
    """Return the error of a body, or None if it is accepted."""
    try:
        check(body, "")
    except ApiError as error:
        return error
    return None


@pytest.mark.parametrize("name", CHECKS)
def test_the_accepted_keys_are_those_of_the_spec(name: str, shared: Path) -> None:
    """Every property of the spec's request schema is accepted, and no other key but those in `EXTRA_KEYS`."""
    spec = json.loads((shared / "spec" / "openapi.json").read_text(encoding="utf-8"))
    properties = set(spec["components"]["schemas"][name]["properties"])
    unknown = {
        key
        for key in {*properties, "file_ids", "reasoning_effort", "stream", "include"}
        if (error := error_of(CHECKS[name], {**REQUIRED_FOR[name], key: object()}))
        and error.code == "unknown_parameter"
    }
    known = {*properties, "file_ids", "reasoning_effort", "stream", "include"} - unknown
    assert known == properties | EXTRA_KEYS.get(name, set())


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
    """Any JSON is accepted, or refused with a 400 that names its place."""
    error = error_of(CHECKS[name], body)
    if error is not None:
        assert error.status == 400
        assert error.param is not None
        assert error.code in error.body()["error"].values()


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"[1,", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe{"])
def test_a_body_that_is_no_json_gets_the_services_error(body: bytes) -> None:
    """A body that is no JSON is refused with the service's 400."""
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
            request_schemas.MESSAGE_CREATE,
            {"role": "user", "content": "Hi", "attachments": [{"file_id": "file-1"}]},
            "Missing required parameter: 'attachments[0].tools'.",  # reported: openai/openai-python#1335
            "attachments[0].tools",
            "missing_required_parameter",
        ),
        (
            request_schemas.RUN_CREATE,
            {
                "assistant_id": "asst_1",
                "additional_messages": [
                    {"role": "user", "content": "Hi", "attachments": [{"tools": [{"type": "file_search"}]}]}
                ],
            },
            "Missing required parameter: 'additional_messages[0].attachments[0].file_id'.",  # the spec requires both
            "additional_messages[0].attachments[0].file_id",
            "missing_required_parameter",
        ),
        (
            request_schemas.MESSAGE_CREATE,
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "photo.png"}},
                ],
            },
            # reported in the forum's topic 752440
            "Invalid 'content[1].image_url.url'. Expected a valid URL, but got a value with an invalid format.",
            "content[1].image_url.url",
            "invalid_value",
        ),
        (
            request_schemas.ASSISTANT_CREATE,
            {"model": "m", "tools": [{"type": "function", "function": {"name": "get weather"}}]},
            # reported: coinbase/agentkit#217, run-llama/llama_index#16093 and others
            (
                "Invalid 'tools[0].function.name': string does not match pattern. "
                "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            ),
            "tools[0].function.name",
            "invalid_value",
        ),
        (
            request_schemas.ASSISTANT_CREATE,
            {"model": "m", "response_format": {"type": "json_schema", "json_schema": {"name": "my answer"}}},
            (
                "Invalid 'response_format.json_schema.name': string does not match pattern. "
                "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            ),
            "response_format.json_schema.name",
            "invalid_value",
        ),
        (
            request_schemas.ASSISTANT_UPDATE,
            {"tools": [{"type": "file_search", "file_search": {"ranking_options": {"ranker": "auto"}}}]},
            "Missing required parameter: 'tools[0].file_search.ranking_options.score_threshold'.",  # spec
            "tools[0].file_search.ranking_options.score_threshold",
            "missing_required_parameter",
        ),
        (
            request_schemas.ASSISTANT_UPDATE,
            {
                "tools": [
                    {"type": "file_search", "file_search": {"ranking_options": {"ranker": "b", "score_threshold": 0}}}
                ]
            },
            "Invalid value: 'b'. Supported values are: 'auto' and 'default_2024_08_21'.",  # spec
            "tools[0].file_search.ranking_options.ranker",
            "invalid_value",
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
def test_errors_have_the_recorded_or_reported_texts(
    check: Check, body: Any, message: str, param: str, code: str
) -> None:
    """Errors have the texts that were recorded or reported, because client code matches them."""
    error = error_of(check, body)
    assert error is not None
    assert error.body() == {
        "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    }


@pytest.mark.parametrize(
    ("url", "is_accepted"),
    [
        ("https://example.com/a.png", True),
        ("http://localhost:8000/a b.png?x=1", True),
        ("HTTPS://EXAMPLE.COM/é.png", True),
        ("https://[::1]/a.png", True),
        ("data:image/png;base64,iVBORw0KGgo=", True),
        ("photo.png", False),
        ("/mnt/data/photo.png", False),
        ("./photo.png", False),
        (r"C:\photos\photo.png", False),
        ("C:/photos/photo.png", False),
        ("file-abc123", False),
        ("file:///tmp/photo.png", False),
        ("iVBORw0KGgoAAAANSUhEUg==", False),
        ("https://", False),
        ("https:///a.png", False),
        ("http://[bad/a.png", False),
        ("example.com/a.png", False),
        (" ", False),
    ],
)
def test_an_image_is_at_a_url(url: str, is_accepted: bool) -> None:  # noqa: FBT001 - a value of the table
    """The URL of an image is one, or holds the image's data; a path, an id and bare base64 are refused."""
    body = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    error = error_of(request_schemas.MESSAGE_CREATE, body)
    assert (error is None) is is_accepted
    assert error is None or error.code == "invalid_value"


@pytest.mark.parametrize("name", ["look", "get-weather_2", "A" * 64])
def test_names_that_the_service_takes_are_accepted(name: str) -> None:
    """A function may be called by letters, digits, underscores and dashes."""
    body = {"model": "m", "tools": [{"type": "function", "function": {"name": name}}]}
    assert error_of(request_schemas.ASSISTANT_CREATE, body) is None


@pytest.mark.parametrize("name", ["a.b", "a b", "größe", "a\n", "天気"])
def test_names_that_the_service_refuses_are_refused(name: str) -> None:
    """Other characters, also at the end, are refused when the function is set, not when it is used."""
    tools = [{"type": "function", "function": {"name": name}}]
    for check, body in (
        (request_schemas.ASSISTANT_CREATE, {"model": "m", "tools": tools}),
        (request_schemas.ASSISTANT_UPDATE, {"tools": tools}),
        (request_schemas.RUN_CREATE, {"assistant_id": "asst_1", "tools": tools}),
        (request_schemas.THREAD_AND_RUN_CREATE, {"assistant_id": "asst_1", "tools": tools}),
    ):
        error = error_of(check, body)
        assert error is not None
        assert (error.param, error.code) == ("tools[0].function.name", "invalid_value")
