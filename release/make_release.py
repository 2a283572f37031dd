"""Builds the source distribution and the wheel in dist/, and checks them as a user would: `make release`.

It needs the packages of the dependency group `release` and a git checkout. The last step takes the newest packages of
the index, as a user gets them, and not those of locks/.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
UV = os.environ.get("UV", "uv")
ADDED_BY_BUILD = {"PKG-INFO"}


def main() -> None:
    """Run every step; the first failure ends it."""
    build_both()
    wheel, sdist = only("*.whl"), only("*.tar.gz")
    version = version_of(wheel)
    call(beside("twine"), "check", "--strict", wheel, sdist)
    say("twine check: passed")
    call(beside("check-wheel-contents"), wheel)
    say("check-wheel-contents: passed")
    compare_names("the source distribution", files_of_sdist(sdist), tracked_files())
    compare_names("the wheel", files_of_wheel(wheel), package_files())
    check_rebuilt_wheel(wheel, sdist)
    dated(version)
    try_bare(wheel, version)
    for note in notes():
        say(f"note: {note}")
    say(f"assistants_compat {version} is ready in dist/: {sdist.name}, {wheel.name}")


def build_both() -> None:
    """Build into an empty dist/, both from the checkout."""
    shutil.rmtree(DIST, ignore_errors=True)
    build(ROOT, DIST, "--sdist", "--wheel")


def build(source: Path, target: Path, *kinds: str) -> None:
    """Build distributions of a source folder; the builder's lines appear only if it fails."""
    command: Sequence[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        *kinds,
        "--outdir",
        target,
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - built here
    if done.returncode:
        sys.exit(f"release: the build failed\n{done.stdout}{done.stderr}")


def only(pattern: str, folder: Path = DIST) -> Path:
    """The one file of a pattern."""
    [path] = folder.glob(pattern)
    return path


def version_of(wheel: Path) -> str:
    """The version in a wheel's name."""
    return wheel.name.split("-")[1]


def files_of_sdist(sdist: Path) -> set[str]:
    """The files of a source distribution, without those that the build adds."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    return names - ADDED_BY_BUILD


def files_of_wheel(wheel: Path) -> set[str]:
    """The files of a wheel, without its metadata."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def tracked_files(*options: str) -> set[str]:
    """The files that git tracks; more `options` of `git ls-files` widen that."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - git of the developer
    if done.returncode:
        sys.exit(f"release: git cannot list the files: {done.stderr.strip()}. Release from a git checkout.")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


def package_files() -> set[str]:
    """The tracked files of the package as the wheel has them: the `.pth` file lies beside the package, not in it."""
    names = {name for name in tracked_files() if name.startswith("assistants_compat/")}
    return {Path(name).name if name.endswith(".pth") else name for name in names}


def compare_names(what: str, found: set[str], expected: set[str]) -> None:
    """Exit with the names that are in one list only."""
    lines = [f"  too many: {name}" for name in sorted(found - expected)]
    lines += [f"  missing:  {name}" for name in sorted(expected - found)]
    if lines:
        sys.exit("\n".join([f"release: the files of {what} are not those that git tracks", *lines]))
    say(f"{what} has the {len(found)} files that git tracks")


def check_rebuilt_wheel(wheel: Path, sdist: Path) -> None:
    """Build the wheel again from the source distribution, and exit unless it is the same file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        build(folder / sdist.name.removesuffix(".tar.gz"), folder / "dist", "--wheel")
        if only("*.whl", folder / "dist").read_bytes() != wheel.read_bytes():
            sys.exit("release: the wheel from the source distribution differs from the wheel from the checkout")
    say("the wheel from the source distribution is the same, byte by byte")


def dated(version: str) -> None:
    """Exit unless the newest version of the changelog is this one, with a date."""
    heading = re.search(r"^## (\d\S*) - (\d{4}-\d{2}-\d{2})$", changelog(), re.MULTILINE)
    if heading is None or heading[1] != version:
        newest = heading[0] if heading else "missing"
        sys.exit(f"release: the newest version in CHANGELOG.md is {newest}; expected '## {version} - YYYY-MM-DD'")
    say(f"CHANGELOG.md dates {version}: {heading[2]}")


def changelog() -> str:
    """The text of the changelog."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def try_bare(wheel: Path, version: str) -> None:
    """Install the wheel alone in a new environment, follow the hint of its command, and run the command's demo."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python, command = (folder / "venv" / "bin" / program for program in ("python", "assistants-compat"))
        call(UV, "venv", "-q", "-p", sys.executable, folder / "venv")
        install = ("pip", "install", "-q", "-p", str(folder / "venv"))
        call(UV, *install, wheel)
        hint = re.search(r"pip install (.+)", call(command, "--version", code=2))
        if hint is None:
            sys.exit("release: without the extra `cli`, assistants-compat does not say what to install")
        call(UV, *install, *shlex.split(hint[1]))
        if version not in call(command, "--version"):
            sys.exit(f"release: assistants-compat --version does not say {version}")
        call(python, "-m", "assistants_compat", "demo", cwd=folder)
        saved = sorted(path.name for path in folder.rglob("sales_by_region*") if "venv" not in path.parts)
        if len(saved) < 2:  # noqa: PLR2004 - the table and the chart
            sys.exit(f"release: the demo saved {saved}")
    say(f"in a bare environment: --version says {version}, demo saved {', '.join(saved)}")


def notes() -> list[str]:
    """What a release must not have, and a trial may: work that is not committed, and entries without a version."""
    found = []
    status = subprocess.run(["git", "-C", str(ROOT), "status", "--short"], capture_output=True, text=True, check=True)  # noqa: S603, S607 - git of the developer
    if status.stdout:
        found.append(f"{len(status.stdout.splitlines())} files differ from the last commit")
    unreleased = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", changelog(), re.MULTILINE | re.DOTALL)
    if unreleased is None or unreleased[1].strip():
        found.append("CHANGELOG.md has entries under Unreleased, which belong under the version")
    return found


def call(program: str | Path, *arguments: str | Path, code: int = 0, cwd: Path | None = None) -> str:
    """Run a program of this environment and return what it prints; exit with that if its exit code is another one."""
    command: Sequence[str | Path] = [program, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603 - built here
    if done.returncode != code:
        sys.exit(f"release: {' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def beside(program: str) -> Path:
    """A program of the environment that runs this one."""
    return Path(sys.executable).with_name(program)


def say(text: str) -> None:
    """Print one line of the report."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
