"""Store URLs that hold a password and cannot be used: the error says which store, and never the password."""

from __future__ import annotations

import logging
from pathlib import Path

import openai
import pytest

from assistants_compat import Settings
from assistants_compat.testing import StandIn
from kit.doors import Door

SECRET = "s3cret"

# What stands before the host, after it, and what the error still says.
URLS = {
    "in the query": ("postgresql+psycopg://127.0.0.1:9/legacy?user=u&password=s3cret", "postgresql:127.0.0.1/legacy"),
    "before the host": ("postgresql+psycopg://u:s3cret@127.0.0.1:9/legacy", "postgresql:127.0.0.1/legacy"),
    "everything in the query": ("postgresql+psycopg:///?host=127.0.0.1&port=9&password=s3cret", "postgresql:"),
    "an unknown option": ("postgresql+psycopg://127.0.0.1:9/legacy?passwrd=s3cret", "postgresql:127.0.0.1/legacy"),
    "not encoded": ("postgresql+psycopg://u:p@127.0.0.1:s3cret@127.0.0.1/legacy", "neither a path nor a database URL"),
    "another database": ("mysql://u:s3cret@127.0.0.1/legacy?password=s3cret", "The store's database is mysql"),
}


@pytest.mark.parametrize("name", URLS)
def test_a_store_that_cannot_be_opened_shows_no_password(
    door: Door, upstream: StandIn, caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str
) -> None:
    """Neither the body of the error nor the exception nor the log holds the password of the store's URL."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    caplog.set_level(logging.DEBUG)
    url, words = URLS[name]
    client = door.client(upstream, Settings(store=url, files=str(tmp_path)))
    with pytest.raises(openai.InternalServerError) as caught:
        door(client.beta.threads.create())
    error = caught.value
    assert error.code in {"store_error", "store_busy"}
    assert words in error.response.json()["error"]["message"]
    for text in (error.response.text, str(error), repr(error), *(str(value) for value in error.response.headers)):
        assert SECRET not in text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("assistants_compat")]
    assert not any(SECRET in text for text in ours)
