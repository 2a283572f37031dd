"""Generated parts of the documentation are up to date, and every page is on the site and readable there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tables import PARTS, PICTURES, with_part

from kit.paths import DOCS

ROOT = DOCS.parent
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_a_generated_part_is_up_to_date(name: str, part: str) -> None:
    """Each generated part of a page is what the code gives now; run `make pages` if this fails."""
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == with_part(page, part, PARTS[name, part]())


@pytest.mark.parametrize("name", PICTURES)
def test_a_generated_picture_is_up_to_date(name: str) -> None:
    """Each picture is what the code draws now; run `make pages` if this fails."""
    assert (DOCS / name).read_text(encoding="utf-8") == PICTURES[name]()


def pages() -> Iterator[Path]:
    """Yield every page of the documentation."""
    yield from sorted(DOCS.rglob("*.md"))
    yield from (ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md"))


def test_every_page_is_in_the_sites_navigation() -> None:
    """The navigation has every top page and the index of each folder, and each index links its folder's pages."""
    navigation = re.findall(r'"([\w/]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    at_the_top = [path.name for path in DOCS.glob("*.md")]
    indexes = [path for path in DOCS.rglob("README.md") if path.parent != DOCS]
    assert sorted(navigation) == sorted([*at_the_top, *(path.relative_to(DOCS).as_posix() for path in indexes)])
    for index in indexes:
        linked = LINK.findall(index.read_text(encoding="utf-8"))
        assert {path.name for path in index.parent.glob("*.md")} - {index.name} <= set(linked)
    assert {path.parent for path in DOCS.rglob("*.md")} == {DOCS, *(index.parent for index in indexes)}


def test_the_site_can_be_read_as_files() -> None:
    """Links between pages name the file (`endpoints.html`), because only a server completes `endpoints/`."""
    assert "\nuse_directory_urls = false\n" in (ROOT / "zensical.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_code_on_a_page_is_at_most_80_columns_wide(page: Path) -> None:
    """No code on a page needs scrolling sideways, and none is Mermaid, which no browser draws."""
    blocks = re.findall(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for indent, _, block in blocks for line in (line.removeprefix(indent) for line in block.splitlines())]
    assert [line for line in lines if len(line) > 80] == []
    assert "mermaid" not in {language for _, language, _ in blocks}


@pytest.mark.parametrize("page", [*pages()], ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    """Every link within the repository leads to a file; `make docs` also checks links to headings."""
    links = [
        link for link in LINK.findall(page.read_text(encoding="utf-8")) if not link.startswith(("http", "sandbox:"))
    ]
    assert [link for link in links if not (page.parent / link).is_file()] == []
