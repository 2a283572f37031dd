"""`demo`: a new user sees files without a key, whatever his environment is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from assistants_compat.settings import variables


def run(directory: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell runs it, from another directory, without a key."""
    hidden = ("OPENAI_", "AZURE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    line = [sys.executable, "-W", "error", "-m", "assistants_compat", "demo", *arguments]
    return subprocess.run(
        line, capture_output=True, text=True, check=False, timeout=100, cwd=directory, env={**environment, **more}
    )


def test_it_ends_with_a_table_and_a_chart(tmp_path: Path) -> None:
    """Both are downloaded, and there is nothing else: no store, no other file."""
    done = run(tmp_path, XDG_DATA_HOME=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"saved      downloads{os.sep}sales_by_region.csv",
        f"saved      downloads{os.sep}sales_by_region.png",
    ]
    assert done.stderr == "over a stand-in for the Responses API: no key is used, and nothing leaves this machine\n"
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(files) == {"downloads/sales_by_region.csv", "downloads/sales_by_region.png"}
    assert files["downloads/sales_by_region.csv"].startswith(b"region,sales\nnorth,120\n")
    assert files["downloads/sales_by_region.png"].startswith(b"\x89PNG\r\n\x1a\n")


def test_settings_and_proxies_of_the_environment_do_not_count(tmp_path: Path) -> None:
    """Not even such as cannot be used; the answer is one JSON object."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        broken = dict.fromkeys(variables().values(), "://nowhere")
        done = run(tmp_path, "--to", "here", "--json", HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY="", **broken)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "completed"
    assert [Path(path).name for path in told["files"]] == ["sales_by_region.csv", "sales_by_region.png"]
    assert all((tmp_path / path).is_file() for path in told["files"])


def test_a_directory_that_cannot_be_made_is_a_line(tmp_path: Path) -> None:
    """And exit code 1."""
    (tmp_path / "file").write_text("x")
    done = run(tmp_path, "--to", "file")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
