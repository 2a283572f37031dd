"""After `cassettes convert` an unchanged legacy suite passes over the Responses API."""

from __future__ import annotations

import re
from pathlib import Path

from assistants_compat.recordings import vcr_yaml
from assistants_compat.recordings.convert.play import convert
from kit import legacy_suites as suites
from kit.legacy_suites import LINE, Run


def test_the_same_tests_pass_after_conversion(suite_folder: Path, run: Run) -> None:
    """The ten tests pass over converted recordings, which hold only /responses traffic, and none counts as old."""
    suites.write(suite_folder, LINE)
    for cassette in (suite_folder / "cassettes").rglob("*.yaml"):
        converted = convert(vcr_yaml.load(cassette))
        assert converted.refused == []
        cassette.write_text(vcr_yaml.dump(converted.document), encoding="utf-8")
        assert not re.search("uri: .*/v1/(assistants|threads)", cassette.read_text())
    result = run("-q")
    result.assert_outcomes(passed=suites.TESTS)
    result.stdout.no_fnmatch_line("*still use*")
