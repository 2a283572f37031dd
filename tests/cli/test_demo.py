"""`demo`: a new user sees files without a key, whatever his environment is."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assistants_compat.cli import app
from assistants_compat.runtime.switch import SWITCH
from assistants_compat.settings import variables


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in an empty directory, without a key."""
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_"))]:
        monkeypatch.delenv(name)
    for name in (SWITCH, *variables().values()):
        monkeypatch.setenv(name, "")  # so that what the command takes away comes back
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **more: str) -> Result:
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, ["demo", *arguments], catch_exceptions=False)

    return call


def test_it_ends_with_a_table_and_a_chart(run: Callable[..., Result], tmp_path: Path) -> None:
    """Both are downloaded, and there is nothing else: no store, no other file."""
    done = run(XDG_DATA_HOME=str(tmp_path / "data"))
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"saved      downloads{os.sep}sales_by_region.csv",
        f"saved      downloads{os.sep}sales_by_region.png",
    ]
    assert done.stderr == "over a stand-in for the Responses API: no key is used, and nothing leaves this machine\n"
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(files) == {"downloads/sales_by_region.csv", "downloads/sales_by_region.png"}
    assert files["downloads/sales_by_region.csv"].startswith(b"region,sales\nnorth,120\n")
    assert files["downloads/sales_by_region.png"].startswith(b"\x89PNG\r\n\x1a\n")


def test_settings_and_proxies_of_the_environment_do_not_count(run: Callable[..., Result], tmp_path: Path) -> None:
    """Not even such as cannot be used, nor the switch; the answer is one JSON object."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        broken = dict.fromkeys(variables().values(), "://nowhere") | {SWITCH: "off"}
        done = run("--to", "here", "--json", HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY="", **broken)
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "completed"
    assert [Path(path).name for path in told["files"]] == ["sales_by_region.csv", "sales_by_region.png"]
    assert all((tmp_path / path).is_file() for path in told["files"])


def test_a_directory_that_cannot_be_made_is_a_line(run: Callable[..., Result], tmp_path: Path) -> None:
    """And exit code 1."""
    (tmp_path / "file").write_text("x")
    done = run("--to", "file")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("assistants_compat: ")
