"""Scrubbing removes who called and which resource answered, and keeps every byte of a download."""

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

from assistants_compat.pytest_plugin.cassette import _OWN_REQUEST, _ReadableSerializer, _ScrubbingPersister
from assistants_compat.recordings import scrub
from assistants_compat.recordings.leaks import Leak

URL = "https://api.openai.com/v1/responses/resp_1?include%5B%5D=x"


def _response(body: bytes, **headers: str) -> dict[str, Any]:
    header_lists = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return {"status": {"code": 200, "message": "OK"}, "headers": header_lists, "body": {"string": body}}


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1), st.lists(st.text(), min_size=1)))
def test_only_listed_headers_are_kept(headers: dict[str, list[str]]) -> None:
    """Headers that are not on the list are not written, whatever a client or a service sends."""
    secret = {"Authorization": ["Bearer x"], "api-key": ["x"], "OpenAI-Organization": ["o"], "Set-Cookie": ["c"]}
    assert scrub.scrub_headers({**headers, **secret}, scrub.REQUEST_HEADERS).keys() <= scrub.REQUEST_HEADERS
    assert scrub.scrub_headers({**headers, **secret}, scrub.RESPONSE_HEADERS).keys() <= scrub.RESPONSE_HEADERS


@pytest.mark.parametrize(
    ("url", "scrubbed"),
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
def test_urls_lose_resource_names_and_keys(url: str, scrubbed: str) -> None:
    """A URL loses the name of its Azure resource, its credentials and its keys; scrubbing it again changes nothing."""
    assert scrub.scrub_url(url) == scrubbed
    assert scrub.scrub_url(scrubbed) == scrubbed


@given(st.binary())
def test_a_download_keeps_every_byte(content: bytes) -> None:
    """A downloaded body is written byte for byte, whether it came compressed or not."""
    compressors: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    answers = [_response(content, content_type="application/octet-stream")]
    for encoding, compress in compressors.items():
        answers.append(_response(compress(content), content_type="application/octet-stream", content_encoding=encoding))
    for answer in answers:
        scrubbed = scrub.scrub_response(answer)
        assert scrubbed["body"]["string"] == content
        assert "content-encoding" not in scrubbed["headers"]


def test_an_unsupported_content_encoding_is_reported_as_a_leak() -> None:
    """A body in an unsupported encoding is not written, because it cannot be checked for secrets."""
    scrubbed = scrub.scrub_response(_response(b"\x0b\x02\x80", content_encoding="zstd"))
    assert (scrubbed["body"]["string"], scrubbed["headers"]["content-encoding"]) == (b"\x0b\x02\x80", ["zstd"])
    leaks: list[Leak] = []
    request = SimpleNamespace(method="GET", uri=URL, headers={}, body=None, **{_OWN_REQUEST: True})
    writer = _ScrubbingPersister(SimpleNamespace(is_ours=True, leaks=leaks), None, ())  # type: ignore[arg-type]
    writer.save_cassette("a.yaml", {"requests": [request], "responses": [scrubbed]}, yamlserializer)
    assert [str(leak) for leak in leaks] == [f"response to GET {URL}: an unsupported content encoding (zstd)"]


def test_brotli_is_decoded_where_a_brotli_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A brotli body is decoded by the installed brotli package, and stays compressed where there is none."""
    compressed = _response(b"packed", content_encoding="br")
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    monkeypatch.setitem(sys.modules, "brotli", None)
    assert scrub.scrub_response(compressed)["headers"] == {"content-encoding": ["br"]}
    brotli = SimpleNamespace(decompress=lambda body: b"un" + body, error=ValueError)
    monkeypatch.setitem(sys.modules, "brotli", brotli)
    scrubbed = scrub.scrub_response(compressed)
    assert (scrubbed["body"]["string"], scrubbed["headers"]) == (b"unpacked", {})


def test_a_resource_name_in_a_request_body_is_scrubbed() -> None:
    """A URL inside the JSON of a request loses its resource name; scrubbing it again changes nothing."""
    sent = b'{"input": [{"image_url": "https://my-corp.blob.core.windows.net/pictures/1.png"}]}'
    body, _ = scrub.scrub_request_body(sent, "application/json")
    assert json.loads(body) == json.loads(sent.replace(b"my-corp", b"scrubbed"))
    assert scrub.scrub_request_body(body, "application/json")[0] == body


def test_uploads_of_the_same_file_are_the_same_request() -> None:
    """Two uploads of one file are the same request, whatever their multipart boundaries."""
    bodies = [
        scrub.scrub_request_body(
            f"--{boundary}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{boundary}--\r\n".encode(),
            f"multipart/form-data; boundary={boundary}",
        )
        for boundary in ("0123456789abcdef", "----WebKitFormBoundaryX")
    ]
    assert bodies[0] == bodies[1]
    assert scrub.scrub_request_body(*bodies[0]) == bodies[0]


def _form(boundary: str, *parts: str) -> tuple[bytes, str]:
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"
    return body.encode(), f'multipart/form-data; boundary="{boundary}"'


_PURPOSE = 'Content-Disposition: form-data; name="purpose"\r\n\r\nassistants'
_FILE = 'Content-Disposition: form-data; name="file"; filename="{name}"\r\n{guess}\r\n{content}'


@given(
    st.lists(st.sampled_from(["text/markdown", "application/octet-stream", "text/yaml", ""]), min_size=2, max_size=2),
    st.sampled_from(["# Title\r\n\r\n--x", "a,b\r\n", ""]),
)
def test_forms_are_compared_without_what_the_machine_guesses(guesses: list[str], content: str) -> None:
    """Forms are equal whatever their boundary and whatever type the machine guessed for a file's name."""
    lines = [f"Content-Type: {guess}\r\n" if guess else "" for guess in guesses]
    first, second = (
        scrub.comparable_body(*_form(boundary, _PURPOSE, _FILE.format(name="notes.md", guess=line, content=content)))
        for boundary, line in zip(("0123456789abcdef", "----WebKitFormBoundaryX"), lines, strict=True)
    )
    assert first == second


@pytest.mark.parametrize(
    "parts",
    [
        [_PURPOSE, _FILE.format(name="other.md", guess="", content="x")],
        [_PURPOSE, _FILE.format(name="notes.md", guess="", content="y")],
        [_PURPOSE.replace("assistants", "vision"), _FILE.format(name="notes.md", guess="", content="x")],
        [_FILE.format(name="notes.md", guess="", content="x")],
    ],
)
def test_forms_that_differ_are_not_equal(parts: list[str]) -> None:
    """Another name, other bytes, another field or a missing one make another form."""
    form = _form("x" * 16, _PURPOSE, _FILE.format(name="notes.md", guess="", content="x"))
    assert scrub.comparable_body(*_form("y" * 16, *parts)) != scrub.comparable_body(*form)


def test_a_broken_form_is_compared_by_its_bytes() -> None:
    """A body that is not the form that its header says is compared as it is."""
    for body in (b"", b"no form", b"--x\r\n\r\ncut"):
        assert scrub.comparable_body(body, "multipart/form-data; boundary=x") == body


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_json_stays_the_same_value(value: object) -> None:
    """A JSON body is written over several lines and keeps its value."""
    body, _ = scrub.scrub_request_body(json.dumps([value]).encode(), "application/json")
    assert json.loads(body) == [value]


def _poll(status: str) -> tuple[str, str, bytes]:
    return "GET", URL, json.dumps({"status": status}).encode()


POST = ("POST", "https://api.openai.com/v1/responses", json.dumps({"status": "queued"}).encode())
CANCEL = ("POST", "https://api.openai.com/v1/responses/resp_1/cancel", b"{}")


@given(st.lists(st.sampled_from(["queued", "in_progress"]), max_size=8).map(lambda seen: sorted(seen, reverse=True)))
def test_polls_with_the_same_status_are_folded(statuses: list[str]) -> None:
    """Polls that show the same status are folded into one, so each status stays once and in order."""
    exchanges = [POST, *map(_poll, [*statuses, "completed"])]
    folded = [exchanges[index] for index in scrub.fold_polls(exchanges)]
    assert folded == [POST, *map(_poll, dict.fromkeys([*statuses, "completed"]))]


def test_polls_before_a_cancellation_are_all_kept() -> None:
    """Polls before a cancellation are not folded, because a replayed test polls as often before it cancels."""
    exchanges = [POST, *[_poll("in_progress")] * 3, CANCEL, _poll("cancelled")]
    assert scrub.fold_polls(exchanges) == [0, 1, 2, 3, 4, 5]


def test_other_requests_are_never_folded() -> None:
    """Repeated requests that are not polls are kept."""
    files = ("GET", "https://api.openai.com/v1/containers/cntr_1/files", b'{"data": []}')
    assert scrub.fold_polls([files, files, ("GET", URL, b"event: x"), ("GET", URL, b"event: x")]) == [0, 1, 2, 3]


@given(st.text())
def test_readable_yaml_keeps_the_text(text: str) -> None:
    """YAML that is written for readers is read back as the same text."""
    assert yaml.safe_load(_ReadableSerializer.serialize({"body": text})) == {"body": text}
