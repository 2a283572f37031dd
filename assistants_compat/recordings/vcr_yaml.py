"""VCR.py's YAML: a document as exchanges, and exchanges as a document.

    interactions:
    - request: {method, uri, headers: {name: [value]}, body: text or bytes or null}
      response: {status: {code, message}, headers: {name: [value]}, body: {string: text or bytes}}
    version: 1

Read leniently: headers may be single values, and a body may also stand as `base64_string`, as `content` (VCR.py's older
httpx stub, with `status_code`), as `parsed_body` (a serializer of several test suites), or still compressed.
PyYAML comes with VCR.py, so it is loaded by the first file that is read.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..errors import CompatError
from ..wire.objects import Json

Headers = Mapping[str, Sequence[str]]
_ENCODED = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class CassetteError(CompatError):
    """A file is no recording that can be read."""


@dataclass(frozen=True)
class Exchange:
    """A recorded request and its answer; names of headers are lower case, bodies are not compressed."""

    method: str
    uri: str
    status: int
    request_headers: Headers = field(default_factory=dict)
    request_body: bytes = b""
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    message: str = ""

    def header(self, name: str) -> str | None:
        """The first value of a header of the answer."""
        return next(iter(self.headers.get(name, ())), None)

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events, by its type or, where headers were not kept, by its first bytes."""
        kind = self.header("content-type")
        if kind is not None:
            return kind.startswith("text/event-stream")
        return self.body.lstrip().startswith((b"event:", b"data:"))


def load(path: Path) -> Json:
    """The document in a file; raises `CassetteError` where it is none, and `OSError`."""
    yaml = _yaml()
    try:
        document = yaml.load(path.read_bytes(), Loader=_loader(yaml))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        message = f"{path} is no YAML{where}."
        raise CassetteError(message) from None
    if not isinstance(document, dict) or not isinstance(document.get("interactions"), list):
        message = f"{path} is no recording of VCR.py: it has no list `interactions`."
        raise CassetteError(message)
    return document


def dump(document: Mapping[str, Any]) -> str:
    """A document as YAML."""
    yaml = _yaml()
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(dict(document), Dumper=dumper, sort_keys=False, allow_unicode=True, width=120))


def exchanges_from_document(document: Mapping[str, Any]) -> list[Exchange]:
    """Every exchange, in the order of the recording; raises `CassetteError` for what cannot be read, by its number."""
    exchanges = []
    for number, interaction in enumerate(document["interactions"], 1):
        try:
            exchanges.append(exchange_from_interaction(interaction))
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # noqa: PERF203 - each is one of its own
            message = f"interaction {number} cannot be read ({type(error).__name__})."
            raise CassetteError(message) from None
    return exchanges


def exchange_from_interaction(interaction: Mapping[str, Any]) -> Exchange:
    """One exchange; raises `KeyError`, `TypeError` or `ValueError` for another shape."""
    request, response = interaction["request"], interaction["response"]
    status = response.get("status", response.get("status_code"))
    code, message = (status["code"], status.get("message")) if isinstance(status, dict) else (status, None)
    headers, body = _decoded(_headers(response.get("headers")), _body(response))
    request_headers, request_body = _decoded(_headers(request.get("headers")), _body(request))
    return Exchange(
        method=str(request["method"]).upper(),
        uri=str(request.get("uri", request.get("url"))),
        status=int(code),
        request_headers=request_headers,
        request_body=request_body,
        headers=headers,
        body=body,
        message=str(message or ""),
    )


def interaction_from_exchange(exchange: Exchange) -> Json:
    """One exchange as VCR.py writes it: text where the bytes are UTF-8, else binary."""
    return {
        "request": {
            "body": _text(exchange.request_body) or None,
            "headers": {name: list(values) for name, values in exchange.request_headers.items()},
            "method": exchange.method,
            "uri": exchange.uri,
        },
        "response": {
            "body": {"string": _text(exchange.body)},
            "headers": {name: list(values) for name, values in exchange.headers.items()},
            "status": {"code": exchange.status, "message": exchange.message},
        },
    }


def document_from_interactions(interactions: Iterable[Mapping[str, Any]], **more: Json) -> Json:
    """A document of VCR.py; `more` are keys of its top level, which VCR.py passes over."""
    return {**more, "interactions": list(interactions), "version": 1}


def _headers(given: Any) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in (given or {}).items():
        values = value if isinstance(value, (list, tuple)) else [value]
        headers.setdefault(str(name).lower(), []).extend(_name(each) for each in values)
    return headers


def _name(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(side: Mapping[str, Any]) -> bytes:
    if "parsed_body" in side:
        return _bytes(side["parsed_body"])
    body = side.get("body", side.get("content"))
    if isinstance(body, dict):
        if "base64_string" in body:
            return base64.b64decode(body["base64_string"])
        if "string" in body:
            return _bytes(body["string"])
    return _bytes(body)


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if isinstance(body, (dict, list)):
        return json.dumps(body).encode()
    return str(body).encode("utf-8", "surrogatepass")


def _decoded(headers: dict[str, list[str]], body: bytes) -> tuple[Headers, bytes]:
    """The headers and the body without compression; one that only its header calls compressed is as it is."""
    plain = None
    try:
        if body.startswith(b"\x1f\x8b"):
            plain = gzip.decompress(body)
        elif body and "deflate" in headers.get("content-encoding", ()):
            plain = zlib.decompress(body)
    except (OSError, EOFError, zlib.error, binascii.Error):
        plain = None
    if plain is None or not ("content-encoding" in headers or plain.lstrip()[:1] in (b"{", b"[")):
        return headers, body  # a downloaded archive is no encoding
    return {name: values for name, values in headers.items() if name not in _ENCODED}, plain


def _text(body: bytes) -> str | bytes:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body


def _yaml() -> Any:
    try:
        import yaml  # noqa: PLC0415 - comes with the extra `pytest`
    except ImportError:
        message = "Recordings are YAML, which needs an extra: pip install 'assistants-compat[pytest]'."
        raise CassetteError(message) from None
    return yaml


def _loader(yaml: Any) -> Any:
    """A loader that makes plain data of every tag it does not know (`!!python/unicode` of old recordings)."""

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # known at run time only
        pass

    def plain(loader: Any, _suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_mapping(node, deep=True)

    cast("Any", Loader).add_multi_constructor("!", plain)
    cast("Any", Loader).add_multi_constructor("tag:", plain)
    return Loader
