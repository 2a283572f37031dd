"""`cassettes convert` and `cassettes show` print, write and exit as documented."""

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
from kit.legacy_recordings import ANSWER, ASSISTANT, QUESTION, THREAD

NATIVE = interaction("POST", "/embeddings", {"input": "x"}, {"object": "list"})
INCONVERTIBLE = interaction("POST", "/threads/thread_gone/runs/run_gone/cancel", None, {"object": "other"})


@pytest.fixture
def cassettes(tmp_path: Path) -> Path:
    """A directory with an old recording, one of native calls, and a file that is no recording."""
    (tmp_path / "old" / "test_chat").mkdir(parents=True)
    answer = old.message(ANSWER, "assistant", "x = 1")
    question = old.message(QUESTION, "user", "3x + 11 = 14?")
    interactions = [
        *old.creation_calls(),
        *old.run_calls(old.run("queued"), old.run("completed")),
        old.list_messages_call(answer, question),
    ]
    (tmp_path / "old" / "test_chat" / "test_answer.yaml").write_text(vcr_yaml.dump(document(*interactions)), "utf-8")
    (tmp_path / "old" / "test_embed.yaml").write_text(vcr_yaml.dump(document(NATIVE)), "utf-8")
    (tmp_path / "old" / "notes.txt").write_text("no recording", "utf-8")
    return tmp_path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_directory_is_converted_file_by_file(cassettes: Path) -> None:
    """Each recording is written under the same name in the new directory; one without old calls is copied."""
    result = _run("cassettes", "convert", cassettes / "old", "--to", cassettes / "new")
    assert result.exit_code == 0
    [times] = result.stderr.splitlines()
    assert ": 1 recorded time differs: " in times
    first, second = result.stdout.splitlines()
    assert "test_answer.yaml: 6 of 6 calls converted, " in first
    assert second.endswith(f"no Assistants calls, copied -> {cassettes / 'new' / 'test_embed.yaml'}")
    new = vcr_yaml.load(cassettes / "new" / "test_chat" / "test_answer.yaml")
    paths = [exchange["request"]["uri"].rpartition("/v1")[2] for exchange in new["interactions"]]
    assert paths[0] == "/responses"
    assert paths[1].startswith("/responses/resp_")
    assert new["assistants_compat"]["ids"]["thread"] == [THREAD]
    assert vcr_yaml.load(cassettes / "new" / "test_embed.yaml") == document(NATIVE)


def test_an_existing_file_is_not_overwritten(cassettes: Path) -> None:
    """An existing recording is overwritten only with --force."""
    path = cassettes / "old" / "test_embed.yaml"
    refused = _run("cassettes", "convert", path, "--to", cassettes / "old")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert (
        refused.stderr
        == f"assistants_compat: {path} exists already: choose another directory, or use --force to overwrite it.\n"
    )
    assert _run("cassettes", "convert", path, "--to", cassettes / "old", "--force").exit_code == 0


def test_a_call_that_cannot_be_converted_is_a_line_and_exit_code_1(cassettes: Path) -> None:
    """A recording with a call that cannot be converted is written only with --partly; the others are converted."""
    bad = cassettes / "bad.yaml"
    bad.write_text(vcr_yaml.dump(document(*old.creation_calls(), INCONVERTIBLE)), "utf-8")
    result = _run("cassettes", "convert", bad, cassettes / "old", "--to", cassettes / "new")
    assert result.exit_code == 1
    assert (
        f"{bad}: interaction 4 (POST /threads/thread_gone/runs/run_gone/cancel) cannot be converted: " in result.stderr
    )
    assert "recorded 200, now 404: No run found with id 'run_gone'." in result.stderr
    assert result.stdout.splitlines()[0].endswith("as recorded, not written")
    assert not (cassettes / "new" / "bad.yaml").exists()
    assert (cassettes / "new" / "test_embed.yaml").exists()
    assert _run("cassettes", "convert", bad, "--to", cassettes / "partly", "--partly").exit_code == 1
    assert (cassettes / "partly" / "bad.yaml").exists()


def test_json_lists_every_field_that_differs(cassettes: Path) -> None:
    """--json prints one object a recording: equal fields, differing fields, unknown parts and refused calls."""
    result = _run("cassettes", "convert", cassettes / "old" / "test_chat", "--to", cassettes / "new", "--json")
    [report] = json.loads(result.stdout).values()
    assert report["to"] == str(cassettes / "new" / "test_answer.yaml")
    assert report["same"] <= report["fields"]
    assert (report["refused"], report["unknown"]) == ([], [])
    times = {difference["field"]: (difference["recorded"], difference["now"]) for difference in report["differs"]}
    assert times["data[0].created_at"] == (str(old.BASE_TIME + 5), str(old.BASE_TIME + 9))


def test_other_yaml_in_a_directory_is_skipped(cassettes: Path) -> None:
    """YAML that is no recording is reported as skipped, the recordings are converted, and the exit code is 1."""
    (cassettes / "old" / "a.yaml").write_text("name: a workflow", "utf-8")
    result = _run("cassettes", "convert", cassettes / "old", "--to", cassettes / "new")
    assert result.exit_code == 1
    assert f"skipped: {cassettes / 'old' / 'a.yaml'} is not a VCR.py recording" in result.stderr
    assert [line.rpartition("/")[2] for line in result.stdout.splitlines()] == ["test_answer.yaml", "test_embed.yaml"]
    assert not (cassettes / "new" / "a.yaml").exists()


