"""Invalid requests are refused with the service's 4xx and leave the store unchanged."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.legacy_code import CODE, dump_store, finish_run

NOT_JSON = "We could not parse the JSON body of your request."


def send(door: Door, client: Any, method: str, path: str, content: bytes | None = None) -> Any:
    """Send a request that the SDK neither checks nor encodes, and return the raw response."""
    inner = client._client
    url = f"{str(client.base_url).rstrip('/')}{path}"
    headers = {"Authorization": "Bearer sk-test", "Content-Type": "application/json"}
    return door(inner.send(inner.build_request(method, url, content=content, headers=headers)))


@pytest.fixture
def ids(door: Door, client: Any, upstream: StandIn) -> dict[str, str]:
    """Make one object of each kind and return their ids; the upstream's request log starts empty afterwards."""
    run = finish_run(door, client, assistant={"tools": CODE})
    [message, _] = door.all(client.beta.threads.messages.list(run.thread_id))
    [step] = door.all(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id))
    upstream.requests.clear()
    return {
        "assistant": run.assistant_id,
        "thread": run.thread_id,
        "message": message.id,
        "run": run.id,
        "step": step.id,
    }


POSTS = [
    "/assistants",
    "/assistants/{assistant}",
    "/threads",
    "/threads/runs",
    "/threads/{thread}",
    "/threads/{thread}/messages",
    "/threads/{thread}/messages/{message}",
    "/threads/{thread}/runs",
    "/threads/{thread}/runs/{run}",
]
BROKEN = [
    b"{",
    b"not json",
    b'{"metadata": NaN}',
    b'{"metadata": -Infinity}',
    b"\xff\xfe",
    b'{"a": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
]


@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_is_no_json_object_is_a_400(
    door: Door, client: Any, upstream: StandIn, settings: Settings, ids: dict[str, str], path: str
) -> None:
    """Every route refuses broken JSON with the platform's text, and any value that is no object with its type."""
    before = dump_store(settings)
    for content in BROKEN:
        response = send(door, client, "POST", path.format(**ids), content)
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["message"].startswith(NOT_JSON)
        assert list(error) == ["message", "type", "param", "code"]
    values: list[Any] = [[], "text", 1, True, None]
    for value in values:
        response = send(door, client, "POST", path.format(**ids), json.dumps(value).encode())
        assert response.status_code == 400
        assert "expected an object" in response.json()["error"]["message"]
    assert dump_store(settings) == before
    assert upstream.requests == []


def test_a_broken_body_is_the_sdks_bad_request_error(door: Door, client: Any) -> None:
    """The 400 for a NaN in a body is the SDK's `BadRequestError`, unless the SDK's own encoder refuses the NaN."""
    with pytest.raises((openai.BadRequestError, ValueError)) as caught:
        door(client.post("/assistants", body={"model": "gpt-4o", "temperature": float("nan")}, cast_to=object))
    assert isinstance(caught.value, openai.BadRequestError) or "not JSON compliant" in str(caught.value)


