"""VCR.py's YAML is read and written without loss, and a replayed test gets the recorded times and ids."""

from __future__ import annotations

import base64
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistants_compat.recordings import replay, vcr_yaml
from assistants_compat.runtime import clock as sources
from assistants_compat.wire import ids

pytest.importorskip("yaml", reason="PyYAML is not installed")

WORD = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
VALUE = st.text(min_size=0, max_size=20)
BODY = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.recursive(st.none() | st.booleans() | st.text(max_size=9), st.lists, max_leaves=6).map(
        lambda value: json.dumps(value).encode()
    ),
).filter(lambda body: not body.startswith(b"\x1f\x8b"))
HEADERS = st.dictionaries(
    WORD.filter(lambda name: name != "content-encoding"), st.lists(VALUE, min_size=1, max_size=2), max_size=3
)
EXCHANGE = st.builds(
    vcr_yaml.Exchange,
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    uri=st.text(max_size=30),
    status=st.integers(100, 599),
    request_headers=HEADERS,
    request_body=BODY,
    headers=HEADERS,
    body=BODY,
    message=VALUE,
)


@settings(deadline=None)  # its first example loads PyYAML
@given(st.lists(EXCHANGE, max_size=3))
def test_written_exchanges_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, exchanges: list[vcr_yaml.Exchange]
) -> None:
    """Exchanges with text, JSON or any bytes are read back from a file as they were written."""
    path = tmp_path_factory.mktemp("cassettes") / "a.yaml"
    document = vcr_yaml.document_from_interactions(map(vcr_yaml.interaction_from_exchange, exchanges), more={"a": 1})
    path.write_text(vcr_yaml.dump(document), "utf-8")
    loaded = vcr_yaml.load(path)
    assert (loaded["version"], loaded["more"]) == (1, {"a": 1})
    assert vcr_yaml.exchanges_from_document(loaded) == exchanges


@settings(deadline=None)  # its first example loads VCR.py
@given(st.lists(EXCHANGE.filter(lambda exchange: exchange.uri.isascii()), min_size=1, max_size=2))
def test_vcrpy_reads_written_recordings(exchanges: list[vcr_yaml.Exchange]) -> None:
    """VCR.py reads the same requests and responses, and ignores keys that it does not know."""
    serialize = pytest.importorskip("vcr.serialize", reason="vcrpy is not installed")
    from vcr.serializers import yamlserializer  # noqa: PLC0415 - only where it is installed

    document = vcr_yaml.document_from_interactions(
        map(vcr_yaml.interaction_from_exchange, exchanges), assistants_compat={"ids": {}}
    )
    requests, responses = serialize.deserialize(vcr_yaml.dump(document), yamlserializer)
    assert [(request.method, request.uri, request.body or b"") for request in requests] == [
        (exchange.method, exchange.uri, exchange.request_body) for exchange in exchanges
    ]
    assert [(response["status"]["code"], response["body"]["string"]) for response in responses] == [
        (exchange.status, exchange.body) for exchange in exchanges
    ]


REQUEST = {"method": "get", "uri": "https://example.com/v1/threads", "headers": {"A": "b"}, "body": None}


@pytest.mark.parametrize(
    ("response", "body"),
    [
        ({"status": {"code": 200}, "body": {"string": "text"}}, b"text"),
        ({"status": {"code": 200}, "body": {"string": b"\xff"}}, b"\xff"),
        ({"status": {"code": 200}, "body": {"base64_string": base64.b64encode(b"\xff").decode()}}, b"\xff"),
        ({"status": {"code": 200}, "body": {"string": gzip.compress(b"{}")}}, b"{}"),
        ({"status_code": 200, "content": "text"}, b"text"),
        ({"status": {"code": 200}, "parsed_body": {"a": 1}}, b'{"a": 1}'),
        ({"status": 200, "body": None}, b""),
    ],
)
def test_bodies_of_other_serializers_are_read(response: dict[str, Any], body: bytes) -> None:
    """Bodies of other serializers, older stubs and compressed answers are read, and a single header becomes a list."""
    encoded = {"headers": {"Content-Encoding": ["gzip"]}} if body == b"{}" else {}
    exchange = vcr_yaml.exchange_from_interaction({"request": REQUEST, "response": {**response, **encoded}})
    assert (exchange.method, exchange.status, exchange.body) == ("GET", 200, body)
    assert exchange.request_headers == {"a": ["b"]}
    assert "content-encoding" not in exchange.headers


def test_a_downloaded_archive_stays_compressed() -> None:
    """A gzip body without a content-encoding header is a user's file and stays compressed."""
    archive = gzip.compress(b"rows")
    response = {"status": {"code": 200}, "headers": {}, "body": {"string": archive}}
    assert vcr_yaml.exchange_from_interaction({"request": REQUEST, "response": response}).body == archive


def test_foreign_tags_are_plain_data(tmp_path: Path) -> None:
    """Python tags in the YAML are read as plain data and never make objects."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "interactions: []\nnote: !!python/unicode 'text'\nmade: !!python/object/apply:os.system [ls]\n", "utf-8"
    )
    assert vcr_yaml.load(path) == {"interactions": [], "note": "text", "made": ["ls"]}


def test_ids_come_in_recorded_order_and_then_from_a_counter() -> None:
    """Ids come in the recorded order, then from a counter, so they are the same on every run and in every thread."""
    recorded, counted = replay.ReplayClockAndIds({"ids": {"msg": ["msg_a", "msg_b"]}}), replay.ReplayClockAndIds()
    assert [recorded.new_id("msg") for _ in range(3)] == ["msg_a", "msg_b", counted.new_id("msg")]
    with ThreadPoolExecutor(4) as pool:
        file_ids = list(pool.map(lambda _: counted.new_id("file"), range(50)))
    assert sorted(file_ids) == sorted(replay.numbered_id("file", number) for number in range(1, 51))
    assert all(map(ids.looks_like_generated_file_id, file_ids))


def test_the_clock_follows_the_recorded_calls() -> None:
    """Each call has its recorded time, a repeated call has the last one, and time never goes back."""
    clock = replay.ReplayClockAndIds({"clock": {"POST /threads": [100, 90], "GET /threads/a": [120]}})
    assert clock.now() == 100
    times = []
    for call in ("POST /threads", "GET /threads/a", "GET /threads/a", "POST /threads", "POST /other"):
        clock.on_legacy_request(*call.split())
        times.append(clock.now())
    assert times == [100, 120, 120, 120, 120]
    assert replay.ReplayClockAndIds().now() == replay.DEFAULT_START_TIME


def test_recorded_file_ids_count_as_generated_files() -> None:
    """A recorded file id counts as a generated file, alone and inside JSON, although it lacks our prefix."""
    with sources.replace_current(replay.ReplayClockAndIds({"ids": {"file": ["file-abc"]}})):
        assert sources.current().may_be_generated_file("file-abc")
        assert sources.current().may_be_generated_file("file-ACabc")
        assert not sources.current().may_be_generated_file("file-abcd")
        assert sources.current().mentions_generated_file(b'{"file_id": "file-abc"}')
        assert not sources.current().mentions_generated_file(b'{"file_id": "file-abcd"}')
    assert not sources.current().may_be_generated_file("file-abc")
