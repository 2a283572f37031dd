"""All that the package knows of the openai SDK's internals, and all that it patches there.

It patches two things, once a process, with an effect on wrapped clients only. Methods of `beta.assistants` and
`beta.threads` no longer emit the SDK's DeprecationWarning, and `beta.vector_stores` exists again (1.66 dropped it).
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import openai
import typing_extensions

from ..errors import UnsupportedSdkError

IsWrapped = Callable[[object], bool]

_RESPONSE_ACCESSORS = {
    "WithRawResponse": "with_raw_response",
    "WithStreamingResponse": "with_streaming_response",
}
_RESOURCES = (
    "openai.resources.beta.assistants",
    "openai.resources.beta.threads.threads",
    "openai.resources.beta.threads.messages",
    "openai.resources.beta.threads.runs.runs",
    "openai.resources.beta.threads.runs.steps",
)


class _QuietMethod:
    """A deprecated method that warns only on clients that are not wrapped.

    The SDK's decorators (`deprecated`, `required_args`) keep the plain function in `__wrapped__`. Its signature still
    refuses missing arguments. A descriptor adds no stack frame, so the warning of an unwrapped client still names the
    line of its caller.
    """

    def __init__(self, method: FunctionType, is_wrapped: IsWrapped) -> None:
        self.method, self.is_wrapped = method, is_wrapped
        self.undecorated = _undecorated(method)
        self.__doc__, self.__name__ = method.__doc__, method.__name__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        is_quiet = instance is not None and self.is_wrapped(instance._client)  # noqa: SLF001 - resources hold it
        return (self.undecorated if is_quiet else self.method).__get__(instance, owner)


def patch_classes(is_wrapped: IsWrapped) -> None:
    """Patch the SDK's classes; patching again changes nothing.

    Raises `UnsupportedSdkError` if the SDK has no Assistants resources.
    """
    for class_ in _resource_classes(_resource_modules()):
        for name, method in list(vars(class_).items()):
            if type(method) is FunctionType and hasattr(method, "__deprecated__"):
                setattr(class_, name, _QuietMethod(method, is_wrapped))
    from openai.resources.beta import beta  # noqa: PLC0415 - an SDK without it must get the error above first

    for class_ in (beta.Beta, beta.AsyncBeta):
        if not hasattr(class_, "vector_stores"):
            setattr(class_, "vector_stores", _vector_stores_property(is_wrapped))  # noqa: B010 - unknown to mypy
    for prefix in ("", "Async"):
        for suffix, accessor in _RESPONSE_ACCESSORS.items():
            class_ = getattr(beta, f"{prefix}Beta{suffix}")
            if not hasattr(class_, "vector_stores"):
                setattr(class_, "vector_stores", _vector_stores_accessor_property(accessor))  # noqa: B010 - as above


def azure_key_placeholder() -> str:
    """Return the SDK's placeholder for the API key of an Azure client that has none.

    Passed as `api_key`, it keeps the SDK from reading `AZURE_OPENAI_API_KEY`. Otherwise openai 2.54 sends the key of
    that variable in addition to a provider's tokens.
    """
    from openai.lib.azure import API_KEY_SENTINEL  # noqa: PLC0415 - wrapping does not need it

    return API_KEY_SENTINEL


def set_azure_ad_token(client: openai.AzureOpenAI | openai.AsyncAzureOpenAI, token: str | None) -> None:
    """Replace a client's token, which may come from `AZURE_OPENAI_AD_TOKEN`, by the one passed to its constructor.

    Up to openai 2, a token of that variable takes precedence over a token provider, and nothing renews it.
    """
    client._azure_ad_token = token  # noqa: SLF001 - the constructor reads None as "use the variable"


def api_version_of(client: Any) -> str | None:
    """Return the `api-version` that a client sends with every request, if it sends one."""
    version = client._custom_query.get("api-version")  # noqa: SLF001 - its public name came later than 1.21
    return version if isinstance(version, str) else None


def omitted_param() -> Any:
    """Return the value that keeps a client from sending one of its default query parameters."""
    from openai._types import Omit  # noqa: PLC0415 - public since 2.0 only

    return Omit()


def _undecorated(method: FunctionType) -> FunctionType:
    """Return the function under the SDK's own decorators; wrappers by others, such as instrumentation, stay."""
    deprecated_wrappers = _deprecated_wrappers()
    while hasattr(method, "__wrapped__") and (method.__code__ in deprecated_wrappers or _is_sdk_function(method)):
        method = method.__wrapped__
    return method


def _deprecated_wrappers() -> tuple[CodeType, ...]:
    """Return the code of the wrappers that `deprecated` makes.

    A wrapper is recognized by its code, because the module of `deprecated` differs: `typing_extensions`, `warnings`,
    or `_py_warnings` from Python 3.14 on.
    """
    decorators = [getattr(module, "deprecated", None) for module in (typing_extensions, warnings)]
    wrappers = [decorator("")(lambda: None) for decorator in decorators if decorator is not None]
    return tuple(wrapper.__code__ for wrapper in wrappers)


def _is_sdk_function(method: FunctionType) -> bool:
    return str(method.__globals__.get("__name__")).partition(".")[0] == "openai"


def _resource_modules() -> list[ModuleType]:
    try:
        return [importlib.import_module(name) for name in _RESOURCES]
    except ImportError:
        message = (
            f"openai {openai.__version__} has no client.beta.threads, which assistants_compat needs. "
            "Install a version that has it, for example 'openai>=1.21,<4'."
        )
        raise UnsupportedSdkError(message) from None


def _resource_classes(modules: list[ModuleType]) -> Iterator[type]:
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield value


def _vector_stores_property(is_wrapped: IsWrapped) -> property:
    def vector_stores(self: Any) -> Any:
        """The SDK's `client.vector_stores`, where legacy code looks for it."""
        if not is_wrapped(self._client):
            message = f"{type(self).__name__!r} object has no attribute 'vector_stores'"
            raise AttributeError(message)
        return self._client.vector_stores

    return property(vector_stores)


def _vector_stores_accessor_property(accessor: str) -> property:
    def vector_stores(self: Any) -> Any:
        """The same resource, with methods that return the HTTP response."""
        return getattr(self._beta.vector_stores, accessor)

    return property(vector_stores)


@functools.cache
def http_library() -> ModuleType:
    """Return the HTTP library of the installed SDK, httpx or httpx2."""
    with openai.OpenAI(api_key="none") as client:
        request = client._client.build_request("GET", "https://localhost")  # noqa: SLF001 - its requests tell
    return sys.modules[type(request).__module__.partition(".")[0]]