FIELDS: list[tuple[str, Any, str | None, str]] = [
    # path, body, param, code
    ("/assistants", {}, "model", "missing_required_parameter"),
    ("/assistants", {"model": None}, "model", "invalid_type"),
    ("/assistants", {"model": 4}, "model", "invalid_type"),
    ("/assistants", {"model": ""}, "model", "empty_string"),
    ("/assistants", {"model": "m", "colour": "red"}, "colour", "unknown_parameter"),
    ("/assistants", {"model": "m", "name": "x" * 257}, "name", "string_above_max_length"),
    ("/assistants", {"model": "m", "description": "x" * 513}, "description", "string_above_max_length"),
    ("/assistants", {"model": "m", "instructions": "x" * 256_001}, "instructions", "string_above_max_length"),
    ("/assistants", {"model": "m", "instructions": ["x"]}, "instructions", "invalid_type"),
    ("/assistants", {"model": "m", "temperature": 2.1}, "temperature", "decimal_above_max_value"),
    ("/assistants", {"model": "m", "temperature": -1}, "temperature", "decimal_below_min_value"),
    ("/assistants", {"model": "m", "temperature": "1"}, "temperature", "invalid_type"),
    ("/assistants", {"model": "m", "temperature": True}, "temperature", "invalid_type"),
    ("/assistants", {"model": "m", "top_p": 10**30}, "top_p", "decimal_above_max_value"),
    ("/assistants", {"model": "m", "tools": {}}, "tools", "invalid_type"),
    ("/assistants", {"model": "m", "tools": ["code_interpreter"]}, "tools[0]", "invalid_type"),
    ("/assistants", {"model": "m", "tools": [{}]}, "tools[0].type", "missing_required_parameter"),
    ("/assistants", {"model": "m", "tools": [{"type": "browser"}]}, "tools[0].type", "invalid_value"),
    ("/assistants", {"model": "m", "tools": [{"type": {}}]}, "tools[0].type", "invalid_type"),
    ("/assistants", {"model": "m", "tools": CODE * 129}, "tools", "array_above_max_length"),
    (
        "/assistants",
        {"model": "m", "tools": [*CODE, {"type": "function", "function": {}}]},
        "tools[1].function.name",
        "missing_required_parameter",
    ),
    (
        "/assistants",
        {"model": "m", "tool_resources": {"code_interpreter": {"file_ids": ["f"] * 21}}},
        "tool_resources.code_interpreter.file_ids",
        "array_above_max_length",
    ),
    (
        "/assistants",
        {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": ["a", "b"]}}},
        "tool_resources.file_search.vector_store_ids",
        "array_above_max_length",
    ),
    ("/assistants", {"model": "m", "response_format": "json"}, "response_format", "invalid_value"),
    (
        "/assistants",
        {"model": "m", "response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
    ),
    ("/assistants/{assistant}", {"model": ""}, "model", "empty_string"),
    ("/assistants/{assistant}", {"id": "asst_2"}, "id", "unknown_parameter"),
    ("/threads", {"messages": {}}, "messages", "invalid_type"),
    ("/threads", {"messages": ["Hi"]}, "messages[0]", "invalid_type"),
    ("/threads", {"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    ("/threads", {"message": []}, "message", "unknown_parameter"),
    ("/threads/{thread}", {"messages": []}, "messages", "unknown_parameter"),
    ("/threads/{thread}/messages", {"content": "x"}, "role", "missing_required_parameter"),
    ("/threads/{thread}/messages", {"role": "system", "content": "x"}, "role", "invalid_value"),
    ("/threads/{thread}/messages", {"role": "user", "content": ""}, "content", "empty_string"),
    ("/threads/{thread}/messages", {"role": "user", "content": []}, "content", "empty_array"),
    ("/threads/{thread}/messages", {"role": "user", "content": None}, "content", "invalid_type"),
    (
        "/threads/{thread}/messages",
        {"role": "user", "content": "x" * 256_001},
        "content",
        "string_above_max_length",
    ),
    (
        "/threads/{thread}/messages",
        {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
        "content[0].image_url.url",
        "missing_required_parameter",
    ),
    (
        "/threads/{thread}/messages",
        {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "f", "detail": "huge"}}]},
        "content[0].image_file.detail",
        "invalid_value",
    ),
    (
        "/threads/{thread}/messages",
        {"role": "user", "content": "x", "attachments": [{"file_id": 1, "tools": []}]},
        "attachments[0].file_id",
        "invalid_type",
    ),
    (
        "/threads/{thread}/messages",
        {"role": "user", "content": "x", "attachments": [{"file_id": "file-1"}]},
        "attachments[0].tools",
        "missing_required_parameter",
    ),
    (
        "/threads",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "/data/a.png"}}]}]},
        "messages[0].content[0].image_url.url",
        "invalid_value",
    ),
    ("/threads/{thread}/messages/{message}", {"content": "changed"}, "content", "unknown_parameter"),
    ("/threads/{thread}/runs", {}, "assistant_id", "missing_required_parameter"),
    ("/threads/{thread}/runs", {"assistant_id": ""}, "assistant_id", "empty_string"),
    ("/threads/{thread}/runs", {"assistant_id": 1}, "assistant_id", "invalid_type"),
    ("/threads/{thread}/runs", {"assistant_id": "{assistant}", "max_prompt_tokens": 0}, "max_prompt_tokens", ""),
    ("/threads/{thread}/runs", {"assistant_id": "{assistant}", "tool_resources": {}}, "tool_resources", ""),
    ("/threads/{thread}/runs", {"assistant_id": "{assistant}", "tool_choice": "maybe"}, "tool_choice", ""),
    (
        "/threads/{thread}/runs",
        {"assistant_id": "{assistant}", "tool_choice": {"type": "function"}},
        "tool_choice.function",
        "missing_required_parameter",
    ),
    (
        "/threads/{thread}/runs",
        {"assistant_id": "{assistant}", "tool_choice": {"type": "function", "function": {}}},
        "tool_choice.function.name",
        "missing_required_parameter",
    ),
    ("/threads/{thread}/runs", {"assistant_id": "{assistant}", "stream": "yes"}, "stream", "invalid_type"),
    (
        "/threads/{thread}/runs",
        {"assistant_id": "{assistant}", "truncation_strategy": {"type": "last_messages", "last_messages": 0}},
        "truncation_strategy.last_messages",
        "integer_below_min_value",
    ),
    (
        "/threads/{thread}/runs",
        {"assistant_id": "{assistant}", "truncation_strategy": {"type": "last_messages"}},
        "truncation_strategy.last_messages",
        "missing_required_parameter",
    ),
    (
        "/threads/{thread}/runs",
        {"assistant_id": "{assistant}", "truncation_strategy": {"type": "last_messages", "last_messages": None}},
        "truncation_strategy.last_messages",
        "invalid_type",
    ),
    ("/threads/{thread}/runs?include[]=foo", {"assistant_id": "{assistant}"}, "include[0]", "invalid_value"),
    (
        "/threads/{thread}/runs",
        {"assistant_id": "{assistant}", "additional_messages": [{"role": "user", "content": ""}]},
        "additional_messages[0].content",
        "empty_string",
    ),
    ("/threads/runs", {"assistant_id": "{assistant}", "thread": []}, "thread", "invalid_type"),
    ("/threads/{thread}/runs/{run}", {"status": "completed"}, "status", "unknown_parameter"),
]


