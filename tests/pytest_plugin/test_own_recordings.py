"""`make record` makes this project's recordings again, exchange for exchange."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kit.paths import ROOT


def sorted_exchanges(path: Path) -> list[str]:
    """Return the exchanges of a recording, sorted: files of one response are copied at the same time, in any order."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    exchanges = yaml.safe_load(path.read_text(encoding="utf-8"))["interactions"]
    for exchange in exchanges:
        exchange["response"]["headers"].pop("x-request-id", None)  # the stand-in numbers requests as they arrive
    return sorted(map(repr, exchanges))


def test_rerecording_gives_the_same_exchanges(tmp_path: Path) -> None:
    """Recording again in a copy gives the same exchanges, so recordings change only when behaviour changes."""
    pytest.importorskip("vcr", reason="vcrpy is not installed")
    copy = shutil.copytree(ROOT / "cassettes", tmp_path / "cassettes", ignore=shutil.ignore_patterns("__pycache__"))
    recordings = {path.name: sorted_exchanges(path) for path in copy.glob("*.yaml")}
    for path in copy.glob("*.yaml"):
        path.unlink()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "assistants_compat.pytest_plugin", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "--record-mode=rewrite", str(copy)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert {path.name: sorted_exchanges(path) for path in copy.glob("*.yaml")} == recordings
