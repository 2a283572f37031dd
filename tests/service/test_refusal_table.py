"""The table of refusals: every row has a source, and every sign recognizes its own row and no other."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from assistants_compat.service.refusal_table import TABLE, row
from assistants_compat.service.refusals import Refusal, Sign, recognize

# A value for each field of a message, as the service would put it.
FIELDS = {
    "call": "call_1",
    "choice": "required",
    "content": "gAAAAABo",
    "extension": ".vb",
    "file": "file-abc123",
    "files": "file-abc123",
    "function": "f",
    "index": "0",
    "item": "ci_1",
    "length": "20000",
    "max": "100",
    "model": "gpt-5.6-terra",
    "pair": "rs_1",
    "pair_type": "reasoning",
    "param": "temperature",
    "part": "0",
    "prefix": "fc",
    "reason": "Encrypted content organization_id did not match",
    "response": "resp_1",
    "scopes": "api.responses.write",
    "tool": "code_interpreter",
    "type": "code_interpreter_call",
    "url": "https://example.com/a.png",
    "value": "minimal",
    "values": "'low', 'medium', and 'high'",
    "store": "vs_1",
}
SIGNS = [(refusal, index) for refusal in TABLE for index in range(len(refusal.signs))]
ROW_OF_RECORDING = {
    "chat_real_error_scenarios_openai_gpt-5-nano_handles_context_length_exceeded_errors.yml": "context_too_long",
    "test_openai_responses_thinking_with_modified_history.yaml": "item_without_pair",
    # A GET of a deleted response, and a file that does not exist: the same words as in a refused creation.
    "CanDeleteResponse.json": "responses_not_kept",
    "CanOptOutOfStorage.json": "responses_not_kept",
    "DeleteFileCanParseServiceError.json": "image_file_gone",
    "DownloadFileCanParseServiceError.json": "image_file_gone",
    # The caller's own mistakes: a wrong key, a purpose that does not exist, a temperature of -1.
    "response_error.yaml": None,
    "UploadFileCanParseServiceError.json": None,
    "test_openai_responses_model_http_error.yaml": None,
}
"""The row of each refusal in the recordings of Responses; None where the caller has to see it."""


def render(text: str | None) -> str | None:
    """Return a message or param with an example for each field; other braces stay."""
    return text and re.sub(r"\{(\w+)\}", lambda field: FIELDS[field[1]], text)


def error_of(refusal: Refusal, sign: Sign) -> dict[str, Any]:
    """Return the error of a sign: the row's own, or the sign's example with the param that it expects."""
    error = {"message": render(refusal.message), "param": render(refusal.param), "code": refusal.code}
    if sign.example:
        error = {"message": sign.example, "param": None, "code": None}
        error.update({"param": "input"} if sign.param == "input" else {})
        error.update({"param": "stream"} if sign.param == "stream" else {})
        error.update({"param": "include"} if sign.param and sign.param.startswith("include") else {})
    return {**error, "code": sign.code or error["code"]} | ({"param": None} if sign.param == "" else {})


def test_a_row_without_a_source_cannot_be_added() -> None:
    """A refusal that nobody has seen is not in the table."""
    for sources in ((), ("",), ("a report", " ")):
        with pytest.raises(ValueError, match="has no source"):
            Refusal(name="x", when="x", message="x", sources=sources, outcome="told", remedy="x")


def test_a_sign_that_would_match_everything_cannot_be_added() -> None:
    """A sign needs a param, a code or words."""
    with pytest.raises(ValueError, match="needs param, code or words"):
        Sign(status=(400,))


def test_the_names_of_the_rows_are_unique() -> None:
    """Each row is found by its name."""
    assert [name for name, count in Counter(refusal.name for refusal in TABLE).items() if count > 1] == []
    assert all(row(refusal.name) is refusal for refusal in TABLE)


@pytest.mark.parametrize(("refusal", "index"), SIGNS, ids=[f"{refusal.name}-{index}" for refusal, index in SIGNS])
def test_every_sign_recognizes_its_own_row(refusal: Refusal, index: int) -> None:
    """Each sign matches its row's message, or its own example, and no earlier row takes it."""
    sign = refusal.signs[index]
    error = error_of(refusal, sign)
    assert sign.match(sign.status[0], error) is not None
    recognized = recognize(TABLE, sign.status[0], error)
    assert recognized is not None
    assert recognized.row.name == refusal.name


@pytest.mark.parametrize("refusal", TABLE, ids=[refusal.name for refusal in TABLE])
def test_every_row_recognizes_what_the_service_sends(refusal: Refusal) -> None:
    """A row's own message, param, code and status are recognized; so is the message alone, as gateways pass it on."""
    if not refusal.signs:
        pytest.skip("an answer that is no refusal, or one whose text is not known")
    error = {"message": render(refusal.message), "param": render(refusal.param), "code": refusal.code}
    recognized = recognize(TABLE, refusal.status, error)
    assert recognized is not None
    assert recognized.row.name == refusal.name


