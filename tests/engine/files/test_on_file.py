"""`Settings(on_file=...)` is told once of each file that is stored."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistants_compat import Settings, StoredFile
from assistants_compat.testing import Fault, StandIn, Turn
from kit.doors import KEY, Door
from kit.files import CONTENT, PNG, TURN, run_with, run_without_its_file
from kit.legacy_code import CODE, CSV, LINK, finish_run, look_at, make_assistant, make_thread, start_run


@pytest.fixture
def told() -> list[StoredFile]:
    """What was told."""
    return []


@pytest.fixture
def settings(settings: Settings, told: list[StoredFile]) -> Settings:
    """Settings that tell."""
    return replace(settings, on_file=told.append)


def test_each_stored_file_is_told_with_all_that_is_known(
    door: Door, client: Any, upstream: StandIn, told: list[StoredFile]
) -> None:
    """Id, filename, size, thread and run; and at that moment the file is there."""
    run = run_with(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG]))
    assert sorted((file.size, file.thread, file.run) for file in told) == sorted(
        (size, run.thread_id, run.id) for size in (len(CSV), len(PNG))
    )
    for file in told:
        served = door(client.files.retrieve(file.id))
        assert (served.filename, served.bytes) == (file.filename, file.size)


def test_at_that_moment_the_file_can_be_read(upstream: StandIn, settings: Settings) -> None:
    """The callable itself downloads, over the client that is polling, and the run is committed already."""
    door, seen = Door("sync"), []

    def download(file: StoredFile) -> None:
        seen.append(
            (client.files.content(file.id).read(), client.beta.threads.runs.retrieve(file.run, thread_id=file.thread))
        )

    client = door.client(upstream, replace(settings, on_file=download))
    run = run_with(door, client, upstream)
    assert seen == [(CSV, run)]
    door.close()


def test_any_number_of_pollers_tell_once(upstream: StandIn, settings: Settings, told: list[StoredFile]) -> None:
    """Eight threads with clients of their own look at the same run, again and again."""
    door = Door("sync")
    clients = [door.client(upstream, settings) for _ in range(8)]
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}, polls=2))
    run = start_run(door, clients[0], assistant={"tools": CODE})
    gate = threading.Barrier(len(clients))

    def poll(client: Any) -> str:
        gate.wait()
        return str(client.beta.threads.runs.poll(run.id, thread_id=run.thread_id).status)

    with ThreadPoolExecutor(len(clients)) as pool:
        assert set(pool.map(poll, clients)) == {"completed"}
    assert sorted(file.filename for file in told) == ["/mnt/data/b.csv", "/mnt/data/sales.csv"]
    door.close()


TELLING = """
import os

def tell(file):
    with open(os.environ["TOLD"], "a") as told:
        told.write(f"{file.id} {file.run}\\n")
"""
ELSEWHERE = """
import sys
import openai
import assistants_compat
base_url, key, thread_id, run_id = sys.argv[1:]
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key))
assert client.beta.threads.runs.poll(run_id, thread_id=thread_id).status == "completed"
"""


def test_any_number_of_processes_tell_once(upstream: StandIn, settings: Settings, tmp_path: Path) -> None:
    """Two programs, told by a function that a variable names, poll one run: its two files are two lines."""
    door = Door("sync")
    client = door.client(upstream, settings)
    (tmp_path / "telling.py").write_text(TELLING)
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}, polls=3))
    run = start_run(door, client, assistant={"tools": CODE})
    named = {
        f"ASSISTANTS_COMPAT_{name.upper()}": str(getattr(settings, name)) for name in ("store", "files", "namespace")
    }
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    more = {"ASSISTANTS_COMPAT_ON_FILE": "telling:tell", "TOLD": str(tmp_path / "told"), "PYTHONPATH": path}
    line = [sys.executable, "-c", ELSEWHERE, upstream.base_url, KEY, run.thread_id, run.id]
    started = [subprocess.Popen(line, env={**os.environ, **named, **more}, stderr=subprocess.PIPE) for _ in range(2)]
    ends = [(process.communicate(timeout=90)[1], process.returncode) for process in started]
    assert ends == [(b"", 0)] * 2
    lines = (tmp_path / "told").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 2
    assert all(line.endswith(run.id) for line in lines)
    door.close()


def test_a_stream_tells_once(door: Door, client: Any, upstream: StandIn, told: list[StoredFile]) -> None:
    """Whether the file came in the middle or with the end; a look afterwards tells nothing."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG]))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    stream = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))
    run = next(event.data for event in door.all(stream) if event.event == "thread.run.completed")
    assert look_at(door, client, run).status == "completed"
    assert sorted(file.size for file in told) == sorted([len(CSV), len(PNG)])
    assert {file.run for file in told} == {run.id}


def test_a_file_that_is_had_later_is_told_then(
    door: Door, client: Any, upstream: StandIn, settings: Settings, told: list[StoredFile]
) -> None:
    """Not when its copy fails, but when a download fetches it; and once, also when its bytes are lost again."""
    run, file_id = run_without_its_file(door, client, upstream)
    assert told == []
    assert door(client.files.content(file_id)).read() == CSV
    expected = [StoredFile(file_id, "/mnt/data/sales.csv", len(CSV), run.thread_id, run.id)]
    assert told == expected
    elsewhere = door.client(upstream, replace(settings, files=f"{settings.files}-of-another-machine"))
    assert door(elsewhere.files.content(file_id)).read() == CSV
    assert told == expected


def failing(_file: StoredFile) -> None:
    """A callable with a bug."""
    message = "secret words"
    raise RuntimeError(message)


@pytest.mark.parametrize("act", [run_with, run_without_its_file])
def test_what_it_raises_is_logged_and_harms_nothing(
    door: Door,
    upstream: StandIn,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    act: Callable[[Door, Any, StandIn], Any],
) -> None:
    """The run is completed and the file is there; the log says where it failed, and not with which words."""
    client = door.client(upstream, replace(settings, on_file=failing))
    made = act(door, client, upstream)
    run = made if act is run_with else made[0]
    assert look_at(door, client, run).status == "completed"
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    assert door(client.files.content(message.content[0].text.annotations[0].file_path.file_id)).read() == CSV
    assert "on_file failed for file-AC" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "in failing" in caplog.text
    assert "secret words" not in caplog.text


def test_an_end_that_was_not_written_tells_nothing(
    door: Door, client: Any, upstream: StandIn, told: list[StoredFile]
) -> None:
    """A file that could not be had at all is not told."""
    upstream.fault(Fault(match=CONTENT, status=404, body={}, times=99))
    run_with(door, client, upstream, TURN)
    assert told == []


def test_a_run_without_files_tells_nothing(door: Door, client: Any, upstream: StandIn, told: list[StoredFile]) -> None:
    """There is nothing to tell."""
    assert finish_run(door, client).status == "completed"
    assert told == []
