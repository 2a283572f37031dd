"""With one line in its conftest.py, a legacy suite passes over its old recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import legacy_suites as suites
from kit.legacy_suites import LINE, Run


def test_a_suite_of_ten_passes_with_one_line(suite_folder: Path, run: Run) -> None:
    """Every test passes over its old recording, and the summary counts the tests."""
    suites.write(suite_folder, LINE)
    result = run("-q")
    result.assert_outcomes(passed=suites.TESTS)
    result.stdout.fnmatch_lines([f"*{suites.TESTS} tests still use recordings of the Assistants API"])


def test_a_suite_that_wraps_its_own_clients_passes_too(suite_folder: Path, run: Run) -> None:
    """A suite that calls wrap() itself passes too: the recording answers its calls, not the library."""
    suites.write(suite_folder)
    for test in ("test_async.py", "test_plain.py"):
        (suite_folder / test).unlink()
    source = (suite_folder / "test_unittest.py").read_text()
    wrapped = source.replace("openai.OpenAI(max_retries=0)", "assistants_compat.wrap(openai.OpenAI(max_retries=0))")
    (suite_folder / "test_unittest.py").write_text(f"import assistants_compat\n{wrapped}")
    result = run("-q", "-W", "error::DeprecationWarning")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*2 tests still use recordings*"])


def test_the_summary_adds_up_the_workers_of_xdist(suite_folder: Path, run: Run) -> None:
    """With pytest-xdist the summary is the same as without."""
    suites.write(suite_folder, LINE)
    result = run("-q", "-n1", "test_plain.py", apart=True)
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*6 tests still use recordings of the Assistants API"])


def test_a_suite_without_old_recordings_or_markers_is_unchanged(suite_folder: Path, run: Run) -> None:
    """Without old recordings the plugin prints nothing, and without a marker it wraps no client."""
    (suite_folder / "test_it.py").write_text(
        "import openai, pytest\n"
        "@pytest.fixture\n"
        "def client(): return openai.OpenAI()\n"
        "def test_it(client): assert type(client._client).__module__.startswith('openai')\n"
    )
    result = run("-q")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*assistants_compat*")


def test_the_conftest_line_loads_the_plugin(
    suite_folder: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conftest line loads the plugin where autoload is off, and the option `-p ...everywhere` does the same."""
    suites.write(suite_folder)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    options = ("-p", "assistants_compat.pytest_plugin.everywhere", "-W", "error::pytest.PytestUnknownMarkWarning")
    result = pytester.runpytest_inprocess("-q", *options, "test_unittest.py")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*2 tests still use recordings*"])
