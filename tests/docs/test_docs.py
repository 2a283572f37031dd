"""The documentation says what the code does: its examples run and its tables come from the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from page import README, ROOT, Page

import assistants_compat
from assistants_compat import Settings
from assistants_compat.settings import variables
from assistants_compat.testing import StandIn, Turn
from assistants_compat.translate.run import MOVES
from kit.doors import Door

PAGE = Page("README.md")
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def diagram() -> str:
    """The states and moves of a run, as a Mermaid diagram."""
    moves = [f"    {start} --> {end}" for start, ends in MOVES.items() for end in sorted(ends)]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> queued", *moves, "```"])


def test_the_first_example_of_the_readme_downloads_its_file(
    upstream: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The README's example runs as it stands, given where the service is, and saves the file."""
    upstream.script(Turn(text="[primes](sandbox:/mnt/data/primes.csv)", files={"primes.csv": b"2,3,5\n"}))
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    monkeypatch.chdir(tmp_path)
    PAGE.execute_and_close(PAGE.blocks()[0])
    assert (tmp_path / "primes.csv").read_bytes() == b"2,3,5\n"


def test_the_testing_example_of_the_readme_runs() -> None:
    """The README's example of a test without a network runs."""
    PAGE.execute_and_close(PAGE.blocks()[1])


def test_the_readme_names_every_setting_and_its_variable_and_default() -> None:
    """The table of settings in the README is that of the code."""
    rows = re.findall(r"^\| `(\w+)` \| `(ASSISTANTS_COMPAT_\w+)` \| (.*) \|$", README, re.MULTILINE)
    assert {name: variable for name, variable, _ in rows} == variables()
    settings = Settings()
    for name, _, default in rows:
        if default.startswith("`"):
            assert str(getattr(settings, name)) == default.strip("`")


def test_the_diagram_of_statuses_is_drawn_from_the_table() -> None:
    """docs/architecture.md shows the moves that the code allows."""
    shown = re.search(r"<!-- moves -->\n(.*?)\n<!-- /moves -->", ARCHITECTURE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert shown[1] == diagram()


def test_the_version_and_the_public_names_are_what_the_package_says() -> None:
    """Public names are sorted, importable and documented."""
    assert assistants_compat.__all__ == sorted(assistants_compat.__all__)
    for name in assistants_compat.__all__:
        assert getattr(assistants_compat, name).__doc__


def test_the_demo_plays_its_recording_to_the_end(tmp_path: Path) -> None:
    """`make demo` leaves a CSV and two pictures that can be opened, and every recorded answer was used."""
    pytest.importorskip("vcr", reason="vcrpy is not installed")
    script = ROOT / "examples" / "data_analyst.py"
    command = [sys.executable, "-W", "error", str(script), "--to", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sales_by_region.csv").read_text(encoding="utf-8").startswith("region,sales\nnorth,120\n")
    for name in ("sales_by_region.png", "shown.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "done       3 files" in done.stdout


def test_a_recording_holds_no_credential_and_says_what_it_was_made_against() -> None:
    """Every recording in cassettes/ is labelled, and of a request's headers it has the kinds of content alone."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    for cassette in (ROOT / "cassettes").glob("*.yaml"):
        for item in yaml.safe_load(cassette.read_text(encoding="utf-8"))["interactions"]:
            assert set(item["request"]["headers"]) <= {"accept", "content-type"}
            assert item["response"]["headers"]["x-recorded-against"] == ["stand-in"]


def parameters() -> dict[str, set[str]]:
    """The table of parameters in docs/differences.md: what each of them changes upstream."""
    page = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- parameters -->\n(.*?)\n<!-- /parameters -->", page, re.DOTALL)
    assert shown is not None
    rows = [row.split("|")[1:3] for row in shown[1].splitlines()[2:]]
    return {legacy.strip(" `"): set(re.findall(r"`([\w.]+)`", changes)) for legacy, changes in rows}


def test_the_table_of_parameters_names_every_parameter_of_a_run() -> None:
    """docs/differences.md says of each parameter of `runs.create` what becomes of it."""
    from openai.types.beta.threads import run_create_params  # noqa: PLC0415 - the SDK's own list

    known = {*run_create_params.RunCreateParamsBase.__annotations__, "stream"} - {"assistant_id", "include"}
    assert sorted(parameters()) == sorted(known) == sorted(GIVEN)


GIVEN = {
    "model": "gpt-4.1",
    "instructions": "Shout.",
    "additional_instructions": "Loudly.",
    "additional_messages": [{"role": "user", "content": "Two."}],
    "tools": [{"type": "code_interpreter"}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "max_completion_tokens": 500,
    "max_prompt_tokens": 500,
    "metadata": {"a": "1"},
    "truncation_strategy": {"type": "last_messages", "last_messages": 1},
    "stream": True,
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_parameter_changes_upstream_what_the_table_says(
    name: str, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Of two requests that differ in one parameter, the bodies upstream differ in what its row claims, and no more."""

    def asked_with(**given: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": text} for text in ("Zero.", "One.")]
        thread = client.beta.threads.create(messages=messages)
        body = {"assistant_id": assistant.id, **given}
        client.post(f"/threads/{thread.id}/runs", body=body, cast_to=object)
        sent = next(each.json for each in reversed(upstream.requests) if each.path == "/responses")
        inner = {f"{key}.{part}": each for key in ("text", "reasoning") for part, each in sent.pop(key, {}).items()}
        return {**sent, **inner}

    with Door("sync").client(upstream, sqlite_settings) as client:
        assistant = client.beta.assistants.create(model="gpt-4o", instructions="Help.")
        plain, changed = asked_with(), asked_with(**{name: GIVEN[name]})
    keys = {*plain, *changed}
    assert {key for key in keys if plain.get(key) != changed.get(key)} == parameters()[name]
