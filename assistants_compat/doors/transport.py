"""How the doors speak HTTP: answers in the client's own library, and upstream requests as siblings of the legacy one.

A sibling has the origin, credentials, organisation, project, extra headers and timeout of the request that is being
answered, and is sent by the same inner client (DESIGN.md, "Upstream calls").  So a key never goes to a host that the
caller did not send it to, and proxies, gateways and recordings keep their meaning.

Whatever that client raises (a lost connection, but also a hook of the caller's own) goes back to the SDK as it is.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, MutableSet
from contextlib import aclosing, closing
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Literal, cast

from ..api import app
from ..engine.io import Answer, AsyncIO, BlockingIO, Request, Upload, iterate, run
from ..errors import ForeignError, UnreachableError
from ..runtime import clock
from ..settings import LegacyCall, Settings
from ..wire.exchange import HEADERS, Call, Reply
from . import call_report, redirects, sdk_internals
from .stream_readers import carry, carry_async

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
_OF_CLIENT = ("host", "cookie")  # of these the sibling has what the HTTP client itself says, for a gateway
# Query parameters of the old API; any other (a gateway's own) is kept.
_LEGACY_QUERY = re.compile(r"(?:after|before|include(?:\[\])?|limit|order|run_id|api-version)\Z")


@dataclass(frozen=True)
class Passage:
    """A legacy request that is ours, on its way through the application."""

    match: app.Match
    call: Call
    request: Any  # httpx.Request or httpx2.Request
    base: str  # of the upstream's Responses API
    legacy_base: str
    version: str | None  # its `api-version`
    settings: Settings
    without_background: MutableSet[str]

    def answer(self, inner: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
        """The answer as a response of the client's library; None when it is the upstream's to give."""
        upstream = SyncUpstream(inner, self, options)
        io = BlockingIO(self.settings, upstream, self.without_background)
        try:
            reply = run(app.answer(self.match, self.call, io))
        except UnreachableError as error:
            raise error.original from error.original.__cause__
        self._report(reply)
        if reply is None:
            return None
        body: Any = None
        if reply.chunks is not None:
            run_id = reply.run_id
            body = iterate(reply.chunks) if run_id is None else carry(reply.chunks, lambda: io.hold(run_id), inner)
        response = _response(self.request, reply, body)
        if not stream:
            response.read()
        return response

    def _report(self, reply: Reply | None) -> None:
        """Count the call, if that is wanted; files are the upstream's own API, and count where they are ours."""
        report = self.settings.report
        if report is not None and (reply is not None or self.match.legacy):
            answered: Literal["here", "upstream"] = "upstream" if reply is None else "here"
            call_report.count(report, LegacyCall(self.call.method, self.match.route, answered))

    async def answer_async(self, inner: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
        """`answer`, for an asynchronous client."""
        upstream = AsyncUpstream(inner, self, options)
        io = AsyncIO(self.settings, upstream, self.without_background)
        try:
            reply = await app.answer(self.match, self.call, io)
        except UnreachableError as error:
            raise error.original from error.original.__cause__
        self._report(reply)
        if reply is None:
            return None
        body: Any = reply.chunks
        if reply.chunks is not None and reply.run_id is not None:
            run_id = reply.run_id
            body = carry_async(reply.chunks, lambda: io.hold(run_id), inner)
        response = _response(self.request, reply, body, asynchronous=True)
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
    clock.current().begins(request.method, route)
    headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
    query = tuple(request.url.params.multi_items())
    call = Call(
        request.method, matched.parts, query, request.content, headers, reads_on=sdk_internals.reads_pages_of_files()
    )
    native, azure = _upstream_base(request, base, azure=azure)
    version = settings.azure_api_version if azure else None
    return Passage(matched, call, request, native, base, version, settings, without_background)


def _upstream_base(request: Any, base: str, *, azure: bool) -> tuple[str, bool]:
    """Where the Responses API is, beside the legacy path: `/openai/v1` for Azure clients, else the same base.

    An Azure client is known by its type, its `api-version` or `deployments` in the path, or by the whole of Azure's v1
    base, never by a path's end alone.  The second value says whether it is one.
    """
    azure = azure or _DEPLOYMENT.search(base) is not None or "api-version" in request.url.params
    return (v1_base(base) if azure else base), azure or base == "/openai/v1"


def v1_base(base: str) -> str:
    """The base of Azure's v1 routes beside that of a client, which may name a deployment or be that base already."""
    without = _DEPLOYMENT.sub("", base)
    return without if without.endswith("/v1") else f"{without}/v1"


# --- answers


def _library(request: Any) -> Any:
    """The library that made the request, httpx or httpx2: it makes the response too."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def _response(request: Any, reply: Reply, body: Any, *, asynchronous: bool = False) -> Any:
    """A response that is still to be read, as any is that was sent for with `stream=True`."""
    library = _library(request)
    headers = dict(reply.headers)
    if body is None:
        # As `content` the body would be read and closed already, which `with_streaming_response` shows to its caller.
        stream = library.ByteStream(reply.body)
        headers["content-length"] = str(len(reply.body))
    else:
        stream = (_async_stream if asynchronous else _sync_stream)(library)(body)
    response = library.Response(reply.status, headers=headers, request=request, stream=stream)
    response.elapsed = timedelta(0)  # instrumentation reads it, and it raises where nobody set it
    return response


@cache
def _sync_stream(library: Any) -> Any:
    class Stream(library.SyncByteStream):  # type: ignore[misc]  # the library is known at run time only
        def __init__(self, body: Any) -> None:
            self._body = body

        def __iter__(self) -> Iterator[bytes]:
            # Always the same one: some SDKs read on after `[DONE]`, and must not start again.
            return cast("Iterator[bytes]", self._body)

        def close(self) -> None:
            self._body.close()

    return Stream


@cache
def _async_stream(library: Any) -> Any:
    class Stream(library.AsyncByteStream):  # type: ignore[misc]  # the library is known at run time only
        def __init__(self, body: Any) -> None:
            self._body = body

        def __aiter__(self) -> AsyncIterator[bytes]:
            return cast("AsyncIterator[bytes]", self._body)

        async def aclose(self) -> None:
            await self._body.aclose()

    return Stream


# --- siblings


class _Siblings:
    """Makes upstream requests from the legacy request that is being answered."""

    def __init__(self, inner: Any, passage: Passage, options: Mapping[str, Any]) -> None:
        self.inner, self.request, self.base = inner, passage.request, passage.base
        self.legacy_base = passage.legacy_base
        self.version = (("api-version", passage.version),) if passage.version else ()
        self.library = _library(self.request)
        self.options = options

    @property
    def name(self) -> str:
        """The origin and base of this upstream."""
        url = self.request.url
        return f"{url.scheme}://{url.netloc.decode('ascii')}{self.base}"

    def sibling(self, wanted: Request, form: _Form | None = None, content: Any = None) -> Any:
        """The upstream request: same origin and credentials, another path; `content` are the bytes of its form."""
        legacy = self.request
        kept = [(key, value) for key, value in legacy.url.params.multi_items() if not _LEGACY_QUERY.match(key)]
        headers = [(key, value) for key, value in legacy.headers.multi_items() if key.lower() not in _DROPPED]
        if form is not None:
            headers += form.headers
        elif wanted.json is not None:
            content = json.dumps(wanted.json).encode("ascii")
            headers.append(("Content-Type", "application/json"))
        headers.append(("Accept", wanted.accept))
        base, version = self.base, self.version
        if wanted.legacy:
            headers.append(("OpenAI-Beta", legacy.headers.get("openai-beta", "assistants=v2")))
            base = self.legacy_base
            version = tuple(item for item in legacy.url.params.multi_items() if item[0] == "api-version")
        # Not by the client's `build_request`: its defaults are in the legacy request already, but for what was dropped.
        headers += [(name, self.inner.headers[name]) for name in _OF_CLIENT if name in self.inner.headers]
        return self.library.Request(
            wanted.method,
            legacy.url.copy_with(raw_path=f"{base}{wanted.path}".encode("ascii")),
            params=[*kept, *version, *wanted.query] or None,
            headers=headers,
            cookies=self.inner.cookies,
            content=content,
            extensions=dict(legacy.extensions),
        )


class _Form:
    """A form with one file, as `multipart/form-data`: its length is known, and its bytes are read as they are sent."""

    def __init__(self, upload: Upload) -> None:
        boundary = secrets.token_hex(16)
        # The escapes that HTML prescribes for a name; what cannot be said as UTF-8 is a question mark.
        name = upload.filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode("utf-8", "replace")
        self._upload = upload
        fields = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in upload.fields
        )
        self._head = fields.encode() + (
            b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n' % (boundary.encode(), name)
            + b"Content-Type: application/octet-stream\r\n\r\n"
        )
        self._tail = b"\r\n--%b--\r\n" % boundary.encode()
        # With its length the body is not sent in chunks, which not every gateway takes.
        self.headers = [
            ("Content-Type", f"multipart/form-data; boundary={boundary}"),
            ("Content-Length", str(len(self._head) + upload.size + len(self._tail))),
        ]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The whole body."""
        yield self._head
        async for chunk in self._upload.chunks:
            yield chunk
        yield self._tail


class _Arriving:
    """An upstream answer whose bytes are still to come."""

    def __init__(self, response: Any, library: Any) -> None:
        self.response, self.library = response, library
        self.status: int = response.status_code
        self.headers = _lower(response.headers)


class _SyncArriving(_Arriving):
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes."""
        try:
            for chunk in self.response.iter_bytes():
                yield chunk
        except (self.library.RequestError, self.library.StreamError) as error:
            raise UnreachableError(error) from error
        except Exception as error:
            raise ForeignError(error) from error

    async def aclose(self) -> None:
        """Close the connection."""
        self.response.close()


class _AsyncArriving(_Arriving):
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes."""
        try:
            async for chunk in self.response.aiter_bytes():
                yield chunk
        except (self.library.RequestError, self.library.StreamError) as error:
            raise UnreachableError(error) from error
        except Exception as error:
            raise ForeignError(error) from error

    async def aclose(self) -> None:
        """Close the connection."""
        await self.response.aclose()


class SyncUpstream(_Siblings):
    """Sends through a synchronous client; the methods are `async` and never suspend."""

    async def send(self, request: Request) -> Answer:
        """Send and read the whole answer."""
        response = self._sent(request)
        return Answer(response.status_code, _lower(response.headers), response.content)

    async def open(self, request: Request) -> _SyncArriving:
        """Send and leave the body to be read."""
        return _SyncArriving(self._sent(request, stream=True), self.library)

    def _sent(self, request: Request, *, stream: bool = False) -> Any:
        form = None if request.upload is None else _Form(request.upload)
        try:
            if form is None:
                return redirects.send(self.inner, self.sibling(request), self.options, stream=stream)
            with closing(iterate(form.chunks())) as content:
                sibling = self.sibling(request, form, content)
                return redirects.send(self.inner, sibling, self.options, stream=stream)
        except Exception as error:
            raise UnreachableError(error) from error


class AsyncUpstream(_Siblings):
    """Sends through an asynchronous client."""

    async def send(self, request: Request) -> Answer:
        """Send and read the whole answer."""
        response = await self._sent(request)
        return Answer(response.status_code, _lower(response.headers), response.content)

    async def open(self, request: Request) -> _AsyncArriving:
        """Send and leave the body to be read."""
        return _AsyncArriving(await self._sent(request, stream=True), self.library)

    async def _sent(self, request: Request, *, stream: bool = False) -> Any:
        form = None if request.upload is None else _Form(request.upload)
        try:
            if form is None:
                return await redirects.send_async(self.inner, self.sibling(request), self.options, stream=stream)
            async with aclosing(form.chunks()) as content:
                sibling = self.sibling(request, form, content)
                return await redirects.send_async(self.inner, sibling, self.options, stream=stream)
        except Exception as error:
            raise UnreachableError(error) from error


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}
