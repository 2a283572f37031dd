"""What the distribution says of itself agrees with the checkout: version, extras, Pythons, links and files."""

from __future__ import annotations

import importlib.metadata
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import assistants_compat
from kit.paths import DOCS, ROOT
from kit.project import PROJECT, PYPROJECT, extras, supported_pythons

METADATA = importlib.metadata.metadata("assistants_compat")


def test_the_version_is_kept_in_one_place() -> None:
    """The package, its metadata and the changelog's newest heading have one version, and pyproject.toml has none."""
    assert METADATA["Version"] == assistants_compat.__version__
    assert "version" not in PROJECT
    assert "version" in PROJECT["dynamic"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, newest, *_older = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    assert unreleased == "Unreleased"
    assert re.fullmatch(rf"{re.escape(assistants_compat.__version__)} - \d{{4}}-\d{{2}}-\d{{2}}", newest)


def test_the_extras_are_the_same_everywhere() -> None:
    """The wheel, `make lock`, `make installs` and the table of docs/installing.md have the extras of pyproject.toml."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    page = (DOCS / "installing.md").read_text(encoding="utf-8")
    probes = runpy.run_path(str(ROOT / "release" / "installs.py"))["PROBES"]
    expected = set(extras())
    assert set(METADATA.get_all("Provides-Extra") or ()) == expected
    assert set(re.findall(r"--extra (\w+)", re.findall("^EXTRAS := .*$", makefile, re.MULTILINE)[0])) == expected
    assert set(probes) == {"", *expected}
    assert set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)) == expected


@pytest.mark.parametrize("extra", extras())
def test_an_extra_brings_what_it_names(extra: str) -> None:
    """Each requirement of an extra is a distribution whose installed version fits, so its name and bound exist."""
    for requirement in extras()[extra]:
        if requirement.marker is None or requirement.marker.evaluate():
            installed = importlib.metadata.version(requirement.name)
            assert requirement.specifier.contains(installed, prereleases=True), (requirement, installed)


def test_the_pythons_are_the_same_everywhere() -> None:
    """Classifiers and the lower bound of pyproject.toml are the Pythons of the Makefile, and each has a lock."""
    pythons = supported_pythons()
    prefix = "Programming Language :: Python :: 3."
    classifiers = [line for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert [line.removeprefix("Programming Language :: Python :: ") for line in classifiers] == pythons
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert [version for version in pythons if not (ROOT / "locks" / f"py{version}.txt").is_file()] == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", {}),
        (
            "https://git.example/team/project/",
            {
                "Repository": "https://git.example/team/project",
                "Issues": "https://git.example/team/project/issues",
                "Changelog": "https://git.example/team/project/blob/main/CHANGELOG.md",
            },
        ),
    ],
)
def test_links_are_made_of_one_address_that_may_be_empty(address: str, expected: dict[str, str]) -> None:
    """The metadata's links come from the one address in pyproject.toml; without one there are none."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    hook = runpy.run_path(str(ROOT / "hatch_build.py"))["ProjectUrls"](str(ROOT), {"repository": address})
    metadata: dict[str, Any] = {}
    hook.update(metadata)
    assert metadata == {"urls": expected}


def test_the_wheel_has_the_links_of_the_address() -> None:
    """The installed metadata has links if pyproject.toml has an address, and invents none."""
    address = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]
    links = METADATA.get_all("Project-URL") or []
    assert bool(links) == bool(address)
    assert all(address in link for link in links)


def test_the_source_distribution_has_what_git_has(tmp_path: Path) -> None:
    """A source distribution has every file that git does not ignore, and the wheel every file of the package."""
    pytest.importorskip("build", reason="build is not installed")
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    release = runpy.run_path(str(ROOT / "release" / "make_release.py"))
    release["build"](ROOT, tmp_path, "--sdist", "--wheel")
    tracked = release["tracked_files"]("--cached", "--others", "--exclude-standard")
    assert release["files_of_sdist"](release["only"]("*.tar.gz", tmp_path)) == tracked
    package = {name for name in tracked if name.startswith("assistants_compat/")}
    beside = {"assistants_compat/doors/start/assistants_compat.pth": "assistants_compat.pth"}
    in_wheel = {beside.get(name, name) for name in package}
    assert release["files_of_wheel"](release["only"]("*.whl", tmp_path)) == in_wheel


def test_the_wheel_has_the_file_that_python_reads_at_every_start() -> None:
    """Beside the package lies the file with which `run` covers launchers; without `run` it loads nothing."""
    installed = [file for file in importlib.metadata.files("assistants_compat") or () if file.suffix == ".pth"]
    assert [str(file) for file in installed] == ["assistants_compat.pth"]
    source = ROOT / "assistants_compat" / "doors" / "start" / "assistants_compat.pth"
    assert installed[0].read_text() == source.read_text(encoding="utf-8")
    loaded = "import sys; print('assistants_compat' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_only_the_newest_changelog_entry_may_be_released(tmp_path: Path) -> None:
    """`make release` stops if the changelog does not date the version that it builds."""
    (tmp_path / "release").mkdir()
    shutil.copy(ROOT / "release" / "make_release.py", tmp_path / "release")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 0.9.0 - 2026-01-31\n", encoding="utf-8")
    program = "import runpy, sys; runpy.run_path('release/make_release.py')['dated'](sys.argv[1])"

    def check(version: str) -> tuple[int, str]:
        command = [sys.executable, "-c", program, version]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert check("0.9.0") == (0, "CHANGELOG.md dates 0.9.0: 2026-01-31\n")
    code, text = check("1.0.0")
    assert (code, "newest version in CHANGELOG.md is ## 0.9.0 - 2026-01-31" in text) == (1, True)
