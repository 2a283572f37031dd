"""The cassettes that VCR.py opens, whoever asks it to: pytest-recording, pytest-vcr, unittest, or the test itself.

VCR.py is changed in two places, once a process and only when something imports it: whoever enters or leaves a cassette
is told on, and so is a request that cannot be played.  The SDK would show the latter as "Connection error".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

import wrapt


class Watcher(Protocol):
    """What is told of cassettes."""

    def entered(self, cassette: Any) -> Callable[[], None]:
        """A cassette (`vcr.cassette.Cassette`) is loaded and begins to play; called again when it is saved."""

    def refused(self, error: Exception) -> None:
        """A request cannot be played; `error` is what VCR.py raises."""


_watchers: list[Watcher] = []  # the last one counts: a session of pytest within another has its own
_leaving: dict[int, Callable[[], None]] = {}
_placed: list[str] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` meanwhile."""
    if not _placed:
        _placed.append("vcr")
        wrapt.register_post_import_hook(_place_entrance, "vcr.cassette")
        wrapt.register_post_import_hook(_place_refusal, "vcr.errors")
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def _place_entrance(module: ModuleType) -> None:
    wrapt.wrap_function_wrapper(module, "CassetteContextDecorator.__enter__", _enter)
    wrapt.wrap_function_wrapper(module, "CassetteContextDecorator.__exit__", _exit)


def _place_refusal(module: ModuleType) -> None:
    wrapt.wrap_function_wrapper(module, "CannotOverwriteExistingCassetteException.__init__", _refuse)


def _enter(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    cassette = wrapped(*args, **kwargs)
    if _watchers:
        _leaving[id(instance)] = _watchers[-1].entered(cassette)
    return cassette


def _exit(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    leave = _leaving.pop(id(instance), None)
    try:
        return wrapped(*args, **kwargs)
    finally:
        if leave is not None:
            leave()


def _refuse(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    if _watchers:
        _watchers[-1].refused(instance)
