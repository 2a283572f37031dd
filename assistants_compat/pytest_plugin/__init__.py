"""The pytest plugin: runs legacy tests over their recordings, old and new (docs/testing.md).

Every pytest that finds this package loads it, so nothing heavy is imported here. A suite that does not use it stays as
it is, except that wrapped clients act unwrapped while a recording of the Assistants API plays, or where a mock answers
it. Start reading at `session.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .marker import MARKER

if TYPE_CHECKING:
    from ..testing import StandIn
    from .session import Session

_CLIENT_FIXTURES = ["openai_client", "client", "async_openai_client", "async_client", "aclient"]
_SESSION_NAME = "assistants_compat_session"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the command line and of the ini file."""
    group = parser.getgroup("assistants_compat")
    group.addoption(
        "--assistants-compat-played",
        metavar="FILE",
        type=Path,
        help="Write to FILE (JSON) which recorded requests the tests played, for `cassettes check --played FILE`.",
    )
    parser.addini(
        "assistants_compat_clients",
        "The fixtures that assistants_compat_client and assistants_compat_async_client try, in this order.",
        type="args",
        default=_CLIENT_FIXTURES,
    )
    parser.addini(
        "assistants_compat_partly_played",
        "Whether a test may pass without making all requests of its cassette.",
        type="bool",
        default=False,
    )
    parser.addini(
        "assistants_compat_harmless",
        "Regular expressions, one a line, for texts that look like secrets and are not.",
        type="linelist",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and start to watch cassettes and tests."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*fixtures, partly_played=False, off=False): wrap the OpenAI clients of this test's fixtures, or of "
        "the named ones only, with a store of their own and with ids and a clock that are the same on every run. With "
        "off=True, leave every client as it is: the test's own mocks answer.",
    )
    if int(pytest.__version__.partition(".")[0]) >= 8:  # noqa: PLR2004 - older versions lack such hook wrappers
        from .session import Session  # noqa: PLC0415 - heavy, see above

        config.pluginmanager.register(Session(config), _SESSION_NAME)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop watching cassettes and tests."""
    session = config.pluginmanager.get_plugin(_SESSION_NAME)
    if session is not None:
        config.pluginmanager.unregister(session)
        session.close()


def _session(request: pytest.FixtureRequest) -> Session:
    session: Session | None = request.config.pluginmanager.get_plugin(_SESSION_NAME)
    if session is None:
        pytest.fail(
            f"The fixtures of assistants_compat need pytest 8 or newer, not {pytest.__version__}.", pytrace=False
        )
    return session


@pytest.fixture
def assistants_compat_client(request: pytest.FixtureRequest) -> Any:
    """The suite's own `OpenAI` client, wrapped.

    In a test that also uses `assistants_compat_upstream` it is a new client of that stand-in.
    """
    return _session(request).client(request, asynchronous=False)


@pytest.fixture
def assistants_compat_async_client(request: pytest.FixtureRequest) -> Any:
    """The suite's own `AsyncOpenAI` client, wrapped.

    In a test that also uses `assistants_compat_upstream` it is a new client of that stand-in.
    """
    return _session(request).client(request, asynchronous=True)


@pytest.fixture
def assistants_compat_off(request: pytest.FixtureRequest) -> None:
    """Switches the library off for the test: every client acts as if it were not wrapped.

    For tests that mock the HTTP of the Assistants API. For a module:
    `pytestmark = pytest.mark.usefixtures("assistants_compat_off")`.
    """
    _session(request).switch_off()


@pytest.fixture
def assistants_compat_upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in for the Responses API (`assistants_compat.testing.StandIn`), for tests without a recording.

    During the test `OPENAI_BASE_URL` and `OPENAI_API_KEY` point to it, for clients that the tested code makes itself.
    """
    from ..testing import StandIn  # noqa: PLC0415 - starts a server, which most tests do not need

    with StandIn(seed=0) as upstream:
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "stand-in")
        yield upstream
