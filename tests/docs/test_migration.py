"""docs/migration.md: each task prints the same with the library and native, and sends similar requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page import Page

from assistants_compat.testing import StandIn, Turn

PAGE = Page("docs/migration.md")
BLOCK = re.compile(r"^(Before|With the library|Native)\b[^\n]*:\n\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)
TASKS: dict[str, dict[str, str]] = {
    title: dict(BLOCK.findall(body))
    for title, _, body in (section.partition("\n") for section in PAGE.text.split("\n## ")[1:])
}
CALL = {"name": "multiply", "arguments": '{"first": 6, "second": 7}', "call_id": "call_a"}


def citing_turn(upstream: StandIn) -> Turn:
    """Return an answer that cites the last uploaded file."""
    file_id = next(reversed(upstream.files))
    note = {"type": "file_citation", "file_id": file_id, "filename": "cake.txt", "index": 4}
    part = {"type": "output_text", "text": "Cake.", "annotations": [note], "logprobs": []}
    return Turn(output=[{"type": "message", "status": "completed", "role": "assistant", "content": [part]}])


# The model's turns for each task, and the expected output.
SCRIPTS: dict[str, tuple[Callable[[StandIn], list[Turn]], str]] = {
    "Client": (lambda _: [], ""),
    "Assistants": (lambda _: [], "gpt-4.1 Be brief.\n"),
    "Threads": (lambda _: [], "user I am Ada.\nuser Who am I?\n"),
    "Poll a run": (lambda _: [Turn(text="You are Ada.")], "completed You are Ada.\n"),
    "Stream a run": (lambda _: [Turn(text="You are still Ada.")], "You are still Ada."),
    "Function tools": (lambda _: [Turn(function_calls=[CALL]), Turn(text="It is 42.")], "It is 42.\n"),
    "Download Code Interpreter files": (
        lambda _: [Turn(text="[Here](sandbox:/mnt/data/primes.csv)", files={"primes.csv": b"2,3,5"})],
        "b'2,3,5'\n",
    ),
    "File search": (lambda upstream: [citing_turn(upstream)], "True\nCake.\n"),
    "Attachments": (lambda _: [Turn(text="One.", code="len(rows)", logs="1")], "One.\n"),
}


class Reader:
    """Runs the blocks of a column one after the other, as a reader does."""

    def __init__(self, upstream: StandIn) -> None:
        self.upstream = upstream
        self.names: dict[str, Any] = {}

    def runs(self, source: str, turns: Callable[[StandIn], list[Turn]]) -> list[dict[str, Any]]:
        """Run a block and return the bodies that it sent to `/responses`."""
        before = len(self.upstream.requests)
        head, upload, rest = source.rpartition('purpose="assistants")\n')
        PAGE.execute(head + upload, self.names)
        self.upstream.script(*turns(self.upstream))  # an answer may cite what was uploaded
        PAGE.execute(rest, self.names)
        requests = self.upstream.requests[before:]
        return [request.json for request in requests if (request.method, request.path) == ("POST", "/responses")]


@pytest.fixture
def reader(upstream: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Reader:
    """A reader with a key whose service is the stand-in."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    return Reader(upstream)


def column(name: str) -> dict[str, str]:
    """Return the blocks of a column; with the library, only the client differs from "Before"."""
    return {task: blocks.get(name, blocks["Before"]) for task, blocks in TASKS.items()}


@pytest.mark.parametrize("name", ["With the library", "Native"])
def test_each_task_prints_its_expected_output(name: str, reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """Every task of a column, in the order of the page, prints its expected output."""
    if name == "Native":
        pytest.importorskip("openai.resources.containers", reason="client.containers came with openai 1.81")
    for task, source in column(name).items():
        turns, expected = SCRIPTS[task]
        reader.runs(source, turns)
        assert (task, capsys.readouterr().out) == (task, expected)
    reader.names["client"].close()


def test_every_task_has_its_columns() -> None:
    """Every task has a script and two blocks, the client three."""
    assert list(TASKS) == list(SCRIPTS)
    columns = [list(blocks) for blocks in TASKS.values()]
    assert columns == [["Before", "With the library", "Native"], *[["Before", "Native"]] * (len(TASKS) - 1)]


COMPARED_KEYS = ("model", "instructions", "tools")


def test_library_and_native_send_the_same_to_the_model(reader: Reader, upstream: StandIn) -> None:
    """Model, instructions and tools of each request are equal, except for the ids of files and stores."""
    pytest.importorskip("openai.resources.containers", reason="client.containers came with openai 1.81")
    bodies = {}
    for name in ("With the library", "Native"):
        reader.names = {}
        bodies[name] = {
            task: [
                {key: mask_ids(body.get(key)) for key in COMPARED_KEYS}
                for body in reader.runs(source, SCRIPTS[task][0])
            ]
            for task, source in column(name).items()
        }
        reader.names["client"].close()
    assert bodies["With the library"] == bodies["Native"]


def mask_ids(value: Any) -> Any:
    """Return a value without ids and without null or empty fields."""
    if isinstance(value, dict):
        return {key: mask_ids(entry) for key, entry in value.items() if entry not in (None, [])}
    if isinstance(value, list):
        return [mask_ids(entry) for entry in value] or None
    return re.sub(r"\b(file-|vs_|cntr_)\w+", r"\1", value) if isinstance(value, str) else value
