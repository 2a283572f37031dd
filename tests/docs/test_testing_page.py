"""docs/testing.md: a legacy suite goes its whole way, by the page's own commands and blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugin"))

from kit import legacy_suites as suites
from kit.old_recordings import Recording
from page import Page

PAGE = Page("docs/testing.md")
COMMANDS = [line[2:] for line in PAGE.lines() if line.startswith("$ ")]
LINE, FIXTURES = PAGE.blocks()
TEST = suites.PLAIN.partition("def test_polled_by_hand")[0].replace("def test_polled", "def test_answer")

pytest.importorskip("typer", reason="the extra cli is not installed")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A suite with one old recording, as the page has it: tests/test_chat.py."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tmp_path / "conftest.py").write_text(LINE)
    (tests / "conftest.py").write_text(suites.CONFTEST)
    (tests / "test_chat.py").write_text(TEST)
    Recording("chat").begin().polled().listed().write(tests / "cassettes" / "test_chat" / "test_answer.yaml")
    return tmp_path


def shell(place: Path, command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command of the page."""
    # Where the package is not installed, its plugin has no entry point.
    plugin = "-p assistants_compat.pytest_plugin -p no:cacheprovider -p no:hypothesispytest"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    pythonpath = os.pathsep.join(str(Path(each).resolve()) for each in sys.path if each)
    environment = {**os.environ, "PATH": path, "PYTHONPATH": pythonpath, "PYTEST_ADDOPTS": plugin}
    environment["OPENAI_API_KEY"] = "sk-test"
    return subprocess.run(  # noqa: S602 - a command of our own page
        command,
        shell=True,
        cwd=place,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_way_of_a_suite(place: Path) -> None:
    """Day one, conversion, the same test the new way, what is played, what is checked, and none is old at the end."""
    day_one, convert, show, copy, new, _, played, check, last = COMMANDS
    first = shell(place, day_one)
    assert "1 passed" in first.stdout, first.stdout + first.stderr
    assert "1 test still stands on recordings of the old Assistants API" in first.stdout
    held = last.partition("| ")[2]
    assert shell(place, held, first.stdout).returncode == 1
    for command in (convert, show, copy):
        done = shell(place, command)
        assert done.returncode == 0, done.stdout + done.stderr
    assert new == day_one  # it is what `played` runs
    second = shell(place, played)
    assert "1 passed" in second.stdout, second.stdout + second.stderr
    assert "still stand" not in second.stdout
    checked = shell(place, check)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout + checked.stderr
    assert shell(place, held, second.stdout).returncode == 0


def test_the_blocks_work_in_a_suite(pytester: pytest.Pytester) -> None:
    """The test without a recording passes as it stands, and pytest knows the options of the ini blocks."""
    pytester.path.joinpath("test_it.py").write_text(FIXTURES)
    options = "".join(block.partition("\n")[2] for block in PAGE.blocks("ini"))
    pytester.path.joinpath("pytest.ini").write_text(f"[pytest]\naddopts = --strict-config\n{options}")
    quiet = ("-p", "no:hypothesispytest", "-W", "ignore::pytest.PytestWarning")
    pytester.runpytest_inprocess("-p", "assistants_compat.pytest_plugin", *quiet).assert_outcomes(passed=1)


def test_recording_is_what_the_page_says(pytester: pytest.Pytester) -> None:
    """The recording command of the page is one that pytest-recording knows; tests/plugin records with it."""
    command = COMMANDS[5].split()
    assert command[:4] == ["python", "-m", "pytest", "-q"]
    arguments = [*command[4:-1], "-p", "assistants_compat.pytest_plugin", "-W", "ignore::pytest.PytestWarning"]
    pytester.path.joinpath("test_it.py").write_text("def test_it(record_mode): assert record_mode == 'rewrite'\n")
    pytester.runpytest_inprocess("-p", "no:hypothesispytest", *arguments).assert_outcomes(passed=1)


def test_the_page_is_linked_from_the_readme() -> None:
    """Who has a suite finds it."""
    assert PAGE.is_linked_from_the_readme()
