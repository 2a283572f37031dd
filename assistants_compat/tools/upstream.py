"""Sends the library's own requests through the caller's SDK client.

Credentials, retries and timeouts are therefore the client's own, legacy routes are answered by its proxy, and one
`async def` serves both kinds of client. Unlike the upstream of a client proxy, this one raises the SDK's exceptions for
a status of 400 or more.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import closing
from typing import Any, BinaryIO, TypeVar, cast

import openai
from openai.lib.azure import BaseAzureClient

from ..doors.sdk_internals import api_version_of, omitted_param
from ..doors.wrap import is_wrapped, resolve_client, settings_of
from ..engine.io import IO, AsyncIO, BlockingIO, BufferedResponse, Request, Upload, run
from ..errors import ApiError, CompatError, UnreachableError
from ..runtime.overrides import own_request
from ..runtime.workers import raise_pending_cancellation
from ..settings import Settings
from ..wire import azure_endpoints
from ..wire.objects import Json, as_object_list

T = TypeVar("T")

# `with_streaming_response` sets this header. Setting it here works for any path and with every SDK version.
_STREAMED_RESPONSE_HEADER = {"X-Stainless-Raw-Response": "stream"}
_ASSISTANTS_HEADER = {"OpenAI-Beta": "assistants=v2"}
_LEGACY_PATHS = ("/threads", "/assistants")
_V1_PATHS = ("/containers", "/conversations", "/models", "/responses")
_SPOOL_MEMORY_BYTES = 1024 * 1024  # a larger upload is spooled to disk

REQUEST_ERRORS = (openai.OpenAIError, CompatError, ApiError, UnreachableError)
"""The exceptions that a request through these upstreams raises."""


def describe_error(error: Exception) -> str:
    """Return one line about a request error: the service's own message if it sent one."""
    if isinstance(error, UnreachableError):
        original = error.original
        return str(original) if isinstance(original, CompatError) else f"the connection was lost ({error})"
    body: Any = getattr(error, "body", None)
    service_message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(service_message or error).split()) or type(error).__name__


def run_with_client(
    client: openai.OpenAI | openai.AsyncOpenAI, work: Callable[[IO], Coroutine[Any, Any, T]], *, wrapped: bool = True
) -> T | Coroutine[Any, Any, T]:
    """Run `work` over the client and return its result, or a coroutine for an asynchronous client.

    `client` is what `wrap` takes. With `wrapped`, raises `TypeError` for a client that is not wrapped; otherwise such a
    client works with default settings.
    """
    sdk_client: Any = resolve_client(client)
    if not isinstance(sdk_client, (openai.OpenAI, openai.AsyncOpenAI)):
        message = f"Expected an OpenAI or AsyncOpenAI client, not {type(sdk_client).__name__}."
        raise TypeError(message)
    settings = settings_of(sdk_client) if wrapped or is_wrapped(sdk_client) else Settings()
    if isinstance(sdk_client, openai.OpenAI):
        upstream = _SyncSdkUpstream(sdk_client, settings.azure_api_version)
        return run(work(BlockingIO(settings, upstream)))
    async_upstream = _AsyncSdkUpstream(sdk_client, settings.azure_api_version)
    return _run_async(work, AsyncIO(settings, async_upstream))


async def _run_async(work: Callable[[IO], Coroutine[Any, Any, T]], io: IO) -> T:
    result = await work(io)
    await raise_pending_cancellation()
    return result


async def list_all(io: IO, path: str, *query: tuple[str, str]) -> list[Json]:
    """Return every entry of a paginated list, oldest first."""
    entries: list[Json] = []
    after = ""
    while True:
        page_query = (("limit", "100"), ("order", "asc"), *query, *((("after", after),) if after else ()))
        page = await io.ask(Request("GET", path, query=page_query))
        entries += (data := as_object_list(page.get("data")))
        last = str(data[-1].get("id")) if data else after
        # A server that repeats a page although it claims to have more must not cause an endless loop.
        if not page.get("has_more") or last == after:
            return entries
        after = last


class _SdkStreamedResponse:
    """A response whose body has not been read yet."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = {key.lower(): value for key, value in response.headers.items()}


class _SyncStreamedResponse(_SdkStreamedResponse):
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body; raise `UnreachableError` if it breaks off."""
        try:
            for chunk in self.response.iter_bytes():
                yield chunk
        except Exception as error:
            raise UnreachableError(error) from error

    async def aclose(self) -> None:
        """Close the connection."""
        self.response.close()


