"""Reduces a recorded exchange to what a cassette may hold: listed headers, no private host, readable bodies.

Every function is idempotent. A replayed request, scrubbed the same way, therefore equals the recorded one.
"""

from __future__ import annotations

import importlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

PLACEHOLDER = "scrubbed"

IDENTITY_HEADERS = (
    "authorization",
    "api-key",
    "x-api-key",
    "cookie",
    "set-cookie",
    "openai-organization",
    "openai-project",
)
"""The headers that identify the caller. Their values are private even where they do not look like a secret."""
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

# The first label of these hosts is the name of the Azure resource (Source: docs/azure.md), or of an API Management
# gateway.
_AZURE_HOST = re.compile(
    r"(?i)\b[a-z0-9][a-z0-9-]*(?=\.(?:openai\.azure\.(?:com|us|cn)|cognitiveservices\.azure\.(?:com|us|cn)"
    r"|services\.ai\.azure\.com|azure-api\.net|blob\.core\.windows\.net)\b)"
)
_SECRET_QUERY = re.compile(
    r"(?i)(?P<name>(?:^|(?<=[?&;]))(?:api[-_]?key|key|code|sig|signature|token|access[-_]token|subscription[-_]key))=[^&;#]*"
)
_BOUNDARY = re.compile(r"(?i)boundary=\"?(?P<boundary>[^\";\s]+)\"?")
_GUESSED_PART_HEADERS = {b"content-type", b"content-length"}
_FIXED_BOUNDARY = "boundary-of-the-form"


def scrub_url(url: str) -> str:
    """Return a URL without credentials, without the name of an Azure resource and without keys in its query."""
    parts = urlsplit(url)
    host = _AZURE_HOST.sub(PLACEHOLDER, parts.netloc.rpartition("@")[2])
    return urlunsplit(parts._replace(netloc=host, query=_SECRET_QUERY.sub(rf"\g<name>={PLACEHOLDER}", parts.query)))


def scrub_headers(headers: Mapping[str, Any], allowed: Iterable[str]) -> dict[str, Any]:
    """Return the allowed headers, with lower-case names; `location` goes through `scrub_url`."""
    kept = {name.lower(): value for name, value in headers.items() if name.lower() in allowed}
    if "location" in kept:
        urls = kept["location"]
        kept["location"] = scrub_url(urls) if isinstance(urls, str) else [scrub_url(url) for url in urls]
    return kept


def scrub_request_body(body: bytes, content_type: str) -> tuple[bytes, str]:
    """Return the body and the content type to record: indented JSON, and forms with one fixed boundary."""
    # The SDK chooses a random boundary for each request, which no recording would match.
    if match := _BOUNDARY.search(content_type):
        body = body.replace(match["boundary"].encode(), _FIXED_BOUNDARY.encode())
        return body, f"multipart/form-data; boundary={_FIXED_BOUNDARY}"
    if body.lstrip()[:1] in {b"{", b"["}:
        try:
            return _AZURE_HOST.sub(PLACEHOLDER, json.dumps(json.loads(body), indent=2)).encode(), content_type
        except ValueError:
            pass
    return body, content_type


def comparable_body(body: Any, content_type: str) -> Any:
    """Return what two requests are compared by: the value of a JSON body, the parts of a form, or the body itself.

    The parts of a form have no boundary, which is random, and no content type, which the client guesses from the file's
    name with the tables of its machine: a recording of `notes.md` would not match on another one.
    """
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    if isinstance(body, bytes) and (match := _BOUNDARY.search(content_type)):
        return _form_parts(body, match["boundary"].encode())
    try:
        return json.loads(body or b"null")
    except (ValueError, TypeError):
        return body