def test_a_secret_in_a_copied_request_is_reported(tmp_path: Path) -> None:
    """A key in a copied native request is named on stderr and not shown."""
    native = interaction("POST", "/embeddings", {"input": "x"}, {"object": "list"})
    native["request"]["headers"]["authorization"] = ["Bearer sk-proj-0123456789abcdef0123"]
    (tmp_path / "a.yaml").write_text(vcr_yaml.dump(document(*old.creation_calls(), native)), "utf-8")
    result = _run("cassettes", "convert", tmp_path / "a.yaml", "--to", tmp_path / "new")
    assert result.exit_code == 0
    assert (
        "copied from the old recording, check it: 1. POST request authorization: an OpenAI key (sk-p..., "
        in result.stderr
    )
    assert "0123456789" not in result.stderr + result.stdout


def test_two_recordings_of_one_name_are_wrong_use(cassettes: Path) -> None:
    """Two recordings with one name are wrong use even with --force, because one would overwrite the other."""
    (cassettes / "more").mkdir()
    (cassettes / "more" / "test_embed.yaml").write_text(vcr_yaml.dump(document(NATIVE)), "utf-8")
    result = _run("cassettes", "convert", cassettes / "old", cassettes / "more", "--to", cassettes / "new", "--force")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "would be written 2 times" in result.stderr
    assert not (cassettes / "new").exists()


@pytest.mark.parametrize(
    ("source", "to", "message"),
    [
        ("empty", "new", "no recordings found in"),
        ("old", "old/notes.txt", "notes.txt is not a directory: choose another one"),
    ],
)
def test_an_unusable_source_or_target_is_one_line(cassettes: Path, source: str, to: str, message: str) -> None:
    """An empty directory, and a file where a directory is needed, are one line each."""
    (cassettes / "empty").mkdir()
    result = _run("cassettes", "convert", cassettes / source, "--to", cassettes / to)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("assistants_compat: ")
    assert not (cassettes / "new").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\n}", "is not valid YAML (line 2)."),
        ("- 1", "is not a VCR.py recording: it has no list `interactions`."),
        ("interactions: [{request: {}}]", "interaction 1 cannot be read (KeyError)."),
    ],
)
@pytest.mark.parametrize("command", ["show", "convert"])
def test_a_file_that_is_no_recording_is_wrong_use(tmp_path: Path, command: str, text: str, message: str) -> None:
    """A file that is no recording is one line that names it and the reason, and exit code 2."""
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    result = _run("cassettes", command, path, *(("--to", tmp_path / "new") if command == "convert" else ()))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"assistants_compat: {path}")
    assert result.stderr.rstrip().endswith(message)


def test_a_folder_without_recordings_is_wrong_use(tmp_path: Path) -> None:
    """A folder without recordings is one line and exit code 2."""
    result = _run("cassettes", "convert", tmp_path, "--to", tmp_path / "new")
    assert (result.exit_code, result.stdout, result.stderr) == (
        2,
        "",
        f"assistants_compat: no recordings found in {tmp_path}: expected VCR.py cassettes (YAML or JSON)\n",
    )


def test_a_missing_file_is_wrong_use(tmp_path: Path) -> None:
    """A missing file is one line and exit code 2."""
    result = _run("cassettes", "show", tmp_path / "a.yaml")
    assert (result.exit_code, result.stderr) == (
        2,
        f"assistants_compat: {tmp_path / 'a.yaml'}: No such file or directory\n",
    )


def test_show_prints_exchanges_without_secrets(tmp_path: Path) -> None:
    """`show` prints method, address, shortened JSON and counts of events, but no header, key or signature."""
    body: dict[str, Any] = {
        "assistant_id": ASSISTANT,
        "stream": True,
        "note": "sk-proj-abcdefgh12345678",
        "long": "x" * 200,
    }
    recorded_stream = old.stream(("thread.run.created", {}), *[old.delta(ANSWER, "x")] * 3)
    recording = document(
        interaction("POST", f"/threads/{THREAD}/runs", body, recorded_stream),
        interaction("GET", "https://example.blob.core.windows.net/a?sv=1&sig=abc%3D&x=2", None, b"\x00\xff"),
    )
    recording["interactions"][0]["request"]["headers"]["authorization"] = ["Bearer sk-test-secret-1234"]
    (tmp_path / "a.yaml").write_text(vcr_yaml.dump(recording), "utf-8")
    result = _run("cassettes", "show", tmp_path / "a.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == f"1. POST api.openai.com/v1/threads/{THREAD}/runs"
    assert json.loads(lines[1].removeprefix("   -> ")) == {
        "assistant_id": ASSISTANT,
        "stream": True,
        "note": "...",
        "long": f"{'x' * 80}... (200 characters)",
    }
    assert lines[2] == "   <- 200 stream: 1 x thread.run.created, 3 x thread.message.delta, 1 x done"
    assert lines[3:] == [
        "2. GET example.blob.core.windows.net/a?sv=1&sig=...&x=2",
        "   <- 200 (2 bytes)",
    ]
    assert json.loads(_run("cassettes", "show", tmp_path / "a.yaml", "--json").stdout) == {"lines": lines}


def test_without_pyyaml_the_error_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyYAML the command exits with 2 and says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "a.yaml").write_text("interactions: []", "utf-8")
    result = _run("cassettes", "show", tmp_path / "a.yaml")
    assert result.exit_code == 2
    assert "pip install pyyaml" in result.stderr
