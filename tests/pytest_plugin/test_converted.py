"""After `cassettes convert` an unchanged legacy suite passes over the Responses API."""

from __future__ import annotations

import json
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


def test_a_suite_with_json_recordings_is_converted(suite_folder: Path, run: Run) -> None:
    """A suite of VCR.py's JSON serializer passes over its old recordings, and over what they are converted to."""
    suites.write(suite_folder, LINE)
    config = suite_folder / "conftest.py"
    config.write_text(config.read_text().replace('{"filter_headers"', '{"serializer": "json", "filter_headers"'))
    cassettes = suite_folder / "cassettes" / "test_plain"
    for cassette in list(cassettes.glob("*.yaml")):
        document = {"version": 1, "interactions": vcr_yaml.load(cassette)["interactions"]}
        cassette.with_suffix(".json").write_text(json.dumps(document, indent=4))
        cassette.unlink()
    result = run("-q", "test_plain.py")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*6 tests still use recordings*"])
    for cassette in cassettes.glob("*.json"):
        converted = convert(vcr_yaml.load(cassette))
        assert converted.refused == []
        cassette.write_text(vcr_yaml.dump_json(converted.document), encoding="utf-8")
    result = run("-q", "test_plain.py")
    result.assert_outcomes(passed=6)
    result.stdout.no_fnmatch_line("*still use*")
