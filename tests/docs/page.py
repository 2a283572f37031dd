"""A page of the documentation whose code and commands can be run as they stand."""

from __future__ import annotations

import re
from typing import Any

from kit.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


class Page:
    """A page by its path from the repository root; `text` is its content."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = (ROOT / path).read_text(encoding="utf-8")

    def blocks(self, language: str = "python") -> list[str]:
        """Return the content of its fenced blocks of a language."""
        return re.findall(rf"```{language}\n(.*?)```", self.text, re.DOTALL)

    def lines(self) -> list[str]:
        """Return the lines of its console blocks."""
        return [line for block in self.blocks("console") for line in block.splitlines()]

    def execute(self, source: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a block with these names, and return the names that it leaves."""
        names = {} if names is None else names
        exec(compile(source, self.path, "exec"), names)  # noqa: S102 - our own page
        return names

    def execute_and_close(self, source: str) -> dict[str, Any]:
        """Run a block, close its client, and return the names that it leaves."""
        names = self.execute(source)
        if "client" in names:
            names["client"].close()
        return names

    def is_linked_from_the_readme(self) -> bool:
        """Return whether the README links to the page."""
        return f"({self.path})" in README
