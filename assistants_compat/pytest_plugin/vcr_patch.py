"""Reports the cassettes that VCR.py opens, whether pytest-recording, pytest-vcr, unittest or a test asks for them.

It patches VCR.py in three places, once a process and only when VCR.py is imported: where a cassette is opened and
closed, where a request cannot be played (the SDK would show that as "Connection error"), and where the names of
matchers become functions, because a cassette does not know whether a suite chose them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

import wrapt


class _DefaultMatchers(list):  # type: ignore[type-arg]  # of VCR.py's matchers
    """The matchers of a cassette for which the suite chose none."""


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
        wrapt.register_post_import_hook(_patch_config, "vcr.config")
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


def _patch_config(module: ModuleType) -> None:
    default = inspect.signature(module.VCR.__init__).parameters["match_on"].default

    def mark_defaults(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        config = wrapped(*args, **kwargs)
        # The very object: a suite may choose the same names that are the default.
        is_chosen = not {"match_on", "additional_matchers"}.isdisjoint(kwargs) or instance.match_on is not default
        return config if is_chosen else {**config, "match_on": _DefaultMatchers(config["match_on"])}

    wrapt.wrap_function_wrapper(module, "VCR.get_merged_config", mark_defaults)


def is_default_choice(matchers: Any) -> bool:
    """Return whether the matchers of an open cassette are VCR.py's defaults, and not the choice of the suite."""
    if isinstance(matchers, _DefaultMatchers):
        return True
    # A cassette that was made without a `VCR` has a default of its own.
    from vcr.cassette import Cassette  # noqa: PLC0415 - it is imported by now

    return matchers is inspect.signature(Cassette.__init__).parameters["match_on"].default


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
