"""Turns HTTP requests into calls of `api.app`, its replies into HTTP responses, and sends upstream requests.

Each upstream request is derived from the legacy request that is being answered. It has the same origin, credentials,
organisation, project, extra headers and timeout, and the same HTTP client sends it (docs/architecture.md). So a key
never goes to a host that the caller did not send it to, and the caller's proxies, gateways and recordings keep working.

What that client raises, a lost connection or an error in a hook of the caller's, reaches the SDK unchanged.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Literal, cast

from ..api import app
from ..engine.io import AsyncIO, BlockingIO, BufferedResponse, Request, Upload, iterate, run
from ..errors import CallerCodeError, UnreachableError
from ..runtime import clock, logs
from ..runtime.overrides import own_request
from ..runtime.workers import raise_pending_cancellation
from ..settings import LegacyCall, Settings
from ..wire import azure_endpoints
from ..wire.exchange import REQUEST_HEADERS, Call, Reply
from . import call_report, redirects
from .stream_readers import async_stream_body, sync_stream_body

# Headers of the legacy request that an upstream request does not copy.
_DROPPED_HEADERS = frozenset(
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
_CLIENT_HEADERS = ("host", "cookie")  # taken from the HTTP client's own headers instead, which a gateway may need
# Query parameters of the old API. Any other belongs to a gateway and is kept.
_LEGACY_QUERY_PARAMS = re.compile(r"(?:after|before|include(?:\[\])?|limit|order|run_id|api-version)\Z")


@dataclass(frozen=True)
class LegacyRequest:
    """A legacy request that is answered here, with everything that answering it needs."""

    match: app.RouteMatch
    call: Call
    request: Any  # httpx.Request or httpx2.Request
    responses_base: str  # path of the upstream's Responses API
    legacy_base: str  # path of the old API, as the client sent it
    api_version: str | None  # the query parameter `api-version` of upstream requests, for Azure
    settings: Settings

    def answer(self, http_client: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
        """Return the response, made by the client's HTTP library; None if the upstream must answer the request.

        `http_client` is the client inside the proxy. `options` and `stream` are what the SDK passed to its `send`.
        """
        upstream = SyncUpstream(http_client, self, options)
        io = BlockingIO(self.settings, upstream)
        try:
            reply = run(app.answer(self.match, self.call, io))
        except UnreachableError as error:
            # The caller sees the HTTP library's own exception, with its own cause, as without this package.
            raise error.original from error.original.__cause__
        self._report(reply)
        if reply is None:
            return None
        body: Any = None
        if reply.chunks is not None:
            run_id = reply.run_id
            if run_id is None:
                body = iterate(reply.chunks)
            else:
                body = sync_stream_body(reply.chunks, lambda: io.renew_lease(run_id), http_client)
        response = _http_response(self.request, reply, body)
        if not stream:
            response.read()
        return response

    def _report(self, reply: Reply | None) -> None:
        """Report the call if the settings ask for it; a call of the Files API counts only if it was answered here."""
        report = self.settings.report
        if report is not None and (reply is not None or self.match.is_assistants_api):
            answered: Literal["here", "upstream"] = "upstream" if reply is None else "here"
            call_report.count_call(report, LegacyCall(self.call.method, self.match.route, answered))

    def note_passed_on(self, http_client: Any, options: Mapping[str, Any], status: int) -> None:
        """Learn from the status that the upstream has given to this request, which was not answered here."""
        io = BlockingIO(self.settings, SyncUpstream(http_client, self, options))
        app.note_passed_on(self.match, self.call, io, status)

    async def answer_async(self, http_client: Any, options: Mapping[str, Any], *, stream: bool) -> Any:
        """Return the response of an async client, as `answer` does for a sync one."""
        upstream = AsyncUpstream(http_client, self, options)
        io = AsyncIO(self.settings, upstream)
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
            body = async_stream_body(reply.chunks, lambda: io.renew_lease(run_id), http_client)
        response = _http_response(self.request, reply, body, asynchronous=True)
        if not stream:
            await response.aread()
        await raise_pending_cancellation()
        return response


def legacy_request_from_http(
    request: Any, base: str, route: str, settings: Settings, *, azure: bool
) -> LegacyRequest | None:
    """Return the HTTP request as a `LegacyRequest`; None if the old API had no such route.

    `base` and `route` are the two parts of its path.
    """
    matched = app.match_route(request.method, route)
    if matched is None:
        return None
    clock.current().on_legacy_request(request.method, route)
    headers = {name: request.headers[name] for name in REQUEST_HEADERS if name in request.headers}
    query = tuple(request.url.params.multi_items())
    call = Call(request.method, matched.path_params, query, request.content, headers)
    sent_version = request.url.params.get("api-version")
    host = request.url.host
    intended = azure_endpoints.intended_base(base, host) if azure else base
    responses_base, is_v1 = azure_endpoints.v1_base_of(intended, azure=azure, has_version=sent_version is not None)
    api_version = azure_endpoints.kept_version(settings.azure_api_version, sent_version) if is_v1 else None
    legacy_base = azure_endpoints.served_base(base, host, sent_version) if azure else base
    return LegacyRequest(matched, call, request, responses_base, legacy_base, api_version, settings)


# --- responses


def _http_library_of(request: Any) -> Any:
    """Return the library that made the request, httpx or httpx2; the response must come from the same one."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def _http_response(request: Any, reply: Reply, body: Any, *, asynchronous: bool = False) -> Any:
    """Return an unread response, as the library itself returns one for `stream=True`."""
    library = _http_library_of(request)
    headers = dict(reply.headers)
    if body is None:
        # Passed as `content`, the body would count as read and closed, which `with_streaming_response` exposes.
        stream = library.ByteStream(reply.body)
        headers["content-length"] = str(len(reply.body))
    else:
        stream = (_async_stream if asynchronous else _sync_stream)(library)(body)
    response = library.Response(reply.status, headers=headers, request=request, stream=stream)
    response.elapsed = timedelta(0)  # instrumentation reads it, and an unset one raises
    return response


