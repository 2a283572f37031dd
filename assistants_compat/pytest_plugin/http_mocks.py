"""Whether a test answers the Assistants API itself, by a mock of the HTTP client.

Such a test expects the old requests, so the library must not answer them. Only what is certain counts: a mock that
names routes of the Assistants API, and none of the Responses API. A mock that answers every request says nothing.

The mock libraries have no public way to list what they answer, so this file alone uses their private attributes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from types import CodeType
from typing import Any

_LEGACY_ROUTE = re.compile(r"(?<![\w-])(?:assistants|threads)(?![\w-])")
_NEW_ROUTE = re.compile(r"(?<![\w-])responses(?![\w-])")
_ORIGIN = re.compile(r"\A[^/]*://[^/]*")
# A text in a program may only mention threads: here it must be a path, one segment of it, or the type of an object.
_LEGACY_CONSTANT = re.compile(r"(?:.*/|\A)(?:assistants|threads)(?:[/?{].*)?\Z|\Athread\.(?:message|run)")
_NEW_CONSTANT = re.compile(r"(?:.*/|\A)responses(?:[/?{].*)?\Z|\Aresponse\.\w")
_MAX_DEPTH = 4  # of functions that call functions


def answers_legacy_calls(request: Any, http_client: Any, fixtures: Iterable[object]) -> bool:
    """Return whether a mock answers a request to the Assistants API as the old service did.

    `request` is a request of httpx or httpx2, and `http_client` the client that is to send it. `fixtures` are the
    values of the test's fixtures for which `is_mock` is true.
    """
    host = str(request.url.host)
    routes = chain(_respx_routes(), _pytest_httpx_routes(fixtures))
    if _names_only(routes, host, _LEGACY_ROUTE, _NEW_ROUTE):
        return True
    constants = _transport_constants(_transport(http_client, request))
    return _names_only(constants, host, _LEGACY_CONSTANT, _NEW_CONSTANT)


def is_mock(fixture: object) -> bool:
    """Return whether the value of a fixture is a mock that `answers_legacy_calls` understands."""
    return type(fixture).__module__.partition(".")[0] == "pytest_httpx" and hasattr(fixture, "_callbacks")


def _names_only(texts: Iterable[str], host: str, legacy: re.Pattern[str], new: re.Pattern[str]) -> bool:
    paths = [_ORIGIN.sub("", text) for text in texts if _is_at(text, host)]
    return any(map(legacy.search, paths)) and not any(map(new.search, paths))


def _is_at(text: str, host: str) -> bool:
    """Return whether an address may be of the OpenAI API at a host; a path alone is at any."""
    return "chatkit" not in text and ("://" not in text or host in text.replace("\\", ""))


def _respx_routes() -> Iterator[str]:
    """Yield the addresses that the active routers of respx answer, each as one text."""
    mocks = sys.modules.get("respx.mocks")
    mockers = getattr(getattr(mocks, "Mocker", None), "registry", {})
    for mocker in mockers.values():
        for router in mocker.routers:
            yield from _router_routes(router)


def _router_routes(router: Any) -> Iterator[str]:
    for route in router.routes:
        yield _pattern_text(route.pattern)


def _pattern_text(pattern: Any) -> str:
    """Return the URL of a route: of its parts, a regular expression counts as its text."""
    parts: dict[str, str] = {}
    for part in pattern or ():
        values = part.value if isinstance(part.value, (list, tuple)) else [part.value]
        texts = [value.pattern if isinstance(value, re.Pattern) else str(value) for value in values]
        parts[str(getattr(part, "key", ""))] = " ".join(texts)
    if "url" in parts:
        return parts["url"]
    host = f"https://{parts['host']}" if "host" in parts else ""
    return f"{host}{parts.get('path', '')}"


def _pytest_httpx_routes(fixtures: Iterable[object]) -> Iterator[str]:
    for fixture in filter(is_mock, fixtures):
        callbacks: Any = vars(fixture)["_callbacks"]
        for matcher, _ in callbacks:
            url = getattr(matcher, "url", None)
            if url is not None:
                yield url.pattern if isinstance(url, re.Pattern) else str(url).partition("?")[0]


# --- transports


def _transport(http_client: Any, request: Any) -> Any:
    choose: Callable[[Any], Any] | None = getattr(http_client, "_transport_for_url", None)
    return None if choose is None else choose(request.url)


def _transport_constants(transport: Any) -> Iterator[str]:
    """Yield the texts in the program that answers instead of a server; nothing for a transport that sends requests."""
    kinds = {class_.__name__ for class_ in type(transport).__mro__}
    if "MockTransport" in kinds:
        handler = getattr(transport, "handler", None)
        router = getattr(handler, "__self__", None)
        yield from _router_routes(router) if hasattr(router, "routes") else _constants(handler, _MAX_DEPTH, set())
    elif "ASGITransport" in kinds:
        for route in getattr(getattr(transport, "app", None), "routes", ()):
            yield str(getattr(route, "path", ""))
    elif "WSGITransport" in kinds:
        url_map = getattr(getattr(transport, "app", None), "url_map", None)
        for rule in url_map.iter_rules() if url_map is not None else ():
            yield str(rule)


def _constants(value: Any, depth: int, seen: set[int]) -> Iterator[str]:
    """Yield the texts in a value, or in a function and what it uses."""
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("latin-1")
    elif isinstance(value, re.Pattern):
        yield from _constants(value.pattern, depth, seen)
    elif isinstance(value, dict):
        yield from _constants_of_all(chain(value.keys(), value.values()), depth, seen)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from _constants_of_all(value, depth, seen)
    elif isinstance(value, CodeType):
        yield from _constants_of_all(value.co_consts, depth, seen)
    elif (function := _function_of(value)) is not None:
        yield from _constants(function.__code__, depth, seen)
        cells = (cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell))
        names = (function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__)
        instance = getattr(value, "__self__", None if value is function else value)
        fields = getattr(instance, "__dict__", {}).values()
        yield from _constants_of_all(chain(cells, names, function.__defaults__ or (), fields), depth - 1, seen)


def _constants_of_all(values: Iterable[Any], depth: int, seen: set[int]) -> Iterator[str]:
    for value in values:
        yield from _constants(value, depth, seen)


def _function_of(value: Any) -> Any:
    """Return the Python function behind a callable; None for classes, modules and what is written in C."""
    if isinstance(value, type):
        return None
    for candidate in (value, getattr(value, "__func__", None), inspect.getattr_static(type(value), "__call__", None)):
        if hasattr(candidate, "__code__") and hasattr(candidate, "__globals__"):
            return candidate
    return None


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
