"""`python -m assistants_compat cassettes`: what it says of recordings, what it writes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kit import legacy_recordings as old
from assistants_compat.cli import app
from assistants_compat.recordings import vcr_yaml
from kit.converted_recordings import document, interaction
from kit.legacy_recordings import ANSWER, ASSISTANT, QUESTION, THREAD

NATIVE = interaction("POST", "/embeddings", {"input": "x"}, {"object": "list"})
GONE = interaction("POST", "/threads/thread_gone/runs/run_gone/cancel", None, {"object": "other"})


@pytest.fixture
def cassettes(tmp_path: Path) -> Path:
    """A directory with an old recording, one of native calls, and what is no recording."""
    (tmp_path / "old" / "test_chat").mkdir(parents=True)
    answer = old.message(ANSWER, "assistant", "x = 1")
    asked = old.message(QUESTION, "user", "3x + 11 = 14?")
    whole = [*old.created(), *old.polled(old.run("queued"), old.run("completed")), old.read(answer, asked)]
    (tmp_path / "old" / "test_chat" / "test_answer.yaml").write_text(vcr_yaml.dump(document(*whole)), "utf-8")
    (tmp_path / "old" / "test_embed.yaml").write_text(vcr_yaml.dump(document(NATIVE)), "utf-8")
    (tmp_path / "old" / "notes.txt").write_text("no recording", "utf-8")
    return tmp_path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_directory_is_converted_file_by_file(cassettes: Path) -> None:
    """Each recording goes to the same name in the new directory; one without old calls is copied."""
    done = _run("cassettes", "convert", cassettes / "old", "--to", cassettes / "new")
    assert done.exit_code == 0
    [times] = done.stderr.splitlines()
    assert ": 1 recorded time(s) differ: " in times
    first, second = done.stdout.splitlines()
    assert "test_answer.yaml: 6 of 6 calls, " in first
    assert second.endswith(f"no Assistants traffic, copied -> {cassettes / 'new' / 'test_embed.yaml'}")
    new = vcr_yaml.load(cassettes / "new" / "test_chat" / "test_answer.yaml")
    paths = [each["request"]["uri"].rpartition("/v1")[2] for each in new["interactions"]]
    assert paths[0] == "/responses"
    assert paths[1].startswith("/responses/resp_")
    assert new["assistants_compat"]["ids"]["thread"] == [THREAD]
    assert vcr_yaml.load(cassettes / "new" / "test_embed.yaml") == document(NATIVE)


def test_what_is_there_is_not_written_over(cassettes: Path) -> None:
    """A second conversion needs --force, so that no old recording is lost by a slip."""
    path = cassettes / "old" / "test_embed.yaml"
    refused = _run("cassettes", "convert", path, "--to", cassettes / "old")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == f"assistants_compat: {path} is there already (--force writes over it).\n"
    assert _run("cassettes", "convert", path, "--to", cassettes / "old", "--force").exit_code == 0


def test_what_cannot_be_converted_is_a_line(cassettes: Path) -> None:
    """It is not written unless --partly says so, the others are, and the exit code says that not all was done."""
    bad = cassettes / "bad.yaml"
    bad.write_text(vcr_yaml.dump(document(*old.created(), GONE)), "utf-8")
    done = _run("cassettes", "convert", bad, cassettes / "old", "--to", cassettes / "new")
    assert done.exit_code == 1
    assert f"{bad}: interaction 4 (POST /threads/thread_gone/runs/run_gone/cancel) cannot be converted: " in done.stderr
    assert "recorded 200, now 404: No run found with id 'run_gone'." in done.stderr
    assert done.stdout.splitlines()[0].endswith("as recorded, not written")
    assert not (cassettes / "new" / "bad.yaml").exists()
    assert (cassettes / "new" / "test_embed.yaml").exists()
    assert _run("cassettes", "convert", bad, "--to", cassettes / "partly", "--partly").exit_code == 1
    assert (cassettes / "partly" / "bad.yaml").exists()


def test_json_says_every_field_that_differs(cassettes: Path) -> None:
    """One object with each recording: how much is the same, what is not, what is unknown and what is refused."""
    done = _run("cassettes", "convert", cassettes / "old" / "test_chat", "--to", cassettes / "new", "--json")
    [told] = json.loads(done.stdout).values()
    assert told["to"] == str(cassettes / "new" / "test_answer.yaml")
    assert told["same"] <= told["fields"]
    assert (told["refused"], told["unknown"]) == ([], [])
    times = {each["field"]: (each["recorded"], each["now"]) for each in told["differs"]}
    assert times["data[0].created_at"] == (str(old.THEN + 5), str(old.THEN + 9))


def test_what_is_no_recording_in_a_directory_is_left_out(cassettes: Path) -> None:
    """It is said, the others are converted and told of, and the exit code says that not all was done."""
    (cassettes / "old" / "a.yaml").write_text("name: a workflow", "utf-8")
    done = _run("cassettes", "convert", cassettes / "old", "--to", cassettes / "new")
    assert done.exit_code == 1
    assert f"left out: {cassettes / 'old' / 'a.yaml'} is no recording of VCR.py" in done.stderr
    assert [line.rpartition("/")[2] for line in done.stdout.splitlines()] == ["test_answer.yaml", "test_embed.yaml"]
    assert not (cassettes / "new" / "a.yaml").exists()


def test_a_secret_that_comes_along_is_said(tmp_path: Path) -> None:
    """What is no Assistants call is copied as it is; a key in there is named, and not shown."""
    native = interaction("POST", "/embeddings", {"input": "x"}, {"object": "list"})
    native["request"]["headers"]["authorization"] = ["Bearer sk-proj-0123456789abcdef0123"]
    (tmp_path / "a.yaml").write_text(vcr_yaml.dump(document(*old.created(), native)), "utf-8")
    done = _run("cassettes", "convert", tmp_path / "a.yaml", "--to", tmp_path / "new")
    assert done.exit_code == 0
    assert "kept from the old recording: 1. POST request authorization: an OpenAI key (sk-p..., " in done.stderr
    assert "0123456789" not in done.stderr + done.stdout


def test_two_recordings_of_one_name_are_wrong_use(cassettes: Path) -> None:
    """The second would be written over the first, --force or not, so nothing is written."""
    (cassettes / "more").mkdir()
    (cassettes / "more" / "test_embed.yaml").write_text(vcr_yaml.dump(document(NATIVE)), "utf-8")
    done = _run("cassettes", "convert", cassettes / "old", cassettes / "more", "--to", cassettes / "new", "--force")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "would be written 2 times" in done.stderr
    assert not (cassettes / "new").exists()


@pytest.mark.parametrize(
    ("given", "to", "said"),
    [
        ("empty", "new", "there is no recording"),
        ("old", "old/notes.txt", "test_answer.yaml: Not a directory"),
        ("one.json", "new", "would hold YAML"),
    ],
)
def test_where_nothing_can_be_written_is_a_line(cassettes: Path, given: str, to: str, said: str) -> None:
    """An empty directory, a file in the place of one, and a name that promises JSON."""
    (cassettes / "empty").mkdir()
    (cassettes / "one.json").write_text(json.dumps(document(NATIVE)), "utf-8")
    done = _run("cassettes", "convert", cassettes / given, "--to", cassettes / to)
    assert done.exit_code in {1, 2}
    assert said in done.stderr
    assert done.stderr.splitlines()[-1].startswith("assistants_compat: ")
    assert not (cassettes / "new").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [\n}", "is no YAML at line 2."),
        ("- 1", "is no recording of VCR.py: it has no list `interactions`."),
        ("interactions: [{request: {}}]", "interaction 1 cannot be read (KeyError)."),
    ],
)
@pytest.mark.parametrize("command", ["show", "convert"])
def test_what_is_no_recording_is_wrong_use(tmp_path: Path, command: str, text: str, said: str) -> None:
    """A line that names the file, never a traceback."""
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")
    done = _run("cassettes", command, path, *(("--to", tmp_path / "new") if command == "convert" else ()))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"assistants_compat: {path}")
    assert done.stderr.rstrip().endswith(said)


def test_a_folder_without_recordings_is_wrong_use(tmp_path: Path) -> None:
    """Nothing was converted, and that is said."""
    done = _run("cassettes", "convert", tmp_path, "--to", tmp_path / "new")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", "assistants_compat: there is no recording\n")


def test_a_file_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    """So is a path that leads nowhere."""
    done = _run("cassettes", "show", tmp_path / "a.yaml")
    assert (done.exit_code, done.stderr) == (
        2,
        f"assistants_compat: {tmp_path / 'a.yaml'}: No such file or directory\n",
    )


def test_show_tells_exchanges_without_secrets(tmp_path: Path) -> None:
    """Method, address, shortened JSON, events as counts; no header, no key, no signature."""
    body: dict[str, Any] = {
        "assistant_id": ASSISTANT,
        "stream": True,
        "note": "sk-proj-abcdefgh12345678",
        "long": "x" * 200,
    }
    told = old.stream(("thread.run.created", {}), *[old.delta(ANSWER, "x")] * 3)
    recording = document(
        interaction("POST", f"/threads/{THREAD}/runs", body, told),
        interaction("GET", "https://example.blob.core.windows.net/a?sv=1&sig=abc%3D&x=2", None, b"\x00\xff"),
    )
    recording["interactions"][0]["request"]["headers"]["authorization"] = ["Bearer sk-test-secret-1234"]
    (tmp_path / "a.yaml").write_text(vcr_yaml.dump(recording), "utf-8")
    done = _run("cassettes", "show", tmp_path / "a.yaml")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
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


def test_without_pyyaml_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML comes with the extra `pytest`; whoever has not installed it is told so."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "a.yaml").write_text("interactions: []", "utf-8")
    done = _run("cassettes", "show", tmp_path / "a.yaml")
    assert done.exit_code == 2
    assert "pip install 'assistants-compat[pytest]'" in done.stderr
