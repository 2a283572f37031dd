"""Which files of a code base are read: Python and notebooks, without what others wrote or a program made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = frozenset({".py", ".pyw", ".pyi", ".ipynb"})
# Environments, caches and version control; an environment of any name holds pyvenv.cfg.
_NOT_OURS = frozenset(
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
class Walk:
    """The files below some paths, and the folders and files that were passed over."""

    everything: bool = False
    skipped: list[str] = field(default_factory=list)

    def files(self, path: Path) -> Iterator[Path]:
        """The files of a path in the order of their names; one that is named itself is read anyhow.

        So is a folder: what ignores all of it (an environment's own `.gitignore` does) was meant for another reader.
        """
        if path.is_file():
            yield path
            return
        above = [] if self.everything else [*_above(path)]
        yield from self._below(path, [] if _is_ignored(path.absolute(), above, folder=True) else above)

    def _below(self, folder: Path, above: list[_Ignored]) -> Iterator[Path]:
        ignored = above if self.everything else [*above, *_ignored_in(folder)]
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self.skipped.append(f"{folder} (it cannot be listed)")
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if self._passed_over(path, ignored, folder=True):
                    self.skipped.append(str(path))
                else:
                    yield from self._below(path, ignored)
            elif path.suffix.lower() in SUFFIXES and entry.is_file():
                if self._passed_over(path, ignored, folder=False):
                    self.skipped.append(str(path))
                else:
                    yield path

    def _passed_over(self, path: Path, ignored: list[_Ignored], *, folder: bool) -> bool:
        if self.everything:
            return False
        if folder and (path.name in _NOT_OURS or (path / "pyvenv.cfg").is_file()):
            return True
        return _is_ignored(path, ignored, folder=folder)


@dataclass(frozen=True)
class _Ignored:
    """One line of a `.gitignore`."""

    base: Path
    pattern: re.Pattern[str]
    positive: bool
    folders: bool

    def fits(self, path: Path, *, folder: bool) -> bool:
        if self.folders and not folder:
            return False
        return self.pattern.fullmatch(path.relative_to(self.base).as_posix()) is not None


def _is_ignored(path: Path, ignored: list[_Ignored], *, folder: bool) -> bool:
    said = [each.positive for each in ignored if each.fits(path, folder=folder)]
    return bool(said) and said[-1]


def _above(path: Path) -> Iterator[_Ignored]:
    """What the folders above say, up to the repository's root; nothing outside of one."""
    parents = path.absolute().parents
    roots = [number for number, each in enumerate([path.absolute(), *parents]) if (each / ".git").exists()]
    for each in reversed(parents[: roots[0]] if roots else ()):
        yield from _ignored_in(each)


def _ignored_in(folder: Path) -> Iterator[_Ignored]:
    try:
        lines = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        text = line.rstrip()
        if text and not text.startswith("#"):
            positive = not text.startswith("!")
            body = text.removeprefix("!").removeprefix("\\")
            yield _Ignored(folder.absolute(), _pattern(body.rstrip("/")), positive, body.endswith("/"))


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of git: anchored where it holds a slash, `**` over folders, `*` and `?` within a name."""
    start = "" if "/" in text else "(?:.*/)?"
    parts = re.split(r"(\*\*/|/\*\*\Z|\*|\?|\[[^\]]+\])", text.removeprefix("/"))
    return re.compile(start + "".join(_MEANING.get(part) or _literal(part) for part in parts), re.DOTALL)


_MEANING = {"**/": "(?:.*/)?", "/**": "/.*", "*": "[^/]*", "?": "[^/]"}


def _literal(part: str) -> str:
    if part.startswith("[") and part.endswith("]") and len(part) > 2:  # noqa: PLR2004 - brackets with something in them
        inner = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^' + inner[1:] if inner[0] in '!^' and len(inner) > 1 else inner}]"
    return re.escape(part)
