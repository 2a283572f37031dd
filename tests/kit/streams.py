"""An upstream whose streams a test sends by hand, and helpers that read a run's stream with either kind of client."""

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
from kit.legacy_code import dump_store, make_assistant, make_thread

Json = dict[str, Any]

END = object()  # ends the answer properly
DROP = object()  # drops the connection


# --- responses and their events


def message(text: str, **more: Any) -> Json:
    """Return a message as an output item."""
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {"id": "msg_up", "type": "message", "status": "completed", "role": "assistant", "content": [part], **more}


def function(call_id: str = "call_1", name: str = "look", arguments: str = '{"at": 1}') -> Json:
    """Return a function call as an output item."""
    call = {"call_id": call_id, "name": name, "arguments": arguments}
    return {"id": f"fc_{call_id}", "type": "function_call", "status": "completed", **call}


def response(*items: Json, status: str = "completed", **more: Any) -> Json:
    """Return a finished response."""
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    known = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o", "error": None}
    return {**known, "status": status, "output": list(items), "usage": usage, "incomplete_details": None, **more}


def events(*items: Json, **more: Any) -> list[Json]:
    """Return the stream events of a finished response."""
    return events_from_response(response(*items, **more), frozenset(), obfuscate=False)


def frame(event: Json) -> bytes:
    """Return an event as sent over the wire, in UTF-8."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


PNG = b"\x89PNG\r\n\x1a\nplot"
# The events of a run that writes one message, with its deltas counted once.
PLAIN_EVENT_NAMES = [
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


# --- the upstream


class ManualStream:
    """One streamed answer; the test decides what is sent over it, and when."""

    def __init__(self, request: Json) -> None:
        self.request = request
        self.gone = threading.Event()  # the client has closed the connection
        self.over = threading.Event()  # nothing is sent over it any more
        self._commands: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(self, *commands: Any) -> None:
        """Send events, raw bytes, END or DROP."""
        for command in commands:
            self._commands.put(frame(command) if isinstance(command, dict) else command)

    def run(self, connection: socket.socket) -> bool:
        """Carry out the test's commands; return whether the connection can be reused."""
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


