"""Measures the speed and memory of large files: `python benchmarks/files.py [--size 512] [--rounds 4]`.

The library and a plain copy run alternately in one process, each in turn first, so that a busy machine or a slow disk
affects both alike. Four operations are measured, by a synchronous and an asynchronous client, over a local directory,
an S3 server (moto) and Azure's own server (azurite), all on loopback:

- save: a run ends and its file is copied out of the container. The plain copy gets the same bytes from the same server
  with the same HTTP library, without checks, and writes them to the same storage: into a file that is synced, or
  through the storage's own client (obstore) in parts of the same size;
- read: `files.with_streaming_response.content(id)` into a file. The plain copy follows a signed link of the same
  storage; for the local directory, `python -m http.server` serves it;
- download: `download_files(client, run)`. The plain copy is that of read, into a file that is synced;
- restore: a run whose container has expired, so that the file is uploaded into a new one. The plain copy is the same
  upload from a local file, so here only the memory is judged.

It prints the medians, the median of the ratios, and how much the process's peak memory grew. The exit code is 1 if the
library has less than 80 % of the plain copy's speed in save, read or download, or grows by 64 MB in any operation. The
servers are processes of their own. Needs Linux and the packages of the test group; without npm Azure is left out.
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
from kit.object_servers import ServerUnavailableError, azure_server, free_port, run_server, s3_server

try:
    import httpx2 as http
except ImportError:
    import httpx as http  # type: ignore[no-redef]  # the library of older SDKs

SPEED = 0.8
GROWTH_MB = 64
_SHORT_REPEATS = 4  # repetitions of reads and downloads in a round, because they are short
_CONTAINER_EXPIRY = 20 * 60  # seconds after which a container has expired
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
    """Yield the base URL of a stand-in in its own process, whose every turn generates a file of `size` MB."""
    command = [sys.executable, "-c", UPSTREAM, str(size), str(turns)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        yield process.stdout.readline().strip()
        process.stdin.close()


def measure(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of a function, its seconds, and by how many MB the process's peak memory grew."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started, _status("VmHWM") - before


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


@dataclass
class Bench:
    """One kind of client over one storage."""

    storage: str
    asynchronous: bool
    base_url: str
    folder: Path
    files: str
    served: str | None = None  # where the local directory is served
    times: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Create the client, and an event loop for the asynchronous one."""
        self.loop = asyncio.new_event_loop()
        self.wait = Door("async" if self.asynchronous else "sync", self.loop)
        kind: Any = openai.AsyncOpenAI if self.asynchronous else openai.OpenAI
        settings = Settings(store=str(self.folder / "store.db"), files=self.files, poll_after_ms=1)
        self.client: Any = assistants_compat.wrap(kind(base_url=self.base_url, api_key="k", timeout=600), settings)
        self.plain: Any = http.Client(timeout=600)
        self.key = {"Authorization": "Bearer k"}
        (self.folder / "downloads").mkdir(exist_ok=True)

    # --- save

    def start_run(self) -> Any:
        """Start a run whose file is in a container."""
        beta = self.client.beta
        assistant = self.wait(beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}]))
        thread = self.wait(beta.threads.create(messages=[{"role": "user", "content": "Make it."}]))
        return self.wait(beta.threads.runs.create(thread.id, assistant_id=assistant.id))

    def save(self, run: Any) -> tuple[str, float, float]:
        """Poll the run to its end, which copies the file; return the file's id, seconds and MB."""
        beta = self.client.beta
        self._clear_downloads()
        ended, seconds, memory = measure(lambda: self.wait(beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)))
        if ended.status != "completed":
            raise AssertionError(ended)
        page = self.wait(beta.threads.messages.list(run.thread_id))
        return page.data[0].content[0].text.annotations[0].file_path.file_id, seconds, memory

    def source_url(self) -> str:
        """Return the URL of the file in the newest container."""
        [container] = self.plain.get(f"{self.base_url}/containers?limit=1&order=desc", headers=self.key).json()["data"]
        [file] = self.plain.get(f"{self.base_url}/containers/{container['id']}/files", headers=self.key).json()["data"]
        return f"{self.base_url}/containers/{container['id']}/files/{file['id']}/content"

    def save_plainly(self) -> float:
        """Copy the same bytes to the same storage with the HTTP library alone; return the seconds."""
        source_url = self.source_url()
        self._clear_downloads()
        started = time.perf_counter()
        if self.asynchronous:
            self.loop.run_until_complete(self._save_plainly_async(source_url))
        else:
            with self.plain.stream("GET", source_url, headers=self.key) as got:
                if self.storage == "local":
                    self._write(got.iter_bytes(), sync=True)
                else:
                    _obstore().put(self.bucket(), "plain", got.iter_bytes(), **_PARTS)
        return time.perf_counter() - started

    async def _save_plainly_async(self, source_url: str) -> None:
        client: Any = http.AsyncClient(timeout=600)
        async with client, client.stream("GET", source_url, headers=self.key) as got:
            if self.storage == "local":
                await self._write_async(got.aiter_bytes(), sync=True)
            else:
                await _obstore().put_async(self.bucket(), "plain", got.aiter_bytes(), **_PARTS)

    def bucket(self) -> Any:
        """Return the storage's own client."""
        from assistants_compat.store import object_storage  # noqa: PLC0415 - not needed for the local directory

        return object_storage._open_bucket(self.files)  # noqa: SLF001 - the same connections for both sides

    def signed_link(self, name: str) -> str:
        """Return a link that the storage has signed."""
        return str(_obstore().sign(self.bucket(), "GET", name, timedelta(hours=1)))

    # --- read

    def read(self, file_id: str) -> int:
        """Download through the client into a file; return the size."""
        if self.asynchronous:
            return int(self.loop.run_until_complete(self._read_async(file_id)))
        with self.client.files.with_streaming_response.content(file_id) as response:
            return self._write(response.iter_bytes())

    async def _read_async(self, file_id: str) -> int:
        async with self.client.files.with_streaming_response.content(file_id) as response:
            return await self._write_async(response.iter_bytes())

    def read_plainly(self, file_id: str, *, sync: bool = False) -> int:
        """Download from the same storage with the HTTP library alone."""
        url = f"{self.served}/{file_id}" if self.storage == "local" else self.signed_link(file_id)
        if self.asynchronous:
            return int(self.loop.run_until_complete(self._read_plainly_async(url, sync=sync)))
        with self.plain.stream("GET", url) as got:
            return self._write(got.iter_bytes(), sync=sync)

    async def _read_plainly_async(self, url: str, *, sync: bool) -> int:
        async with http.AsyncClient(timeout=600) as client, client.stream("GET", url) as got:
            return await self._write_async(got.aiter_bytes(), sync=sync)

    def _write(self, pieces: Iterator[bytes], *, sync: bool = False) -> int:
        with self._target(sync=sync).open("wb") as target:
            size = sum(target.write(piece) for piece in pieces)
            if sync:
                os.fsync(target.fileno())
        return size

    async def _write_async(self, pieces: AsyncIterator[bytes], *, sync: bool = False) -> int:
        with self._target(sync=sync).open("wb") as target:
            size = sum([target.write(piece) async for piece in pieces])
            if sync:
                os.fsync(target.fileno())
        return size

    def _target(self, *, sync: bool) -> Path:
        """Return a file that is new whenever the library's is: the system would reuse the memory of an old one."""
        return self.folder / ("downloads/plain.bin" if sync else "copy.bin")

    def _clear_downloads(self) -> None:
        """Remove downloaded files, outside of any measured time."""
        for path in (self.folder / "downloads").iterdir():
            path.unlink()
        os.sync()

    # --- download

    def download(self, run: Any) -> int:
        """Run `download_files` into a directory; return the size of the file."""
        [path] = self.wait(assistants_compat.download_files(self.client, run, self.folder / "downloads"))
        return int(path.stat().st_size)

    # --- restore

    def restore(self, run: Any) -> int:
        """Start a run twenty minutes later, which uploads the file into a new container; return the size there."""
        with mock.patch.object(IO, "now", return_value=int(time.time()) + _CONTAINER_EXPIRY):
            self.wait(self.client.beta.threads.runs.create(run.thread_id, assistant_id=run.assistant_id))
        name = {"name": run.thread_id}  # only containers that the library created have this name
        [container] = self.plain.get(f"{self.base_url}/containers", params=name, headers=self.key).json()["data"]
        files = self.plain.get(f"{self.base_url}/containers/{container['id']}/files", headers=self.key).json()["data"]
        return sum(file["bytes"] for file in files if file["source"] == "user")  # the run generates one of its own too

    def restore_plainly(self) -> int:
        """Upload the file that was read last with the HTTP library alone; return the size in the container."""
        container = self.plain.post(f"{self.base_url}/containers", json={"name": "plain"}, headers=self.key).json()
        url = f"{self.base_url}/containers/{container['id']}"
        with (self.folder / "copy.bin").open("rb") as handle:
            if self.asynchronous:
                answer = self.loop.run_until_complete(self._upload_async(f"{url}/files", handle))
            else:
                answer = self.plain.post(f"{url}/files", files={"file": handle}, headers=self.key)
        self.plain.delete(url, headers=self.key)
        return int(answer.json()["bytes"])

    async def _upload_async(self, url: str, handle: Any) -> Any:
        async with http.AsyncClient(timeout=600) as client:
            return await client.post(url, files={"file": handle}, headers=self.key)

    # --- a round

    def run_round(self, size: int, *, plain_first: bool) -> None:
        """Run each operation once with the plain copy and once with the library."""
        run = self.start_run()
        plain = self.save_plainly() if plain_first else None
        file_id, seconds, memory = self.save(run)
        self._add_times("save", plain or self.save_plainly(), seconds, memory)
        for operation, times, plain_work, work in (
            ("read", _SHORT_REPEATS, lambda: self.read_plainly(file_id), lambda: self.read(file_id)),
            ("download", _SHORT_REPEATS, lambda: self.read_plainly(file_id, sync=True), lambda: self.download(run)),
            ("restore", 1, self.restore_plainly, lambda: self.restore(run)),
        ):
            for number in range(times):
                is_first = plain_first != bool(number % 2)
                plain = self._measure_checked(plain_work, size)[0] if is_first else None
                seconds, memory = self._measure_checked(work, size)
                self._add_times(operation, plain or self._measure_checked(plain_work, size)[0], seconds, memory)
        self.wait(self.client.beta.threads.delete(run.thread_id))
        self.wait(self.client.files.delete(file_id))

    def _measure_checked(self, work: Callable[[], int], size: int) -> tuple[float, float]:
        self._clear_downloads()
        _, seconds, memory = measure(lambda: self._check_size(work(), size))
        return seconds, memory

    @staticmethod
    def _check_size(got: int, size: int) -> None:
        if got != size * MB:
            raise AssertionError(got)

    def _add_times(self, operation: str, plain: float, seconds: float, memory: float) -> None:
        self.times.setdefault(operation, []).append((plain, seconds, memory))

    def judge(self, size: int) -> bool:
        """Print the medians; return whether they are within the limits."""
        ok = True
        for operation, rows in self.times.items():
            plain, seconds = (statistics.median(row[column] for row in rows) for column in (0, 1))
            speed = statistics.median(row[0] / row[1] for row in rows)  # ratio of two that ran one after the other
            memory = max(row[2] for row in rows)
            ok = ok and (operation == "restore" or speed >= SPEED) and memory < GROWTH_MB
            kind = "async" if self.asynchronous else "sync"
            print(
                f"{self.storage:5} {kind:5} {operation:8}  plain {size / plain:6.0f} MB/s"
                f"  library {size / seconds:6.0f} MB/s  {speed:5.0%}  memory +{memory:.0f} MB"
            )
        return ok


