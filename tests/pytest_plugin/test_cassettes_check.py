"""`cassettes check`: what it finds in a folder of recordings, and what no test of a suite plays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit import legacy_suites as suites
from kit.old_recordings import Recording
from kit.legacy_suites import LINE, Run

pytest.importorskip("typer", reason="the extra cli is not installed")

from typer.testing import CliRunner

from assistants_compat.cli import app


def _check(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["cassettes", "check", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_clean_recordings_are_nothing_to_speak_of(tmp_path: Path) -> None:
    """The exit code is 0, and stderr counts the recordings and the old ones."""
    Recording("x").begin().polled().listed().write(tmp_path / "a.yaml")
    (tmp_path / "other.yaml").write_text("name: a workflow, no recording\n")
    assert _check(tmp_path) == (0, "", "1 recordings, 1 of the old service: nothing found\n")


def test_secrets_are_named_and_not_shown(tmp_path: Path) -> None:
    """Each is a line with its file, its request and its kind; the exit code is 1."""
    recording = Recording("x").begin("Use sk-live-0123456789abcdefghij please")
    recording.exchanges[0]["request"]["headers"]["OpenAI-Organization"] = ["org-mine"]
    recording.write(tmp_path / "a.yaml")
    code, out, _ = _check(tmp_path)
    assert code == 1
    assert "a.yaml: 1. POST request openai-organization: a header that says who asked (org-..., 8 characters)" in out
    assert "a.yaml: 3. POST request body: an OpenAI key (sk-l..., 28 characters)" in out
    assert "0123456789" not in out
    assert _check(tmp_path, "--harmless", "^sk-live-", "--json")[1].count("OpenAI key") == 0


def test_requests_that_no_test_plays_are_named(place: Path, run: Run) -> None:
    """After a run with --assistants-compat-played, a recording without a test and a request too many are found."""
    suites.write(place, LINE)
    for test in ("test_async.py", "test_unittest.py"):
        (place / test).unlink()
    cassettes = place / "cassettes" / "test_plain"
    Recording("missing").missing().listed().write(cassettes / "test_missing.yaml")
    played = place / "played.json"
    run("-q", f"--assistants-compat-played={played}", "test_plain.py").assert_outcomes(passed=6)
    code, out, _ = _check(cassettes, place / "cassettes" / "by_hand.yaml", "--played", played, "--json")
    found = json.loads(out)["found"]
    assert code == 1
    assert [line.removeprefix(str(place / "cassettes")).partition("https")[0] for line in found] == [
        "/test_plain/test_missing.yaml: 2. GET ",
        "/by_hand.yaml: no test opens it",
    ]


def test_a_recording_that_cannot_be_read_is_found(tmp_path: Path) -> None:
    """What it holds was not looked at, so it is not passed over in silence as other YAML is."""
    Recording("x").missing().write(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("interactions: [3]\n")
    said = f"{tmp_path / 'b.yaml'}: interaction 1 cannot be read (TypeError).\n"
    assert _check(tmp_path)[:2] == (1, said)


@pytest.mark.parametrize("what", ["nothing", "no.yaml", "broken.yaml", "played"])
def test_wrong_use_is_a_line(tmp_path: Path, what: str) -> None:
    """A folder without recordings, a file that is none, and a list that is none end with 2."""
    (tmp_path / "broken.yaml").write_text("{")
    (tmp_path / "nothing").mkdir()
    arguments: list[object] = [tmp_path / what]
    if what == "played":
        Recording("x").missing().write(tmp_path / "a.yaml")
        arguments = [tmp_path / "a.yaml", "--played", tmp_path / "broken.yaml"]
    code, out, said = _check(*arguments)
    assert (code, out) == (2, "")
    assert said.startswith("assistants_compat: ")
    assert said.count("\n") == 1