def _form_parts(body: bytes, boundary: bytes) -> Any:
    """Return each part of a form: its headers without what the client guesses, and its bytes."""
    delimiter = b"\r\n--" + boundary
    first, *parts = (b"\r\n" + body).split(delimiter)
    if first or len(parts) < 2 or not parts[-1].startswith(b"--"):  # noqa: PLR2004 - a part and the end
        return body
    form: list[tuple[frozenset[bytes], bytes]] = []
    for part in parts[:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        lines = [line.strip() for line in head.split(b"\r\n") if line.strip()]
        kept = (line for line in lines if line.partition(b":")[0].strip().lower() not in _GUESSED_PART_HEADERS)
        form.append((frozenset(kept), content))
    return form


def scrub_response(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response in VCR.py's format, scrubbed: `{"status", "headers", "body": {"string"}}`."""
    body = response["body"].get("string") or b""
    if isinstance(body, str):
        body = body.encode()
    headers = {name.lower(): value for name, value in response["headers"].items()}
    encoding = "".join(headers.get("content-encoding", [])).strip().lower()
    kept = scrub_headers(response["headers"], RESPONSE_HEADERS)
    try:
        body = _decompress(body, encoding)
    except (LookupError, zlib.error):  # an encoding that cannot be read stays, with its header
        kept["content-encoding"] = headers["content-encoding"]
    content_type = "".join(headers.get("content-type", []))
    # Only in text: a download keeps every byte.
    if "json" in content_type or "event-stream" in content_type:
        body = _AZURE_HOST.sub(PLACEHOLDER, body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if "content-length" in kept:
        kept["content-length"] = [str(len(body))]
    return {**response, "headers": kept, "body": {**response["body"], "string": body}}


def _decompress(body: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"} or not body:
        return body
    if encoding == "br":
        return _decompress_brotli(body)
    if encoding not in {"gzip", "deflate"}:
        raise LookupError(encoding)
    # Servers send `deflate` with or without zlib's header.
    window = zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS if body[0] & 15 == 8 else -zlib.MAX_WBITS  # noqa: PLR2004
    return zlib.decompress(body, window)


def _decompress_brotli(body: bytes) -> bytes:
    """Decompress with the package that made the client accept Brotli (`httpx[brotli]`).

    Raises `LookupError` if no such package is installed, or if it cannot read the body.
    """
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


_RESPONSE_PATH = re.compile(r"/responses/[^/?]+\Z")
_UNFINISHED_STATUSES = {"queued", "in_progress"}


def fold_polls(exchanges: Sequence[tuple[str, str, bytes]]) -> list[int]:
    """Return the indices of the exchanges to keep when redundant polls of unfinished responses are dropped.

    Each exchange is `(method, url, response body)`. Polls are dropped only where a later poll of the same response
    shows another status. A test that polls as often as before, or less, then sees the same statuses in the same order.
    """
    kept: list[int] = []
    pending: dict[str, list[int]] = {}  # by URL: the polls that showed the response's latest status
    statuses: dict[str, str] = {}
    for index, (method, url, body) in enumerate(exchanges):
        parts = urlsplit(url)
        status = _response_status(body) if method == "GET" and _RESPONSE_PATH.search(parts.path) else None
        if status is None:
            # A test that polls three times and then cancels (a POST below the response) needs all three polls.
            if method != "GET":
                for pending_url in list(pending):
                    if parts.path.startswith(urlsplit(pending_url).path):
                        kept += pending.pop(pending_url)
            kept.append(index)
            continue
        if statuses.get(url) != status:
            kept += pending.pop(url, [])[:1]
        statuses[url] = status
        if status in _UNFINISHED_STATUSES:
            pending.setdefault(url, []).append(index)
        else:
            kept.append(index)
    # The recording ended while these responses were unfinished, so no later poll replaces theirs.
    for polls in pending.values():
        kept += polls
    return sorted(kept)


def _response_status(body: bytes) -> str | None:
    try:
        response = json.loads(body)
    except ValueError:
        return None
    status = response.get("status") if isinstance(response, dict) else None
    return status if isinstance(status, str) else None
