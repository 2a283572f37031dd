"""Chooses the files of a code base to audit: Python and notebooks, without third-party and generated code.

It follows the rules of `.gitignore`, as documented in gitignore(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SOURCE_SUFFIXES = frozenset({".py", ".pyw", ".pyi", ".ipynb"})
# Environments, caches and version control. Environments with other names are recognised by their pyvenv.cfg.
_SKIPPED_FOLDERS = frozenset(
    {
        ".eggs",
        ".git",
        ".hg",
        ".ipynb_checkpoints",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        ".venv",
        "__pycache__",
        "node_modules",
        "site-packages",
        "venv",
    }
)


@dataclass
class FileWalk:
    """Walks folders for source files, and notes the folders and files that it skips."""

    include_ignored: bool = False
    skipped: list[str] = field(default_factory=list)

    def files(self, path: Path) -> Iterator[Path]:
        """Yield the source files in a path, sorted by name.

        A file or folder that is named explicitly is always read, even if a `.gitignore` above it excludes it. The paths
        begin as the user named the folder; the rules are about where it really is, whatever it was called (`..`).
        """
        if path.is_file():
            yield path
            return
        start = path.resolve()
        outer_rules = [] if self.include_ignored else [*_rules_above(start)]
        # A rule that excludes the whole folder was meant for git: an environment's own `.gitignore`, for example.
        is_ignored = _is_ignored(start, outer_rules, folder=True)
        yield from self._files_in(start, path, [] if is_ignored else outer_rules)

    def _files_in(self, folder: Path, named: Path, outer_rules: list[_IgnoreRule]) -> Iterator[Path]:
        """Yield the files of a folder, below the name that the user gave it."""
        rules = outer_rules if self.include_ignored else [*outer_rules, *_rules_in(folder)]
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self.skipped.append(f"{named} (cannot be listed)")
            return
        for entry in entries:
            path, name = Path(entry.path), named / entry.name
            if entry.is_dir(follow_symlinks=False):  # a link to a folder could lead back here
                if self._is_skipped(path, rules, folder=True):
                    self.skipped.append(str(name))
                else:
                    yield from self._files_in(path, name, rules)
            elif path.suffix.lower() in SOURCE_SUFFIXES and entry.is_file():
                if self._is_skipped(path, rules, folder=False):
                    self.skipped.append(str(name))
                else:
                    yield name

    def _is_skipped(self, path: Path, rules: list[_IgnoreRule], *, folder: bool) -> bool:
        if self.include_ignored:
            return False
        if folder and (path.name in _SKIPPED_FOLDERS or (path / "pyvenv.cfg").is_file()):
            return True
        return _is_ignored(path, rules, folder=folder)


@dataclass(frozen=True)
class _IgnoreRule:
    """One line of a `.gitignore`; `base` is the folder of that file, and a line that begins with `!` includes.

    The base and the paths that it is asked about are absolute and resolved.
    """

    base: Path
    pattern: re.Pattern[str]
    excludes: bool
    folders_only: bool

    def matches(self, path: Path, *, folder: bool) -> bool:
        if self.folders_only and not folder:
            return False
        return self.pattern.fullmatch(path.relative_to(self.base).as_posix()) is not None


def _is_ignored(path: Path, rules: list[_IgnoreRule], *, folder: bool) -> bool:
    matching = [rule.excludes for rule in rules if rule.matches(path, folder=folder)]
    return bool(matching) and matching[-1]  # the last matching rule decides


def _rules_above(path: Path) -> Iterator[_IgnoreRule]:
    """Yield the rules of the folders above a path, from the repository's root down; outside a repository, none."""
    parents = path.parents
    depths = [depth for depth, folder in enumerate([path, *parents]) if (folder / ".git").exists()]
    for folder in reversed(parents[: depths[0]] if depths else ()):
        yield from _rules_in(folder)


def _rules_in(folder: Path) -> Iterator[_IgnoreRule]:
    try:
        lines = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        text = line.rstrip()
        if text and not text.startswith("#"):
            excludes = not text.startswith("!")
            body = text.removeprefix("!").removeprefix("\\")  # a backslash escapes a leading # or !
            yield _IgnoreRule(folder, _compile_pattern(body.rstrip("/")), excludes, body.endswith("/"))


def _compile_pattern(text: str) -> re.Pattern[str]:
    """Compile a git pattern: one with a slash is anchored, `**` spans folders, `*` and `?` stay within a name."""
    anchor = "" if "/" in text else "(?:.*/)?"
    parts = re.split(r"(\*\*/|/\*\*\Z|\*|\?|\[[^\]]+\])", text.removeprefix("/"))
    return re.compile(anchor + "".join(_WILDCARDS.get(part) or _escape_literal(part) for part in parts), re.DOTALL)


_WILDCARDS = {"**/": "(?:.*/)?", "/**": "/.*", "*": "[^/]*", "?": "[^/]"}


def _escape_literal(part: str) -> str:
    """Return a regular expression for text or for a character class such as `[!a-c]`."""
    if part.startswith("[") and part.endswith("]") and len(part) > 2:  # noqa: PLR2004 - brackets that are not empty
        inner = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^' + inner[1:] if inner[0] in '!^' and len(inner) > 1 else inner}]"
    return re.escape(part)