class ManualUpstream:
    """A Responses service that streams what the test sends, and serves the responses in `known` by id."""

    def __init__(self) -> None:
        self.plans: deque[list[Any]] = deque()  # sent by the next streams at once
        self.answers: deque[tuple[int, str, bytes]] = deque()  # to the next POSTs: status, content type, body
        self.known: dict[str, Json] = {}
        self.requests: list[Json] = []
        self.streams: list[ManualStream] = []
        self.resumes = True  # whether a response can be streamed again by id
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def base_url(self) -> str:
        """Return the base URL for OpenAI clients."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def plan(self, *commands: Any) -> None:
        """Let the next stream send this at once."""
        self.plans.append(list(commands))

    def calls(self) -> list[str]:
        """Return method and path of every request."""
        return [f"{request['method']} {request['path']}" for request in self.requests]

    def stream(self, number: int = 0) -> ManualStream:
        """Wait until the stream with this number has been requested, and return it."""
        eventually(lambda: len(self.streams) > number)
        return self.streams[number]

    def close(self) -> None:
        """Drop every connection and stop."""
        for stream in self.streams:
            stream.send(DROP)
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    upstream: ManualUpstream

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors, because tests end connections in every way."""


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

    def _stream(self, upstream: ManualUpstream, request: Json) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        stream = ManualStream(request)
        if upstream.plans:
            stream.send(*upstream.plans.popleft())
        upstream.streams.append(stream)
        self.close_connection = not stream.run(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as named in http.server
        """Log nothing."""


@contextlib.contextmanager
def manual_upstream() -> Iterator[ManualUpstream]:
    """Run a manual upstream for the length of a test."""
    upstream = ManualUpstream()
    try:
        yield upstream
    finally:
        upstream.close()


# --- reading


def eventually(check: Callable[[], Any], door: Door | None = None, seconds: float = 10.0) -> Any:
    """Wait until `check()` is true and return its value; an asynchronous door's loop keeps running."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        pause(door)
    return found


def pause(door: Door | None, seconds: float = 0.005) -> None:
    """Let other threads run, and the tasks of an asynchronous door's loop."""
    if door is not None and door.kind == "async":
        door(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def start_stream(door: Door, client: Any, **options: Any) -> Any:
    """Start a streamed run on a new thread of a new assistant and return its stream."""
    assistant = make_assistant(door, client, **options.pop("assistant", {}))
    thread = make_thread(door, client)
    return door(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True, **options))


def next_event(door: Door, stream: Any) -> Any:
    """Return the stream's next event, or None at its end."""
    try:
        return next(stream) if door.kind == "sync" else door(stream.__anext__())
    except (StopIteration, StopAsyncIteration):
        return None


def read_until(door: Door, stream: Any, name: str) -> list[Any]:
    """Read the stream up to the first event of this name and return the events."""
    seen: list[Any] = []
    while not seen or seen[-1].event != name:
        event = next_event(door, stream)
        assert event is not None, f"{name} did not come after {event_names(seen)}"
        seen.append(event)
    return seen


def read_rest(door: Door, stream: Any) -> list[Any]:
    """Read the stream to its end and return the events."""
    if door.kind == "sync":
        return list(stream)

    async def collect() -> list[Any]:
        return [event async for event in stream]

    return list(door(collect()))


def event_names(seen: Iterable[Any]) -> list[str]:
    """Return the names of events without their common prefix."""
    return [event.event.removeprefix("thread.") for event in seen]


def without_repeats(seen: list[str]) -> list[str]:
    """Return the names without immediate repetitions, such as those of deltas."""
    return [name for number, name in enumerate(seen) if number == 0 or name != seen[number - 1]]


def text_of(seen: Iterable[Any]) -> str:
    """Return the text that the deltas of these events add up to."""
    deltas = [event.data.delta.content for event in seen if event.event == "thread.message.delta"]
    return "".join(block.text.value for content in deltas for block in content if block.type == "text")


def enter(door: Door, manager: Any) -> Any:
    """Enter a context manager and return its value."""
    return manager.__enter__() if door.kind == "sync" else door(manager.__aenter__())


def leave(door: Door, manager: Any) -> None:
    """Leave a context manager without an exception."""
    if door.kind == "sync":
        manager.__exit__(None, None, None)
    else:
        door(manager.__aexit__(None, None, None))


def finish_helper(door: Door, manager: Any) -> Any:
    """Read a stream helper to its end inside its context manager and return it."""
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


def make_handler(door: Door, **actions: Callable[..., Any]) -> Any:
    """Make an event handler of the door's kind. Its `calls` lists the callbacks; `actions` are run by name in them."""
    calls: list[tuple[str, Any]] = []

    def blocking(name: str) -> Any:
        def on(self: Any, *arguments: Any) -> None:
            calls.append((name, arguments[0] if arguments else None))
            if name in actions:
                actions[name](*arguments)

        return on

    def asynchronous(name: str) -> Any:
        async def on(self: Any, *arguments: Any) -> None:
            calls.append((name, arguments[0] if arguments else None))
            if name in actions:
                result = actions[name](*arguments)
                if inspect.isawaitable(result):
                    await result

        return on

    is_sync = door.kind == "sync"
    base = openai.AssistantEventHandler if is_sync else openai.AsyncAssistantEventHandler
    handler: Any = type(
        "Handler", (base,), {name: (blocking if is_sync else asynchronous)(name) for name in HANDLERS}
    )()
    handler.calls = calls
    return handler


# --- the store


def stored_run(settings: Settings, run_id: str) -> Any:
    """Return the row of a run without polling the run."""
    return next((row for row in dump_store(settings)["runs"] if row["id"] == run_id), None)


def wait_until_ended(settings: Settings, run_id: str, door: Door | None = None, status: str = "completed") -> Any:
    """Wait until a run has ended without being polled, check its status, and return its row."""
    done = {"completed", "failed", "cancelled", "expired", "incomplete", "requires_action"}
    eventually(lambda: stored_run(settings, run_id)["status"] in done, door)
    row = stored_run(settings, run_id)
    assert row["status"] == status
    assert row["lease_until"] == 0 or status in {"cancelled", "expired"}  # another process may have ended it
    return row


def stored_messages(settings: Settings, run_id: str) -> list[tuple[str, str]]:
    """Return status and text of a run's stored messages."""
    rows = [row for row in dump_store(settings)["messages"] if row["run_id"] == run_id and row["kind"] == "message"]
    return [(row["body"]["status"], _text(row["body"])) for row in rows]


def _text(body: Json) -> str:
    return "".join(block["text"]["value"] for block in body["content"] if block["type"] == "text")


def step_statuses(settings: Settings, run_id: str) -> list[str]:
    """Return the stored statuses of a run's steps."""
    return [row["body"]["status"] for row in dump_store(settings)["steps"] if row["run_id"] == run_id]


def expire_lease(settings: Settings, run_id: str) -> None:
    """Expire the lease of a run, as if its process had died."""

    def work(db: Any) -> None:
        db.execute(update(tables.runs).where(tables.runs.c.id == run_id).values(lease_until=int(time.time()) - 1))

    transact(database_url(settings.store), work, write=True)


# --- consumers that stop early

TEXT = "One two three four five six."
EVENTS = events(message(TEXT))
ALL_EVENT_NAMES = [
    *["run.created", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"],
    *["message.created", "message.in_progress", *["message.delta"] * len(TEXT.split())],
    *["message.completed", "run.step.completed", "run.completed"],
]
CUT = 6  # the first CUT events stream two words


def start_partial_stream(door: Door, client: Any, hand: ManualUpstream) -> tuple[Any, str, str]:
    """Start a run, read its first words, and return its stream and the ids of run and thread."""
    hand.plan(*EVENTS[:CUT])
    stream = start_stream(door, client)
    run = read_until(door, stream, "thread.run.in_progress")[-1].data
    read_until(door, stream, "thread.message.delta")
    return stream, run.id, run.thread_id


def assert_run_continues(
    door: Door, client: Any, hand: ManualUpstream, settings: Settings, run_id: str, thread_id: str
) -> None:
    """Check that an abandoned run is read to its end over its one connection, and that its thread can be used then."""
    stream = hand.stream()
    for _ in range(5):
        pause(door)
    assert not stream.gone.is_set()
    assert stored_run(settings, run_id)["status"] == "in_progress"
    stream.send(*EVENTS[CUT:], END)
    wait_until_ended(settings, run_id, door)
    assert stored_messages(settings, run_id) == [("completed", TEXT)]
    assert step_statuses(settings, run_id) == ["completed"]
    assert hand.calls() == ["POST /responses"]
    eventually(stream.over.is_set, door)
    hand.plan(*EVENTS, END)
    threads = client.beta.threads
    door(threads.messages.create(thread_id, role="user", content="More."))
    assistant_id = stored_run(settings, run_id)["assistant_id"]
    again = read_rest(door, door(threads.runs.create(thread_id, assistant_id=assistant_id, stream=True)))
    assert again[-1].data.status == "completed"
    assert hand.calls() == ["POST /responses"] * 2


def break_out(door: Door, stream: Any) -> None:
    """Break out of a loop over the stream."""

    def blocking() -> None:
        for _ in stream:
            break

    async def asynchronous() -> None:
        async for _ in stream:
            break

    blocking() if door.kind == "sync" else door(asynchronous())


def read_while_sending(door: Door, stream: Any, hand: ManualUpstream, seconds: float = 3.0) -> list[Any]:
    """Read the stream to its end, while the upstream sends another word now and then; return the events."""
    seen: list[Any] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not hand.stream().gone.is_set():
        hand.stream().send(EVENTS[CUT])
        event = next_event(door, stream)
        if event is None:
            return seen
        seen.append(event)
        pause(door, 0.02)
    return [*seen, *read_rest(door, stream)]
