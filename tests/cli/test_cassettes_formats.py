"""`cassettes` reads and writes every format of VCR.py, and says what it passed over and what it folded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from assistants_compat.cli import app
from assistants_compat.recordings import vcr_yaml
from kit import legacy_recordings as old
from kit.converted_recordings import document, interaction
from kit.legacy_recordings import ANSWER, QUESTION, RUN, THREAD


def run(*arguments: object) -> Result:
    """Run the command line."""
    return CliRunner().invoke(app, [*map(str, arguments)])


def conversation(*polls: str) -> dict[str, Any]:
    """Return a recording of a conversation whose run is polled with these statuses."""
    answer, question = old.message(ANSWER, "assistant", "x = 1 \U0001f600"), old.message(QUESTION, "user", "3x?")
    return document(
        *old.creation_calls(),
        *old.run_calls(old.run("queued"), *map(old.run, polls)),
        old.list_messages_call(answer, question),
    )


def as_json(recording: dict[str, Any]) -> str:
    """Return a recording as VCR.py's JSON serializer writes it."""

    def text(value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else value

    for exchange in recording["interactions"]:
        exchange["request"]["body"] = text(exchange["request"]["body"])
        exchange["response"]["body"]["string"] = text(exchange["response"]["body"]["string"])
    return json.dumps({"version": 1, "interactions": recording["interactions"]}, indent=4)


@pytest.mark.parametrize("name", ["test_answer.json", "test_answer", "test_answer.cassette"])
def test_a_json_recording_is_converted_to_json(tmp_path: Path, name: str) -> None:
    """A JSON recording, whatever its name is, is converted as YAML is, into JSON, with the same interactions."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / name).write_text(as_json(conversation("completed")), "utf-8")
    (tmp_path / "same.yaml").write_text(vcr_yaml.dump(conversation("completed")), "utf-8")
    result = run("cassettes", "convert", tmp_path / "old", "--to", tmp_path / "new")
    assert result.exit_code == 0, result.stderr
    assert run("cassettes", "convert", tmp_path / "same.yaml", "--to", tmp_path / "new").exit_code == 0
    converted = json.loads((tmp_path / "new" / name).read_text("utf-8"))
    assert converted == vcr_yaml.load(tmp_path / "new" / "same.yaml")
    assert converted["assistants_compat"]["ids"]["thread"] == [THREAD]
    serialize = pytest.importorskip("vcr.serialize", reason="vcrpy is not installed")
    from vcr.serializers import jsonserializer  # noqa: PLC0415 - only where it is installed

    requests, _ = serialize.deserialize((tmp_path / "new" / name).read_text("utf-8"), jsonserializer)
    assert requests[0].uri.endswith("/responses")


def test_binary_data_cannot_become_json(tmp_path: Path) -> None:
    """A JSON recording whose new exchanges hold bytes is not written; the line says which one, and what to do."""
    link = "sandbox:/mnt/data/a.bin"
    place = {"text": link, "start_index": 0, "end_index": len(link)}
    annotation = {"type": "file_path", **place, "file_path": {"file_id": "file-generated"}}
    recording = conversation("completed")
    answer = old.message(ANSWER, "assistant", old.text(link, annotation))
    recording["interactions"][-1] = old.list_messages_call(answer, old.message(QUESTION, "user", "3x?"))
    download = interaction("GET", "/files/file-generated/content", None, "text")
    recording["interactions"].append(download)
    text = as_json(recording).replace('"string": "text"', '"base64_string": "AP8="')
    (tmp_path / "a.json").write_text(text, "utf-8")
    result = run("cassettes", "convert", tmp_path / "a.json", "--to", tmp_path / "new")
    assert result.exit_code == 1
    assert f"{tmp_path / 'a.json'}: new interaction 3 has binary data, which VCR.py's JSON cannot hold" in result.stderr
    assert result.stdout.endswith(", not written\n")
    assert not (tmp_path / "new").exists()


def test_show_prints_a_json_recording_as_a_yaml_one(tmp_path: Path) -> None:
    """`show` prints the same lines for both formats."""
    (tmp_path / "a.json").write_text(as_json(conversation("completed")), "utf-8")
    (tmp_path / "a.yaml").write_text(vcr_yaml.dump(conversation("completed")), "utf-8")
    shown = [run("cassettes", "show", tmp_path / name) for name in ("a.json", "a.yaml")]
    assert shown[0].stdout == shown[1].stdout
    assert shown[0].stdout.startswith("1. POST api.openai.com/v1/assistants\n")


def test_what_is_passed_over_is_said(tmp_path: Path) -> None:
    """Each JSON file that is no recording is a line; the exit code is 1 only where it names Assistants routes."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.yaml").write_text(vcr_yaml.dump(conversation("completed")), "utf-8")
    (tmp_path / "old" / "data.json").write_text('{"name": "data"}', "utf-8")
    result = run("cassettes", "convert", tmp_path / "old", "--to", tmp_path / "new", "--json")
    assert result.exit_code == 0
    assert f"skipped: {tmp_path / 'old' / 'data.json'} is not a VCR.py recording.\n" in result.stderr
    assert json.loads(result.stdout)[str(tmp_path / "old" / "data.json")]["to"] is None
    (tmp_path / "old" / "entries.json").write_text(
        f'{{"Entries": [{{"RequestUri": "/v1/threads/{THREAD}"}}]}}', "utf-8"
    )
    result = run("cassettes", "convert", tmp_path / "old", "--to", tmp_path / "new", "--force")
    assert result.exit_code == 1
    assert "entries.json is not a VCR.py recording, but names routes of the Assistants API.\n" in result.stderr
    assert (tmp_path / "new" / "a.yaml").exists()


