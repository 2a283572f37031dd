"""Code on the site runs in the order of its page, and the commands and tests it names exist."""

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
from typer.testing import CliRunner

import assistants_compat
from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.testing import StandIn, Turn
from kit.doors import KEY
from kit.paths import DOCS

CSV = Turn(text="[primes](sandbox:/mnt/data/primes.csv)", files={"primes.csv": b"2,3,5\n"})
# The pages whose code is run, with the model's turns and the expected output.
PAGES = {
    "index.md": ([CSV], "[primes](sandbox:/mnt/data/primes.csv)\n"),
    "files.md": ([CSV], "/mnt/data/primes.csv\nb'2,3,5\\n'\nprimes.csv\n"),
    "streaming.md": ([Turn(text="Hello there.")], "Hello there."),
}
OTHER_TESTS = {
    "adopt.md": "test_adopt_page.py",
    "api.md": "test_api_page.py",
    "azure.md": "test_azure_page.py",
    "conversations.md": "test_conversations_page.py",
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
    """The blocks of a page run one after the other and print the expected output."""
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
    """Every page with Python code is run here or by a test of its own."""
    with_code = {path.name for path in DOCS.glob("*.md") if "```python" in path.read_text(encoding="utf-8")}
    assert with_code == {*PAGES, *OTHER_TESTS}
    assert all((Path(__file__).parent / test).is_file() for test in OTHER_TESTS.values())


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
    """Each command on the site exists, and each of its options too."""
    words = shlex.split(line)
    names = words[:2] if words[0] in {"cassettes", "store"} else words[:1]
    if names == ["run"]:
        words = words[:1]  # what follows is the program's
    help_result = CliRunner().invoke(app, [*names, "--help"])
    assert help_result.exit_code == 0
    assert [word for word in words if word.startswith("--") and word not in help_result.stdout] == []


def test_the_tests_that_a_page_names_exist() -> None:
    """Every test file that a page names exists."""
    names = {
        test for path in DOCS.glob("*.md") for test in re.findall(r"`(tests/[\w/.]+\.py)`", path.read_text("utf-8"))
    }
    assert names
    assert [test for test in sorted(names) if not (DOCS.parent / test).is_file()] == []


def test_an_sqlite_backup_is_a_usable_store(upstream: StandIn, tmp_path: Path) -> None:
    """An SQLite backup made while the store is in use holds its data and can be used (docs/deployment.md)."""
    store, backup = tmp_path / "store.db", tmp_path / "backup.db"
    with openai.OpenAI(base_url=upstream.base_url, api_key=KEY) as client:
        assistants_compat.wrap(client, Settings(store=str(store)))
        thread = client.beta.threads.create(metadata={"a": "1"})
        with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        client.beta.threads.delete(thread.id)
    with openai.OpenAI(base_url=upstream.base_url, api_key=KEY) as client:
        assistants_compat.wrap(client, Settings(store=str(backup)))
        assert client.beta.threads.retrieve(thread.id).metadata == {"a": "1"}
