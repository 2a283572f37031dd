"""The project's own recordings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_made_anew_they_are_the_same(tmp_path: Path) -> None:
    """What `make record` does, in a copy: byte for byte, so that a change of a recording is a change of behaviour."""
    pytest.importorskip("vcr", reason="vcrpy is not installed")
    copy = shutil.copytree(ROOT / "cassettes", tmp_path / "cassettes", ignore=shutil.ignore_patterns("__pycache__"))
    recordings = {path.name: path.read_bytes() for path in copy.glob("*.yaml")}
    for path in copy.glob("*.yaml"):
        path.unlink()
    examples = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "assistants_compat.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--record-mode=rewrite", str(copy)],
        cwd=tmp_path,
        env=examples,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert {path.name: path.read_bytes() for path in copy.glob("*.yaml")} == recordings
