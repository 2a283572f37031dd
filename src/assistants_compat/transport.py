"""How the doors speak HTTP: answers in the client's own library, and upstream requests as siblings of the legacy one.

A sibling has the origin, credentials, organisation, project, extra headers and timeout of the request that is being
answered, and is sent by the same inner client (DESIGN.md, "Upstream calls").  So a key never goes to a host that the
caller did not send it to, and proxies, gateways and recordings keep their meaning.

Whatever that client raises (a lost connection, but also a hook of the caller's own) goes back to the SDK as it is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, MutableSet
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from . import app
from .errors import UnreachableError
from .exchange import Call, Reply
from .io import Answer, AsyncIO, BlockingIO, Request, iterate, run
from .settings import Settings

_DEPLOYMENT = re.compile(r"/deployments/[^/]+\Z")

# Of a legacy request's headers, what does not belong to its sibling.
_DROPPED = frozenset(
    {
        "accept",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "idempotency-key",
        "openai-beta",
        "transfer-encoding",
        "x-stainless-custom-poll-interval",
        "x-stainless-poll-helper",
        "x-stainless-raw-response",
    }
)
# Query parameters of the old API; any other (a gateway's own) is kept.
_LEGACY_QUERY = re.compile(r"(?:after|before|include(?:\[\])?|limit|order|run_id|api-version)\Z")


@dataclass(frozen=True)
class Passage:
    """A legacy request that is ours, on its way through the application."""

    match: app.Match
    call: Call
    request: Any  # httpx.Request or httpx2.Request
    base: str  # of the upstream's Responses API
    settings: Settings
    without_background: MutableSet[str]

    def answer(self, inner: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
        """The answer as a response of the client's library; None when it is the upstream's to give."""
        upstream = SyncUpstream(inner, self.request, self.base, options)
        io = BlockingIO(self.settings, upstream, self.without_background)
        try:
            reply = run(app.answer(self.match, self.call, io))
        except UnreachableError as error:
            raise error.original from error.original.__cause__
        if reply is None:
            return None
        response = _response(self.request, reply)
        if not stream:
            response.read()
        return response

    async def answer_async(self, inner: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
        """`answer`, for an asynchronous client."""
        upstream = AsyncUpstream(inner, self.request, self.base, options)
        io = AsyncIO(self.settings, upstream, self.without_background)
        try:
            reply = await app.answer(self.match, self.call, io)
        except UnreachableError as error:
            raise error.original from error.original.__cause__
        if reply is None:
            return None
        response = _response(self.request, reply, asynchronous=True)
        if not stream:
            await response.aread()
        return response


def passage_from_request(  # noqa: PLR0913 - the request, its two halves, and what the door knows
    request: Any,
    base: str,
    route: str,
    settings: Settings,
    without_background: MutableSet[str],
    *,
    azure: bool,
) -> Passage | None:
    """The legacy request as a call of the application; None where the old API had no such route."""
    matched = app.match(request.method, route)
    if matched is None:
        return None
    call = Call(request.method, matched.parts, tuple(request.url.params.multi_items()), request.content)
    return Passage(matched, call, request, _upstream_base(request, base, azure=azure), settings, without_background)


def _upstream_base(request: Any, base: str, *, azure: bool) -> str:
    """Where the Responses API is, beside the legacy path: `/openai/v1` for Azure clients, else the same base.

    An Azure client is known by its type, its `api-version` or `deployments` in the path, never by a path's end alone.
    """
    without = _DEPLOYMENT.sub("", base)
    azure = azure or without != base or "api-version" in request.url.params
    return f"{without}/v1" if azure and not without.endswith("/v1") else without


# --- answers


def _library(request: Any) -> Any:
    """The library that made the request, httpx or httpx2: it makes the response too."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def _response(request: Any, reply: Reply, *, asynchronous: bool = False) -> Any:
    """A response that is still to be read, as any is that was sent for with `stream=True`."""
    library = _library(request)
    headers = dict(reply.headers)
    if reply.chunks is None:
        # As `content` the body would be read and closed already, which `with_streaming_response` shows to its caller.
        stream = library.ByteStream(reply.body)
        headers["content-length"] = str(len(reply.body))
    else:
        stream = (_async_stream if asynchronous else _sync_stream)(library, reply.chunks)
    response = library.Response(reply.status, headers=headers, request=request, stream=stream)
    response.elapsed = timedelta(0)  # instrumentation reads it, and it raises where nobody set it
    return response


