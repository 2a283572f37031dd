"""Recognizing a refusal takes no time worth mentioning, however long its message is."""

from __future__ import annotations

import time

import pytest

from assistants_compat.service.refusal_table import TABLE
from assistants_compat.service.refusals import recognize

LONG = [
    str([f"file-{number:022}" for number in range(1000)]) + " is too long",
    "vs_a vector store " * 5000,
    "previous_response " * 5000,
    "Container " * 5000,
    "Item 'x' of type " * 5000,
]


@pytest.mark.parametrize("message", LONG)
def test_a_long_message_is_searched_in_no_time(message: str) -> None:
    """A message that quotes a whole request does not keep the process busy (one took minutes)."""
    started_at = time.monotonic()
    recognize(TABLE, 400, {"message": message})
    assert time.monotonic() - started_at < 2


def test_the_beginning_of_a_long_message_is_recognized() -> None:
    """What a long message begins with is recognized."""
    message = "Input is too long: maximum context length is 10 tokens. " + "x" * 100_000
    found = recognize(TABLE, 400, {"message": message})
    assert found is not None
    assert found.row.name == "context_too_long"
