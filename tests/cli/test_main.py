"""`python -m assistants_compat` handles a missing extra, Ctrl-C, a full stdout, help, version and completion."""

from __future__ import annotations

import errno
import os
import sys
from importlib import metadata
from typing import Any

import pytest
import typer

import assistants_compat
from assistants_compat import __main__, cli
from assistants_compat.cli import settle
from assistants_compat.cli.terminal import print_result


@pytest.fixture(autouse=True)
def _settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the command line `settle`, without a key."""
    monkeypatch.setattr(sys, "argv", ["assistants_compat", "settle"])
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_"))]:
        monkeypatch.delenv(name)


def exit_code() -> Any:
    """Run the command line and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    return caught.value.code


def test_the_program_exits_with_the_code_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The program exits with the code of its command, here 2 because a key is missing."""
    assert exit_code() == 2
    assert "OPENAI_API_KEY" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the extra `cli` the program prints what to install and exits with 2."""
    monkeypatch.setitem(sys.modules, missing, None)
    assert exit_code() == 2
    output = capsys.readouterr()
    assert (output.out, output.err) == (
        "",
        "This command needs the packages typer and rich: pip install typer rich. `run` works without them.\n",
    )


def _interrupted(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def test_ctrl_c_ends_a_command_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends a command silently with 130, as shells expect."""
    monkeypatch.setattr(settle, "client_from_environment", _interrupted)
    assert exit_code() == 130
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_during_imports_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while the program still imports, which is most of its start, ends it silently with 130 too."""
    monkeypatch.setattr(cli, "app", _interrupted)
    assert exit_code() == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_an_unwritable_stdout_is_reported(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk is one line and exit code 1; a closed pipe is left to Typer, which is silent."""

    class Full:
        def write(self, _: str) -> None:
            raise OSError(number, os.strerror(number))

        def flush(self) -> None:
            """Do nothing, because nothing was written."""

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError if number == errno.EPIPE else typer.Exit):
        print_result(["a line"], None)
    line = f"assistants_compat: cannot write to stdout: {os.strerror(number)}\n"
    assert capsys.readouterr().err == ("" if number == errno.EPIPE else line)


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_the_version_needs_no_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--version` works after `pip install .`, without the extra `cli`."""
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(sys, "argv", ["assistants_compat", "--version"])
    __main__.main()
    assert capsys.readouterr().out == f"assistants_compat {assistants_compat.__version__}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_a_short_option_everywhere(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both options print help, with or without a command."""
    for words in ([option], ["settle", option], ["cassettes", "check", option]):
        monkeypatch.setattr(sys, "argv", ["assistants_compat", *words])
        assert exit_code() == 0


def test_version_prints_the_installed_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--version` prints one line with the version that the package declares."""
    monkeypatch.setattr(sys, "argv", ["assistants_compat", "--version"])
    __main__.main()
    assert capsys.readouterr().out == f"assistants_compat {assistants_compat.__version__}\n"


@pytest.mark.parametrize(
    ("started_as", "shown"),
    [("/venv/bin/assistants-compat", "assistants-compat"), ("/x/__main__.py", "python -m assistants_compat")],
)
def test_help_names_the_command_as_the_user_typed_it(
    started_as: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The usage line begins with the console command, or with `python -m assistants_compat`."""
    monkeypatch.setattr(sys, "argv", [started_as, "settle", "--help"])
    assert exit_code() == 0
    assert capsys.readouterr().out.startswith(f"Usage: {shown} settle [OPTIONS]\n")


def test_the_console_command_runs_main() -> None:
    """The wheel installs `assistants-compat`, which calls the same function as `python -m`."""
    [command] = metadata.entry_points(group="console_scripts", name="assistants-compat")
    assert command.load() is __main__.main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_for_the_console_command(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script that a shell loads names `assistants-compat`, however it was asked for."""
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # Typer takes the name of the shell then
    monkeypatch.setattr(sys, "argv", ["/x/__main__.py", "--show-completion", shell])
    assert exit_code() == 0
    script = capsys.readouterr().out
    assert "_ASSISTANTS_COMPAT_COMPLETE" in script
    assert "python -m" not in script
