"""The doors inside a client: transparent proxies in the place of `client._client`.

Every call of the SDK, in every version, ends in `self._client.send(request, ...)`.  The proxy answers the requests that
the service no longer answers and hands every other one on, untouched.

The application, and with it SQLAlchemy, is loaded when the first request is ours (see `transport`), not before.

`wrap` puts a door into one client; `installing` shows one on every client.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

import openai
import wrapt
from openai.lib.azure import BaseAzureClient

from ..runtime import clock, overrides
from ..runtime.switch import is_off
from ..settings import Settings
from . import redirects, sdk_internals

if TYPE_CHECKING:
    from .transport import Passage

log = logging.getLogger("assistants_compat")

Client = TypeVar("Client", bound="openai.OpenAI | openai.AsyncOpenAI")

_OURS = re.compile(r"/(?:assistants|threads)(?:/.+)?\Z")
_OURS_BELOW = re.compile(rf"(?P<base>.*)(?P<route>{_OURS.pattern})")  # the last one: a base may have such a name too
_FILE = re.compile(r"/files/(?P<id>[^/]+)(?:/content)?\Z")
_FILES = "/files"
_STORES = re.compile(r"/vector_stores(?:/[^/]+/(?:files|file_batches))?\Z")
_IN_STORE = re.compile(r"/vector_stores/[^/]+/files/(?P<id>[^/]+)(?:/content)?\Z")
_OTHER_FILES = re.compile(r"/(?:vector_stores|containers|environments)/[^/]+\Z")


def wrap(client: Client, settings: Settings | None = None) -> Client:
    """Let a client's Assistants calls be answered over the Responses API, and return that same client.

    `client` is an `OpenAI`, `AsyncOpenAI`, `AzureOpenAI` or `AsyncAzureOpenAI`, or of a subclass; it is changed in
    place and keeps its type.  The `openai` module itself may be given for its module-level client.  `with_options` and
    `copy` keep the effect; a copy with another `http_client` has to be wrapped again.  Wrapping twice is wrapping once;
    given other settings the second time, those count from then on.  Under `ASSISTANTS_COMPAT=off` the client is
    returned as it is.

    Raises `TypeError` for anything else, `UnsupportedSdkError` when the installed SDK has no `beta.threads`, and
    `SettingsError` when a setting cannot be used.
    """
    given: Any = client_of(client)
    if not isinstance(given, (openai.OpenAI, openai.AsyncOpenAI)):
        message = f"wrap() takes an OpenAI client or its asynchronous twin, not {type(given).__name__}."
        raise TypeError(message)
    if is_off():
        return client
    prepare()
    inner: Any = given._client  # noqa: SLF001 - the one place where every version keeps it
    if isinstance(inner, _Door):
        installed = isinstance(inner.entrance(), _InstalledEntrance)
        if not installed and (settings is None or settings == inner.settings_of_door()):
            return client
        settings = settings or inner.settings_of_door()
        inner = inner.__wrapped__
    given._client = cast("Any", _door(given, inner, _entrance(given, settings or Settings())))  # noqa: SLF001 - as above
    return client


def client_of(given: object) -> object:
    """What was given in the place of a client: itself, or for the `openai` module its module-level client."""
    if given is openai:
        return cast("Any", openai)._load_client()  # noqa: SLF001 - it has no public name
    return given


def prepare() -> None:
    """Change the SDK's classes as `sdk.prepare` says."""
    sdk_internals.prepare(is_wrapped)


def _entrance(client: Any, settings: Settings, *, class_: type[Entrance] | None = None) -> Entrance:
    azure = isinstance(client, BaseAzureClient)
    if azure and settings.stream == "background":
        # Microsoft lists "performance issues when background mode is used with streaming" (platform.md section 5).
        log.warning("Settings(stream='background') on Azure is slow, by Microsoft's own word; 'direct' is the default.")
    return (class_ or Entrance)(settings, base=client.base_url.raw_path.decode("ascii"), azure=azure)


def _door(client: Any, inner: Any, entrance: Entrance) -> _Door:
    return (SyncDoor if isinstance(client, openai.OpenAI) else AsyncDoor)(inner, entrance)


def is_wrapped(client: object) -> bool:
    """Whether a client's requests pass through one of our doors."""
    return isinstance(getattr(client, "_client", None), _Door)


def settings_of(client: object) -> Settings:
    """The settings that a client was wrapped with; raises `TypeError` for one that was not."""
    inner = getattr(client, "_client", None)
    if not isinstance(inner, _Door):
        why = " ASSISTANTS_COMPAT=off leaves every client as it is." if is_off() else ""
        message = f"A client that went through wrap() is needed, not {type(client).__name__}.{why}"
        raise TypeError(message)
    given = inner.settings_of_door()
    return overrides.settings(given) or given


def refusing_background(client: object) -> set[str]:
    """The upstreams of which a client's doors know that they refuse background responses; none without a door."""
    inner = getattr(client, "_client", None)
    return inner.refusing_background() if isinstance(inner, _Door) else set()


