"""What is kept of a recorded exchange: an allow-list of headers, no host of one's own, bodies that can be read.

Every function gives the same for what has been through it before, so the requests of a replay, cleaned the same way,
are the recorded ones.
"""

from __future__ import annotations

import importlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "scrubbed"

WHO = ("authorization", "api-key", "x-api-key", "cookie", "set-cookie", "openai-organization", "openai-project")
"""The headers that say who asked: never a secret by their look alone, and nobody else's business."""
REQUEST_HEADERS = frozenset({"accept", "content-type", "openai-beta"})
RESPONSE_HEADERS = frozenset(
    {
        "content-disposition",
        "content-length",
        "content-type",
        "location",
        "openai-poll-after-ms",
        "openai-version",
        "retry-after",
        "retry-after-ms",
        "x-recorded-against",
        "x-request-id",
        "x-should-retry",
    }
)

# The resource's name is the first label of these (Source: docs/azure.md); an API Management gateway's too.
_AZURE_HOST = re.compile(
    r"(?i)\b[a-z0-9][a-z0-9-]*(?=\.(?:openai\.azure\.(?:com|us|cn)|cognitiveservices\.azure\.(?:com|us|cn)"
    r"|services\.ai\.azure\.com|azure-api\.net|blob\.core\.windows\.net)\b)"
)
_SECRET_QUERY = re.compile(
    r"(?i)(?P<name>(?:^|(?<=[?&;]))(?:api[-_]?key|key|code|sig|signature|token|access[-_]token|subscription[-_]key))=[^&;#]*"
)
_BOUNDARY = re.compile(r"(?i)boundary=\"?(?P<boundary>[^\";\s]+)\"?")
_ONE_BOUNDARY = "boundary-of-the-form"


def address(url: str) -> str:
    """An address without credentials, without the name of an Azure resource, without keys in its query."""
    parts = urlsplit(url)
    host = _AZURE_HOST.sub(HIDDEN, parts.netloc.rpartition("@")[2])
    return urlunsplit(parts._replace(netloc=host, query=_SECRET_QUERY.sub(rf"\g<name>={HIDDEN}", parts.query)))


def headers(given: Mapping[str, Any], allowed: Iterable[str]) -> dict[str, Any]:
    """The headers that are allowed, in lower case; `location` as `address` has it."""
    kept = {name.lower(): value for name, value in given.items() if name.lower() in allowed}
    if "location" in kept:
        values = kept["location"]
        kept["location"] = address(values) if isinstance(values, str) else [address(value) for value in values]
    return kept


def request_body(body: bytes, content_type: str) -> tuple[bytes, str]:
    """The body and its type as they are kept: JSON in lines, a form with always the same boundary."""
    if found := _BOUNDARY.search(content_type):
        body = body.replace(found["boundary"].encode(), _ONE_BOUNDARY.encode())
        return body, f"multipart/form-data; boundary={_ONE_BOUNDARY}"
    if body.lstrip()[:1] in {b"{", b"["}:
        try:
            return _AZURE_HOST.sub(HIDDEN, json.dumps(json.loads(body), indent=2)).encode(), content_type
        except ValueError:
            pass
    return body, content_type


def response(given: Mapping[str, Any]) -> dict[str, Any]:
    """A response as VCR.py has it, cleaned: `{"status", "headers", "body": {"string"}}`."""
    body = given["body"].get("string") or b""
    if isinstance(body, str):
        body = body.encode()
    named = {name.lower(): value for name, value in given["headers"].items()}
    encoding = "".join(named.get("content-encoding", [])).strip().lower()
    kept = headers(given["headers"], RESPONSE_HEADERS)
    try:
        body = _decoded(body, encoding)
    except (LookupError, zlib.error):  # nothing here can read it, so it stays as it came
        kept["content-encoding"] = named["content-encoding"]
    text = "".join(named.get("content-type", []))
    if "json" in text or "event-stream" in text:
        body = _AZURE_HOST.sub(HIDDEN, body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if "content-length" in kept:
        kept["content-length"] = [str(len(body))]
    return {**given, "headers": kept, "body": {**given["body"], "string": body}}


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"} or not body:
        return body
    if encoding == "br":
        return _brotli(body)
    if encoding not in {"gzip", "deflate"}:
        raise LookupError(encoding)
    # `deflate` is written with zlib's header or without it.
    window = zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS if body[0] & 15 == 8 else -zlib.MAX_WBITS  # noqa: PLR2004
    return zlib.decompress(body, window)


def _brotli(body: bytes) -> bytes:
    """By the package that made the client ask for it (`httpx[brotli]`); raises `LookupError` where there is none."""
    for name in ("brotli", "brotlicffi"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return bytes(module.decompress(body))
        except module.error:
            break
    raise LookupError(name)


_RESPONSE = re.compile(r"/responses/[^/?]+\Z")
_UNFINISHED = {"queued", "in_progress"}


def folded(exchanges: Sequence[tuple[str, str, bytes]]) -> list[int]:
    """Which exchanges are kept when looks at an unfinished response that showed nothing new are left out.

    Each is `(method, address, answer)`.  Looks are left out only where a later look at the same response shows another
    status: then whoever looks as often as before, or less, sees the same statuses in the same order.
    """
    kept: list[int] = []
    waiting: dict[str, list[int]] = {}  # the looks at a response with one status, by its address
    statuses: dict[str, str] = {}
    for index, (method, url, answer) in enumerate(exchanges):
        parts = urlsplit(url)
        status = _status(answer) if method == "GET" and _RESPONSE.search(parts.path) else None
        if status is None:
            if method != "GET":  # a cancellation, say: the looks before it have to be enough
                for held in list(waiting):
                    if parts.path.startswith(urlsplit(held).path):
                        kept += waiting.pop(held)
            kept.append(index)
            continue
        if statuses.get(url) != status:
            kept += waiting.pop(url, [])[:1]
        statuses[url] = status
        if status in _UNFINISHED:
            waiting.setdefault(url, []).append(index)
        else:
            kept.append(index)
    for left in waiting.values():
        kept += left
    return sorted(kept)


def _status(answer: bytes) -> str | None:
    try:
        body = json.loads(answer)
    except ValueError:
        return None
    status = body.get("status") if isinstance(body, dict) else None
    return status if isinstance(status, str) else None
