"""All commands follow one style; they are listed from the app, so a new one is checked too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from assistants_compat.cli import app
from assistants_compat.doors.run_program import USAGE
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


@pytest.mark.parametrize("name", ["", "cassettes", "store", *(name for name in COMMANDS if name != "run")])
def test_the_help_of_each_command_fits_80_columns(name: str) -> None:
    """No line of a help text is longer than 80 characters, in a terminal of any width."""
    for width in (80, 200):
        result = CliRunner(env={"COLUMNS": str(width)}).invoke(app, [*name.split(), "--help"], prog_name=PROGRAM)
        assert result.exit_code == 0
        assert [line for line in result.output.splitlines() if len(line) > 80] == []
    assert [line for line in USAGE.splitlines() if len(line) > 80] == []


WRONG_USE = [
    (["audit"], "Missing argument"),
    (["audit", "nowhere"], "nowhere does not exist"),
    (["audit", "nowhere", "--format", "json"], "nowhere does not exist"),
    (["download"], "give exactly one thread or response"),
    (["settle", "--nonsense"], "No such option"),
    (["store", "gc"], "Missing option"),
    (["cassettes", "check", "nowhere"], "nowhere"),
    (["nonsense"], "No such command"),
    (["export", "--to", "."], "is not an empty directory"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_USE)
def test_an_error_is_json_if_json_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """With --json an error is an object on stdout too, and the line on stderr and the exit code stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    asks = arguments if "json" in arguments else [*arguments, "--json"]
    result = CliRunner().invoke(app, asks)
    assert (result.exit_code, message in result.stderr) == (2, True)
    assert message in json.loads(result.stdout)["error"]
    plain = CliRunner().invoke(app, [word for word in arguments if word not in {"--format", "json"}])
    assert (plain.exit_code, plain.stdout) == (2, "")


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
