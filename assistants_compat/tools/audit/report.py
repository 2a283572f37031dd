"""Formats an audit: as lines that people and editors read, as Markdown, and as JSON."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import Audit
from .findings import SEVERITY, Finding

# Findings of these kinds have different names, but the library treats them alike: the details list them once.
_GROUP_NAMES = {"type": "types of the SDK", "route": "routes by hand", "text": "unparsed files"}


def text(audit: Audit) -> list[str]:
    """Return one line for each finding, then the details of each kind of use, then a summary."""
    lines = [_printable(f"{finding.location()}: {finding.verdict}: {_use_name(finding)}") for finding in audit.findings]
    if audit.findings:
        lines += ["", "What the library does with each use, and what native code calls instead:"]
        for use, note, native, parameters in _grouped_uses(audit.findings):
            lines += [_printable(f"  {use}"), f"    library: {note}"]
            lines += [f"             {name}: {parameter_note}" for name, parameter_note in parameters.items()]
            lines += [f"    native:  {native}"] if native else []
        lines.append("")
    # Files that were only searched as text are listed here too, because their uses may be incomplete.
    lines += [_printable(f"not read: {path}: {reason}") for path, reason in audit.unread.items()]
    return [*lines, _summary(audit)]


def markdown(audit: Audit) -> list[str]:
    """Return the same report as two Markdown tables, for example for a pull request."""
    lines = ["# Uses of the Assistants API", "", _summary(audit), ""]
    if audit.findings:
        lines += ["| location | use | verdict |", "|---|---|---|"]
        lines += [
            f"| {_markdown_code(finding.location())} | {_markdown_code(_use_name(finding))} | {finding.verdict} |"
            for finding in audit.findings
        ]
        lines += ["", "| use | what the library does | native call |", "|---|---|---|"]
        for use, note, native, parameters in _grouped_uses(audit.findings):
            notes = "; ".join([note, *(f"{name}: {parameter_note}" for name, parameter_note in parameters.items())])
            native_cell = _markdown_code(native) if native else ""
            lines.append(f"| {_markdown_code(use)} | {_markdown_text(notes)} | {native_cell} |")
        lines.append("")
    if audit.unread:
        lines += [
            "Not read:",
            "",
            *(f"- {_markdown_code(path)}: {_markdown_text(reason)}" for path, reason in audit.unread.items()),
            "",
        ]
    return lines[:-1]


def as_json(audit: Audit) -> dict[str, Any]:
    """Return the whole audit: `counts` adds up to `uses`, and with `context` to the number of findings."""
    return {
        "findings": [dataclasses.asdict(finding) for finding in audit.findings],
        "uses": len(audit.uses),
        "context": len(audit.findings) - len(audit.uses),
        "counts": _verdict_counts(audit),
        "files": audit.files,
        "unread": audit.unread,
        "skipped": audit.skipped,
    }


def _verdict_counts(audit: Audit) -> dict[str, int]:
    counter = Counter(finding.verdict for finding in audit.uses)
    return {verdict: counter[verdict] for verdict in SEVERITY}


# The verdicts as they are counted: "2 work, 1 differs".
_PLURALS = {"works": "work", "differs": "differ", "mistake": "mistakes", "unsupported": "unsupported"}


def _summary(audit: Audit) -> str:
    """Return for example `3 uses in 2 of 5 files: 2 work, 1 differs`, and what else the report has lines for."""
    files = _quantity(audit.files, "file")
    unread = f"; {_quantity(len(audit.unread), 'file')} not read or not parsed" if audit.unread else ""
    use_count, files_with_uses = len(audit.uses), len({finding.path for finding in audit.uses})
    if not use_count:
        return f"no uses in {files}{unread}"
    counts = ", ".join(
        f"{count} {verdict if count == 1 else _PLURALS[verdict]}"
        for verdict, count in _verdict_counts(audit).items()
        if count
    )
    where = files if files_with_uses == audit.files else f"{files_with_uses} of {files}"
    others = len(audit.findings) - use_count
    beside = f"; {_quantity(others, 'other line')} (clients, uploads, annotations)" if others else ""
    return f"{_quantity(use_count, 'use')} in {where}: {counts}{beside}{unread}"


def _quantity(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _use_name(finding: Finding) -> str:
    parameters = f" ({', '.join(finding.parameters)})" if finding.parameters else ""
    mistake = f" - {finding.note}" if finding.verdict == "mistake" and not finding.parameters else ""
    return f"{finding.what}{parameters}{mistake}"


def _grouped_uses(findings: list[Finding]) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Yield each kind of use once: its name, its note, the native call, and the notes of its parameters."""
    groups: dict[tuple[str, str, str], dict[str, str]] = {}
    for finding in findings:
        use = _GROUP_NAMES.get(finding.kind, finding.what)
        groups.setdefault((use, finding.note, finding.native), {}).update(finding.parameters)
    for (use, note, native), parameters in sorted(groups.items()):
        yield use, note, native, parameters


def _printable(line: str) -> str:
    """Replace control characters: names and strings come from audited files, and could control the terminal."""
    return "".join("?" if unicodedata.category(char) in {"Cc", "Cf", "Cs"} else char for char in line)


def _markdown_text(content: str) -> str:
    return _printable(content).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _markdown_code(content: str) -> str:
    # A backtick would end the code, and a bar the cell: code cannot escape either.
    return f"`{_printable(content).replace('`', '').replace('|', '/')}`"