def _with_assistant_id(value: Any, ids: dict[str, str]) -> Any:
    return json.loads(json.dumps(value).replace("{assistant}", ids["assistant"]))


def test_a_wrong_field_is_a_400_that_names_it(
    door: Door, client: Any, upstream: StandIn, settings: Settings, ids: dict[str, str]
) -> None:
    """A wrong type, an unknown key, or an empty or too long value is a 400 with the matching `param` and `code`."""
    before = dump_store(settings)
    for path, body, param, code in FIELDS:
        with pytest.raises(openai.BadRequestError) as caught:
            door(client.post(path.format(**ids), body=_with_assistant_id(body, ids), cast_to=object))
        error = caught.value.response.json()["error"]
        assert error["param"] == param, (path, body)
        assert code in {"", error["code"]}, (path, body, error)
        assert error["type"] == "invalid_request_error"
        assert str(param) in error["message"] or error["code"] == "invalid_value"
    assert dump_store(settings) == before
    assert upstream.requests == []


METADATA: list[tuple[Any, str, str, str]] = [
    (
        {"modified": True},
        "metadata.modified",
        "invalid_type",
        "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",  # recorded
    ),
    (
        {"modified": 1},
        "metadata.modified",
        "invalid_type",
        "Invalid type for 'metadata.modified': expected a string, but got an integer instead.",
    ),
    (
        {"a": None},
        "metadata.a",
        "invalid_type",
        "Invalid type for 'metadata.a': expected a string, but got null instead.",
    ),
    (
        {"a": {}},
        "metadata.a",
        "invalid_type",
        "Invalid type for 'metadata.a': expected a string, but got an object instead.",
    ),
    (
        ["a"],
        "metadata",
        "invalid_type",
        "Invalid type for 'metadata': expected an object, but got an array instead.",
    ),
    (
        {str(number): "" for number in range(17)},
        "metadata",
        "object_above_max_properties",
        (
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
            "but got an object with 17 properties instead."
        ),
    ),
    (
        {"a": "x" * 513},
        "metadata.a",
        "string_above_max_length",
        (
            "Invalid 'metadata.a': string too long. Expected a string with maximum length 512, "
            "but got a string with length 513 instead."
        ),
    ),
    (
        {"k" * 65: "x"},
        "metadata",
        "string_above_max_length",
        (
            "Invalid 'metadata': property name too long. Expected a name with maximum length 64, "
            "but got a name with length 65 instead."
        ),
    ),
]


