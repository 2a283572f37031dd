"""The page of versions, the documentation and the package name the same versions, and each was tested."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from page import Page
from versions import noxfile, table

from assistants_compat.cli import doctor_checks
from kit.paths import ROOT

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" timestamp="2026-11-30T23:40:00.000000+00:00">
<testcase name="a" />
<testcase name="b"><properties><property name="sdk_suite" value="588 passed" /></properties></testcase>
<testcase name="c"><skipped type="pytest.skip" message="this SDK has no ChatKit" /></testcase>
<testcase name="d"><skipped type="pytest.skip" message="this SDK has no ChatKit" /></testcase>
{more}</testsuite></testsuites>"""
FAILED = '<testcase name="e"><failure message="assert 0">E</failure></testcase>'


@pytest.fixture(scope="module")
def page() -> Page:
    """The page of versions."""
    return Page("docs/versions.md")


def table_rows(page: Page) -> list[list[str]]:
    """Return the cells of the rows of the matrix."""
    lines = re.findall(r"<!-- matrix -->\n(.*?)<!-- /matrix -->", page.text, re.DOTALL)[0].splitlines()
    return [[text.strip() for text in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("more", "passed"), [("", "2"), (FAILED, "2, **1 failed**")])
def test_a_row_is_what_its_report_says(tmp_path: Path, more: str, passed: str) -> None:
    """A row has the figures of its report with the reason of each skip, and a failure is shown."""
    row = noxfile.Row("3.12", "2.0.0")
    (tmp_path / f"{row.id}.xml").write_text(REPORT.format(more=more), encoding="utf-8")
    *_, line = table([row], tmp_path)
    assert line == f"| 3.12 | 2.0.0 | 2026-11-30 | {passed} | 2: this SDK has no ChatKit | 588 passed |"


def test_a_row_without_a_report_was_not_run(tmp_path: Path) -> None:
    """A row that has not run says so, and has no figures."""
    *_, line = table([noxfile.Row("3.12", "2.0.0")], tmp_path)
    assert line == "| 3.12 | 2.0.0 | | | not run | |"


def test_the_table_has_every_row_of_the_matrix(page: Page) -> None:
    """The table has the rows of the matrix in their order, each with tests that passed and none that failed."""
    rows = table_rows(page)
    assert [(python, sdk) for python, sdk, *_ in rows] == [(row.python, row.sdk) for row in noxfile.ROWS]
    assert [row for row in rows if not row[3].isdigit() or int(row[3]) < 500] == []


def test_every_place_names_the_same_versions(page: Page) -> None:
    """README, documentation, metadata, Makefile, matrix and `doctor` agree on the Pythons and SDKs."""
    pythons = re.findall(r"^SUPPORTED := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[
        0
    ].split()
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'"Programming Language :: Python :: (3\.\d+)"', metadata) == pythons
    assert f'requires-python = ">={pythons[0]}"' in metadata
    assert {row.python for row in noxfile.ROWS} == set(pythons)
    assert all((ROOT / f"locks/py{python}{kind}.txt").is_file() for python in pythons for kind in ("", "-check"))

    oldest, newest = (".".join(sdk.split(".")[:2]) for sdk in (noxfile.ROWS[0].sdk, noxfile.NEWEST))
    assert f'"openai>={oldest}"' in metadata
    tested = [".".join(map(str, limit)) for limit in (*doctor_checks._TESTED_SDKS, *doctor_checks._TESTED_PYTHONS)]
    assert tested == [oldest, newest, pythons[0], pythons[-1]]
    for text in (page.text, Page("docs/index.md").text, Page("README.md").text):
        assert f"Python {pythons[0]} to {pythons[-1]} and openai {oldest} to {newest}" in " ".join(text.split())


def test_every_lock_of_a_row_pins_its_sdk() -> None:
    """The lock of each row has the row's SDK, and before 1.55.3 an httpx that this SDK accepts."""
    for row in noxfile.ROWS:
        lock = (ROOT / row.lock).read_text(encoding="utf-8")
        assert f"\nopenai=={row.sdk}\n" in lock
        if tuple(map(int, row.sdk.split("."))) < (1, 55, 3):
            assert "\nhttpx==0.27" in lock


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("version", "code"), [("3.99", 0), ("3.10", 0), ("3.9", 2)])
def test_make_tries_a_newer_python_and_refuses_an_older_one(tmp_path: Path, version: str, code: int) -> None:
    """A Python newer than all tested ones is tried, with one line that says so; one that is too old is refused."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
    python.chmod(0o700)
    command = ["make", "--no-print-directory", "-n", "-C", str(ROOT), "rooms", f"PYTHON={python}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("is newer than every tested one" in done.stdout) == (version == "3.99")
    assert ("is Python 3.9; one of 3.10" in done.stderr) == (code == 2)
