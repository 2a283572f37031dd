"""Reads and writes VCR.py's YAML and JSON: a document becomes exchanges, and exchanges become a document.

    interactions:
    - request: {method, uri, headers: {name: [value]}, body: text or bytes or null}
      response: {status: {code, message}, headers: {name: [value]}, body: {string: text or bytes}}
    version: 1

VCR.py's JSON (`serializer="json"`) has the same keys, and no bytes.

Reading is lenient. Headers may be single values. A body may also be stored as `base64_string`, as `content` (VCR.py's
older httpx stub, with `status_code`), as `parsed_body` (a serializer of several test suites), or still compressed.
PyYAML comes with VCR.py, so it is imported only when the first file is read.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..errors import CompatError
from ..wire.objects import Json

Headers = Mapping[str, Sequence[str]]
_HEAD_BYTES = 4096
_YAML_START = re.compile(rb"^(?:interactions|assistants_compat):", re.MULTILINE)
_ENCODING_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class CassetteError(CompatError):
    """A file is not a readable recording."""


@dataclass(frozen=True)
class Exchange:
    """A recorded request and its response. Header names are lower case, and bodies are not compressed."""

    method: str
    uri: str
    status: int
    request_headers: Headers = field(default_factory=dict)
    request_body: bytes = b""
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    message: str = ""

    def header(self, name: str) -> str | None:
        """Return the first value of a response header."""
        return next(iter(self.headers.get(name, ())), None)

    @property
    def is_stream(self) -> bool:
        """Whether the response is an event stream, by its type or, without recorded headers, by its first bytes."""
        content_type = self.header("content-type")
        if content_type is not None:
            return content_type.startswith("text/event-stream")
        return self.body.lstrip().startswith((b"event:", b"data:"))


def load(path: Path) -> Json:
    """Return the document in a file; raises `OSError`, and `CassetteError` if the file is not a recording."""
    content = path.read_bytes()
    # YAML reads most JSON too, but not the escapes of characters above U+FFFF.
    document = _parse_json(content)
    if document is None:
        document = _parse_yaml(content, path)
    if not isinstance(document, dict) or not isinstance(document.get("interactions"), list):
        message = f"{path} is not a VCR.py recording: it has no list `interactions`."
        raise CassetteError(message)
    return document


def is_json(path: Path) -> bool:
    """Return whether a recording is stored as JSON, whatever its name is; raises `OSError`."""
    return _parse_json(path.read_bytes()) is not None


def may_be_recording(path: Path) -> bool:
    """Return whether a file holds what a recording of VCR.py begins with, without parsing it; raises `OSError`."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if head.lstrip()[:1] != b"{":
            return _YAML_START.search(head) is not None
        return b'"interactions"' in head + file.read()


def dump_json(document: Mapping[str, Any]) -> str:
    """Return a document as VCR.py's JSON; raises `CassetteError` with the number of an interaction that has bytes."""
    for number, interaction in enumerate(document["interactions"], 1):
        try:
            json.dumps(interaction)
        except TypeError:  # noqa: PERF203 - the message needs its number
            message = (
                f"new interaction {number} has binary data, which VCR.py's JSON cannot hold: save it as YAML first."
            )
            raise CassetteError(message) from None
    return f"{json.dumps(dict(document), indent=4)}\n"


def dump(document: Mapping[str, Any]) -> str:
    """Return a document as YAML."""
    yaml = _yaml()
    # The C emitter is much faster; PyYAML has it where it was built with libyaml.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(dict(document), Dumper=dumper, sort_keys=False, allow_unicode=True, width=120))


def exchanges_from_document(document: Mapping[str, Any]) -> list[Exchange]:
    """Return every exchange in recorded order; raises `CassetteError` with the number of an unreadable one."""
    exchanges = []
    for number, interaction in enumerate(document["interactions"], 1):
        try:
            exchanges.append(exchange_from_interaction(interaction))
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # noqa: PERF203 - the message needs its number
            message = f"interaction {number} cannot be read ({type(error).__name__})."
            raise CassetteError(message) from None
    return exchanges


def exchange_from_interaction(interaction: Mapping[str, Any]) -> Exchange:
    """Return one exchange; raises `KeyError`, `TypeError` or `ValueError` for an unknown format."""
    request, response = interaction["request"], interaction["response"]
    # `status_code` and `url` come from older formats.
    status = response.get("status", response.get("status_code"))
    code, message = (status["code"], status.get("message")) if isinstance(status, dict) else (status, None)
    headers, body = _decompress(_headers(response.get("headers")), _body(response))
    request_headers, request_body = _decompress(_headers(request.get("headers")), _body(request))
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
    """Return one exchange as VCR.py writes it: a body is text if its bytes are UTF-8, else binary."""
    return {
        "request": {
            "body": _text_or_bytes(exchange.request_body) or None,
            "headers": {name: list(values) for name, values in exchange.request_headers.items()},
            "method": exchange.method,
            "uri": exchange.uri,
        },
        "response": {
            "body": {"string": _text_or_bytes(exchange.body)},
            "headers": {name: list(values) for name, values in exchange.headers.items()},
            "status": {"code": exchange.status, "message": exchange.message},
        },
    }


def document_from_interactions(interactions: Iterable[Mapping[str, Any]], **extra_keys: Json) -> Json:
    """Return a VCR.py document; `extra_keys` are added at its top level, where VCR.py ignores them."""
    return {**extra_keys, "interactions": list(interactions), "version": 1}


def _parse_json(content: bytes) -> Any:
    """Return the JSON object in a file; None if it is something else."""
    if content.lstrip()[:1] != b"{":
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # a YAML document may begin like that too
        return None


def _parse_yaml(content: bytes, path: Path) -> Any:
    yaml = _yaml()
    try:
        return yaml.load(content, Loader=_loader(yaml))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        message = f"{path} is not valid {'JSON' if path.suffix == '.json' else 'YAML'}{where}."
        raise CassetteError(message) from None


def _headers(recorded: Any) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in (recorded or {}).items():
        values = value if isinstance(value, (list, tuple)) else [value]
        headers.setdefault(str(name).lower(), []).extend(_header_text(item) for item in values)
    return headers


def _header_text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(message: Mapping[str, Any]) -> bytes:
    """Return the body of a recorded request or response, whichever format holds it."""
    if "parsed_body" in message:
        return _bytes(message["parsed_body"])
    body = message.get("body", message.get("content"))
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


def _decompress(headers: dict[str, list[str]], body: bytes) -> tuple[Headers, bytes]:
    """Return the headers and the body without compression.

    Some recorders decompress the body and keep the header, so a body is decompressed only if its bytes are compressed.
    """
    plain = None
    try:
        if body.startswith(b"\x1f\x8b"):
            plain = gzip.decompress(body)
        elif body and "deflate" in headers.get("content-encoding", ()):
            plain = zlib.decompress(body)
    except (OSError, EOFError, zlib.error, binascii.Error):
        plain = None
    # Without the header, only JSON is taken for compressed content: a downloaded archive stays an archive.
    if plain is None or not ("content-encoding" in headers or plain.lstrip()[:1] in (b"{", b"[")):
        return headers, body
    return {name: values for name, values in headers.items() if name not in _ENCODING_HEADERS}, plain


def _text_or_bytes(body: bytes) -> str | bytes:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body


def _yaml() -> Any:
    try:
        import yaml  # noqa: PLC0415 - comes with the extra `pytest`
    except ImportError:
        message = "Recordings are YAML files, and PyYAML is not installed: pip install pyyaml."
        raise CassetteError(message) from None
    return yaml


def _loader(yaml: Any) -> Any:
    """Return a loader that reads every unknown tag as plain data (`!!python/unicode` of old recordings)."""

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # known at run time only
        pass

    def plain_data(loader: Any, _suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_mapping(node, deep=True)

    cast("Any", Loader).add_multi_constructor("!", plain_data)
    cast("Any", Loader).add_multi_constructor("tag:", plain_data)
    return Loader
