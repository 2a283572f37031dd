"""The bytes of generated files by every road, in a local directory and in object storage."""

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
from assistants_compat.store.content import PIECE
from assistants_compat.testing import StandIn, Turn
from kit.content_stores import ID, LONG, Place, loaded, pieces
from kit.doors import KEY, Door
from kit.legacy_code import LINK, make_file

pytestmark = pytest.mark.timeout(600)  # the first test of azurite installs it

MB = 1024 * 1024
TURN = Turn(text=LINK, files={"sales.csv": LONG})


async def failing(data: bytes) -> AsyncIterator[bytes]:
    """Data whose end never comes."""
    async for piece in pieces(data):
        yield piece
    raise ConnectionResetError


def test_what_is_saved_can_be_read_in_whole_and_in_part_and_be_deleted(io: Any, place: Place) -> None:
    """Size and SHA-256 are those of the bytes, any part can be read, and deleting twice is allowed."""
    assert run(io.size(ID)) is None
    assert run(io.save(ID, pieces(LONG), "attachment")) == (len(LONG), hashlib.sha256(LONG).hexdigest())
    assert place.names() == [ID]
    assert run(io.size(ID)) == len(LONG)
    parts = [range(len(LONG)), range(1), range(7, 6 * MB), range(len(LONG) - 1, len(LONG)), range(5, 5)]
    for part in parts:
        assert loaded(io, part) == LONG[part.start : part.stop]
    run(io.forget(ID))
    run(io.forget(ID))
    assert run(io.size(ID)) is None
    assert place.names() == []


