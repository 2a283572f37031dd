"""Measures what the library adds to a stream: `python benchmarks/streams.py [--events 2000] [--rounds 30]`.

The floor and the library run alternately in one process, so that a busy machine slows both:

- the floor: the same SDK call (`runs.create(stream=True)`) answered from memory by a stub in `client._client.send`,
  plus the bytes of one upstream stream, read raw through the same HTTP library;
- the library: a wrapped client whose upstream is those bytes, from memory too, one event a chunk.

It prints medians: the time to the first text delta, the time for each event, and what the library adds. Then it prints
the memory of a long stream: what is held after its last delta, beyond the text itself, and the peaks beside the
floor's. The exit code is 1 if the library adds more than the limits. The limits were set on a machine where the floor
took 75 µs an event, and grow with the floor of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

import assistants_compat
from assistants_compat import Settings

try:
    import httpx2 as http
except ImportError:
    import httpx as http  # type: ignore[no-redef]  # the library of older SDKs

FIRST_DELTA_MS = 2.0
EVENT_US = 30.0
FLOOR_US = 75.0  # an event of the old service's stream from memory, on openai 3.54 and the machine of these limits
HELD_BYTES = 4.0  # for each delta, beyond its text, which has to be held
_WORD = "word "


def response_events(deltas: int) -> Iterator[bytes]:
    """Yield the upstream's stream of one message (order and keys of StreamingResponses.json)."""
    response: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    where = {"item_id": "msg_1", "output_index": 0}
    item: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    yield _frame("response.created", response=response)
    yield _frame("response.in_progress", response=response)
    yield _frame("response.output_item.added", item=item, output_index=0)
    part = {"type": "output_text", "text": "", "annotations": []}
    yield _frame("response.content_part.added", **where, content_index=0, part=part)
    delta = _frame("response.output_text.delta", **where, content_index=0, delta=_WORD, obfuscation="aZbYcXdWeVf")
    for _ in range(deltas):
        yield delta
    completed_item = {**item, "status": "completed", "content": [{**part, "text": _WORD * deltas}]}
    yield _frame("response.output_item.done", item=completed_item, output_index=0)
    usage = {"input_tokens": 1, "output_tokens": deltas, "total_tokens": deltas + 1}
    yield _frame(
        "response.completed", response={**response, "status": "completed", "output": [completed_item], "usage": usage}
    )


def _frame(type_: str, **fields: Any) -> bytes:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n".encode()


