"""Assistants are created, retrieved, updated, listed and deleted as the service did it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistants_compat.testing import StandIn
from kit.doors import Door
from kit.legacy_code import CODE, get_raw, make_assistant, upstream_calls


def test_a_new_assistant_has_every_recorded_default(door: Door, client: Any) -> None:
    """An assistant created with a model alone has the recorded keys in the recorded order, with their defaults."""
    assistant = door(client.beta.assistants.create(model="gpt-4o"))
    served = get_raw(door, client, f"/assistants/{assistant.id}")
    assert list(served.items()) == [
        ("id", assistant.id),
        ("object", "assistant"),
        ("created_at", assistant.created_at),
        ("name", None),
        ("description", None),
        ("model", "gpt-4o"),
        ("instructions", None),
        ("tools", []),
        ("top_p", 1.0),
        ("temperature", 1.0),
        ("reasoning_effort", None),
        ("tool_resources", {}),
        ("metadata", {}),
        ("response_format", "auto"),
    ]
    assert assistant.id.startswith("asst_")


def test_an_assistant_keeps_the_fields_of_its_creation(door: Door, client: Any) -> None:
    """A retrieved assistant has every field that was set at its creation."""
    fields: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "name": "Analyst — 分析",
        "description": "Reads tables.",
        "instructions": "Be brief. 🙂",
        "tools": [{"type": "code_interpreter"}],
        "tool_resources": {"code_interpreter": {"file_ids": ["file-1", "file-2"]}},
        "metadata": {"team": "blue", "stage": ""},
        "temperature": 0,
        "top_p": 0.5,
        "response_format": {"type": "text"},
    }
    assistant = door(client.beta.assistants.create(**fields))
    served = get_raw(door, client, f"/assistants/{assistant.id}")
    assert {key: served[key] for key in fields} == fields
    assert door(client.beta.assistants.retrieve(assistant.id)) == assistant


def test_tools_are_served_with_their_recorded_defaults(door: Door, client: Any) -> None:
    """A function gets `strict: false`, a file search its ranking options, Code Interpreter an empty file list."""
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}
    tools = [*CODE, {"type": "function", "function": function}, {"type": "file_search"}]
    assistant = make_assistant(door, client, tools=tools)
    served = get_raw(door, client, f"/assistants/{assistant.id}")
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}
    assert served["tools"] == [
        {"type": "code_interpreter"},
        {"type": "function", "function": {**function, "strict": False}},
        {"type": "file_search", "file_search": {"ranking_options": ranking}},
    ]
    assert served["tool_resources"] == {"code_interpreter": {"file_ids": []}}


def test_a_requested_vector_store_is_created_and_served_by_its_id(door: Door, client: Any, upstream: StandIn) -> None:
    """`vector_stores` in the tool resources creates a vector store upstream and is served as `vector_store_ids`."""
    file_id = upstream.put_file("notes.txt", b"notes", "assistants")
    resources = {"file_search": {"vector_stores": [{"file_ids": [file_id]}]}}
    assistant = make_assistant(door, client, tools=[{"type": "file_search"}], tool_resources=resources)
    assert assistant.tool_resources.file_search.vector_store_ids == list(upstream.vector_stores)
    assert upstream_calls(upstream) == ["POST /vector_stores"]
    assert upstream.requests[0].json == {"file_ids": [file_id]}


def test_an_update_changes_only_the_given_keys(door: Door, client: Any) -> None:
    """An update leaves the other fields as they were, and null resets a field to its default."""
    created = make_assistant(door, client, name="A", metadata={"a": "1"}, temperature=0.3, tools=CODE)
    updated = door(client.beta.assistants.update(created.id, description="new", temperature=None))
    assert updated.to_dict() == {**created.to_dict(), "description": "new", "temperature": 1.0}
    assert door(client.beta.assistants.retrieve(created.id)) == updated
    changed = door(client.beta.assistants.update(created.id, metadata={"b": "2"}, tools=[]))
    assert changed.metadata == {"a": "1", "b": "2"}
    assert changed.tools == []
    assert changed.name == "A"


def test_an_update_without_keys_changes_nothing(door: Door, client: Any) -> None:
    """An empty update returns the assistant unchanged."""
    created = make_assistant(door, client)
    assert door(client.beta.assistants.update(created.id)) == created


def test_a_deleted_assistant_is_not_found(door: Door, client: Any) -> None:
    """Deletion returns the recorded object; then retrieve, update and delete fail with the reported 404."""
    assistant = make_assistant(door, client)
    deleted = door(client.beta.assistants.delete(assistant.id))
    assert deleted.to_dict() == {"id": assistant.id, "object": "assistant.deleted", "deleted": True}
    resource = client.beta.assistants
    for call in (resource.retrieve, resource.delete, lambda id_: resource.update(id_, name="x")):
        with pytest.raises(openai.NotFoundError) as caught:
            door(call(assistant.id))
        assert caught.value.response.json() == {
            "error": {
                "message": f"No assistant found with id '{assistant.id}'.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        }


def test_an_empty_list_has_null_ids(door: Door, client: Any) -> None:
    """An empty list has the recorded envelope: null ids and no more pages."""
    assert get_raw(door, client, "/assistants") == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_a_list_is_newest_first_and_cut_at_its_limit(door: Door, client: Any) -> None:
    """`limit` and `order` select the entries of a page, and the envelope has its first and last id."""
    ids = [make_assistant(door, client).id for _ in range(4)]
    page = get_raw(door, client, "/assistants?limit=3")
    assert [entry["id"] for entry in page["data"]] == ids[:0:-1]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[3], ids[1], True)
    page = get_raw(door, client, "/assistants?order=asc&limit=4")
    assert [entry["id"] for entry in page["data"]] == ids
    assert page["has_more"] is False


def test_a_page_holds_twenty_by_default(door: Door, client: Any) -> None:
    """A page holds 20 entries by default, and auto-paging yields every assistant once."""
    ids = [make_assistant(door, client).id for _ in range(22)]
    assert len(get_raw(door, client, "/assistants")["data"]) == 20
    assert [entry.id for entry in door.all(client.beta.assistants.list(order="asc"))] == ids
    assert [entry.id for entry in door.all(client.beta.assistants.list(limit=7))] == ids[::-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_cursors_cut_a_list(door: Door, client: Any, order: Any) -> None:
    """`after` starts a page behind an entry and `before` ends it in front of one, in both orders."""
    ids = [make_assistant(door, client).id for _ in range(5)]
    listed = ids if order == "asc" else ids[::-1]

    def page(**cursor: Any) -> list[str]:
        return [entry.id for entry in door(client.beta.assistants.list(order=order, **cursor)).data]

    assert page(after=listed[1]) == listed[2:]
    assert page(before=listed[3]) == listed[:3]
    assert page(before=listed[3], limit=2) == listed[1:3]
    assert page(after=listed[0], before=listed[4]) == listed[1:4]
    assert page(after=listed[4]) == []


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_deleted_assistant_still_works_as_a_cursor(door: Door, client: Any, order: Any) -> None:
    """A deleted assistant still works as a cursor: the page is the same as before the deletion."""
    ids = [make_assistant(door, client).id for _ in range(5)]
    listed = ids if order == "asc" else ids[::-1]
    door(client.beta.assistants.delete(listed[2]))
    after = door(client.beta.assistants.list(order=order, after=listed[2])).data
    assert [entry.id for entry in after] == listed[3:]
    before = door(client.beta.assistants.list(order=order, before=listed[2])).data
    assert [entry.id for entry in before] == listed[:2]


def test_deleting_while_paging_reaches_every_assistant(door: Door, client: Any) -> None:
    """A loop that deletes each entry of an auto-paged list deletes every assistant."""
    ids = {make_assistant(door, client).id for _ in range(7)}
    deleted = door.map_entries(
        client.beta.assistants.list(limit=2), lambda entry: client.beta.assistants.delete(entry.id)
    )
    assert {entry.id for entry in deleted} == ids
    assert door.all(client.beta.assistants.list()) == []


@pytest.mark.parametrize(
    ("query", "param", "code", "message"),
    [
        (
            "limit=101",
            "limit",
            "integer_above_max_value",
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
        ),
        (
            "limit=-1",
            "limit",
            "integer_below_min_value",
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got -1 instead.",
        ),
        (
            "limit=many",
            "limit",
            "invalid_type",
            "Invalid type for 'limit': expected an integer, but got a string instead.",
        ),
        (
            "order=up",
            "order",
            "invalid_value",
            "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.",
        ),
    ],
)
def test_a_list_refuses_invalid_limits_and_orders(
    door: Door, client: Any, query: str, param: str, code: str, message: str
) -> None:
    """A limit or order that the spec does not allow is refused with a 400 that names the parameter."""
    with pytest.raises(openai.BadRequestError) as caught:
        get_raw(door, client, f"/assistants?{query}")
    assert caught.value.body == {"message": message, "type": "invalid_request_error", "param": param, "code": code}
