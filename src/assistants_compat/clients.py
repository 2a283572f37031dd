"""A client as the core's upstream: what stands beside it asks as the caller would, through the SDK.

So credentials, retries, timeouts and the doors keep their meaning, and one `async def` serves both kinds of client.
Unlike a door's upstream, this one raises the SDK's own exceptions for an answer of 400 and more.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import openai
from openai.lib.azure import BaseAzureClient

from .errors import ApiError, CompatError, UnreachableError
from .intercept import is_wrapped, settings_of
from .io import IO, Answer, AsyncIO, BlockingIO, Request, run
from .sdk import left_out
from .settings import Settings
from .transport import v1_base

T = TypeVar("T")

# The SDK's own way to `with_streaming_response`, for any path, and with any SDK.
_UNREAD = {"X-Stainless-Raw-Response": "stream"}
_LEGACY = {"OpenAI-Beta": "assistants=v2"}
_LEGACY_PATHS = ("/threads", "/assistants")

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
    """What `work` gives, or for an asynchronous client a coroutine that does.

    Raises `TypeError` for a client that is not `wrapped`, where it has to be.
    """
    given: Any = client
    if not isinstance(given, (openai.OpenAI, openai.AsyncOpenAI)):
        message = f"An OpenAI client or its asynchronous twin is needed, not {type(client).__name__}."
        raise TypeError(message)
    settings = settings_of(client) if wrapped or is_wrapped(client) else Settings()
    if isinstance(client, openai.OpenAI):
        return run(work(BlockingIO(settings, _Sync(client, settings.azure_api_version), set())))
    return work(AsyncIO(settings, _Async(client, settings.azure_api_version), set()))


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
        """The base of the API."""
        return str(self.client.base_url)

    def _get(self, request: Request) -> Any:
        legacy = request.path.startswith(_LEGACY_PATHS)
        headers = {"Accept": request.accept, **_UNREAD, **(_LEGACY if legacy else {})}
        path, query = request.path, dict(request.query)
        if isinstance(self.client, BaseAzureClient) and path.startswith("/containers/"):
            # There they are below /openai/v1 only: reported 404 with an api-version (platform.md section 11).
            path = f"{v1_base(self.name.rstrip('/'))}{path}"
            query["api-version"] = self.version or left_out()
        return self.client.get(path, cast_to=object, options={"headers": headers, "params": query})


class _Sync(_Client):
    async def send(self, request: Request) -> Answer:
        """Ask, and read the whole answer."""
        response = self._get(request)
        try:
            return Answer(response.status_code, {}, response.read())
        finally:
            response.close()

    async def open(self, request: Request) -> _SyncBody:
        """Ask, and leave the body to be read."""
        return _SyncBody(self._get(request))


class _Async(_Client):
    async def send(self, request: Request) -> Answer:
        """Ask, and read the whole answer."""
        response = await self._get(request)
        try:
            return Answer(response.status_code, {}, await response.read())
        finally:
            await response.close()

    async def open(self, request: Request) -> _AsyncBody:
        """Ask, and leave the body to be read."""
        return _AsyncBody(await self._get(request))
