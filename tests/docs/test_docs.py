"""The documentation says what the code does: its examples run and its tables come from the code."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import openai
import pytest
from page import README, Page

import assistants_compat
from assistants_compat import Settings
from assistants_compat.settings import variables
from assistants_compat.testing import StandIn, Turn
from kit.doors import KEY, Door
from kit.paths import ROOT

PAGE = Page("README.md")


def test_the_readme_shows_the_call_before_and_after(upstream: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session at the top of the README is real: the call fails with 404, and works once the client is wrapped."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    [session] = PAGE.blocks("pycon")
    names = {"openai": openai, "assistants_compat": assistants_compat}
    test = doctest.DocTestParser().get_doctest(session, names, "README.md", "README.md", 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the SDK's own, of the call that fails
        assert runner.run(test, clear_globs=False).failed == 0
    test.globs["client"].close()


def test_the_readme_is_short() -> None:
    """The README has at most 700 words."""
    assert len(README.split()) <= 700


def test_the_example_of_the_readme_downloads_its_file(
    upstream: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's example runs as it stands, given where the service is, and saves the file."""
    upstream.script(Turn(text="[primes](sandbox:/mnt/data/primes.csv)", files={"primes.csv": b"2,3,5\n"}))
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    PAGE.execute_and_close(PAGE.blocks()[0])
    assert (tmp_path / "downloads" / "primes.csv").read_bytes() == b"2,3,5\n"
    assert capsys.readouterr().out == "[PosixPath('downloads/primes.csv')]\n".replace(
        "PosixPath", type(tmp_path).__name__
    )


LEGACY_PROGRAM = """
import openai

ASSISTANT_ID = "asst_abc123"
client = openai.OpenAI()
assistant = client.beta.assistants.retrieve(ASSISTANT_ID)
client.beta.threads.messages.create("thread_fromthedatabase", role="user", content="How many?")
run = client.beta.threads.runs.create_and_poll(thread_id="thread_fromthedatabase", assistant_id=ASSISTANT_ID)
print(assistant.name, run.status)
"""


def test_the_readme_keeps_an_old_assistant_id_alive(upstream: StandIn, tmp_path: Path) -> None:
    """A program with an old id runs unchanged by the README's file of assistants and its three commands."""
    upstream.script(Turn(text="Three."))
    [toml] = PAGE.blocks("toml")
    [commands] = [block for block in PAGE.blocks("console") if "ASSISTANTS_COMPAT_ASSISTANTS" in block]
    (tmp_path / "assistants.toml").write_text(toml, encoding="utf-8")
    (tmp_path / "app.py").write_text(LEGACY_PROGRAM, encoding="utf-8")
    python = shlex.quote(sys.executable)
    script = re.sub("^python ", f"{python} ", commands, flags=re.MULTILINE)
    environment = {**os.environ, "OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": KEY}
    command = ["/bin/sh", "-e", "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.returncode) == ("Analyst completed\n", 0), done.stderr


def test_the_settings_page_names_every_setting_and_its_variable() -> None:
    """The table of docs/settings.md has a row for each setting, with its variable."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(ASSISTANTS_COMPAT_\w+)` \| ", page, re.MULTILINE)
    assert dict(rows) == variables()


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
    "max_prompt_tokens": 5,  # less than two messages have
    "metadata": {"a": "1"},
    "truncation_strategy": {"type": "last_messages", "last_messages": 1},
    "stream": True,
}
# What a parameter needs beside it: without tools two of them are not sent or refused, and few models take an effort.
NEEDED: dict[str, dict[str, Any]] = {
    "tool_choice": {"tools": [{"type": "code_interpreter"}]},
    "parallel_tool_calls": {"tools": [{"type": "code_interpreter"}]},
    "reasoning_effort": {"model": "gpt-5.6-luna"},
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_parameter_changes_upstream_what_the_table_says(
    name: str, upstream: StandIn, sqlite_settings: Settings
) -> None:
    """Of two requests that differ in one parameter, the bodies upstream differ in what its row claims, and no more."""

    def asked_with(**given: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": text} for text in ("Zero.", "One, as JSON.")]
        thread = client.beta.threads.create(messages=messages)
        body = {"assistant_id": assistant.id, **given}
        client.post(f"/threads/{thread.id}/runs", body=body, cast_to=object)
        sent = next(each.json for each in reversed(upstream.requests) if each.path == "/responses")
        inner = {f"{key}.{part}": each for key in ("text", "reasoning") for part, each in sent.pop(key, {}).items()}
        return {**sent, **inner}

    with Door("sync").client(upstream, sqlite_settings) as client:
        assistant = client.beta.assistants.create(model="gpt-4o", instructions="Help.")
        needed = NEEDED.get(name, {})
        plain, changed = asked_with(**needed), asked_with(**needed, **{name: GIVEN[name]})
    keys = {*plain, *changed}
    assert {key for key in keys if plain.get(key) != changed.get(key)} == parameters()[name]
