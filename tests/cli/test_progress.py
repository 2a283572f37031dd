"""One bar shows the progress of everything, and nothing is shown where no bar can be; SIGTERM leaves nothing behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import Fault, StandIn, Turn
from assistants_compat.tools.progress import progress
from kit.doctor import Doctor


@pytest.mark.parametrize(("is_terminal", "is_installed"), [(True, False), (False, True)])
def test_without_a_terminal_or_rich_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, is_terminal: bool, is_installed: bool
) -> None:
    """Without a terminal or without rich nothing is printed, and without a terminal rich is not imported."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    if not is_installed:
        for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "rich", None)
    with progress() as begin:
        begin("x.csv", 3)(3)
    assert capsys.readouterr() == ("", "")


def test_without_a_stderr_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without stderr (pythonw) can download too."""
    monkeypatch.setattr(sys, "stderr", None)
    with progress() as begin:
        begin("x.csv", None)(3)


class Terminal(io.StringIO):
    """A stderr that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("total", [3, None])
def test_many_files_have_one_bar(monkeypatch: pytest.MonkeyPatch, *, counts: bool, total: int | None) -> None:
    """Two hundred files are one bar, because a terminal draws each bar again whenever one advances."""
    bars = pytest.importorskip("rich.progress", reason="rich is not installed")
    terminal = Terminal()
    drawn: list[int] = []
    rows = bars.Progress.make_tasks_table
    monkeypatch.setattr(sys, "stderr", terminal)

    def make_tasks_table(self: Any, tasks: list[Any]) -> Any:
        drawn.append(len(tasks))
        return rows(self, tasks)

    monkeypatch.setattr(bars.Progress, "make_tasks_table", make_tasks_table)
    with progress(counts=counts) as begin:
        for number in range(200):
            begin(f"[red]{number}.csv", total)(3)
    assert set(drawn) <= {0, 1}
    shown = terminal.getvalue()
    assert "[red]199.csv" in shown
    assert ("600/600" in shown) == (total is not None)
    assert "600" in shown


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without a signal handler")
def test_sigterm_leaves_no_unfinished_file(
    monkeypatch: pytest.MonkeyPatch, upstream: StandIn, sqlite_settings: Settings, tmp_path: Path
) -> None:
    """A download that SIGTERM ends leaves no hidden `.part` file, and exits as a shell reports the signal."""
    Doctor(monkeypatch).use(upstream, sqlite_settings)
    upstream.script(Turn(text="Here.", files={"a.csv": b"1"}, polls=0))
    with openai.OpenAI() as client:
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        response: Any = client.post(
            "/responses", body={"model": "gpt-4o", "input": "Go.", "tools": tools}, cast_to=object
        )
    upstream.fault(Fault("GET /containers/*/files/*/content", stall=60))
    target = tmp_path / "out"
    line = [sys.executable, "-m", "assistants_compat", "download", response["id"], "--to", str(target)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(target.glob(".*.part")):
            time.sleep(0.01)
        time.sleep(0.2)
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "", "")
    assert list(target.iterdir()) == []
