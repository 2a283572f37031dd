"""The leak check finds secrets in every encoding, and nothing in the ids and prose of ordinary recordings."""

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

from assistants_compat.recordings.leaks import find_leaks

ALPHANUMERIC = string.ascii_letters + string.digits
URL_SAFE = ALPHANUMERIC + "_-"


def _random_text(alphabet: str, min_size: int, max_size: int | None = None) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=min_size, max_size=max_size or min_size)


def _base64url(claims: bytes) -> str:
    return base64.urlsafe_b64encode(claims).decode().rstrip("=")


SECRETS = st.one_of(
    st.builds("sk-{}{}".format, st.sampled_from(["", "proj-", "svcacct-", "admin-"]), _random_text(URL_SAFE, 20, 160)),
    st.builds("Bearer {}".format, _random_text(ALPHANUMERIC + "._~+/-", 20, 300)),
    st.builds(
        lambda head, claims, signature: f"{_base64url(json.dumps(head).encode())}.{_base64url(claims)}.{signature}",
        st.dictionaries(_random_text(ALPHANUMERIC, 3, 8), _random_text(ALPHANUMERIC, 1, 8), min_size=1),
        st.binary(min_size=8, max_size=80),
        _random_text(URL_SAFE, 43),
    ),
    _random_text("0123456789abcdef", 32),
    _random_text(ALPHANUMERIC, 84),
    st.builds("{}==".format, _random_text(ALPHANUMERIC + "+/", 86)),
    st.builds("AccountName=mine;AccountKey={};".format, _random_text(ALPHANUMERIC + "+/", 86)),
    st.builds("Endpoint=sb://mine/;SharedAccessKey={}".format, _random_text(ALPHANUMERIC + "+/", 43)),
    st.builds("https://host/container?sp=r&sig={}".format, _random_text(ALPHANUMERIC + "%", 43)),
    st.builds("postgresql://someone:{}@db.example.org/x".format, _random_text(URL_SAFE, 8, 30)),
    st.builds('"api_key": "{}"'.format, _random_text(URL_SAFE, 20, 60)),
    st.builds("ghp_{}".format, _random_text(ALPHANUMERIC, 36)),
    st.builds("AKIA{}".format, _random_text(string.ascii_uppercase + string.digits, 16)),
    st.just("-----BEGIN PRIVATE KEY-----"),
    st.builds("AZURE_OPENAI_KEY={}".format, _random_text(URL_SAFE, 20, 60)),
    st.builds("sess-{}".format, _random_text(ALPHANUMERIC, 40)),
)


def _base64_settings(secret: str) -> bytes:
    return base64.encodebytes(f"# the settings of a service\n{secret}\n# and more of them\n".encode())


CONTAINERS = st.sampled_from(
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
        _base64_settings,
        lambda secret: json.dumps({"file_data": f"data:text/plain;base64,{_base64_settings(secret).decode()}"}),
        lambda secret: gzip.compress(secret.encode()),
    ]
)


@given(SECRETS, CONTAINERS)
def test_fuzzed_secrets_are_all_caught(secret: str, wrap_secret) -> None:
    """Keys, tokens, signatures and connection strings are found in text, bytes, JSON, events, headers and base64."""
    assert list(find_leaks(wrap_secret(secret), "here"))


@given(SECRETS)
def test_a_leak_shows_at_most_four_characters(secret: str) -> None:
    """The report of a leak shows at most four characters of the secret."""
    for leak in find_leaks(secret, "here"):
        excerpt = leak.excerpt.partition("...")[0]
        assert len(excerpt) <= 4


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
    """Ids, file names, image data and prose of ordinary recordings are not reported."""
    assert list(find_leaks(text, "here")) == []


def test_a_pattern_marks_text_as_harmless() -> None:
    """Text that matches a harmless pattern of the suite is not reported."""
    md5 = "d41d8cd98f00b204e9800998ecf8427e"
    assert [leak.kind for leak in find_leaks(md5, "here")] == ["an Azure key"]
    assert list(find_leaks(md5, "here", [re.compile("^d41d8")])) == []
