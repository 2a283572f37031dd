"""docs/moving_data.md: its commands and code run as they stand, and do what the page says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from page import Page
from typer.testing import CliRunner

from assistants_compat import Settings
from assistants_compat.cli import app
from assistants_compat.engine.saved import assistants_file
from assistants_compat.settings import variables
from assistants_compat.testing import StandIn
from assistants_compat.tools.transfer.export_objects import EXPORT_FILES
from kit.legacy_code import dump_store
from kit.paths import ROOT

PAGE = Page("docs/moving_data.md")
LINES = PAGE.lines()
SAVED = [
    {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}},
    {"id": "msg_1", "object": "thread.message", "created_at": 2, "thread_id": "thread_1", "role": "user",
     "content": [{"type": "text", "text": {"value": "Hello.", "annotations": []}}]},
]  # fmt: skip


def block(language: str) -> str:
    """Return the page's only code block of a language."""
    [source] = PAGE.blocks(language)
    return source


@pytest.fixture
def run(tmp_path: Path, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Run a line of the page in a directory with the files that it names, and return its output."""
    pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(sqlite_settings.store))
    monkeypatch.setenv("ASSISTANTS_COMPAT_FILES", str(sqlite_settings.files))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "page.json").write_text(json.dumps({"object": "list", "data": SAVED}), encoding="utf-8")
    (tmp_path / "assistants.toml").write_text(block("toml"), encoding="utf-8")

    def call(line: str) -> str:
        words = shlex.split(line, comments=True)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            assert name in variables().values()
            monkeypatch.setenv(name, value)
            return ""
        assert words[:3] == ["python", "-m", "assistants_compat"]
        result = CliRunner().invoke(app, words[3:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return call


def test_every_command_of_the_page_runs(run: Callable[[str], str], sqlite_settings: Settings) -> None:
    """The page's commands run in order, exit with 0 and print the expected counts."""
    outputs = [run(line) for line in LINES]
    assert outputs == [
        "1 thread, 1 message would be imported\n0 already in the store, 0 not imported\n",
        "1 thread, 1 message imported\n0 already in the store, 0 not imported\n",
        "backup: 0 assistants, 1 thread, 1 message, 0 runs, 0 run steps, 0 containers, 0 files (0 bytes)\n",
        "nothing imported\n2 already in the store, 0 not imported\n",
        "",
        "asst_abc123: would be created\nassistants.toml: 0 assistants unchanged\n",
        "asst_abc123: created\nassistants.toml: 0 assistants unchanged\n",
    ]
    store = dump_store(sqlite_settings)
    assert [row["id"] for name in ("assistants", "threads") for row in store[name]] == ["asst_abc123", "thread_1"]


def test_the_rows_of_the_page_are_messages(
    run: Callable[[str], str], sqlite_settings: Settings, tmp_path: Path
) -> None:
    """The page's table is imported as the messages of its thread."""
    (tmp_path / "rows.csv").write_text(block("csv"), encoding="utf-8")
    assert run("python -m assistants_compat import rows.csv").startswith("2 messages imported\n")
    stored = [(row["thread_id"], row["body"]["role"]) for row in dump_store(sqlite_settings)["messages"]]
    assert stored == [("thread_abc123", "user"), ("thread_abc123", "assistant")]


def test_the_code_of_the_page_makes_its_thread(
    upstream: StandIn, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's code creates its thread with the message."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(sqlite_settings.store))
    PAGE.execute_and_close(block("python"))
    [message] = dump_store(sqlite_settings)["messages"]
    assert message["thread_id"] == "thread_abc123"


def test_the_page_names_every_file_of_an_export_and_is_linked() -> None:
    """The page names every file of an export, and the README and the page on differences link to it."""
    assert {f"{name}.jsonl" for name in EXPORT_FILES} == set(re.findall(r"`(\w+\.jsonl)`", PAGE.text))
    assert set(assistants_file.SUFFIXES) == {".toml", ".yaml", ".yml", ".json"}
    for name in ("README.md", "docs/differences.md"):
        assert "moving_data.md)" in (ROOT / name).read_text(encoding="utf-8")
