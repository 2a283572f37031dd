"""The tables of docs/versions.md, from the reports that `make matrix FULL=1` left; `make versions` writes them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree as ET

from markdown_cells import cell
from tables import with_part

from kit.paths import DOCS, ROOT

PAGE = DOCS / "versions.md"


def _load_noxfile() -> Any:
    """Import noxfile.py from its path, because its folder on `sys.path` would hide the installed package."""
    specification = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["noxfile"] = module
    with mock.patch.dict(os.environ):  # it changes the PATH for its sessions
        specification.loader.exec_module(module)
    return module


noxfile = _load_noxfile()


@dataclass(frozen=True)
class Report:
    """What one row of the matrix did. `left_out` counts the skipped tests of each reason."""

    date: str
    passed: int
    failed: int
    left_out: Counter[str]
    properties: dict[str, str]


def read_report(path: Path) -> Report:
    """Return the outcomes of a JUnit report, without the tests of the SDK's own suite, which has its own column."""
    root = ET.parse(path).getroot()  # noqa: S314 - pytest has written it
    passed = failed = 0
    left_out: Counter[str] = Counter()
    for case in root.iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif skipped is not None:
            left_out[skipped.get("message", "")] += 1
        else:
            passed += 1
    suite = next(root.iter("testsuite"))
    properties = {item.get("name", ""): item.get("value", "") for item in root.iter("property")}
    return Report(suite.get("timestamp", "")[:10], passed, failed, left_out, properties)


def table(rows: list[Any], reports: Path) -> Iterator[str]:
    """Yield the table of the matrix; a row without a report says that it was not run, and why if that is known."""
    yield "| Python | openai | on | passed | left out, with the reason | the SDK's own tests |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        path = reports / f"{row.id}.xml"
        if not path.is_file():
            yield f"| {row.python} | {row.sdk} | | | not run{cell(row.missing and f': {row.missing}')} | |"
            continue
        report = read_report(path)
        passed = f"{report.passed}, **{report.failed} failed**" if report.failed else str(report.passed)
        left_out = "<br>".join(f"{number}: {cell(reason)}" for reason, number in sorted(report.left_out.items()))
        suite = report.properties.get("sdk_suite", "none in its distribution")
        calls = report.properties.get("sdk_calls")
        suite += f"; {calls} calls audited" if calls else ""
        yield f"| {row.python} | {row.sdk} | {report.date} | {passed} | {left_out or 'none'} | {suite} |"


def main() -> None:
    """Write the table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_part(page, "matrix", table(noxfile.ROWS, noxfile.REPORTS)), encoding="utf-8")
    sys.stdout.write("versions.md: matrix\n")


if __name__ == "__main__":
    main()
