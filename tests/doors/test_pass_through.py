"""Requests that are not ours: they leave a wrapped client as they leave an unwrapped one, byte for byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import assistants_compat
from assistants_compat import Settings
from assistants_compat.testing import StandIn, Turn
from kit.doors import KEY, Door
from kit.legacy_code import CSV, LINK, make_file

VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])
MULTIPART = {"Content-Type": "multipart/form-data; boundary=fixed"}
OURS_BY_SHAPE = "file-AC0123456789012345678901"


class Wire:
    """A server that keeps the bytes of every request and answers with an empty object."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(self._request(connection))
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
                    b"connection: close\r\n\r\n{}"
                )

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while lengths and len(body) < int(lengths[0]):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A running one."""
    server = Wire()
    yield server
    server.listener.close()


def chat(client: Any) -> Any:
    """A chat completion whose text says everything that could be escaped."""
    messages = [{"role": "user", "content": 'ünï "quoted" 🙂 </b>'}]
    return client.chat.completions.create(model="gpt-4o", messages=messages, extra_headers={"x-extra": "1"})


CALLS: dict[str, Callable[[Any], Any]] = {
    "files.create": lambda client: client.files.create(
        file=("t.csv", b"a,b\r\n\x00"), purpose="assistants", extra_headers=MULTIPART
    ),
    "files.list": lambda client: client.get("/files?purpose=assistants", cast_to=object),
    "files.retrieve": lambda client: client.files.retrieve("file-abc"),
    "files.content": lambda client: client.files.content("file-abc"),
    "files.delete": lambda client: client.files.delete("file-abc"),
    "models.retrieve": lambda client: client.models.retrieve("gpt-4o"),
    "models.list": lambda client: client.get("/models", cast_to=object),
    "chat.completions": chat,
    "responses": lambda client: client.post(
        "/responses", body={"model": "gpt-4o", "input": "x", "stream": False}, cast_to=object
    ),
    "conversations": lambda client: client.post("/conversations", body={"items": []}, cast_to=object),
    "container files": lambda client: client.get(f"/containers/cntr_1/files/{OURS_BY_SHAPE}/content", cast_to=object),
    "vector store files": lambda client: client.get(f"/vector_stores/vs_1/files/{OURS_BY_SHAPE}", cast_to=object),
    "vector stores": lambda client: client.post("/vector_stores", body={"name": "assistants"}, cast_to=object),
    "query": lambda client: client.get(
        "/batches", cast_to=object, options={"params": {"after": "/threads/x", "a": ""}}
    ),
    "chatkit threads": lambda client: client.get(
        "/chatkit/threads", cast_to=object, options={"headers": {"OpenAI-Beta": "chatkit_beta=v1"}}
    ),
    "one chatkit thread": lambda client: client.delete("/chatkit/threads/cthr_1", cast_to=object),
    "chatkit items": lambda client: client.get("/chatkit/threads/cthr_1/items", cast_to=object),
    "threads of another beta": lambda client: client.get(
        "/threads/thread_1", cast_to=object, options={"headers": {"OpenAI-Beta": "agents=v1"}}
    ),
    "no such route": lambda client: client.post("/threads/thread_1/fork", body={"a": 1}, cast_to=object),
    "no such method": lambda client: client.delete("/assistants", cast_to=object),
}


@pytest.mark.parametrize("name", CALLS)
def test_requests_of_others_are_untouched(door: Door, wire: Wire, sqlite_settings: Settings, name: str) -> None:
    """A wrapped client sends the same request line, query, headers in their order, and body as an unwrapped one."""
    for wrapped in (False, True):
        client = door.raw_client(wire, default_query={"tenant": "blue"})
        if wrapped:
            assistants_compat.wrap(client, sqlite_settings)
        door(CALLS[name](client))
    plain, through = wire.requests
    assert through == plain
    assert KEY.encode() in plain


@pytest.mark.skipif(VERSION < (1, 110), reason="this SDK has no ChatKit")
def test_chatkit_of_the_sdk_is_not_ours(door: Door, wire: Wire, sqlite_settings: Settings) -> None:
    """`client.beta.chatkit.threads` has a path that ends as ours do, and goes to its own service."""
    for wrapped in (False, True):
        client = door.raw_client(wire)
        if wrapped:
            assistants_compat.wrap(client, sqlite_settings)
        door(client.beta.chatkit.threads.retrieve("cthr_1"))
    plain, through = wire.requests
    assert through == plain
    assert plain.startswith(b"GET /v1/chatkit/threads/cthr_1 ")


def test_a_file_id_of_our_shape_that_is_not_ours_reaches_the_upstream(
    door: Door, wire: Wire, sqlite_settings: Settings
) -> None:
    """The store has the last word: an id that it does not know is sent on as it came."""
    for wrapped in (False, True):
        client = door.raw_client(wire)
        if wrapped:
            assistants_compat.wrap(client, sqlite_settings)
        door(client.files.retrieve(OURS_BY_SHAPE))
        door(client.files.content(OURS_BY_SHAPE))
        door(client.files.delete(OURS_BY_SHAPE))
    assert len(wire.requests) == 6
    assert wire.requests[:3] == wire.requests[3:]


@pytest.mark.parametrize("place", ["vector_stores/vs_1", "containers/cntr_1"])
def test_a_file_of_ours_is_ours_in_its_own_place_only(
    door: Door, upstream: StandIn, sqlite_settings: Settings, place: str
) -> None:
    """The same id below a vector store or a container is that service's business, though we have such a file."""
    client = door.client(upstream, sqlite_settings)
    made = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    upstream.requests.clear()
    for call in (client.get, client.delete):
        with pytest.raises(openai.NotFoundError):
            door(call(f"/{place}/files/{made}", cast_to=object))
    paths = [f"{request.method} {request.path}" for request in upstream.requests]
    assert paths == [f"GET /{place}/files/{made}", f"DELETE /{place}/files/{made}"]
    assert door(client.files.content(made)).read() == CSV


def test_assistants_calls_are_what_does_not_leave(door: Door, wire: Wire, sqlite_settings: Settings) -> None:
    """The same comparison sees a difference where there is one: an Assistants call reaches no wire."""
    client = door.raw_client(wire)
    assistants_compat.wrap(client, sqlite_settings)
    door(client.beta.assistants.create(model="gpt-4o"))
    door(client.beta.threads.create())
    assert wire.requests == []
