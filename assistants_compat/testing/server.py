"""The HTTP server: HTTP/1.1 with keep-alive on loopback, bodies with a length or in chunks, and faults.

Only this module uses sockets. It knows nothing about the API except the base paths that it serves.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from .exchange import Answer, Request

if TYPE_CHECKING:
    from .turns import Fault

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_FAULT_TEXT = "The server had an error while processing your request. Sorry about that!"
_OK = 200
# Azure still serves dated routes (`/openai/files?api-version=...`) for files and vector stores.
# A Foundry project has the v1 routes below its own path (recorded, azure_agents.md section 3).
_BASE = re.compile(r"^((?:/api/projects/[^/]+)?/openai/v1|/openai(?=/(files|vector_stores)(/|$))|/v1)(?=/|$)")


class Application(Protocol):
    """What the server calls on the stand-in."""

    def fault_for(self, request: Request) -> Fault | None:
        """Record the request and return its fault, or None."""

    def answer(self, request: Request) -> Answer:
        """Answer the request."""

    def with_service_headers(self, answer: Answer) -> Answer:
        """Add the headers that every answer of the service has."""

    def now(self) -> float:
        """Return the time for the `date` header."""

    def wait(self, seconds: float) -> bool:
        """Wait; return False if the stand-in has stopped meanwhile."""


class Server(ThreadingHTTPServer):
    """Serves each connection in a thread of its own, and closes open connections when it stops."""

    daemon_threads = True
    block_on_close = False  # `stop` does not wait for a thread that stalls for a fault
    request_queue_size = 128  # the default of 5 is too small for tests with many clients at once

    def __init__(self, application: Application) -> None:
        """Bind a free port of the loopback interface."""
        self.application = application
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """Remember the connection and serve it."""
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Forget the connection and close it."""
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: clients that disconnect are normal in tests."""

    def stop(self) -> None:
        """Stop listening and close every connection, including idle keep-alive ones."""
        self.shutdown()
        self.server_close()
        with self._connections_lock:
            for connection in self._connections:
                # A shutdown wakes the thread that reads from the connection; a close would not.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a small chunk of a stream must not wait for an acknowledgement
    wbufsize = -1  # buffered, so that headers and body leave in one write
    server: Server

    def _serve(self) -> None:
        request = self._request()
        application = self.server.application
        fault = application.fault_for(request)
        if fault is None:
            self._send(application.answer(request))
            return
        if not application.wait(fault.stall) or fault.drop:
            self.close_connection = True
        elif fault.html or fault.status is not None:
            self._send(application.with_service_headers(_answer_from_fault(fault)))
        else:
            self._send(application.answer(request), truncate=fault.truncate)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve  # noqa: N815 - the names of http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as named in http.server
        """Log nothing: `StandIn.requests` is the log."""

    def version_string(self) -> str:
        """Return the `server` header, which keeps a recording made here from looking like the service."""
        return "assistants-compat-stand-in"

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the `date` header from the stand-in's own clock."""
        return super().date_time_string(int(self.server.application.now() if timestamp is None else timestamp))

    def _request(self) -> Request:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = _BASE.sub("", unquote(url.path))
        query = tuple(parse_qsl(url.query, keep_blank_values=True))
        return Request(self.command, path, self.path, query, headers, self._body(headers))

    def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", ""):
            return self.rfile.read(int(headers.get("content-length") or 0))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers, up to the empty line
            pass
        return b"".join(pieces)

    def _send(self, answer: Answer, *, truncate: bool = False) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunks is not None:
            self._send_chunks(answer, truncate=truncate)
            return
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        # The announced length is that of the whole body, so the client can tell that it broke off.
        self.wfile.write(answer.body[: len(answer.body) // 2] if truncate else answer.body)
        self.wfile.flush()
        self.close_connection = self.close_connection or truncate

    def _send_chunks(self, answer: Answer, *, truncate: bool) -> None:
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        # All chunks are made even if only half are sent, because the request takes its full effect (`Fault.truncate`).
        chunks = list(answer.chunks or ()) if truncate else answer.chunks or ()
        if isinstance(chunks, list):
            chunks = _first_half(chunks)
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        # Without the last, empty chunk the client sees a broken body, not the end of a short one.
        self.wfile.write(b"" if truncate else b"0\r\n\r\n")
        self.wfile.flush()
        self.close_connection = self.close_connection or truncate


def _first_half(chunks: list[bytes]) -> list[bytes]:
    """Return the first half of a stream, with its last event cut in the middle."""
    half = chunks[: max(1, len(chunks) // 2)]
    return [*half[:-1], half[-1][: len(half[-1]) // 2]]


def _answer_from_fault(fault: Fault) -> Answer:
    headers = {name.lower(): value for name, value in fault.headers.items()}
    if fault.html:
        return Answer(fault.status or 502, _HTML, {"content-type": "text/html", **headers})
    if isinstance(fault.body, (bytes, str)):
        body = fault.body.encode() if isinstance(fault.body, str) else fault.body
        return Answer(fault.status or _OK, body, {"content-type": "text/plain; charset=utf-8", **headers})
    error = {"message": _FAULT_TEXT, "type": "server_error", "param": None, "code": None}
    body = json.dumps({"error": error} if fault.body is None else fault.body, indent=2).encode()
    return Answer(fault.status or _OK, body, {"content-type": "application/json", **headers})
