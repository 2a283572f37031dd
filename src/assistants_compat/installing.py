"""`install` and `uninstall`: every client of a process at once, whoever makes it and whenever the SDK is imported.

Only wrapt is loaded here; what needs the SDK waits until the program imports that.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType

import wrapt

from .settings import Settings
from .switch import is_off

_lock = threading.Lock()
_wanted: list[Settings | None] = []  # the one value of the last install(), until uninstall()
_doors: list[ModuleType] = []  # `intercept`, once it is loaded


def install(settings: Settings | None = None) -> None:
    """Let the Assistants calls of all clients in this process be answered over the Responses API.

    It does for each client what `wrap` does for one: for `OpenAI`, `AsyncOpenAI`, `AzureOpenAI`, `AsyncAzureOpenAI` and
    their subclasses, for the module-level client (`openai.beta.threads`), for copies with another `http_client`, and
    for clients that were made before.  It may be called before `import openai`, which it does not do itself, or after.
    A client that is given to `wrap` keeps the settings from there.

    Without `settings` they are read from the environment when the first client is used.  Calling it twice is calling
    it once; given other settings the second time, those count from then on.  Does nothing under
    `ASSISTANTS_COMPAT=off`.

    Raises `UnsupportedSdkError` when the installed SDK has no `beta.threads`; where that is not imported yet, the
    program's first client does.
    """
    if is_off():
        return
    with _lock:
        _wanted[:] = [settings]
    there = "openai" in sys.modules
    wrapt.register_post_import_hook(_place, "openai")  # places at once, where it is imported
    if there:  # clients may have been made already; those to come see to it themselves
        _doors[0].prepare()


def uninstall() -> None:
    """Take back what `install` did: every client has its own HTTP client again, and those to come keep theirs.

    Clients that were given to `wrap` stay wrapped, and streams that are being read go on.
    """
    with _lock:
        _wanted.clear()
        for doors in _doors:
            doors.uncover()


def _place(_openai: ModuleType) -> None:
    """The SDK is there: cover its classes, if that is still wanted."""
    from . import intercept  # noqa: PLC0415 - imports the SDK; not under the lock, which an importing thread may want

    with _lock:
        _doors[:] = [intercept]
        if _wanted:
            intercept.cover(_wanted[0])
