"""Day one: a legacy suite with its old recordings passes, with the package installed and one line in conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import legacy_suites as suites
from kit.legacy_suites import LINE, Run


def test_a_suite_of_ten_passes_with_one_line(place: Path, run: Run) -> None:
    """Every test passes over its old recording, and the summary counts them."""
    suites.write(place, LINE)
    result = run("-q")
    result.assert_outcomes(passed=suites.TESTS)
    result.stdout.fnmatch_lines([f"*{suites.TESTS} tests still stand on recordings of the old Assistants API"])


def test_a_suite_that_wraps_its_own_clients_passes_too(place: Path, run: Run) -> None:
    """Without the line, but with wrap() in the suite's own code, nothing of the old recordings is answered here."""
    suites.write(place)
    for test in ("test_async.py", "test_plain.py"):
        (place / test).unlink()
    source = (place / "test_unittest.py").read_text()
    wrapped = source.replace("openai.OpenAI(max_retries=0)", "assistants_compat.wrap(openai.OpenAI(max_retries=0))")
    (place / "test_unittest.py").write_text(f"import assistants_compat\n{wrapped}")
    result = run("-q", "-W", "error::DeprecationWarning")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*2 tests still stand on recordings*"])


def test_the_workers_of_xdist_are_summed_up(place: Path, run: Run) -> None:
    """With pytest-xdist the summary is the same."""
    suites.write(place, LINE)
    result = run("-q", "-n1", "test_plain.py", apart=True)
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*6 tests still stand on recordings of the old Assistants API"])


def test_a_suite_that_asks_for_nothing_is_left_alone(place: Path, run: Run) -> None:
    """Without old recordings nothing is said, and without a marker no client is wrapped."""
    (place / "test_it.py").write_text(
        "import openai, pytest\n"
        "@pytest.fixture\n"
        "def client(): return openai.OpenAI()\n"
        "def test_it(client): assert type(client._client).__module__.startswith('openai')\n"
    )
    result = run("-q")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*assistants_compat*")


def test_the_line_brings_the_plugin_along(
    place: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pytest loads no plugins by itself the line is still enough, and an option does what the line does."""
    suites.write(place)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    everywhere = ("-p", "assistants_compat.pytest_plugin.everywhere", "-W", "error::pytest.PytestUnknownMarkWarning")
    result = pytester.runpytest_inprocess("-q", *everywhere, "test_unittest.py")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*2 tests still stand on recordings*"])
