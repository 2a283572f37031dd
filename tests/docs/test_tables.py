"""The pages that are drawn from the code say what it says, and every page is on the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tables import DOCS, PARTS, PICTURES, with_part

ROOT = DOCS.parent
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_a_part_that_is_drawn_from_the_code_is_as_the_code_says(name: str, part: str) -> None:
    """Run `python tests/docs/tables.py` where this fails."""
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == with_part(page, part, PARTS[name, part]())


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_from_the_code(name: str) -> None:
    """Run `python tests/docs/tables.py` where this fails."""
    assert (DOCS / name).read_text(encoding="utf-8") == PICTURES[name]()


def pages() -> Iterator[Path]:
    """What is written of the library."""
    yield from sorted(DOCS.glob("*.md"))
    yield from (ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md"))


def test_every_page_is_in_the_sites_navigation() -> None:
    """No page is there that nobody finds, and none is named that is not there."""
    named = re.findall(r'"(\w+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", [*pages()], ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    """Links within the repository; `make docs` checks those to headings, too."""
    links = [
        link for link in LINK.findall(page.read_text(encoding="utf-8")) if not link.startswith(("http", "sandbox:"))
    ]
    assert [link for link in links if not (page.parent / link).is_file()] == []
