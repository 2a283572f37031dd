"""VCR.py's YAML read as exchanges and written again, and the clock and ids of a replayed test."""

from __future__ import annotations

import base64
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from assistants_compat.recordings import replay, vcr_yaml
from assistants_compat.runtime import clock as sources
from assistants_compat.wire.objects import ids

pytest.importorskip("yaml", reason="PyYAML is not installed")

WORD = some.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
VALUE = some.text(min_size=0, max_size=20)
BODY = some.one_of(
    some.binary(max_size=60),
    some.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    some.recursive(some.none() | some.booleans() | some.text(max_size=9), some.lists, max_leaves=6).map(
        lambda value: json.dumps(value).encode()
    ),
).filter(lambda body: not body.startswith(b"\x1f\x8b"))
HEADERS = some.dictionaries(
    WORD.filter(lambda name: name != "content-encoding"), some.lists(VALUE, min_size=1, max_size=2), max_size=3
)
EXCHANGE = some.builds(
    vcr_yaml.Exchange,
    method=some.sampled_from(["GET", "POST", "DELETE"]),
    uri=some.text(max_size=30),
    status=some.integers(100, 599),
    request_headers=HEADERS,
    request_body=BODY,
    headers=HEADERS,
    body=BODY,
    message=VALUE,
)


@settings(deadline=None)  # its first example loads PyYAML
@given(some.lists(EXCHANGE, max_size=3))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, exchanges: list[vcr_yaml.Exchange]) -> None:
    """Text, JSON and any bytes come back as they were, by way of a file."""
    path = tmp_path_factory.mktemp("cassettes") / "a.yaml"
    document = vcr_yaml.document_from_interactions(map(vcr_yaml.interaction_from_exchange, exchanges), more={"a": 1})
    path.write_text(vcr_yaml.dump(document), "utf-8")
    loaded = vcr_yaml.load(path)
    assert (loaded["version"], loaded["more"]) == (1, {"a": 1})
    assert vcr_yaml.exchanges_from_document(loaded) == exchanges


@settings(deadline=None)  # its first example loads VCR.py
@given(some.lists(EXCHANGE.filter(lambda each: each.uri.isascii()), min_size=1, max_size=2))
def test_vcrpy_reads_what_is_written(exchanges: list[vcr_yaml.Exchange]) -> None:
    """VCR.py itself sees the same requests and answers, and passes over keys that it does not know."""
    serialize = pytest.importorskip("vcr.serialize", reason="vcrpy is not installed")
    from vcr.serializers import yamlserializer  # noqa: PLC0415 - only where it is installed

    document = vcr_yaml.document_from_interactions(
        map(vcr_yaml.interaction_from_exchange, exchanges), assistants_compat={"ids": {}}
    )
    requests, responses = serialize.deserialize(vcr_yaml.dump(document), yamlserializer)
    assert [(each.method, each.uri, each.body or b"") for each in requests] == [
        (each.method, each.uri, each.request_body) for each in exchanges
    ]
    assert [(each["status"]["code"], each["body"]["string"]) for each in responses] == [
        (each.status, each.body) for each in exchanges
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
def test_bodies_in_other_forms(response: dict[str, Any], body: bytes) -> None:
    """Other serializers, older stubs and compressed answers are read too; single headers are lists of one."""
    encoded = {"headers": {"Content-Encoding": ["gzip"]}} if body == b"{}" else {}
    exchange = vcr_yaml.exchange_from_interaction({"request": REQUEST, "response": {**response, **encoded}})
    assert (exchange.method, exchange.status, exchange.body) == ("GET", 200, body)
    assert exchange.request_headers == {"a": ["b"]}
    assert "content-encoding" not in exchange.headers


def test_an_archive_that_was_downloaded_stays_compressed() -> None:
    """Bytes that only look compressed, without a header that says so, are somebody's file."""
    archive = gzip.compress(b"rows")
    response = {"status": {"code": 200}, "headers": {}, "body": {"string": archive}}
    assert vcr_yaml.exchange_from_interaction({"request": REQUEST, "response": response}).body == archive


def test_foreign_tags_are_plain_data(tmp_path: Path) -> None:
    """Recordings of Python 2 mark their text; what a tag would make is never made."""
    path = tmp_path / "a.yaml"
    path.write_text(
        "interactions: []\nnote: !!python/unicode 'text'\nmade: !!python/object/apply:os.system [ls]\n", "utf-8"
    )
    assert vcr_yaml.load(path) == {"interactions": [], "note": "text", "made": ["ls"]}


def test_ids_come_in_their_order_and_are_counted_afterwards() -> None:
    """What the recording does not say is the same on every run, in whatever thread it is asked."""
    one, other = replay.Replayed({"ids": {"msg": ["msg_a", "msg_b"]}}), replay.Replayed()
    assert [one.mint("msg") for _ in range(3)] == ["msg_a", "msg_b", other.mint("msg")]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: other.mint("file"), range(50)))
    assert sorted(made) == sorted(replay.counted("file", number) for number in range(1, 51))
    assert all(map(ids.may_be_ours, made))


def test_the_clock_goes_by_calls() -> None:
    """A call has its recorded time, one that comes more often the last one, and time does not go back."""
    clock = replay.Replayed({"clock": {"POST /threads": [100, 90], "GET /threads/a": [120]}})
    assert clock.now() == 100
    seen = []
    for call in ("POST /threads", "GET /threads/a", "GET /threads/a", "POST /threads", "POST /other"):
        clock.begins(*call.split())
        seen.append(clock.now())
    assert seen == [100, 120, 120, 120, 120]
    assert replay.Replayed().now() == replay.START


def test_recorded_files_are_ours() -> None:
    """A file's recorded id has no mark of ours, and is recognised all the same, alone and within JSON."""
    with sources.exchanged(replay.Replayed({"ids": {"file": ["file-abc"]}})):
        assert sources.current().owns("file-abc")
        assert sources.current().owns("file-ACabc")
        assert not sources.current().owns("file-abcd")
        assert sources.current().are_named_in(b'{"file_id": "file-abc"}')
        assert not sources.current().are_named_in(b'{"file_id": "file-abcd"}')
    assert not sources.current().owns("file-abc")
