"""Errors about a store URL that cannot be used name the store and never the password."""

from __future__ import annotations

import logging
from pathlib import Path

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import Door

SECRET = "s3cret"

# Where the URL has the password, the URL, and what the error says of the store.
URLS = {
    "in the query": ("postgresql+psycopg://127.0.0.1:9/legacy?user=u&password=s3cret", "postgresql:127.0.0.1/legacy"),
    "before the host": ("postgresql+psycopg://u:s3cret@127.0.0.1:9/legacy", "postgresql:127.0.0.1/legacy"),
    "everything in the query": ("postgresql+psycopg:///?host=127.0.0.1&port=9&password=s3cret", "postgresql:"),
    "an unknown option": ("postgresql+psycopg://127.0.0.1:9/legacy?passwrd=s3cret", "postgresql:127.0.0.1/legacy"),
    "not encoded": ("postgresql+psycopg://u:p@127.0.0.1:s3cret@127.0.0.1/legacy", "neither a path nor a database URL"),
    "another database": (
        "mysql://u:s3cret@127.0.0.1/legacy?password=s3cret",
        "The store's database type 'mysql' is not supported",
    ),
}


@pytest.mark.parametrize("name", URLS)
def test_a_store_that_cannot_be_opened_shows_no_password(
    door: Door, upstream: StandIn, caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str
) -> None:
    """Neither the error's body nor the exception nor the log contains the password of the store URL."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    caplog.set_level(logging.DEBUG)
    url, expected = URLS[name]
    client = door.client(upstream, Settings(store=url, files=str(tmp_path)))
    with pytest.raises(openai.InternalServerError) as caught:
        door(client.beta.threads.create())
    error = caught.value
    assert error.code in {"store_error", "store_busy"}
    assert expected in error.response.json()["error"]["message"]
    for text in (error.response.text, str(error), repr(error), *(str(value) for value in error.response.headers)):
        assert SECRET not in text
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("assistants_compat")]
    assert not any(SECRET in text for text in messages)
