"""The SDK's own `examples/assistant*.py`, unedited, under `install` and `run`."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sdk_suite_source as source

import assistants_compat
from assistants_compat.testing import StandIn, Turn
from kit.legacy_code import asked

WITH_EXAMPLES = "1.40.0"  # later distributions have no examples of the Assistants API; these run on every SDK
EXAMPLES = ("assistant", "assistant_stream", "assistant_stream_helpers")
SOLVED = "The solution is x = 1, Jane Doe."
SAID = {
    "assistant": "Run completed with status: completed",
    "assistant_stream": '"event": "thread.run.completed"',
    "assistant_stream_helpers": "```py\nx = (14 - 11) / 3\n```\nExecuting code...\n\nResponse:\n",
}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One of them, where the SDK's source distribution is to be had."""
    folder = source.had(request.config, WITH_EXAMPLES, tmp_path, "examples")
    return folder / "examples" / f"{request.param}.py"


@pytest.fixture(autouse=True)
def _surroundings(upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The variables that the examples read, an answer for their question, and no client left covered."""
    upstream.script(Turn(text=SOLVED, code="x = (14 - 11) / 3", logs="1.0\n", polls=1))
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    yield
    assistants_compat.uninstall()


def is_answered(example: Path, said: str, upstream: StandIn) -> None:
    """The example said the model's answer to the question that it asked."""
    assert SAID[example.stem] in said
    assert said.count("The solution is") >= 1
    assert len(asked(upstream, "POST /responses")) == 1
    [sent] = [each.json for each in upstream.requests if each.path == "/responses"]
    assert "3x + 11 = 14" in str(sent["input"])
    assert sent["instructions"] == "Please address the user as Jane Doe. The user has a premium account."


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the examples do not close their clients
def test_an_example_works_under_install(example: Path, upstream: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """As a program that imports it does."""
    assistants_compat.install()
    runpy.run_path(str(example), run_name="__main__")
    is_answered(example, capsys.readouterr().out, upstream)


@pytest.mark.parametrize("example", EXAMPLES[::2], indirect=True)  # each is a Python that imports the SDK
def test_an_example_works_under_run(example: Path, upstream: StandIn) -> None:
    """As `python -m assistants_compat run examples/assistant.py` does, and without a word on stderr."""
    command = [sys.executable, "-W", "error", "-m", "assistants_compat", "run", example.name]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=example.parent, env=os.environ, check=False, timeout=200
    )
    assert (done.returncode, done.stderr) == (0, "")
    is_answered(example, done.stdout, upstream)
