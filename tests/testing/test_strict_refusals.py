"""The strict stand-in refuses what the service is publicly known to refuse, in the service's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from assistants_compat.service.refusal_table import TABLE
from assistants_compat.service.refusals import recognize
from assistants_compat.testing import StandIn

PLAIN: dict[str, Any] = {"model": "gpt-4o", "input": "Hello"}
FUNCTION = {"type": "function", "name": "f", "parameters": {}, "strict": False}
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
JSON_MODE = {"format": {"type": "json_object"}}
JSON_SCHEMA = {"format": {"type": "json_schema", "name": "n", "schema": {}}}
SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1", "vs_2", "vs_3"]}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
SEEN = {"type": "input_image", "detail": "auto"}
AZURE = {"api-key": "k"}
UNSUPPORTED = "Unsupported parameter: '{}' is not supported with this model."
FORMATS = (
    '"c", "cpp", "css", "csv", "doc", "docx", "gif", "go", "html", "java", "jpeg", "jpg", "js", "json", "md", "pdf", '
    '"php", "pkl", "png", "pptx", "py", "rb", "tar", "tex", "ts", "txt", "webp", "xlsx", "xml", "zip"'
)


EMPTY: tuple[object, ...] = ([], "")


@dataclass(frozen=True)
class Case:
    """A body that is refused, by the row `row`, with exactly this error."""

    row: str
    body: dict[str, Any]
    message: str
    param: str | None = None
    code: str | None = None
    status: int = 400
    options: dict[str, Any] = field(default_factory=dict)
    azure: bool = False

    def __str__(self) -> str:
        """Return the name of the case in the report of a test run."""
        return f"{self.row} {list(self.body)}"


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an input of one user message."""
    return [{"role": "user", "content": list(parts)}]


