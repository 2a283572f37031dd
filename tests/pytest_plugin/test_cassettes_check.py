"""`cassettes check` reports secrets, unreadable recordings, and requests that no test plays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit import legacy_suites as suites
from kit.legacy_suites import LINE, Run
from kit.old_recordings import Recording

pytest.importorskip("typer", reason="the extra cli is not installed")

from typer.testing import CliRunner

from assistants_compat.cli import app


def _check(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["cassettes", "check", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_clean_recordings_pass(tmp_path: Path) -> None:
    """Clean recordings exit with 0, and stderr counts them and those with Assistants calls."""
    Recording("x").with_conversation().with_polled_run().with_message_list().write(tmp_path / "a.yaml")
    assert _check(tmp_path) == (0, "", "1 recording, 1 with Assistants calls: no problems found\n")


def test_files_that_are_passed_over_are_named(tmp_path: Path) -> None:
    """YAML and JSON that VCR.py did not record is named on stderr, other tools' recordings first; it is no problem."""
    Recording("x").with_missing_thread().write(tmp_path / "b.yaml")
    for name in "acdefg":
        (tmp_path / f"{name}.json").write_text('{"name": "data"}')
    (tmp_path / "other.yaml").write_text("name: a workflow, no recording\n")
    (tmp_path / "betamax.json").write_text('{"http_interactions": [{"uri": "https://api.openai.com/v1/threads"}]}')
    (tmp_path / "notes.txt").write_text("interactions: none\n")
    code, out, err = _check(tmp_path)
    names = ", ".join(str(tmp_path / name) for name in ("betamax.json", "a.json", "c.json", "d.json", "e.json"))
    assert (code, out) == (0, "")
    assert err.splitlines()[0] == f"passed over 8 files that VCR.py did not record: {names} and 3 more"
    report = json.loads(_check(tmp_path, "--json")[1])
    assert (report["recordings"], len(report["passed_over"])) == (1, 8)


def test_json_recordings_are_checked(tmp_path: Path) -> None:
    """Recordings of VCR.py's JSON serializer, and those with another suffix or none, are checked as YAML is."""
    recording = Recording("x").with_conversation("Use sk-live-0123456789abcdefghij please")
    document = {"version": 1, "interactions": recording.exchanges}
    (tmp_path / "a.json").write_text(json.dumps(document, indent=4))
    recording.write(tmp_path / "b")
    code, out, err = _check(tmp_path)
    assert code == 1
    for name in ("a.json", "b"):
        assert f"{tmp_path / name}: 3. POST request body: an OpenAI key (sk-l..., 28 characters)" in out
    assert err == "2 recordings, 2 with Assistants calls: 4 problems found\n"  # in requests and in responses


def test_secrets_are_named_and_not_shown(tmp_path: Path) -> None:
    """Each secret is a line with its file, request and kind but without its text, and the exit code is 1."""
    recording = Recording("x").with_conversation("Use sk-live-0123456789abcdefghij please")
    recording.exchanges[0]["request"]["headers"]["OpenAI-Organization"] = ["org-mine"]
    recording.write(tmp_path / "a.yaml")
    code, out, _ = _check(tmp_path)
    assert code == 1
    assert (
        "a.yaml: 1. POST request openai-organization: a header that identifies the caller (org-..., 8 characters)"
        in out
    )
    assert "a.yaml: 3. POST request body: an OpenAI key (sk-l..., 28 characters)" in out
    assert "0123456789" not in out
    assert _check(tmp_path, "--harmless", "^sk-live-", "--json")[1].count("OpenAI key") == 0


def test_requests_that_no_test_plays_are_reported(suite_folder: Path, run: Run) -> None:
    """With --played, recordings that no test opens and requests that no test plays are reported."""
    suites.write(suite_folder, LINE)
    for test in ("test_async.py", "test_unittest.py"):
        (suite_folder / test).unlink()
    cassettes = suite_folder / "cassettes" / "test_plain"
    Recording("missing").with_missing_thread().with_message_list().write(cassettes / "test_missing.yaml")
    played = suite_folder / "played.json"
    run("-q", f"--assistants-compat-played={played}", "test_plain.py").assert_outcomes(passed=6)
    code, out, _ = _check(cassettes, suite_folder / "cassettes" / "by_hand.yaml", "--played", played, "--json")
    findings = json.loads(out)["found"]
    assert code == 1
    assert [line.removeprefix(str(suite_folder / "cassettes")).partition("https")[0] for line in findings] == [
        "/test_plain/test_missing.yaml: 2. no test plays GET ",
        "/by_hand.yaml: no test opens this recording",
    ]


def test_an_unreadable_recording_is_reported(tmp_path: Path) -> None:
    """A recording that cannot be read is reported, because its content was not checked; other YAML is ignored."""
    Recording("x").with_missing_thread().write(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("interactions: [3]\n")
    line = f"{tmp_path / 'b.yaml'}: interaction 1 cannot be read (TypeError).\n"
    assert _check(tmp_path)[:2] == (1, line)


@pytest.mark.parametrize("target", ["nothing", "no.yaml", "broken.yaml", "played"])
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path: Path, target: str) -> None:
    """A folder without recordings, a broken file or a broken list of played requests is one line and exit code 2."""
    (tmp_path / "broken.yaml").write_text("{")
    (tmp_path / "nothing").mkdir()
    arguments: list[object] = [tmp_path / target]
    if target == "played":
        Recording("x").with_missing_thread().write(tmp_path / "a.yaml")
        arguments = [tmp_path / "a.yaml", "--played", tmp_path / "broken.yaml"]
    code, stdout, stderr = _check(*arguments)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("assistants_compat: ")
    assert stderr.count("\n") == 1
