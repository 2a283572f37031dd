"""Requests other than Assistants calls leave a wrapped client byte for byte as an unwrapped one."""

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

MULTIPART = {"Content-Type": "multipart/form-data; boundary=fixed"}
GENERATED_STYLE_ID = "file-AC0123456789012345678901"


class RecordingServer:
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
def server() -> Iterator[RecordingServer]:
    """A running `RecordingServer`."""
    server = RecordingServer()
    yield server
    server.listener.close()


def chat(client: Any) -> Any:
    """Request a chat completion whose text has everything that could be escaped."""
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
    "container files": lambda client: client.get(
        f"/containers/cntr_1/files/{GENERATED_STYLE_ID}/content", cast_to=object
    ),
    "vector store files": lambda client: client.get(f"/vector_stores/vs_1/files/{GENERATED_STYLE_ID}", cast_to=object),
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
def test_other_requests_are_unchanged(
    door: Door, server: RecordingServer, sqlite_settings: Settings, name: str
) -> None:
    """A wrapped client sends the same request line, query, headers in order and body as an unwrapped one."""
    for wrapped in (False, True):
        client = door.raw_client(server, default_query={"tenant": "blue"})
        if wrapped:
            assistants_compat.wrap(client, sqlite_settings)
        door(CALLS[name](client))
    plain, passed_on = server.requests
    assert passed_on == plain
    assert KEY.encode() in plain


@pytest.mark.skipif(not hasattr(openai.resources.beta.Beta, "chatkit"), reason="this SDK has no ChatKit")
def test_chatkit_is_passed_on(door: Door, server: RecordingServer, sqlite_settings: Settings) -> None:
    """`client.beta.chatkit.threads`, whose path ends like a legacy one, is passed on unchanged."""
    for wrapped in (False, True):
        client = door.raw_client(server)
        if wrapped:
            assistants_compat.wrap(client, sqlite_settings)
        door(client.beta.chatkit.threads.retrieve("cthr_1"))
    plain, passed_on = server.requests
    assert passed_on == plain
    assert plain.startswith(b"GET /v1/chatkit/threads/cthr_1 ")


def test_an_unknown_id_of_generated_style_is_passed_on(
    door: Door, server: RecordingServer, sqlite_settings: Settings
) -> None:
    """A file id that is shaped like a generated one but is not in the store is sent upstream unchanged."""
    for wrapped in (False, True):
        client = door.raw_client(server)
        if wrapped:
            assistants_compat.wrap(client, sqlite_settings)
        door(client.files.retrieve(GENERATED_STYLE_ID))
        door(client.files.content(GENERATED_STYLE_ID))
        door(client.files.delete(GENERATED_STYLE_ID))
    assert len(server.requests) == 6
    assert server.requests[:3] == server.requests[3:]


@pytest.mark.parametrize("place", ["vector_stores/vs_1", "containers/cntr_1"])
def test_a_generated_file_is_served_below_files_only(
    door: Door, upstream: StandIn, sqlite_settings: Settings, place: str
) -> None:
    """A generated file's id below a vector store or a container is sent upstream, not served from the store."""
    client = door.client(upstream, sqlite_settings)
    file_id = make_file(door, client, upstream, Turn(text=LINK, files={"sales.csv": CSV}))
    upstream.requests.clear()
    for call in (client.get, client.delete):
        with pytest.raises(openai.NotFoundError):
            door(call(f"/{place}/files/{file_id}", cast_to=object))
    paths = [f"{request.method} {request.path}" for request in upstream.requests]
    assert paths == [f"GET /{place}/files/{file_id}", f"DELETE /{place}/files/{file_id}"]
    assert door(client.files.content(file_id)).read() == CSV


def test_assistants_calls_send_nothing(door: Door, server: RecordingServer, sqlite_settings: Settings) -> None:
    """An Assistants call of a wrapped client sends nothing upstream, unlike the requests compared above."""
    client = door.raw_client(server)
    assistants_compat.wrap(client, sqlite_settings)
    door(client.beta.assistants.create(model="gpt-4o"))
    door(client.beta.threads.create())
    assert server.requests == []
