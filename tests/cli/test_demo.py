"""`demo` shows files to a new user without a key, whatever the environment is."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assistants_compat.cli import app
from assistants_compat.runtime.switch import SWITCH_VARIABLE
from assistants_compat.settings import variables


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in an empty directory, without a key."""
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_"))]:
        monkeypatch.delenv(name)
    for name in (SWITCH_VARIABLE, *variables().values()):
        monkeypatch.setenv(name, "")  # so that variables that the command removes are restored
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **variables: str) -> Result:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, ["demo", *arguments], catch_exceptions=False)

    return call


def test_the_demo_downloads_a_table_and_a_chart(run: Callable[..., Result], tmp_path: Path) -> None:
    """The demo downloads a table and a chart and leaves nothing else: no store, no other file."""
    result = run(XDG_DATA_HOME=str(tmp_path / "data"))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == [
        f"saved      downloads{os.sep}sales_by_region.csv",
        f"saved      downloads{os.sep}sales_by_region.png",
    ]
    assert (
        result.stderr == "using a stand-in for the Responses API: no key is needed, and no data leaves this machine\n"
    )
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(files) == {"downloads/sales_by_region.csv", "downloads/sales_by_region.png"}
    assert files["downloads/sales_by_region.csv"].startswith(b"region,sales\nnorth,120\n")
    assert files["downloads/sales_by_region.png"].startswith(b"\x89PNG\r\n\x1a\n")


def test_the_demo_ignores_settings_and_proxies_of_the_environment(run: Callable[..., Result], tmp_path: Path) -> None:
    """Invalid settings, a proxy and the switch do not affect the demo, and --json prints one object."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
        broken = dict.fromkeys(variables().values(), "://nowhere") | {SWITCH_VARIABLE: "off"}
        result = run("--to", "here", "--json", HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY="", **broken)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["status"] == "completed"
    assert [Path(path).name for path in report["files"]] == ["sales_by_region.csv", "sales_by_region.png"]
    assert all((tmp_path / path).is_file() for path in report["files"])


def test_a_target_that_cannot_be_created_is_one_line(run: Callable[..., Result], tmp_path: Path) -> None:
    """A target directory that cannot be created is one line and exit code 1."""
    (tmp_path / "file").write_text("x")
    result = run("--to", "file")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("assistants_compat: ")
