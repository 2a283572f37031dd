"""docs/testing.md: a legacy suite is converted by the page's own commands and blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from page import Page

from kit import legacy_suites as suites
from kit.old_recordings import Recording

PAGE = Page("docs/testing.md")
COMMANDS = [line[2:] for line in PAGE.lines() if line.startswith("$ ")]
LINE, OFF, OFF_MODULE, FIXTURES, STAND_IN = PAGE.blocks()
TEST = suites.PLAIN.partition("def test_polled_by_hand")[0].replace("def test_polled", "def test_answer")

pytest.importorskip("typer", reason="the extra cli is not installed")


@pytest.fixture
def suite_folder(tmp_path: Path) -> Path:
    """A suite with one old recording, as on the page: tests/test_chat.py."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tmp_path / "conftest.py").write_text(LINE)
    (tests / "conftest.py").write_text(suites.CONFTEST)
    (tests / "test_chat.py").write_text(TEST)
    Recording("chat").with_conversation().with_polled_run().with_message_list().write(
        tests / "cassettes" / "test_chat" / "test_answer.yaml"
    )
    return tmp_path


def shell(suite_folder: Path, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command of the page."""
    # Where the package is not installed, its plugin has no entry point.
    plugin = "-p assistants_compat.pytest_plugin -p no:cacheprovider -p no:hypothesispytest"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    pythonpath = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path if entry)
    environment = {**os.environ, "PATH": path, "PYTHONPATH": pythonpath, "PYTEST_ADDOPTS": plugin}
    environment["OPENAI_API_KEY"] = "sk-test"
    return subprocess.run(  # noqa: S602 - a command of our own page
        command,
        shell=True,
        cwd=suite_folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_commands_of_the_page_convert_a_suite(suite_folder: Path) -> None:
    """The page's commands run a suite over old recordings, convert them, and leave no old recording."""
    day_one, convert, show, copy, new, _, played, check, last = COMMANDS
    first = shell(suite_folder, day_one)
    assert "1 passed" in first.stdout, first.stdout + first.stderr
    assert "1 test still uses recordings of the Assistants API" in first.stdout
    fails_on_old = last.partition("| ")[2]
    assert shell(suite_folder, fails_on_old, first.stdout).returncode == 1
    for command in (convert, show, copy):
        result = shell(suite_folder, command)
        assert result.returncode == 0, result.stdout + result.stderr
    assert new == day_one  # it is what `played` runs
    second = shell(suite_folder, played)
    assert "1 passed" in second.stdout, second.stdout + second.stderr
    assert "still use" not in second.stdout
    checked = shell(suite_folder, check)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout + checked.stderr
    assert shell(suite_folder, fails_on_old, second.stdout).returncode == 0


def test_the_blocks_work_in_a_suite(pytester: pytest.Pytester) -> None:
    """The page's test without a recording passes, and pytest accepts the options of its ini blocks."""
    pytester.path.joinpath("test_it.py").write_text(FIXTURES)
    options = "".join(block.partition("\n")[2] for block in PAGE.blocks("ini"))
    pytester.path.joinpath("pytest.ini").write_text(f"[pytest]\naddopts = --strict-config\n{options}")
    quiet = ("-p", "no:hypothesispytest", "-W", "ignore::pytest.PytestWarning")
    pytester.runpytest_inprocess("-p", "assistants_compat.pytest_plugin", *quiet).assert_outcomes(passed=1)


FAKED = """
import openai
import pytest

@pytest.fixture
def client(monkeypatch):
    client = openai.OpenAI(api_key="sk-test", max_retries=0)
    monkeypatch.setattr(client._client, "send", lambda *args, **options: (_ for _ in ()).throw(LookupError("sent")))
    return client

def check(client):
    with pytest.raises(LookupError, match="sent"):
        client.beta.threads.create()
"""


def test_the_blocks_switch_the_library_off(pytester: pytest.Pytester) -> None:
    """The marker and the fixture of the page leave the client's request to the client, in a test and in a module."""
    pytester.path.joinpath("conftest.py").write_text(LINE)
    pytester.path.joinpath("test_one.py").write_text(FAKED + OFF.replace("...", "check(client)"))
    for number, line in enumerate(OFF_MODULE.splitlines()):
        module = f"{FAKED}\n{line}\ndef test_it(client): check(client)\n"
        pytester.path.joinpath(f"test_module_{number}.py").write_text(module)
    quiet = ("-p", "no:hypothesispytest", "-W", "ignore::pytest.PytestWarning")
    pytester.runpytest_inprocess(*quiet).assert_outcomes(passed=4)


def test_the_recording_command_of_the_page_is_valid(pytester: pytest.Pytester) -> None:
    """pytest-recording accepts the page's recording command; tests/pytest_plugin records with it."""
    command = COMMANDS[5].split()
    assert command[:4] == ["python", "-m", "pytest", "-q"]
    arguments = [*command[4:-1], "-p", "assistants_compat.pytest_plugin", "-W", "ignore::pytest.PytestWarning"]
    pytester.path.joinpath("test_it.py").write_text("def test_it(record_mode): assert record_mode == 'rewrite'\n")
    pytester.runpytest_inprocess("-p", "no:hypothesispytest", *arguments).assert_outcomes(passed=1)


def test_the_page_is_linked_from_the_readme() -> None:
    """The README links to the page."""
    assert PAGE.is_linked_from_the_readme()


def test_the_stand_in_answers_without_pytest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's last block runs as it stands, and downloads the scripted file."""
    PAGE.execute_and_close(STAND_IN)
    assert (tmp_path / "downloads" / "primes.csv").read_bytes() == b"2,3,5\n"
    assert "primes.csv" in capsys.readouterr().out