def test_only_other_json_is_no_recording(tmp_path: Path) -> None:
    """A folder with only other JSON is named, and is wrong use."""
    (tmp_path / "data.json").write_text('{"name": "data"}', "utf-8")
    result = run("cassettes", "convert", tmp_path, "--to", tmp_path / "new")
    assert result.exit_code == 2
    skipped, error = result.stderr.splitlines()
    assert skipped == f"skipped: {tmp_path / 'data.json'} is not a VCR.py recording."
    assert error.startswith("assistants_compat: no recordings found in ")


def test_a_broken_json_recording_is_wrong_use(tmp_path: Path) -> None:
    """A JSON recording that is cut off is one line that names its format."""
    (tmp_path / "a.json").write_text(as_json(conversation("completed"))[:-20], "utf-8")
    result = run("cassettes", "show", tmp_path / "a.json")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"assistants_compat: {tmp_path / 'a.json'} is not valid JSON")


def test_folded_polls_are_said_line_by_line(tmp_path: Path) -> None:
    """Each status that polls showed more often than a test will see it is a line with both counts."""
    polls = ["queued", "queued", *["in_progress"] * 18, "completed"]
    (tmp_path / "a.yaml").write_text(vcr_yaml.dump(conversation(*polls)), "utf-8")
    result = run("cassettes", "convert", tmp_path / "a.yaml", "--to", tmp_path / "new", "--json")
    assert result.exit_code == 0
    # The poll that stays shows `completed`, so a test's first poll does now.
    label = f"interaction 25 (GET /threads/{THREAD}/runs/{RUN})"
    lines = [line.partition(": ")[2] for line in result.stderr.splitlines()]
    assert [line for line in lines if "polls showed" in line] == [
        f"{label}: polls showed queued 2 times, now never",
        f"{label}: polls showed in_progress 18 times, now never",
    ]
    [report] = json.loads(result.stdout).values()
    [folded] = report["folded"]
    assert (folded["number"], folded["dropped"]) == (25, list(range(5, 25)))
    assert folded["recorded"] == {"queued": 2, "in_progress": 18, "completed": 1}
    assert folded["now"] == {"completed": 1}


def test_a_run_that_never_ended_keeps_one_poll(tmp_path: Path) -> None:
    """Polls that all show one status are said once, with the poll that stays."""
    (tmp_path / "a.yaml").write_text(vcr_yaml.dump(conversation(*["in_progress"] * 18)), "utf-8")
    result = run("cassettes", "convert", tmp_path / "a.yaml", "--to", tmp_path / "new")
    assert "): polls showed in_progress 18 times, now once\n" in result.stderr
