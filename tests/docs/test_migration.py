"""docs/migration.md: each task prints the same over the shim and native, and what is asked upstream is alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page import Page

from assistants_compat.testing import StandIn, Turn

PAGE = Page("docs/migration.md")
BLOCK = re.compile(r"^(Before|With the shim|Native)\b[^\n]*:\n\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)
TASKS: dict[str, dict[str, str]] = {
    title: dict(BLOCK.findall(body))
    for title, _, body in (each.partition("\n") for each in PAGE.text.split("\n## ")[1:])
}
CALL = {"name": "multiply", "arguments": '{"first": 6, "second": 7}', "call_id": "call_a"}


def cited(upstream: StandIn) -> Turn:
    """An answer that cites the last file that was uploaded."""
    file_id = next(reversed(upstream.files))
    note = {"type": "file_citation", "file_id": file_id, "filename": "cake.txt", "index": 4}
    part = {"type": "output_text", "text": "Cake.", "annotations": [note], "logprobs": []}
    return Turn(output=[{"type": "message", "status": "completed", "role": "assistant", "content": [part]}])


# What the model says for each task, and what is printed then.
SAYS: dict[str, tuple[Callable[[StandIn], list[Turn]], str]] = {
    "The client": (lambda _: [], ""),
    "An assistant": (lambda _: [], "gpt-4.1 Be brief.\n"),
    "A thread": (lambda _: [], "user I am Ada.\nuser Who am I?\n"),
    "A run, polled": (lambda _: [Turn(text="You are Ada.")], "completed You are Ada.\n"),
    "A run, streamed": (lambda _: [Turn(text="You are still Ada.")], "You are still Ada."),
    "Function tools": (lambda _: [Turn(function_calls=[CALL]), Turn(text="It is 42.")], "It is 42.\n"),
    "Code Interpreter, with a download": (
        lambda _: [Turn(text="[Here](sandbox:/mnt/data/primes.csv)", files={"primes.csv": b"2,3,5"})],
        "b'2,3,5'\n",
    ),
    "File search": (lambda upstream: [cited(upstream)], "True\nCake.\n"),
    "Attachments": (lambda _: [Turn(text="One.", code="len(rows)", logs="1")], "One.\n"),
}


class Reader:
    """Runs the blocks of a column one after the other, as a reader does."""

    def __init__(self, upstream: StandIn) -> None:
        self.upstream = upstream
        self.names: dict[str, Any] = {}

    def runs(self, source: str, turns: Callable[[StandIn], list[Turn]]) -> list[dict[str, Any]]:
        """What it asked of `/responses`."""
        before = len(self.upstream.requests)
        head, upload, rest = source.rpartition('purpose="assistants")\n')
        PAGE.execute(head + upload, self.names)
        self.upstream.script(*turns(self.upstream))  # an answer may cite what was uploaded
        PAGE.execute(rest, self.names)
        asked = self.upstream.requests[before:]
        return [each.json for each in asked if (each.method, each.path) == ("POST", "/responses")]


@pytest.fixture
def reader(upstream: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Reader:
    """A reader with a key, whose service is the stand-in."""
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("ASSISTANTS_COMPAT_STORE", str(tmp_path / "store.db"))
    monkeypatch.setenv("ASSISTANTS_COMPAT_POLL_AFTER_MS", "1")
    return Reader(upstream)


def column(name: str) -> dict[str, str]:
    """The blocks of a column: what was before goes on over the shim, but for the client."""
    return {task: blocks.get(name, blocks["Before"]) for task, blocks in TASKS.items()}


@pytest.mark.parametrize("name", ["With the shim", "Native"])
def test_a_column_prints_what_it_should(name: str, reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """Every task of the column, in the order of the page."""
    if name == "Native":
        pytest.importorskip("openai.resources.containers", reason="client.containers came with openai 1.81")
    for task, source in column(name).items():
        turns, expected = SAYS[task]
        reader.runs(source, turns)
        assert (task, capsys.readouterr().out) == (task, expected)
    reader.names["client"].close()


def test_every_task_has_its_columns() -> None:
    """Two blocks a task, three for the client, and a script for each."""
    assert list(TASKS) == list(SAYS)
    columns = [list(blocks) for blocks in TASKS.values()]
    assert columns == [["Before", "With the shim", "Native"], *[["Before", "Native"]] * (len(TASKS) - 1)]


ALIKE = ("model", "instructions", "tools")


def test_shim_and_native_ask_the_same_of_the_model(reader: Reader, upstream: StandIn) -> None:
    """The model, the instructions, and the tools of each request are alike, but for the ids of files and stores."""
    pytest.importorskip("openai.resources.containers", reason="client.containers came with openai 1.81")
    asked = {}
    for name in ("With the shim", "Native"):
        reader.names = {}
        asked[name] = {
            task: [{key: masked(body.get(key)) for key in ALIKE} for body in reader.runs(source, SAYS[task][0])]
            for task, source in column(name).items()
        }
        reader.names["client"].close()
    assert asked["With the shim"] == asked["Native"]


def masked(value: Any) -> Any:
    """Without ids, and what is null or empty."""
    if isinstance(value, dict):
        return {key: masked(each) for key, each in value.items() if each not in (None, [])}
    if isinstance(value, list):
        return [masked(each) for each in value] or None
    return re.sub(r"\b(file-|vs_|cntr_)\w+", r"\1", value) if isinstance(value, str) else value
