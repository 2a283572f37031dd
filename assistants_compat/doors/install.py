"""`install` and `uninstall`: wraps every OpenAI client of the process, whenever the program imports the SDK.

This module itself imports only wrapt. What needs the SDK is imported once the program has imported the SDK.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from types import ModuleType
from typing import Any

import wrapt

from ..runtime import logs
from ..runtime.switch import is_off
from ..settings import Settings

_lock = threading.Lock()
_installations: list[_Installation] = []  # holds at most one, from install() to uninstall()


def install(settings: Settings | None = None) -> None:
    """Answer the Assistants calls of every client in this process over the Responses API.

    `install` does for each client what `wrap` does for one. It covers `OpenAI`, `AsyncOpenAI`, `AzureOpenAI`,
    `AsyncAzureOpenAI` and their subclasses, the module-level client (`openai.beta.threads`), copies with another
    `http_client`, and clients made earlier. Call it before or after `import openai`; it does not import the SDK itself.
    A client passed to `wrap` keeps the settings passed there.

    Without `settings`, they are read from the environment when the first client is used. A second call with other
    settings replaces the first ones; without settings it only covers the module-level client again after
    `importlib.reload(openai)`. Under `ASSISTANTS_COMPAT=off` it does nothing.

    Raises `UnsupportedSdkError` if the installed SDK has no `beta.threads`. If the SDK is not imported yet, the
    program's first client raises it instead.

    Example::

        assistants_compat.install()
        client = openai.OpenAI()
        thread = client.beta.threads.create()
    """
    if is_off():
        return
    logs.set_up_from_environment()
    with _lock:
        if not _installations:
            _installations.append(_Installation(settings))
        installation = _installations[0]
        if settings is not None:
            installation.settings = settings
    if "openai" in sys.modules:
        import_module("openai")  # waits for another thread that may still be importing it
        installation.patch_sdk_once()  # for clients made earlier; later ones do it when they are made
    wrapt.register_post_import_hook(_patch_imported_sdk, "openai")  # runs at once if the SDK is imported


def uninstall() -> None:
    """Undo `install`: every client, present or future, uses its own HTTP client directly.

    Clients passed to `wrap` stay wrapped, and open streams continue.

    Example::

        assistants_compat.uninstall()
    """
    with _lock:
        _remove_installation()


def _remove_installation() -> None:
    while _installations:
        _installations.pop().restore_classes()


def _patch_imported_sdk(sdk: ModuleType) -> None:
    """Patch the SDK's client classes right after its import, unless `uninstall` was called meanwhile.

    It imports nothing, because an import here could deadlock: this thread holds the SDK's import lock, and another
    thread may wait for that lock while it imports a module of this package.
    """
    with _lock:
        for installation in _installations:
            installation.patch_classes(sdk)


class _Installation:
    """The changes of one `install`: a descriptor on the SDK's classes returns a proxy as each client's `_client`.

    The clients keep their HTTP clients. So `install` need not find existing clients, and `uninstall` need not restore
    them.
    """

    def __init__(self, settings: Settings | None) -> None:
        """Change nothing yet; without `settings`, they are read from the environment for the first client."""
        self.settings = settings
        self.is_sdk_patched = False
        self.classes: list[tuple[type, Any]] = []  # each patched class and its own `_client` property, if it has one

    def patch_classes(self, sdk: ModuleType) -> None:
        """Patch each client class once; a reloaded SDK has a new class for its module-level client."""
        namespace, patched = vars(sdk), {class_ for class_, _ in self.classes}
        for class_ in (namespace["OpenAI"], namespace["AsyncOpenAI"], namespace.get("_ModuleClient")):
            if class_ is not None and class_ not in patched:
                original = vars(class_).get(_CLIENT_ATTRIBUTE)
                self.classes.append((class_, original))
                setattr(class_, _CLIENT_ATTRIBUTE, _ClientDescriptor(self, original))

    def restore_classes(self) -> None:
        """Remove the descriptors, and put back the properties that they replaced."""
        for class_, original in self.classes:
            if original is None:
                delattr(class_, _CLIENT_ATTRIBUTE)
            else:
                setattr(class_, _CLIENT_ATTRIBUTE, original)

    def patch_sdk_once(self) -> None:
        """Patch the SDK's resources when its first client is made: importing them is slow."""
        if not self.is_sdk_patched and not is_off():
            _wrap_module().patch_sdk()
            self.is_sdk_patched = True

    def proxy_for(self, client: Any, inner: Any) -> Any:
        """Return the client's proxy of `inner`: the cached one if settings and `inner` are the same, or a new one."""
        settings, cached = self.settings, vars(client).get(_PROXY_ATTRIBUTE)
        if cached is not None and cached[0] is settings and cached[1].__wrapped__ is inner:
            return cached[1]
        if is_off():
            return inner
        if settings is None:
            settings = self.settings = Settings()
        proxy = _wrap_module().installed_proxy(client, inner, settings)
        if proxy is not inner:
            vars(client)[_PROXY_ATTRIBUTE] = settings, proxy
        return proxy


class _ClientDescriptor:
    """The attribute `_client` of one of the SDK's client classes: stores an HTTP client, returns a proxy of it.

    The SDK's copies pass on the proxy that they read. So setting the attribute removes a proxy of `install` first, and
    stores the HTTP client or a proxy of `wrap`.
    """

    def __init__(self, installation: _Installation, original: Any) -> None:
        """`original` is the property that the class defines itself, as the module-level client's does; else None."""
        self.installation, self.original = installation, original

    def __get__(self, client: Any, owner: type | None = None) -> Any:
        if self.original is not None:
            inner = self.original.__get__(client, owner)
        elif client is not None and _CLIENT_ATTRIBUTE in vars(client):
            inner = vars(client)[_CLIENT_ATTRIBUTE]
        else:  # as Python answers without this descriptor
            message = f"{type(client).__name__!r} object has no attribute {_CLIENT_ATTRIBUTE!r}"
            raise AttributeError(message)
        return inner if client is None else self.installation.proxy_for(client, inner)

    def __set__(self, client: Any, value: Any) -> None:
        self.installation.patch_sdk_once()
        inner = _wrap_module().without_installed_proxy(value)
        if self.original is None:
            vars(client)[_CLIENT_ATTRIBUTE] = inner
        else:
            self.original.__set__(client, inner)

    def __delete__(self, client: Any) -> None:
        if self.original is None:
            del vars(client)[_CLIENT_ATTRIBUTE]
        else:
            self.original.__delete__(client)


_CLIENT_ATTRIBUTE, _PROXY_ATTRIBUTE = "_client", "_assistants_compat_proxy"


def _wrap_module() -> Any:
    """Import `wrap`, which imports the SDK, only when it is needed."""
    from . import wrap  # noqa: PLC0415 - once there is a client, the SDK is imported anyway

    return wrap
