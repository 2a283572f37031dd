"""Reports the cassettes that VCR.py opens, whether pytest-recording, pytest-vcr, unittest or a test asks for them.

It patches VCR.py in two places, once a process and only when VCR.py is imported: where a cassette is opened and closed,
and where a request cannot be played. The SDK would show the latter as "Connection error".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

import wrapt


class Watcher(Protocol):
    """Receives what happens to cassettes."""

    def cassette_opened(self, cassette: Any) -> Callable[[], None]:
        """A cassette (`vcr.cassette.Cassette`) is loaded and starts to play.

        Returns a function that is called when the cassette is saved.
        """

    def request_refused(self, error: Exception) -> None:
        """A request cannot be played; `error` is the exception of VCR.py."""


_watchers: list[Watcher] = []  # the last one is active: a pytest session inside another has its own
_close_callbacks: dict[int, Callable[[], None]] = {}  # by the id of the context manager that opened the cassette
_registered_hooks: list[str] = []


@contextmanager
def watch_cassettes(watcher: Watcher) -> Iterator[None]:
    """Report to `watcher` within the context."""
    if not _registered_hooks:
        _registered_hooks.append("vcr")
        wrapt.register_post_import_hook(_patch_cassette, "vcr.cassette")
        wrapt.register_post_import_hook(_patch_errors, "vcr.errors")
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def _patch_cassette(module: ModuleType) -> None:
    wrapt.wrap_function_wrapper(module, "CassetteContextDecorator.__enter__", _enter)
    wrapt.wrap_function_wrapper(module, "CassetteContextDecorator.__exit__", _exit)


def _patch_errors(module: ModuleType) -> None:
    wrapt.wrap_function_wrapper(module, "CannotOverwriteExistingCassetteException.__init__", _init_error)


def _enter(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    cassette = wrapped(*args, **kwargs)
    if _watchers:
        _close_callbacks[id(instance)] = _watchers[-1].cassette_opened(cassette)
    return cassette


def _exit(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    on_close = _close_callbacks.pop(id(instance), None)
    try:
        return wrapped(*args, **kwargs)
    finally:
        if on_close is not None:
            on_close()


def _init_error(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> None:
    # VCR.py raises this error inside the HTTP client, where the SDK catches it, so its creation is what counts.
    wrapped(*args, **kwargs)
    if _watchers:
        _watchers[-1].request_refused(instance)
