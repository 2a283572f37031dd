"""An upstream whose streams a test drives by hand, and one way to read a run's stream through every door."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import queue
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
from sqlalchemy import update

from assistants_compat import Settings
from assistants_compat.store import tables
from assistants_compat.store.database import transact
from assistants_compat.store.locations import database_url
from assistants_compat.testing.stream_events import events_from_response
from kit.doors import Door
from kit.legacy_code import dump, make_assistant, make_thread

Json = dict[str, Any]

END = object()  # the answer ends as it should
DROP = object()  # the connection is lost
LOCKED = r"Can't add messages to {} while a run {} is active\."


# --- what a model says


def message(text: str, **more: Any) -> Json:
    """A message as an output item."""
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {"id": "msg_up", "type": "message", "status": "completed", "role": "assistant", "content": [part], **more}


def function(call_id: str = "call_1", name: str = "look", arguments: str = '{"at": 1}') -> Json:
    """A function call as an output item."""
    call = {"call_id": call_id, "name": name, "arguments": arguments}
    return {"id": f"fc_{call_id}", "type": "function_call", "status": "completed", **call}


def response(*items: Json, status: str = "completed", **more: Any) -> Json:
    """A finished response."""
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    known = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o", "error": None}
    return {**known, "status": status, "output": list(items), "usage": usage, "incomplete_details": None, **more}


def events(*items: Json, **more: Any) -> list[Json]:
    """The stream of a finished response."""
    return events_from_response(response(*items, **more), frozenset(), obfuscate=False)


def frame(event: Json) -> bytes:
    """An event as it goes over the wire, in UTF-8."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


PNG = b"\x89PNG\r\n\x1a\nplot"
# The names of the events of a run that says something, deltas once.
PLAIN = [
    "run.created",
    "run.queued",
    "run.in_progress",
    "run.step.created",
    "run.step.in_progress",
    "message.created",
    "message.in_progress",
    "message.delta",
    "message.completed",
    "run.step.completed",
    "run.completed",
]
OUTPUTS = [{"tool_call_id": "call_1", "output": "CALL_1"}]


# --- an upstream that is driven by hand


class Wire:
    """One streamed answer: the test says what goes over it, and when."""

    def __init__(self, request: Json) -> None:
        self.request = request
        self.gone = threading.Event()  # the other side has closed the connection
        self.over = threading.Event()  # nothing goes over it any more
        self._commands: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(self, *given: Any) -> None:
        """Events, bytes as they are, END or DROP."""
        for each in given:
            self._commands.put(frame(each) if isinstance(each, dict) else each)

    def run(self, connection: socket.socket) -> bool:
        """Carry out what the test says; whether the connection can be used again."""
        try:
            return self._run(connection)
        except OSError:
            self.gone.set()
            return False
        finally:
            self.over.set()

    def _run(self, connection: socket.socket) -> bool:
        while True:
            try:
                command = self._commands.get(timeout=0.01)
            except queue.Empty:
                if select.select([connection], [], [], 0)[0] and connection.recv(1, socket.MSG_PEEK) == b"":
                    self.gone.set()
                    return False
                continue
            if command is DROP:
                return False
            if command is END:
                connection.sendall(b"0\r\n\r\n")
                return True
            connection.sendall(b"%x\r\n%s\r\n" % (len(command), command))


