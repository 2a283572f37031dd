"""The HTTP side: HTTP/1.1 with keep-alive on loopback, bodies with a length or in chunks, and the faults.

Only this module touches sockets. It knows nothing of the API beyond the two bases that it serves.
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
# Azure's dated routes (`/openai/files?api-version=...`) live on for files and vector stores.
_BASE = re.compile(r"^(/openai/v1|/openai(?=/(files|vector_stores)(/|$))|/v1)(?=/|$)")


class Application(Protocol):
    """What the server needs of the stand-in."""

    def fault_for(self, request: Request) -> Fault | None:
        """Record the request and take the fault that is meant for it."""

    def answer(self, request: Request) -> Answer:
        """Carry the request out."""

    def signed(self, answer: Answer) -> Answer:
        """Add the headers that every answer carries."""

    def now(self) -> float:
        """The time for the `date` header."""

    def rest(self, seconds: float) -> bool:
        """Wait; False when the stand-in has ended meanwhile."""


class Server(ThreadingHTTPServer):
    """One thread a connection; closing it ends the open connections too."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, application: Application) -> None:
        """Bind a free port of the loopback interface."""
        self.application = application
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """Remember the connection."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Forget it again."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are normal here: nothing is printed."""

    def end(self) -> None:
        """Stop listening and close every connection, kept-alive ones as well."""
        self.shutdown()
        self.server_close()
        with self._open_lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def _serve(self) -> None:
        request = self._request()
        application = self.server.application
        fault = application.fault_for(request)
        if fault is None:
            self._send(application.answer(request))
            return
        if not application.rest(fault.stall) or fault.drop:
            self.close_connection = True
        elif fault.html or fault.status is not None:
            self._send(application.signed(_from_fault(fault)))
        else:
            self._send(application.answer(request), truncate=fault.truncate)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve  # noqa: N815 - the names of http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as named in http.server
        """Say nothing: `requests` is the log."""

    def version_string(self) -> str:
        """Say who answers: a recording made here must not look like the service."""
        return "assistants-compat-stand-in"

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The stand-in's own time."""
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
        while self.rfile.readline().strip():
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
        self.wfile.write(answer.body[: len(answer.body) // 2] if truncate else answer.body)
        self.wfile.flush()
        self.close_connection = self.close_connection or truncate

    def _send_chunks(self, answer: Answer, *, truncate: bool) -> None:
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chunks = list(answer.chunks or ()) if truncate else answer.chunks or ()
        if isinstance(chunks, list):
            chunks = _half(chunks)
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"" if truncate else b"0\r\n\r\n")
        self.wfile.flush()
        self.close_connection = self.close_connection or truncate


def _half(chunks: list[bytes]) -> list[bytes]:
    """The first half of a stream; its last event is cut in the middle."""
    kept = chunks[: max(1, len(chunks) // 2)]
    return [*kept[:-1], kept[-1][: len(kept[-1]) // 2]]


def _from_fault(fault: Fault) -> Answer:
    headers = {name.lower(): value for name, value in fault.headers.items()}
    if fault.html:
        return Answer(fault.status or 502, _HTML, {"content-type": "text/html", **headers})
    if isinstance(fault.body, (bytes, str)):
        body = fault.body.encode() if isinstance(fault.body, str) else fault.body
        return Answer(fault.status or _OK, body, {"content-type": "text/plain; charset=utf-8", **headers})
    error = {"message": _FAULT_TEXT, "type": "server_error", "param": None, "code": None}
    body = json.dumps({"error": error} if fault.body is None else fault.body, indent=2).encode()
    return Answer(fault.status or _OK, body, {"content-type": "application/json", **headers})