def test_invalid_metadata_is_refused_with_the_recorded_text(
    door: Door, client: Any, upstream: StandIn, settings: Settings, ids: dict[str, str]
) -> None:
    """Invalid metadata is refused with the same recorded texts on every route that takes metadata."""
    before = dump_store(settings)
    required: dict[str, Any] = {
        "/assistants": {"model": "m"},
        "/threads/runs": {"assistant_id": ids["assistant"]},
        "/threads/{thread}/messages": {"role": "user", "content": "x"},
        "/threads/{thread}/runs": {"assistant_id": ids["assistant"]},
    }
    for path in POSTS:
        for metadata, param, code, text in METADATA:
            body = {**required.get(path, {}), "metadata": metadata}
            with pytest.raises(openai.BadRequestError) as caught:
                door(client.post(path.format(**ids), body=body, cast_to=object))
            assert caught.value.response.json() == {
                "error": {"message": text, "type": "invalid_request_error", "param": param, "code": code}
            }
    assert dump_store(settings) == before
    assert upstream.requests == []


def test_metadata_at_its_limits_is_kept(door: Door, client: Any) -> None:
    """Metadata with 16 pairs, keys of 64 and values of 512 characters, in any script, is kept."""
    metadata = {f"{number:02}" + "ключ"[:2] * 31: "値🙂" * 256 for number in range(16)}
    thread = door(client.beta.threads.create(metadata=metadata))
    assert door(client.beta.threads.retrieve(thread.id)).metadata == metadata


STRANGE = [
    "nothing",
    "%00",
    "a%00b",
    "%F0%9F%99%82",
    "a%2Fb",
    "..%2F..",
    "%ED%A0%80",  # half a surrogate in UTF-8
    "%FF",
    "%25",
    "%27%20OR%201=1%20--",
    "x" * 3000,
]
ROUTES: list[tuple[str, str, str]] = [
    # method, path, noun in the 404
    ("GET", "/assistants/{}", "assistant"),
    ("POST", "/assistants/{}", "assistant"),
    ("DELETE", "/assistants/{}", "assistant"),
    ("GET", "/threads/{}", "thread"),
    ("POST", "/threads/{}", "thread"),
    ("DELETE", "/threads/{}", "thread"),
    ("GET", "/threads/{}/messages", "thread"),
    ("GET", "/threads/{}/runs", "thread"),
    ("GET", "/threads/{thread}/messages/{}", "message"),
    ("POST", "/threads/{thread}/messages/{}", "message"),
    ("DELETE", "/threads/{thread}/messages/{}", "message"),
    ("GET", "/threads/{thread}/runs/{}", "run"),
    ("POST", "/threads/{thread}/runs/{}", "run"),
    ("GET", "/threads/{thread}/runs/{}/steps", "run"),
    ("GET", "/threads/{thread}/runs/{run}/steps/{}", "run step"),
]