_PARTS = {"chunk_size": 5 * MB, "max_concurrency": 2}  # as the library uploads


def _obstore() -> Any:
    import obstore  # noqa: PLC0415 - not needed for the local directory

    return obstore


def measure_storage(storage: str, options: argparse.Namespace) -> bool:
    """Measure both clients over one storage, or print why it is left out."""
    try:
        with contextlib.ExitStack() as stack:
            return _measure_storage(stack, storage, options)
    except ServerUnavailableError as reason:
        print(f"{storage:5} left out: {reason}")
        return True


def _measure_storage(stack: contextlib.ExitStack, storage: str, options: argparse.Namespace) -> bool:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
    base_url = stack.enter_context(upstream(options.size, 4 * options.rounds))
    files, served = str(folder / "files"), None
    if storage == "local":
        (folder / "files").mkdir(mode=0o700)
        port = free_port()
        command = [sys.executable, "-m", "http.server", "-b", "127.0.0.1", "-d", files, str(port)]
        stack.enter_context(run_server(command, folder / "http.log", port))
        served = f"http://127.0.0.1:{port}"
    else:
        object_server = s3_server(folder) if storage == "s3" else azure_server(folder, Path(options.azurite))
        server = stack.enter_context(object_server)
        os.environ.update(server.variables)
        files = f"{server.make_bucket('bucket')}/prefix"
    ok = True
    for asynchronous in (False, True):
        bench = Bench(storage, asynchronous, base_url, folder, files, served)
        for number in range(options.rounds):
            bench.run_round(options.size, plain_first=bool(number % 2))
        ok = bench.judge(options.size) and ok
    return ok


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=512, help="MB")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--places", nargs="+", default=["local", "s3", "az"], choices=["local", "s3", "az"])
    parser.add_argument("--folder", help="folder for the files; needs about 3 times their size")
    parser.add_argument("--azurite", default=".pytest_cache/d/azurite", help="where azurite is or will be installed")
    options = parser.parse_args()
    print(f"openai {openai.__version__}, Python {sys.version.split()[0]}, {options.size} MB, {options.rounds} rounds")
    verdicts = [
        measure_storage(storage, options) for storage in options.places
    ]  # measure all of them, even after a failure
    ok = all(verdicts)
    print("within the limits" if ok else "MORE THAN THE PROJECT ALLOWS ITSELF")
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
