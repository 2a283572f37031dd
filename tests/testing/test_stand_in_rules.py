"""The stand-in refuses bodies outside the schema, and breaches of rules that no schema states."""

from __future__ import annotations

import pytest

from assistants_compat.testing import StandIn, Turn, request_rules
from kit.paths import SPEC

PLAIN = {"model": "gpt-4o", "input": "Hello"}
FUNCTION = {"type": "function", "name": "f", "parameters": {}, "strict": False}
AUTO = {"type": "code_interpreter", "container": {"type": "auto"}}

# Fields added to PLAIN, and the code and param of the refusal.
OUTSIDE_SCHEMA = [
    ({"foo": 1}, "unknown_parameter", "foo"),
    ({"thread_id": "t"}, "unknown_parameter", "thread_id"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "missing_required_parameter", "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f", "parameters": {}}]}, "missing_required_parameter", "tools[0].strict"),
    ({"tools": [{"type": "code_interpreter"}]}, "missing_required_parameter", "tools[0].container"),
    ({"tools": [{"type": "file_search"}]}, "missing_required_parameter", "tools[0].vector_store_ids"),
    ({"tools": [{"type": "retrieval"}]}, "invalid_value", "tools[0].type"),
    ({"tools": {}}, "invalid_type", "tools"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, None, None),
    ({"include": ["step_details"]}, "invalid_value", "include[0]"),
    ({"input": 5}, "invalid_type", "input"),
    ({"input": [{"role": "tool", "content": "x"}]}, None, None),
    (
        {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        "invalid_value",
        "input[0].content[0].type",
    ),
    ({"metadata": {"n": 1}}, "invalid_type", "metadata.n"),
    ({"temperature": "1"}, "invalid_type", "temperature"),
    ({"max_output_tokens": True}, "invalid_type", "max_output_tokens"),
    ({"reasoning": {"effort": "huge"}}, "invalid_value", "reasoning.effort"),
    ({"text": {"format": {"type": "json_schema", "json_schema": {}}}}, None, None),
    ({"stream": "yes"}, None, None),
]
FILE_IDS, PART = "tools[0].container.file_ids", "input[0].content[0]"
# Fields added to PLAIN, and the status, code and param of the refusal.
AGAINST_RULES = [
    ({"max_output_tokens": 15}, 400, "integer_below_min_value", "max_output_tokens"),
    ({"temperature": 2.5}, 400, "decimal_above_max_value", "temperature"),
    ({"top_p": 1.5}, 400, "decimal_above_max_value", "top_p"),
    ({"metadata": {str(n): "" for n in range(17)}}, 400, "object_above_max_properties", "metadata"),
    ({"metadata": {"k" * 65: ""}}, 400, "string_above_max_length", "metadata"),
    ({"metadata": {"k": "v" * 513}}, 400, "string_above_max_length", "metadata.k"),
    ({"model": None}, 400, "missing_required_parameter", "model"),
    ({"input": None}, 400, "missing_required_parameter", "input"),
    ({"conversation": "conv_x", "previous_response_id": "resp_x"}, 400, "mutually_exclusive_parameters", None),
    ({"conversation": {"id": "conv_x"}}, 404, None, None),
    ({"previous_response_id": "resp_x"}, 400, "previous_response_not_found", "previous_response_id"),
    ({"input": [{"type": "function_call_output", "call_id": "call_x", "output": ""}]}, 400, None, "input"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, 400, None, "input"),
    (
        {"input": [{"type": "reasoning", "id": "rs_x", "summary": []}, {"role": "user", "content": "x"}]},
        400,
        None,
        "input",
    ),
    ({"tools": [{"type": "code_interpreter", "container": "cntr_x"}]}, 404, None, None),
    (
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-x"]}}]},
        400,
        None,
        FILE_IDS,
    ),
    ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]}, 400, "invalid_value", PART),
    ({"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]}, 400, "invalid_value", PART),
]


@pytest.mark.parametrize(("wrong", "code", "param"), OUTSIDE_SCHEMA, ids=lambda value: str(value)[:60])
def test_a_body_outside_the_schema_is_refused(wrong, code, param, upstream, call) -> None:
    """A body that its type does not allow is a 400 that names the field, and creates nothing."""
    reply = call("POST /responses", {**PLAIN, **wrong})
    error = reply.json["error"]
    assert reply.status == 400
    assert error["type"] == "invalid_request_error"
    if code is not None:
        assert (error["code"], error["param"]) == (code, param)
    assert not upstream.responses


@pytest.mark.parametrize(("wrong", "code", "param"), OUTSIDE_SCHEMA, ids=lambda value: str(value)[:60])
def test_the_description_refuses_the_same_bodies(wrong, code, param, caller, monkeypatch) -> None:
    """The OpenAPI description alone refuses what the request types refuse."""
    pytest.importorskip("jsonschema", reason="checking against the description needs jsonschema")
    if not SPEC.exists():
        pytest.skip("the OpenAPI description (../shared) is not there")
    monkeypatch.setitem(request_rules._BODIES, "POST /responses", (None, "CreateResponse", ()))
    with StandIn(spec=SPEC) as upstream:
        assert caller(upstream)("POST /responses", {**PLAIN, **wrong}).status == 400
        assert caller(upstream)("POST /responses", PLAIN).status == 200


@pytest.mark.parametrize(("wrong", "status", "code", "param"), AGAINST_RULES, ids=lambda value: str(value)[:60])
def test_a_rule_that_no_schema_states_is_enforced(wrong, status, code, param, call) -> None:
    """Bounds, metadata, references and exclusive fields are checked as the service checks them."""
    body = {key: value for key, value in {**PLAIN, **wrong}.items() if value is not None}
    reply = call("POST /responses", body)
    error = reply.json["error"]
    assert (reply.status, error["code"], error["param"]) == (status, code, param)
    assert not call.upstream.responses


def test_a_function_call_must_be_answered(upstream, call) -> None:
    """A chain whose call has no output is refused with the reported message, and continues with an output."""
    upstream.script(Turn(function_calls=[{"name": "f", "arguments": {"a": 1}, "call_id": "call_1"}]), Turn("done"))
    first = call("POST /responses", {**PLAIN, "tools": [FUNCTION]}).json
    assert first["output"][0]["arguments"] == '{"a": 1}'
    chained = {**PLAIN, "previous_response_id": first["id"]}
    refused = call("POST /responses", chained)
    assert refused.json["error"]["message"] == "No tool output found for function call call_1."
    answered = {**chained, "input": [{"type": "function_call_output", "call_id": "call_1", "output": "2"}]}
    assert call("POST /responses", answered).json["output"][0]["content"][0]["text"] == "done"


def test_background_can_be_refused(caller) -> None:
    """A server without background mode answers 400, and accepts the same request without it."""
    with StandIn(background_refused=True) as upstream:
        refused = caller(upstream)("POST /responses", {**PLAIN, "background": True})
        assert (refused.status, refused.json["error"]["param"]) == (400, "background")
        assert caller(upstream)("POST /responses", PLAIN).status == 200


def test_only_background_responses_can_be_cancelled(call) -> None:
    """Cancelling a plain response is refused, and an unknown one is not found."""
    plain = call("POST /responses", PLAIN).json
    assert (
        call(f"POST /responses/{plain['id']}/cancel").json["error"]["message"]
        == "Cannot cancel a synchronous response."
    )
    assert call("POST /responses/resp_x/cancel").status == 404


def test_an_idle_container_expires(upstream, call) -> None:
    """After twenty idle minutes a container has only its metadata; all other requests to it are refused."""
    upstream.script(Turn("made", files={"a.csv": b"1"}), Turn("again"))
    request = {**PLAIN, "tools": [AUTO]}
    first = call("POST /responses", request).json
    [container_id] = upstream.containers
    upstream.advance(19 * 60)
    chained = {**request, "previous_response_id": first["id"]}
    assert call("POST /responses", chained).status == 200
    assert list(upstream.containers) == [container_id]
    upstream.advance(20 * 60 + 1)
    for refused in (
        call("POST /responses", chained),
        call("POST /responses", {**PLAIN, "tools": [{"type": "code_interpreter", "container": container_id}]}),
        call(f"GET /containers/{container_id}/files"),
    ):
        assert (refused.status, refused.json["error"]["message"]) == (400, "Container is expired.")
    assert call(f"GET /containers/{container_id}").json["status"] == "expired"
    assert call("POST /responses", request).status == 200


def test_a_missing_container_file_is_not_found(call) -> None:
    """An unknown file and an unknown container are 404, each with its own message."""
    container = call("POST /containers", {"name": "c"}).json["id"]
    missing = call(f"GET /containers/{container}/files/cfile_x/content")
    assert missing.json["error"]["message"] == f"File cfile_x not found on container {container}."
    assert call("GET /containers/cntr_x/files").status == 404


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/containers", {}),
        ("/containers", {"name": 1}),
        ("/containers", {"name": "c", "ttl": 1}),
        ("/vector_stores", {"files": []}),
        ("/vector_stores", {"expires_after": {"anchor": "last_active_at"}}),
        ("/vector_stores/{}", {"file_ids": []}),
        ("/vector_stores/{}/files", {}),
        ("/vector_stores/{}/files", {"file_id": "file-x"}),
        ("/vector_stores/{}/file_batches", {"file_ids": "file-x"}),
    ],
    ids=str,
)
def test_containers_and_vector_stores_check_their_bodies_too(path, wrong, call) -> None:
    """Bodies of requests to containers and vector stores are checked in the same way."""
    store = call("POST /vector_stores", {}).json["id"]
    assert call(f"POST {path.format(store)}", wrong).status in {400, 404}


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_a_limit_outside_its_bounds_is_refused(limit, call) -> None:
    """A list accepts limits from 1 to 100."""
    reply = call(f"GET /containers?limit={limit}")
    assert (reply.status, reply.json["error"]["param"]) == (400, "limit")
