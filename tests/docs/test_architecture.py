"""docs/architecture.md and docs/decisions/ say how the package is laid out, and the layout keeps its bounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rooms import House

from kit.paths import DOCS, ROOT

RECORDS = sorted((DOCS / "decisions").glob("[0-9]*.md"))


def test_the_package_keeps_its_bounds() -> None:
    """At most 13 rooms and 6 files stand at the top, no file has over 500 lines, and no import points back up."""
    figures = House.measured().figures()
    assert figures["rooms (folders at the top)"] <= 13
    assert figures["files at the top"] <= 6
    assert figures["lines in the longest file"] <= 500
    assert figures["floors of rooms"] <= 10
    assert figures["modules in circles"] == 0


def test_no_test_file_has_over_500_lines() -> None:
    """Test files keep the bound of the package."""
    counts = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert {name: count for name, count in counts.items() if count > 500} == {}


def test_every_room_says_what_lives_there() -> None:
    """The docstring of each room has three to six lines, and names the file to read first."""
    for init in sorted((ROOT / "assistants_compat").glob("*/__init__.py")):
        docstring = init.read_text(encoding="utf-8").split('"""')[1]
        assert 3 <= len(docstring.strip().splitlines()) <= 6, init
        named = re.findall(r"[Ss]tart\s+reading\s+at\s+`(\w+)\.py`", docstring)
        assert [name for name in named if (init.parent / f"{name}.py").is_file()] == named != [], init


def test_the_page_is_short_and_names_files_that_exist() -> None:
    """docs/architecture.md has at most 1,500 words, and each file that it names is there."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert len(page.split()) <= 1500
    package = ROOT / "assistants_compat"
    files = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    names = {path.name for path in package.rglob("*.py")}
    for name in re.findall(r"`([\w/]+\.py)`", page):
        assert name in files or name in names or (ROOT / name).is_file(), name
    for room in {name.partition("/")[0] for name in files if "/" in name}:
        assert f"**`{room}/`**" in page, room


def test_every_test_folder_says_what_it_proves() -> None:
    """The conftest.py of each test folder begins with one line that says it."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    for folder in sorted(folders):
        conftest = folder / "conftest.py"
        assert conftest.is_file(), folder
        assert re.match(r'"""[A-Z].{20,}\.("""|\n)', conftest.read_text(encoding="utf-8")), folder


def test_decisions_are_numbered_one_after_the_other() -> None:
    """Each record has the next number, and the index lists all of them with their titles."""
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    titles = [path.read_text(encoding="utf-8").splitlines()[0] for path in RECORDS]
    rows = [f"| {path.name[:4]} | [{title[8:]}]({path.name}) |" for path, title in zip(RECORDS, titles, strict=True)]
    assert re.findall(r"^\| \d.*$", index, re.MULTILINE) == rows


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_decision_has_context_decision_and_consequence(record: Path) -> None:
    """A record's three headings, in this order, and its number in its title."""
    text = record.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequence"]
    assert text.startswith(f"# {record.name[:4]}: ")
