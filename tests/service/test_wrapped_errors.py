"""An error that gateways have wrapped as text is read as the service sent it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assistants_compat.errors import UpstreamError

ERROR = {
    "message": "Previous response with id 'resp_1' not found.",
    "type": "invalid_request_error",
    "param": "previous_response_id",
    "code": "previous_response_not_found",
}
BODY = {"error": ERROR}


def wrapped(text: str) -> dict[str, Any]:
    """Return the error of a gateway whose message is this text."""
    return {"error": {"message": text, "type": None, "param": None, "code": "400"}}


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        wrapped(json.dumps(BODY)),
        wrapped(json.dumps(ERROR)),
        wrapped(
            f"litellm.BadRequestError: OpenAIException - {json.dumps(BODY, indent=2)}. Received Model Group=gpt-4o"
        ),
        wrapped(f"Error code: 400 - {BODY}"),
        wrapped("Proxy: " + json.dumps(wrapped("OpenAIException - " + json.dumps(BODY)))),
    ],
)
def test_the_innermost_error_is_read(body: Any) -> None:
    """Words of the gateway may stand before and behind the JSON, and gateways behind each other."""
    error = UpstreamError(400, {}, json.dumps(body).encode())
    assert error.error() == error.details() == ERROR
    assert json.loads(error.body) == body, "the answer keeps its bytes"


@pytest.mark.parametrize("text", ["{", "no { json", "{}", "[1]", "{'a': 1}", '{"message": 1}', "x" * 9999, "{" * 5000])
def test_other_words_stay_as_they_are(text: str) -> None:
    """A brace in a message is no wrapped error."""
    assert UpstreamError(400, {}, json.dumps(wrapped(text)).encode()).error() == wrapped(text)["error"]


@pytest.mark.parametrize("error", [{"param": "input[0]", "code": None}, {"param": None, "code": "invalid_value"}])
def test_an_object_that_the_service_quotes_is_no_error(error: dict[str, Any]) -> None:
    """An error with a param or code of the service is the innermost one, whatever its message quotes."""
    quoted = {"role": "x", "type": "y", "message": "please run in background"}
    body = {"error": {"message": f"Invalid 'input[0]': {quoted}", "type": "invalid_request_error", **error}}
    assert UpstreamError(400, {}, json.dumps(body).encode()).error() == body["error"]


def test_an_object_without_type_and_code_is_no_error() -> None:
    """What a user wrote may have a message of its own."""
    body = wrapped("Invalid message: {'role': 'x', 'message': 'please run in background'}")
    assert UpstreamError(400, {}, json.dumps(body).encode()).error() == body["error"]


@pytest.mark.parametrize(
    "body", [b"<html>Bad Gateway</html>", b'{"detail": "background"}', b'{"error": "background"}', b"\xff"]
)
def test_a_body_of_another_form_is_a_message(body: bytes) -> None:
    """Its words can still be recognized."""
    error = UpstreamError(422, {}, body)
    assert error.error() == {}
    assert error.details() == {"message": body.decode("utf-8", "replace")}
