"""All commands follow one style; they are listed from the app, so a new one is checked too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from assistants_compat.cli import app
from kit.paths import ROOT

PROGRAM = "python -m assistants_compat"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [
    path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path.name != Path(__file__).name
]

# Commands without --json, with the reason: they print no result of their own.
WITHOUT_JSON = {"run": "what it prints is the program's"}


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name, those of groups included."""

    def commands_below(group: Any, name: str) -> Iterator[tuple[str, Any]]:
        for word, command in group.commands.items():
            full_name = f"{name} {word}".strip()
            if hasattr(command, "commands"):
                yield from commands_below(command, full_name)
            else:
                yield full_name, command

    yield from commands_below(typer.main.get_command(app), "")


COMMANDS = dict(commands())


def test_the_list_of_commands_is_complete() -> None:
    """The list of commands is not empty and has the known ones."""
    assert {"demo", "doctor", "download", "settle", "store gc"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_option_has_help(name: str) -> None:
    """Each command has a sentence of help, and so has each of its options."""
    command = COMMANDS[name]
    assert re.match(r"[A-Z][^\n]+", command.help)
    for parameter in command.params:
        if parameter.name not in ("help", "args"):
            assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_examples_that_it_accepts(name: str) -> None:
    """The epilog of each command has examples, and the command's own parser accepts them."""
    lines = re.findall(rf"^  {PROGRAM} (.+)$", COMMANDS[name].epilog or "", re.MULTILINE)
    assert lines, f"{name} has no examples"
    for line in lines:
        parse(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_with_a_result_has_the_option_json(name: str) -> None:
    """Each command that prints a result has the option --json."""
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert ("--json" in options) != (name in WITHOUT_JSON)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_run_by_a_test(name: str) -> None:
    """Each command is run by a test, which has its name as consecutive arguments."""
    words = r"""["'],\s*["']""".join(re.escape(word) for word in name.split())
    assert any(re.search(rf"""["']{words}["']""", source) for source in SOURCES)


def documented_calls() -> list[str]:
    """Return every call of the command line on a page."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|bash|console|shell)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines += re.findall(rf"{PROGRAM} ([^\n]+)", block.replace("\\\n", " "))
    return lines


def test_the_pages_show_commands() -> None:
    """The pages show commands, so the test below is not empty."""
    assert len(documented_calls()) >= 2


@pytest.mark.parametrize("line", documented_calls())
def test_each_documented_call_is_accepted(line: str) -> None:
    """Each call on a page has an existing command, options and arguments."""
    parse(line)


def parse(line: str) -> None:
    """Let the command's parser accept a line of a page without running it."""
    words = line.partition("#")[0].partition("|")[0].split()
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, line
        assert words[0] in command.commands, f"{words[0]} is no command: {line}"
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)
