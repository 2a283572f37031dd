"""What the shim adds to a stream: `python benchmarks/streams.py [--events 2000] [--rounds 30] [--deltas 200000]`.

Side by side in one process, round by round, so that a busy machine slows both:

- the floor: the same SDK call (`runs.create(stream=True)`) answered from memory by a stub in `client._client.send`,
  plus the bytes of one upstream stream, read raw through the same HTTP library;
- the shim: a wrapped client whose upstream is those bytes, from memory too, one event a chunk.

Printed are medians: the time to the first text delta, the time for each event, and what the shim adds; then the memory
of a long stream: what is held when its last word has come, beyond the text itself, and the peaks beside the floor's.
Exit code 1 when more is added than the project allows itself: the limits are those of the machine that they were set
on, where the floor took 75 µs an event, and grow with the floor of this one.
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
HELD_BYTES = 4.0  # a delta, beyond its own text, which has to be held
_WORD = "word "


def response_events(deltas: int) -> Iterator[bytes]:
    """The upstream's stream of one message (order and keys of StreamingResponses.json)."""
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
    done = {**item, "status": "completed", "content": [{**part, "text": _WORD * deltas}]}
    yield _frame("response.output_item.done", item=done, output_index=0)
    usage = {"input_tokens": 1, "output_tokens": deltas, "total_tokens": deltas + 1}
    yield _frame("response.completed", response={**response, "status": "completed", "output": [done], "usage": usage})


def _frame(type_: str, **fields: Any) -> bytes:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n".encode()


class _Chunks(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]  # a library known at run time only
    """A body from memory, a chunk at a time, for both kinds of clients."""

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
    """Clients of one kind (sync or async) over the same bytes, and the legacy stream that the shim makes of them."""

    asynchronous: bool
    deltas: int
    settings: Settings

    def __post_init__(self) -> None:
        """Make the clients, and record what the shim says, for the stub."""
        self.upstream = list(response_events(self.deltas))
        self.shim = self.client()
        assistants_compat.wrap(self.shim, self.settings)
        helper = openai.OpenAI(api_key="k", http_client=self.http_client(asynchronous=False))
        self.helper = assistants_compat.wrap(helper, self.settings)
        self.assistant = helper.beta.assistants.create(model="gpt-4o", instructions="Say much.").id
        runs = helper.beta.threads.runs.with_streaming_response
        with runs.create(self.new_thread(), assistant_id=self.assistant, stream=True) as said:
            frames = b"".join(said.iter_bytes()).split(b"\n\n")
        self.legacy = [frame + b"\n\n" for frame in frames if frame]
        self.stub = self.client()
        sender = self._stub_async if self.asynchronous else self._stub
        self.stub._client.send = sender  # type: ignore[method-assign]  # noqa: SLF001 - the floor answers there

    def new_thread(self) -> str:
        """The thread of one run: in one that grew with each round, the rounds would measure the thread."""
        return self.helper.beta.threads.create(messages=[{"role": "user", "content": "Go on."}]).id

    def http_client(self, *, asynchronous: bool) -> Any:
        """An HTTP client whose network is memory."""
        transport = http.MockTransport(lambda request: _answer(request, lambda: iter(self.upstream)))
        return (http.AsyncClient if asynchronous else http.Client)(transport=transport)

    def client(self) -> Any:
        """An SDK client over that."""
        kind: Any = openai.AsyncOpenAI if self.asynchronous else openai.OpenAI
        return kind(api_key="k", http_client=self.http_client(asynchronous=self.asynchronous))

    def _stub(self, request: Any, **_options: Any) -> Any:
        return _answer(request, lambda: iter(self.legacy))

    async def _stub_async(self, request: Any, **_options: Any) -> Any:
        return _answer(request, lambda: iter(self.legacy))

    # --- what is measured: seconds to the first text delta, and to the end

    def streamed(self, client: Any) -> tuple[float, float]:
        """One run, streamed through this client."""
        create, thread = client.beta.threads.runs.create, self.new_thread()
        begun = time.perf_counter()
        first = 0.0
        for event in create(thread, assistant_id=self.assistant, stream=True):
            if not first and event.event == "thread.message.delta":
                first = time.perf_counter() - begun
        return first, time.perf_counter() - begun

    async def streamed_async(self, client: Any) -> tuple[float, float]:
        """The same for an asynchronous client."""
        await _quiet()
        create, thread = client.beta.threads.runs.create, self.new_thread()
        begun = time.perf_counter()
        first = 0.0
        async for event in await create(thread, assistant_id=self.assistant, stream=True):
            if not first and event.event == "thread.message.delta":
                first = time.perf_counter() - begun
        return first, time.perf_counter() - begun

    def raw(self) -> tuple[float, float]:
        """The upstream's bytes, through the HTTP library alone."""
        begun, first = time.perf_counter(), 0.0
        with self.http_client(asynchronous=False).stream("POST", "http://upstream/v1/responses") as response:
            for number, _ in enumerate(response.iter_bytes()):
                if number == _FIRST_DELTA:
                    first = time.perf_counter() - begun
        return first, time.perf_counter() - begun

    async def raw_async(self) -> tuple[float, float]:
        """The same, asynchronously."""
        await _quiet()
        begun, first, number = time.perf_counter(), 0.0, 0
        async with self.http_client(asynchronous=True).stream("POST", "http://upstream/v1/responses") as response:
            async for _ in response.aiter_bytes():
                if number == _FIRST_DELTA:
                    first = time.perf_counter() - begun
                number += 1
        return first, time.perf_counter() - begun

    async def a_round(self) -> tuple[list[tuple[float, float]], ...]:
        """Floor and shim, once each."""
        if self.asynchronous:
            floor = [await self.streamed_async(self.stub), await self.raw_async()]
            return floor, [await self.streamed_async(self.shim)]
        return [self.streamed(self.stub), self.raw()], [self.streamed(self.shim)]