class _AsyncStreamedResponse(_SdkStreamedResponse):
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body; raise `UnreachableError` if it breaks off."""
        try:
            async for chunk in self.response.iter_bytes():
                yield chunk
        except Exception as error:
            raise UnreachableError(error) from error

    async def aclose(self) -> None:
        """Close the connection."""
        await self.response.close()


class _SdkUpstream:
    """Sends an `engine.io.Request` with the methods of an SDK client."""

    def __init__(self, client: Any, azure_api_version: str | None) -> None:
        self.client, self.azure_api_version = client, azure_api_version

    @property
    def name(self) -> str:
        """The base URL of the Responses API, which is also the name that the client proxy uses for it."""
        return self._v1[0]

    @property
    def credential(self) -> str:
        """The client's key, as its requests carry it."""
        return str(self.client.api_key or "")

    @property
    def _v1(self) -> tuple[str, bool]:
        """The base URL of the Responses API, and whether it is one of Azure's."""
        url = self.client.base_url
        path, is_azure = url.path.rstrip("/"), isinstance(self.client, BaseAzureClient)
        if is_azure:
            path = azure_endpoints.intended_base(path, url.host)
        has_version = api_version_of(self.client) is not None
        path, is_v1 = azure_endpoints.v1_base_of(path, azure=is_azure, has_version=has_version)
        return f"{url.scheme}://{url.netloc.decode('ascii')}{path}", is_v1

    def _send(self, request: Request, file: BinaryIO | None = None) -> Any:
        is_legacy = request.path.startswith(_LEGACY_PATHS)
        headers: dict[str, Any] = {"Accept": request.accept, **_STREAMED_RESPONSE_HEADER}
        if is_legacy:
            headers.update(_ASSISTANTS_HEADER)
        path, query = request.path, _sdk_query(request.query)
        v1_base, is_azure = self._v1
        if is_azure and (path.startswith(_V1_PATHS) or (request.method != "GET" and not is_legacy)):
            # Azure has these routes below /openai/v1 only. With a dated api-version they are reported to answer 404
            # (platform.md section 11).
            path = f"{v1_base}{path}"
            version = azure_endpoints.kept_version(self.azure_api_version, api_version_of(self.client))
            query["api-version"] = version or omitted_param()
        options: dict[str, Any] = {"headers": headers, "params": query}
        if request.method == "GET":
            return self.client.get(path, cast_to=object, options=options)
        if request.method == "DELETE":
            return self.client.delete(path, cast_to=object, options=options)
        if request.upload is None:
            # If the answer to a POST is lost, a retry would create the object a second time.
            options["max_retries"] = 0
            return self.client.post(path, cast_to=object, body=request.json, options=options)
        # The SDK builds the multipart body, and its boundary, only if this header is set.
        headers["Content-Type"] = "multipart/form-data"
        file_part = (request.upload.filename, file, "application/octet-stream")
        fields = dict(request.upload.fields)
        return self.client.post(path, cast_to=object, body=fields, files=[("file", file_part)], options=options)


def _sdk_query(query: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return query parameters in the SDK's form: repeated `include[]` pairs become one list without brackets."""
    grouped: dict[str, Any] = {}
    for key, value in query:
        if key.endswith("[]"):
            grouped.setdefault(key[:-2], []).append(value)
        else:
            grouped[key] = value
    return grouped


async def _spool_upload(upload: Upload | None) -> BinaryIO | None:
    """Copy an upload to a temporary file, which the SDK can read again for a retry; None without an upload."""
    if upload is None:
        return None
    file = cast("BinaryIO", tempfile.SpooledTemporaryFile(_SPOOL_MEMORY_BYTES))  # noqa: SIM115 - `send` closes it
    async for chunk in upload.chunks:
        file.write(chunk)
    file.seek(0)
    return file


class _SyncSdkUpstream(_SdkUpstream):
    async def send(self, request: Request) -> BufferedResponse:
        """Send a request and read the whole response."""
        file = await _spool_upload(request.upload)
        with (
            contextlib.nullcontext() if file is None else closing(file),
            own_request(),
            closing(self._send(request, file)) as response,
        ):
            try:
                return BufferedResponse(response.status_code, {}, response.read())
            except Exception as error:
                raise openai.APIConnectionError(request=response.http_request) from error

    async def open(self, request: Request) -> _SyncStreamedResponse:
        """Send a request and leave the response body unread."""
        with own_request():
            return _SyncStreamedResponse(self._send(request))


class _AsyncSdkUpstream(_SdkUpstream):
    async def send(self, request: Request) -> BufferedResponse:
        """Send a request and read the whole response."""
        file = await _spool_upload(request.upload)
        with contextlib.nullcontext() if file is None else closing(file), own_request():
            response = await self._send(request, file)
            try:
                return BufferedResponse(response.status_code, {}, await response.read())
            except Exception as error:
                raise openai.APIConnectionError(request=response.http_request) from error
            finally:
                await response.close()

    async def open(self, request: Request) -> _AsyncStreamedResponse:
        """Send a request and leave the response body unread."""
        with own_request():
            return _AsyncStreamedResponse(await self._send(request))
