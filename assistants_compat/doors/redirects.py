"""Follows redirects without sending API keys to another origin.

On a redirect to another origin httpx removes only `Authorization`. New SDKs remove Azure's `api-key` too, but no SDK
removes a gateway's key. So this module follows the redirects of every request that carries such a key.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_KEY_HEADERS = ("api-key", "ocp-apim-subscription-key")  # of Azure OpenAI, and of Azure API Management


def send(http_client: Any, request: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
    """Send a request, follow its redirects, and return the response; a request to another origin carries no key."""
    if not _redirects_with_key(http_client, request, options):
        return http_client.send(request, stream=stream, **options)
    options, hops = {**options, "follow_redirects": False}, 0
    response = http_client.send(request, stream=stream, **options)
    while (next_request := _next_request(http_client, response, hops)) is not None:
        response.read()
        # The library has copied `Authorization` to the next request where the origin allows it; add it nowhere else.
        options, hops = {**options, "auth": None}, hops + 1
        response = http_client.send(next_request, stream=stream, **options)
    return response


async def send_async(http_client: Any, request: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
    """Send a request with an async client, as `send` does with a sync one."""
    if not _redirects_with_key(http_client, request, options):
        return await http_client.send(request, stream=stream, **options)
    options, hops = {**options, "follow_redirects": False}, 0
    response = await http_client.send(request, stream=stream, **options)
    while (next_request := _next_request(http_client, response, hops)) is not None:
        await response.aread()
        options, hops = {**options, "auth": None}, hops + 1  # as in `send`
        response = await http_client.send(next_request, stream=stream, **options)
    return response


def _redirects_with_key(http_client: Any, request: Any, options: Mapping[str, Any]) -> bool:
    has_key = any(key in request.headers for key in _KEY_HEADERS)
    return has_key and bool(options.get("follow_redirects", http_client.follow_redirects))


def _next_request(http_client: Any, response: Any, hops: int) -> Any:
    """Return the request that a redirect leads to; None if the response is no redirect."""
    next_request = response.next_request
    if next_request is None:
        return None
    request = response.request
    if hops == http_client.max_redirects:
        message = "Exceeded maximum allowed redirects."
        library: Any = sys.modules[type(request).__module__.partition(".")[0]]  # httpx or httpx2
        raise library.TooManyRedirects(message, request=request)
    if _origin(next_request.url) != _origin(request.url):
        for key in _KEY_HEADERS:
            next_request.headers.pop(key, None)
    return next_request


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
