"""What an audit finds, and in which order of severity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .parameters_table import Verdict

# From what needs nothing to what needs an edit.
SEVERITY: tuple[Verdict, ...] = ("works", "differs", "mistake", "unsupported")

Kind = Literal[
    "call", "reference", "type", "handler", "object", "header", "route", "framework", "client", "mistake", "text"
]


@dataclass(frozen=True)
class Finding:
    """One use of the Assistants API in a file.

    `line` and `column` count from one, in a notebook within `cell` (from one too; None elsewhere).  `what` names the
    use, `note` says what the library does with it, `native` what native code has instead.  `parameters` are the notes
    on those that a call names and that differ.  A `context` is no use by itself, only beside others: a client, say.
    """

    line: int
    column: int
    kind: Kind
    what: str
    verdict: Verdict
    note: str
    native: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    cell: int | None = None
    context: bool = False
    path: str = ""

    def place(self) -> str:
        """The place as editors read it: `app.py:12`, or `book.ipynb:cell 3:12`."""
        inner = f"cell {self.cell}:{self.line}" if self.cell is not None else str(self.line)
        return f"{self.path}:{inner}"


def worst(verdicts: list[Verdict]) -> Verdict:
    """The severest of some."""
    return max(verdicts, key=SEVERITY.index)
