"""A refusal that has no remedy is the caller's: the upstream's words, one request, and no run is left behind."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest

from assistants_compat.service.refusal_table import TABLE, row
from assistants_compat.testing import Fault, StandIn
from kit.container_runs import polled_or_streamed, run_to_end
from kit.doors import Door
from kit.legacy_code import make_assistant, make_thread
from kit.upstream_requests import request_bodies

OF_RUNS = (
    "content_filter",
    "function_schema_invalid",
    "hosted_tool_unsupported",
    "images_too_many",
    "json_schema_unsupported",
    "model_unknown",
    "scope_missing",
    "tool_choice_hosted",
    "tool_choice_unknown",
    "tool_choice_without_tools",
    "tool_description_too_long",
    "tool_name_invalid",
    "zero_retention_code",
)
OF_VECTOR_STORES = ("file_not_searchable", "files_not_found")
# No public source has a text for two, and the third ends a response that was accepted.
WITHOUT_REQUEST = {"azure_no_responses", "background_stream_error", "effort_with_functions"}


def words_of(name: str) -> str:
    """Return the message of a row, with something in its fields."""
    return re.sub(r"\{\w+\}", "x", row(name).message)


def error_body(name: str) -> dict[str, Any]:
    """Return the body in which the service sends a row."""
    refusal = row(name)
    error = {"message": words_of(name), "param": refusal.param, "code": refusal.code, "type": "invalid_request_error"}
    return {"error": error}


def test_every_row_that_is_told_is_here() -> None:
    """The rows of this file are those whose outcome is `told`."""
    assert {*OF_RUNS, *OF_VECTOR_STORES, *WITHOUT_REQUEST} == {row.name for row in TABLE if row.outcome == "told"}


@pytest.mark.refusal(
    "content_filter",
    "function_schema_invalid",
    "hosted_tool_unsupported",
    "images_too_many",
    "json_schema_unsupported",
    "model_unknown",
    "scope_missing",
    "tool_choice_hosted",
    "tool_choice_unknown",
    "tool_choice_without_tools",
    "tool_description_too_long",
    "tool_name_invalid",
    "zero_retention_code",
)
@polled_or_streamed
@pytest.mark.parametrize("name", OF_RUNS)
def test_a_refusal_without_remedy_reaches_the_caller(
    door: Door, client: Any, upstream: StandIn, name: str, *, stream: bool
) -> None:
    """The caller gets the upstream's status and words; the library asks once, and the thread is free."""
    upstream.fault(Fault("POST /responses", status=row(name).status, body=error_body(name), times=3))
    assistant, thread = make_assistant(door, client), make_thread(door, client)
    with pytest.raises(openai.APIStatusError) as caught:
        run_to_end(door, client, thread.id, assistant.id, stream=stream)
    assert (caught.value.status_code, words_of(name) in str(caught.value)) == (row(name).status, True)
    assert len(request_bodies(upstream)) == 1
    assert door.all(client.beta.threads.runs.list(thread.id)) == []


@pytest.mark.refusal("file_not_searchable", "files_not_found")
@pytest.mark.parametrize("name", OF_VECTOR_STORES)
def test_a_file_that_no_store_takes_is_told(door: Door, client: Any, upstream: StandIn, name: str) -> None:
    """A thread whose vector store is refused is not made, and the caller gets the upstream's words."""
    upstream.fault(Fault("POST /vector_stores*", status=row(name).status, body=error_body(name), times=3))
    file_id = upstream.put_file("a.txt", b"Cake.", "assistants")
    resources = {"file_search": {"vector_stores": [{"file_ids": [file_id]}]}}
    with pytest.raises(openai.APIStatusError, match=re.escape(words_of(name))):
        door(client.beta.threads.create(tool_resources=resources))
