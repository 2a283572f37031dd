"""`wrap`: replaces an OpenAI client's HTTP client, `client._client`, with a transparent proxy.

Every call of the SDK, in every version, ends in `self._client.send(request, ...)`. The proxy answers the requests that
the service no longer answers and passes every other one on, untouched. `install.py` does the same for every client of
the process. This module decides which requests to answer; the first of them loads `transport`, and with it SQLAlchemy.
"""

from __future__ import annotations

import copy
import logging
import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

import openai
import wrapt
from openai.lib.azure import BaseAzureClient

from ..runtime import clock, logs, overrides
from ..runtime.switch import is_off
from ..settings import Settings
from ..wire import azure_endpoints
from . import redirects, sdk_internals

if TYPE_CHECKING:
    from .transport import LegacyRequest

log = logging.getLogger("assistants_compat")

Client = TypeVar("Client", bound="openai.OpenAI | openai.AsyncOpenAI")

# The slash before `.+` excludes a resource whose name only begins alike.
_ASSISTANTS_PATH = re.compile(r"/(?:assistants|threads)(?:/.+)?\Z")
# Greedy, so that the route starts at the last match: a base may itself contain /threads.
_ASSISTANTS_PATH_UNDER_BASE = re.compile(rf"(?P<base>.*)(?P<route>{_ASSISTANTS_PATH.pattern})")
# Only the routes of one file that exists already: an upload (`POST /files`) always goes upstream.
_FILE_PATH = re.compile(r"/files/(?P<id>[^/]+)(?:/content)?\Z")
_FILES_ROUTE = "/files"
_ONE_FILE_ROUTE = re.compile(rf"{_FILES_ROUTE}/[^/]+\Z")
# Only requests whose body may name a generated file: one that creates a store, or adds a file or a batch to it. A store
# itself, its search, and a batch that exists (`/file_batches/{id}`) name none.
_VECTOR_STORES_PATH = re.compile(r"/vector_stores(?:/[^/]+/(?:files|file_batches))?\Z")
# Here the path names the file, so the upstream must get its copy's id instead.
_VECTOR_STORE_FILE_PATH = re.compile(r"/vector_stores/[^/]+/files/(?P<id>[^/]+)(?:/content)?\Z")
# Below these, `/files/{id}` is a resource of the upstream, never one of our store. `environments` belong to the beta
# Agents API of openai 3.
_PARENT_WITH_OWN_FILES = re.compile(r"/(?:vector_stores|containers|environments)/[^/]+\Z")


def wrap(client: Client, settings: Settings | None = None) -> Client:
    """Answer a client's Assistants calls over the Responses API; returns the same client.

    `client` is an `OpenAI`, `AsyncOpenAI`, `AzureOpenAI` or `AsyncAzureOpenAI`, or an instance of a subclass. It is
    changed in place and keeps its type. Pass the `openai` module itself to wrap its module-level client. Copies made by
    `with_options` and `copy` are wrapped too; wrap a copy with another `http_client` again. A second call with the same
    settings, or without any, does nothing; with other settings it replaces the first ones. Under
    `ASSISTANTS_COMPAT=off` the client is returned unchanged.

    Raises `TypeError` for anything that is not an OpenAI client, `UnsupportedSdkError` if the installed SDK has no
    `beta.threads`, and `SettingsError` for an invalid setting.

    Example::

        client = assistants_compat.wrap(openai.OpenAI())
        thread = client.beta.threads.create()
    """
    sdk_client: Any = resolve_client(client)
    if not isinstance(sdk_client, (openai.OpenAI, openai.AsyncOpenAI)):
        type_name = type(sdk_client).__name__
        message = f"wrap() expects an OpenAI or AsyncOpenAI client, or the openai module, not {type_name}."
        raise TypeError(message)
    if is_off():
        return client
    logs.set_up_from_environment()
    # After the switch: `off` must leave the SDK's own classes unchanged too.
    patch_sdk()
    inner: Any = sdk_client._client  # noqa: SLF001 - the one place where every version keeps it
    if isinstance(inner, _ClientProxy):
        is_installed = isinstance(inner.request_router(), _InstalledRouter)
        if not is_installed and (settings is None or settings == inner.client_settings()):
            return client
        settings = settings or inner.client_settings()
        inner = inner.__wrapped__
    router = _make_router(sdk_client, settings or Settings())
    sdk_client._client = cast("Any", _make_proxy(sdk_client, inner, router))  # noqa: SLF001 - as above
    return client


def resolve_client(client: object) -> object:
    """Return the argument itself, or for the `openai` module its module-level client."""
    if client is openai:
        return cast("Any", openai)._load_client()  # noqa: SLF001 - it has no public name
    return client


def patch_sdk() -> None:
    """Patch the SDK's classes (see `sdk_internals.patch_classes`); the patches act on wrapped clients only."""
    sdk_internals.patch_classes(is_wrapped)


