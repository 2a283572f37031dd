"""Finds where a code base uses the Assistants API and says what the library does with each use.

Code is parsed, never run or imported. Start reading here; `syntax.py` finds the uses in one file, and the three
`*_table.py` modules hold what is known about each use.
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
from .discover import FileWalk
from .findings import Finding
from .notebooks import code_cells
from .routes import full_route, routes_in_shell
from .syntax import findings_in_tree

_MAX_FILE_BYTES = 5_000_000  # a larger file is data, not code that someone wrote
# What to look for, line by line, in a file that cannot be parsed.
_TEXT_USE = re.compile(r"\.beta\.(?:assistants|threads|vector_stores)\b")


@dataclass
class Audit:
    """The result of an audit.

    `files` is the number of files that were read. `unread` maps files that could not be read or parsed to the reason.
    `skipped` are the folders and files that were ignored because of their name or a `.gitignore`.
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    @property
    def uses(self) -> list[Finding]:
        """The findings that are uses by themselves, not just context of others."""
        return [finding for finding in self.findings if not finding.context]


def audit(paths: Iterable[Path], *, include_ignored: bool = False) -> Audit:
    """Audit the Python files and notebooks in some files and folders.

    `include_ignored` also reads what is skipped by default: environments, caches and what a `.gitignore` names.
    """
    result, walk = Audit(), FileWalk(include_ignored)
    seen: set[Path] = set()
    for start in paths:
        for path in walk.files(start):
            if (place := path.resolve()) not in seen:
                seen.add(place)
                _audit_file(path, result)
    result.skipped = walk.skipped
    if not result.uses:  # a client alone does not use the Assistants API
        result.findings = []
    return result


def _audit_file(path: Path, result: Audit) -> None:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            result.unread[str(path)] = f"larger than {_MAX_FILE_BYTES // 1_000_000} MB"
            return
        content = path.read_bytes()
    except OSError as error:
        result.unread[str(path)] = error.strerror or "cannot be read"
        return
    if b"\0" in content:
        result.unread[str(path)] = "binary file"
        return
    result.files += 1
    is_notebook = path.suffix.lower() == ".ipynb"
    findings, reason = findings_in_notebook(content) if is_notebook else findings_in_source(content)
    if reason is not None:
        result.unread[str(path)] = reason
    result.findings += [dataclasses.replace(finding, path=str(path)) for finding in findings]


def findings_in_source(content: bytes) -> tuple[list[Finding], str | None]:
    """Return the uses in Python source, and None or the reason why it could not be parsed.

    Source that cannot be parsed is searched as text, so that its uses are not lost. Raises nothing.
    """
    text = content.decode("utf-8", errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about escapes in the audited strings are not ours to show
            tree = ast.parse(content)
        return findings_in_tree(text, tree), None
    except SyntaxError as error:
        reason = f"not valid Python 3: {error.msg} (line {error.lineno})"
    except ValueError as error:
        reason = f"not valid Python 3: {error}"
    except (RecursionError, MemoryError):
        reason = "nested too deeply to parse"
    return list(_findings_in_text(text)), reason


def findings_in_notebook(content: bytes) -> tuple[list[Finding], str | None]:
    """Return the uses in a notebook's code cells, and None or the reasons why cells could not be parsed.

    Each cell is parsed by itself.
    """
    findings: list[Finding] = []
    reasons: list[str] = []
    try:
        cells = list(code_cells(content.decode("utf-8", errors="replace")))
    except (ValueError, RecursionError):
        return [], "not a valid notebook"
    for number, source, shell in cells:
        cell_findings, reason = findings_in_source(source.encode("utf-8", errors="replace"))
        in_shell = [_hand_written_route(*route) for route in routes_in_shell(shell)]
        by_line = sorted([*cell_findings, *in_shell], key=lambda finding: (finding.line, finding.column))
        findings += [dataclasses.replace(finding, cell=number) for finding in by_line]
        if reason is not None:
            reasons.append(f"cell {number}: {reason}")
    return findings, "; ".join(reasons) or None


def _hand_written_route(line: int, column: int, text: str) -> Finding:
    advice = other_uses_table.OTHER_LIBRARY_ROUTE
    return Finding(line, column, "route", text, advice.verdict, advice.note, advice.native)


def _findings_in_text(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), start=1):
        use = _TEXT_USE.search(line) or full_route(line)
        if use is not None:
            advice = other_uses_table.UNPARSED_FILE
            yield Finding(number, use.start() + 1, "text", use[0], advice.verdict, advice.note, advice.native)