_FIRST_DELTA = 4  # the chunk that holds it


async def _quiet() -> None:
    """Let the loop close what the last stream has left.

    It would do so in the first pause of the next one, and of those that are measured only the shim's has any.
    """
    for _ in range(20):
        await asyncio.sleep(0)


async def measured(bench: Bench, rounds: int) -> bool:
    """Print the medians; whether what the shim adds to the first delta and to each event is within the limits."""
    firsts: list[tuple[float, float]] = []
    events: list[tuple[float, float]] = []
    stubs: list[float] = []
    for number in range(rounds + 2):
        floor, shim = await bench.a_round()
        if number >= 2:  # noqa: PLR2004 - two rounds to warm up
            firsts.append((sum(first for first, _ in floor), shim[0][0]))
            events.append((sum(whole for _, whole in floor), shim[0][1]))
            stubs.append(floor[0][1])
    count = len(bench.legacy)
    first_floor, first_shim = (statistics.median(column) * 1e3 for column in zip(*firsts, strict=True))
    event_floor, event_shim = (statistics.median(column) * 1e6 / count for column in zip(*events, strict=True))
    added_first = statistics.median((shim - floor) * 1e3 for floor, shim in firsts)
    added_event = statistics.median((shim - floor) * 1e6 / count for floor, shim in events)
    kind = "async" if bench.asynchronous else "sync"
    print(f"{kind:5}  first delta  floor {first_floor:6.2f} ms  shim {first_shim:6.2f} ms  added {added_first:6.2f} ms")
    print(
        f"{kind:5}  each event   floor {event_floor:6.1f} µs  shim {event_shim:6.1f} µs  added {added_event:6.1f} µs"
        f"  ratio {event_shim / event_floor:.2f}"
    )
    scale = max(1.0, statistics.median(stubs) * 1e6 / count / FLOOR_US)
    print(f"{kind:5}  limits       {FIRST_DELTA_MS * scale:.2f} ms and {EVENT_US * scale:.1f} µs: {scale:.2f} times")
    return added_first < FIRST_DELTA_MS * scale and added_event <= EVENT_US * scale


@dataclass(frozen=True)
class Memory:
    """Bytes for each delta of a stream."""

    held: float  # at its last delta, since its first
    while_said: float  # the most meanwhile: what is said is saved once a second
    at_all: float  # the most to its end, where the whole text comes at once


async def memory(bench: Bench, client: Any) -> Memory:
    """What one stream through a client takes, the client and its first delta left aside."""
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
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    begun, held, said = marks
    return Memory(*(each / bench.deltas for each in (held - begun, said - begun, most - begun)))


async def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=2000, help="deltas of a stream that is timed")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--deltas", type=int, default=200_000, help="deltas of a stream whose memory is watched")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # the floor's client is not wrapped
    print(f"openai {openai.__version__}, Py {sys.version.split()[0]}, {options.events} deltas, {options.rounds} rounds")
    ok = True
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store=str(Path(folder) / "store.db"))
        for asynchronous in (False, True):
            ok = await measured(Bench(asynchronous, options.events, settings), options.rounds) and ok
        for asynchronous in (False, True):
            bench = Bench(asynchronous, options.deltas, settings)
            floor, shim = await memory(bench, bench.stub), await memory(bench, bench.shim)
            kind, beyond = "async" if asynchronous else "sync", shim.held - floor.held - len(_WORD)
            print(
                f"{kind:5}  memory, bytes a delta of {len(_WORD)} characters, {options.deltas} deltas:"
                f"  held beyond its text {beyond:.1f}, most while it is said {shim.while_said:.1f}"
                f" (floor {floor.while_said:.1f}), to its end {shim.at_all:.1f} (floor {floor.at_all:.1f})"
            )
            ok = ok and beyond <= HELD_BYTES
    print("within the limits" if ok else "MORE THAN THE PROJECT ALLOWS ITSELF")
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
