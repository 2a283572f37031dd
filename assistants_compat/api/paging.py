"""Lists: a query becomes a page, rows become the recorded envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..errors import ApiError
from ..store.queries import Page
from ..wire.checks import choice, number
from ..wire.exchange import Call, Reply, json_reply

_LEAST, _MOST, _DEFAULT = 1, 100, 20
_order = choice("asc", "desc")


def page_from_call(call: Call, *, most: int = _MOST, default: int = _DEFAULT) -> Page:
    """`limit` (1 to 100, default 20), `order` (default desc), `after`, `before`; empty values count as absent."""
    order = call.parameter("order") or "desc"
    _order(order, "order")
    return Page(
        limit=_whole(call.parameter("limit"), most, default),
        order=cast("Any", order),
        after=call.parameter("after") or None,
        before=call.parameter("before") or None,
    )


def _whole(text: str | None, most: int, default: int) -> int:
    if not text or text == "0":  # the SDK's own suite sends limit=0 and expects a page
        return default
    try:
        value = int(text)
    except ValueError:
        message = "Invalid type for 'limit': expected an integer, but got a string instead."
        raise ApiError(400, message, param="limit", code="invalid_type") from None
    number(least=_LEAST, most=most, whole=True)(value, "limit")
    return value


def list_reply(objects: Sequence[Mapping[str, Any]], *, has_more: bool) -> Reply:
    """The recorded envelope; `first_id` and `last_id` are null when the list is empty."""
    body = {
        "object": "list",
        "data": list(objects),
        "first_id": objects[0]["id"] if objects else None,
        "last_id": objects[-1]["id"] if objects else None,
        "has_more": has_more,
    }
    return json_reply(body)
