"""An audit in words: as lines that editors and people read, as Markdown, and as JSON."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import Audit
from .findings import SEVERITY, Finding

# Of these each has a name of its own, and the same becomes of all.
_TOGETHER = {"type": "types of the SDK", "route": "routes by hand", "text": "unparsed files"}


def text(audit: Audit) -> list[str]:
    """A line for each finding, then once for each kind of use what becomes of it, then the sum."""
    lines = [_shown(f"{found.place()}: {found.verdict}: {_named(found)}") for found in audit.findings]
    if audit.findings:
        lines += ["", "What becomes of them:"]
        for named, note, native, parameters in _legend(audit.findings):
            lines += [_shown(f"  {named}"), f"    here:   {note}"]
            lines += [f"            {name}: {said}" for name, said in parameters.items()]
            lines += [f"    native: {native}"] if native else []
        lines.append("")
    return [*lines, *(_shown(f"not read: {path}: {why}") for path, why in audit.unread.items()), _sum(audit)]


def markdown(audit: Audit) -> list[str]:
    """The same as two tables, for a pull request or a page."""
    lines = ["# Uses of the Assistants API", "", _sum(audit), ""]
    if audit.findings:
        lines += ["| place | what | verdict |", "|---|---|---|"]
        lines += [f"| {_cell(each.place())} | {_cell(_named(each))} | {each.verdict} |" for each in audit.findings]
        lines += ["", "| what | what becomes of it | native |", "|---|---|---|"]
        for named, note, native, parameters in _legend(audit.findings):
            said = "; ".join([note, *(f"{name}: {each}" for name, each in parameters.items())])
            lines.append(f"| {_cell(named)} | {_escaped(said)} | {_cell(native) if native else ''} |")
        lines.append("")
    if audit.unread:
        lines += ["Not read:", "", *(f"- {_cell(path)}: {_escaped(why)}" for path, why in audit.unread.items()), ""]
    return lines[:-1]


def as_json(audit: Audit) -> dict[str, Any]:
    """The whole audit; `counts` are of uses, the surroundings (`context`) left out."""
    return {
        "findings": [dataclasses.asdict(each) for each in audit.findings],
        "counts": _counts(audit),
        "files": audit.files,
        "unread": audit.unread,
        "skipped": audit.skipped,
    }


def _counts(audit: Audit) -> dict[str, int]:
    counted = Counter(found.verdict for found in audit.uses)
    return {verdict: counted[verdict] for verdict in SEVERITY}


def _sum(audit: Audit) -> str:
    counts = ", ".join(f"{number} {verdict}" for verdict, number in _counts(audit).items())
    places = len({found.path for found in audit.uses})
    return f"{len(audit.uses)} uses in {places} of {audit.files} files: {counts}"


def _named(found: Finding) -> str:
    parameters = f" ({', '.join(found.parameters)})" if found.parameters else ""
    mistake = f" - {found.note}" if found.verdict == "mistake" and not found.parameters else ""
    return f"{found.what}{parameters}{mistake}"


def _legend(findings: list[Finding]) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Once for each use: what becomes of it, the native call, and what differs of the parameters that are named."""
    parameters: dict[tuple[str, str, str], dict[str, str]] = {}
    for found in findings:
        what = _TOGETHER.get(found.kind, found.what)
        parameters.setdefault((what, found.note, found.native), {}).update(found.parameters)
    for (what, note, native), known in sorted(parameters.items()):
        yield what, note, native, known


def _shown(line: str) -> str:
    """Without what a terminal would act upon: names and strings come from files."""
    return "".join("?" if unicodedata.category(char) in {"Cc", "Cf", "Cs"} else char for char in line)


def _escaped(said: str) -> str:
    return _shown(said).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _cell(said: str) -> str:
    return f"`{_shown(said).replace('`', '').replace('|', '/')}`"
