"""`Settings(on_file=...)` is called once for each stored file."""

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
from kit.files import CONTENT_REQUEST, PNG, TURN, finish_run_with_turn, run_with_uncopied_file
from kit.legacy_code import CODE, CSV, LINK, finish_run, make_assistant, make_thread, retrieve_run, start_run
from kit.streams import read_rest, read_until


@pytest.fixture
def stored_files() -> list[StoredFile]:
    """The files that the callback was called with."""
    return []


@pytest.fixture
def settings(settings: Settings, stored_files: list[StoredFile]) -> Settings:
    """Settings whose callback collects the stored files."""
    return replace(settings, on_file=stored_files.append)


def test_the_callback_gets_the_facts_of_each_stored_file(
    door: Door, client: Any, upstream: StandIn, stored_files: list[StoredFile]
) -> None:
    """The callback gets size, thread and run of each file, whose id and name match the served file."""
    run = finish_run_with_turn(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG]))
    assert sorted((file.size, file.thread, file.run) for file in stored_files) == sorted(
        (size, run.thread_id, run.id) for size in (len(CSV), len(PNG))
    )
    for file in stored_files:
        served = door(client.files.retrieve(file.id))
        assert (served.filename, served.bytes) == (file.filename, file.size)


def test_the_callback_can_download_the_file(upstream: StandIn, settings: Settings) -> None:
    """The callback itself can download the file through the polling client, and the run is already committed."""
    door, downloads = Door("sync"), []

    def download(file: StoredFile) -> None:
        downloads.append(
            (client.files.content(file.id).read(), client.beta.threads.runs.retrieve(file.run, thread_id=file.thread))
        )

    client = door.client(upstream, replace(settings, on_file=download))
    run = finish_run_with_turn(door, client, upstream)
    assert downloads == [(CSV, run)]
    door.close()


def test_many_pollers_call_the_callback_once_a_file(
    upstream: StandIn, settings: Settings, stored_files: list[StoredFile]
) -> None:
    """Eight clients that poll one run at the same time call the callback once for each file."""
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
    assert sorted(file.filename for file in stored_files) == ["/mnt/data/b.csv", "/mnt/data/sales.csv"]
    door.close()


CALLBACK_MODULE = """
import os

def note(file):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{file.id} {file.run}\\n")
"""
POLL_IN_ANOTHER_PROCESS = """
import sys
import openai
import assistants_compat
base_url, key, thread_id, run_id = sys.argv[1:]
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key))
assert client.beta.threads.runs.poll(run_id, thread_id=thread_id).status == "completed"
"""


def test_two_processes_call_the_callback_once_a_file(upstream: StandIn, settings: Settings, tmp_path: Path) -> None:
    """Two processes that poll one run call the callback, named by a variable, once for each file."""
    door = Door("sync")
    client = door.client(upstream, settings)
    (tmp_path / "callbacks.py").write_text(CALLBACK_MODULE)
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV, "b.csv": b"b"}, polls=3))
    run = start_run(door, client, assistant={"tools": CODE})
    store_variables = {
        f"ASSISTANTS_COMPAT_{name.upper()}": str(getattr(settings, name)) for name in ("store", "files", "namespace")
    }
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    callback_variables = {
        "ASSISTANTS_COMPAT_ON_FILE": "callbacks:note",
        "NOTES": str(tmp_path / "notes"),
        "PYTHONPATH": path,
    }
    command = [sys.executable, "-c", POLL_IN_ANOTHER_PROCESS, upstream.base_url, KEY, run.thread_id, run.id]
    processes = [
        subprocess.Popen(command, env={**os.environ, **store_variables, **callback_variables}, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outcomes = [(process.communicate(timeout=90)[1], process.returncode) for process in processes]
    assert outcomes == [(b"", 0)] * 2
    lines = (tmp_path / "notes").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 2
    assert all(command.endswith(run.id) for command in lines)
    door.close()


def test_a_stream_calls_the_callback_once_a_file(
    door: Door, client: Any, upstream: StandIn, stored_files: list[StoredFile]
) -> None:
    """A stream calls the callback once for each file, and a later poll does not call it again."""
    upstream.script(Turn(text=LINK, files={"sales.csv": CSV}, images=[PNG]))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    stream = door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))
    run = next(event.data for event in door.all(stream) if event.event == "thread.run.completed")
    assert retrieve_run(door, client, run).status == "completed"
    assert sorted(file.size for file in stored_files) == sorted([len(CSV), len(PNG)])
    assert {file.run for file in stored_files} == {run.id}


