"""A new recording: made with hygiene, played on every run, and wholly."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from kit import legacy_suites as suites
from kit.old_recordings import ANSWER
from kit.legacy_suites import CONFTEST, LINE, Run

from assistants_compat.testing import StandIn, Turn

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
def cassette(place: Path, run: Run, live: StandIn, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recording of the test above, made from the stand-in."""
    (place / "conftest.py").write_text(f"{LINE}\n{CONFTEST}")
    (place / "test_new.py").write_text(TEST)
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    live.script(TURN)
    with monkeypatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-proj-0123456789abcdef0123")
        run("-q", "--record-mode=once").assert_outcomes(passed=1)
    return place / "cassettes" / "test_new" / "test_counts.yaml"


def test_a_recording_holds_responses_and_no_key(cassette: Path) -> None:
    """It holds the traffic to /responses only, without the headers that say who asked, and looks are folded."""
    text = cassette.read_text()
    assert "/responses" in text
    assert not re.search(r"/v1/(assistants|threads)", text)
    assert "sk-proj" not in text
    assert not re.search("(?i)authorization|x-stainless|user-agent|set-cookie", text)
    assert text.count('"status": "in_progress"') == 1


def test_a_recording_plays_on_every_run(cassette: Path, run: Run, live: StandIn) -> None:
    """It plays without the upstream, with the same ids and times, and the bytes are the recorded ones."""
    live.requests.clear()
    seen = []
    for _ in range(2):
        result = run("-q", "-s")
        result.assert_outcomes(passed=1)
        seen.append(re.search("SEEN.*", result.stdout.str())[0])  # type: ignore[index]
    assert seen[0] == seen[1]
    assert live.requests == []


def test_a_request_that_was_not_recorded_is_said_in_its_own_words(cassette: Path, run: Run) -> None:
    """The failure names the request and what differs, and is not the SDK's "Connection error"."""
    suite = cassette.parents[2] / "test_new.py"
    suite.write_text(TEST.replace("How many apples?", "How many pears?"))
    result = run("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([">* run = client.beta*", "E*RecordingError: Can't play back this request*"])
    assert "How many pears?" in result.stdout.str()
    assert "Connection error" not in result.stdout.str()


def test_a_cassette_that_was_partly_played_fails_its_test(cassette: Path, run: Run) -> None:
    """The message names the requests that nobody made; the marker allows it."""
    suite = cassette.parents[2] / "test_new.py"
    less = TEST.partition("    assert run.status")[0].replace("create_and_poll", "create")
    suite.write_text(less)
    result = run("-q")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_counts.yaml was only partly played*", "*5. GET http*/content*"])
    suite.write_text(
        less.replace("@pytest.mark.vcr", "@pytest.mark.vcr\n@pytest.mark.assistants_compat(partly_played=True)")
    )
    run("-q").assert_outcomes(passed=1)


def test_a_secret_stops_the_recording(cassette: Path, run: Run, live: StandIn) -> None:
    """A key in the conversation is named, shortened, and nothing is written."""
    cassette.unlink()
    suite = cassette.parents[2] / "test_new.py"
    suite.write_text(TEST.replace("How many apples?", "My key is sk-live-0123456789abcdefghij"))
    live.script(TURN)
    result = run("-q", "--record-mode=once")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*was not written: something in it looks like a secret*", "*an OpenAI key (sk-l..., 28*"]
    )
    assert not cassette.exists()


def test_the_whole_suite_is_recorded_anew(place: Path, run: Run, live: StandIn) -> None:
    """The ten tests, sync, async, streamed and unittest's, record over the shim and play in another order."""
    suites.write(place, LINE)
    shutil.rmtree(place / "cassettes")
    says = Turn(text=ANSWER)
    calls = Turn(function_calls=[{"name": "count", "arguments": "{}"}])
    live.script(says, says, says, says, calls, says, says, says, says, says)
    run("-q", "--record-mode=once").assert_outcomes(passed=suites.TESTS)
    recorded = len(live.requests)
    result = run("-q", "test_unittest.py", "test_plain.py", "test_async.py")
    result.assert_outcomes(passed=suites.TESTS)
    result.stdout.no_fnmatch_line("*still stand*")
    assert len(live.requests) == recorded
