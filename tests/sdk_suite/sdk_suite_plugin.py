"""The plugin of the inner pytest: it runs the SDK's suite unchanged, with wrapped `client` and `async_client`.

It replaces the suite's own conftest.py (`--noconftest`), which only makes the two fixtures, runs `async` tests in one
event loop, and loads mocks that these files do not use.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import openai
import pytest
from sdk_suite_cases import AIOHTTP_MISSING, FILES, aiohttp_client, needs_waiting_run
from sdk_suite_seed import seed_store, seed_upstream

import assistants_compat
from assistants_compat import Settings
from assistants_compat.doors import stream_readers
from assistants_compat.testing import StandIn

SPEC_VARIABLE = "SDK_SUITE_SPEC"

_MAPPED_TO = "gpt-6-luna"
_MODEL = re.compile(r"""\bmodel(?:"|')?\s*[=:]\s*["']([^"']+)["']""")

_warns = pytest.warns


def _warns_without_deprecation(
    expected: Any = Warning,
    *args: Any,
    **kwargs: Any,
) -> AbstractContextManager[object]:
    """Replace `pytest.warns` so that it no longer expects the SDK's DeprecationWarning.

    This is the only expectation that is lifted: wrapping silences these warnings so that suites with `-W error` keep
    passing. sdk_suite.ini checks instead that none is given (`filterwarnings = error`).
    """
    return contextlib.nullcontext() if expected is DeprecationWarning else _warns(expected, *args, **kwargs)


def pytest_configure() -> None:
    """Lift the expectation of deprecation warnings before any test module is imported."""
    pytest.warns = _warns_without_deprecation  # type: ignore[assignment]  # one signature of its two


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of all asynchronous tests, as in the suite's own conftest.py."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in the shared event loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in names}
    pyfuncitem._request.getfixturevalue("loop").run_until_complete(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def upstream() -> Iterator[StandIn]:
    """The stand-in for the Responses API, checked against the spec if that is available."""
    with StandIn(spec=os.environ.get(SPEC_VARIABLE) or None) as standin:
        seed_upstream(standin)
        yield standin


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings for a store of this session.

    The suite sets every parameter at once, and its models, other ones in each version, refuse some of them. A mapped
    model gets only what it takes.
    """
    folder: Path = tmp_path_factory.mktemp("store")
    files = [pytestconfig.rootpath / name for name in FILES]
    named = {model for file in files if file.is_file() for model in _MODEL.findall(file.read_text(encoding="utf-8"))}
    models = dict.fromkeys(sorted(named - {_MAPPED_TO}), _MAPPED_TO)
    return Settings(store=str(folder / "store.db"), files=str(folder / "files"), poll_after_ms=1, models=models)


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest, settings: Settings, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Give each test the same objects, and a thread that no run of another test locks.

    The library reads a stream that a test closed to its end in the background; wait for that end.
    """
    seed_store(settings, waiting=needs_waiting_run(request.node.name))
    yield
    for name, finish_streams in (
        ("client", stream_readers.finish_streams),
        ("async_client", stream_readers.finish_streams_async),
    ):
        if name in request.fixturenames:
            pending = finish_streams(request.getfixturevalue(name)._client.__wrapped__)
            if pending is not None:
                loop.run_until_complete(pending)


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest, upstream: StandIn, settings: Settings) -> Iterator[openai.OpenAI]:
    """The suite's `client`, wrapped; its parameter says whether answers are validated strictly."""
    strict = getattr(request, "param", True)
    with openai.OpenAI(
        base_url=upstream.base_url, api_key="My API Key", max_retries=0, _strict_response_validation=strict
    ) as plain:
        yield assistants_compat.wrap(plain, settings)


@pytest.fixture(scope="session")
def async_client(
    request: pytest.FixtureRequest, upstream: StandIn, settings: Settings, loop: asyncio.AbstractEventLoop
) -> Iterator[openai.AsyncOpenAI]:
    """The suite's `async_client`, wrapped; its parameter may also ask for the SDK's aiohttp client."""
    param = getattr(request, "param", True)
    strict, options = (param, {}) if isinstance(param, bool) else (param.get("strict", True), _http_client(param))
    plain = openai.AsyncOpenAI(
        base_url=upstream.base_url, api_key="My API Key", max_retries=0, _strict_response_validation=strict, **options
    )
    yield assistants_compat.wrap(plain, settings)
    loop.run_until_complete(plain.close())


def _http_client(param: dict[str, Any]) -> dict[str, Any]:
    if param.get("http_client") != "aiohttp":
        return {}
    http_client = aiohttp_client()
    if http_client is None:
        pytest.skip(AIOHTTP_MISSING)
    return {"http_client": http_client}
