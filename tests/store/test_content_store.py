"""The bytes of generated files are saved, read and deleted alike in a local directory and in object storage."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from assistants_compat import Settings, StoreError
from assistants_compat.engine.io import AsyncIO, BlockingIO, run
from assistants_compat.runtime.upstream_memory import UpstreamMemory
from assistants_compat.store.content import WORKER_CHUNK_SIZE
from assistants_compat.testing import StandIn, Turn
from kit.content_stores import ID, LONG, ContentLocation, byte_pieces, load_content
from kit.doors import KEY, Door
from kit.legacy_code import LINK, make_file

pytestmark = pytest.mark.timeout(600)  # the first test of azurite installs it

MB = 1024 * 1024
TURN = Turn(text=LINK, files={"sales.csv": LONG})


async def failing_source(data: bytes) -> AsyncIterator[bytes]:
    """Yield data and then raise, as a broken connection does."""
    async for piece in byte_pieces(data):
        yield piece
    raise ConnectionResetError


def test_saved_content_can_be_read_in_parts_and_deleted(io: Any, location: ContentLocation) -> None:
    """Saving returns size and SHA-256, any range can be read, and deleting twice is allowed."""
    assert run(io.content_size(ID)) is None
    assert run(io.save_content(ID, byte_pieces(LONG), "attachment")) == (len(LONG), hashlib.sha256(LONG).hexdigest())
    assert location.names() == [ID]
    assert run(io.content_size(ID)) == len(LONG)
    parts = [range(len(LONG)), range(1), range(7, 6 * MB), range(len(LONG) - 1, len(LONG)), range(5, 5)]
    for part in parts:
        assert load_content(io, part) == LONG[part.start : part.stop]
    run(io.delete_content(ID))
    run(io.delete_content(ID))
    assert run(io.content_size(ID)) is None
    assert location.names() == []


def test_content_is_saved_without_new_threads(sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, the digest is made in the same thread."""

    def refuse_to_start(_self: threading.Thread) -> None:
        message = "can't start new thread at interpreter shutdown"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)
    no_transport: Any = None
    io = BlockingIO(sqlite_settings, no_transport, UpstreamMemory())
    assert run(io.save_content(ID, byte_pieces(LONG), "attachment")) == (len(LONG), hashlib.sha256(LONG).hexdigest())


def test_an_empty_file_can_be_saved_and_read(io: Any) -> None:
    """An empty file can be saved and read."""
    assert run(io.save_content(ID, byte_pieces(b""), "attachment")) == (0, hashlib.sha256(b"").hexdigest())
    assert run(io.content_size(ID)) == 0
    assert load_content(io, range(0)) == b""


@pytest.mark.parametrize("length", [3, len(LONG)])
def test_a_source_that_fails_leaves_nothing(io: Any, location: ContentLocation, length: int) -> None:
    """A save whose source fails leaves no file and no upload part, and can be repeated."""
    with pytest.raises(ConnectionResetError):
        run(io.save_content(ID, failing_source(LONG[:length]), "attachment"))
    assert location.names() == []
    assert location.unfinished() == 0
    run(io.save_content(ID, byte_pieces(LONG), "attachment"))
    assert load_content(io, range(len(LONG))) == LONG


def test_a_cancelled_save_leaves_nothing(location_settings: Settings, location: ContentLocation) -> None:
    """A task that is cancelled during a save removes what it has written."""
    no_transport: Any = None
    has_begun = asyncio.Event()

    async def endless_source() -> AsyncIterator[bytes]:
        while True:
            yield LONG[:MB]
            has_begun.set()
            await asyncio.sleep(0.01)

    async def main() -> None:
        task = asyncio.ensure_future(
            AsyncIO(location_settings, no_transport, UpstreamMemory()).save_content(ID, endless_source(), "attachment")
        )
        await has_begun.wait()
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert location.names() == []
    assert location.unfinished() == 0


def test_a_second_save_replaces_the_file(io: Any, location: ContentLocation) -> None:
    """Saving again under the same id replaces the whole file."""
    run(io.save_content(ID, byte_pieces(b"one"), "attachment"))
    run(io.save_content(ID, byte_pieces(LONG), "attachment"))
    assert location.names() == [ID]
    assert load_content(io, range(len(LONG))) == LONG


def test_a_file_that_is_too_short_raises(io: Any) -> None:
    """Reading a file that is shorter than expected raises an error and is never a short download."""
    run(io.save_content(ID, byte_pieces(b"short"), "attachment"))
    with pytest.raises(StoreError):
        load_content(io, range(100))


def test_memory_does_not_grow_with_the_file(io: Any) -> None:
    """Saving and reading 80 MB needs no more memory than 40 MB."""

    async def source(count: int) -> AsyncIterator[bytes]:
        for number in range(count):
            yield bytes([number % 256]) * 65_536

    async def read(count: int) -> int:
        return sum([len(piece) async for piece in io.load_content(ID, range(count * 65_536))])

    peaks = []
    for count in (640, 1280):
        tracemalloc.start()
        run(io.save_content(ID, source(count), "attachment"))
        assert run(read(count)) == count * 65_536
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 32 * MB
    assert peaks[1] - peaks[0] < 2 * WORKER_CHUNK_SIZE  # the number of chunks in memory at once varies


# --- through a client


