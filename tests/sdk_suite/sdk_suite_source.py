"""The SDK's tests and examples, from its source distribution on the package index; never kept in this repository."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import pytest

_SECONDS = 240  # pip builds the distribution's metadata before it hands the archive over


class UnavailableError(Exception):
    """The distribution cannot be had here; the message says why."""


def had(config: pytest.Config, version: str, scratch: Path, part: str = "tests") -> Path:
    """The same in pytest's cache; the test that asks is skipped where it cannot be had (CI fails)."""
    cache = getattr(config, "cache", None)  # absent with `-p no:cacheprovider`
    folder = scratch if cache is None else cache.mkdir("openai-sdist")
    try:
        return suite_of(version, folder, part)
    except UnavailableError as error:
        # In CI the index is there: what cannot be had would only hide that nothing was tested.
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"the source distribution of openai {version} is not to be had: {error}")


def suite_of(version: str, cache: Path, part: str = "tests") -> Path:
    """The folder that holds `tests/` (or `part`) of the SDK's `version`, downloaded once; raises `UnavailableError`."""
    folder = cache / (f"openai-{version}" if part == "tests" else f"openai-{version}-{part}")
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            archive = _download(version, Path(scratch) / "archive")
            fresh = Path(scratch) / "fresh"
            extract(archive, fresh, part)
            # One move: a folder of this name is always a whole one.
            with contextlib.suppress(OSError):  # another worker has been quicker
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


def extract(archive: Path, target: Path, part: str = "tests") -> None:
    """Write the plain files of the archive's `tests/` (or `part`), and nothing outside `target`.

    Only regular files below `NAME-VERSION/tests/`; no links, no absolute path, no `..`: an archive's names are data.
    `extractall(filter="data")` would do that too, but the older of our Pythons do not have it.
    """
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = PurePosixPath(member.name).parts
            content = opened.extractfile(member) if member.isreg() else None
            if content is None or parts[1:2] != (part,) or ".." in parts:
                continue
            path = target.joinpath(*parts[1:])
            if not path.resolve().is_relative_to(target.resolve()):  # a drive's name on Windows, say
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
    if not (target / part).is_dir():
        message = f"its source distribution holds no {part}"
        raise UnavailableError(message)