@pytest.mark.parametrize("refusal", TABLE, ids=[refusal.name for refusal in TABLE])
def test_every_row_that_is_remembered_has_a_line_for_the_log(refusal: Refusal) -> None:
    """What is given up for an upstream or a model from now on is logged once."""
    assert bool(refusal.log) is (refusal.scope in {"upstream", "model"})


def test_the_remedy_gets_the_parts_that_it_needs() -> None:
    """The named groups of the rows that others rely on."""
    groups = {
        "sampling_unsupported": {"param": "temperature"},
        "item_not_found": {"item": "ci_1"},
        "image_unavailable": {"url": "https://example.com/a.png"},
        "file_ids_too_many": {"max": "100"},
        "container_file_gone": {"file": "file-abc123"},
        "image_file_gone": {"file": "file-abc123"},
        "effort_value_unsupported": {"values": "'low', 'medium', and 'high'"},
    }
    for name, expected in groups.items():
        refusal = row(name)
        error = {"message": render(refusal.message), "param": render(refusal.param), "code": refusal.code}
        recognized = recognize(TABLE, refusal.status, error)
        assert recognized is not None
        assert recognized.groups == expected, name


def test_the_recorded_refusals_are_recognized(shared: Path, recordings: ModuleType) -> None:
    """Every refusal among the recordings of Responses is recognized, or known to be the caller's own mistake."""
    found: dict[str, str | None] = {}
    for path in sorted((shared / "recordings" / "responses").rglob("*")):
        if path.suffix not in {".yaml", ".yml", ".json"}:
            continue
        for exchange in recordings.read(path):
            if exchange.status < 400:
                continue
            recognized = recognize(TABLE, exchange.status, json.loads(exchange.body)["error"])
            found[path.name] = recognized.row.name if recognized else None
    assert found == ROW_OF_RECORDING


def test_every_quoted_message_of_the_reference_is_in_the_table(shared: Path) -> None:
    """The catalogue of public refusals and the table have the same messages; each row of it has at least one here."""
    catalogue = (shared / "reference" / "refusals.md").read_text("utf-8").split("## 1a.")[0]
    unrecognized = []
    for line in catalogue.splitlines():
        cells = line.split("|")
        if not re.fullmatch(r"\s*\d+\s*", cells[1] if len(cells) > 1 else ""):
            continue
        quoted = re.findall(r"``(.+?)``|`([^`]+)`", cells[2])
        messages = [first or second for first, second in quoted]
        if not any(
            recognize(TABLE, status, {"message": text, "param": None})
            for text in messages
            for status in (400, 404, 401)
        ):
            unrecognized.append(int(cells[1]))
    # 53 is known by its code; 55 to 57 are no refusals, or have no text.
    assert unrecognized == [53, 55, 56, 57]


@pytest.mark.parametrize("status", [400, 404, 405, 422, 501])
def test_a_refused_background_is_recognized_whatever_its_status(status: int) -> None:
    """Gateways and self-hosted servers choose the status and the words."""
    found = recognize(TABLE, status, {"message": "The background parameter is not implemented."})
    assert found is not None
    assert found.row.name == "background_refused"


@pytest.mark.parametrize("end", ["", ".", ". Check that you have the correct role in your organization."])
def test_missing_scopes_are_recognized_however_the_text_ends(end: str) -> None:
    """Several reports quote the text up to the scopes only."""
    text = (
        f"You have insufficient permissions for this operation. Missing scopes: api.responses.write, model.request{end}"
    )
    found = recognize(TABLE, 401, {"message": text})
    assert found is not None
    assert (found.row.name, found.groups["scopes"]) == ("scope_missing", "api.responses.write, model.request")


@pytest.mark.parametrize(
    "error",
    [
        {"code": "content_filter", "param": "prompt", "message": "('maximum context BAD') triggered the filter"},
        {"code": "invalid_prompt", "message": "the container has expired"},
        {"code": "invalid_prompt", "message": "No tool output found for function call call_1."},
        {"code": "content_filter", "message": "container not found"},
        {"code": "invalid_function_parameters", "message": "Invalid schema for function 'background'"},
        {"param": "tool_choice", "message": "Tool choice 'container' not found in 'tools' parameter."},
        {"message": "Invalid schema for function 'set_background': x is not allowed."},
    ],
)
def test_words_of_a_user_in_a_message_are_no_refusal(error: dict[str, Any]) -> None:
    """A message may quote texts of the user, so its words count only where `code` and `param` do not contradict."""
    found = recognize(TABLE, 400, error)
    assert found is None or found.row.outcome == "told", found
