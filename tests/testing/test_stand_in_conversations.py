"""The stand-in's Conversations answer as in the recordings and the spec."""

from __future__ import annotations

import json
from typing import Any

import pytest

DOTNET = "openai__openai-dotnet"
USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tell me a joke."}]}


def shape(value: Any) -> Any:
    """Return a JSON value with types in the place of its ids, times and texts."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shape(entry) for entry in value]
    return type(value).__name__


@pytest.mark.parametrize(
    "name", ["CanCreateGetUpdateAndDeleteConversation", "ConversationItemEndpointsAcceptIncludeQuery"]
)
def test_each_recorded_request_has_the_recorded_shape_of_answer(name: str, call, recordings) -> None:
    """Each request of a recording, sent with the stand-in's ids, gets an answer of the recorded shape."""
    ids: dict[str, str] = {}
    exchanges = recordings.read(f"{DOTNET}/{name}.json")
    assert len(exchanges) >= 4
    for exchange in exchanges:
        path = exchange.url.partition("/v1")[2]
        for recorded_id, own_id in ids.items():
            path = path.replace(recorded_id, own_id)
        sent = json.loads(exchange.request_body) if exchange.request_body else None
        answer, recorded = call(f"{exchange.method} {path}", sent).json, json.loads(exchange.body)
        assert shape(answer) == shape(recorded)
        assert list(answer) == list(recorded)
        ids[recorded.get("id") or recorded["first_id"]] = answer.get("id") or answer["first_id"]


def test_a_response_in_a_conversation_is_as_recorded(call, recordings) -> None:
    """A response names its conversation where the recording does, and adds its input and output to the items."""
    recorded = [json.loads(exchange.body) for exchange in recordings.read(f"{DOTNET}/ResponseUsingConversations.json")]
    system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Help."}]}
    conversation = call("POST /conversations", {"items": [system]}).json
    body = {"model": "gpt-4o-mini", "input": [USER], "conversation": {"id": conversation["id"]}}
    response = call("POST /responses", body).json
    at = list(recorded[1]).index("conversation")
    assert list(response)[: at + 1] == list(recorded[1])[: at + 1]
    assert response["conversation"] == {"id": conversation["id"]}
    items = call(f"GET /conversations/{conversation['id']}/items").json
    assert shape(items) == shape(recorded[2])
    assert [item["role"] for item in items["data"]] == ["assistant", "user", "system"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("", {"items": [USER] * 21}, "array_above_max_length"),
        ("", {"messages": []}, "unknown_parameter"),
        ("", {"metadata": {"a": "x" * 513}}, "string_above_max_length"),
        ("/{}", {}, "missing_required_parameter"),
        ("/{}/items", {}, "missing_required_parameter"),
        ("/{}/items", {"items": [USER] * 21}, "array_above_max_length"),
        ("/{}/items", {"items": [{"type": "message", "role": "teacher", "content": "x"}]}, None),
    ],
)
def test_a_body_outside_the_schema_changes_no_conversation(path: str, body: Any, code: str | None, call) -> None:
    """A body outside the schema is refused with 400 and changes nothing."""
    pytest.importorskip("openai.types.conversations", reason="this SDK knows no conversations")
    conversation = call("POST /conversations", {}).json
    answer = call(f"POST /conversations{path.format(conversation['id'])}", body)
    assert answer.status == 400
    assert code in (None, answer.json["error"]["code"])
    assert call.upstream.conversations[conversation["id"]].items == []


@pytest.mark.parametrize("path", ["GET /conversations/conv_x", "DELETE /conversations/conv_x/items/msg_x"])
def test_unknown_conversations_and_items_are_404(path: str, call) -> None:
    """Unknown conversations and unknown items are 404."""
    assert call(path).status == 404
    conversation = call("POST /conversations", {}).json
    assert call(f"GET /conversations/{conversation['id']}/items/msg_x").status == 404


def test_an_item_can_be_deleted(call) -> None:
    """Deleting an item returns the conversation, as in the spec."""
    conversation = call("POST /conversations", {"items": [USER]}).json
    [item] = call(f"GET /conversations/{conversation['id']}/items").json["data"]
    assert call(f"DELETE /conversations/{conversation['id']}/items/{item['id']}").json == conversation
    assert call(f"GET /conversations/{conversation['id']}/items").json["data"] == []


def test_the_models_are_listed(call) -> None:
    """The list of models is one object without pages, as in the spec."""
    models = call("GET /models").json
    assert models["object"] == "list"
    assert {"gpt-4o", "gpt-4.1"} <= {model["id"] for model in models["data"]}
