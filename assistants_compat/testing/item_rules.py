"""Items and files that a request for a response names, held against what the service has kept of them.

Each refusal is a row of `service/refusal_table.py`, which has the sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .capability_rules import message_parts
from .exchange import Refusal
from .state import KnownItem
from .table_refusals import table_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .state import Json, State

# Types whose ids are looked up (measured for reasoning, reported for code calls, assumed for the others).
_LOOKED_UP = frozenset(
    {
        "reasoning",
        "code_interpreter_call",
        "file_search_call",
        "web_search_call",
        "image_generation_call",
        "item_reference",
    }
)


def check_items(state: State, params: Json, history: list[Json]) -> None:
    """Refuse items that were sent twice, that the service does not have, or without the reasoning they belong to."""
    request_input = params.get("input")
    items = request_input if isinstance(request_input, list) else []
    _check_duplicates(items, history)
    is_stored = params.get("store") is not False
    for item in items:
        _check_known(state, params, item, is_stored=is_stored)
    _check_reasoning(state, items)
    for part in message_parts(params):
        _check_image(state, part, is_background=bool(params.get("background")))
    for tool in params.get("tools") or []:
        _check_vector_stores(state, tool)


def _check_duplicates(items: list[Json], history: list[Json]) -> None:
    seen = {item.get("id") for item in history}
    for item in items:
        item_id = item.get("id")
        if item_id is not None and item_id in seen:
            raise table_refusal("duplicate_item", item=item_id)
        seen.add(item_id)


def _check_known(state: State, params: Json, item: Json, *, is_stored: bool) -> None:
    kind, item_id = item.get("type"), item.get("id")
    if kind not in _LOOKED_UP or item_id is None:
        return
    encrypted = item.get("encrypted_content")
    if kind == "reasoning" and encrypted is not None:
        # Readable by the model that wrote it (reported: another key, organization or model).
        if state.encrypted.get(encrypted) != (params.get("model") or ""):
            reason = "Encrypted content could not be decrypted or parsed"
            raise table_refusal("encrypted_unverified", content=f"{encrypted[:4]}...{encrypted[-4:]}", reason=reason)
        return
    known = state.items.get(item_id)
    if known is None or not known.is_kept or not is_stored:
        raise _not_found(item_id, is_stored=is_stored)


def _not_found(item_id: str, *, is_stored: bool) -> Refusal:
    refusal = table_refusal("item_not_found", item=item_id)
    if not is_stored:
        refusal.body["error"]["message"] += _NOT_PERSISTED
    return refusal


_NOT_PERSISTED = (
    " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this "
    "item from your input."
)


def _check_reasoning(state: State, items: list[Json]) -> None:
    """Refuse an item that followed reasoning in its response and does not follow it here."""
    for previous, item in zip([{}, *items], items, strict=False):
        known = state.items.get(item.get("id") or "")
        if known is not None and known.reasoning is not None and previous.get("id") != known.reasoning:
            raise table_refusal(
                "item_without_pair", item=item["id"], type=item.get("type"), pair_type="reasoning", pair=known.reasoning
            )


def has_dead_link(state: State, params: Json) -> bool:
    """Whether a request has the URL of an image that cannot be downloaded."""
    return any(part.get("image_url") in state.options.dead_links for part in message_parts(params))


def _check_image(state: State, part: Json, *, is_background: bool) -> None:
    url, file_id = part.get("image_url"), part.get("file_id")
    # In the background an image is downloaded after the request was accepted, and the response fails.
    if url is not None and url in state.options.dead_links and not is_background:
        raise table_refusal("image_unavailable", url=url)
    if part.get("type") == "input_image" and file_id is not None and file_id not in state.files:
        raise table_refusal("image_file_gone", file=file_id)


def _check_vector_stores(state: State, tool: Json) -> None:
    """Refuse a search of a store that does not exist.

    No public source has the text or the status (live check 18 of `doctor --live` asks): this is that of a look-up.
    """
    for store_id in tool.get("vector_store_ids") or []:
        if store_id not in state.vector_stores:
            raise Refusal(404, f"Vector store with id '{store_id}' not found.")


def remember_items(state: State, response_id: str, params: Json, output: Iterable[Json]) -> None:
    """Keep which items a response has made, so that later requests can name them."""
    is_kept = params.get("store") is not False
    reasoning: str | None = None
    for item in output:
        item_id = item.get("id")
        if item.get("type") == "reasoning" and item.get("encrypted_content"):
            state.encrypted[item["encrypted_content"]] = params.get("model") or ""
        if item_id is not None:
            state.items[item_id] = KnownItem(response_id, is_kept, reasoning)
        reasoning = item_id if item.get("type") == "reasoning" else None


def forget_items(state: State, response_id: str) -> None:
    """Forget the items of a deleted response (an assumption: nobody has measured what becomes of them)."""
    state.items = {key: item for key, item in state.items.items() if item.response_id != response_id}
