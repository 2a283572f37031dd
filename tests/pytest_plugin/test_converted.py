"""After `cassettes convert` the same tests, unchanged, pass over the Responses API."""

from __future__ import annotations

import re
from pathlib import Path

from kit import legacy_suites as suites
from kit.legacy_suites import LINE, Run

from assistants_compat.recordings import vcr_yaml
from assistants_compat.recordings.convert.play import convert


def test_the_same_tests_pass_after_conversion(place: Path, run: Run) -> None:
    """The suite of ten passes over recordings of /responses alone, each played wholly, and none is old any more."""
    suites.write(place, LINE)
    for cassette in (place / "cassettes").rglob("*.yaml"):
        converted = convert(vcr_yaml.load(cassette))
        assert converted.refused == []
        cassette.write_text(vcr_yaml.dump(converted.document), encoding="utf-8")
        assert not re.search("uri: .*/v1/(assistants|threads)", cassette.read_text())
    result = run("-q")
    result.assert_outcomes(passed=suites.TESTS)
    result.stdout.no_fnmatch_line("*still stand*")
