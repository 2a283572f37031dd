"""`python -m assistants_compat` around its commands: what is not installed, Ctrl-C, a stdout that is full."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import pytest
import typer

from assistants_compat import __main__, cli
from assistants_compat.cli import settle
from assistants_compat.cli.terminal import show


@pytest.fixture(autouse=True)
def _settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that nobody gave a key."""
    monkeypatch.setattr(sys, "argv", ["assistants_compat", "settle"])
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_"))]:
        monkeypatch.delenv(name)


def ended() -> Any:
    """The exit code."""
    with pytest.raises(SystemExit) as left:
        __main__.main()
    return left.value.code


def test_a_command_ends_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The fixture's is one that wants a key."""
    assert ended() == 2
    assert "OPENAI_API_KEY" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and exit code 2."""
    monkeypatch.setitem(sys.modules, missing, None)
    assert ended() == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "The command line needs an extra: pip install 'assistants-compat[cli]'\n")


def _interrupted(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def test_ctrl_c_ends_a_command_in_silence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With 130, as shells have it."""
    monkeypatch.setattr(settle, "client_from_environment", _interrupted)
    assert ended() == 130
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_before_the_command_begins_is_as_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most of a start is imports; there is nobody else yet to catch it."""
    monkeypatch.setattr(cli, "app", _interrupted)
    assert ended() == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_a_stdout_that_takes_nothing_is_said(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk is a line and 1; a reader that left is Typer's, who is silent."""

    class Full:
        def write(self, _: str) -> None:
            raise OSError(number, os.strerror(number))

        def flush(self) -> None:
            """Nothing was kept."""

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError if number == errno.EPIPE else typer.Exit):
        show(["a line"], None)
    line = f"assistants_compat: stdout cannot be written: {os.strerror(number)}\n"
    assert capsys.readouterr().err == ("" if number == errno.EPIPE else line)
