"""Reads a code base and says where it uses the Assistants API, and what becomes of each use.

The code is parsed and never run or imported.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import other_uses_table
from .discover import Walk
from .findings import Finding
from .notebooks import cells
from .syntax import findings_of

_MOST = 5_000_000  # bytes; a larger file is data
_SUSPECT = re.compile(r"\.beta\.(?:assistants|threads|vector_stores)\b|/v1/(?:assistants|threads)\b")


@dataclass
class Audit:
    """What was found, how many files were read, and what was not.

    `unread` has the reason by the file, `skipped` the folders and files that were passed over by their name.
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    @property
    def uses(self) -> list[Finding]:
        """The findings without those that are only the surroundings of others."""
        return [found for found in self.findings if not found.context]


def audit(paths: Iterable[Path], *, everything: bool = False) -> Audit:
    """Read the Python files and notebooks of some paths; `everything` also what is usually passed over."""
    done, walk = Audit(), Walk(everything)
    seen: set[Path] = set()
    for given in paths:
        for path in walk.files(given):
            if path.absolute() not in seen:
                seen.add(path.absolute())
                _read(path, done)
    done.skipped = walk.skipped
    if not done.uses:  # a client alone is no use of the Assistants API
        done.findings = []
    return done


def _read(path: Path, done: Audit) -> None:
    try:
        if path.stat().st_size > _MOST:
            done.unread[str(path)] = f"larger than {_MOST // 1_000_000} MB"
            return
        content = path.read_bytes()
    except OSError as error:
        done.unread[str(path)] = error.strerror or "it cannot be read"
        return
    if b"\0" in content:
        done.unread[str(path)] = "it is binary"
        return
    done.files += 1
    found, trouble = of_notebook(content) if path.suffix.lower() == ".ipynb" else of_source(content)
    if trouble is not None:
        done.unread[str(path)] = trouble
    done.findings += [dataclasses.replace(each, path=str(path)) for each in found]


def of_source(content: bytes) -> tuple[list[Finding], str | None]:
    """The uses in a Python source, and why it could not be parsed; then it is searched as text.  Raises nothing."""
    text = content.decode("utf-8", errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in other people's strings
            tree = ast.parse(content)
        return findings_of(text, tree), None
    except SyntaxError as error:
        trouble = f"no Python 3: {error.msg} (line {error.lineno})"
    except ValueError as error:
        trouble = f"no Python 3: {error}"
    except (RecursionError, MemoryError):
        trouble = "nested too deeply to be parsed"
    return list(_of_text(text)), trouble


def of_notebook(content: bytes) -> tuple[list[Finding], str | None]:
    """The uses in a notebook's code cells, each read by itself, and why one or the whole could not be."""
    found: list[Finding] = []
    troubles: list[str] = []
    try:
        every = list(cells(content.decode("utf-8", errors="replace")))
    except (ValueError, RecursionError):
        return [], "no notebook: it is not the JSON of one"
    for number, source in every:
        of_cell, trouble = of_source(source.encode("utf-8", errors="replace"))
        found += [dataclasses.replace(each, cell=number) for each in of_cell]
        if trouble is not None:
            troubles.append(f"cell {number}: {trouble}")
    return found, "; ".join(troubles) or None


def _of_text(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), start=1):
        if suspect := _SUSPECT.search(line):
            other = other_uses_table.UNPARSED
            place = (number, suspect.start() + 1)
            yield Finding(*place, "text", suspect[0], other.verdict, other.note, other.native)