def _make_router(client: Any, settings: Settings, *, class_: type[RequestRouter] | None = None) -> RequestRouter:
    azure = isinstance(client, BaseAzureClient)
    if azure and settings.stream == "background":
        # Microsoft lists "performance issues when background mode is used with streaming" (platform.md section 5).
        log.warning("Settings(stream='background') is slow on Azure, according to Microsoft; 'direct' is the default.")
    return (class_ or RequestRouter)(settings, base=client.base_url.raw_path.decode("ascii"), azure=azure)


def _make_proxy(client: Any, inner: Any, router: RequestRouter) -> _ClientProxy:
    return (SyncClientProxy if isinstance(client, openai.OpenAI) else AsyncClientProxy)(inner, router)


def is_wrapped(client: object) -> bool:
    """Whether a client's requests pass through a proxy, of `wrap` or of `install`."""
    return isinstance(getattr(client, "_client", None), _ClientProxy)


def settings_of(client: object) -> Settings:
    """Return the settings in effect for a wrapped client; raises `TypeError` for an unwrapped one."""
    inner = getattr(client, "_client", None)
    if not isinstance(inner, _ClientProxy):
        hint = "ASSISTANTS_COMPAT=off leaves every client as it is." if is_off() else "Call wrap() on the client first."
        message = f"Expected a client that went through wrap(), not an unwrapped {type(client).__name__}. {hint}"
        raise TypeError(message)
    settings = inner.client_settings()
    return overrides.effective_settings(settings) or settings


class RequestRouter:
    """Decides which requests are answered here; shared by the proxies of one client and of its copies."""

    def __init__(self, settings: Settings, *, base: str, azure: bool) -> None:
        """Keep the settings and `base`, the path of the client's base URL; nothing is opened."""
        self.settings = settings
        self.base = base.rstrip("/")
        self.azure = azure

    def intercept(self, request: Any, http_client: Any) -> LegacyRequest | None:
        """Return the request if it is answered here, else None: then `http_client` sends it to the upstream."""
        settings = overrides.effective_settings(self.settings)
        if settings is None:
            return None
        # Not decoded: an encoded slash within an id must not make another route of it.
        path = request.url.raw_path.partition(b"?")[0].decode("ascii")
        base_and_route = _match_legacy_path(path, self.base, request.headers.get("openai-beta"))
        if base_and_route is None:
            base_and_route = self._match_upstream_files(request.method, path, settings)
        if base_and_route is None:
            base_and_route = _match_vector_store_request(request, path)
        if base_and_route is None or overrides.leaves_to_client(request, http_client):
            return None
        from .transport import legacy_request_from_http  # noqa: PLC0415 - loads SQLAlchemy, so only when it is needed

        return legacy_request_from_http(request, *base_and_route, settings, azure=self.azure)

    def _match_upstream_files(self, method: str, path: str, settings: Settings) -> tuple[str, str] | None:
        """Split the path of a request for all files, or of one that deletes any file, if there is a store."""
        route = path.removeprefix(self.base)
        is_list = method == "GET" and path == f"{self.base}{_FILES_ROUTE}"
        is_deletion = method == "DELETE" and path.startswith(self.base) and _ONE_FILE_ROUTE.fullmatch(route)
        return (self.base, route) if (is_list or is_deletion) and _has_store(settings) else None

    def repair(self, request: Any) -> Any:
        """Return a request that the upstream answers with a URL that its Azure resource serves.

        The SDK appends `/openai` to an endpoint that ends in `/openai/v1` already, and no resource serves that.
        """
        if not self.azure:  # before anything else, because every request of a program comes here
            return request
        path, version = request.url.raw_path.partition(b"?")[0].decode("ascii"), request.url.params.get("api-version")
        if not path.startswith(f"{self.base}/"):
            return request
        base = azure_endpoints.served_base(self.base, request.url.host, version)
        is_served = base == self.base or (base.startswith(self.base) and path.startswith(f"{base}/"))
        if not is_served:
            query = request.url.params
            if not azure_endpoints.takes_version(base, version):
                query = query.remove("api-version")
            path = f"{base}{path[len(self.base) :]}"
            request.url = request.url.copy_with(raw_path=f"{path}?{query}".rstrip("?").encode("ascii"))
        return request


def _has_store(settings: Settings) -> bool:
    """Whether there may be generated files. Listing or deleting files must not create a store where there is none."""
    from ..store.locations import store_may_exist  # noqa: PLC0415 - as above, though it does not load SQLAlchemy

    return store_may_exist(settings.store)


def _match_legacy_path(path: str, base: str, beta: str | None) -> tuple[str, str] | None:
    """Split an Assistants path, or the path of a possibly generated file, into base and route; None for any other.

    Other APIs have paths with the same end (`/chatkit/threads`). The SDK sends the header `OpenAI-Beta` with their
    calls, as with every Assistants call, but with another value. Under a base other than the wrapped client's own, only
    that header distinguishes them. Copies with another `base_url` have such a base, and so have the deployment paths of
    old Azure clients.
    """
    route = path[len(base) :] if path.startswith(f"{base}/") else None
    has_assistants_header = beta is not None and "assistants=" in beta
    if route is not None and (has_assistants_header or beta is None) and _ASSISTANTS_PATH.fullmatch(route):
        return base, route
    if has_assistants_header and (match := _ASSISTANTS_PATH_UNDER_BASE.fullmatch(path)):
        return match["base"], match["route"]
    if (file := _FILE_PATH.search(path)) and clock.current().may_be_generated_file(file["id"]):
        base = path[: file.start()]
        return None if _PARENT_WITH_OWN_FILES.search(base) else (base, file[0])
    return None


