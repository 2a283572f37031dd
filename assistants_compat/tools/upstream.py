"""A client as the core's upstream: what stands beside it asks as the caller would, through the SDK.

So credentials, retries, timeouts and the doors keep their meaning, and one `async def` serves both kinds of client.
Unlike a door's upstream, this one raises the SDK's own exceptions for an answer of 400 and more.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import closing
from typing import Any, BinaryIO, TypeVar, cast

import openai
from openai.lib.azure import BaseAzureClient

from ..doors.sdk_internals import left_out
from ..doors.transport import v1_base
from ..doors.wrap import client_of, is_wrapped, refusing_background, settings_of
from ..engine.io import IO, Answer, AsyncIO, BlockingIO, Request, Upload, run
from ..errors import ApiError, CompatError, UnreachableError
from ..settings import Settings
from ..wire.objects import Json, objects

T = TypeVar("T")

# The SDK's own way to `with_streaming_response`, for any path, and with any SDK.
_UNREAD = {"X-Stainless-Raw-Response": "stream"}
_LEGACY = {"OpenAI-Beta": "assistants=v2"}
_LEGACY_PATHS = ("/threads", "/assistants")
_V1_PATHS = ("/containers", "/conversations", "/models")
_IN_MEMORY = 1024 * 1024  # bytes of an upload; more is on disk

TROUBLES = (openai.OpenAIError, CompatError, ApiError, UnreachableError)
"""What asking raises."""


def reason(trouble: Exception) -> str:
    """One of them in a line: the service's own words where it has some."""
    if isinstance(trouble, UnreachableError):
        original = trouble.original
        return str(original) if isinstance(original, CompatError) else f"the connection was lost ({trouble})"
    body: Any = getattr(trouble, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(said or trouble).split()) or type(trouble).__name__


def served(
    client: openai.OpenAI | openai.AsyncOpenAI, work: Callable[[IO], Coroutine[Any, Any, T]], *, wrapped: bool = True
) -> T | Coroutine[Any, Any, T]:
    """What `work` gives, or for an asynchronous client a coroutine that does; `client` as `wrap` takes it.

    Raises `TypeError` for a client that is not `wrapped`, where it has to be.
    """
    given: Any = client_of(client)
    if not isinstance(given, (openai.OpenAI, openai.AsyncOpenAI)):
        message = f"An OpenAI client or its asynchronous twin is needed, not {type(given).__name__}."
        raise TypeError(message)
    settings = settings_of(given) if wrapped or is_wrapped(given) else Settings()
    refusing = refusing_background(given)
    if isinstance(given, openai.OpenAI):
        return run(work(BlockingIO(settings, _Sync(given, settings.azure_api_version), refusing)))
    return work(AsyncIO(settings, _Async(given, settings.azure_api_version), refusing))


async def everything(io: IO, path: str, *query: tuple[str, str]) -> list[Json]:
    """Every entry of a list, oldest first."""
    entries: list[Json] = []
    after = ""
    while True:
        asked = (("limit", "100"), ("order", "asc"), *query, *((("after", after),) if after else ()))
        page = await io.ask(Request("GET", path, query=asked))
        entries += (data := objects(page.get("data")))
        last = str(data[-1].get("id")) if data else after
        if not page.get("has_more") or last == after:
            return entries
        after = last


class _Body:
    """An answer whose bytes are still to come."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = {key.lower(): value for key, value in response.headers.items()}


class _SyncBody(_Body):
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes."""
        try:
            for chunk in self.response.iter_bytes():
                yield chunk
        except Exception as error:
            raise UnreachableError(error) from error

    async def aclose(self) -> None:
        """Close the connection."""
        self.response.close()


class _AsyncBody(_Body):
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes."""
        try:
            async for chunk in self.response.iter_bytes():
                yield chunk
        except Exception as error:
            raise UnreachableError(error) from error

    async def aclose(self) -> None:
        """Close the connection."""
        await self.response.close()


class _Client:
    """Knows how a request is asked for by the SDK."""

    def __init__(self, client: Any, version: str | None) -> None:
        self.client, self.version = client, version

    @property
    def name(self) -> str:
        """The base of the Responses API, as the doors name it."""
        base = str(self.client.base_url).rstrip("/")
        return v1_base(base) if self._is_azure else base

    @property
    def _is_azure(self) -> bool:
        return isinstance(self.client, BaseAzureClient)

    def _sent(self, request: Request, file: BinaryIO | None = None) -> Any:
        legacy = request.path.startswith(_LEGACY_PATHS)
        headers: dict[str, Any] = {"Accept": request.accept, **_UNREAD, **(_LEGACY if legacy else {})}
        path, query = request.path, _grouped(request.query)
        if self._is_azure and (path.startswith(_V1_PATHS) or (request.method != "GET" and not legacy)):
            # There they are below /openai/v1 only: reported 404 with an api-version (platform.md section 11).
            path = f"{self.name}{path}"
            query["api-version"] = self.version or left_out()
        options: dict[str, Any] = {"headers": headers, "params": query}
        if request.method == "GET":
            return self.client.get(path, cast_to=object, options=options)
        if request.method == "DELETE":
            return self.client.delete(path, cast_to=object, options=options)
        if request.upload is None:
            # An answer that was lost would be asked for twice, and what it made be there twice.
            options["max_retries"] = 0
            return self.client.post(path, cast_to=object, body=request.json, options=options)
        headers["Content-Type"] = "multipart/form-data"
        sent = (request.upload.filename, file, "application/octet-stream")
        fields = dict(request.upload.fields)
        return self.client.post(path, cast_to=object, body=fields, files=[("file", sent)], options=options)


def _grouped(query: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The parameters as the SDK takes them: those of a list (`include[]`) together, without their brackets."""
    grouped: dict[str, Any] = {}
    for key, value in query:
        if key.endswith("[]"):
            grouped.setdefault(key[:-2], []).append(value)
        else:
            grouped[key] = value
    return grouped


async def _spooled(upload: Upload | None) -> BinaryIO | None:
    """The bytes of an upload where the SDK can read them, more than once; None without one."""
    if upload is None:
        return None
    file = cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - whoever sends it closes it
    async for chunk in upload.chunks:
        file.write(chunk)
    file.seek(0)
    return file


class _Sync(_Client):
    async def send(self, request: Request) -> Answer:
        """Ask, and read the whole answer."""
        file = await _spooled(request.upload)
        with (
            contextlib.nullcontext() if file is None else closing(file),
            closing(self._sent(request, file)) as response,
        ):
            try:
                return Answer(response.status_code, {}, response.read())
            except Exception as error:
                raise openai.APIConnectionError(request=response.http_request) from error

    async def open(self, request: Request) -> _SyncBody:
        """Ask, and leave the body to be read."""
        return _SyncBody(self._sent(request))


class _Async(_Client):
    async def send(self, request: Request) -> Answer:
        """Ask, and read the whole answer."""
        file = await _spooled(request.upload)
        with contextlib.nullcontext() if file is None else closing(file):
            response = await self._sent(request, file)
            try:
                return Answer(response.status_code, {}, await response.read())
            except Exception as error:
                raise openai.APIConnectionError(request=response.http_request) from error
            finally:
                await response.close()

    async def open(self, request: Request) -> _AsyncBody:
        """Ask, and leave the body to be read."""
        return _AsyncBody(await self._sent(request))
