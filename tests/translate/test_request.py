"""A run's upstream request holds its parameters and transcript in the form of the Responses API."""

from __future__ import annotations

from typing import Any

import pytest

from assistants_compat.translate.request import continuation_request, request_from_run
from assistants_compat.translate.run import run_from_request
from assistants_compat.translate.thread import message_from_request
from assistants_compat.translate.transcript import turns_from_entries


def request(params: dict[str, Any], assistant: dict[str, Any], files: list[str] | None = None) -> dict[str, Any]:
    """Return the upstream request of a run with these parameters."""
    params = {"assistant_id": "asst_1", **params}
    run = run_from_request("run_1", "thread_1", 1, params, {"model": "gpt-4o", **assistant}, ttl=600)
    return request_from_run(run, {**assistant, **params}, files or [])


def test_a_default_that_is_only_echoed_is_not_sent() -> None:
    """Only parameters that the user set are sent, because reasoning models refuse the default temperature 1.0."""
    assert request({}, {}) == {"model": "gpt-4o", "store": True}
    assert request({"temperature": 1.0}, {})["temperature"] == 1.0


def test_every_request_with_code_interpreter_asks_for_its_outputs() -> None:
    """Every request with Code Interpreter includes its outputs, which are null otherwise (recorded)."""
    body = request({}, {"tools": [{"type": "code_interpreter"}]}, ["file-1"])
    assert body["include"] == ["code_interpreter_call.outputs"]
    assert body["tools"] == [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}}]


def test_a_json_schema_is_flattened() -> None:
    """A JSON schema is sent in the recorded flat form, without the legacy nesting."""
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    body = request({"response_format": {"type": "json_schema", "json_schema": schema}}, {})
    assert body["text"] == {"format": {"type": "json_schema", **schema}}


def test_a_null_in_a_json_schema_is_left_out() -> None:
    """A null description or strictness of a JSON schema is left out, because the upstream refuses it."""
    schema = {"name": "answer", "schema": {"type": "object"}}
    legacy_schema = {**schema, "description": None, "strict": None}
    body = request({"response_format": {"type": "json_schema", "json_schema": legacy_schema}}, {})
    assert body["text"] == {"format": {"type": "json_schema", **schema}}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("none", None),
        ("auto", None),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
    ],
)
def test_a_choice_that_forces_a_call_is_sent_without_tools_too(choice: Any, sent: Any) -> None:
    """A tool choice that forces a call is sent even without tools, for the upstream to refuse; others are left out."""
    assert request({"tool_choice": choice}, {}).get("tool_choice") == sent


def test_a_small_budget_is_raised_to_what_the_upstream_accepts() -> None:
    """A completion budget below 16 tokens is raised to 16, the least that the Responses API accepts."""
    assert request({"max_completion_tokens": 5}, {})["max_output_tokens"] == 16
    assert request({"max_completion_tokens": 300}, {})["max_output_tokens"] == 300


def test_the_transcript_has_parts_for_users_and_plain_text_for_assistants() -> None:
    """The transcript has user messages as parts and answers as plain text, because parts allow no assistant."""
    user = message_from_request(
        "msg_1",
        "thread_1",
        1,
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}},
                {"type": "image_file", "image_file": {"file_id": "file-1", "detail": "low"}},
            ],
        },
    )
    answer = message_from_request("msg_2", "thread_1", 2, {"role": "assistant", "content": "Seen."})
    [turn] = turns_from_entries([user, answer], 0)
    assert turn == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look."},
                {"type": "input_image", "image_url": "https://example.test/a.png", "detail": "auto"},
                {"type": "input_image", "file_id": "file-1", "detail": "low"},
            ],
        },
        {"role": "assistant", "content": "Seen."},
    ]


def test_an_assistant_message_that_is_only_a_picture_is_left_out() -> None:
    """An assistant message that is only a picture is left out of the transcript."""
    picture = {"role": "assistant", "content": [{"type": "image_file", "image_file": {"file_id": "file-1"}}]}
    assert turns_from_entries([picture], 0) == []


def test_the_next_round_has_what_is_left_of_the_budget() -> None:
    """The next round may use what is left of the completion budget, at least 16 tokens."""
    body = request({"max_completion_tokens": 300}, {})
    assert continuation_request(body, "resp_1", 100, 300) == {
        **body,
        "previous_response_id": "resp_1",
        "max_output_tokens": 200,
    }
    assert continuation_request(body, "resp_1", 295, 300)["max_output_tokens"] == 16
    assert "max_output_tokens" not in continuation_request(request({}, {}), "resp_1", 100, None)


def test_without_stored_responses_the_next_round_names_no_response() -> None:
    """Without stored responses the next round has no `previous_response_id`, and the budget still holds."""
    body = {**request({"max_completion_tokens": 300}, {}), "store": False}
    assert continuation_request(body, "resp_1", 100, 300) == {**body, "max_output_tokens": 200}


@pytest.mark.parametrize(
    ("choice", "kept"),
    [("auto", True), ("none", True), ("required", False), ({"type": "function", "function": {"name": "f"}}, False)],
)
def test_a_choice_that_forces_a_call_is_for_the_first_round(choice: Any, kept: bool) -> None:  # noqa: FBT001 - a value of the table
    """A tool choice that forces a call is sent in the first round only; `auto` and `none` hold for the whole run."""
    body = request({"tool_choice": choice, "tools": [{"type": "function", "function": {"name": "f"}}]}, {})
    assert body["tool_choice"] == ({"type": "function", "name": "f"} if isinstance(choice, dict) else choice)
    assert ("tool_choice" in continuation_request(body, "resp_1", 0, None)) == kept