class ByHand:
    """A Responses service that streams what it is told, and knows by id what the test puts into `known`."""

    def __init__(self) -> None:
        self.plans: deque[list[Any]] = deque()  # what the next streams send by themselves
        self.answers: deque[tuple[int, str, bytes]] = deque()  # of the next POSTs: status, content type, body
        self.known: dict[str, Json] = {}
        self.requests: list[Json] = []
        self.streams: list[Wire] = []
        self.resumes = True  # whether a stream can be asked for by the response's id
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def base_url(self) -> str:
        """The base for OpenAI clients."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def plan(self, *given: Any) -> None:
        """What the next stream sends by itself."""
        self.plans.append(list(given))

    def asked(self) -> list[str]:
        """Method and path of every request."""
        return [f"{each['method']} {each['path']}" for each in self.requests]

    def wire(self, number: int = 0) -> Wire:
        """The stream with this number, as soon as it was asked for."""
        eventually(lambda: len(self.streams) > number)
        return self.streams[number]

    def close(self) -> None:
        """End."""
        for wire in self.streams:
            wire.send(DROP)
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    upstream: ByHand

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections end in every way here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        upstream = self.server.upstream
        path, _, query = self.path.removeprefix("/v1").partition("?")
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request: Json = {"method": self.command, "path": path, "query": query, "json": json.loads(body or b"null")}
        upstream.requests.append(request)
        if upstream.answers and self.command == "POST":
            self._answer(*upstream.answers.popleft())
        elif (request["json"] or {}).get("stream") or ("stream=true" in query and upstream.resumes):
            self._stream(upstream, request)
        else:
            known: Json | None = (
                None
                if "stream=true" in query
                else upstream.known.get(path.split("/")[2] if path.count("/") > 1 else "")
            )
            if known is not None and path.endswith("/cancel"):
                known["status"] = "cancelled"
            error = {"error": {"message": "Not found.", "type": "invalid_request_error", "param": None, "code": None}}
            self._answer(404 if known is None else 200, "application/json", json.dumps(known or error).encode())

    do_GET = do_POST = _serve  # noqa: N815 - the names of http.server

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, upstream: ByHand, request: Json) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        wire = Wire(request)
        if upstream.plans:
            wire.send(*upstream.plans.popleft())
        upstream.streams.append(wire)
        self.close_connection = not wire.run(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as named in http.server
        """Say nothing."""


@contextlib.contextmanager
def by_hand() -> Iterator[ByHand]:
    """An upstream that is driven by hand, for as long as the test lasts."""
    upstream = ByHand()
    try:
        yield upstream
    finally:
        upstream.close()


# --- reading


def eventually(check: Callable[[], Any], door: Door | None = None, seconds: float = 10.0) -> Any:
    """What `check` gives once that is true; an asynchronous door's loop goes on meanwhile."""
    until = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < until, "it did not happen in time"
        pause(door)
    return found


def pause(door: Door | None, seconds: float = 0.005) -> None:
    """Let others work: other threads, and the tasks of an asynchronous door's loop."""
    if door is not None and door.kind == "async":
        door(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def begin(door: Door, client: Any, **options: Any) -> Any:
    """The stream of a new run on a new thread of a new assistant."""
    assistant = make_assistant(door, client, **options.pop("assistant", {}))
    thread = make_thread(door, client)
    return door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True, **options))


def following(door: Door, stream: Any) -> Any:
    """The stream's next event, or None at its end."""
    try:
        return next(stream) if door.kind == "sync" else door(stream.__anext__())
    except (StopIteration, StopAsyncIteration):
        return None


def until(door: Door, stream: Any, name: str) -> list[Any]:
    """The stream's events up to the first one of this name."""
    seen: list[Any] = []
    while not seen or seen[-1].event != name:
        event = following(door, stream)
        assert event is not None, f"{name} did not come after {names(seen)}"
        seen.append(event)
    return seen


def rest(door: Door, stream: Any) -> list[Any]:
    """All the events that are left."""
    if door.kind == "sync":
        return list(stream)

    async def collect() -> list[Any]:
        return [event async for event in stream]

    return list(door(collect()))


def names(seen: Iterable[Any]) -> list[str]:
    """The names of events, without the prefix that they all have."""
    return [event.event.removeprefix("thread.") for event in seen]


def once(seen: list[str]) -> list[str]:
    """Names without the repetitions of deltas."""
    return [name for number, name in enumerate(seen) if number == 0 or name != seen[number - 1]]


def text_of(seen: Iterable[Any]) -> str:
    """The text that the deltas of these events add up to."""
    deltas = [event.data.delta.content for event in seen if event.event == "thread.message.delta"]
    return "".join(block.text.value for content in deltas for block in content if block.type == "text")


def enter(door: Door, manager: Any) -> Any:
    """What a context manager gives."""
    return manager.__enter__() if door.kind == "sync" else door(manager.__aenter__())


def leave(door: Door, manager: Any) -> None:
    """Leave a context manager as if nothing had happened."""
    if door.kind == "sync":
        manager.__exit__(None, None, None)
    else:
        door(manager.__aexit__(None, None, None))


def whole(door: Door, manager: Any) -> Any:
    """A stream helper that was read to its end inside its context manager."""
    if door.kind == "sync":
        with manager as stream:
            stream.until_done()
        return stream

    async def read() -> Any:
        async with manager as stream:
            await stream.until_done()
        return stream

    return door(read())


HANDLERS = [name for name in dir(openai.AssistantEventHandler) if name.startswith("on_")]


def handler(door: Door, **actions: Callable[..., Any]) -> Any:
    """An event handler of the door's kind; `calls` lists what it was told, `actions` is what it does then."""
    calls: list[tuple[str, Any]] = []

    def blocking(name: str) -> Any:
        def on(self: Any, *told: Any) -> None:
            calls.append((name, told[0] if told else None))
            if name in actions:
                actions[name](*told)

        return on

    def asynchronous(name: str) -> Any:
        async def on(self: Any, *told: Any) -> None:
            calls.append((name, told[0] if told else None))
            if name in actions:
                result = actions[name](*told)
                if inspect.isawaitable(result):
                    await result

        return on

    is_sync = door.kind == "sync"
    base = openai.AssistantEventHandler if is_sync else openai.AsyncAssistantEventHandler
    made: Any = type("Handler", (base,), {name: (blocking if is_sync else asynchronous)(name) for name in HANDLERS})()
    made.calls = calls
    return made


