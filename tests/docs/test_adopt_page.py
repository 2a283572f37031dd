"""docs/adopt.md: its code and commands run as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from page import Page

import assistants_compat
from assistants_compat.runtime import switch
from assistants_compat.testing import StandIn

PAGE = Page("docs/adopt.md")
BLOCKS = PAGE.blocks()
COMMANDS = PAGE.lines()
PROGRAM = """
import sys
with open("said", "w") as file:
    print(sys.argv[1:], "assistants_compat.doors.install" in sys.modules, sys.flags.dev_mode, file=file)
"""
LEGACY = """
import openai
openai.OpenAI().post("/threads", body={}, cast_to=object)
"""


@pytest.fixture(autouse=True)
def _environment(upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the address of the service and of the store, use an empty directory, and uninstall afterwards."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    monkeypatch.setattr(switch, "_logged", [])
    monkeypatch.chdir(tmp_path)
    yield
    assistants_compat.uninstall()


def block(text: str) -> str:
    """Return the only code block that contains this text."""
    [match] = [candidate for candidate in BLOCKS if text in candidate]
    return match


def test_install_and_uninstall_run_as_shown() -> None:
    """After the first block the library answers calls, and the second one removes the proxy."""
    names = PAGE.execute_and_close(block("assistants_compat.install()"))
    assert names["thread"].object == "thread"
    client = names["client"]
    proxy = client._client
    PAGE.execute(block("uninstall()"), names)
    assert client._client is proxy.__wrapped__


@pytest.mark.skipif(find_spec("openai.resources.responses") is None, reason="this SDK has no Responses API")
def test_both_apis_run_as_shown(upstream: StandIn) -> None:
    """The library answers the legacy call, and the native call goes to the service."""
    names = PAGE.execute_and_close(block("responses.create"))
    assert (names["thread"].object, names["response"].status) == ("thread", "completed")
    assert [(request.method, request.path) for request in upstream.requests] == [("POST", "/responses")]


def test_the_report_runs_as_shown() -> None:
    """The callback of the page is called with the legacy call."""
    [call] = PAGE.execute_and_close(block("calls.append"))["calls"]
    assert call == assistants_compat.LegacyCall("POST", "/threads", "here")


def test_the_rule_runs_as_shown() -> None:
    """The client of the page has the rule `only`."""
    assert PAGE.execute_and_close(block("only="))["settings"].only == {"asst_abc"}


def test_every_block_is_run_by_a_test_here() -> None:
    """The page has six code blocks, and each is run by a test in this file."""
    assert len(BLOCKS) == 6


def test_the_report_of_a_command_adds_up_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A command writes the report line that the page shows, and the page's code counts such lines."""
    [command] = [candidate for candidate in COMMANDS if "REPORT" in candidate]
    Path("app.py").write_text(LEGACY, encoding="utf-8")
    assert shell(command) == ""
    [expected] = PAGE.blocks("json")
    [line] = Path("calls.jsonl").read_text(encoding="utf-8").splitlines()
    actual, expected = json.loads(line), json.loads(expected)
    actual["counted"][0]["calls"] = 3
    assert {**actual, "process": 4711, "at": 1790000000} == expected
    Path("calls.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    PAGE.execute_and_close(block("most_common"))
    assert capsys.readouterr().out == "     2 POST /threads (here)\n"


@pytest.mark.parametrize("command", [line for line in COMMANDS if "REPORT" not in line])
def test_each_command_runs(command: str) -> None:
    """Each command starts the program covered, with its arguments and options, unless the switch is off."""
    Path("myapp").mkdir()
    for path in ("app.py", "myapp/worker.py"):
        Path(path).write_text(PROGRAM, encoding="utf-8")
    stderr = shell(command)
    arguments, covered, dev = re.fullmatch(r"(\[.*\]) (\w+) (\w+)\n", Path("said").read_text(encoding="utf-8")).groups()  # type: ignore[union-attr]
    off = "ASSISTANTS_COMPAT=off" in command
    assert (covered, stderr.startswith("ASSISTANTS_COMPAT=off: ")) == (str(not off), off)
    assert dev == str("-X dev" in command)
    assert all(
        repr(word) in arguments for word in shlex.split(command.partition(" run ")[2])[1:] if word.startswith("--")
    )


def shell(command: str) -> str:
    """Run a command of the page with this Python, and return its stderr."""
    words = shlex.split(command)
    start = words.index("python")
    variables = dict(word.split("=", 1) for word in words[:start])
    line = [sys.executable, *words[start + 1 :]]
    result = subprocess.run(
        line, capture_output=True, text=True, env={**os.environ, **variables}, check=False, timeout=200
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    return result.stderr


def test_the_page_is_linked_from_the_readme() -> None:
    """The README links to the page."""
    assert PAGE.is_linked_from_the_readme()