@pytest.mark.parametrize("text", ["See the picture.", None], ids=["named by its message", "never named"])
def test_a_stream_calls_the_callback_when_a_picture_has_its_name(
    door: Door, client: Any, upstream: StandIn, stored_files: list[StoredFile], text: str | None
) -> None:
    """A streamed picture is stored when its call ends, and reported once, with the name that it is served with."""
    upstream.script(Turn(text=text, images=[PNG], pace=0.01))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    door.all(door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)))
    [file] = stored_files
    assert door(client.files.retrieve(file.id)).filename == file.filename
    assert file.filename.startswith("cfile_")


def test_a_picture_of_a_stopped_stream_is_reported(
    door: Door, client: Any, upstream: StandIn, stored_files: list[StoredFile]
) -> None:
    """A picture of a stream that is cancelled before its message ends is reported once."""
    upstream.script(Turn(text="word " * 200, images=[PNG], pace=0.02))
    assistant, thread = make_assistant(door, client, tools=CODE), make_thread(door, client)
    runs = client.beta.threads.runs
    stream = door(runs.create(thread.id, assistant_id=assistant.id, stream=True))
    run = read_until(door, stream, "thread.message.delta")[0].data
    door(runs.cancel(run.id, thread_id=run.thread_id))
    assert read_rest(door, stream)[-1].event == "thread.run.cancelled"
    assert [file.size for file in stored_files] == [len(PNG)]


def test_a_file_that_is_copied_later_calls_the_callback_then(
    door: Door, client: Any, upstream: StandIn, settings: Settings, stored_files: list[StoredFile]
) -> None:
    """A file whose copy failed calls the callback when a download fetches it, and never a second time."""
    run, file_id = run_with_uncopied_file(door, client, upstream)
    assert stored_files == []
    assert door(client.files.content(file_id)).read() == CSV
    expected = [StoredFile(file_id, "/mnt/data/sales.csv", len(CSV), run.thread_id, run.id)]
    assert stored_files == expected
    other_machine = door.client(upstream, replace(settings, files=f"{settings.files}-of-another-machine"))
    assert door(other_machine.files.content(file_id)).read() == CSV
    assert stored_files == expected


def failing_callback(_file: StoredFile) -> None:
    """Raise an error, as a callback with a bug does."""
    message = "secret words"
    raise RuntimeError(message)


@pytest.mark.parametrize("act", [finish_run_with_turn, run_with_uncopied_file])
def test_an_exception_of_the_callback_is_logged(
    door: Door,
    upstream: StandIn,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    act: Callable[[Door, Any, StandIn], Any],
) -> None:
    """If the callback raises, the run completes with its file, and the log has the place but not the message."""
    client = door.client(upstream, replace(settings, on_file=failing_callback))
    result = act(door, client, upstream)
    run = result if act is finish_run_with_turn else result[0]
    assert retrieve_run(door, client, run).status == "completed"
    [message] = door.all(client.beta.threads.messages.list(run.thread_id, run_id=run.id))
    assert door(client.files.content(message.content[0].text.annotations[0].file_path.file_id)).read() == CSV
    assert "on_file failed for file-AC" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "in failing_callback" in caplog.text
    assert "secret words" not in caplog.text


def test_a_file_that_cannot_be_copied_does_not_call_the_callback(
    door: Door, client: Any, upstream: StandIn, stored_files: list[StoredFile]
) -> None:
    """A file that could not be copied does not call the callback."""
    upstream.fault(Fault(match=CONTENT_REQUEST, status=404, body={}, times=99))
    finish_run_with_turn(door, client, upstream, TURN)
    assert stored_files == []


def test_a_run_without_files_does_not_call_the_callback(
    door: Door, client: Any, upstream: StandIn, stored_files: list[StoredFile]
) -> None:
    """A run without files does not call the callback."""
    assert finish_run(door, client).status == "completed"
    assert stored_files == []
