"""Suites as their owners wrote them, run by pytest within pytest."""

from __future__ import annotations

from pathlib import Path

import openai

# Loaded here and not in the suites: pytester forgets what a suite within this process imports, and importing it again
# costs a second each.
import openai.lib.streaming._assistants
import openai.types.beta.threads  # noqa: F401
import pytest
import vcr.cassette
import vcr.errors
import vcr.unittest  # noqa: F401
from kit.legacy_suites import Run

from assistants_compat.testing import StandIn

# Hypothesis is imported at the end of each run, which would take longer than the suite.
_OFF = ("cacheprovider", "hypothesispytest")
_LOADED = (
    *("-p", "assistants_compat.pytest_plugin", "-W", "ignore::pytest.PytestWarning"),
    *(word for name in _OFF for word in ("-p", f"no:{name}")),
)


@pytest.fixture
def place(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty suite, whose clients have a key that is none."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return pytester.path


@pytest.fixture
def run(pytester: pytest.Pytester, place: Path) -> Run:
    """Run the suite in this process, with the plugin by its name where the package is not installed."""

    def run(*arguments: str, apart: bool = False) -> pytest.RunResult:
        runs = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return runs(*_LOADED, *arguments)

    return run


@pytest.fixture
def live(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """What is recorded from: the suite's clients go there, while `OPENAI_BASE_URL` is set."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    return upstream
