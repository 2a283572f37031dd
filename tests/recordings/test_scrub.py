"""What is kept of a recorded exchange: never who asked, never whose resource, every byte of a download."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from vcr.serializers import yamlserializer

from assistants_compat.pytest_plugin.cassette import _Clean, _Lines
from assistants_compat.recordings import scrub
from assistants_compat.recordings.leaks import Leak

URL = "https://api.openai.com/v1/responses/resp_1?include%5B%5D=x"


def _response(body: bytes, **headers: str) -> dict[str, Any]:
    given = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return {"status": {"code": 200, "message": "OK"}, "headers": given, "body": {"string": body}}


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1), st.lists(st.text(), min_size=1)))
def test_only_listed_headers_are_kept(given: dict[str, list[str]]) -> None:
    """Whatever else a client or a service sends is not written."""
    always = {"Authorization": ["Bearer x"], "api-key": ["x"], "OpenAI-Organization": ["o"], "Set-Cookie": ["c"]}
    assert scrub.headers({**given, **always}, scrub.REQUEST_HEADERS).keys() <= scrub.REQUEST_HEADERS
    assert scrub.headers({**given, **always}, scrub.RESPONSE_HEADERS).keys() <= scrub.RESPONSE_HEADERS


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (
            "https://my-corp.openai.azure.com/openai/v1/responses",
            "https://scrubbed.openai.azure.com/openai/v1/responses",
        ),
        (
            "https://my-corp.services.ai.azure.com/x?api-version=p",
            "https://scrubbed.services.ai.azure.com/x?api-version=p",
        ),
        ("https://me:secret@host/v1?api-key=k&a=b", "https://host/v1?api-key=scrubbed&a=b"),
        ("https://host/f?sv=1&sig=abc%2B", "https://host/f?sv=1&sig=scrubbed"),
        (URL, URL),
    ],
)
def test_addresses_lose_names_and_keys(url: str, kept: str) -> None:
    """An Azure resource's name, credentials and keys go; cleaning twice is cleaning once."""
    assert scrub.address(url) == kept
    assert scrub.address(kept) == kept


@given(st.binary())
def test_a_download_keeps_every_byte(content: bytes) -> None:
    """Whatever is downloaded comes back from the written recording byte for byte, compressed or not."""
    packed: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    answers = [_response(content, content_type="application/octet-stream")]
    for encoding, pack in packed.items():
        answers.append(_response(pack(content), content_type="application/octet-stream", content_encoding=encoding))
    for answer in answers:
        kept = scrub.response(answer)
        assert kept["body"]["string"] == content
        assert "content-encoding" not in kept["headers"]


def test_a_coding_that_nothing_here_reads_stays() -> None:
    """Another stays as it came, with its header, and is not written: nobody could look inside."""
    kept = scrub.response(_response(b"\x0b\x02\x80", content_encoding="zstd"))
    assert (kept["body"]["string"], kept["headers"]["content-encoding"]) == (b"\x0b\x02\x80", ["zstd"])
    found: list[Leak] = []
    asked = SimpleNamespace(method="GET", uri=URL, headers={}, body=None)
    writer = _Clean(None, found, set(), ())
    writer.save_cassette("a.yaml", {"requests": [asked], "responses": [kept]}, yamlserializer)
    assert [str(leak) for leak in found] == [f"response to GET {URL}: a coding that cannot be read here (zstd)"]


def test_brotli_is_read_by_what_made_the_client_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client asks for it where a package for it is installed, so the recording is read by that."""
    packed = _response(b"packed", content_encoding="br")
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    monkeypatch.setitem(sys.modules, "brotli", None)
    assert scrub.response(packed)["headers"] == {"content-encoding": ["br"]}
    brotli = SimpleNamespace(decompress=lambda body: b"un" + body, error=ValueError)
    monkeypatch.setitem(sys.modules, "brotli", brotli)
    kept = scrub.response(packed)
    assert (kept["body"]["string"], kept["headers"]) == (b"unpacked", {})


def test_the_name_of_a_resource_is_not_in_a_sent_body_either() -> None:
    """An address within the JSON of a request is scrubbed as its own is, and cleaning twice is cleaning once."""
    sent = b'{"input": [{"image_url": "https://my-corp.blob.core.windows.net/pictures/1.png"}]}'
    body, _ = scrub.request_body(sent, "application/json")
    assert json.loads(body) == json.loads(sent.replace(b"my-corp", b"scrubbed"))
    assert scrub.request_body(body, "application/json")[0] == body


def test_forms_are_compared_without_their_boundary() -> None:
    """Two uploads of the same file are the same request."""
    bodies = [
        scrub.request_body(
            f"--{boundary}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{boundary}--\r\n".encode(),
            f"multipart/form-data; boundary={boundary}",
        )
        for boundary in ("0123456789abcdef", "----WebKitFormBoundaryX")
    ]
    assert bodies[0] == bodies[1]
    assert scrub.request_body(*bodies[0]) == bodies[0]


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_json_stays_the_same_value(value: object) -> None:
    """A body in JSON is written in lines, and means what it meant."""
    body, _ = scrub.request_body(json.dumps([value]).encode(), "application/json")
    assert json.loads(body) == [value]


def _look(status: str) -> tuple[str, str, bytes]:
    return "GET", URL, json.dumps({"status": status}).encode()


POST = ("POST", "https://api.openai.com/v1/responses", json.dumps({"status": "queued"}).encode())
CANCEL = ("POST", "https://api.openai.com/v1/responses/resp_1/cancel", b"{}")


@given(st.lists(st.sampled_from(["queued", "in_progress"]), max_size=8).map(lambda seen: sorted(seen, reverse=True)))
def test_looks_that_showed_nothing_new_are_folded(statuses: list[str]) -> None:
    """Each status is left once and in order, so whoever looks until the end comes there in as many looks or fewer."""
    exchanges = [POST, *map(_look, [*statuses, "completed"])]
    kept = [exchanges[index] for index in scrub.folded(exchanges)]
    assert kept == [POST, *map(_look, dict.fromkeys([*statuses, "completed"]))]


def test_looks_before_a_cancellation_are_all_kept() -> None:
    """Who looked three times and then cancelled needs all three answers."""
    exchanges = [POST, *[_look("in_progress")] * 3, CANCEL, _look("cancelled")]
    assert scrub.folded(exchanges) == [0, 1, 2, 3, 4, 5]


def test_other_requests_are_never_folded() -> None:
    """Two lists of the same files are two requests."""
    files = ("GET", "https://api.openai.com/v1/containers/cntr_1/files", b'{"data": []}')
    assert scrub.folded([files, files, ("GET", URL, b"event: x"), ("GET", URL, b"event: x")]) == [0, 1, 2, 3]


@given(st.text())
def test_what_is_written_in_lines_is_read_as_it_was(text: str) -> None:
    """The text of an answer survives the YAML that eyes can read."""
    assert yaml.safe_load(_Lines.serialize({"body": text})) == {"body": text}
