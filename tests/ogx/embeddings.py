"""What the model behind OGX needs for vector stores: embeddings that count words, so that like texts are near.

It is copied beside the model, whose application it wraps; an ASGI application of its own needs no library.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

DIMENSION = 64


def with_embeddings(inner: Any) -> Any:
    """The application with `POST /v1/embeddings`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/v1/embeddings":
            await inner(scope, receive, send)
            return
        body, more = b"", True
        while more:
            piece = await receive()
            body, more = body + piece.get("body", b""), piece.get("more_body", False)
        answer = json.dumps(_answer(json.loads(body))).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def _answer(asked: Any) -> Any:
    texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    data = [{"object": "embedding", "index": number, "embedding": _counts(text)} for number, text in enumerate(texts)]
    return {"object": "list", "model": asked["model"], "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _counts(text: str) -> list[float]:
    counts = [0.01] * DIMENSION  # a text without words has a direction too
    for word in re.findall(r"\w+", text.lower()):
        counts[zlib.crc32(word.encode()) % DIMENSION] += 1.0
    return counts