class _Chunks(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]  # a library known at run time only
    """A body from memory, one chunk at a time, for both kinds of clients."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks():
            yield chunk


def _answer(request: Any, chunks: Callable[[], Iterator[bytes]]) -> Any:
    return http.Response(200, headers={"content-type": "text/event-stream"}, request=request, stream=_Chunks(chunks))


@dataclass
class Bench:
    """Clients of one kind over the same bytes, and the legacy stream that the library makes of them."""

    asynchronous: bool
    deltas: int
    settings: Settings

    def __post_init__(self) -> None:
        """Create the clients, and record the library's stream for the stub."""
        self.upstream = list(response_events(self.deltas))
        self.library = self.client()
        assistants_compat.wrap(self.library, self.settings)
        helper = openai.OpenAI(api_key="k", http_client=self.http_client(asynchronous=False))
        self.helper = assistants_compat.wrap(helper, self.settings)
        self.assistant = helper.beta.assistants.create(model="gpt-4o", instructions="Say much.").id
        runs = helper.beta.threads.runs.with_streaming_response
        with runs.create(self.new_thread(), assistant_id=self.assistant, stream=True) as response:
            frames = b"".join(response.iter_bytes()).split(b"\n\n")
        self.legacy = [frame + b"\n\n" for frame in frames if frame]
        self.stub = self.client()
        sender = self._stub_async if self.asynchronous else self._stub
        self.stub._client.send = sender  # type: ignore[method-assign]  # noqa: SLF001 - the floor answers there

    def new_thread(self) -> str:
        """Return the thread of one run: one thread for all rounds would grow and be measured too."""
        return self.helper.beta.threads.create(messages=[{"role": "user", "content": "Go on."}]).id

    def http_client(self, *, asynchronous: bool) -> Any:
        """Return an HTTP client that is answered from memory."""
        transport = http.MockTransport(lambda request: _answer(request, lambda: iter(self.upstream)))
        return (http.AsyncClient if asynchronous else http.Client)(transport=transport)

    def client(self) -> Any:
        """Return an SDK client over that HTTP client."""
        kind: Any = openai.AsyncOpenAI if self.asynchronous else openai.OpenAI
        return kind(api_key="k", http_client=self.http_client(asynchronous=self.asynchronous))

    def _stub(self, request: Any, **_options: Any) -> Any:
        return _answer(request, lambda: iter(self.legacy))

    async def _stub_async(self, request: Any, **_options: Any) -> Any:
        return _answer(request, lambda: iter(self.legacy))

    # --- what is measured: seconds to the first text delta, and to the end

    def stream_run(self, client: Any) -> tuple[float, float]:
        """Stream one run through this client."""
        create, thread = client.beta.threads.runs.create, self.new_thread()
        started = time.perf_counter()
        first = 0.0
        for event in create(thread, assistant_id=self.assistant, stream=True):
            if not first and event.event == "thread.message.delta":
                first = time.perf_counter() - started
        return first, time.perf_counter() - started

    async def stream_run_async(self, client: Any) -> tuple[float, float]:
        """Stream one run through this asynchronous client."""
        await _close_last_stream()
        create, thread = client.beta.threads.runs.create, self.new_thread()
        started = time.perf_counter()
        first = 0.0
        async for event in await create(thread, assistant_id=self.assistant, stream=True):
            if not first and event.event == "thread.message.delta":
                first = time.perf_counter() - started
        return first, time.perf_counter() - started

    def read_raw(self) -> tuple[float, float]:
        """Read the upstream's bytes with the HTTP library alone."""
        started, first = time.perf_counter(), 0.0
        with self.http_client(asynchronous=False).stream("POST", "http://upstream/v1/responses") as response:
            for number, _ in enumerate(response.iter_bytes()):
                if number == _FIRST_DELTA:
                    first = time.perf_counter() - started
        return first, time.perf_counter() - started

    async def read_raw_async(self) -> tuple[float, float]:
        """Read the upstream's bytes with the asynchronous HTTP library alone."""
        await _close_last_stream()
        started, first, number = time.perf_counter(), 0.0, 0
        async with self.http_client(asynchronous=True).stream("POST", "http://upstream/v1/responses") as response:
            async for _ in response.aiter_bytes():
                if number == _FIRST_DELTA:
                    first = time.perf_counter() - started
                number += 1
        return first, time.perf_counter() - started

    async def run_round(self) -> tuple[list[tuple[float, float]], ...]:
        """Measure floor and library once each."""
        if self.asynchronous:
            floor = [await self.stream_run_async(self.stub), await self.read_raw_async()]
            return floor, [await self.stream_run_async(self.library)]
        return [self.stream_run(self.stub), self.read_raw()], [self.stream_run(self.library)]


_FIRST_DELTA = 4  # the chunk that holds it


async def _close_last_stream() -> None:
    """Let the event loop close what the last stream left.

    Otherwise it would do so in the first pause of the next stream, and only the library's streams pause.
    """
    for _ in range(20):
        await asyncio.sleep(0)


