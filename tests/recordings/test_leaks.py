"""What looks like a secret is found, however it is wrapped; what recordings are full of is not."""

from __future__ import annotations

import base64
import gzip
import json
import re
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistants_compat.recordings.leaks import leaks

WORD = string.ascii_letters + string.digits
URL_SAFE = WORD + "_-"


def _text(alphabet: str, least: int, most: int | None = None) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=most or least)


def _encoded(claims: bytes) -> str:
    return base64.urlsafe_b64encode(claims).decode().rstrip("=")


SECRETS = st.one_of(
    st.builds("sk-{}{}".format, st.sampled_from(["", "proj-", "svcacct-", "admin-"]), _text(URL_SAFE, 20, 160)),
    st.builds("Bearer {}".format, _text(WORD + "._~+/-", 20, 300)),
    st.builds(
        lambda head, claims, signature: f"{_encoded(json.dumps(head).encode())}.{_encoded(claims)}.{signature}",
        st.dictionaries(_text(WORD, 3, 8), _text(WORD, 1, 8), min_size=1),
        st.binary(min_size=8, max_size=80),
        _text(URL_SAFE, 43),
    ),
    _text("0123456789abcdef", 32),
    _text(WORD, 84),
    st.builds("{}==".format, _text(WORD + "+/", 86)),
    st.builds("AccountName=mine;AccountKey={};".format, _text(WORD + "+/", 86)),
    st.builds("Endpoint=sb://mine/;SharedAccessKey={}".format, _text(WORD + "+/", 43)),
    st.builds("https://host/container?sp=r&sig={}".format, _text(WORD + "%", 43)),
    st.builds("postgresql://someone:{}@db.example.org/x".format, _text(URL_SAFE, 8, 30)),
    st.builds('"api_key": "{}"'.format, _text(URL_SAFE, 20, 60)),
    st.builds("ghp_{}".format, _text(WORD, 36)),
    st.builds("AKIA{}".format, _text(string.ascii_uppercase + string.digits, 16)),
    st.just("-----BEGIN PRIVATE KEY-----"),
    st.builds("AZURE_OPENAI_KEY={}".format, _text(URL_SAFE, 20, 60)),
    st.builds("sess-{}".format, _text(WORD, 40)),
)


def _base64_of(secret: str) -> bytes:
    return base64.encodebytes(f"# the settings of a service\n{secret}\n# and more of them\n".encode())


PLACES = st.sampled_from(
    [
        lambda secret: secret,
        lambda secret: f"My secret: {secret} (keep it)",
        lambda secret: json.dumps({"input": [{"text": f"use {secret}"}]}, indent=1),
        lambda secret: f"event: x\ndata: {json.dumps({'delta': secret})}\n\n",
        lambda secret: json.dumps({"text": secret}).encode(),
        lambda secret: {"headers": {"x-note": [secret]}},
        lambda secret: [{"deep": {"er": secret}}],
        lambda secret: json.dumps({"text": secret}).replace("-", "\\u002d").replace("/", "\\/"),
        lambda secret: json.dumps({"a": json.dumps({"b": json.dumps({"c": secret}).replace("-", "\\u002d")})}),
        lambda secret: f"event: x\ndata:{json.dumps({'arguments': json.dumps({'b': json.dumps(secret)})})}\n\n",
        lambda secret: f"https://host/path?x={quote(quote(f'use {secret}', safe=''), safe='')}",
        _base64_of,
        lambda secret: json.dumps({"file_data": f"data:text/plain;base64,{_base64_of(secret).decode()}"}),
        lambda secret: gzip.compress(secret.encode()),
    ]
)


@given(SECRETS, PLACES)
def test_fuzzed_secrets_are_all_caught(secret: str, place) -> None:
    """Keys, tokens, signatures and connection strings are found in texts, bytes, JSON, events and headers."""
    assert list(leaks(place(secret), "here"))


@given(SECRETS)
def test_what_is_said_shows_no_secret(secret: str) -> None:
    """A leak names its kind and shows at most four characters of it."""
    for leak in leaks(secret, "here"):
        shown = leak.shown.partition("...")[0]
        assert len(shown) <= 4


@pytest.mark.parametrize(
    "text",
    [
        "resp_fc41be7d809b7c2fd887c46ad689e68c0a6c88a04e562e4f69",
        "req_bf4f11e45baa818b8b50784804ea56eb",
        "/mnt/data/946e6dc94ac6aca10fa2bda7a127cba8-test-get-file.txt",
        "cfile_1088561c20ce58962252300f20ee7899.png",
        "6f1c4d1e-6b1f-4b3c-9a55-0d2f7f3c9a11",
        "sk-test and Bearer of news",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAWgAAADwCAIAAACixWkYAAAFAElEQVR42u3UQQ0AMQhFQZxUJsbqr9XAhUAyP6vgLZ14ZmbF",
        '{"total_tokens": 37, "password": {"type": "string"}}',
        '{"prompt_cache_key": "the-conversation-of-somebody"}',
        "https://api.openai.com/v1/responses?include%5B%5D=code_interpreter_call.outputs",
    ],
)
def test_ids_and_prose_are_no_secrets(text: str) -> None:
    """What every recording is full of is left alone."""
    assert list(leaks(text, "here")) == []


def test_what_is_known_to_be_harmless_is_left_alone() -> None:
    """A pattern of the suite's own takes a text out."""
    md5 = "d41d8cd98f00b204e9800998ecf8427e"
    assert [leak.kind for leak in leaks(md5, "here")] == ["an Azure key"]
    assert list(leaks(md5, "here", [re.compile("^d41d8")])) == []
