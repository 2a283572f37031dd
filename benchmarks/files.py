"""How fast big files are, and in how little memory: `python benchmarks/files.py [--size 512] [--rounds 4]`.

Side by side in one process, round by round, so that a busy machine slows both, each in turn first, and on a disk that
has written all that came before. Four roads, by a synchronous and an asynchronous client, over a local directory, an S3
server (moto) and Azure's own (azurite), all on loopback:

- save: a run ends and its file is copied out of the container. The plain copy gets the same bytes from the same server
  by the same HTTP library and puts them where the library would, unchecked: into a file that is synced, or through the
  storage's own client (obstore), in the same parts;
- read: `files.with_streaming_response.content(id)` into a file. The plain copy gets a signed link from the same storage
  in the same way; for the local directory, a `python -m http.server` over it;
- download: `download_files(client, run)`. The plain copy is that of read, into a file that is synced;
- restore: a run whose container has died, and for which the copy is put into a new one. The plain copy is the same
  upload from a local file, so here only the memory is judged.

Printed are the medians, that of the rounds' ratios, and how much the process's peak memory grew. Exit code 1 when the
library has less than 80 % of the plain copy's speed on another road, or grows by 64 MB on any. The servers are
processes of their own. Needs Linux and the packages of the test group; without npm Azure is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import openai

import assistants_compat
from assistants_compat import Settings
from assistants_compat.engine.io import IO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from kit.doors import Door
from kit.object_servers import NotThereError, azure_server, free_port, running, s3_server

try:
    import httpx2 as http
except ImportError:
    import httpx as http  # type: ignore[no-redef]  # the library of older SDKs

SPEED = 0.8
GROWTH_MB = 64
_TIMES = 4  # for a round's reads and downloads, which are short
_LATER = 20 * 60  # seconds after which a container is dead
MB = 1024 * 1024

UPSTREAM = """
import sys
from assistants_compat.testing import StandIn, Turn
link = "Done: [it](sandbox:/mnt/data/big.bin)"
big = bytes(range(256)) * (int(sys.argv[1]) * 4096)
with StandIn() as upstream:
    upstream.script(*[Turn(text=link, files={"big.bin": big}, polls=0)] * int(sys.argv[2]))
    print(upstream.base_url, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def upstream(size: int, turns: int) -> Iterator[str]:
    """The base URL of a stand-in, in a process of its own, each of whose turns makes a file of `size` MB."""
    command = [sys.executable, "-c", UPSTREAM, str(size), str(turns)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        yield process.stdout.readline().strip()
        process.stdin.close()


def grown(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What some work gave, its seconds, and by how many MB the process's peak memory was above what it had before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun, _status("VmHWM") - before


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


@dataclass
class Bench:
    """One kind of client over one place."""

    place: str
    asynchronous: bool
    base_url: str
    folder: Path
    files: str
    served: str | None = None  # where the local directory is served
    times: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the client, and an event loop for the asynchronous one."""
        self.loop = asyncio.new_event_loop()
        self.wait = Door("async" if self.asynchronous else "sync", self.loop)
        kind: Any = openai.AsyncOpenAI if self.asynchronous else openai.OpenAI
        settings = Settings(store=str(self.folder / "store.db"), files=self.files, poll_after_ms=1)
        self.client: Any = assistants_compat.wrap(kind(base_url=self.base_url, api_key="k", timeout=600), settings)
        self.plain: Any = http.Client(timeout=600)
        self.key = {"Authorization": "Bearer k"}
        (self.folder / "downloads").mkdir(exist_ok=True)

    # --- save

    def asked(self) -> Any:
        """A run whose file lies in a container."""
        beta = self.client.beta
        assistant = self.wait(beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}]))
        thread = self.wait(beta.threads.create(messages=[{"role": "user", "content": "Make it."}]))
        return self.wait(beta.threads.runs.create(thread.id, assistant_id=assistant.id))

    def save(self, run: Any) -> tuple[str, float, float]:
        """The last look at it, which copies the file: the file's id, seconds and MB."""
        beta = self.client.beta
        self._cleared()
        ended, seconds, memory = grown(lambda: self.wait(beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)))
        if ended.status != "completed":
            raise AssertionError(ended)
        page = self.wait(beta.threads.messages.list(run.thread_id))
        return page.data[0].content[0].text.annotations[0].file_path.file_id, seconds, memory

    def source(self) -> str:
        """The URL of the file in the newest container."""
        [container] = self.plain.get(f"{self.base_url}/containers?limit=1&order=desc", headers=self.key).json()["data"]
        [file] = self.plain.get(f"{self.base_url}/containers/{container['id']}/files", headers=self.key).json()["data"]
        return f"{self.base_url}/containers/{container['id']}/files/{file['id']}/content"

    def save_plainly(self) -> float:
        """The same bytes, from the same server to the same place, by the HTTP library alone; seconds."""
        source = self.source()
        self._cleared()
        begun = time.perf_counter()
        if self.asynchronous:
            self.loop.run_until_complete(self._save_plainly_async(source))
        else:
            with self.plain.stream("GET", source, headers=self.key) as got:
                if self.place == "local":
                    self._written(got.iter_bytes(), sync=True)
                else:
                    _obstore().put(self.opened(), "plain", got.iter_bytes(), **_PARTS)
        return time.perf_counter() - begun

    async def _save_plainly_async(self, source: str) -> None:
        client: Any = http.AsyncClient(timeout=600)
        async with client, client.stream("GET", source, headers=self.key) as got:
            if self.place == "local":
                await self._written_async(got.aiter_bytes(), sync=True)
            else:
                await _obstore().put_async(self.opened(), "plain", got.aiter_bytes(), **_PARTS)

    def opened(self) -> Any:
        """The storage's own client."""
        from assistants_compat.store import object_storage  # noqa: PLC0415 - not needed for the local directory

        return object_storage._opened(self.files)  # noqa: SLF001 - the same connections for both sides

    def signed(self, name: str) -> str:
        """A link that the storage has signed."""
        return str(_obstore().sign(self.opened(), "GET", name, timedelta(hours=1)))

    # --- read

    def read(self, file_id: str) -> int:
        """Download through the client, into a file; its size."""
        if self.asynchronous:
            return int(self.loop.run_until_complete(self._read_async(file_id)))
        with self.client.files.with_streaming_response.content(file_id) as response:
            return self._written(response.iter_bytes())

    async def _read_async(self, file_id: str) -> int:
        async with self.client.files.with_streaming_response.content(file_id) as response:
            return await self._written_async(response.iter_bytes())

    def read_plainly(self, file_id: str, *, sync: bool = False) -> int:
        """Download from the same storage by the HTTP library alone."""
        url = f"{self.served}/{file_id}" if self.place == "local" else self.signed(file_id)
        if self.asynchronous:
            return int(self.loop.run_until_complete(self._plainly_async(url, sync=sync)))
        with self.plain.stream("GET", url) as got:
            return self._written(got.iter_bytes(), sync=sync)

    async def _plainly_async(self, url: str, *, sync: bool) -> int:
        async with http.AsyncClient(timeout=600) as client, client.stream("GET", url) as got:
            return await self._written_async(got.aiter_bytes(), sync=sync)

    def _written(self, pieces: Iterator[bytes], *, sync: bool = False) -> int:
        with self._target(sync=sync).open("wb") as target:
            size = sum(target.write(piece) for piece in pieces)
            if sync:
                os.fsync(target.fileno())
        return size

    async def _written_async(self, pieces: AsyncIterator[bytes], *, sync: bool = False) -> int:
        with self._target(sync=sync).open("wb") as target:
            size = sum([target.write(piece) async for piece in pieces])
            if sync:
                os.fsync(target.fileno())
        return size

    def _target(self, *, sync: bool) -> Path:
        """A new file where the library makes one, too: the system hands the memory of an old one to its successor."""
        return self.folder / ("downloads/plain.bin" if sync else "copy.bin")

    def _cleared(self) -> None:
        """Remove what was downloaded; nobody's time."""
        for path in (self.folder / "downloads").iterdir():
            path.unlink()
        os.sync()

    # --- download

    def download(self, run: Any) -> int:
        """`download_files` into a directory; the size of what is there."""
        [path] = self.wait(assistants_compat.download_files(self.client, run, self.folder / "downloads"))
        return int(path.stat().st_size)

    # --- restore

    def restore(self, run: Any) -> int:
        """A run twenty minutes later, for which the file is put into a new container; the size that lies there."""
        with mock.patch.object(IO, "now", return_value=int(time.time()) + _LATER):
            self.wait(self.client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
        name = {"name": run.thread_id}  # only a container that the library has made has that
        [container] = self.plain.get(f"{self.base_url}/containers", params=name, headers=self.key).json()["data"]
        files = self.plain.get(f"{self.base_url}/containers/{container['id']}/files", headers=self.key).json()["data"]
        return sum(file["bytes"] for file in files if file["source"] == "user")  # the run makes its own besides

    def restore_plainly(self) -> int:
        """The same upload by the HTTP library alone, from the file that was read last; the size that lies there."""
        made = self.plain.post(f"{self.base_url}/containers", json={"name": "plain"}, headers=self.key).json()
        url = f"{self.base_url}/containers/{made['id']}"
        with (self.folder / "copy.bin").open("rb") as handle:
            if self.asynchronous:
                answer = self.loop.run_until_complete(self._uploaded_async(f"{url}/files", handle))
            else:
                answer = self.plain.post(f"{url}/files", files={"file": handle}, headers=self.key)
        self.plain.delete(url, headers=self.key)
        return int(answer.json()["bytes"])

    async def _uploaded_async(self, url: str, handle: Any) -> Any:
        async with http.AsyncClient(timeout=600) as client:
            return await client.post(url, files={"file": handle}, headers=self.key)

    # --- all of it

    def a_round(self, size: int, *, plain_first: bool) -> None:
        """Each road once, by the plain copy and by the library."""
        run = self.asked()
        plain = self.save_plainly() if plain_first else None
        made, seconds, memory = self.save(run)
        self._note("save", plain or self.save_plainly(), seconds, memory)
        for road, times, plainly, work in (
            ("read", _TIMES, lambda: self.read_plainly(made), lambda: self.read(made)),
            ("download", _TIMES, lambda: self.read_plainly(made, sync=True), lambda: self.download(run)),
            ("restore", 1, self.restore_plainly, lambda: self.restore(run)),
        ):
            for number in range(times):
                is_first = plain_first != bool(number % 2)
                plain = self._timed(plainly, size)[0] if is_first else None
                seconds, memory = self._timed(work, size)
                self._note(road, plain or self._timed(plainly, size)[0], seconds, memory)
        self.wait(self.client.beta.threads.delete(run.thread_id))
        self.wait(self.client.files.delete(made))

    def _timed(self, work: Callable[[], int], size: int) -> tuple[float, float]:
        self._cleared()
        _, seconds, memory = grown(lambda: self._checked(work(), size))
        return seconds, memory

    @staticmethod
    def _checked(got: int, size: int) -> None:
        if got != size * MB:
            raise AssertionError(got)

    def _note(self, road: str, plain: float, seconds: float, memory: float) -> None:
        self.times.setdefault(road, []).append((plain, seconds, memory))

    def judged(self, size: int) -> bool:
        """Print the medians; whether they are within the limits."""
        ok = True
        for road, rows in self.times.items():
            plain, seconds = (statistics.median(row[column] for row in rows) for column in (0, 1))
            speed = statistics.median(row[0] / row[1] for row in rows)  # of two that ran one after the other
            memory = max(row[2] for row in rows)
            ok = ok and (road == "restore" or speed >= SPEED) and memory < GROWTH_MB
            kind = "async" if self.asynchronous else "sync"
            print(
                f"{self.place:5} {kind:5} {road:8}  plain {size / plain:6.0f} MB/s  library {size / seconds:6.0f} MB/s"
                f"  {speed:5.0%}  memory +{memory:.0f} MB"
            )
        return ok


_PARTS = {"chunk_size": 5 * MB, "max_concurrency": 2}  # as the library uploads


def _obstore() -> Any:
    import obstore  # noqa: PLC0415 - not needed for the local directory

    return obstore


def measured(place: str, options: argparse.Namespace) -> bool:
    """Both clients over one place, or a word about why it is left out."""
    try:
        with contextlib.ExitStack() as stack:
            return _measured(stack, place, options)
    except NotThereError as reason:
        print(f"{place:5} left out: {reason}")
        return True


def _measured(stack: contextlib.ExitStack, place: str, options: argparse.Namespace) -> bool:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
    base_url = stack.enter_context(upstream(options.size, 4 * options.rounds))
    files, served = str(folder / "files"), None
    if place == "local":
        (folder / "files").mkdir(mode=0o700)
        port = free_port()
        command = [sys.executable, "-m", "http.server", "-b", "127.0.0.1", "-d", files, str(port)]
        stack.enter_context(running(command, folder / "http.log", port))
        served = f"http://127.0.0.1:{port}"
    else:
        entered = s3_server(folder) if place == "s3" else azure_server(folder, Path(options.azurite))
        server = stack.enter_context(entered)
        os.environ.update(server.variables)
        files = f"{server.make_bucket('bucket')}/prefix"
    ok = True
    for asynchronous in (False, True):
        bench = Bench(place, asynchronous, base_url, folder, files, served)
        for number in range(options.rounds):
            bench.a_round(options.size, plain_first=bool(number % 2))
        ok = bench.judged(options.size) and ok
    return ok


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=512, help="MB")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--places", nargs="+", default=["local", "s3", "az"], choices=["local", "s3", "az"])
    parser.add_argument("--folder", help="where the files lie meanwhile; some 3 times their size")
    parser.add_argument("--azurite", default=".pytest_cache/d/azurite", help="where azurite is or will be installed")
    options = parser.parse_args()
    print(f"openai {openai.__version__}, Python {sys.version.split()[0]}, {options.size} MB, {options.rounds} rounds")
    verdicts = [measured(place, options) for place in options.places]  # all of them, also after a bad one
    ok = all(verdicts)
    print("within the limits" if ok else "MORE THAN THE PROJECT ALLOWS ITSELF")
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