def test_a_client_saves_reads_and_deletes(
    door: Door, upstream: StandIn, location_settings: Settings, location: ContentLocation
) -> None:
    """A run's file is in the location when the run ends, downloads whole, in part and streamed, and can be deleted."""
    client = door.client(upstream, location_settings)
    file_id = make_file(door, client, upstream, TURN)
    assert location.names() == [file_id]
    assert door(client.files.content(file_id)).read() == LONG
    part = door(client.files.content(file_id, extra_headers={"Range": "bytes=6000000-6000010"}))
    assert (part.response.status_code, part.read()) == (206, LONG[6_000_000:6_000_011])
    assert streamed_download(door, client, file_id) == LONG
    door(client.files.delete(file_id))
    assert location.names() == []
    with pytest.raises(openai.NotFoundError):
        door(client.files.content(file_id))


def streamed_download(door: Door, client: Any, file_id: str) -> bytes:
    """Download with `with_streaming_response` and check that the content comes in pieces with its length."""

    def blocking() -> tuple[str, list[bytes]]:
        with client.files.with_streaming_response.content(file_id) as response:
            return response.headers["content-length"], list(response.iter_bytes())

    async def asynchronous() -> tuple[str, list[bytes]]:
        async with client.files.with_streaming_response.content(file_id) as response:
            return response.headers["content-length"], [piece async for piece in response.iter_bytes()]

    length, pieces = blocking() if door.kind == "sync" else door(asynchronous())
    assert len(pieces) > 10
    assert int(length) == sum(map(len, pieces))
    return b"".join(pieces)


def test_a_download_that_is_not_read_to_its_end_can_be_repeated(upstream: StandIn, location_settings: Settings) -> None:
    """Downloads that are not read to their end do not block later ones."""
    door = Door("sync")
    client = door.client(upstream, location_settings)
    file_id = make_file(door, client, upstream, TURN)
    for _ in range(5):
        with client.files.with_streaming_response.content(file_id) as response:
            assert next(response.iter_bytes(10)) == LONG[:10]
    assert client.files.content(file_id).read() == LONG
    door.close()


def test_a_new_client_downloads_without_the_upstream(
    door: Door, upstream: StandIn, location_settings: Settings, location: ContentLocation
) -> None:
    """A new client downloads a stored file without the upstream."""
    file_id = make_file(door, door.client(upstream, location_settings), upstream, TURN)
    location.restart()
    new_client = door.client(upstream, location_settings)
    upstream.close()
    assert door(new_client.files.content(file_id)).read() == LONG


PRELUDE = """
import sys
import openai
import assistants_compat
store, files, base_url, key, file_id = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files)
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0), settings)
"""


def run_in_another_process(settings: Settings, upstream: StandIn, file_id: str, script: str) -> bytes:
    """Run a script in another process, with `client` and `file_id`, and return its output."""
    arguments = [str(settings.store), str(settings.files), upstream.base_url, KEY, file_id]
    command = [sys.executable, "-W", "ignore", "-c", PRELUDE + script, *arguments]
    process = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout


def test_another_process_downloads(upstream: StandIn, location_settings: Settings) -> None:
    """Another process with the same settings and credentials downloads the file."""
    door = Door("sync")
    file_id = make_file(door, door.client(upstream, location_settings), upstream, TURN)
    script = "sys.stdout.buffer.write(client.files.content(file_id).read())"
    assert run_in_another_process(location_settings, upstream, file_id, script) == LONG
    door.close()


FORK = """
import os, signal
def child(work):
    process = os.fork()
    if process == 0:
        signal.alarm(20)  # ends a child that hangs; its exit code fails the test
        try:
            work()
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
def download():
    assert len(client.files.content(file_id).read()) == LENGTH
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_before_the_first_file_works(upstream: StandIn, location_settings: Settings) -> None:
    """Children that are forked before the first use of storage can download, in every location."""
    door = Door("sync")
    file_id = make_file(door, door.client(upstream, location_settings), upstream, TURN)
    script = FORK.replace("LENGTH", str(len(LONG))) + "print(child(download), child(download))\ndownload()"
    assert run_in_another_process(location_settings, upstream, file_id, script) == b"0 0\n"
    door.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_after_the_first_use_of_storage_gets_an_error(
    upstream: StandIn, storage_settings: Settings
) -> None:
    """A child forked after the first use gets an error that says what to do, where obstore would hang."""
    door = Door("sync")
    file_id = make_file(door, door.client(upstream, storage_settings), upstream, TURN)
    script = (
        FORK.replace("LENGTH", str(len(LONG)))
        + """
download()
response = client.files.with_streaming_response.content(file_id).__enter__()
begun = response.iter_bytes()
next(begun)
def expect_error(work):
    try:
        work()
    except Exception as error:
        while error is not None:
            if "was used before this process was forked" in str(error):
                return
            error = error.__cause__ or error.__context__
        raise
    raise AssertionError("it worked")
calls = [download, lambda: client.files.delete(file_id), lambda: list(begun)]
calls.append(lambda: assistants_compat.file_url(client, file_id))
print([child(lambda: expect_error(call)) for call in calls])
download()
"""
    )
    assert run_in_another_process(storage_settings, upstream, file_id, script) == b"[0, 0, 0, 0]\n"
    door.close()


def test_local_files_may_be_used_on_both_sides_of_a_fork(upstream: StandIn, sqlite_settings: Settings) -> None:
    """A child can download from the local directory after its parent did."""
    door = Door("sync")
    file_id = make_file(door, door.client(upstream, sqlite_settings), upstream, TURN)
    script = FORK.replace("LENGTH", str(len(LONG))) + "download()\nprint(child(download))\ndownload()"
    assert run_in_another_process(sqlite_settings, upstream, file_id, script) == b"0\n"
    door.close()
