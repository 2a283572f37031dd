"""Redirects without keys: of what proves a caller, httpx takes only `Authorization` off when one leads elsewhere.

New SDKs take Azure's `api-key` off too, none that of a gateway.  So requests with such a key are sent on from here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_KEYS = ("api-key", "ocp-apim-subscription-key")  # Azure OpenAI's, and API Management's


def send(inner: Any, request: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
    """The answer to a request; for redirects to another origin without the keys."""
    if not _guards(inner, request, options):
        return inner.send(request, stream=stream, **options)
    options, hops = {**options, "follow_redirects": False}, 0
    response = inner.send(request, stream=stream, **options)
    while (following := _onward(inner, response, hops)) is not None:
        response.read()
        options, hops = {**options, "auth": None}, hops + 1  # it has been applied, as far as it goes along
        response = inner.send(following, stream=stream, **options)
    return response


async def send_async(inner: Any, request: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
    """`send`, by an asynchronous client."""
    if not _guards(inner, request, options):
        return await inner.send(request, stream=stream, **options)
    options, hops = {**options, "follow_redirects": False}, 0
    response = await inner.send(request, stream=stream, **options)
    while (following := _onward(inner, response, hops)) is not None:
        await response.aread()
        options, hops = {**options, "auth": None}, hops + 1  # as above
        response = await inner.send(following, stream=stream, **options)
    return response


def _guards(inner: Any, request: Any, options: Mapping[str, Any]) -> bool:
    has_key = any(key in request.headers for key in _KEYS)
    return has_key and bool(options.get("follow_redirects", inner.follow_redirects))


def _onward(inner: Any, response: Any, hops: int) -> Any:
    """The request that a redirect leads to; None where none is."""
    following = response.next_request
    if following is None:
        return None
    request = response.request
    if hops == inner.max_redirects:
        message = "Exceeded maximum allowed redirects."
        library: Any = sys.modules[type(request).__module__.partition(".")[0]]  # httpx or httpx2
        raise library.TooManyRedirects(message, request=request)
    if _origin(following.url) != _origin(request.url):
        for key in _KEYS:
            following.headers.pop(key, None)
    return following


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
