"""docs/going_in.md: its code and commands run as they stand, given where the service is."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from page import Page

import assistants_compat
from assistants_compat.runtime import switch
from assistants_compat.testing import StandIn

PAGE = Page("docs/going_in.md")
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
def _surroundings(upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the service and the store are, a directory to write into, and no client left covered."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    monkeypatch.setattr(switch, "_said", [])
    monkeypatch.chdir(tmp_path)
    yield
    assistants_compat.uninstall()


def block(words: str) -> str:
    """The one code block with these words."""
    [found] = [each for each in BLOCKS if words in each]
    return found


def test_install_and_uninstall_run_as_shown() -> None:
    """The block answers a call, and the second one takes it back."""
    names = PAGE.execute_and_close(block("assistants_compat.install()"))
    assert names["thread"].object == "thread"
    client = names["client"]
    covered = client._client
    PAGE.execute(block("uninstall()"), names)
    assert client._client is covered.__wrapped__


@pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this SDK has no Responses API")
def test_both_apis_run_as_shown(upstream: StandIn) -> None:
    """A legacy call is answered here, and a native one goes to the service."""
    names = PAGE.execute_and_close(block("responses.create"))
    assert (names["thread"].object, names["response"].status) == ("thread", "completed")
    assert [(each.method, each.path) for each in upstream.requests] == [("POST", "/responses")]


def test_the_report_runs_as_shown() -> None:
    """The function hears of a call."""
    [call] = PAGE.execute_and_close(block("calls.append"))["calls"]
    assert call == assistants_compat.LegacyCall("POST", "/threads", "here")


def test_the_rule_runs_as_shown() -> None:
    """The client has the rule."""
    assert PAGE.execute_and_close(block("only="))["settings"].only == {"asst_abc"}


def test_every_block_is_run_by_a_test_here() -> None:
    """The sums are run with the command that writes the report."""
    assert len(BLOCKS) == 6


def test_the_report_of_a_command_adds_up_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The line in the page is one that is written, and its code sums up the lines."""
    [command] = [each for each in COMMANDS if "REPORT" in each]
    Path("app.py").write_text(LEGACY, encoding="utf-8")
    assert shell(command) == ""
    [shown] = PAGE.blocks("json")
    [line] = Path("legacy_calls.jsonl").read_text(encoding="utf-8").splitlines()
    written, shown = json.loads(line), json.loads(shown)
    written["counted"][0]["calls"] = 3
    assert {**written, "process": 4711, "at": 1790000000} == shown
    Path("legacy_calls.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    PAGE.execute_and_close(block("most_common"))
    assert capsys.readouterr().out == "     2 POST /threads (here)\n"


@pytest.mark.parametrize("command", [each for each in COMMANDS if "REPORT" not in each])
def test_each_command_runs(command: str) -> None:
    """The program has its arguments and options and is covered, unless that is switched off."""
    Path("myapp").mkdir()
    for path in ("app.py", "myapp/worker.py"):
        Path(path).write_text(PROGRAM, encoding="utf-8")
    complained = shell(command)
    arguments, covered, dev = re.fullmatch(r"(\[.*\]) (\w+) (\w+)\n", Path("said").read_text(encoding="utf-8")).groups()  # type: ignore[union-attr]
    off = "ASSISTANTS_COMPAT=off" in command
    assert (covered, complained.startswith("ASSISTANTS_COMPAT=off: ")) == (str(not off), off)
    assert dev == str("-X dev" in command)
    assert all(
        repr(word) in arguments for word in shlex.split(command.partition(" run ")[2])[1:] if word.startswith("--")
    )


def shell(command: str) -> str:
    """Run a command of the page with this Python; what it wrote to stderr."""
    words = shlex.split(command)
    start = words.index("python")
    more = dict(word.split("=", 1) for word in words[:start])
    line = [sys.executable, *words[start + 1 :]]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **more}, check=False, timeout=200)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_the_page_is_linked_from_the_readme() -> None:
    """Who looks for it finds it."""
    assert PAGE.is_linked_from_the_readme()
