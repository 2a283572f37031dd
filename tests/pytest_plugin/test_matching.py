"""Requests match recorded ones by what the suite chose, and by nothing that a machine guesses."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistants_compat.testing import StandIn, Turn
from kit.legacy_suites import CONFTEST, LINE, Run

CHOSEN = """
import os
import pytest

@pytest.mark.vcr(match_on={match_on})
def test_counts(client):
    assistant = client.beta.assistants.create(model="gpt-4o")
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={{"messages": [{{"role": "user", "content": os.environ["QUESTION"]}}]}}
    )
    assert run.status == "completed"
"""


@pytest.mark.parametrize(
    ("match_on", "passes"),
    [
        ('["method", "scheme", "host", "port", "path", "query"]', True),
        ('("method", "path")', True),
        ('["method", "uri"]', True),
        ('["method", "uri", "body"]', False),
        (None, False),
    ],
)
def test_a_suites_own_match_on_counts(
    suite_folder: Path,
    run: Run,
    recorded_upstream: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    match_on: str | None,
    passes: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Matchers that a suite names count, even the names of VCR.py's defaults; without a choice bodies are compared."""
    monkeypatch.setenv("QUESTION", "How many?")
    (suite_folder / "conftest.py").write_text(f"{LINE}\n{CONFTEST}")
    test = CHOSEN.format(match_on=match_on)
    (suite_folder / "test_chosen.py").write_text(test if match_on else test.replace("(match_on=None)", ""))
    recorded_upstream.script(Turn(text="Three.", polls=0))
    run("-q", "--record-mode=once").assert_outcomes(passed=1)
    monkeypatch.setenv("QUESTION", "How many now?")
    run("-q").assert_outcomes(passed=int(passes), failed=int(not passes))


def test_a_choice_of_the_whole_suite_counts(
    suite_folder: Path, run: Run, recorded_upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice counts wherever it is made: in the configuration of the suite, or on a `VCR` of its own."""
    monkeypatch.setenv("QUESTION", "How many?")
    (suite_folder / "conftest.py").write_text(f"{LINE}\n{CONFTEST}")
    own = CHOSEN.format(match_on="").replace("@pytest.mark.vcr(match_on=)", '@player.use_cassette("own.yaml")')
    (suite_folder / "test_own.py").write_text(
        'import vcr\nplayer = vcr.VCR(cassette_library_dir="own")\nplayer.match_on = ("method", "path")\n' + own
    )
    recorded_upstream.script(Turn(text="Three.", polls=0))
    run("-q", "test_own.py").assert_outcomes(passed=1)
    monkeypatch.setenv("QUESTION", "How many now?")
    run("-q", "test_own.py").assert_outcomes(passed=1)


UPLOAD = """
import mimetypes
import os
import pytest

@pytest.mark.vcr(match_on=["method", "uri", "body"])
def test_upload(client):
    assistant = client.beta.assistants.create(model="gpt-4o")
    mimetypes.init()
    mimetypes.add_type(os.environ["GUESS"], ".md")
    content = os.environ["CONTENT"].encode()
    file = client.files.create(file=("notes.md", content), purpose="assistants")
    assert file.filename == "notes.md"
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "How many?"}]}
    )
    assert run.status == "completed"
"""


def test_an_upload_matches_on_every_machine(
    suite_folder: Path, run: Run, recorded_upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite that compares bodies replays an upload whose type is guessed otherwise, and notices other content."""
    (suite_folder / "conftest.py").write_text(f"{LINE}\n{CONFTEST}")
    (suite_folder / "test_upload.py").write_text(UPLOAD)
    monkeypatch.setenv("GUESS", "text/markdown")
    monkeypatch.setenv("CONTENT", "# Apples")
    recorded_upstream.script(Turn(text="Three.", polls=0))
    run("-q", "--record-mode=once").assert_outcomes(passed=1)
    assert "text/markdown" in (suite_folder / "cassettes" / "test_upload" / "test_upload.yaml").read_text()
    monkeypatch.setenv("GUESS", "application/x-notes")
    run("-q").assert_outcomes(passed=1)
    monkeypatch.setenv("CONTENT", "# Pears")
    run("-q").assert_outcomes(failed=1)
