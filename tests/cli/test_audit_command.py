"""`audit` from a shell: its forms, its exit codes, and that it needs no key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assistants_compat.cli import app

Run = Callable[..., Result]

SOURCE = {
    "works.py": "client.beta.threads.create()\n",
    "differs.py": "client.beta.threads.delete('t')\n",
    "unsupported.py": "requests.post('https://api.openai.com/v1/threads')\n",
}


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder with one file of each verdict and an environment."""
    for name, source in {**SOURCE, "clean.py": "x = 1\n", ".venv/x.py": SOURCE["works.py"]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["audit", *arguments])


def test_the_exit_code_says_what_was_found(audit: Run) -> None:
    """Any use fails by default; `--fail-on` asks for more, and a path that is not there is wrong use."""
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


def test_the_lines_are_sorted_and_what_was_passed_over_goes_to_stderr(audit: Run) -> None:
    """A line each as editors read it, on stdout."""
    done = audit(".")
    assert done.stdout.splitlines()[:3] == [
        "differs.py:1: differs: beta.threads.delete",
        "unsupported.py:1: unsupported: https://api.openai.com/v1/threads",
        "works.py:1: works: beta.threads.create",
    ]
    assert done.stdout.splitlines()[-1] == "3 uses in 3 of 4 files: 1 works, 1 differs, 0 mistake, 1 unsupported"
    assert done.stderr == "assistants_compat: 1 folders and files passed over (--all reads them)\n"
    assert len(json.loads(audit(".", "--all", "--json").stdout)["findings"]) == 4


def test_json_and_markdown_hold_the_same(audit: Run) -> None:
    """`--json` is `--format json`, one object; Markdown is two tables."""
    done = audit(".", "--json")
    assert done.stdout == audit(".", "--format", "json").stdout
    said = json.loads(done.stdout)
    assert [each["path"] for each in said["findings"]] == ["differs.py", "unsupported.py", "works.py"]
    assert said["counts"] == {"works": 1, "differs": 1, "mistake": 0, "unsupported": 1}
    table = audit(".", "--format", "markdown").stdout
    assert table.startswith("# Uses of the Assistants API\n")
    assert "| `works.py:1` | `beta.threads.create` | works |" in table