@cache
def _sync_stream(library: Any) -> Any:
    class Stream(library.SyncByteStream):  # type: ignore[misc]  # the library is known at run time only
        def __init__(self, body: Any) -> None:
            self._body = body

        def __iter__(self) -> Iterator[bytes]:
            # Always the same iterator: some SDK versions iterate again after `[DONE]` and must not start over.
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


# --- upstream requests


class _RequestBuilder:
    """Builds upstream requests from the legacy request that is being answered."""

    def __init__(self, http_client: Any, legacy_request: LegacyRequest, options: Mapping[str, Any]) -> None:
        self.http_client, self.request, self.base = http_client, legacy_request.request, legacy_request.responses_base
        self.legacy_base = legacy_request.legacy_base
        self.version_params: tuple[tuple[str, str], ...]
        self.version_params = (("api-version", legacy_request.api_version),) if legacy_request.api_version else ()
        self.library = _http_library_of(self.request)
        self.options = options

    @property
    def name(self) -> str:
        """The URL of this upstream's Responses API, which identifies the upstream, whatever form its endpoint has."""
        url = self.request.url
        return f"{url.scheme}://{url.netloc.decode('ascii')}{self.base}"

    @property
    def credential(self) -> str:
        """The credential of the legacy request, which upstream requests carry too."""
        headers = self.request.headers
        return str(headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer "))

    def build_request(self, upstream_request: Request, form: _MultipartForm | None = None, content: Any = None) -> Any:
        """Return the HTTP request: same origin and credentials, another path.

        `content` yields the encoded bytes of `form`.
        """
        legacy = self.request
        legacy_params = legacy.url.params.multi_items()
        kept_params = [(key, value) for key, value in legacy_params if not _LEGACY_QUERY_PARAMS.match(key)]
        headers = [(key, value) for key, value in legacy.headers.multi_items() if key.lower() not in _DROPPED_HEADERS]
        if form is not None:
            headers += form.headers
        elif upstream_request.json is not None:
            content = json.dumps(upstream_request.json).encode("ascii")
            headers.append(("Content-Type", "application/json"))
        headers.append(("Accept", upstream_request.accept))
        base, version_params = self.base, self.version_params
        if upstream_request.legacy:
            headers.append(("OpenAI-Beta", legacy.headers.get("openai-beta", "assistants=v2")))
            base = self.legacy_base
            version_params = tuple(
                (name, value)
                for name, value in legacy_params
                if name == "api-version" and azure_endpoints.takes_version(base, value)
            )
        # Not made by the client's `build_request`: the legacy request has the client's defaults already. Only those
        # that were dropped above are added again.
        defaults = self.http_client.headers
        headers += [(name, defaults[name]) for name in _CLIENT_HEADERS if name in defaults]
        return self.library.Request(
            upstream_request.method,
            legacy.url.copy_with(raw_path=f"{base}{upstream_request.path}".encode("ascii")),
            params=[*kept_params, *version_params, *upstream_request.query] or None,
            headers=headers,
            cookies=self.http_client.cookies,
            content=content,
            extensions=_extensions(legacy.extensions, upstream_request.pool_seconds),
        )


def _extensions(legacy: Mapping[str, Any], pool_seconds: float | None) -> dict[str, Any]:
    """Return the extensions of an upstream request: the legacy request's, with at most this wait for a connection."""
    timeouts = legacy.get("timeout")
    if pool_seconds is None or not isinstance(timeouts, Mapping):
        return dict(legacy)
    given = timeouts.get("pool")
    return {**legacy, "timeout": {**timeouts, "pool": pool_seconds if given is None else min(given, pool_seconds)}}


class _MultipartForm:
    """A `multipart/form-data` body with one file; its length is known, and the file is read while it is sent."""

    def __init__(self, upload: Upload) -> None:
        boundary = secrets.token_hex(16)
        # The escapes that the HTML standard prescribes for a file name; a lone surrogate becomes a question mark.
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
        # Without a length the library would use chunked encoding, which some gateways refuse.
        self.headers = [
            ("Content-Type", f"multipart/form-data; boundary={boundary}"),
            ("Content-Length", str(len(self._head) + upload.size + len(self._tail))),
        ]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the body."""
        yield self._head
        async for chunk in self._upload.chunks:
            yield chunk
        yield self._tail


class _StreamedResponse:
    """An upstream response whose body has not been read."""

    def __init__(self, response: Any, library: Any) -> None:
        self.response, self.library = response, library
        self.status: int = response.status_code
        self.headers = _lowercase_names(response.headers)


class _SyncStreamedResponse(_StreamedResponse):
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the body."""
        try:
            for chunk in self.response.iter_bytes():
                yield chunk
        except (self.library.RequestError, self.library.StreamError) as error:
            raise UnreachableError(error) from error
        except Exception as error:
            raise CallerCodeError(error) from error

    async def aclose(self) -> None:
        """Close the response and with it the connection."""
        self.response.close()


class _AsyncStreamedResponse(_StreamedResponse):
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the body."""
        try:
            async for chunk in self.response.aiter_bytes():
                yield chunk
        except (self.library.RequestError, self.library.StreamError) as error:
            raise UnreachableError(error) from error
        except Exception as error:
            raise CallerCodeError(error) from error

    async def aclose(self) -> None:
        """Close the response and with it the connection."""
        await self.response.aclose()


class _RequestLog:
    """Logs one upstream request (DEBUG): method, path, status or kind of failure, and milliseconds."""

    def __init__(self, request: Request) -> None:
        self.request, self.response = request, None
        self.started_at = time.monotonic()

    def __enter__(self) -> _RequestLog:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if logs.requests.isEnabledFor(logging.DEBUG):
            outcome = type(error.__cause__ or error).__name__ if error else getattr(self.response, "status_code", None)
            milliseconds = round((time.monotonic() - self.started_at) * 1000)
            path = logs.loggable_path(self.request.path)
            logs.requests.debug("%s %s -> %s in %s ms", self.request.method, path, outcome, milliseconds)


class SyncUpstream(_RequestBuilder):
    """Sends upstream requests with a sync HTTP client; its methods are `async` but never suspend."""

    async def send(self, request: Request) -> BufferedResponse:
        """Send a request and read the whole response."""
        response = self._send(request)
        return BufferedResponse(response.status_code, _lowercase_names(response.headers), response.content)

    async def open(self, request: Request) -> _SyncStreamedResponse:
        """Send a request and return the response unread."""
        return _SyncStreamedResponse(self._send(request, stream=True), self.library)

    def _send(self, request: Request, *, stream: bool = False) -> Any:
        with _RequestLog(request) as log_line, own_request():
            log_line.response = response = self._send_unlogged(request, stream=stream)
        return response

    def _send_unlogged(self, request: Request, *, stream: bool) -> Any:
        form = None if request.upload is None else _MultipartForm(request.upload)
        try:
            if form is None:
                return redirects.send(self.http_client, self.build_request(request), self.options, stream=stream)
            with closing(iterate(form.chunks())) as content:
                http_request = self.build_request(request, form, content)
                return redirects.send(self.http_client, http_request, self.options, stream=stream)
        except Exception as error:
            raise UnreachableError(error) from error


class AsyncUpstream(_RequestBuilder):
    """Sends upstream requests with an async HTTP client."""

    async def send(self, request: Request) -> BufferedResponse:
        """Send a request and read the whole response."""
        response = await self._send(request)
        return BufferedResponse(response.status_code, _lowercase_names(response.headers), response.content)

    async def open(self, request: Request) -> _AsyncStreamedResponse:
        """Send a request and return the response unread."""
        return _AsyncStreamedResponse(await self._send(request, stream=True), self.library)

    async def _send(self, request: Request, *, stream: bool = False) -> Any:
        with _RequestLog(request) as log_line, own_request():
            log_line.response = response = await self._send_unlogged(request, stream=stream)
        return response

    async def _send_unlogged(self, request: Request, *, stream: bool) -> Any:
        form = None if request.upload is None else _MultipartForm(request.upload)
        try:
            if form is None:
                return await redirects.send_async(
                    self.http_client, self.build_request(request), self.options, stream=stream
                )
            async with aclosing(form.chunks()) as content:
                http_request = self.build_request(request, form, content)
                return await redirects.send_async(self.http_client, http_request, self.options, stream=stream)
        except Exception as error:
            raise UnreachableError(error) from error


def _lowercase_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}
