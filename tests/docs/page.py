"""A page of the documentation, whose code and commands are run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


class Page:
    """A page by its path from the top; `text` is what it says."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = (ROOT / path).read_text(encoding="utf-8")

    def blocks(self, language: str = "python") -> list[str]:
        """What stands in its fenced blocks of a language."""
        return re.findall(rf"```{language}\n(.*?)```", self.text, re.DOTALL)

    def lines(self) -> list[str]:
        """What is typed into a console."""
        return [line for block in self.blocks("console") for line in block.splitlines()]

    def execute(self, source: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a block with these names; those that it leaves."""
        names = {} if names is None else names
        exec(compile(source, self.path, "exec"), names)  # noqa: S102 - our own page
        return names

    def execute_and_close(self, source: str) -> dict[str, Any]:
        """Run a block; the names that it leaves, its client closed."""
        names = self.execute(source)
        if "client" in names:
            names["client"].close()
        return names

    def is_linked_from_the_readme(self) -> bool:
        """Whether who reads the README finds it."""
        return f"({self.path})" in README
