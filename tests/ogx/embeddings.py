"""Adds to the model behind OGX the embeddings that vector stores need: word counts, so that similar texts are near.

This file is copied beside the model and wraps its application; a plain ASGI application needs no library.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

DIMENSION = 64


def with_embeddings(inner: Any) -> Any:
    """Return the application extended with `POST /v1/embeddings`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/v1/embeddings":
            await inner(scope, receive, send)
            return
        body, has_more = b"", True
        while has_more:
            piece = await receive()
            body, has_more = body + piece.get("body", b""), piece.get("more_body", False)
        answer = json.dumps(_answer(json.loads(body))).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def _answer(request: Any) -> Any:
    texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
    data = [{"object": "embedding", "index": number, "embedding": _counts(text)} for number, text in enumerate(texts)]
    return {"object": "list", "model": request["model"], "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _counts(text: str) -> list[float]:
    counts = [0.01] * DIMENSION  # not zero, so that a text without words has a direction
    for word in re.findall(r"\w+", text.lower()):
        counts[zlib.crc32(word.encode()) % DIMENSION] += 1.0
    return counts
