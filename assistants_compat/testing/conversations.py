"""The Conversations API: create, retrieve, update, delete, and their items.

Sources: CanCreateGetUpdateAndDeleteConversation.json, ConversationItemEndpointsAcceptIncludeQuery.json,
ResponseUsingConversations.json; the spec for what is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exchange import Answer, Refusal
from .input_items import listed_item
from .pagination import page
from .state import Conversation

if TYPE_CHECKING:
    from .exchange import Request
    from .state import Json, State


def create(state: State, request: Request) -> Answer:
    """Without its items, which are listed by themselves (recorded)."""
    asked = request.json_object()
    wire: Json = {
        "id": state.mint.new("conv_"),
        "object": "conversation",
        "created_at": state.now(),
        "metadata": asked.get("metadata") or {},
    }
    made = state.conversations[wire["id"]] = Conversation(wire)
    made.items += [listed_item(state, item) for item in asked.get("items") or []]
    return Answer.of_json(wire)


def retrieve(state: State, _request: Request, conversation_id: str) -> Answer:
    """As it was made."""
    return Answer.of_json(find(state, conversation_id).wire)


def update(state: State, request: Request, conversation_id: str) -> Answer:
    """The metadata are exchanged as a whole (recorded)."""
    found = find(state, conversation_id)
    found.wire = {**found.wire, "metadata": request.json_object()["metadata"] or {}}
    return Answer.of_json(found.wire)


def delete(state: State, _request: Request, conversation_id: str) -> Answer:
    """`{id, object, deleted}` (recorded)."""
    find(state, conversation_id)
    del state.conversations[conversation_id]
    return Answer.of_json({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


def add_items(state: State, request: Request, conversation_id: str) -> Answer:
    """The list of what was added (recorded with one item; the order of several is an assumption)."""
    found = find(state, conversation_id)
    added = [listed_item(state, item) for item in request.json_object()["items"]]
    found.items += added
    ids = [item["id"] for item in added] or [None]
    listed = {"object": "list", "data": added, "first_id": ids[0], "has_more": False, "last_id": ids[-1]}
    return Answer.of_json(listed)


def list_items(state: State, request: Request, conversation_id: str) -> Answer:
    """Newest first (recorded)."""
    return page(request, find(state, conversation_id).items)


def retrieve_item(state: State, _request: Request, conversation_id: str, item_id: str) -> Answer:
    """One of them."""
    return Answer.of_json(_item(find(state, conversation_id), item_id))


def delete_item(state: State, _request: Request, conversation_id: str, item_id: str) -> Answer:
    """The conversation without it (spec)."""
    found = find(state, conversation_id)
    found.items.remove(_item(found, item_id))
    return Answer.of_json(found.wire)


def find(state: State, conversation_id: str) -> Conversation:
    """The conversation; the text for an unknown one follows that of responses (an assumption)."""
    found = state.conversations.get(conversation_id)
    if found is None:
        raise Refusal(404, f"Conversation with id '{conversation_id}' not found.")
    return found


def _item(found: Conversation, item_id: str) -> Json:
    item = next((item for item in found.items if item["id"] == item_id), None)
    if item is None:
        raise Refusal(404, f"Item with id '{item_id}' not found in conversation.")
    return item
