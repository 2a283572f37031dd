"""The code on the site runs in the order of its page, its commands exist, and the tests that it names are there."""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest
from page import Page
from tables import DOCS
from typer.testing import CliRunner

import assistants_compat
from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.testing import StandIn, Turn
from kit.doors import KEY

CSV = Turn(text="[primes](sandbox:/mnt/data/primes.csv)", files={"primes.csv": b"2,3,5\n"})
# The pages whose code is run, with what the model says and what is printed then.
PAGES = {
    "index.md": ([CSV], "[primes](sandbox:/mnt/data/primes.csv)\n"),
    "files.md": ([CSV], "/mnt/data/primes.csv\nb'2,3,5\\n'\nprimes.csv\n"),
    "streaming.md": ([Turn(text="Hello there.")], "Hello there."),
}
ELSEWHERE = {
    "azure.md": "test_azure_page.py",
    "conversations.md": "test_conversations_page.py",
    "going_in.md": "test_going_in_page.py",
    "migration.md": "test_migration.py",
    "moving_data.md": "test_moving_page.py",
    "testing.md": "test_testing_page.py",
}


def text(name: str) -> str:
    """A page."""
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_a_page_runs(
    name: str,
    upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Block after block, given where the service is, it prints what it should."""
    turns, expected = PAGES[name]
    upstream.script(*turns)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    monkeypatch.chdir(tmp_path)
    page, names = Page(f"docs/{name}"), dict[str, Any]()
    for source in page.blocks():
        page.execute(source, names)
    names["client"].close()
    assert capsys.readouterr().out == expected


def test_no_page_has_code_that_is_not_run() -> None:
    """A page with Python on it is run here, or by a test of its own."""
    with_code = {path.name for path in DOCS.glob("*.md") if "```python" in path.read_text(encoding="utf-8")}
    assert with_code == {*PAGES, *ELSEWHERE}
    assert all((Path(__file__).parent / test).is_file() for test in ELSEWHERE.values())


COMMANDS = sorted(
    {
        line.partition("#")[0].partition(">")[0].strip()
        for path in DOCS.glob("*.md")
        for line in re.findall(r"python -m assistants_compat ([^\n`]+)", path.read_text(encoding="utf-8"))
        if "[OPTIONS]" not in line and not line.startswith("COMMAND")
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_on_the_site_exists_with_its_options(line: str) -> None:
    """Its name leads to a command, and what begins with dashes is an option of it."""
    words = shlex.split(line)
    names = words[:2] if words[0] in {"cassettes", "store"} else words[:1]
    if names == ["run"]:
        words = words[:1]  # what follows is the program's
    shown = CliRunner().invoke(app, [*names, "--help"])
    assert shown.exit_code == 0
    assert [word for word in words if word.startswith("--") and word not in shown.stdout] == []


def test_the_tests_that_a_page_names_are_there() -> None:
    """What a page says is tested there is tested somewhere."""
    named = {
        test for path in DOCS.glob("*.md") for test in re.findall(r"`(tests/[\w/.]+\.py)`", path.read_text("utf-8"))
    }
    assert named
    assert [test for test in sorted(named) if not (DOCS.parent / test).is_file()] == []


def test_a_backup_by_sqlites_own_means_is_a_store(upstream: StandIn, tmp_path: Path) -> None:
    """A copy that was made while the store is in use holds what was written, and can be used (docs/deployment.md)."""
    there, backup = tmp_path / "store.db", tmp_path / "backup.db"
    with openai.OpenAI(base_url=upstream.base_url, api_key=KEY) as client:
        assistants_compat.wrap(client, Settings(store=str(there)))
        thread = client.beta.threads.create(metadata={"a": "1"})
        with closing(sqlite3.connect(there)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        client.beta.threads.delete(thread.id)
    with openai.OpenAI(base_url=upstream.base_url, api_key=KEY) as client:
        assistants_compat.wrap(client, Settings(store=str(backup)))
        assert client.beta.threads.retrieve(thread.id).metadata == {"a": "1"}
