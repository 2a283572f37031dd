"""docs/conversations.md: its code and commands run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import openai
import pytest
from page import Page
from typer.testing import CliRunner

from assistants_compat.cli import app
from assistants_compat.testing import StandIn

PAGE = Page("docs/conversations.md")
BLOCKS = PAGE.blocks()
COMMANDS = re.findall(r"^python -m assistants_compat (.+)$", PAGE.text, re.MULTILINE)
VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])


@pytest.fixture(autouse=True)
def _environment(upstream: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set what the page presupposes: a service, a key, and an empty directory."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(VERSION < (2, 0), reason="the page's native calls need client.conversations")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_block_of_code_runs(number: int, upstream: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """Each block runs, and makes a conversation or a response upstream."""
    PAGE.execute_and_close(BLOCKS[number])
    assert upstream.conversations or upstream.responses
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs(command: str) -> None:
    """Each command exits with 0."""
    result = CliRunner().invoke(app, command.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_the_page_has_blocks_and_commands() -> None:
    """The page has four code blocks and three commands, so the tests above are not empty."""
    assert (len(BLOCKS), len(COMMANDS)) == (4, 3)


def test_the_page_is_linked_from_the_page_on_migration() -> None:
    """The page on migration, which the README links to, links to this page."""
    assert "](conversations.md)" in Page("docs/migration.md").text
