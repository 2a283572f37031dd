"""The Conversations API: conversations and their items.

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
    """Create a conversation; the answer has no items, which have a list of their own (recorded)."""
    params = request.json_object()
    wire: Json = {
        "id": state.ids.new("conv_"),
        "object": "conversation",
        "created_at": state.now(),
        "metadata": params.get("metadata") or {},
    }
    conversation = state.conversations[wire["id"]] = Conversation(wire)
    conversation.items += [listed_item(state, item) for item in params.get("items") or []]
    return Answer.with_json(wire)


def retrieve(state: State, _request: Request, conversation_id: str) -> Answer:
    """Return a conversation."""
    return Answer.with_json(find(state, conversation_id).wire)


def update(state: State, request: Request, conversation_id: str) -> Answer:
    """Replace all metadata of a conversation (recorded)."""
    conversation = find(state, conversation_id)
    conversation.wire = {**conversation.wire, "metadata": request.json_object()["metadata"] or {}}
    return Answer.with_json(conversation.wire)


def delete(state: State, _request: Request, conversation_id: str) -> Answer:
    """Delete a conversation: `{id, object, deleted}` (recorded)."""
    find(state, conversation_id)
    # The spec lets the items outlive their conversation, but every route to an item goes through it.
    del state.conversations[conversation_id]
    return Answer.with_json({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


def add_items(state: State, request: Request, conversation_id: str) -> Answer:
    """Add items and return them as a list (recorded with one item; the order of several is an assumption)."""
    conversation = find(state, conversation_id)
    added = [listed_item(state, item) for item in request.json_object()["items"]]
    conversation.items += added
    ids = [item["id"] for item in added] or [None]  # null ids for an empty list, as in every list
    listed = {"object": "list", "data": added, "first_id": ids[0], "has_more": False, "last_id": ids[-1]}
    return Answer.with_json(listed)


def list_items(state: State, request: Request, conversation_id: str) -> Answer:
    """List the items of a conversation, newest first (recorded)."""
    return page(request, find(state, conversation_id).items)


def retrieve_item(state: State, _request: Request, conversation_id: str, item_id: str) -> Answer:
    """Return one item of a conversation."""
    return Answer.with_json(_find_item(find(state, conversation_id), item_id))


def delete_item(state: State, _request: Request, conversation_id: str, item_id: str) -> Answer:
    """Delete an item and return the conversation (spec)."""
    conversation = find(state, conversation_id)
    conversation.items.remove(_find_item(conversation, item_id))
    return Answer.with_json(conversation.wire)


def find(state: State, conversation_id: str) -> Conversation:
    """Return a conversation, or refuse an unknown id; the text follows the one for responses (an assumption)."""
    conversation = state.conversations.get(conversation_id)
    if conversation is None:
        raise Refusal(404, f"Conversation with id '{conversation_id}' not found.")
    return conversation


def _find_item(conversation: Conversation, item_id: str) -> Json:
    item = next((item for item in conversation.items if item["id"] == item_id), None)
    if item is None:
        raise Refusal(404, f"Item with id '{item_id}' not found in conversation.")
    return item