@pytest.mark.parametrize("id_", STRANGE, ids=range(len(STRANGE)))
def test_a_strange_id_is_unknown(
    door: Door, client: Any, upstream: StandIn, settings: Settings, ids: dict[str, str], id_: str
) -> None:
    """An id with a NUL, an emoji, a slash, half a surrogate or a quote gets a 404 with that id, on every route."""
    before = dump_store(settings)
    for method, path, noun in ROUTES:
        filled = path.replace("{}", id_).format(**ids)
        response = send(door, client, method, filled, b"{}" if method == "POST" else None)
        assert response.status_code == 404, (method, path)
        assert response.json()["error"]["message"] == f"No {noun} found with id '{unquote(id_)}'."
    assert dump_store(settings) == before
    assert upstream.requests == []


@pytest.mark.parametrize("id_", ["nothing", "a\x00b", "🙂", "a/b", "\ud800", "' OR 1=1 --"], ids=range(6))
def test_a_strange_id_in_a_body_or_a_cursor_names_nothing(
    door: Door, client: Any, upstream: StandIn, settings: Settings, ids: dict[str, str], id_: str
) -> None:
    """An unknown assistant of a run is a 404, and an unknown cursor or `run_id` gives an empty page."""
    before = dump_store(settings)
    body = json.dumps({"assistant_id": id_}).encode()
    for path in ("/threads/runs", f"/threads/{ids['thread']}/runs"):
        response = send(door, client, "POST", path, body)
        assert response.status_code == 404
        assert response.json()["error"]["message"] == f"No assistant found with id '{id_}'."
    if id_ != "\ud800":  # a query cannot hold it
        for query in ("after", "before", "run_id"):
            params = {query: id_}
            page = door(client.get(f"/threads/{ids['thread']}/messages", cast_to=object, options={"params": params}))
            assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert dump_store(settings) == before
    assert upstream.requests == []


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "🙂", "\u2028", "\\", "'", "\x7f"], ids=range(7))
def test_any_text_is_kept_as_it_is(door: Door, client: Any, text: str) -> None:
    """Messages and metadata keep every character that JSON can carry, in both databases."""
    body = json.dumps({"messages": [{"role": "user", "content": text}], "metadata": {"k": text}}).encode()
    response = send(door, client, "POST", "/threads", body)
    assert response.status_code == 200
    thread = response.json()
    assert thread["metadata"] == {"k": text}
    [message] = send(door, client, "GET", f"/threads/{thread['id']}/messages").json()["data"]
    assert message["content"][0]["text"]["value"] == text


def test_a_number_that_json_cannot_represent_is_refused(door: Door, client: Any, settings: Settings) -> None:
    """1e999, which Python reads as infinity, is refused even in a function's parameters, which have no other check."""
    before = dump_store(settings)
    body = b'{"model": "m", "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": 1e999}}}]}'
    response = send(door, client, "POST", "/assistants", body)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(NOT_JSON)
    assert dump_store(settings) == before


@pytest.mark.parametrize("depth", [50, 300, 400, 700, 900, 980, 1400])  # Python 3.12 parses 1400, and cannot write it
def test_deep_json_is_kept_or_refused(door: Door, client: Any, settings: Settings, depth: int) -> None:
    """A JSON schema is kept with 400 levels, and refused with a 400 on every Python with more than 500."""
    before = dump_store(settings)
    schema = b'{"a":' * depth + b"1" + b"}" * depth
    body = b'{"model": "m", "tools": [{"type": "function", "function": {"name": "f", "parameters": %s}}]}' % schema
    response = send(door, client, "POST", "/assistants", body)
    assert response.status_code == (200 if depth <= 400 else 400)
    if response.status_code == 400:
        assert dump_store(settings) == before
    else:
        served = send(door, client, "GET", f"/assistants/{response.json()['id']}").json()
        assert served["tools"][0]["function"]["parameters"] == json.loads(schema)