# --- the store


def stored(settings: Settings, run_id: str) -> Any:
    """The row of a run, without anybody looking at the run."""
    return next((row for row in dump(settings)["runs"] if row["id"] == run_id), None)


def ended(settings: Settings, run_id: str, door: Door | None = None, status: str = "completed") -> Any:
    """The row of a run once it has ended by itself, in this status."""
    done = {"completed", "failed", "cancelled", "expired", "incomplete", "requires_action"}
    eventually(lambda: stored(settings, run_id)["status"] in done, door)
    row = stored(settings, run_id)
    assert row["status"] == status
    assert row["lease_until"] == 0 or status in {"cancelled", "expired"}  # somebody else may have ended it
    return row


def said(settings: Settings, run_id: str) -> list[tuple[str, str]]:
    """Status and text of the messages of a run, as they are stored."""
    rows = [row for row in dump(settings)["messages"] if row["run_id"] == run_id and row["kind"] == "message"]
    return [(row["body"]["status"], _text(row["body"])) for row in rows]


def _text(body: Json) -> str:
    return "".join(block["text"]["value"] for block in body["content"] if block["type"] == "text")


def step_statuses(settings: Settings, run_id: str) -> list[str]:
    """The statuses of a run's steps, as they are stored."""
    return [row["body"]["status"] for row in dump(settings)["steps"] if row["run_id"] == run_id]


def lapse(settings: Settings, run_id: str) -> None:
    """Let the time pass after which a process that does not renew its lease is taken for dead."""

    def work(db: Any) -> None:
        db.execute(update(tables.runs).where(tables.runs.c.id == run_id).values(lease_until=int(time.time()) - 1))

    transact(database_url(settings.store), work, write=True)


# --- leaving in the middle

TEXT = "One two three four five six."
EVENTS = events(message(TEXT))
WHOLE = [
    *["run.created", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"],
    *["message.created", "message.in_progress", *["message.delta"] * len(TEXT.split())],
    *["message.completed", "run.step.completed", "run.completed"],
]
CUT = 6  # after that many of them two words have been said


def begun(door: Door, client: Any, hand: ByHand) -> tuple[Any, str, str]:
    """A stream that has said its first words, and the ids of its run and thread."""
    hand.plan(*EVENTS[:CUT])
    stream = begin(door, client)
    run = until(door, stream, "thread.run.in_progress")[-1].data
    until(door, stream, "thread.message.delta")
    return stream, run.id, run.thread_id


def goes_on(door: Door, client: Any, hand: ByHand, settings: Settings, run_id: str, thread_id: str) -> None:
    """The run goes on behind: the rest is read to its end over the one connection, and the thread can be used."""
    wire = hand.wire()
    for _ in range(5):
        pause(door)
    assert not wire.gone.is_set()
    assert stored(settings, run_id)["status"] == "in_progress"
    wire.send(*EVENTS[CUT:], END)
    ended(settings, run_id, door)
    assert said(settings, run_id) == [("completed", TEXT)]
    assert step_statuses(settings, run_id) == ["completed"]
    assert hand.asked() == ["POST /responses"]
    eventually(wire.over.is_set, door)
    hand.plan(*EVENTS, END)
    threads = client.beta.threads
    door(threads.messages.create(thread_id, role="user", content="More."))
    assistant_id = stored(settings, run_id)["assistant_id"]
    again = rest(door, door(threads.runs.create(thread_id, assistant_id=assistant_id, stream=True)))
    assert again[-1].data.status == "completed"
    assert hand.asked() == ["POST /responses"] * 2


def breaks(door: Door, stream: Any) -> None:
    """Break out of a loop over the stream, the plainest way to leave."""

    def blocking() -> None:
        for _ in stream:
            break

    async def asynchronous() -> None:
        async for _ in stream:
            break

    blocking() if door.kind == "sync" else door(asynchronous())


def keeps_talking(door: Door, stream: Any, hand: ByHand, seconds: float = 3.0) -> list[Any]:
    """What the stream tells to its end, while the upstream says one more word now and then."""
    seen: list[Any] = []
    until_then = time.monotonic() + seconds
    while time.monotonic() < until_then and not hand.wire().gone.is_set():
        hand.wire().send(EVENTS[CUT])
        event = following(door, stream)
        if event is None:
            return seen
        seen.append(event)
        pause(door, 0.02)
    return [*seen, *rest(door, stream)]
