"""Pages of a list, as every list endpoint of the service returns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exchange import Answer, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .exchange import Request

_MAX_LIMIT = 100


def page(
    request: Request, items: Iterable[dict[str, Any]], *, default_limit: int = 20, max_limit: int = _MAX_LIMIT
) -> Answer:
    """Return one page of `items`, which are ordered oldest first: `{object, data, first_id, has_more, last_id}`.

    The query parameters are limit (1..100, default 20), order (default desc), after and before.
    Source: GetInputItemsWithPagination.json and ContainerFileCollectionOptionsCanBeConfigured.json (key order, `desc`),
    spec (limits); ids are null when the page is empty (recordings.md section 5).
    """
    ordered = list(items)
    if request.value("order") != "asc":
        ordered.reverse()
    ordered = _between(ordered, request.value("after"), request.value("before"))
    limit = _limit(request, default_limit, max_limit)
    data = ordered[:limit]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    has_more = len(ordered) > limit
    return Answer.with_json(
        {"object": "list", "data": data, "first_id": first, "has_more": has_more, "last_id": last},
    )


def _between(items: list[dict[str, Any]], after: str | None, before: str | None) -> list[dict[str, Any]]:
    ids = [item["id"] for item in items]
    start = ids.index(after) + 1 if after in ids else 0
    end = ids.index(before) if before in ids else len(items)
    return items[start:end]


def _limit(request: Request, default_limit: int, max_limit: int) -> int:
    text = request.value("limit")
    if text is None:
        return default_limit
    try:
        limit = int(text)
    except ValueError:
        message = f"Invalid type for 'limit': expected an integer, but got '{text}' instead."
        raise Refusal(400, message, param="limit", code="invalid_type") from None
    if not 1 <= limit <= max_limit:
        side, bound, sign = ("below minimum", 1, ">=") if limit < 1 else ("above maximum", max_limit, "<=")
        code = "integer_below_min_value" if limit < 1 else "integer_above_max_value"
        message = f"Invalid 'limit': integer {side} value. Expected a value {sign} {bound}, but got {limit} instead."
        raise Refusal(400, message, param="limit", code=code)
    return limit