def test_a_program_that_can_have_no_thread_any_more_saves_all_the_same(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests are made beside the writing where that can be, and in the same thread where it cannot."""

    def refused(_self: threading.Thread) -> None:
        message = "can't start new thread at interpreter shutdown"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refused)
    nobody: Any = None
    io = BlockingIO(sqlite_settings, nobody, set())
    assert run(io.save(ID, pieces(LONG), "attachment")) == (len(LONG), hashlib.sha256(LONG).hexdigest())


def test_an_empty_file_is_a_file(io: Any) -> None:
    """Nothing can be saved, and read."""
    assert run(io.save(ID, pieces(b""), "attachment")) == (0, hashlib.sha256(b"").hexdigest())
    assert run(io.size(ID)) == 0
    assert loaded(io, range(0)) == b""


@pytest.mark.parametrize("length", [3, len(LONG)])
def test_a_source_that_fails_leaves_nothing(io: Any, place: Place, length: int) -> None:
    """An upload that cannot be finished is taken back, its parts too; the same file can be saved afterwards."""
    with pytest.raises(ConnectionResetError):
        run(io.save(ID, failing(LONG[:length]), "attachment"))
    assert place.names() == []
    assert place.unfinished() == 0
    run(io.save(ID, pieces(LONG), "attachment"))
    assert loaded(io, range(len(LONG))) == LONG


def test_a_cancelled_save_leaves_nothing(place_settings: Settings, place: Place) -> None:
    """A task that is cancelled in the middle of a file takes back what it has written."""
    nobody: Any = None
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield LONG[:MB]
            begun.set()
            await asyncio.sleep(0.01)

    async def main() -> None:
        task = asyncio.ensure_future(AsyncIO(place_settings, nobody, set()).save(ID, endless(), "attachment"))
        await begun.wait()
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert place.names() == []
    assert place.unfinished() == 0


def test_a_second_copy_takes_the_place_of_the_first(io: Any, place: Place) -> None:
    """Saving again under the same id replaces the file at once and in whole."""
    run(io.save(ID, pieces(b"one"), "attachment"))
    run(io.save(ID, pieces(LONG), "attachment"))
    assert place.names() == [ID]
    assert loaded(io, range(len(LONG))) == LONG


def test_bytes_that_are_missing_are_said(io: Any) -> None:
    """A file that is shorter than it was is an error, never a short download."""
    run(io.save(ID, pieces(b"short"), "attachment"))
    with pytest.raises(StoreError):
        loaded(io, range(100))


def test_memory_does_not_grow_with_the_file(io: Any) -> None:
    """80 MB take no more memory than 40 MB: a few pieces, and the parts of an upload that are on their way."""

    async def made(count: int) -> AsyncIterator[bytes]:
        for number in range(count):
            yield bytes([number % 256]) * 65_536

    async def read(count: int) -> int:
        return sum([len(piece) async for piece in io.load(ID, range(count * 65_536))])

    peaks = []
    for count in (640, 1280):
        tracemalloc.start()
        run(io.save(ID, made(count), "attachment"))
        assert run(read(count)) == count * 65_536
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 32 * MB
    assert peaks[1] - peaks[0] < 2 * PIECE  # how many of them are there at once differs from time to time


# --- through a client


def test_a_client_saves_reads_and_deletes(
    door: Door, upstream: StandIn, place_settings: Settings, place: Place
) -> None:
    """A run's file is in the place when the run has ended; whole, in part, streamed; gone when it is deleted."""
    client = door.client(upstream, place_settings)
    made = make_file(door, client, upstream, TURN)
    assert place.names() == [made]
    assert door(client.files.content(made)).read() == LONG
    part = door(client.files.content(made, extra_headers={"Range": "bytes=6000000-6000010"}))
    assert (part.response.status_code, part.read()) == (206, LONG[6_000_000:6_000_011])
    assert streamed(door, client, made) == LONG
    door(client.files.delete(made))
    assert place.names() == []
    with pytest.raises(openai.NotFoundError):
        door(client.files.content(made))


def streamed(door: Door, client: Any, file_id: str) -> bytes:
    """A file by `with_streaming_response`, which must come in pieces and announce its length."""

    def blocking() -> tuple[str, list[bytes]]:
        with client.files.with_streaming_response.content(file_id) as response:
            return response.headers["content-length"], list(response.iter_bytes())

    async def suspending() -> tuple[str, list[bytes]]:
        async with client.files.with_streaming_response.content(file_id) as response:
            return response.headers["content-length"], [piece async for piece in response.iter_bytes()]

    length, got = blocking() if door.kind == "sync" else door(suspending())
    assert len(got) > 10
    assert int(length) == sum(map(len, got))
    return b"".join(got)


def test_a_download_that_is_left_can_be_made_again(upstream: StandIn, place_settings: Settings) -> None:
    """A stream of which only the beginning is read holds nothing up."""
    door = Door("sync")
    client = door.client(upstream, place_settings)
    made = make_file(door, client, upstream, TURN)
    for _ in range(5):
        with client.files.with_streaming_response.content(made) as response:
            assert next(response.iter_bytes(10)) == LONG[:10]
    assert client.files.content(made).read() == LONG
    door.close()


def test_files_are_there_after_a_restart(door: Door, upstream: StandIn, place_settings: Settings, place: Place) -> None:
    """A new client that knows nothing of the first downloads the file, without the upstream."""
    made = make_file(door, door.client(upstream, place_settings), upstream, TURN)
    place.restart()
    later = door.client(upstream, place_settings)
    upstream.close()
    assert door(later.files.content(made)).read() == LONG


ELSEWHERE = """
import sys
import openai
import assistants_compat
store, files, base_url, key, file_id = sys.argv[1:]
settings = assistants_compat.Settings(store=store, files=files)
client = assistants_compat.wrap(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0), settings)
"""


def elsewhere(settings: Settings, upstream: StandIn, file_id: str, script: str) -> bytes:
    """What a script prints in another process, with `client`, `file_id` and `upstream`."""
    arguments = [str(settings.store), str(settings.files), upstream.base_url, KEY, file_id]
    command = [sys.executable, "-W", "ignore", "-c", ELSEWHERE + script, *arguments]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_another_process_downloads(upstream: StandIn, place_settings: Settings) -> None:
    """A process that has the same settings and credentials reads what this one has saved."""
    door = Door("sync")
    made = make_file(door, door.client(upstream, place_settings), upstream, TURN)
    script = "sys.stdout.buffer.write(client.files.content(file_id).read())"
    assert elsewhere(place_settings, upstream, made, script) == LONG
    door.close()


FORK = """
import os, signal
def child(work):
    process = os.fork()
    if process == 0:
        signal.alarm(20)  # what hangs is ended, and seen below
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
def test_a_child_forked_before_the_first_file_works(upstream: StandIn, place_settings: Settings) -> None:
    """A preforking server that wraps its client first and uses it in its children is served in every place."""
    door = Door("sync")
    made = make_file(door, door.client(upstream, place_settings), upstream, TURN)
    script = FORK.replace("LENGTH", str(len(LONG))) + "print(child(download), child(download))\ndownload()"
    assert elsewhere(place_settings, upstream, made, script) == b"0 0\n"
    door.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_of_a_process_that_has_used_storage_is_told_so(upstream: StandIn, storage_settings: Settings) -> None:
    """Where obstore would hang for ever, each road is an error that says what to do, and the parent goes on."""
    door = Door("sync")
    made = make_file(door, door.client(upstream, storage_settings), upstream, TURN)
    script = (
        FORK.replace("LENGTH", str(len(LONG)))
        + """
download()
response = client.files.with_streaming_response.content(file_id).__enter__()
begun = response.iter_bytes()
next(begun)
def told(work):
    try:
        work()
    except Exception as error:
        while error is not None:
            if "was used before this process was forked" in str(error):
                return
            error = error.__cause__ or error.__context__
        raise
    raise AssertionError("it worked")
roads = [download, lambda: client.files.delete(file_id), lambda: list(begun)]
roads.append(lambda: assistants_compat.file_url(client, file_id))
print([child(lambda: told(road)) for road in roads])
download()
"""
    )
    assert elsewhere(storage_settings, upstream, made, script) == b"[0, 0, 0, 0]\n"
    door.close()


def test_local_files_may_be_used_on_both_sides_of_a_fork(upstream: StandIn, sqlite_settings: Settings) -> None:
    """A child downloads from the local directory after its parent did."""
    door = Door("sync")
    made = make_file(door, door.client(upstream, sqlite_settings), upstream, TURN)
    script = FORK.replace("LENGTH", str(len(LONG))) + "download()\nprint(child(download))\ndownload()"
    assert elsewhere(sqlite_settings, upstream, made, script) == b"0\n"
    door.close()
