"""The SDK's own `examples/assistant*.py` run unchanged under `install` and `run`."""

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
from kit.legacy_code import upstream_calls

WITH_EXAMPLES = "1.40.0"  # later distributions have no Assistants examples; these run on every SDK
EXAMPLES = ("assistant", "assistant_stream", "assistant_stream_helpers")
ANSWER = "The solution is x = 1, Jane Doe."
EXPECTED_OUTPUT = {
    "assistant": "Run completed with status: completed",
    "assistant_stream": '"event": "thread.run.completed"',
    "assistant_stream_helpers": "```py\nx = (14 - 11) / 3\n```\nExecuting code...\n\nResponse:\n",
}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The path of each example; skips where the SDK's source distribution cannot be downloaded."""
    folder = source.cached_suite(request.config, WITH_EXAMPLES, tmp_path, "examples")
    return folder / "examples" / f"{request.param}.py"


@pytest.fixture(autouse=True)
def _environment(upstream: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the variables that the examples read, script an answer, and uninstall afterwards."""
    upstream.script(Turn(text=ANSWER, code="x = (14 - 11) / 3", logs="1.0\n", polls=1))
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    yield
    assistants_compat.uninstall()


def check_answer(example: Path, output: str, upstream: StandIn) -> None:
    """Check that the example printed the model's answer to its question."""
    assert EXPECTED_OUTPUT[example.stem] in output
    assert output.count("The solution is") >= 1
    assert len(upstream_calls(upstream, "POST /responses")) == 1
    [sent] = [request.json for request in upstream.requests if request.path == "/responses"]
    assert "3x + 11 = 14" in str(sent["input"])
    assert sent["instructions"] == "Please address the user as Jane Doe. The user has a premium account."


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the examples do not close their clients
def test_an_example_works_under_install(example: Path, upstream: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """Each example works in a process that called `install()`."""
    assistants_compat.install()
    runpy.run_path(str(example), run_name="__main__")
    check_answer(example, capsys.readouterr().out, upstream)


@pytest.mark.parametrize(
    "example", EXAMPLES[::2], indirect=True
)  # two suffice: each starts a Python that imports the SDK
def test_an_example_works_under_run(example: Path, upstream: StandIn) -> None:
    """Each example works under `python -m assistants_compat run`, with nothing on stderr."""
    command = [sys.executable, "-W", "error", "-m", "assistants_compat", "run", example.name]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=example.parent, env=os.environ, check=False, timeout=200
    )
    assert (result.returncode, result.stderr) == (0, "")
    check_answer(example, result.stdout, upstream)
