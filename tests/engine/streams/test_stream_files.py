"""Files of a run that ends elsewhere during its stream can be downloaded, and no copy is left without a row."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings
from assistants_compat.engine import generated_files
from assistants_compat.engine.io import IO
from assistants_compat.testing import StandIn, Turn
from kit.container_runs import make_thread_and_assistant, run_to_end
from kit.doors import Door
from kit.files import PNG, directory_contents
from kit.legacy_code import dump_store

SHOWN = {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
CALL = {"type": "code_interpreter_call", "code": "plot()", "outputs": [SHOWN]}
LINK_MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "[a](sandbox:/mnt/data/a)"}],
}
each_copy_time = pytest.mark.parametrize(
    "output", [[CALL, LINK_MESSAGE], [LINK_MESSAGE, {**CALL, "outputs": []}]], ids=["in the middle", "at the end"]
)


@pytest.fixture
def after_copy(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Callbacks that run once, after files of the run were copied and before the rows are written."""
    copy_files = generated_files.copy_files
    callbacks: list[Any] = []

    async def copy_files_then_call(io: IO, files: Sequence[Any], run: Any) -> Any:
        rows = await copy_files(io, files, run)
        while files and callbacks:
            callbacks.pop()(run)
        return rows

    monkeypatch.setattr(generated_files, "copy_files", copy_files_then_call)
    return callbacks


def kept_files(settings: Settings) -> set[str]:
    """Return the names of the copies in the content store."""
    return set(directory_contents(Path(str(settings.files))))


@each_copy_time
def test_files_of_a_run_cancelled_while_copying_can_be_downloaded(
    door: Door, client: Any, sync: Door, upstream: StandIn, settings: Settings, after_copy: list[Any], output: Any
) -> None:
    """If the run is cancelled during the copy, every file that it names downloads, and no other copy is left."""
    ids, runs = make_thread_and_assistant(door, client), sync.client(upstream, settings).beta.threads.runs

    def cancel(run: Any) -> None:
        runs.cancel(run["id"], thread_id=run["thread_id"])
        runs.retrieve(run["id"], thread_id=run["thread_id"])

    after_copy.append(cancel)
    upstream.script(Turn(output=output, files={"a": b"1"}))
    ended = run_to_end(door, client, *ids, stream=True)
    assert ended.status == "cancelled"
    named = set(_named_files([door.all(client.beta.threads.messages.list(ended.thread_id))]))
    named |= set(_named_files([door.all(client.beta.threads.runs.steps.list(ended.id, thread_id=ended.thread_id))]))
    assert named
    assert {door(client.files.content(file_id)).read() for file_id in named} <= {PNG, b"1"}
    assert kept_files(settings) == {row["id"] for row in dump_store(settings)["files"]} >= named


def test_files_of_a_run_that_is_cancelled_as_it_calls_a_function_are_kept(
    door: Door, client: Any, sync: Door, upstream: StandIn, settings: Settings, after_copy: list[Any]
) -> None:
    """A run whose code saved a file, and that is cancelled just before it would wait for outputs, keeps the file."""
    ids, runs = make_thread_and_assistant(door, client), sync.client(upstream, settings).beta.threads.runs
    after_copy.append(lambda run: runs.cancel(run["id"], thread_id=run["thread_id"]))
    call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
    upstream.script(Turn(output=[{**CALL, "outputs": []}, call], files={"a": b"1"}))
    ended = run_to_end(door, client, *ids, stream=True)
    assert ended.status == "cancelled"
    [row] = dump_store(settings)["files"]
    assert kept_files(settings) == {row["id"]}
    assert door(client.files.content(row["id"])).read() == b"1"


@each_copy_time
def test_copies_of_a_thread_deleted_while_copying_are_removed(
    door: Door, client: Any, sync: Door, upstream: StandIn, settings: Settings, after_copy: list[Any], output: Any
) -> None:
    """If the thread is deleted during the copy, the copies are removed, because no row refers to them."""
    ids, threads = make_thread_and_assistant(door, client), sync.client(upstream, settings).beta.threads
    after_copy.append(lambda run: threads.delete(run["thread_id"]))
    upstream.script(Turn(output=output, files={"a": b"1"}))
    run_to_end(door, client, *ids, stream=True)
    assert dump_store(settings)["files"] == []
    assert kept_files(settings) == set()


def _named_files(node: Any) -> list[str]:
    """Return every file id in objects of the SDK."""
    if isinstance(node, list):
        return [file_id for child in node for file_id in _named_files(child)]
    if hasattr(node, "model_dump"):
        return _named_files(node.model_dump())
    if isinstance(node, dict):
        own = [node["file_id"]] if isinstance(node.get("file_id"), str) else []
        return [*own, *_named_files(list(node.values()))]
    return []
