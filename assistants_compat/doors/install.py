"""`install` and `uninstall`: every client of a process at once, whoever makes it and whenever the SDK is imported.

Only wrapt is loaded here; what needs the SDK waits until the program imports that.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from types import ModuleType
from typing import Any

import wrapt

from ..runtime.switch import is_off
from ..settings import Settings

_lock = threading.Lock()
_covered: list[_Covered] = []  # one at most, between install() and uninstall()


def install(settings: Settings | None = None) -> None:
    """Let the Assistants calls of all clients in this process be answered over the Responses API.

    It does for each client what `wrap` does for one: for `OpenAI`, `AsyncOpenAI`, `AzureOpenAI`, `AsyncAzureOpenAI` and
    their subclasses, for the module-level client (`openai.beta.threads`), for copies with another `http_client`, and
    for clients that were made before.  It may be called before `import openai`, which it does not do itself, or after.
    A client that is given to `wrap` keeps the settings from there.

    Without `settings` they are read from the environment when the first client is used.  Calling it twice is calling
    it once, but covers the module-level client anew after `importlib.reload(openai)`; given other settings the second
    time, those count from then on.  Does nothing under `ASSISTANTS_COMPAT=off`.

    Raises `UnsupportedSdkError` when the installed SDK has no `beta.threads`; where that is not imported yet, the
    program's first client does.
    """
    if is_off():
        return
    with _lock:
        if not _covered:
            _covered.append(_Covered(settings))
        covered = _covered[0]
        if settings is not None:
            covered.settings = settings
    if "openai" in sys.modules:
        import_module("openai")  # another thread may still be at it
        covered.prepare_once()  # clients may have been made already; those to come see to it themselves
    wrapt.register_post_import_hook(_place, "openai")  # places at once, where it is imported


def uninstall() -> None:
    """Take back what `install` did: every client has its own HTTP client again, and those to come keep theirs.

    Clients that were given to `wrap` stay wrapped, and streams that are being read go on.
    """
    with _lock:
        _take_back()


def _take_back() -> None:
    while _covered:
        _covered.pop().remove()


def _place(sdk: ModuleType) -> None:
    """The SDK is there: cover its classes, if that is still wanted.

    Nothing is imported here: whoever imports the SDK holds its lock, for which an import of ours may wait elsewhere.
    """
    with _lock:
        for covered in _covered:
            covered.place(sdk)


class _Covered:
    """What one `install` has changed: the SDK's classes show a door on every client, which keeps its HTTP client.

    So nothing has to be found when it begins, and nothing to be restored when it ends.
    """

    def __init__(self, settings: Settings | None) -> None:
        """Nothing is changed yet; `settings` are read at the first client where none are given."""
        self.settings = settings
        self.prepared = False
        self.without_background: set[str] = set()  # for all: copies are made for a call, and must know it
        self.classes: list[tuple[type, Any]] = []

    def place(self, sdk: ModuleType) -> None:
        """Change the classes, each once; a module that was loaded anew has another one for its client."""
        names, changed = vars(sdk), {class_ for class_, _ in self.classes}
        for class_ in (names["OpenAI"], names["AsyncOpenAI"], names.get("_ModuleClient")):
            if class_ is not None and class_ not in changed:
                before = vars(class_).get(_CLIENT)
                self.classes.append((class_, before))
                setattr(class_, _CLIENT, _Cover(self, before))

    def remove(self) -> None:
        """Give the classes back what they had."""
        for class_, before in self.classes:
            if before is None:
                delattr(class_, _CLIENT)
            else:
                setattr(class_, _CLIENT, before)

    def prepare_once(self) -> None:
        """Prepare the SDK when its first client is made: it is slow to load what has to be changed."""
        if not self.prepared and not is_off():
            _doors().prepare()
            self.prepared = True

    def shown(self, client: Any, inner: Any) -> Any:
        """The client's door before `inner`: the one that it had the last time, or a new one."""
        settings, known = self.settings, vars(client).get(_DOOR)
        if known is not None and known[0] is settings and known[1].__wrapped__ is inner:
            return known[1]
        if is_off():
            return inner
        if settings is None:
            settings = self.settings = Settings()
        door = _doors().installed_door(client, inner, settings, self.without_background)
        if door is not inner:
            vars(client)[_DOOR] = settings, door
        return door


class _Cover:
    """In the place of `_client` on one of the SDK's client classes: shows a door before the HTTP client that is kept.

    The SDK's copies hand on the door that they see; what is kept is always the HTTP client, or a door of `wrap`.
    """

    def __init__(self, covered: _Covered, before: Any) -> None:
        """`before` is the property that the class has had there itself, as that of the module-level client has."""
        self.covered, self.before = covered, before

    def __get__(self, client: Any, owner: type | None = None) -> Any:
        if self.before is not None:
            inner = self.before.__get__(client, owner)
        elif client is not None and _CLIENT in vars(client):
            inner = vars(client)[_CLIENT]
        else:  # as without us
            message = f"{type(client).__name__!r} object has no attribute {_CLIENT!r}"
            raise AttributeError(message)
        return inner if client is None else self.covered.shown(client, inner)

    def __set__(self, client: Any, value: Any) -> None:
        self.covered.prepare_once()
        inner = _doors().without_installed_door(value)
        if self.before is None:
            vars(client)[_CLIENT] = inner
        else:
            self.before.__set__(client, inner)

    def __delete__(self, client: Any) -> None:
        if self.before is None:
            del vars(client)[_CLIENT]
        else:
            self.before.__delete__(client)


_CLIENT, _DOOR = "_client", "_assistants_compat_door"


def _doors() -> Any:
    """`intercept`, which imports the SDK."""
    from . import wrap  # noqa: PLC0415 - once a client is there

    return wrap
