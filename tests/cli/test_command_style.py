"""One style for all commands: the list of them is made from the app, so that a new one is held to it too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from assistants_compat.cli import app

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "python -m assistants_compat"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [
    path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path.name != Path(__file__).name
]

# Commands that print no result of their own, and so have no --json; each with its reason.
WITHOUT_JSON = {"run": "what it prints is the program's"}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, those of groups too."""

    def below(group: Any, name: str) -> Iterator[tuple[str, Any]]:
        for word, command in group.commands.items():
            whole = f"{name} {word}".strip()
            if hasattr(command, "commands"):
                yield from below(command, whole)
            else:
                yield whole, command

    yield from below(typer.main.get_command(app), "")


COMMANDS = dict(commands())


def test_there_are_commands() -> None:
    """The list is not empty, and the allow-list names real ones or such as are still to come."""
    assert {"demo", "doctor", "download", "settle", "store gc"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_does(name: str) -> None:
    """A sentence, and help for every option."""
    command = COMMANDS[name]
    assert re.match(r"[A-Z][^\n]+", command.help)
    for parameter in command.params:
        if parameter.name not in ("help", "args"):
            assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_examples_that_it_would_take(name: str) -> None:
    """In the epilog, a line each, and the command's own parser takes them."""
    lines = re.findall(rf"^  {PROGRAM} (.+)$", COMMANDS[name].epilog or "", re.MULTILINE)
    assert lines, f"{name} has no examples"
    for line in lines:
        parsed(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_that_prints_a_result_prints_json(name: str) -> None:
    """With --json."""
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert ("--json" in options) != (name in WITHOUT_JSON)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_run_by_a_test(name: str) -> None:
    """Its words stand in a test as arguments, one after the other."""
    words = r"""["'],\s*["']""".join(re.escape(word) for word in name.split())
    assert any(re.search(rf"""["']{words}["']""", source) for source in SOURCES)


def documented() -> list[str]:
    """Every call of the command line that a page shows."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|bash|console|shell)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines += re.findall(rf"{PROGRAM} ([^\n]+)", block.replace("\\\n", " "))
    return lines


def test_the_pages_show_commands() -> None:
    """The test below is not empty."""
    assert len(documented()) >= 2


@pytest.mark.parametrize("line", documented())
def test_each_documented_call_would_be_taken(line: str) -> None:
    """Its command is there, with its options and arguments."""
    parsed(line)


def parsed(line: str) -> None:
    """Let the command's parser take a line of a page; nothing is run."""
    words = line.partition("#")[0].partition("|")[0].split()
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, line
        assert words[0] in command.commands, f"{words[0]} is no command: {line}"
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)
