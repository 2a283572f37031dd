"""The pytest plugin: recorded tests of legacy code, over old recordings and new ones (docs/testing.md).

It is loaded with every pytest that finds this package, so nothing heavy is imported here, and a suite that asks for
nothing is left as it is, but for one thing: while a recording of the old service plays, wrapped clients are as if they
were not wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..testing import StandIn
    from .session import Session

MARKER = "assistants_compat"
_CLIENTS = ["openai_client", "client", "async_openai_client", "async_client", "aclient"]
_NAME = "assistants_compat_session"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the command line and of the ini file."""
    group = parser.getgroup("assistants_compat")
    group.addoption(
        "--assistants-compat-played",
        metavar="FILE",
        type=Path,
        help="Write to FILE (JSON) which recorded requests the tests played: `cassettes check --played` reads it.",
    )
    parser.addini(
        "assistants_compat_clients",
        "The fixtures that assistants_compat_client and assistants_compat_async_client look for, in this order.",
        type="args",
        default=_CLIENTS,
    )
    parser.addini(
        "assistants_compat_partly_played",
        "Whether a test may leave a part of its cassette unplayed.",
        type="bool",
        default=False,
    )
    parser.addini(
        "assistants_compat_harmless",
        "Regular expressions, a line each, of what looks like a secret and is none.",
        type="linelist",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch cassettes and tests from here on."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*fixtures, partly_played=False): the OpenAI clients of this test's fixtures (of those that are "
        "named) are wrapped, with a store of its own, and ids and a clock that repeat.",
    )
    if int(pytest.__version__.partition(".")[0]) >= 8:  # noqa: PLR2004 - older ones have no such hook wrappers
        from .session import Session  # noqa: PLC0415 - as above

        config.pluginmanager.register(Session(config), _NAME)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of what was watched."""
    session = config.pluginmanager.get_plugin(_NAME)
    if session is not None:
        config.pluginmanager.unregister(session)
        session.close()


def _session(request: pytest.FixtureRequest) -> Session:
    session: Session | None = request.config.pluginmanager.get_plugin(_NAME)
    if session is None:
        pytest.fail("assistants_compat's fixtures need pytest 8 or newer.", pytrace=False)
    return session


@pytest.fixture
def assistants_compat_client(request: pytest.FixtureRequest) -> Any:
    """The suite's own `OpenAI` client, wrapped; beside `assistants_compat_upstream` a client of that."""
    return _session(request).client(request, asynchronous=False)


@pytest.fixture
def assistants_compat_async_client(request: pytest.FixtureRequest) -> Any:
    """The suite's own `AsyncOpenAI` client, wrapped; beside `assistants_compat_upstream` a client of that."""
    return _session(request).client(request, asynchronous=True)


@pytest.fixture
def assistants_compat_upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in for the Responses API (`assistants_compat.testing.StandIn`), for tests without any recording.

    `OPENAI_BASE_URL` and `OPENAI_API_KEY` lead there meanwhile, for clients that the tested code makes itself.
    """
    from ..testing import StandIn  # noqa: PLC0415 - a server, for the tests that ask for one

    with StandIn(seed=0) as upstream:
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "stand-in")
        yield upstream