class Entrance:
    """What the doors of one client and its copies share: the settings, and which requests are ours."""

    def __init__(self, settings: Settings, *, base: str, azure: bool) -> None:
        """Remember the settings and the path of the API's base; nothing is opened.

        `without_background` is for the upstreams that refused that mode.
        """
        self.settings = settings
        self.base = base.rstrip("/")
        self.azure = azure
        self.without_background: set[str] = set()

    def passage(self, request: Any) -> Passage | None:
        """The request as one of ours, or None for the upstream to answer."""
        settings = overrides.settings(self.settings)
        if settings is None:
            return None
        path = request.url.raw_path.partition(b"?")[0].decode("ascii")
        found = _ours(path, self.base, request.headers.get("openai-beta"))
        if found is None and request.method == "GET" and path == f"{self.base}{_FILES}" and _has_store(settings):
            found = self.base, _FILES
        if found is None:
            found = _of_a_store(request, path)
        if found is None:
            return None
        from .transport import passage_from_request  # noqa: PLC0415 - loads SQLAlchemy, so only for a request of ours

        refused = self.without_background if settings is self.settings else overrides.without_background(settings)
        return passage_from_request(request, *found, settings, refused, azure=self.azure)


def _has_store(settings: Settings) -> bool:
    """Whether generated files may be listed: a program without a store gets none by asking for its files."""
    from ..store.locations import has_store  # noqa: PLC0415 - as above, though it does not load SQLAlchemy

    return has_store(settings.store)


def _ours(path: str, base: str, beta: str | None) -> tuple[str, str] | None:
    """The base and the route of a path, if it is an Assistants path or that of a file that we may have made.

    Other APIs have paths with the same ends (`/chatkit/threads`); they announce themselves in `OpenAI-Beta`, as the SDK
    does on every Assistants call.  Below a base that is not the wrapped client's own (a copy with another `base_url`, a
    deployment's path in old Azure clients), only that header tells.
    """
    route = path[len(base) :] if path.startswith(f"{base}/") else None
    assistants = beta is not None and "assistants=" in beta
    if route is not None and (assistants or beta is None) and _OURS.fullmatch(route):
        return base, route
    if assistants and (found := _OURS_BELOW.fullmatch(path)):
        return found["base"], found["route"]
    if (file := _FILE.search(path)) and clock.current().owns(file["id"]):
        base = path[: file.start()]
        return None if _OTHER_FILES.search(base) else (base, file[0])
    return None


def _of_a_store(request: Any, path: str) -> tuple[str, str] | None:
    """The base and the route of a request that names, below `/vector_stores`, a file that we may have made."""
    if (file := _IN_STORE.search(path)) and clock.current().owns(file["id"]):
        return path[: file.start()], file[0]
    if request.method == "POST" and (stores := _STORES.search(path)) and _names_ours(request):
        return path[: stores.start()], stores[0]
    return None


def _names_ours(request: Any) -> bool:
    try:
        return clock.current().are_named_in(request.content)
    except RuntimeError:  # a body that is still to be read: no JSON of the SDK's
        return False


class _Door(wrapt.ObjectProxy):  # type: ignore[type-arg]  # generic in wrapt's stubs only
    """An HTTP client that answers some requests itself.  `send` is all that differs from the one inside."""

    def __init__(self, inner: Any, entrance: Entrance) -> None:
        super().__init__(inner)
        self._self_entrance = entrance

    def entrance(self) -> Entrance:
        """What it shares with the doors of the client's copies."""
        return self._self_entrance

    def settings_of_door(self) -> Settings:
        """The settings that it was wrapped with."""
        return self._self_entrance.settings

    def refusing_background(self) -> set[str]:
        """What its entrance has learnt of the upstreams."""
        return self._self_entrance.without_background

    def __copy__(self) -> _Door:
        """Share the inner client, as the SDK's own copies do."""
        return type(self)(self.__wrapped__, self._self_entrance)


class SyncDoor(_Door):
    """In the place of an `httpx.Client`."""

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Answer the request, or let the client inside send it."""
        passage = self._self_entrance.passage(request)
        if passage is not None:
            response = passage.answer(self.__wrapped__, options, stream=stream)
            if response is not None:
                return response
        return redirects.send(self.__wrapped__, request, options, stream=stream)

    def close(self) -> None:
        """Read open streams of runs to their end, within bounds, and close the client inside."""
        if (carriers := _carriers()) is not None:
            carriers.finish(self.__wrapped__)
        self.__wrapped__.close()


class AsyncDoor(_Door):
    """In the place of an `httpx.AsyncClient`."""

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Answer the request, or let the client inside send it."""
        passage = self._self_entrance.passage(request)
        if passage is not None:
            response = await passage.answer_async(self.__wrapped__, options, stream=stream)
            if response is not None:
                return response
        return await redirects.send_async(self.__wrapped__, request, options, stream=stream)

    async def aclose(self) -> None:
        """Read open streams of runs to their end, within bounds, and close the client inside."""
        if (carriers := _carriers()) is not None:
            await carriers.finish_async(self.__wrapped__)
        await self.__wrapped__.aclose()


# --- every client of the process (see `installing`)


class _InstalledEntrance(Entrance):
    """That of a door which stands only as long as `install` does."""


def installed_door(client: Any, inner: Any, settings: Settings, without_background: set[str]) -> Any:
    """The door to show before a client's HTTP client, or what stands there already: a door of `wrap`."""
    if isinstance(inner, _Door):
        return inner
    entrance = _entrance(client, settings, class_=_InstalledEntrance)
    entrance.without_background = without_background
    return _door(client, inner, entrance)


def without_installed_door(inner: Any) -> Any:
    """The HTTP client, or the door of `wrap`, behind what is shown."""
    if isinstance(inner, _Door) and isinstance(inner.entrance(), _InstalledEntrance):
        return inner.__wrapped__
    return inner


def _carriers() -> Any:
    """The module that holds streams, if anything was ever answered."""
    return sys.modules.get(f"{__package__}.carriers")
