"""The SDK's test suite, from its source distribution on the package index; it is never kept in this repository."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

_SECONDS = 240  # pip builds the distribution's metadata before it hands the archive over


class UnavailableError(Exception):
    """The distribution cannot be had here; the message says why."""


def suite_of(version: str, cache: Path) -> Path:
    """The folder that holds `tests/` of the SDK's `version`, downloaded once; raises `UnavailableError`."""
    folder = cache / f"openai-{version}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            archive = _download(version, Path(scratch) / "archive")
            fresh = Path(scratch) / "fresh"
            extract_tests(archive, fresh)
            # One move: a folder of this name is always a whole one.
            fresh.rename(folder)
    return folder


def _download(version: str, folder: Path) -> Path:
    command = [*_pip(), "download", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=20"]
    command += ["--no-deps", "--no-binary=openai", f"--dest={folder}", f"openai=={version}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False)
    except subprocess.TimeoutExpired:
        message = f"pip did not download it within {_SECONDS} s"
        raise UnavailableError(message) from None
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        said = done.stderr.strip().splitlines() or ["nothing"]
        message = f"pip could not download it, and said: {said[-1]}"
        raise UnavailableError(message)
    return archives[0]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")  # an environment may have been made without one
    if found is None:
        message = "there is no pip to download it with"
        raise UnavailableError(message)
    return [found]


def extract_tests(archive: Path, target: Path) -> None:
    """Write the plain files of the archive's `tests/`, and nothing outside `target`.

    Only regular files below `NAME-VERSION/tests/`; no links, no absolute path, no `..`: an archive's names are data.
    `extractall(filter="data")` would do that too, but the older of our Pythons do not have it.
    """
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = PurePosixPath(member.name).parts
            content = opened.extractfile(member) if member.isreg() else None
            if content is None or parts[1:2] != ("tests",) or ".." in parts:
                continue
            path = target.joinpath(*parts[1:])
            if not path.resolve().is_relative_to(target.resolve()):  # a drive's name on Windows, say
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
    if not (target / "tests").is_dir():
        message = "its source distribution holds no tests"
        raise UnavailableError(message)
