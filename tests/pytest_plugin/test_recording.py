"""A new recording holds Responses traffic without secrets, and plays completely on every run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from assistants_compat.testing import StandIn, Turn
from kit import legacy_suites as suites
from kit.legacy_suites import CONFTEST, LINE, Run
from kit.old_recordings import ANSWER

TEST = """
import pytest

@pytest.mark.vcr
def test_counts(client):
    assistant = client.beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}])
    thread = client.beta.threads.create()
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content="How many apples?")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    message = client.beta.threads.messages.list(thread_id=thread.id).data[0]
    text = message.content[0].text
    assert text.value.startswith("There are 3 apples")
    file = client.files.content(text.annotations[0].file_path.file_id).read()
    assert file == bytes(range(256))
    print("SEEN", assistant.id, thread.id, run.id, message.id, run.created_at)
"""
TURN = Turn(text="There are 3 apples: [list](sandbox:/mnt/data/a.bin)", files={"a.bin": bytes(range(256))}, polls=5)


@pytest.fixture
def cassette(suite_folder: Path, run: Run, recorded_upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a recording of the test above, made from the stand-in."""
    (suite_folder / "conftest.py").write_text(f"{LINE}\n{CONFTEST}")
    (suite_folder / "test_new.py").write_text(TEST)
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    recorded_upstream.script(TURN)
    with monkeypatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-proj-0123456789abcdef0123")
        run("-q", "--record-mode=once").assert_outcomes(passed=1)
    return suite_folder / "cassettes" / "test_new" / "test_counts.yaml"


def test_a_recording_holds_responses_and_no_key(cassette: Path) -> None:
    """A recording holds only /responses traffic, no headers that identify the caller, and folded polls."""
    text = cassette.read_text()
    assert "/responses" in text
    assert not re.search(r"/v1/(assistants|threads)", text)
    assert "sk-proj" not in text
    assert not re.search("(?i)authorization|x-stainless|user-agent|set-cookie", text)
    assert text.count('"status": "in_progress"') == 1


def test_a_recording_plays_on_every_run(cassette: Path, run: Run, recorded_upstream: StandIn) -> None:
    """A recording replays without the upstream, with the same ids, times and bytes on every run."""
    recorded_upstream.requests.clear()
    outputs = []
    for _ in range(2):
        result = run("-q", "-s")
        result.assert_outcomes(passed=1)
        outputs.append(re.search("SEEN.*", result.stdout.str())[0])  # type: ignore[index]
    assert outputs[0] == outputs[1]
    assert recorded_upstream.requests == []


def test_an_unrecorded_request_fails_with_a_recording_error(cassette: Path, run: Run) -> None:
    """The failure names the request and what differs, instead of the SDK's "Connection error"."""
    suite = cassette.parents[2] / "test_new.py"
    suite.write_text(TEST.replace("How many apples?", "How many pears?"))
    result = run("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([">* run = client.beta*", "E*RecordingError: Can't play back this request*"])
    assert "How many pears?" in result.stdout.str()
    assert "Connection error" not in result.stdout.str()


def test_a_partly_played_cassette_fails_its_test(cassette: Path, run: Run) -> None:
    """A test that leaves recorded requests unplayed fails with their list, unless its marker allows that."""
    suite = cassette.parents[2] / "test_new.py"
    shorter_test = TEST.partition("    assert run.status")[0].replace("create_and_poll", "create")
    suite.write_text(shorter_test)
    result = run("-q")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_counts.yaml was only partly played*", "*5. GET http*/content*"])
    suite.write_text(
        shorter_test.replace("@pytest.mark.vcr", "@pytest.mark.vcr\n@pytest.mark.assistants_compat(partly_played=True)")
    )
    run("-q").assert_outcomes(passed=1)


def test_a_secret_stops_the_recording(cassette: Path, run: Run, recorded_upstream: StandIn) -> None:
    """A key in the conversation stops the recording: the error names and shortens it, and no file is written."""
    cassette.unlink()
    suite = cassette.parents[2] / "test_new.py"
    suite.write_text(TEST.replace("How many apples?", "My key is sk-live-0123456789abcdefghij"))
    recorded_upstream.script(TURN)
    result = run("-q", "--record-mode=once")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*was not written because parts of it look like secrets*", "*an OpenAI key (sk-l..., 28*"]
    )
    assert not cassette.exists()


def test_a_recording_of_another_tool_is_completed_without_its_keys(
    cassette: Path, run: Run, recorded_upstream: StandIn
) -> None:
    """A cassette that holds keys of an earlier recording loses them when the library records into it."""
    document = yaml.safe_load(cassette.read_text())
    for exchange in document["interactions"]:
        exchange["request"]["headers"]["authorization"] = ["Bearer sk-proj-9876543210abcdef9876"]
    cassette.write_text(yaml.safe_dump(document))
    recorded_upstream.script(TURN)
    run("-q", "--record-mode=all").assert_outcomes(passed=1)
    text = cassette.read_text()
    assert len(yaml.safe_load(text)["interactions"]) > len(document["interactions"])  # some of the earlier ones stay
    assert "sk-proj" not in text


def test_the_whole_suite_is_recorded_anew(suite_folder: Path, run: Run, recorded_upstream: StandIn) -> None:
    """The ten tests record through the library, sync, async, streamed and unittest's, and replay in another order."""
    suites.write(suite_folder, LINE)
    shutil.rmtree(suite_folder / "cassettes")
    answers = Turn(text=ANSWER)
    calls_function = Turn(function_calls=[{"name": "count", "arguments": "{}"}])
    recorded_upstream.script(
        answers, answers, answers, answers, calls_function, answers, answers, answers, answers, answers
    )
    run("-q", "--record-mode=once").assert_outcomes(passed=suites.TESTS)
    recorded = len(recorded_upstream.requests)
    result = run("-q", "test_unittest.py", "test_plain.py", "test_async.py")
    result.assert_outcomes(passed=suites.TESTS)
    result.stdout.no_fnmatch_line("*still use*")
    assert len(recorded_upstream.requests) == recorded
