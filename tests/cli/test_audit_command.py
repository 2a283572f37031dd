"""`audit` prints its findings as lines, JSON or Markdown, exits by what it found, and needs no key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assistants_compat.cli import app

RunCommand = Callable[..., Result]

SOURCE = {
    "works.py": "client.beta.threads.create()\n",
    "differs.py": "client.beta.threads.delete('t')\n",
    "unsupported.py": "requests.post('https://api.openai.com/v1/threads')\n",
}


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Run the command without a key, in a folder with one file of each verdict and a virtual environment."""
    for name, source in {**SOURCE, "clean.py": "x = 1\n", ".venv/x.py": SOURCE["works.py"]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["audit", *arguments])


def test_the_exit_code_says_what_was_found(audit: RunCommand) -> None:
    """Any use exits with 1, `--fail-on` raises the bar, and a missing path is wrong use."""
    expected = {
        ("works.py",): 1,
        ("clean.py",): 0,
        ("works.py", "--fail-on", "differs"): 0,
        ("differs.py", "--fail-on", "differs"): 1,
        ("differs.py", "--fail-on", "unsupported"): 0,
        (".", "--fail-on", "unsupported"): 1,
        (".", "--fail-on", "never"): 0,
        ("nowhere",): 2,
        (): 2,
        ("works.py", "--format", "yaml"): 2,
    }
    assert {arguments: audit(*arguments).exit_code for arguments in expected} == expected


def test_a_folder_with_a_gitignore_is_audited_from_inside(audit: RunCommand) -> None:
    """`audit .` reads a folder that has a `.gitignore`, which nearly every project has."""
    Path(".gitignore").write_text("differs.py\n", encoding="utf-8")
    result = audit(".")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines()[:2]] == ["unsupported.py", "works.py"]


def test_a_failure_of_the_audit_itself_is_not_taken_for_findings(
    audit: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit that breaks off exits with 2: only 1 says that there are uses, and a build may act on it."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("assistants_compat.cli.audit.audit_paths", fail)
    result = audit(".")
    assert result.exit_code == 2
    assert "RuntimeError" in result.stderr


def test_findings_are_sorted_lines_and_skipped_paths_go_to_stderr(audit: RunCommand) -> None:
    """Findings are sorted lines on stdout that editors can read, and stderr counts skipped paths."""
    result = audit(".")
    assert result.stdout.splitlines()[:3] == [
        "differs.py:1: differs: beta.threads.delete",
        "unsupported.py:1: unsupported: https://api.openai.com/v1/threads",
        "works.py:1: works: beta.threads.create",
    ]
    assert result.stdout.splitlines()[-1] == "3 uses in 3 of 4 files: 1 works, 1 differs, 1 unsupported"
    assert result.stderr == "assistants_compat: skipped 1 path (--all reads everything)\n"
    assert len(json.loads(audit(".", "--all", "--json").stdout)["findings"]) == 4


def test_json_and_markdown_hold_the_same(audit: RunCommand) -> None:
    """`--json` equals `--format json` and prints one object; Markdown is two tables."""
    result = audit(".", "--json")
    assert result.stdout == audit(".", "--format", "json").stdout
    report = json.loads(result.stdout)
    assert [finding["path"] for finding in report["findings"]] == ["differs.py", "unsupported.py", "works.py"]
    assert report["counts"] == {"works": 1, "differs": 1, "mistake": 0, "unsupported": 1}
    table = audit(".", "--format", "markdown").stdout
    assert table.startswith("# Uses of the Assistants API\n")
    assert "| `works.py:1` | `beta.threads.create` | works |" in table