# The texts are those of the catalogue of refusals, written again so that the table is held against them.
CASES = [
    Case(
        "json_word_missing",
        {"instructions": "Answer in JSON.", "text": JSON_MODE},
        "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.",
        "input",
    ),
    *(
        Case("sampling_unsupported", {"model": model, name: value, **effort}, UNSUPPORTED.format(name), name)
        for model, effort in (
            ("o3-mini", {}),
            ("gpt-5-mini", {}),
            ("gpt-5.6-luna", {}),
            ("gpt-5.1", {"reasoning": {"effort": "low"}}),
        )
        for name, value in (("temperature", 0.2), ("top_p", 1))
    ),
    Case(
        "sampling_unsupported",
        {"model": "gpt-5", "temperature": 0.2},
        UNSUPPORTED.format("temperature"),
        "temperature",
        "unsupported_parameter",
        azure=True,
    ),
    *(
        Case(
            "input_empty",
            {"input": empty, "instructions": "Say hello."},
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided.",
            code="missing_required_parameter",
        )
        for empty in EMPTY
    ),
    Case(
        "zero_retention_previous_response",
        {"previous_response_id": "resp_1"},
        "Previous response cannot be used for this organization due to Zero Data Retention.",
        "previous_response_id",
        "unsupported_parameter",
        options={"zero_retention": True},
    ),
    Case(
        "zero_retention_code",
        {"tools": [CODE]},
        "Code interpreter tool cannot be used for this organization due to Zero Data Retention.",
        "tools",
        options={"zero_retention": True},
    ),
    Case(
        "encrypted_unsupported",
        {"include": ["reasoning.encrypted_content"], "store": False},
        "Encrypted content is not supported with this model.",
        "include",
    ),
    Case(
        "stream_unverified",
        {"model": "gpt-5-mini", "stream": True},
        "Your organization must be verified to stream this model. Please go to: "
        "https://platform.openai.com/settings/organization/general and click on Verify Organization. If you just "
        "verified, it can take up to 15 minutes for access to propagate.",
        "stream",
        "unsupported_value",
        options={"verified": False},
    ),
    Case(
        "effort_unsupported",
        {"reasoning": {"effort": "low"}},
        UNSUPPORTED.format("reasoning.effort"),
        "reasoning.effort",
        "unsupported_parameter",
    ),
    Case(
        "effort_value_unsupported",
        {"model": "gpt-5.6-terra", "reasoning": {"effort": "minimal"}},
        "Unsupported value: 'minimal' is not supported with the 'gpt-5.6-terra' model. Supported values are: 'none', "
        "'low', 'medium', 'high', 'xhigh', and 'max'.",
        "reasoning.effort",
        "unsupported_value",
    ),
    Case(
        "effort_value_unsupported",
        {"model": "o3-mini", "reasoning": {"effort": "none"}},
        "Unsupported value: 'none' is not supported with the 'o3-mini' model. Supported values are: 'low', 'medium', "
        "and 'high'.",
        "reasoning.effort",
        "unsupported_value",
    ),
    Case(
        "parallel_tool_calls_unsupported",
        {"model": "o3-mini", "tools": [FUNCTION], "parallel_tool_calls": False},
        UNSUPPORTED.format("parallel_tool_calls"),
        "parallel_tool_calls",
        "unsupported_parameter",
    ),
    Case(
        "parallel_tool_calls_without_tools",
        {"parallel_tool_calls": True},
        "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified.",
        "parallel_tool_calls",
    ),
    Case(
        "tool_choice_without_tools",
        {"tool_choice": "required"},
        "Tool choice 'required' must be specified with 'tools' parameter.",
        "tool_choice",
    ),
    *(
        Case("tool_choice_unknown", body, f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
        for name, body in (
            ("g", {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}),
            ("file_search", {"tools": [FUNCTION], "tool_choice": {"type": "file_search"}}),
        )
    ),
    Case(
        "vector_stores_too_many",
        {"tools": [SEARCH]},
        "Invalid input: maximum of 2 vector stores allowed.",
        "tools",
        "integer_above_max_value",
    ),
    Case(
        "hosted_tool_unsupported",
        {"model": "gpt-5.2-pro", "tools": [CODE]},
        "Hosted tool 'code_interpreter' is not supported with gpt-5.2-pro.",
        "tools",
    ),
    Case(
        "json_schema_unsupported",
        {"model": "gpt-3.5-turbo", "text": JSON_SCHEMA},
        "Invalid parameter: 'text.format' of type 'json_schema' is not supported with model version `gpt-3.5-turbo`.",
        "text.format",
    ),
    Case(
        "image_unavailable",
        {"input": user({**SEEN, "image_url": "https://example.com/a.png"})},
        "Error while downloading https://example.com/a.png.",
        "url",
        "invalid_value",
        options={"dead_links": ["https://example.com/a.png"]},
    ),
    Case(
        "image_file_gone",
        {"input": user({**SEEN, "file_id": "file-gone"})},
        "No such File object: file-gone",
        "id",
        status=404,
    ),
    Case(
        "container_file_gone",
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-gone"]}}]},
        "File 'file-gone' not found.",
        "tools[0].container.file_ids",
    ),
    Case(
        "arguments_too_long",
        {"input": [{**CALL, "arguments": "x" * 1_048_577}, OUTPUT]},
        "Invalid 'input[0].arguments': string too long. Expected a string with maximum length 1048576, but got a "
        "string with length 1048577 instead.",
        "input[0].arguments",
        "string_above_max_length",
    ),
    Case(
        "call_id_too_long",
        {"input": [{**CALL, "call_id": "c" * 65}, {**OUTPUT, "call_id": "c" * 65}]},
        "Invalid 'input[0].call_id': string too long. Expected a string with maximum length 64, but got a string with "
        "length 65 instead.",
        "input[0].call_id",
        "string_above_max_length",
    ),
    Case(
        "instructions_too_long",
        {"instructions": "x" * 1_048_577},
        "Invalid 'instructions': string too long. Expected a string with maximum length 1048576, but got a string with "
        "length 1048577 instead.",
        "instructions",
        "string_above_max_length",
    ),
    Case(
        "tools_too_many",
        {"tools": [{**FUNCTION, "name": f"f{number}"} for number in range(129)]},
        "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 129"
        " instead.",
        "tools",
        "array_above_max_length",
    ),
    Case(
        "tool_name_invalid",
        {"tools": [FUNCTION, {**FUNCTION, "name": "a.b"}]},
        "Invalid 'tools[1].name': string does not match pattern. Expected a string that matches the pattern "
        "'^[a-zA-Z0-9_-]+$'.",
        "tools[1].name",
        "invalid_value",
    ),
    Case(
        "function_schema_invalid",
        {"tools": [{**FUNCTION, "parameters": {"type": "object", "properties": {}}, "strict": True}]},
        "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be supplied and to be "
        "false.",
        "tools[0].parameters",
        "invalid_function_parameters",
    ),
    Case(
        "input_array_too_long",
        {"input": [{"role": "user", "content": "x"}] * 16_385},
        "Invalid 'input': array too long. Expected an array with maximum length 16384, but got an array with length "
        "16385 instead.",
        "input",
        "array_above_max_length",
    ),
    Case(
        "assistant_input_text",
        {"input": [*user(), {"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
        "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
        "input[1].content[0]",
        "invalid_value",
    ),
    Case(
        "model_unknown",
        {"model": "gpt-gone"},
        "The requested model 'gpt-gone' does not exist.",
        "model",
        "model_not_found",
        options={"models": ["gpt-4o"]},
    ),
    Case(
        "mutually_exclusive",
        {"conversation": "conv_1", "previous_response_id": "resp_1"},
        "Mutually exclusive parameters: ''. Ensure you are only providing one of: 'pre..._id' or 'conversation'.",
        code="mutually_exclusive_parameters",
    ),
    Case("parameter_unknown", {"n": 2}, "Unknown parameter: 'n'.", "n", "unknown_parameter"),
    Case(
        "max_output_tokens_small",
        {"max_output_tokens": 15},
        "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 15 instead.",
        "max_output_tokens",
        "integer_below_min_value",
    ),
    Case(
        "images_too_many",
        {"input": user(*[{**SEEN, "image_url": "https://example.com/a.png"}] * 51)},
        "Too many images in request. Max is 50.",
        azure=True,
    ),
    Case(
        "previous_response_gone",
        {"previous_response_id": "resp_1"},
        "Previous response with id 'resp_1' not found.",
        "previous_response_id",
        "previous_response_not_found",
    ),
    Case("function_output_missing", {"input": [CALL]}, "No tool output found for function call call_1.", "input"),
    Case(
        "background_refused",
        {"background": True},
        UNSUPPORTED.format("background"),
        "background",
        "unsupported_parameter",
        options={"background_refused": True},
    ),
]
# Rows whose refusals depend on what was sent before, with the file of their tests.
ELSEWHERE = {
    "container_gone": "test_stand_in_rules.py",
    "duplicate_item": "test_strict_items.py",
    "encrypted_of_stored": "test_strict_items.py",
    "encrypted_unverified": "test_strict_items.py",
    "item_not_found": "test_strict_items.py",
    "item_without_pair": "test_strict_items.py",
    "cancel_synchronous": "test_stand_in_rules.py",
    "file_empty": "test_strict_files.py",
    "file_extension": "test_strict_files.py",
    "file_ids_too_many": "test_strict_files.py",
    "file_not_searchable": "test_strict_files.py",
    "files_not_found": "test_strict_files.py",
    "vision_purpose": "test_strict_files.py",
}
# Rows that the stand-in does not play, with the reason.
NOT_PLAYED = {
    "context_too_long": "It counts no tokens; tests send the recorded refusal as a fault.",
    "container_id_invalid": "A refusal of LiteLLM; its words are those of the option `container_gone`.",
    "item_id_prefix": "Ids of other servers; tests send it as a fault.",
    "input_file_type": "It reads no files.",
    "scope_missing": "It has no scopes of keys; tests send it as a fault.",
    "content_filter": "It reads no texts; tests send it as a fault.",
    "conversation_locked": "One request at a time has its lock.",
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_known_refusal_is_given_in_the_words_of_the_service(case: Case, upstream, call) -> None:
    """Each known refusal has its status, message, param and code; it creates nothing, and the table recognizes it."""
    upstream.configure(**case.options)
    reply = call("POST /responses", {**PLAIN, **case.body}, headers=AZURE if case.azure else None)
    error = {"message": case.message, "type": "invalid_request_error", "param": case.param, "code": case.code}
    assert (reply.status, reply.json) == (case.status, {"error": error})
    assert not upstream.responses
    recognized = recognize(TABLE, reply.status, reply.json["error"])
    assert recognized is not None
    assert recognized.row.name == case.row


def test_the_models_that_exist_are_listed(upstream, call) -> None:
    """With the option `models`, the list of models has these and no others."""
    upstream.configure(models=["gpt-4.1", "gpt-4o"])
    assert [model["id"] for model in call("GET /models").json["data"]] == ["gpt-4.1", "gpt-4o"]
    assert call("POST /responses", PLAIN).status == 200


def test_every_row_of_the_table_is_played_or_has_a_reason() -> None:
    """Each row that the stand-in plays has a test, and every other one a reason."""
    tested = {case.row for case in CASES} | set(ELSEWHERE)
    played = {row.name for row in TABLE if row.stand_in}
    assert played - tested == set(NOT_PLAYED) & played
    assert tested <= {row.name for row in TABLE}


ACCEPTED = [
    {"instructions": "x", "input": "Answer in Json.", "text": JSON_MODE},
    {"instructions": "x", "input": [{"role": "developer", "content": "JSON"}, *user()], "text": JSON_MODE},
    {"model": "gpt-5", "temperature": 1},
    {"model": "gpt-5.1", "temperature": 0.2, "top_p": 0.5},
    {"model": "gpt-5.6-luna", "reasoning": {"effort": "none"}, "temperature": 0.2},
    {"model": "gpt-4.1", "temperature": 0.2, "top_p": 1},
    {"model": "ft:gpt-4o-2024-08-06:org::id", "temperature": 0.2},
    {"model": "my-deployment", "temperature": 0.2, "reasoning": {"effort": "low"}, "stream": True},
    {"model": "gpt-5", "reasoning": {"effort": None}, "top_p": None, "parallel_tool_calls": None},
    {"model": "gpt-5", "include": ["reasoning.encrypted_content"]},
    {"model": "gpt-5", "tools": [FUNCTION], "parallel_tool_calls": False},
    {"tool_choice": "auto"},
    {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
    {"model": "gpt-5", "tools": [CODE], "tool_choice": {"type": "code_interpreter"}},
    {"model": "gpt-5", "tools": [CODE, FUNCTION], "tool_choice": "required"},
    {"input": [{"role": "user", "content": ""}]},
    {"tools": [{**FUNCTION, "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}]},
    {"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "x"}]}, *user()]},
    {"input": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, *user()]},
]


@pytest.mark.parametrize("body", ACCEPTED, ids=str)
def test_what_the_service_takes_is_not_refused(body: dict[str, Any], call) -> None:
    """What was measured or recorded as accepted is accepted, and a model that nobody knows is refused nothing."""
    reply = call("POST /responses", {**PLAIN, **body})
    assert reply.status == 200, reply.body


# Refused without strictness too: by the request types, by an option, or since before there was strictness.
ALWAYS = {
    *("assistant_input_text", "background_refused", "container_file_gone", "function_output_missing"),
    *("max_output_tokens_small", "model_unknown", "mutually_exclusive", "parameter_unknown", "previous_response_gone"),
    *("stream_unverified", "zero_retention_code", "zero_retention_previous_response"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_without_strictness_only_wrong_bodies_are_refused(case: Case, caller) -> None:
    """`strict=False` accepts what depends on the model, on lengths and on what exists."""
    with StandIn(strict=False, **case.options) as upstream:
        reply = caller(upstream)("POST /responses", {**PLAIN, **case.body}, headers=AZURE if case.azure else None)
    assert (reply.status != 200) == (case.row in ALWAYS)