def _sync_stream(library: Any, chunks: AsyncIterator[bytes]) -> Any:
    body = iterate(chunks)

    class Stream(library.SyncByteStream):  # type: ignore[misc]  # the library is known at run time only
        def __iter__(self) -> Iterator[bytes]:
            return body

        def close(self) -> None:
            body.close()

    return Stream()


def _async_stream(library: Any, chunks: AsyncIterator[bytes]) -> Any:
    class Stream(library.AsyncByteStream):  # type: ignore[misc]  # the library is known at run time only
        def __aiter__(self) -> AsyncIterator[bytes]:
            return chunks

        async def aclose(self) -> None:
            await cast("AsyncGenerator[bytes, None]", chunks).aclose()

    return Stream()


# --- siblings


class _Siblings:
    """Makes upstream requests from the legacy request that is being answered."""

    def __init__(self, inner: Any, request: Any, base: str, options: Mapping[str, Any]) -> None:
        self.inner, self.request, self.base, self.options = inner, request, base, options
        self.library = _library(request)

    @property
    def name(self) -> str:
        """The origin and base of this upstream."""
        url = self.request.url
        return f"{url.scheme}://{url.netloc.decode('ascii')}{self.base}"

    def sibling(self, wanted: Request) -> Any:
        """The upstream request: same origin and credentials, another path."""
        legacy = self.request
        kept = [(key, value) for key, value in legacy.url.params.multi_items() if not _LEGACY_QUERY.match(key)]
        headers = [(key, value) for key, value in legacy.headers.multi_items() if key.lower() not in _DROPPED]
        content = None
        if wanted.json is not None:
            content = json.dumps(wanted.json).encode("ascii")
            headers.append(("Content-Type", "application/json"))
        headers.append(("Accept", "*/*" if wanted.path.endswith("/content") else "application/json"))
        return self.inner.build_request(
            wanted.method,
            legacy.url.copy_with(raw_path=f"{self.base}{wanted.path}".encode("ascii")),
            params=[*kept, *wanted.query] or None,
            headers=headers,
            content=content,
            extensions=dict(legacy.extensions),
        )


@dataclass(frozen=True)
class _Arriving:
    """An upstream answer whose bytes are still to come."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes."""
        return self.pieces


class SyncUpstream(_Siblings):
    """Sends through a synchronous client; the methods are `async` and never suspend."""

    async def send(self, request: Request) -> Answer:
        """Send and read the whole answer."""
        try:
            response = self.inner.send(self.sibling(request), **self.options)
        except Exception as error:
            raise UnreachableError(error) from error
        return Answer(response.status_code, _lower(response.headers), response.content)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[_Arriving]:
        """Send and leave the body to be read."""
        try:
            response = self.inner.send(self.sibling(request), stream=True, **self.options)
        except Exception as error:
            raise UnreachableError(error) from error
        try:
            yield _Arriving(response.status_code, _lower(response.headers), self._pieces(response))
        finally:
            response.close()

    async def _pieces(self, response: Any) -> AsyncIterator[bytes]:
        try:
            for chunk in response.iter_bytes():
                yield chunk
        except self.library.RequestError as error:
            raise UnreachableError(error) from error


class AsyncUpstream(_Siblings):
    """Sends through an asynchronous client."""

    async def send(self, request: Request) -> Answer:
        """Send and read the whole answer."""
        try:
            response = await self.inner.send(self.sibling(request), **self.options)
        except Exception as error:
            raise UnreachableError(error) from error
        return Answer(response.status_code, _lower(response.headers), response.content)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[_Arriving]:
        """Send and leave the body to be read."""
        try:
            response = await self.inner.send(self.sibling(request), stream=True, **self.options)
        except Exception as error:
            raise UnreachableError(error) from error
        try:
            yield _Arriving(response.status_code, _lower(response.headers), self._pieces(response))
        finally:
            await response.aclose()

    async def _pieces(self, response: Any) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.aiter_bytes():
                yield chunk
        except self.library.RequestError as error:
            raise UnreachableError(error) from error


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}
