"""A deterministic chat-completions server, for gateways that turn Responses requests into chat completions.

With tools it calls the first one until it is told the output, then repeats what it was told. Without the user's
question it has nothing to answer, so it calls the tool again, as a real model does. It counts tokens in words, and
refuses tools that Chat Completions does not have.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

UNKNOWN_TOOL = {
    "message": "Invalid value: 'code_interpreter'. Supported values are: 'function' and 'custom'.",
    "type": "invalid_request_error",
    "param": "tools[0].type",
    "code": "invalid_value",
}


class ChatStub(ThreadingHTTPServer):
    """The server; `requests` are the bodies that it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Any] = []

    @property
    def base_url(self) -> str:
        """Its address for an OpenAI client."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextlib.contextmanager
def chat_stub() -> Iterator[ChatStub]:
    """Run the server in a thread until the block ends."""
    with ChatStub() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def answer(request: Any) -> dict[str, Any]:
    """Return the assistant's message for a request."""
    texts: dict[str, list[str]] = {}
    for message in request["messages"]:
        texts.setdefault(message["role"], []).append(_text(message.get("content")))
    outputs = texts.get("tool", [])
    if request.get("tools") and not (outputs and "user" in texts):
        function = {"name": request["tools"][0]["function"]["name"], "arguments": '{"city": "Paris"}'}
        call = {"id": f"call_{len(outputs) + 1}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    told = [*texts.get("user", ["nothing"])[-1:], *outputs]
    text = f"You said: {', '.join(told)}"
    if (request.get("response_format") or {}).get("type") in {"json_object", "json_schema"}:
        text = json.dumps({"said": told})
    return {"role": "assistant", "content": text}


def _usage(request: Any, message: dict[str, Any]) -> dict[str, int]:
    """Count the words of a request and of its answer as tokens."""
    sent = len(" ".join(_text(message.get("content")) for message in request["messages"]).split())
    made = len((message["content"] or "weather Paris").split())
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", f"<{part['type']}>") for part in content)
    return content or ""


def _chunks(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the deltas of a streamed message, its text word by word."""
    yield {"role": "assistant", "content": ""}
    if message["content"]:
        yield from ({"content": word} for word in message["content"].replace(" ", " \0").split("\0"))
    for index, call in enumerate(message.get("tool_calls", [])):
        yield {"tool_calls": [{"index": index, **call}]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatStub

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        if any(tool["type"] != "function" for tool in request.get("tools", [])):
            self._send("application/json", json.dumps({"error": UNKNOWN_TOOL}).encode(), 400)
            return
        message = answer(request)
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        known: dict[str, Any] = {"id": "chatcmpl-1", "created": 1, "model": request["model"]}
        if not request.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            completion = {**known, "object": "chat.completion", "choices": [choice], "usage": _usage(request, message)}
            self._send("application/json", json.dumps(completion).encode())
            return
        choices: list[dict[str, Any]] = [
            {"index": 0, "delta": delta, "finish_reason": None} for delta in _chunks(message)
        ]
        choices.append({"index": 0, "delta": {}, "finish_reason": reason})
        chunks = [{**known, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
        chunks.append({**known, "object": "chat.completion.chunk", "choices": [], "usage": _usage(request, message)})
        frames = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self._send("text/event-stream", "".join([*frames, "data: [DONE]\n\n"]).encode())

    def _send(self, content_type: str, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
