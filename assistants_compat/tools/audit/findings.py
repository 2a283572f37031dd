"""The finding of an audit, and the verdicts in order of severity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .parameters_table import Verdict

# From "nothing to do" to "the code has to be edited".
SEVERITY: tuple[Verdict, ...] = ("works", "differs", "mistake", "unsupported")

Kind = Literal[
    "call", "reference", "type", "handler", "object", "header", "route", "framework", "client", "mistake", "text"
]


@dataclass(frozen=True)
class Finding:
    """One use of the Assistants API in a file.

    `line` and `column` count from one; in a notebook they count within `cell`, which counts from one too and is None
    elsewhere. `what` names the use, `note` says what the library does with it, and `native` is what native code uses
    instead. `parameters` maps the parameters of a call that do not simply work to their notes. A finding with `context`
    is not a use by itself and is shown only beside others, for example a client. Field names are keys of `--json`.
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

    def location(self) -> str:
        """Return the location in a form that editors link: `app.py:12`, or `book.ipynb:cell 3:12`."""
        line = f"cell {self.cell}:{self.line}" if self.cell is not None else str(self.line)
        return f"{self.path}:{line}"


def worst_verdict(verdicts: list[Verdict]) -> Verdict:
    """Return the most severe of these verdicts."""
    return max(verdicts, key=SEVERITY.index)
