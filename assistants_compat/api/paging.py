"""Lists: turns query parameters into a `Page`, and objects into the recorded list envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..errors import ApiError
from ..store.queries import Page
from ..wire.checks import choice, number
from ..wire.exchange import Call, Reply, json_reply

_MIN_LIMIT, _MAX_LIMIT, _DEFAULT_LIMIT = 1, 100, 20
_check_order = choice("asc", "desc")


def page_from_call(call: Call, *, max_limit: int = _MAX_LIMIT, default_limit: int = _DEFAULT_LIMIT) -> Page:
    """Return the page that a call requests.

    Reads `limit` (1 to 100, default 20), `order` (default desc), `after` and `before`; an empty value counts as absent.
    """
    order = call.query_value("order") or "desc"
    _check_order(order, "order")
    return Page(
        limit=_parse_limit(call.query_value("limit"), max_limit, default_limit),
        order=cast("Any", order),
        after=call.query_value("after") or None,
        before=call.query_value("before") or None,
    )


def _parse_limit(text: str | None, max_limit: int, default_limit: int) -> int:
    if not text or text == "0":  # the SDK's own suite sends limit=0 and expects a page
        return default_limit
    try:
        value = int(text)
    except ValueError:
        message = "Invalid type for 'limit': expected an integer, but got a string instead."
        raise ApiError(400, message, param="limit", code="invalid_type") from None
    number(minimum=_MIN_LIMIT, maximum=max_limit, integer=True)(value, "limit")
    return value


def list_reply(objects: Sequence[Mapping[str, Any]], *, has_more: bool) -> Reply:
    """Return the recorded list envelope; `first_id` and `last_id` are null in an empty list."""
    body = {
        "object": "list",
        "data": list(objects),
        "first_id": objects[0]["id"] if objects else None,
        "last_id": objects[-1]["id"] if objects else None,
        "has_more": has_more,
    }
    return json_reply(body)
