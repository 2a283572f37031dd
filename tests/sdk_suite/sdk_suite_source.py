"""Downloads the SDK's tests and examples from its source distribution; this repository never keeps them."""

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

_SECONDS = 240  # pip builds the distribution's metadata before it saves the archive


class UnavailableError(Exception):
    """The distribution cannot be downloaded here; the message says why."""


class NotIncludedError(UnavailableError):
    """The distribution does not have this part; those of early versions have no tests."""


def cached_suite(config: pytest.Config, version: str, scratch: Path, part: str = "tests") -> Path:
    """Return the folder from pytest's cache; without one skip the calling test (CI fails if the index has it)."""
    cache = getattr(config, "cache", None)  # absent with `-p no:cacheprovider`
    folder = scratch if cache is None else cache.mkdir("openai-sdist")
    try:
        return download_suite(version, folder, part)
    except NotIncludedError as error:
        pytest.skip(f"openai {version}: {error}")
    except UnavailableError as error:
        # CI has a package index, so a skip there would only hide that nothing was tested.
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"the source distribution of openai {version} cannot be downloaded: {error}")


def download_suite(version: str, cache: Path, part: str = "tests") -> Path:
    """Return the folder with `tests/` (or `part`) of the SDK's `version`, downloaded once.

    Raises `UnavailableError`.
    """
    folder = cache / (f"openai-{version}" if part == "tests" else f"openai-{version}-{part}")
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            archive = _download(version, Path(scratch) / "archive")
            extracted = Path(scratch) / "fresh"
            extract(archive, extracted, part)
            # One rename, so that a folder of this name is always complete.
            with contextlib.suppress(OSError):  # another worker was quicker
                extracted.rename(folder)
    return folder


def _download(version: str, folder: Path) -> Path:
    command = [*_pip(), "download", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=20"]
    command += ["--no-deps", "--no-binary=openai", f"--dest={folder}", f"openai=={version}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False)
    except subprocess.TimeoutExpired:
        message = f"pip did not download it within {_SECONDS} s"
        raise UnavailableError(message) from None
    archives = sorted(folder.glob("*.tar.gz"))
    if result.returncode or not archives:
        stderr_lines = result.stderr.strip().splitlines() or ["nothing"]
        message = f"pip could not download it, and said: {stderr_lines[-1]}"
        raise UnavailableError(message)
    return archives[0]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")  # uv makes environments without pip
    if pip is None:
        message = "there is no pip to download it with"
        raise UnavailableError(message)
    return [pip]


def extract(archive: Path, target: Path, part: str = "tests") -> None:
    """Write the plain files of the archive's `tests/` (or `part`) into `target`, and nothing outside it.

    Links, absolute paths and `..` are skipped, because the names in an archive are untrusted.
    `extractall(filter="data")` would do that too, but the oldest supported Pythons lack it.
    """
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = PurePosixPath(member.name).parts
            content = opened.extractfile(member) if member.isreg() else None
            if content is None or parts[1:2] != (part,) or ".." in parts:
                continue
            path = target.joinpath(*parts[1:])
            if not path.resolve().is_relative_to(target.resolve()):  # for example a drive name on Windows
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
    if not (target / part).is_dir():
        message = f"its source distribution holds no {part}"
        raise NotIncludedError(message)
