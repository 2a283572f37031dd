"""Files of a run that others end while it is streamed: what is told can be downloaded, and no copy is left alone."""

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
from kit.container_runs import new_thread, run
from kit.doors import Door
from kit.files import PNG, contents
from kit.legacy_code import dump

SHOWN = {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
CALL = {"type": "code_interpreter_call", "code": "plot()", "outputs": [SHOWN]}
LINKED = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "[a](sandbox:/mnt/data/a)"}],
}
by_time = pytest.mark.parametrize(
    "output", [[CALL, LINKED], [LINKED, {**CALL, "outputs": []}]], ids=["in the middle", "at the end"]
)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is done once, when files of the run have been copied and before that is written down."""
    keep_all = generated_files.keep_all
    acts: list[Any] = []

    async def overtaken(io: IO, files: Sequence[Any], run: Any) -> Any:
        rows = await keep_all(io, files, run)
        while files and acts:
            acts.pop()(run)
        return rows

    monkeypatch.setattr(generated_files, "keep_all", overtaken)
    return acts


def kept(settings: Settings) -> set[str]:
    """The names of the copies in the content store."""
    return set(contents(Path(str(settings.files))))


@by_time
def test_files_of_a_run_that_was_cancelled_meanwhile_are_there(
    door: Door, client: Any, sync: Door, upstream: StandIn, settings: Settings, copied: list[Any], output: Any
) -> None:
    """Every file that its messages and steps name downloads, and there is no other copy."""
    ids, runs = new_thread(door, client), sync.client(upstream, settings).beta.threads.runs

    def cancel(run: Any) -> None:
        runs.cancel(run["id"], thread_id=run["thread_id"])
        runs.retrieve(run["id"], thread_id=run["thread_id"])

    copied.append(cancel)
    upstream.script(Turn(output=output, files={"a": b"1"}))
    done = run(door, client, *ids, stream=True)
    assert done.status == "cancelled"
    named = set(_named([door.all(client.beta.threads.messages.list(done.thread_id))]))
    named |= set(_named([door.all(client.beta.threads.runs.steps.list(done.id, thread_id=done.thread_id))]))
    assert named
    assert {door(client.files.content(file_id)).read() for file_id in named} <= {PNG, b"1"}
    assert kept(settings) == {row["id"] for row in dump(settings)["files"]} >= named


@by_time
def test_copies_of_a_run_whose_thread_was_deleted_meanwhile_are_not_left(
    door: Door, client: Any, sync: Door, upstream: StandIn, settings: Settings, copied: list[Any], output: Any
) -> None:
    """No row speaks of them, so nobody could ever remove them."""
    ids, threads = new_thread(door, client), sync.client(upstream, settings).beta.threads
    copied.append(lambda run: threads.delete(run["thread_id"]))
    upstream.script(Turn(output=output, files={"a": b"1"}))
    run(door, client, *ids, stream=True)
    assert dump(settings)["files"] == []
    assert kept(settings) == set()


def _named(node: Any) -> list[str]:
    """Every file id in objects of the SDK."""
    if isinstance(node, list):
        return [file_id for each in node for file_id in _named(each)]
    if hasattr(node, "model_dump"):
        return _named(node.model_dump())
    if isinstance(node, dict):
        own = [node["file_id"]] if isinstance(node.get("file_id"), str) else []
        return [*own, *_named(list(node.values()))]
    return []