def _match_vector_store_request(request: Any, path: str) -> tuple[str, str] | None:
    """Split the path of a vector store request that names a possibly generated file; None for any other request."""
    if (file := _VECTOR_STORE_FILE_PATH.search(path)) and clock.current().may_be_generated_file(file["id"]):
        return path[: file.start()], file[0]
    if request.method == "POST" and (stores := _VECTOR_STORES_PATH.search(path)) and _mentions_generated_file(request):
        return path[: stores.start()], stores[0]
    return None


def _mentions_generated_file(request: Any) -> bool:
    try:
        return clock.current().mentions_generated_file(request.content)
    except RuntimeError:  # a streamed body, so not one of the SDK's JSON bodies
        return False


class _ClientProxy(wrapt.ObjectProxy):  # type: ignore[type-arg]  # generic in wrapt's stubs only
    """An HTTP client that answers some requests itself; only `send` and closing differ from the client inside."""

    def __init__(self, inner: Any, router: RequestRouter) -> None:
        super().__init__(inner)
        self._self_router = router

    def request_router(self) -> RequestRouter:
        """Return the router that this proxy shares with those of the client's copies."""
        return self._self_router

    def client_settings(self) -> Settings:
        """Return the settings that the client was wrapped with."""
        return self._self_router.settings

    def __copy__(self) -> _ClientProxy:
        """Return a proxy of the same HTTP client: the SDK's copies share it too."""
        return type(self)(self.__wrapped__, self._self_router)

    def __deepcopy__(self, memo: dict[int, Any]) -> _ClientProxy:
        """Return a proxy of a deep copy of the HTTP client; raises what copying it raises (it holds locks)."""
        return type(self)(copy.deepcopy(self.__wrapped__, memo), self._self_router)

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        """Let `pickle` go on with the HTTP client, and raise what that raises."""
        return type(self), (self.__wrapped__, self._self_router)


class SyncClientProxy(_ClientProxy):
    """The proxy of a sync client, which replaces its `httpx.Client`."""

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Answer the request, or send it with the HTTP client inside."""
        legacy_request = self._self_router.intercept(request, self.__wrapped__)
        if legacy_request is not None:
            response = legacy_request.answer(self.__wrapped__, options, stream=stream)
            if response is not None:
                return response
        repaired = self._self_router.repair(request)
        response = redirects.send(self.__wrapped__, repaired, options, stream=stream)
        if legacy_request is not None:
            legacy_request.note_passed_on(self.__wrapped__, options, response.status_code)
        return response

    def close(self) -> None:
        """Read open streams of runs to their end, for a bounded time, then close the HTTP client inside."""
        if (readers := _loaded_stream_readers()) is not None:
            readers.finish_streams(self.__wrapped__)
        self.__wrapped__.close()


class AsyncClientProxy(_ClientProxy):
    """The proxy of an async client, which replaces its `httpx.AsyncClient`."""

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Answer the request, or send it with the HTTP client inside."""
        legacy_request = self._self_router.intercept(request, self.__wrapped__)
        if legacy_request is not None:
            response = await legacy_request.answer_async(self.__wrapped__, options, stream=stream)
            if response is not None:
                return response
        repaired = self._self_router.repair(request)
        response = await redirects.send_async(self.__wrapped__, repaired, options, stream=stream)
        if legacy_request is not None:
            legacy_request.note_passed_on(self.__wrapped__, options, response.status_code)
        return response

    async def aclose(self) -> None:
        """Read open streams of runs to their end, for a bounded time, then close the HTTP client inside."""
        if (readers := _loaded_stream_readers()) is not None:
            await readers.finish_streams_async(self.__wrapped__)
        await self.__wrapped__.aclose()


# --- proxies of `install`


class _InstalledRouter(RequestRouter):
    """The router of a proxy made by `install`; its type tells such a proxy from one made by `wrap`."""


def installed_proxy(client: Any, inner: Any, settings: Settings) -> Any:
    """Return a proxy of the HTTP client `inner`, or `inner` itself if it is a proxy of `wrap`."""
    if isinstance(inner, _ClientProxy):
        return inner
    return _make_proxy(client, inner, _make_router(client, settings, class_=_InstalledRouter))


def without_installed_proxy(inner: Any) -> Any:
    """Return what a proxy of `install` wraps; anything else, a proxy of `wrap` included, as it is."""
    if isinstance(inner, _ClientProxy) and isinstance(inner.request_router(), _InstalledRouter):
        return inner.__wrapped__
    return inner


def _loaded_stream_readers() -> Any:
    """Return the module `stream_readers` if some request has loaded it, else None: then no stream is open."""
    return sys.modules.get(f"{__package__}.stream_readers")
