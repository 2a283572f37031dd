"""Proves that legacy test suites replay, convert and record their cassettes."""

from __future__ import annotations

from pathlib import Path

import openai

# Imported here, because pytester forgets what a suite in this process imports, and a second import costs a second.
import openai.lib.streaming._assistants
import openai.types.beta.threads  # noqa: F401
import pytest
import vcr.cassette
import vcr.errors
import vcr.unittest  # noqa: F401

from assistants_compat.testing import StandIn
from kit.legacy_suites import Run

# Hypothesis would be imported at the end of each run, which takes longer than the suite.
_UNUSED_PLUGINS = ("cacheprovider", "hypothesispytest")
_PLUGIN_OPTIONS = (
    *("-p", "assistants_compat.pytest_plugin", "-W", "ignore::pytest.PytestWarning"),
    *(option for name in _UNUSED_PLUGINS for option in ("-p", f"no:{name}")),
)


@pytest.fixture
def suite_folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty suite, whose clients have a made-up key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return pytester.path


@pytest.fixture
def run(pytester: pytest.Pytester, suite_folder: Path) -> Run:
    """Run the suite in this process, or in one of its own with `apart`; the plugin is loaded by its module name."""

    def run(*arguments: str, apart: bool = False) -> pytest.RunResult:
        run_pytest = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return run_pytest(*_PLUGIN_OPTIONS, *arguments)

    return run


@pytest.fixture
def recorded_upstream(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in to record from: `OPENAI_BASE_URL` leads the suite's clients to it."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    return upstream