async def measure_times(bench: Bench, rounds: int) -> bool:
    """Print the medians; return whether the added times to the first delta and for each event are within the limits."""
    firsts: list[tuple[float, float]] = []
    events: list[tuple[float, float]] = []
    stubs: list[float] = []
    for number in range(rounds + 2):
        floor, library = await bench.run_round()
        if number >= 2:  # noqa: PLR2004 - two rounds to warm up
            firsts.append((sum(first for first, _ in floor), library[0][0]))
            events.append((sum(total for _, total in floor), library[0][1]))
            stubs.append(floor[0][1])
    count = len(bench.legacy)
    first_floor, first_library = (statistics.median(column) * 1e3 for column in zip(*firsts, strict=True))
    event_floor, event_library = (statistics.median(column) * 1e6 / count for column in zip(*events, strict=True))
    added_first = statistics.median((library - floor) * 1e3 for floor, library in firsts)
    added_event = statistics.median((library - floor) * 1e6 / count for floor, library in events)
    kind = "async" if bench.asynchronous else "sync"
    print(
        f"{kind:5}  first delta  floor {first_floor:6.2f} ms  library {first_library:6.2f} ms"
        f"  added {added_first:6.2f} ms"
    )
    print(
        f"{kind:5}  each event   floor {event_floor:6.1f} µs  library {event_library:6.1f} µs"
        f"  added {added_event:6.1f} µs  ratio {event_library / event_floor:.2f}"
    )
    scale = max(1.0, statistics.median(stubs) * 1e6 / count / FLOOR_US)
    print(f"{kind:5}  limits       {FIRST_DELTA_MS * scale:.2f} ms and {EVENT_US * scale:.1f} µs: {scale:.2f} times")
    return added_first < FIRST_DELTA_MS * scale and added_event <= EVENT_US * scale


@dataclass(frozen=True)
class Memory:
    """Bytes for each delta of a stream."""

    held: float  # growth from the first delta to the last
    peak_of_deltas: float  # the peak until then; the text is saved once a second
    peak: float  # the peak to the end of the stream, where the complete text comes at once


async def measure_memory(bench: Bench, client: Any) -> Memory:
    """Return the memory of one stream through a client, without the client and the first delta."""
    thread, count, marks = bench.new_thread(), 0, [0, 0, 0]

    def mark(event: Any) -> None:
        nonlocal count
        count += event.event == "thread.message.delta"
        if event.event == "thread.message.delta" and count == 1:
            marks[0] = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
        elif event.event == "thread.message.delta" and count == bench.deltas:
            marks[1:] = tracemalloc.get_traced_memory()

    gc.collect()
    tracemalloc.start()
    stream = client.beta.threads.runs.create(thread, assistant_id=bench.assistant, stream=True)
    if bench.asynchronous:
        async for event in await stream:
            mark(event)
    else:
        for event in stream:
            mark(event)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    at_first, at_last, peak_of_deltas = marks
    sizes = (at_last - at_first, peak_of_deltas - at_first, peak - at_first)
    return Memory(*(size / bench.deltas for size in sizes))


async def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=2000, help="deltas of a stream that is timed")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--deltas", type=int, default=200_000, help="deltas of a stream whose memory is measured")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # the floor's client is not wrapped
    print(f"openai {openai.__version__}, Py {sys.version.split()[0]}, {options.events} deltas, {options.rounds} rounds")
    ok = True
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store=str(Path(folder) / "store.db"))
        for asynchronous in (False, True):
            ok = await measure_times(Bench(asynchronous, options.events, settings), options.rounds) and ok
        for asynchronous in (False, True):
            bench = Bench(asynchronous, options.deltas, settings)
            floor, library = await measure_memory(bench, bench.stub), await measure_memory(bench, bench.library)
            kind, beyond = "async" if asynchronous else "sync", library.held - floor.held - len(_WORD)
            print(
                f"{kind:5}  memory, bytes a delta of {len(_WORD)} characters, {options.deltas} deltas:"
                f"  held beyond its text {beyond:.1f}, peak of the deltas {library.peak_of_deltas:.1f}"
                f" (floor {floor.peak_of_deltas:.1f}), peak to its end {library.peak:.1f} (floor {floor.peak:.1f})"
            )
            ok = ok and beyond <= HELD_BYTES
    print("within the limits" if ok else "MORE THAN THE PROJECT ALLOWS ITSELF")
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
