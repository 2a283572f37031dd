"""What we know of the openai package's insides, and all of it that we change.  Nothing else here does.

Two things are changed, once a process and only for clients that were wrapped: the methods of `beta.assistants` and
`beta.threads` no longer raise the SDK's DeprecationWarning, and `beta.vector_stores` exists again (1.66 dropped it).
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import openai

from ..errors import UnsupportedSdkError

_STREAMING = "with_streaming_response"
IsWrapped = Callable[[object], bool]

_RESOURCES = (
    "openai.resources.beta.assistants",
    "openai.resources.beta.threads.threads",
    "openai.resources.beta.threads.messages",
    "openai.resources.beta.threads.runs.runs",
    "openai.resources.beta.threads.runs.steps",
)


class _Quiet:
    """A deprecated method that warns only on clients that are not wrapped.

    The SDK's decorators (`deprecated`, `required_args`) keep the plain function in `__wrapped__`; its own signature
    still refuses missing arguments.  A descriptor adds no frame, so an unwrapped client's warning names its caller.
    """

    def __init__(self, method: FunctionType, is_wrapped: IsWrapped) -> None:
        self.method, self.is_wrapped = method, is_wrapped
        self.plain = _plain(method)
        self.__doc__, self.__name__ = method.__doc__, method.__name__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        quiet = instance is not None and self.is_wrapped(instance._client)  # noqa: SLF001 - the SDK's resource holds it
        return (self.plain if quiet else self.method).__get__(instance, owner)


def prepare(is_wrapped: IsWrapped) -> None:
    """Change the SDK's classes, once; raises `UnsupportedSdkError` when it has no Assistants resources."""
    for class_ in _classes(_modules()):
        for name, method in list(vars(class_).items()):
            if type(method) is FunctionType and hasattr(method, "__deprecated__"):
                setattr(class_, name, _Quiet(method, is_wrapped))
    from openai.resources.beta import beta  # noqa: PLC0415 - only once the SDK is known to have it

    for class_ in (beta.Beta, beta.AsyncBeta):
        if not hasattr(class_, "vector_stores"):
            setattr(class_, "vector_stores", _vector_stores(is_wrapped))  # noqa: B010 - mypy knows no such attribute
    for prefix in ("", "Async"):
        for suffix, way in (("WithRawResponse", "with_raw_response"), ("WithStreamingResponse", _STREAMING)):
            class_ = getattr(beta, f"{prefix}Beta{suffix}")
            if not hasattr(class_, "vector_stores"):
                setattr(class_, "vector_stores", _vector_stores_in(way))  # noqa: B010 - as above


def no_key() -> str:
    """What an Azure client without a key has in its place; given, `AZURE_OPENAI_API_KEY` does not count.

    openai 2.54 sends that variable's key beside the tokens of a provider.
    """
    from openai.lib.azure import API_KEY_SENTINEL  # noqa: PLC0415 - wrapping does not need it

    return API_KEY_SENTINEL


def keep_token(client: openai.AzureOpenAI | openai.AsyncAzureOpenAI, given: str | None) -> None:
    """Let a client have the token that it was given, and not that of `AZURE_OPENAI_AD_TOKEN` in its place.

    Up to openai 2 the variable's token, which nobody renews, goes before those of a provider.
    """
    client._azure_ad_token = given  # noqa: SLF001 - an argument, of which None means the variable


def left_out() -> Any:
    """The value of a query parameter that a client sends by itself and shall not send."""
    from openai._types import Omit  # noqa: PLC0415 - public since 2.0 only

    return Omit()


def _plain(method: FunctionType) -> FunctionType:
    """The function under the SDK's own decorators; a wrapper of somebody else's (instrumentation) stays."""
    while hasattr(method, "__wrapped__") and _is_the_sdks(method):
        method = method.__wrapped__
    return method


def _is_the_sdks(method: FunctionType) -> bool:
    module = str(method.__globals__.get("__name__"))
    return module in {"typing_extensions", "warnings"} or module.partition(".")[0] == "openai"


def _modules() -> list[ModuleType]:
    try:
        return [importlib.import_module(name) for name in _RESOURCES]
    except ImportError:
        message = (
            f"openai {openai.__version__} has no client.beta.threads, which assistants_compat needs: "
            "install a version that has it, 'openai>=1.40,<4' for example."
        )
        raise UnsupportedSdkError(message) from None


def _classes(modules: list[ModuleType]) -> Iterator[type]:
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield value


def _vector_stores(is_wrapped: IsWrapped) -> property:
    def vector_stores(self: Any) -> Any:
        """The SDK's `client.vector_stores`, where legacy code looks for it."""
        if not is_wrapped(self._client):
            message = f"{type(self).__name__!r} object has no attribute 'vector_stores'"
            raise AttributeError(message)
        return self._client.vector_stores

    return property(vector_stores)


def _vector_stores_in(way: str) -> property:
    def vector_stores(self: Any) -> Any:
        """The same resource for those who want the HTTP response."""
        return getattr(self._beta.vector_stores, way)

    return property(vector_stores)


def reads_pages_of_files() -> bool:
    """Whether this SDK reads on when it lists files; early ones take the first page for all there is."""
    return "after" in openai.resources.Files.list.__annotations__


@functools.cache
def http_library() -> ModuleType:
    """The HTTP library of the installed SDK, httpx or httpx2."""
    with openai.OpenAI(api_key="none") as client:
        request = client._client.build_request("GET", "https://localhost")  # noqa: SLF001 - its own class tells
    return sys.modules[type(request).__module__.partition(".")[0]]
